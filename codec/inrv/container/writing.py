"""Writing an .inrv file: in memory, then atomically to its place."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from inrv.container.layout import CRITICAL, ENTRY, HEADER, HEADER_CRC, HEADER_SIZE, MAGIC, MAJOR, MINOR, STORED, ZSTD
from inrv.container.manifest import Manifest
from inrv.errors import InrvError

ZSTD_LEVEL = 19
ANCILLARY = frozenset({"REFS"})


@dataclass(frozen=True)
class Chunk:
    """A payload before compression, and its four-letter type."""

    type: str
    data: bytes


def container_bytes(manifest: Manifest, chunks: Sequence[Chunk]) -> bytes:
    """The bytes of the file: header, chunk table, manifest, chunks, without a gap."""
    manifest_raw = manifest.to_json()
    manifest_compression, manifest_stored = _compress(manifest_raw)
    offset = HEADER_SIZE + ENTRY.size * len(chunks) + len(manifest_stored)
    entries, payloads = [], []
    for chunk in chunks:
        compression, stored = _compress(chunk.data)
        flags = 0 if chunk.type in ANCILLARY else CRITICAL
        checksum = zlib.crc32(stored)
        entries.append(
            ENTRY.pack(chunk.type.encode("ascii"), flags, compression, 0, offset, len(stored), len(chunk.data), checksum, 0)
        )
        payloads.append(stored)
        offset += len(stored)
    table = b"".join(entries)
    header = HEADER.pack(
        MAGIC, MAJOR, MINOR, len(chunks), offset, manifest_compression, len(manifest_stored), len(manifest_raw),
        zlib.crc32(manifest_stored), zlib.crc32(table),
    )  # fmt: skip
    return b"".join([header, HEADER_CRC.pack(zlib.crc32(header)), table, manifest_stored, *payloads])


def _compress(data: bytes) -> tuple[int, bytes]:
    compressed = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True).compress(data)
    return (ZSTD, compressed) if len(compressed) < len(data) else (STORED, data)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` so that the file there is at any moment the old one or the whole new one.

    Raises InrvError where the folder is missing, read-only or full; nothing is left behind then.
    """
    target = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            temporary = file.name
            os.chmod(temporary, 0o666 & ~_umask())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise InrvError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
