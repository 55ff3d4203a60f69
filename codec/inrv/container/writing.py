"""Writing an .inrv file: laid out in memory, then piece by piece and atomically to its place."""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import BinaryIO

from inrv.container import dictionary
from inrv.container.layout import (
    BITS,
    CHUNK_FLAGS,
    ENTRY,
    HEADER,
    HEADER_CRC,
    HEADER_SIZE,
    MAGIC,
    MAJOR,
    MINOR,
    STORED,
    ZSTD,
    in_file_order,
)
from inrv.container.manifest import Manifest
from inrv.container.reading import read_container
from inrv.errors import FormatError
from inrv.support.atomic import write_pieces
from inrv.support.inputs import Input
from inrv.support.streams import Writable

ZSTD_LEVEL = 19


@dataclass(frozen=True)
class Chunk:
    """A chunk before compression.

    type: four letters, one of CHUNK_FLAGS
    data: its payload
    """

    type: str
    data: bytes


@dataclass(frozen=True, eq=False)
class AssembledFile(Input):
    """An .inrv file that is yet to be written. It is read like any other input.

    pieces: header, chunk table and manifest, and then each chunk as it is stored, in the order of
        the file
    """

    pieces: tuple[bytes, ...]
    name = "<bytes>"

    @cached_property
    def _starts(self) -> list[int]:
        """Where each piece begins, and where the last one ends."""
        return [0, *accumulate(map(len, self.pieces))]

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._starts[-1]

    def open(self) -> BinaryIO:
        """Open it as a binary file, joined."""
        return io.BytesIO(self.joined())

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Give the bytes of several ranges."""
        return [b"".join(self._within(offset, offset + length)) for offset, length in ranges]

    def _within(self, start: int, end: int) -> Iterator[bytes]:
        """Give what the pieces hold from `start` to `end`."""
        for number in range(max(bisect_right(self._starts, start) - 1, 0), len(self.pieces)):
            at = self._starts[number]
            if at >= end:
                return
            yield self.pieces[number][max(start - at, 0) : end - at]

    def joined(self) -> bytes:
        """Give all its bytes."""
        return b"".join(self.pieces)

    def write(self, target: Writable) -> None:
        """Write it to a path or to a binary file object, piece by piece.

        The file at a path is at any moment the old one or the whole new one. Raises OutputError
        where no file can be written at the path, and what a file object raises.
        """
        write_pieces(target, self.pieces)


def assemble(manifest: Manifest, chunks: Sequence[Chunk]) -> AssembledFile:
    """Return the file of a manifest and chunks: header, chunk table, manifest, chunks, no gap.

    Raises FormatError where manifest or chunks break a rule of the container: nothing is written
    that no reader accepts.
    """
    manifest_raw = manifest.to_json()
    compression, stored = _compress(manifest_raw)
    start = HEADER_SIZE + ENTRY.size * len(chunks) + len(stored)
    table, payloads, end = _lay_out(chunks, start)
    header = HEADER.pack(
        MAGIC, MAJOR, MINOR, len(chunks), end, compression, len(stored), len(manifest_raw),
        zlib.crc32(stored), zlib.crc32(table),
    )  # fmt: skip
    head = b"".join([header, HEADER_CRC.pack(zlib.crc32(header)), table, stored])
    file = AssembledFile((head, *payloads))
    read_container(file)
    return file


def container_bytes(manifest: Manifest, chunks: Sequence[Chunk]) -> bytes:
    """Return the bytes of the file that `assemble` makes. Raises FormatError."""
    return assemble(manifest, chunks).joined()


def stored_size(raw: bytes) -> int:
    """Return the bytes that a payload takes in a file, its entry in the table apart."""
    return len(_compress(raw)[1])


def _lay_out(chunks: Sequence[Chunk], offset: int) -> tuple[bytes, list[bytes], int]:
    """Return chunk table, stored payloads and the end of the last; the first is at `offset`.

    The table is in the order of the chunks, the payloads are in that of the file.
    """
    entries, payloads = [b""] * len(chunks), []
    for number, chunk in in_file_order(chunks):
        if chunk.type not in CHUNK_FLAGS:
            known = ", ".join(CHUNK_FLAGS)
            message = f"chunk {number} is of type {chunk.type!r}; the format has {known}"
            raise FormatError("T4", message)
        compression, stored = (STORED, chunk.data) if chunk.type == BITS else _compress(chunk.data)
        flags, checksum = CHUNK_FLAGS[chunk.type], zlib.crc32(stored)
        sizes = offset, len(stored), len(chunk.data)
        packed = ENTRY.pack(chunk.type.encode(), flags, compression, 0, *sizes, checksum, 0)
        entries[number] = packed
        payloads.append(stored)
        offset += len(stored)
    return b"".join(entries), payloads, offset


def _compress(data: bytes) -> tuple[int, bytes]:
    """Return how `data` takes fewest bytes in a file, and these bytes."""
    packed = dictionary.compress(data, ZSTD_LEVEL)
    return (ZSTD, packed) if len(packed) < len(data) else (STORED, data)
