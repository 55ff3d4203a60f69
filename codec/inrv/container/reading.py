"""Reading an .inrv file: header, table and manifest at once, chunks when asked."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zstandard

from inrv.container.layout import CRITICAL, ENTRY, HEADER, HEADER_CRC, HEADER_SIZE, MAGIC, MAJOR, STORED, ZSTD, Limits
from inrv.container.manifest import Manifest
from inrv.errors import FormatError

KNOWN = frozenset({"TOPO", "EXAC", "FELD", "REFS"})
Reader = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Entry:
    """A line of the chunk table: sizes and offset in bytes, CRC-32 of the stored bytes."""

    type: str
    critical: bool
    compression: int
    offset: int
    stored: int
    raw: int
    checksum: int


class Container:
    """An open .inrv file. `version` is (major, minor), `size` its bytes, `entries` the chunk table."""

    def __init__(self, name: str, size: int, read: Reader, limits: Limits) -> None:
        self.name, self.size, self._read, self._limits = name, size, read, limits
        try:
            self._open()
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from error

    def _open(self) -> None:
        if self.size < HEADER_SIZE:
            raise FormatError(f"{self.size} bytes are too few for an .inrv file")
        header = self._read(0, HEADER_SIZE)
        magic, major, minor, count, size, compression, stored, raw, manifest_crc, table_crc = HEADER.unpack(header[: HEADER.size])
        if magic != MAGIC:
            raise FormatError(f"starts with {magic!r}: not an .inrv file")
        if HEADER_CRC.unpack(header[HEADER.size :])[0] != zlib.crc32(header[: HEADER.size]):
            raise FormatError("the header's checksum does not hold: the file is damaged")
        if major != MAJOR:
            raise FormatError(
                f"is of format version {major}.{minor}; this inrv reads {MAJOR}.x: install a release that reads {major}.x"
            )
        if size != self.size:
            raise FormatError(f"should have {size:,} bytes and has {self.size:,}: it is truncated or has grown")
        if count > self._limits.chunks:
            raise FormatError(f"holds {count:,} chunks, more than the limit of {self._limits.chunks:,}")
        self.version = (major, minor)
        self.manifest_stored = stored
        start = HEADER_SIZE + count * ENTRY.size
        if start + stored > size:
            raise FormatError("chunk table and manifest reach beyond the end of the file")
        table = self._read(HEADER_SIZE, count * ENTRY.size)
        if zlib.crc32(table) != table_crc:
            raise FormatError("the chunk table's checksum does not hold: the file is damaged")
        self.entries = _entries(table, start + stored, size, self._limits)
        if raw > self._limits.manifest_bytes:
            raise FormatError(f"the manifest has {raw:,} bytes, more than the limit of {self._limits.manifest_bytes:,}")
        data = _unpack("manifest", self._read(start, stored), compression, raw, manifest_crc)
        self.manifest = Manifest.from_json(data, self._limits.grids)
        self._check_references()

    def chunk(self, number: int) -> bytes:
        """The raw payload of chunk `number`. Raises FormatError where its checksum or size does not hold."""
        entry = self.entries[number]
        try:
            return _unpack(
                f"chunk {number} {entry.type}",
                self._read(entry.offset, entry.stored),
                entry.compression,
                entry.raw,
                entry.checksum,
            )
        except FormatError as error:
            raise FormatError(f"{self.name}: {error}") from error

    def bytes_by_type(self) -> dict[str, int]:
        """Stored bytes by chunk type, with 'header' (table included) and 'manifest': they add up to `size`."""
        totals = Counter(header=HEADER_SIZE + ENTRY.size * len(self.entries), manifest=self.manifest_stored)
        for entry in self.entries:
            totals[entry.type] += entry.stored
        return dict(totals)

    def _check_references(self) -> None:
        for position, grid in enumerate(self.manifest.grids):
            self._check_reference(f"grids[{position}].topology", grid.topology, "TOPO")
            if grid.exact_values is not None:
                self._check_reference(f"grids[{position}].exact_values", grid.exact_values, "EXAC")
        if self.manifest.field is not None:
            self._check_reference("field.tensors", self.manifest.field.tensors, "FELD")
        if self.manifest.reference is not None:
            self._check_reference("reference", self.manifest.reference, "REFS")

    def _check_reference(self, path: str, number: int, kind: str) -> None:
        if number >= len(self.entries) or self.entries[number].type != kind:
            found = f"a {self.entries[number].type} chunk" if number < len(self.entries) else "beyond the chunk table"
            raise FormatError(f"manifest.{path} is {number}, {found}: it must be the number of a {kind} chunk")


def _entries(table: bytes, start: int, end: int, limits: Limits) -> tuple[Entry, ...]:
    entries = []
    for number, fields in enumerate(ENTRY.iter_unpack(table)):
        kind, flags, compression, spare, offset, stored, raw, checksum, reserved = fields
        name = kind.decode("ascii", "backslashreplace")
        if flags & CRITICAL and name not in KNOWN:
            raise FormatError(
                f"chunk {number} is of the critical type {name!r}, which this inrv does not know: install a newer release"
            )
        if flags > CRITICAL or spare or reserved:
            raise FormatError(f"chunk {number} {name!r} sets bits that format version 1 reserves")
        if offset != start or stored > end - start:
            raise FormatError(
                f"chunk {number} {name!r} lies at {offset} with {stored} bytes; expected at {start}, ending by {end}"
            )
        if raw > limits.chunk_bytes:
            raise FormatError(f"chunk {number} {name!r} unpacks to {raw:,} bytes, more than the limit of {limits.chunk_bytes:,}")
        entries.append(Entry(name, bool(flags & CRITICAL), compression, offset, stored, raw, checksum))
        start += stored
    if start != end:
        raise FormatError(f"the last chunk ends at {start}, the file at {end}")
    return tuple(entries)


def _unpack(what: str, stored: bytes, compression: int, raw: int, checksum: int) -> bytes:
    if zlib.crc32(stored) != checksum:
        raise FormatError(f"the checksum of {what} does not hold: the file is damaged")
    if compression == STORED:
        data = stored
    elif compression == ZSTD:
        data = _decompress(what, stored, raw)
    else:
        raise FormatError(f"{what} has compression {compression}; known are {STORED} (none) and {ZSTD} (zstd)")
    if len(data) != raw:
        raise FormatError(f"{what} unpacks to {len(data):,} bytes, the file says {raw:,}")
    return data


def _decompress(what: str, stored: bytes, raw: int) -> bytes:
    """The frame's own size is checked first, so that no more is allocated than the table admits."""
    try:
        size = zstandard.frame_content_size(stored)
        if size != raw:
            raise FormatError(f"{what} unpacks to {size:,} bytes, the file says {raw:,}")
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=raw, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"{what} is not a valid zstd frame: {error}") from error


def read_container(source: str | os.PathLike[str] | bytes, limits: Limits = Limits()) -> Container:
    """Open an .inrv file or its bytes. Raises FormatError where it is missing, damaged, hostile or of another version."""
    if isinstance(source, bytes):
        return Container("<bytes>", len(source), lambda offset, size: source[offset : offset + size], limits)
    path = Path(source)
    try:
        size = path.stat().st_size
        return Container(str(path), size, lambda offset, length: _read_part(path, offset, length), limits)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_part(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
