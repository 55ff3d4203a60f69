"""Functions that numba compiles at their first call, and keeps on disk for the next time."""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from inrv.support.atomic import atomic_file

DIGEST_BYTES = 32
log = logging.getLogger("inrv")


def compiled(function: Callable[..., Any], contract: bool = False) -> Any:
    """Compiles a function of arrays and numbers: without Python objects, and beside other threads.

    contract: whether a product and a sum may be rounded together
    """
    flags = {"contract"} if contract else False
    dispatcher = numba.njit(nogil=True, error_model="numpy", fastmath=flags)(function)
    try:
        dispatcher._cache = Kept(function)
    except (
        RuntimeError
    ):  # neither beside the source nor in the user's cache can anything be written
        log.debug("what is compiled of %s is not kept", function.__qualname__)
    return dispatcher


class Kept(FunctionCache):  # type: ignore[misc]
    """What was compiled of a function, in numba's folder.

    Where that fails, in whatever way, it is as if nothing were there.
    """

    warned = False

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        held = function.__globals__.items()
        constants = sorted(
            (name, value) for name, value in held if isinstance(value, (int, float, tuple))
        )
        source = (numba.__version__, self._impl.locator.get_source_stamp(), constants)
        self._cache_file = KeptFiles(
            Path(self.cache_path), self._impl.filename_base, _digest(repr(source).encode())
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for the types `sig`, None where that is not there."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:
            self._tell("used", error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for the types `sig`, where it can be."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._tell("kept", error)

    def _tell(self, done: str, error: Exception) -> None:
        """One line for the process: the next function will fare alike."""
        if not Kept.warned:
            Kept.warned = True
            reason = " ".join(str(error).split()) or type(error).__name__
            log.warning("inrv: compiled code in %s cannot be %s: %s", self.cache_path, done, reason)


class KeptFiles:
    """A file for each version of a function that was compiled.

    It holds a digest of the source, a digest of the rest, and the rest.

    numba's own files have an index, which two processes may mix up, and neither notice damage nor
    other values of the constants that a function's module imports.
    """

    def __init__(self, folder: Path, name: str, source: bytes) -> None:
        self.folder, self.name, self.source = folder, name, source

    def load(self, key: Any) -> Any:
        """Load what was saved under `key` by the same source, None where nothing was.

        Raises ValueError where it is damaged.
        """
        path = self._path(key)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        source, digest, data = (
            stored[:DIGEST_BYTES],
            stored[DIGEST_BYTES : 2 * DIGEST_BYTES],
            stored[2 * DIGEST_BYTES :],
        )
        if source != self.source:
            return None
        if digest != _digest(data):
            raise ValueError(f"{path.name} is damaged")
        return pickle.loads(data)

    def save(self, key: Any, data: Any) -> None:
        """Save `data` under `key`."""
        body = dumps(data)
        with atomic_file(self._path(key)) as file:
            file.write(self.source + _digest(body) + body)

    def _path(self, key: Any) -> Path:
        return self.folder / f"{self.name}.{_digest(repr(key).encode()).hex()[:16]}.nbc"


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
