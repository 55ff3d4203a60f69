"""The C core as a WebAssembly module: it reads files as a page in a browser would have it do."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inrv.core.library import raise_error
from testing.core_files import DTYPES, EDGE, FLOAT, unpack

POINTER = 4  # bytes; all numbers here are those of 32-bit structs of inrv.h


class Module:
    """A module with its memory, and the two functions that it asks of its host.

    path: the module
    """

    def __init__(self, path: Path) -> None:
        wasmtime = pytest.importorskip("wasmtime")
        self._store = wasmtime.Store()
        module = wasmtime.Module.from_file(self._store.engine, str(path))
        i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()
        linker = wasmtime.Linker(self._store.engine)
        kinds = {"read": [i32, i64, i32, i32], "unzstd": [i32] * 5}
        # It asks for nothing else: a browser loads it with these two.
        assert {(item.module, item.name) for item in module.imports} == {
            ("inrv", name) for name in kinds
        }
        for name, kind in kinds.items():
            host = getattr(self, f"_{name}")
            linker.define_func("inrv", name, wasmtime.FuncType(kind, [i32]), host)
        self._exports = linker.instantiate(self._store, module).exports(self._store)
        self._memory = self._exports["memory"]
        self.file = b""  # what is read
        self.call("_initialize")

    def _read(self, context: int, offset: int, to: int, size: int) -> int:
        self.write(to, self.file[offset : offset + size])
        return 0

    def _unzstd(self, context: int, frame: int, size: int, raw: int, raw_size: int) -> int:
        content = unpack(self.read(frame, size), raw_size)
        if content is None:
            return 1
        self.write(raw, content)
        return 0

    def call(self, name: str, *arguments: int | float) -> Any:
        """Call a function with numbers."""
        return self._exports[name](self._store, *arguments)

    def checked(self, name: str, *arguments: int | float) -> None:
        """Call a function that returns an error, which is raised."""
        raise_error(self.call(name, *arguments), name)

    def read(self, place: int, size: int) -> bytes:
        """The bytes at an address of its memory."""
        return bytes(self._memory.read(self._store, place, place + size))

    def write(self, place: int, data: bytes) -> None:
        """Put bytes at an address of its memory."""
        self._memory.write(self._store, data, place)

    def numbers(self, place: int, count: int) -> tuple[int, ...]:
        """Numbers of 32 bits, pointers too, at an address."""
        return struct.unpack(f"<{count}i", self.read(place, 4 * count))

    def room(self, size: int) -> int:
        """The address of so many bytes, for `free`."""
        place = int(self.call("malloc", size))
        assert place, "no memory in the module"
        return place

    @property
    def pages(self) -> int:
        """The size of its memory, in pages of 64 KiB."""
        return int(self._memory.size(self._store))

    def decoded(self, data: bytes, level: int = 0) -> list[list[NDArray[np.float32]]]:
        """Decode a file: for each coded grid the blocks of its regions, (E, E, E, C) each."""
        self.file = data
        handle, host = self.room(POINTER), self.call("inrv_imported_host")
        self.checked("inrv_open", host, len(data), 0, handle)
        (file,) = self.numbers(handle, 1)
        grids = [blocks for _, blocks in self._grids(file, level)]
        self.call("inrv_close", file)
        self.call("free", handle)
        return grids

    def decoded_frames(self, data: bytes) -> dict[float, list[list[NDArray[np.float32]]]]:
        """Decode a sequence: for the number of each frame what `decoded` gives of a file."""
        self.file = data
        handle, host = self.room(POINTER), self.call("inrv_imported_host")
        self.checked("inrv_sequence_open", host, len(data), 0, handle)
        (sequence,) = self.numbers(handle, 1)
        frames = {}
        for place in range(self.call("inrv_sequence_frame_count", sequence)):
            about = self.call("inrv_sequence_frame_at", sequence, place)
            number, _, group = struct.unpack("<ddi", self.read(about + 2 * 4, 2 * 8 + 4))
            self.checked("inrv_sequence_group", sequence, group, handle)
            (file,) = self.numbers(handle, 1)
            frame = self.call("inrv_frame_of", file, number)
            frames[number] = [blocks for own, blocks in self._grids(file) if own == frame]
            self.call("inrv_close", file)
        self.call("inrv_sequence_close", sequence)
        self.call("free", handle)
        return frames

    def _grids(self, file: int, level: int = 0) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
        """The frame of each coded grid of an open file, and the blocks of its regions."""
        handle = self.room(POINTER)
        for number in range(self.call("inrv_grid_count", file)):
            about = self.call("inrv_grid_at", file, number)
            _, _, _, components, passthrough, frame = self.numbers(about, 6)
            if not passthrough:
                self.checked("inrv_decoder_open", file, number, 0xFF, handle)
                (decoder,) = self.numbers(handle, 1)
                yield frame, self._blocks(decoder, components, level)
                self.call("inrv_decoder_close", decoder)
        self.call("free", handle)

    def _blocks(self, decoder: int, components: int, level: int) -> list[NDArray[np.float32]]:
        edge, found = EDGE >> level, []
        _, regions, _, corners = self.numbers(self.call("inrv_decoder_skeleton", decoder), 4)
        size = 4 * edge**3 * components
        values = self.room(size)
        for corner in range(corners, corners + 12 * regions, 12):
            self.checked("inrv_decode_block", decoder, corner, level, FLOAT, values, 0)
            block = np.frombuffer(self.read(values, size), dtype=DTYPES[FLOAT])
            found.append(block.reshape(edge, edge, edge, components))
        self.call("free", values)
        return found


@cache
def module(variant: str) -> Module:
    """The module with a variant of the kernels, plain or simd128, compiled if need be."""
    pytest.importorskip("ziglang")
    from scripts.build_core import build_wasm

    return Module(build_wasm(variant))
