"""A sequence: groups of frames in one file, and the index that tells where each group lies.

A group is a whole container, so that it can be read, written and copied without the others. The
index comes in records, each behind the groups that it is written for; one of two slots in the head
names the last. See spec/sequence.md.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Annotated, Any, BinaryIO

from inrv.container.json_rules import Value, choice, each, entry, nullable, parse_json
from inrv.container.layout import (
    DEFAULT_LIMITS,
    MAJOR,
    MINOR,
    SEQUENCE_MAGIC,
    STORED,
    ZSTD,
    Limits,
)
from inrv.container.manifest import (
    MetaEntry,
    ascend,
    frame_number,
    json_value,
    metadata_entries,
)
from inrv.container.reading import Container, opened, version_of
from inrv.container.stored import check_limit, check_sizes, compress, unpack
from inrv.errors import FormatError
from inrv.support.inputs import Input
from inrv.support.streams import Readable, input_of

HEAD = struct.Struct("<8sHHI")  # magic, major, minor, 0
SLOT = struct.Struct("<QIII")  # where the last record lies: offset, stored and raw size, CRC-32
SLOT_CRC = struct.Struct("<I")  # of the slot
SLOT_SIZE = SLOT.size + SLOT_CRC.size
SLOTS = tuple(HEAD.size + number * SLOT_SIZE for number in range(2))
HEAD_SIZE = SLOTS[-1] + SLOT_SIZE
LOOPS = ("none", "repeat", "ping-pong")
MOST_MISSING = 100_000  # numbers that are listed, of frames that are missing
MOST_RECORDS = 64  # that one index is read from: each covers about twice as much as the next


def _rate(value: Value) -> tuple[int, int]:
    """Read frames a unit of time, as numerator and denominator."""
    above, below = (item.count((1 << 31) - 1, "2^31 - 1", least=1) for item in value.exactly(2))
    return above, below


def _increment(value: Value) -> float | int:
    """Read how far two frames are apart."""
    found = frame_number(value)
    if not found > 0:
        raise value.fail(value.id, "must be above 0")
    return found


@dataclass(frozen=True)
class Timeline:
    """How the frames of a sequence lie in time.

    rate: frames a unit of time, as numerator and denominator; None where it is not known
    unit: of the times, as "s"
    start: number of the first frame that there should be; None: that of the first there is
    increment: from the number of a frame to that of the next
    loop: what a player does behind the last frame: one of LOOPS
    pattern: the name of the files that the frames came from, as "fire.####.vdb"; "" for none
    metadata: of the sequence, by name
    """

    rate: Annotated[tuple[int, int] | None, nullable(_rate)] = None
    unit: Annotated[str, Value.text] = "s"
    start: Annotated[float | int | None, nullable(frame_number)] = None
    increment: Annotated[float | int, _increment] = 1
    loop: Annotated[str, choice(*LOOPS)] = "none"
    pattern: Annotated[str, Value.text] = ""
    metadata: Annotated[dict[str, MetaEntry], metadata_entries] = field(default_factory=dict)

    def time_of(self, number: float) -> float | None:
        """Return the time of a frame by its number and the rate; None without a rate."""
        if self.rate is None:
            return None
        return float(exact_number(number) / Fraction(*self.rate))

    def missing(self, numbers: Sequence[float]) -> list[float | int]:
        """Return the first MOST_MISSING numbers that no frame has, up to the last frame.

        numbers: of the frames, ascending
        """
        if not numbers:
            return []
        start = numbers[0] if self.start is None else min(self.start, numbers[0])
        held, first, apart = set(numbers), exact_number(start), exact_number(self.increment)
        count = (exact_number(numbers[-1]) - first) // apart + 1
        expected = (plain_number(first + number * apart) for number in range(max(0, count)))
        return list(islice((number for number in expected if number not in held), MOST_MISSING))


def exact_number(number: float) -> Fraction:
    """Return a number as people write it: 0.1 is a tenth."""
    return Fraction(repr(number))


def plain_number(number: Fraction) -> float | int:
    """Return a whole number as an integer, and any other one as a float."""
    return int(number) if number.denominator == 1 else float(number)


@dataclass(frozen=True)
class Moment:
    """A frame in the index.

    number: of the frame, as file names and timelines have it
    time: of the frame, in the unit of the timeline; None where it is not known
    """

    number: Annotated[float | int, frame_number]
    time: Annotated[float | None, nullable(Value.number)]


@dataclass(frozen=True)
class GroupEntry:
    """A group of frames.

    offset: of its container, in bytes from the start of the file
    size: bytes of its container
    frames: its frames, as its manifest has them; that may have others, which the sequence has not
    """

    offset: Annotated[int, Value.count]
    size: Annotated[int, Value.count]
    frames: Annotated[tuple[Moment, ...], each(entry(Moment))]


@dataclass(frozen=True)
class RecordPlace:
    """Where a record of the index lies, as a slot and a later record say.

    offset: in bytes from the start of the file
    stored: bytes in the file
    raw: bytes of its JSON
    checksum: CRC-32 of the stored bytes
    """

    offset: Annotated[int, Value.count]
    stored: Annotated[int, Value.count]
    raw: Annotated[int, Value.count]
    checksum: Annotated[int, Value.count]

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.offset + self.stored


@dataclass(frozen=True)
class Record:
    """A part of the index.

    generator: what wrote it
    timeline: of the whole sequence; that of the last record holds
    before: the record of the groups before these; None where there are none
    groups: those that it covers, in the order of the file
    """

    generator: Annotated[str, Value.text]
    timeline: Annotated[Timeline, entry(Timeline)]
    before: Annotated[RecordPlace | None, nullable(entry(RecordPlace))]
    groups: Annotated[tuple[GroupEntry, ...], each(entry(GroupEntry))]

    def to_json(self) -> bytes:
        """Return canonical JSON. Raises FormatError for what JSON cannot hold."""
        tree = asdict(self)
        for item in tree["timeline"]["metadata"].values():
            item["value"] = json_value(item["value"])
        try:
            text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise FormatError("Q4", f"an index cannot be written as JSON: {error}") from error
        return text.encode("ascii")

    @staticmethod
    def from_json(data: bytes) -> Record:
        """Return the record that JSON holds. Raises FormatError."""
        return entry(Record)(Value("index", parse_json(data, "index"), "Q4"))


@dataclass(frozen=True)
class Span(Input):
    """A part of another input.

    name: what errors call it
    whole: the input
    start: where the part begins in it
    length: bytes of the part
    """

    name: str
    whole: Input
    start: int
    length: int

    @property
    def distant(self) -> bool:  # type: ignore[override]
        """Whether each read takes a request."""
        return self.whole.distant

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.length

    def open(self) -> BinaryIO:
        """Open it as a binary file. Raises OSError."""
        import io

        return io.BytesIO(self.part(0, self.length))

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Give the bytes of several ranges. Raises OSError."""
        return self.whole.parts(list(self._ranges(ranges)))

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Take note of ranges that will be read next."""
        self.whole.fetch(list(self._ranges(ranges)))

    def anew(self) -> Span:
        """Give the same part of the same input, of which nothing is held."""
        return Span(self.name, self.whole.anew(), self.start, self.length)

    def _ranges(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        for offset, length in ranges:
            yield self.start + offset, max(0, min(length, self.length - offset))


class SequenceFile:
    """An open sequence. It pickles as its input, and is read anew where it is unpickled.

    file: what it is read from
    name: what messages call it
    size: bytes of the file when it was opened
    limits: the caller's limits
    version: format version, major and minor
    timeline: how its frames lie in time
    groups: where they lie, in the order of the file
    slot: the slot of the head that names the last record of the index
    damaged: whether a slot, or a record that one names, is damaged, so that frames may be missing
    records: where the records of the index lie, the last one first, and how many groups each covers
    """

    def __init__(self, file: Input, limits: Limits = DEFAULT_LIMITS) -> None:
        self.file, self.name, self.limits = file, file.name, limits
        try:
            self._open()
        except FormatError as error:
            raise error.within(self.name) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return SequenceFile, (self.file, self.limits)

    def _open(self) -> None:
        head = self.file.part(0, HEAD_SIZE)
        if head[: len(SEQUENCE_MAGIC)] != SEQUENCE_MAGIC:
            raise FormatError("Q1", f"starts with {head[:8]!r}: it is no sequence")
        if len(head) < HEAD_SIZE:
            found = f"has {len(head)} bytes of the {HEAD_SIZE} that the head of a sequence has"
            raise FormatError("Q1", f"{found}: it is truncated")
        self.version = version_of(head, SEQUENCE_MAGIC)
        self.size = self.file.size
        self.damaged = False
        last, place, self.slot = self._last_record(head)
        self.timeline, self.records = last.timeline, [(place, len(last.groups))]
        parts = [last.groups]
        while (before := last.before) is not None:
            if len(self.records) == MOST_RECORDS or before.end > self.records[-1][0].offset:
                raise FormatError("Q4", "records of its index do not lie one before the other")
            last = self._record(before)
            self.records.append((before, len(last.groups)))
            parts.append(last.groups)
        self.groups = tuple(group for part in reversed(parts) for group in part)
        self._check_groups()

    def _last_record(self, head: bytes) -> tuple[Record, RecordPlace, int]:
        """Return the last record that a slot names, of those that are whole, and that slot."""
        places = []
        for number, start in enumerate(SLOTS):
            slot = head[start : start + SLOT.size]
            if SLOT_CRC.unpack_from(head, start + SLOT.size)[0] == zlib.crc32(slot):
                places.append((RecordPlace(*SLOT.unpack(slot)), number))
            elif any(head[start : start + SLOT_SIZE]):
                self.damaged = True
        if not places:
            raise FormatError("Q2", "neither slot of its head names an index: it is damaged")
        *older, (place, number) = sorted(places, key=lambda found: found[0].offset)
        try:
            return self._record(place), place, number
        except FormatError:
            if not older or older[0][0] == place:
                raise
        self.damaged = True
        place, number = older[0]
        return self._record(place), place, number

    def _record(self, place: RecordPlace) -> Record:
        if place.offset < HEAD_SIZE or place.end > self.size:
            found = f"lies from {place.offset:,} to {place.end:,}"
            raise FormatError("Q3", f"a record of its index {found}, in {self.size:,} bytes")
        what = "a record of its index"
        check_limit(what, place.raw, self.limits.manifest_bytes)
        compression = STORED if place.stored == place.raw else ZSTD
        check_sizes(what, compression, place.stored, place.raw)
        stored = self.file.part(place.offset, place.stored)
        return Record.from_json(unpack(what, stored, compression, place.raw, place.checksum))

    def _check_groups(self) -> None:
        """Check where groups lie, and that no frame is there twice. Raises FormatError."""
        for number, group in enumerate(self.groups):
            end = group.offset + group.size
            if not group.frames:
                raise FormatError("Q5", f"group {number} of its index has no frame")
            if group.offset < HEAD_SIZE or end > self.size:
                found = f"lies from {group.offset:,} to {end:,}"
                raise FormatError("Q5", f"group {number} {found}, in {self.size:,} bytes")
        moments = [moment for group in self.groups for moment in group.frames]
        if len(moments) > self.limits.frames:
            most = self.limits.frames
            raise FormatError("Q6", f"it has {len(moments):,} frames, more than the limit {most:,}")
        check_moments(moments)

    def group(self, number: int) -> Container:
        """Open a group. Raises FormatError where it is damaged or lacks a frame."""
        found = self.groups[number]
        held = self.group_input(number)
        container = opened(held, self.limits)
        there = {(frame.number, frame.time) for frame in container.manifest.frames}
        if any((moment.number, moment.time) not in there for moment in found.frames):
            message = f"{held.name}: its manifest lacks a frame that the index of the sequence has"
            raise FormatError("Q8", message)
        return container

    def group_input(self, number: int) -> Span:
        """Give the bytes of a group."""
        found = self.groups[number]
        first, last = found.frames[0].number, found.frames[-1].number
        frames = f"frame {first}" if first == last else f"frames {first} to {last}"
        return Span(f"{self.name}, {frames}", self.file, found.offset, found.size)


def check_moments(moments: Sequence[Moment]) -> None:
    """Check that no frame is there twice, and that times ascend. Raises FormatError."""
    in_order = sorted(moments, key=lambda moment: moment.number)
    twice = [number for number, n in Counter(own.number for own in in_order).items() if n > 1]
    if twice:
        raise FormatError("Q7", f"frame {twice[0]} is there twice")
    times = [moment.time for moment in in_order]
    if any(time is not None for time in times) and not ascend(times):
        raise FormatError(
            "Q7", "the times of its frames must ascend with their numbers, or none has a time"
        )


def is_sequence(file: Input) -> bool:
    """Tell whether an input begins as a sequence does. Raises OSError."""
    return file.part(0, len(SEQUENCE_MAGIC)) == SEQUENCE_MAGIC


def read_sequence(source: Readable, limits: Limits = DEFAULT_LIMITS) -> SequenceFile:
    """Open a sequence. Raises FormatError, and what `input_of` raises."""
    file = input_of(source)
    try:
        return SequenceFile(file, limits)
    except OSError as error:
        message = f"{file.name} cannot be read: {error.strerror or error}"
        raise FormatError("I1", message) from error


def head_bytes(place: RecordPlace) -> bytes:
    """Return the head of a sequence whose slot 0 names a record.

    Slot 1 is zeros, whose checksum does not hold.
    """
    return HEAD.pack(SEQUENCE_MAGIC, MAJOR, MINOR, 0) + slot_bytes(place) + bytes(SLOT_SIZE)


def slot_bytes(place: RecordPlace) -> bytes:
    """Return the slot that names a record."""
    packed = SLOT.pack(place.offset, place.stored, place.raw, place.checksum)
    return packed + SLOT_CRC.pack(zlib.crc32(packed))


def record_bytes(record: Record, offset: int) -> tuple[bytes, RecordPlace]:
    """Return a record as it is stored at `offset`, and its place. Raises FormatError."""
    raw = record.to_json()
    _, stored = compress(raw)
    return stored, RecordPlace(offset, len(stored), len(raw), zlib.crc32(stored))
