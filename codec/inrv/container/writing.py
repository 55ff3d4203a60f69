"""Writing an .inrv file: laid out in memory, then piece by piece and atomically to its place."""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import BinaryIO

from inrv.container.layout import (
    BITS,
    CHUNK_FLAGS,
    CRITICAL,
    ENTRY,
    HEADER,
    HEADER_CRC,
    HEADER_SIZE,
    MAGIC,
    MAJOR,
    MINOR,
    STORED,
    in_file_order,
)
from inrv.container.manifest import FrameEntry, Manifest
from inrv.container.reading import Container, read_container
from inrv.container.stored import compress
from inrv.errors import FormatError
from inrv.support.atomic import write_pieces
from inrv.support.inputs import Input
from inrv.support.streams import Writable


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

    pieces: header, chunk table and manifest, and then the chunks as they are stored, in the order
        of the file
    name: what errors call it
    """

    pieces: tuple[bytes, ...]
    name: str = "<bytes>"

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
    raw = manifest.to_json()
    compression, stored = compress(raw)
    start = HEADER_SIZE + ENTRY.size * len(chunks) + len(stored)
    table, payloads, end = _lay_out(chunks, start)
    head = _head(table, end, compression, stored, len(raw))
    file = AssembledFile((head, *payloads))
    read_container(file)
    return file


def container_of_frames(container: Container, frames: tuple[FrameEntry, ...]) -> AssembledFile:
    """Return the same container whose manifest says something else of its frames.

    Chunks are copied as they are stored. Raises FormatError.
    """
    raw = replace(container.manifest, frames=frames).to_json()
    compression, stored = compress(raw)
    before = HEADER_SIZE + ENTRY.size * len(container.entries) + container.manifest_stored
    longer = len(stored) - container.manifest_stored
    table = b"".join(
        ENTRY.pack(
            entry.type.encode(), CRITICAL if entry.critical else 0, entry.compression, 0,
            entry.offset + longer, entry.stored, entry.raw, entry.checksum, 0,
        )
        for entry in container.entries
    )  # fmt: skip
    head = _head(table, container.size + longer, compression, stored, len(raw))
    chunks = container.file.part(before, container.size - before)
    file = AssembledFile((head, chunks), container.name)
    read_container(file)
    return file


def _head(table: bytes, end: int, compression: int, manifest: bytes, raw: int) -> bytes:
    """Return header, chunk table and manifest of a file.

    end: bytes of the file
    compression: of the manifest
    manifest: as it is stored
    raw: bytes of its JSON
    """
    header = HEADER.pack(
        MAGIC, MAJOR, MINOR, len(table) // ENTRY.size, end, compression, len(manifest), raw,
        zlib.crc32(manifest), zlib.crc32(table),
    )  # fmt: skip
    return b"".join([header, HEADER_CRC.pack(zlib.crc32(header)), table, manifest])


def container_bytes(manifest: Manifest, chunks: Sequence[Chunk]) -> bytes:
    """Return the bytes of the file that `assemble` makes. Raises FormatError."""
    return assemble(manifest, chunks).joined()


def stored_size(raw: bytes) -> int:
    """Return the bytes that a payload takes in a file, its entry in the table apart."""
    return len(compress(raw)[1])


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
        compression, stored = (STORED, chunk.data) if chunk.type == BITS else compress(chunk.data)
        flags, checksum = CHUNK_FLAGS[chunk.type], zlib.crc32(stored)
        sizes = offset, len(stored), len(chunk.data)
        packed = ENTRY.pack(chunk.type.encode(), flags, compression, 0, *sizes, checksum, 0)
        entries[number] = packed
        payloads.append(stored)
        offset += len(stored)
    return b"".join(entries), payloads, offset
