"""Reading an .inrv file: header, table and manifest at once, chunks when asked."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import zstandard

from inrv.container.dictionary import FRAME_MAGIC, dictionary
from inrv.container.layout import (
    CHUNK_FLAGS,
    COMPRESSION_MINOR,
    CRITICAL,
    DEFAULT_LIMITS,
    ENTRY,
    HEADER,
    HEADER_CRC,
    HEADER_SIZE,
    MAGIC,
    MAJOR,
    STORED,
    VERSION,
    ZSTD_DICTIONARY,
    Limits,
)
from inrv.container.manifest import Manifest
from inrv.errors import FormatError
from inrv.support.recognition import refusal
from inrv.support.streams import Input, Readable, input_of

REPLACED = " was replaced since it was opened, as the checksums in its header tell: open it anew"


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
    """An open .inrv file. `version` is (major, minor), `size` its bytes, `entries` the chunk table, `limits` the caller's.

    It pickles as its input, and is opened anew where it is unpickled. The header, with the checksums of
    manifest and table, tells whether these are still the same bytes.
    """

    def __init__(self, file: Input, limits: Limits) -> None:
        self.file, self.name, self.size, self._read, self.limits = file, file.name, file.size, file.part, limits
        try:
            self._open()
        except FormatError as error:
            raise error.within(self.name) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.file, self.limits, self.header)

    def _open(self) -> None:
        self.header = header = self._read(0, HEADER_SIZE)
        self.version = _version(header)
        if len(header) < HEADER_SIZE:
            raise FormatError("H1", f"has {len(header)} bytes, fewer than the {HEADER_SIZE} of a header: it is truncated")
        count, size, compression, stored, raw, manifest_crc, table_crc = HEADER.unpack_from(header)[3:]
        _check_crc("the header", header[: HEADER.size], *HEADER_CRC.unpack_from(header, HEADER.size))
        if size != self.size:
            raise FormatError("H5", f"should have {size:,} bytes and has {self.size:,}: it is truncated or has grown")
        if count > self.limits.chunks:
            raise FormatError("H6", f"holds {count:,} chunks, more than the limit of {self.limits.chunks:,}")
        start = HEADER_SIZE + count * ENTRY.size
        if start + stored > size:
            raise FormatError("H7", f"chunk table and manifest end at {start + stored:,}, beyond the file's {size:,} bytes")
        table = self._read(HEADER_SIZE, count * ENTRY.size)
        _check_crc("the chunk table", table, table_crc)
        self.entries = _entries(table, start + stored, size, self.version[1], self.limits)
        self.manifest_stored = stored
        _check_compression("the manifest", compression, self.version[1])
        _check_sizes("the manifest", compression, stored, raw, self.limits.manifest_bytes)
        data = _unpack("the manifest", self._read(start, stored), compression, raw, manifest_crc)
        self.manifest = Manifest.from_json(data, self.limits.grids)
        self._check_references()
        self._check_exact_bytes()

    def chunk(self, number: int) -> bytes:
        """The raw payload of chunk `number`. Raises FormatError where it is missing, damaged or can no longer be read."""
        try:
            if not 0 <= number < len(self.entries):
                raise FormatError("M11", f"there is no chunk {number}; the file holds {len(self.entries)}")
            entry = self.entries[number]
            stored = self._read(entry.offset, entry.stored)
            return _unpack(f"chunk {number} {entry.type!r}", stored, entry.compression, entry.raw, entry.checksum)
        except FormatError as error:
            raise (FormatError("I2", f"{self.name}{REPLACED}") if self._replaced() else error.within(self.name)) from error
        except OSError as error:
            raise FormatError("I1", f"{self.name}: can no longer be read: {error.strerror or error}") from error

    def _replaced(self) -> bool:
        try:
            return self._read(0, HEADER_SIZE) != self.header
        except OSError:
            return False

    def bytes_by_type(self) -> dict[str, int]:
        """Stored bytes by chunk type, with 'header' (table included) and 'manifest': they add up to `size`."""
        totals = Counter(header=HEADER_SIZE + ENTRY.size * len(self.entries), manifest=self.manifest_stored)
        for entry in self.entries:
            totals[entry.type] += entry.stored
        return dict(totals)

    def _check_exact_bytes(self) -> None:
        """Each chunk as often as it is referred to: that often it comes to lie in memory."""
        grids, passthrough = self.manifest.grids, self.manifest.passthrough
        numbers = [
            number
            for grid in grids
            for number in (grid.inactive_values, grid.frequent_values, grid.exact_values, grid.outliers)
            if number is not None
        ]
        numbers += [number for entry in passthrough for number in entry.chunks]
        total = sum(self.entries[number].raw for number in numbers)
        if total > self.limits.exact_bytes:
            raise FormatError("L1", f"its exact values take {total:,} bytes, more than the limit of {self.limits.exact_bytes:,}")

    def _check_references(self) -> None:
        for position, grid in enumerate(self.manifest.grids):
            self._check_reference(f"grids[{position}].topology", grid.topology, "TOPO", "MASK", "TREE")
            if grid.inactive_values is not None:
                self._check_reference(f"grids[{position}].exact_values", grid.inactive_values, "EXAC", "INAC")
            if grid.frequent_values is not None:
                self._check_reference(f"grids[{position}].frequent_values", grid.frequent_values, "FREQ")
            if grid.exact_values is not None:
                self._check_reference(f"grids[{position}].kept_values", grid.exact_values, "KEEP")
            if grid.outliers is not None:
                self._check_reference(f"grids[{position}].corrected_values", grid.outliers, "KEEP")
        for number, passthrough in enumerate(self.manifest.passthrough):
            for part, chunk in enumerate(passthrough.chunks):
                self._check_reference(f"carried[{number}].chunks[{part}]", chunk, "GRID")
            size = sum(self.entries[chunk].raw for chunk in passthrough.chunks)
            if size != passthrough.bytes:
                raise FormatError("M16", f"manifest.carried[{number}].bytes is {passthrough.bytes:,}, its chunks hold {size:,}")
        self._check_field_references()
        if self.manifest.reference is not None:
            self._check_reference("reference", self.manifest.reference, "REFS")

    def _check_field_references(self) -> None:
        field = self.manifest.field
        if field is not None and field.tensors is not None:
            self._check_reference("field.tensors", field.tensors, "FELD")
        if field is not None and field.type == "lattice":
            for number, channel in enumerate(field.config["channels"]):
                self._check_reference(f"field.config.channels[{number}].codes", channel["codes"], "CODE")

    def _check_reference(self, path: str, number: int, *kinds: str) -> None:
        if number >= len(self.entries) or self.entries[number].type not in kinds:
            found = f"a {self.entries[number].type} chunk" if number < len(self.entries) else "beyond the chunk table"
            raise FormatError(
                "M11", f"manifest.{path} is {number}, {found}: it must be the number of a {' or '.join(kinds)} chunk"
            )


def _version(header: bytes) -> tuple[int, int]:
    if header[: len(MAGIC)] != MAGIC:
        raise FormatError("H2" if header else "H1", refusal(header, "an .inrv file"))
    if len(header) < VERSION.size:
        raise FormatError("H1", f"has {len(header)} bytes: it is truncated")
    _, major, minor = VERSION.unpack_from(header)
    if major != MAJOR:
        raise FormatError(
            "H3",
            f"is of format version {major}.{minor}; this inrv reads {MAJOR}.x: install a release of inrv that reads {major}.x",
        )
    return major, minor


def _entries(table: bytes, start: int, end: int, minor: int, limits: Limits) -> tuple[Entry, ...]:
    entries = []
    for number, fields in enumerate(ENTRY.iter_unpack(table)):
        kind, flags, compression, spare, offset, stored, raw, checksum, reserved = fields
        what = f"chunk {number} {kind.decode('ascii', 'backslashreplace')!r}"
        name = _chunk_type(what, kind, flags)
        if flags > CRITICAL or spare or reserved:
            raise FormatError("T5", f"{what} sets bits that format version {MAJOR} reserves (flags {flags}, {spare}, {reserved})")
        if offset != start or stored > end - start:
            raise FormatError("T6", f"{what} lies at {offset:,} with {stored:,} bytes; expected at {start:,}, ending by {end:,}")
        _check_compression(what, compression, minor)
        _check_sizes(what, compression, stored, raw, limits.chunk_bytes)
        entries.append(Entry(name, bool(flags & CRITICAL), compression, offset, stored, raw, checksum))
        start += stored
    if start != end:
        raise FormatError("T7", f"the last chunk ends at {start:,}, the file at {end:,}")
    return tuple(entries)


def _chunk_type(what: str, kind: bytes, flags: int) -> str:
    if not kind.isalpha():
        raise FormatError("T2", f"{what}: a chunk type is four ASCII letters")
    name, critical = kind.decode("ascii"), flags & CRITICAL
    if name in CHUNK_FLAGS and critical != CHUNK_FLAGS[name]:
        raise FormatError("T3", f"{what} has the critical flag {critical}; expected {CHUNK_FLAGS[name]} for its type")
    if critical and name not in CHUNK_FLAGS:
        raise FormatError("T4", f"{what} is critical and of a type that this inrv does not know: install a newer release of inrv")
    return name


def _check_compression(what: str, compression: int, minor: int) -> None:
    if compression not in COMPRESSION_MINOR:
        raise FormatError(
            "C1", f"{what} has compression {compression}; known are 0 (none), 1 (zstd) and 2 (zstd with dictionary)"
        )
    if minor < (first := COMPRESSION_MINOR[compression]):
        raise FormatError(
            "C1", f"{what} has compression {compression}; it came with version {MAJOR}.{first}, the file says {MAJOR}.{minor}"
        )


def _check_sizes(what: str, compression: int, stored: int, raw: int, limit: int) -> None:
    """Before a byte of it is read: sizes that fit the compression, and no more than the limit."""
    if raw > limit:
        raise FormatError("C2", f"{what} unpacks to {raw:,} bytes, more than the limit of {limit:,}")
    if compression == STORED and stored != raw:
        raise FormatError("C3", f"{what} is not compressed, yet its stored size is {stored:,} and its raw size {raw:,}")
    if compression != STORED and stored >= raw:
        raise FormatError("C4", f"{what} is compressed, yet its stored size {stored:,} is not below its raw size {raw:,}")


def _check_crc(what: str, data: bytes, expected: int) -> None:
    if (found := zlib.crc32(data)) != expected:
        raise FormatError("C5", f"{what} has the checksum {found:08x}, expected {expected:08x}: the file is damaged")


def _unpack(what: str, stored: bytes, compression: int, raw: int, checksum: int) -> bytes:
    _check_crc(what, stored, checksum)
    if compression == STORED:
        return stored
    coded = compression == ZSTD_DICTIONARY
    frame = FRAME_MAGIC + stored if coded else stored
    try:
        # The frame's own size comes first: no more is allocated than the table admits.
        size = zstandard.frame_content_size(frame)
        if size != raw:
            raise FormatError("C7", f"{what} holds a zstd frame of {size:,} bytes (-1: not said), expected {raw:,}")
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary() if coded else None)
        return decompressor.decompress(frame, max_output_size=raw, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError("C6", f"{what} is not one valid zstd frame: {error}") from error
    except MemoryError as error:
        raise FormatError("L6", f"{what} unpacks to {raw:,} bytes, more than there is memory for") from error


def read_container(source: Readable, limits: Limits = DEFAULT_LIMITS) -> Container:
    """Open an .inrv file. Raises FormatError where it is missing, damaged, hostile or of another version, else as `input_of`."""
    return _opened(input_of(source), limits)


def _reopened(file: Input, limits: Limits, header: bytes) -> Container:
    """The container that was pickled. Raises FormatError where its file is gone or another one."""
    container = _opened(file, limits)
    if container.header != header:
        raise FormatError("I2", f"{file.name}{REPLACED}")
    return container


def _opened(file: Input, limits: Limits) -> Container:
    try:
        return Container(file, limits)
    except OSError as error:
        raise FormatError("I1", f"{file.name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path, or a surrogate that stands for no byte
        raise FormatError("I1", f"{file.name!r} cannot be the path of a file: {error}") from error
