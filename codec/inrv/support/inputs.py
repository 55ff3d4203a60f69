"""Inputs that are read piece by piece: the protocol, bytes in memory, local files, folders."""

from __future__ import annotations

import errno
import io
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO


class Input(ABC):
    """An input that is read piece by piece, more than once, and by several threads.

    It pickles, and is the same input where it is unpickled.

    name: its path, its URL, or what errors call it
    distant: whether each read takes a request, so that `fetch` pays
    """

    name: str
    distant = False

    @property
    @abstractmethod
    def size(self) -> int:
        """How many bytes it has. Raises OSError."""

    @abstractmethod
    def open(self) -> BinaryIO:
        """Open it as a binary file that can be sought in. Raises OSError."""

    @abstractmethod
    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Give the bytes of several ranges, or as many of each as there are, and read no others.

        ranges: offset and length of each, in any order
        Raises OSError.
        """

    def part(self, offset: int, length: int) -> bytes:
        """Give the `length` bytes at `offset`, or as many as there are. Raises OSError."""
        return self.parts([(offset, length)])[0]

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:  # noqa: B027  (near: nothing)
        """Take note of ranges that will be read next: a distant input reads them together."""

    def view(self) -> memoryview:
        """Give all its bytes; those of a file are mapped, not read. Raises OSError."""
        return memoryview(self.part(0, self.size))

    def anew(self) -> Input:
        """Give the same input, which holds nothing that was read of it before."""
        return self


@dataclass(frozen=True)
class BytesInput(Input):
    """Bytes in memory.

    name: what errors call them
    data: the bytes
    """

    name: str
    data: bytes

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.data)

    def open(self) -> BinaryIO:
        """Open it as a binary file."""
        return io.BytesIO(self.data)

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Give the bytes of several ranges."""
        return [self.data[offset : offset + length] for offset, length in ranges]

    def view(self) -> memoryview:
        """Give all its bytes."""
        return memoryview(self.data)


@dataclass(frozen=True)
class FileInput(Input):
    """A local file.

    It is opened anew by each call: that takes some microseconds, and nobody has to close it.

    name: its path, as the caller gave it
    path: where it is, whatever becomes the working directory
    """

    name: str
    path: str

    @property
    def size(self) -> int:
        """How many bytes it has. Raises OSError."""
        return os.stat(self.path).st_size

    def open(self) -> BinaryIO:
        """Open it as a binary file. Raises OSError."""
        return open(self.path, "rb")

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Give the bytes of several ranges. Raises OSError."""
        found = []
        with self.open() as file:
            for offset, length in ranges:
                file.seek(offset)
                found.append(file.read(length))
        return found

    def view(self) -> memoryview:
        """Give all its bytes, mapped. Raises OSError."""
        with self.open() as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@dataclass(frozen=True)
class FolderInput(Input):
    """A local folder whose files are one volume. Whoever reads the volume opens them.

    name: its path, as the caller gave it
    path: where it is, whatever becomes the working directory
    """

    name: str
    path: str

    @property
    def size(self) -> int:
        """How many bytes all files below it have. Raises OSError."""
        return sum(
            os.stat(os.path.join(folder, name)).st_size
            for folder, _, names in os.walk(self.path)
            for name in names
        )

    def open(self) -> BinaryIO:
        """Raise IsADirectoryError."""
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Raise IsADirectoryError."""
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
