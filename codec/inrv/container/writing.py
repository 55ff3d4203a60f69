"""Writing an .inrv file: in memory, then atomically to its place."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

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
from inrv.support.atomic import atomic_file
from inrv.support.streams import PATH, Writable, write_through

ZSTD_LEVEL = 19


@dataclass(frozen=True)
class Chunk:
    """A chunk before compression.

    type: four letters, one of CHUNK_FLAGS
    data: its payload
    """

    type: str
    data: bytes


def container_bytes(manifest: Manifest, chunks: Sequence[Chunk]) -> bytes:
    """Return the bytes of the file: header, chunk table, manifest, chunks, without a gap.

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
    data = b"".join([header, HEADER_CRC.pack(zlib.crc32(header)), table, stored, *payloads])
    read_container(data)
    return data


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


def write_bytes(target: Writable, data: bytes) -> None:
    """Write `data` to a path or to a binary file object.

    The file at a path is at any moment the old one or the whole new one.
    Raises OutputError where no file can be written at the path; nothing is left behind then. What a
    file object raises is passed on.
    """
    if not isinstance(target, PATH):
        write_through(target, data)
        return
    with atomic_file(target) as file:
        file.write(data)
