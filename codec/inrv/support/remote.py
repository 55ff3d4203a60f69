"""Inputs at URLs, through fsspec: as few requests as can be, and as few bytes as are asked for.

The bytes of a file are fetched in blocks. What lies at its head is fetched ahead, and blocks are
kept as long as there is room, so that opening a file and reading its small chunks takes two or
three requests. Parts of large chunks are fetched exactly, those that are close together by one
request and the others side by side.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, BinaryIO, cast

from inrv.errors import MissingPackageError, OptionError
from inrv.support.inputs import Input

BLOCK = 1 << 12
AHEAD = 1 << 16  # bytes that a request for one range fetches at least
GAP = 1 << 16  # of bytes between two ranges that are fetched by one request nevertheless
KEPT = 1 << 25  # bytes of blocks that are kept, in all
LONGEST_KEPT = 1 << 20  # bytes of a request whose blocks are kept; others would drive all else out
CREDENTIALS = re.compile(r"(?<=//)[^/@]*@|\?.*?(?=::|$)")  # of a URL: user, password, query


class RemoteInput(Input):
    """A file at a URL. Some of its bytes are kept.

    url: as fsspec takes it
    name: the same without what is secret in it
    """

    distant = True

    def __init__(self, url: str) -> None:
        self.url, self.name = url, shown_url(url)
        self._lock = Lock()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._size: int | None = None
        self._whole: bytes | None = None  # of a server that gives nothing less
        self._check_schemes()

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteInput, (self.url,)

    @property
    def size(self) -> int:
        """How many bytes it has. Raises OSError."""
        if self._size is None:
            with self._errors():
                files, path = self._file_system()
                self._size = files.info(path).get("size")
                if self._size is None:
                    self._keep_whole(files.cat_file(path))
        return cast(int, self._size)

    def open(self) -> BinaryIO:
        """Open it as a binary file."""
        return io.BufferedReader(_RemoteFile(self), AHEAD)

    def part(self, offset: int, length: int) -> bytes:
        """Give the bytes of a range. What follows a short one is fetched with it."""
        return self._read([(offset, length)], AHEAD)[0]

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Give the bytes of several ranges."""
        return self._read(ranges, 0)

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch ranges that will be read next, as far as there is room for them. Raises OSError."""
        size, numbers = self.size, set[int]()
        for each in ranges:
            own = _blocks_of(*each, size)
            if len(numbers) + len(own) > KEPT // BLOCK // 2:
                break
            numbers.update(own)
        if self._whole is None and (runs := _runs(sorted(numbers - self._kept(numbers).keys()))):
            self._fetched(runs, KEPT)

    def anew(self) -> Input:
        """Give the same input, which holds nothing that was read of it before."""
        return RemoteInput(self.url)

    def _read(self, ranges: Sequence[tuple[int, int]], least: int) -> list[bytes]:
        """Give the bytes of several ranges.

        least: bytes that the last request fetches at least
        """
        # A read of the beginning need not know the size: what it gives of a small file tells.
        beginning = all(offset == 0 and length <= AHEAD for offset, length in ranges)
        size = self._size if beginning else self.size
        blocks: dict[int, bytes | memoryview] = {}
        if self._whole is None:
            numbers = {number for each in ranges for number in _blocks_of(*each, size)}
            blocks = self._kept(numbers)
            if runs := _runs(sorted(numbers - blocks.keys())):
                first, end = runs.pop()
                ahead = _blocks_of(first * BLOCK, least, size)
                blocks |= self._fetched([*runs, (first, max(end, ahead.stop))])
        if (whole := self._whole) is not None:
            return [whole[offset : offset + length] for offset, length in ranges]
        return [_joined(blocks, *each, self._size) for each in ranges]

    def _kept(self, numbers: set[int]) -> dict[int, bytes | memoryview]:
        """Give those of some blocks that are kept."""
        with self._lock:
            found = numbers & self._blocks.keys()
            for number in sorted(found):
                self._blocks.move_to_end(number)
            return {number: self._blocks[number] for number in found}

    def _fetched(
        self, runs: list[tuple[int, int]], longest: int = LONGEST_KEPT
    ) -> dict[int, bytes | memoryview]:
        """Fetch runs of blocks, each from its first to the one before its end.

        longest: bytes of a run whose blocks are kept
        """
        blocks: dict[int, bytes | memoryview] = {}
        for (first, end), data in zip(runs, self._requested(runs), strict=True):
            view = memoryview(data)
            own = _blocks_of(first * BLOCK, len(data))
            blocks |= {number: view[(number - first) * BLOCK :][:BLOCK] for number in own}
            if self._size is None and len(data) < (end - first) * BLOCK:
                self._size = first * BLOCK + len(data)
            if len(data) <= longest:
                with self._lock:
                    self._blocks.update((number, bytes(blocks[number])) for number in own)
                    while len(self._blocks) > KEPT // BLOCK:
                        self._blocks.popitem(last=False)
        return blocks

    def _requested(self, runs: list[tuple[int, int]]) -> list[bytes]:
        """Request runs of blocks, side by side where the file system can. Raises OSError."""
        starts, ends = ([edge * BLOCK for edge in edges] for edges in zip(*runs, strict=True))
        with self._errors():
            files, path = self._file_system()
            found: list[bytes] = files.cat_ranges(
                [path] * len(runs), starts, ends, on_error="raise"
            )
        if any(map(_is_more, found, starts, ends)):  # the server gave the file for a range of it
            self._keep_whole(max(found, key=len))
            return [b""] * len(found)
        return found

    def _keep_whole(self, data: bytes) -> None:
        self._whole, self._size = data, len(data)

    def _check_schemes(self) -> None:
        """Check that fsspec knows each scheme, and has the package for it.

        Raises OptionError, MissingPackageError.
        """
        try:
            from fsspec import get_filesystem_class

            for link in self.url.split("::"):
                scheme, found, _ = link.partition("://")
                if found:
                    get_filesystem_class(scheme.lower())
        except ImportError as error:
            raise MissingPackageError(
                f"{self.name} cannot be read, because a package is missing ({error}): "
                "pip install 'inrv[remote]' brings what http and https need"
            ) from error
        except ValueError as error:
            raise OptionError(f"{self.name} cannot be read: {error}") from error

    def _file_system(self) -> tuple[Any, str]:
        """Give fsspec's file system, which fsspec keeps for each thread, and the path in it."""
        from fsspec.core import url_to_fs

        files, path = url_to_fs(self.url)
        return files, path

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what fsspec raises, which may be anything, into OSError."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:
                raise
            status, reason = getattr(error, "status", ""), getattr(error, "message", error)
            message = f"{type(error).__name__}: {status} {reason}".replace(self.url, self.name)
            raise OSError(errno.EIO, " ".join(message.split())) from error


class _RemoteFile(io.RawIOBase):
    """A remote input as a file that can be sought in."""

    def __init__(self, source: RemoteInput) -> None:
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._at
        elif whence == os.SEEK_END:
            offset += self._source.size
        self._at = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        data = self._source.part(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def shown_url(url: str) -> str:
    """Return a URL without what may be secret in it: user, password, query."""
    return CREDENTIALS.sub("", url)


def _blocks_of(offset: int, length: int, size: int | None = None) -> range:
    """Return the numbers of the blocks that a range touches, of a file of that size."""
    end = offset + length if size is None else min(offset + length, size)
    return range(offset // BLOCK, -(-end // BLOCK))


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return runs, each as its first number and one past its last; short gaps are closed."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number - runs[-1][1] <= GAP // BLOCK:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


def _joined(
    blocks: Mapping[int, bytes | memoryview], offset: int, length: int, size: int | None
) -> bytes:
    """Return the bytes of a range of a file of that size, as many as the blocks hold."""
    touched = _blocks_of(offset, length, size)
    joined = b"".join(blocks.get(number, b"") for number in touched)
    start = offset - touched.start * BLOCK
    return joined[start : start + length]


def _is_more(data: bytes, start: int, end: int) -> bool:
    """Return whether a server gave more than the range that was asked for."""
    return len(data) > end - start
