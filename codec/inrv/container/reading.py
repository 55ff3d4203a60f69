"""Reading an .inrv file: header, table and manifest at once, chunks when they are asked for."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from inrv.container.layout import (
    BITS,
    CHUNK_FLAGS,
    CRITICAL,
    DEFAULT_LIMITS,
    ENTRY,
    GRID_CHUNKS,
    HEADER,
    HEADER_CRC,
    HEADER_SIZE,
    MAGIC,
    MAJOR,
    PASSTHROUGH,
    STORED,
    TOPOLOGY,
    VERSION,
    Limits,
    in_file_order,
)
from inrv.container.manifest import Manifest
from inrv.container.stored import check_crc, check_limit, check_sizes, compare_crcs, unpack
from inrv.errors import FormatError, OptionError
from inrv.support.inputs import Input
from inrv.support.recognition import refusal
from inrv.support.streams import Readable, input_of

PIECE = 1 << 24  # bytes that are read at a time where only their checksum is wanted
REPLACED = " was replaced since it was opened, as the checksums in its header tell: open it anew"


@dataclass(frozen=True)
class ChunkEntry:
    """A line of the chunk table.

    type: four ASCII letters
    critical: whether a reader must know the type
    compression: one of COMPRESSIONS
    offset: bytes from the start of the file
    stored: bytes in the file
    raw: bytes of the payload
    checksum: CRC-32 of the stored bytes
    """

    type: str
    critical: bool
    compression: int
    offset: int
    stored: int
    raw: int
    checksum: int


class Part(NamedTuple):
    """A part of a BITS chunk.

    chunk: number of the chunk
    offset: in bytes from the start of the chunk
    size: its bytes
    checksum: CRC-32 of them
    """

    chunk: int
    offset: int
    size: int
    checksum: int

    def __str__(self) -> str:
        return f"the part of {self.size:,} bytes at {self.offset:,} of the BITS chunk {self.chunk}"


class Container:
    """An open .inrv file.

    It pickles as its input, and is opened anew where it is unpickled. The header, with the
    checksums of manifest and table, tells whether these are still the same bytes.

    file: what the file is read from
    name: what messages call the file
    size: its bytes
    limits: the caller's limits
    header: the bytes of the header
    version: format version, major and minor
    entries: the chunk table
    manifest: what the file says of itself
    manifest_stored: bytes of the manifest in the file
    """

    def __init__(self, file: Input, limits: Limits) -> None:
        self.file, self.name, self.limits = file, file.name, limits
        try:
            self._open()
        except FormatError as error:
            raise error.within(self.name) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.file, self.limits, self.header)

    def _open(self) -> None:
        """Read header, table and manifest, each after its checksum and its sizes were checked."""
        self.header = header = self.file.part(0, HEADER_SIZE)
        self.version = version_of(header)
        if len(header) < HEADER_SIZE:
            found = f"has {len(header)} bytes, fewer than the {HEADER_SIZE} of a header"
            raise FormatError("H1", f"{found}: it is truncated")
        # The size comes after the first read, which tells that of a small file at a URL.
        self.size = self.file.size
        count, size, compression, stored, raw, manifest_crc, table_crc = HEADER.unpack(
            header[: HEADER.size]
        )[3:]
        check_crc(
            "H4", "the header", header[: HEADER.size], *HEADER_CRC.unpack_from(header, HEADER.size)
        )
        if size != self.size:
            message = (
                f"should have {size:,} bytes and has {self.size:,}: it is truncated or has grown"
            )
            raise FormatError("H5", message)
        if count > self.limits.chunks:
            message = f"holds {count:,} chunks, more than the limit of {self.limits.chunks:,}"
            raise FormatError("H6", message)
        start = HEADER_SIZE + count * ENTRY.size
        if start + stored > size:
            end = start + stored
            message = f"chunk table and manifest end at {end:,}, beyond the file's {size:,} bytes"
            raise FormatError("H7", message)
        check_limit("the manifest", raw, self.limits.manifest_bytes)
        check_sizes("the manifest", compression, stored, raw)
        # One read, which costs a request where the file is at a URL.
        head = self.file.part(HEADER_SIZE, start - HEADER_SIZE + stored)
        table, data = head[: count * ENTRY.size], head[count * ENTRY.size :]
        check_crc("T1", "the chunk table", table, table_crc)
        self.entries = _entries(table, start + stored, size, self.limits)
        self.manifest_stored = stored
        data = unpack("the manifest", data, compression, raw, manifest_crc)
        self.manifest = Manifest.from_json(data, self.limits.grids)
        self._check_references()
        self._check_exact_bytes()

    def chunk(self, number: int) -> bytes:
        """Return the raw payload of chunk `number`.

        Raises FormatError where it is missing, damaged or can no longer be read.
        """
        with self._reading():
            entry, what = self._entry(number)
            check_limit(what, entry.raw, self.limits.chunk_bytes)
            stored = self.file.part(entry.offset, entry.stored)
            return unpack(what, stored, entry.compression, entry.raw, entry.checksum)

    def part(self, number: int, offset: int, size: int, checksum: int) -> bytes:
        """Return a part of a BITS chunk, as `parts` does for many.

        number: of the chunk
        offset: of the part, in bytes from the start of the chunk
        size: its bytes
        checksum: CRC-32 of them

        Raises FormatError where it does not lie in the chunk, is damaged or can no longer be read.
        """
        return self.parts([Part(number, offset, size, checksum)])[0]

    def parts(self, parts: Sequence[Part]) -> list[bytes]:
        """Return parts of BITS chunks; their other bytes are not read.

        They are read together: of a file at a URL, by as few requests as there are gaps between
        them. Raises FormatError where one does not lie in its chunk, is damaged or can no longer be
        read.
        """
        with self._reading():
            ranges = [(self._place_of(part), part.size) for part in parts]
            found = self.file.parts(ranges)
            for part, data in zip(parts, found, strict=True):
                check_crc("S15", part, data, part.checksum)
            return found

    @property
    def distant(self) -> bool:
        """Whether each read takes a request, so that `fetch` pays."""
        return self.file.distant

    def fetch(self, parts: Sequence[Part]) -> None:
        """Take note of the parts that will be read next: at a URL they are read together.

        Raises FormatError where one does not lie in its chunk, or can no longer be read.
        """
        with self._reading():
            self.file.fetch([(self._place_of(part), part.size) for part in parts])

    def _place_of(self, part: Part) -> int:
        """Return where a part begins in the file. Raises FormatError."""
        entry, _ = self._entry(part.chunk)
        inside = min(part.offset, part.size) >= 0 and part.offset + part.size <= entry.raw
        if entry.type != BITS or not inside:
            found = f"does not lie in one: this {entry.type} chunk has {entry.raw:,} bytes"
            raise FormatError("S15", f"{part} {found}")
        check_limit(part, part.size, self.limits.chunk_bytes)
        return entry.offset + part.offset

    def check_bits(self, number: int) -> None:
        """Check the checksum of a whole BITS chunk, piece by piece: it may be of any size.

        Raises FormatError.
        """
        with self._reading():
            entry, what = self._entry(number)
            checksum = 0
            for start in range(0, entry.stored, PIECE):
                size = min(PIECE, entry.stored - start)
                checksum = zlib.crc32(self.file.part(entry.offset + start, size), checksum)
            compare_crcs("C5", what, checksum, entry.checksum)

    def _entry(self, number: int) -> tuple[ChunkEntry, str]:
        """Return the entry of a chunk and what messages call it. Raises FormatError."""
        if not 0 <= number < len(self.entries):
            message = f"there is no chunk {number}; the file holds {len(self.entries)}"
            raise FormatError("M11", message)
        return self.entries[number], f"chunk {number} {self.entries[number].type!r}"

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Make errors of what is read in the block name the file, and tell one that was replaced.

        Raises FormatError.
        """
        try:
            yield
        except FormatError as error:
            if self._replaced():
                raise FormatError("I2", f"{self.name}{REPLACED}") from error
            raise error.within(self.name) from error
        except OSError as error:
            message = f"{self.name}: can no longer be read: {error.strerror or error}"
            raise FormatError("I1", message) from error

    def _replaced(self) -> bool:
        try:
            return self.file.anew().part(0, HEADER_SIZE) != self.header
        except OSError:
            return False

    def bytes_by_type(self) -> dict[str, int]:
        """Return the stored bytes by chunk type.

        With 'header', the table included, and 'manifest' they add up to `size`.
        """
        header = HEADER_SIZE + ENTRY.size * len(self.entries)
        totals = Counter(header=header, manifest=self.manifest_stored)
        for entry in self.entries:
            totals[entry.type] += entry.stored
        return dict(totals)

    def check_reference(self, path: str, number: int, *types: str) -> None:
        """Check that a number in the manifest is that of a chunk of one of these types.

        path: where the number stands, as "manifest.grids[0].topology"
        Raises FormatError.
        """
        if number < len(self.entries) and self.entries[number].type in types:
            return
        found = "beyond the chunk table"
        if number < len(self.entries):
            found = f"a {self.entries[number].type} chunk"
        message = (
            f"{path} is {number}, {found}: it must be the number of a {' or '.join(types)} chunk"
        )
        raise FormatError("M11", message)

    def _check_references(self) -> None:
        """Check the chunk numbers in the manifest, but for those of the field."""
        for position, grid in enumerate(self.manifest.grids):
            for key, kind in GRID_CHUNKS.items():
                number = getattr(grid, key)
                if number is not None:
                    self.check_reference(f"manifest.grids[{position}].{key}", number, kind)
        for position, passed in enumerate(self.manifest.passthrough):
            path = f"manifest.passthrough[{position}]"
            for part, number in enumerate(passed.chunks):
                self.check_reference(f"{path}.chunks[{part}]", number, PASSTHROUGH)
            size = sum(self.entries[number].raw for number in passed.chunks)
            if size != passed.bytes:
                message = f"{path}.bytes is {passed.bytes:,}, its chunks hold {size:,}"
                raise FormatError("M16", message)

    def _check_exact_bytes(self) -> None:
        """Check the sizes of exact values: a chunk lies in memory as often as it is referred to."""
        keys = [key for key, kind in GRID_CHUNKS.items() if kind != TOPOLOGY]
        numbers = [getattr(grid, key) for grid in self.manifest.grids for key in keys]
        numbers += [number for passed in self.manifest.passthrough for number in passed.chunks]
        total = sum(self.entries[number].raw for number in numbers if number is not None)
        if total > self.limits.exact_bytes:
            most = self.limits.exact_bytes
            message = f"its exact values take {total:,} bytes, more than the limit of {most:,}"
            raise FormatError("L1", message)


def version_of(header: bytes, magic: bytes = MAGIC) -> tuple[int, int]:
    """Return the version that a header, or the head of a sequence, has.

    magic: what it must begin with
    Raises FormatError where this inrv does not read it.
    """
    if header[: len(magic)] != magic:
        raise FormatError("H2" if header else "H1", refusal(header, "an .inrv file"))
    if len(header) < VERSION.size:
        raise FormatError("H1", f"has {len(header)} bytes: it is truncated")
    _, major, minor = VERSION.unpack_from(header)
    if major != MAJOR:
        cure = f"install a release of inrv that reads {major}.x"
        if major < MAJOR:
            cure = "no release reads that draft of the format: encode the volume anew"
        message = f"is of format version {major}.{minor}; this inrv reads {MAJOR}.x: {cure}"
        raise FormatError("H3", message)
    return major, minor


def _entries(table: bytes, start: int, end: int, limits: Limits) -> tuple[ChunkEntry, ...]:
    """Return the chunk table; its chunks must fill the file from `start` to `end`."""
    entries = tuple(
        _chunk_entry(number, fields, limits)
        for number, fields in enumerate(ENTRY.iter_unpack(table))
    )
    for number, entry in in_file_order(entries):
        if entry.offset != start or entry.stored > end - start:
            found = f"lies at {entry.offset:,} with {entry.stored:,} bytes"
            expected = f"expected at {start:,}, ending by {end:,}"
            raise FormatError("T6", f"chunk {number} {entry.type!r} {found}; {expected}")
        start += entry.stored
    if start != end:
        raise FormatError("T7", f"the last chunk ends at {start:,}, the file at {end:,}")
    return entries


def _chunk_entry(number: int, fields: tuple[Any, ...], limits: Limits) -> ChunkEntry:
    """Return a line of the chunk table, checked by itself."""
    kind, flags, compression, spare, offset, stored, raw, checksum, reserved = fields
    what = f"chunk {number} {kind.decode('ascii', 'backslashreplace')!r}"
    name = _chunk_type(what, kind, flags)
    if flags > CRITICAL or spare or reserved:
        found = f"flags {flags}, {spare}, {reserved}"
        message = f"{what} sets bits that format version {MAJOR} reserves ({found})"
        raise FormatError("T5", message)
    if name != BITS:
        check_limit(what, raw, limits.chunk_bytes)
    check_sizes(what, compression, stored, raw)
    if name == BITS and compression != STORED:
        raise FormatError("C8", f"{what} is compressed: its parts could not be read one by one")
    critical = bool(flags & CRITICAL)
    return ChunkEntry(name, critical, compression, offset, stored, raw, checksum)


def _chunk_type(what: str, kind: bytes, flags: int) -> str:
    """Return the type of a chunk as text. Raises FormatError where its flag does not fit it."""
    if not kind.isalpha():
        raise FormatError("T2", f"{what}: a chunk type is four ASCII letters")
    name, critical = kind.decode("ascii"), flags & CRITICAL
    if name in CHUNK_FLAGS and critical != CHUNK_FLAGS[name]:
        expected = f"expected {CHUNK_FLAGS[name]} for its type"
        raise FormatError("T3", f"{what} has the critical flag {critical}; {expected}")
    if critical and name not in CHUNK_FLAGS:
        cure = "install a newer release of inrv"
        raise FormatError(
            "T4", f"{what} is critical and of a type that this inrv does not know: {cure}"
        )
    return name


def read_container(source: Readable, limits: Limits = DEFAULT_LIMITS) -> Container:
    """Open an .inrv file.

    source: a path, a URL, the bytes of the file, or a binary file object
    Raises FormatError where the file is missing, damaged, hostile or of another version, else what
    `input_of` raises, or OptionError where `limits` are none.
    """
    if not isinstance(limits, Limits):
        raise OptionError(f"limits is of type {type(limits).__name__}: give inrv.Limits(...)")
    return opened(input_of(source), limits)


def _reopened(file: Input, limits: Limits, header: bytes) -> Container:
    """Return the container that was pickled. Raises FormatError where its file is another."""
    container = opened(file, limits)
    if container.header != header:
        raise FormatError("I2", f"{file.name}{REPLACED}")
    return container


def opened(file: Input, limits: Limits) -> Container:
    """Open the container that an input holds. Raises FormatError."""
    try:
        return Container(file, limits)
    except OSError as error:
        message = f"{file.name} cannot be read: {error.strerror or error}"
        raise FormatError("I1", message) from error
    except ValueError as error:  # a NUL in the path, or a surrogate that stands for no byte
        raise FormatError("I1", f"{file.name!r} cannot be the path of a file: {error}") from error
