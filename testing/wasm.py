"""The C core as a WebAssembly module, called as the shared library is."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inrv.core.library import raise_error

ALIGNED = 16  # what malloc of WebAssembly's libc gives


class Module:
    """A module with its memory: `module.inrv_dot(...)` takes what the library's function takes.

    Arrays are copied into its memory, and those that may be written are copied back. Numbers are
    handed on.
    """

    def __init__(self, path: Path) -> None:
        wasmtime = pytest.importorskip("wasmtime")
        self._store = wasmtime.Store()
        module = wasmtime.Module.from_file(self._store.engine, str(path))
        # It asks nothing of its host: a browser loads it as it is.
        assert [item.name for item in module.imports] == []
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory = self._exports["memory"]
        self.call("_initialize")

    def call(self, name: str, *arguments: int | float) -> Any:
        """Call a function with numbers."""
        return self._exports[name](self._store, *arguments)

    def __getattr__(self, name: str) -> Any:
        if name not in self._exports:
            raise AttributeError(name)

        def function(*arguments: Any) -> int:
            places = [self._placed(item) for item in arguments]
            error = int(self.call(name, *places))
            for item, place in zip(arguments, places, strict=True):
                if isinstance(item, np.ndarray):
                    if item.flags.writeable:
                        data = self._memory.read(self._store, place, place + item.nbytes)
                        item[...] = np.frombuffer(data, item.dtype).reshape(item.shape)
                    self.call("free", place)
            raise_error(error, name)
            return error

        return function

    def _placed(self, item: Any) -> int:
        if not isinstance(item, np.ndarray):
            return int(item)
        place = int(self.call("malloc", max(item.nbytes, ALIGNED)))
        assert place, "no memory in the module"
        self._memory.write(self._store, item.tobytes(), place)
        return place

    @property
    def pages(self) -> int:
        """The size of its memory, in pages of 64 KiB."""
        return int(self._memory.size(self._store))


@cache
def module(variant: str) -> Module:
    """The module with a variant of the kernels, plain or simd128, compiled if need be."""
    pytest.importorskip("ziglang")
    from scripts.build_core import build_wasm

    return Module(build_wasm(variant))
