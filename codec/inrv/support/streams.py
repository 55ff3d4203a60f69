"""What a caller may give for a file: its path, its bytes, or a binary file object."""

from __future__ import annotations

import io
import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias

from inrv.errors import OptionError


@dataclass(frozen=True)
class Input:
    """An input that is read piece by piece, and more than once.

    name: its path, or what errors call it
    data: its bytes where no file holds them, else None
    path: where the file is, whatever becomes the working directory; `name` where it is empty
    """

    name: str
    data: bytes | None = None
    path: str = ""

    def open(self) -> BinaryIO:
        """Open it as a binary file that can be sought in. Raises OSError."""
        return open(self.path or self.name, "rb") if self.data is None else io.BytesIO(self.data)

    def part(self, offset: int, length: int) -> bytes:
        """Give the `length` bytes at `offset`, or as many as there are. Raises OSError."""
        with self.open() as file:
            file.seek(offset)
            return file.read(length)

    def view(self) -> memoryview:
        """Give all its bytes; those of a file are mapped, not read. Raises OSError."""
        if self.data is not None:
            return memoryview(self.data)
        with self.open() as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    @property
    def size(self) -> int:
        """How many bytes it has. Raises OSError."""
        return os.stat(self.path or self.name).st_size if self.data is None else len(self.data)


PATH = (str, os.PathLike)
Readable: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Input
Writable: TypeAlias = str | os.PathLike[str] | IO[bytes]


def input_of(source: Readable) -> Input:
    """Give the input that a path, bytes or a file object stands for.

    A file object, from where it stands, and a named pipe are read to their ends: their bytes may be
    had only once. Raises OptionError where `source` is something else, OSError where it cannot be
    read.
    """
    if isinstance(source, Input):
        return source
    if isinstance(source, PATH):
        name = os.fspath(source)
        return (
            Input(name, Path(name).read_bytes())
            if _is_pipe(name)
            else Input(name, path=os.path.abspath(name))
        )
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Input("<bytes>", bytes(source))
    return _read_through(source)


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):  # whoever opens it tells what is wrong
        return False


def _read_through(source: IO[bytes]) -> Input:
    if not hasattr(source, "read"):
        raise OptionError(
            f"source is of type {type(source).__name__}: give a path, bytes or a binary file object"
        )
    if isinstance(source, io.TextIOBase):
        raise OptionError("source is a text file: open it as a binary one, with mode 'rb'")
    name = getattr(source, "name", None)
    return Input(
        name if isinstance(name, str) else f"<{type(source).__name__}>", bytes(source.read())
    )


def check_writable(target: Writable) -> None:
    """Raise OptionError, before work is done for it, where nothing can be written to `target`.

    It is to be a path, or a binary file object that is open for writing.
    """
    if isinstance(target, PATH):
        return
    if not hasattr(target, "write"):
        raise OptionError(
            f"output is of type {type(target).__name__}: give a path or a binary file object"
        )
    if isinstance(target, io.TextIOBase):
        raise OptionError("output is a text file: open it as a binary one, with mode 'wb'")
    if getattr(target, "closed", False) or not getattr(target, "writable", lambda: True)():
        raise OptionError("output is a file object that is closed or not open for writing")


def write_through(target: IO[bytes], data: bytes | memoryview) -> None:
    """Write all of `data` to a file object. Raises what that raises."""
    left = memoryview(data)
    while left:  # without a buffer less than all may be taken at a time
        taken = target.write(left)
        left = left[len(left) if taken is None else taken :]
    target.flush()
