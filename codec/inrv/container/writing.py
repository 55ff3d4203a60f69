"""Writing an .inrv file: in memory, then atomically to its place."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from inrv.container import dictionary
from inrv.container.layout import (
    CHUNK_FLAGS,
    COMPRESSION_MINOR,
    ENTRY,
    FIRST_MINOR,
    HEADER,
    HEADER_CRC,
    HEADER_SIZE,
    MAGIC,
    MAJOR,
    STORED,
    ZSTD,
    ZSTD_DICTIONARY,
)
from inrv.container.manifest import Manifest
from inrv.container.reading import read_container
from inrv.errors import FormatError
from inrv.support.atomic import atomic_file
from inrv.support.streams import PATH, Writable, write_through

ZSTD_LEVEL = 19
LARGE = 1 << 20  # bytes from which on the dictionary saves nothing worth a second compression


@dataclass(frozen=True)
class Chunk:
    """A payload before compression, and its four-letter type."""

    type: str
    data: bytes


def write_container(path: str | os.PathLike[str], manifest: Manifest, chunks: Sequence[Chunk]) -> int:
    """Write the file atomically and return its size in bytes. Raises what `container_bytes` and `write_bytes` raise."""
    data = container_bytes(manifest, chunks)
    write_bytes(path, data)
    return len(data)


def container_bytes(manifest: Manifest, chunks: Sequence[Chunk]) -> bytes:
    """The bytes of the file: header, chunk table, manifest, chunks, without a gap.

    Raises FormatError where manifest or chunks break a rule of the format: nothing is written that no reader accepts.
    """
    manifest_raw, minor = manifest.to_json(), max(manifest.minor, _minor(chunks))
    manifest_compression, manifest_stored = _compress(manifest_raw, minor)
    table, payloads, end = _lay_out(chunks, minor, HEADER_SIZE + ENTRY.size * len(chunks) + len(manifest_stored))
    header = HEADER.pack(
        MAGIC, MAJOR, minor, len(chunks), end, manifest_compression, len(manifest_stored), len(manifest_raw),
        zlib.crc32(manifest_stored), zlib.crc32(table),
    )  # fmt: skip
    data = b"".join([header, HEADER_CRC.pack(zlib.crc32(header)), table, manifest_stored, *payloads])
    read_container(data)
    return data


def stored_size(raw: bytes) -> int:
    """The bytes that a chunk of version 1.0 takes in a file, its entry in the table apart."""
    return len(_compress(raw, 0)[1])


def _minor(chunks: Sequence[Chunk]) -> int:
    """The lowest minor version that has all the file uses, so that every reader that can read it will."""
    return max((FIRST_MINOR.get(chunk.type, 0) for chunk in chunks), default=0)


def _lay_out(chunks: Sequence[Chunk], minor: int, offset: int) -> tuple[bytes, list[bytes], int]:
    """Chunk table, stored payloads and the end of the last one, the first one beginning at `offset`."""
    entries, payloads = [], []
    for number, chunk in enumerate(chunks):
        if chunk.type not in CHUNK_FLAGS:
            raise FormatError("S2", f"chunk {number} is of type {chunk.type!r}; the format has {', '.join(CHUNK_FLAGS)}")
        compression, stored = _compress(chunk.data, minor)
        flags, checksum = CHUNK_FLAGS[chunk.type], zlib.crc32(stored)
        kind = chunk.type.encode("ascii")
        entries.append(ENTRY.pack(kind, flags, compression, 0, offset, len(stored), len(chunk.data), checksum, 0))
        payloads.append(stored)
        offset += len(stored)
    return b"".join(entries), payloads, offset


def _compress(data: bytes, minor: int) -> tuple[int, bytes]:
    """The smallest of what a file of version 1.`minor` may hold, the plainest of equal ones."""
    found = {STORED: data, ZSTD: zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True).compress(data)}
    if minor >= COMPRESSION_MINOR[ZSTD_DICTIONARY] and len(data) < LARGE:
        found[ZSTD_DICTIONARY] = dictionary.compress(data, ZSTD_LEVEL)
    return min(found.items(), key=lambda item: (len(item[1]), item[0]))


def write_bytes(target: Writable, data: bytes) -> None:
    """Write `data` to a path, so that the file there is at any moment the old one or the whole new one, or to a file object.

    Raises OutputError where no file can be written at the path; nothing is left behind then. What a file object raises is
    passed on.
    """
    if not isinstance(target, PATH):
        write_through(target, data)
        return
    with atomic_file(target) as file:
        file.write(data)
