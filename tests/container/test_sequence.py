"""Sequences: groups, the index that finds them, and files whose writer was killed."""

from __future__ import annotations

import pickle
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inrv.container import Limits, Moment, SequenceAppender, Timeline, container_bytes
from inrv.container.sequence import (
    HEAD_SIZE,
    SLOT,
    SLOTS,
    GroupEntry,
    Record,
    RecordPlace,
    SequenceFile,
    record_bytes,
    slot_bytes,
)
from inrv.errors import FormatError, OptionError, OutputError, OutputExistsError
from inrv.support.inputs import BytesInput
from spec.reference import read as reference
from testing.examples import manifest_of

TIMELINE = Timeline(rate=(24, 1), start=1, pattern="fog.####.vdb")


def group(*numbers: float) -> tuple[BytesInput, tuple[Moment, ...]]:
    """A container without grids that holds frames of these numbers."""
    plain = manifest_of()
    frames = tuple(replace(plain.frames[0], number=n, time=n / 24) for n in numbers)
    data = container_bytes(replace(plain, frames=frames), [])
    return BytesInput("<group>", data), tuple(Moment(n, n / 24) for n in numbers)


def write(path: Path, *groups: tuple[float, ...]) -> bytes:
    appender = SequenceAppender.create(path, TIMELINE, overwrite=True)
    for numbers in groups:
        appender.add(*group(*numbers))
    appender.close()
    return path.read_bytes()


def opened(data: bytes, limits: Limits = Limits()) -> SequenceFile:
    return SequenceFile(BytesInput("<bytes>", data), limits)


def numbers_in(file: SequenceFile) -> list[list[float]]:
    return [[moment.number for moment in found.frames] for found in file.groups]


def test_what_was_appended_comes_back(tmp_path: Path) -> None:
    data = write(tmp_path / "a.inrv", (1, 2, 3), (4.5,), (7, 8))
    file = opened(data)
    assert numbers_in(file) == [[1, 2, 3], [4.5], [7, 8]]
    assert file.timeline == TIMELINE and file.version == (2, 0)
    assert file.timeline.missing([1, 2, 3, 4.5, 7, 8]) == [4, 5, 6]
    for number, numbers in enumerate(numbers_in(file)):
        container = file.group(number)
        assert [frame.number for frame in container.manifest.frames] == numbers
        assert file.group_input(number).part(0, 1 << 20) == group(*numbers)[0].data
    assert numbers_in(pickle.loads(pickle.dumps(file))) == numbers_in(file)


def test_the_reference_reader_finds_the_same(tmp_path: Path) -> None:
    data = write(tmp_path / "a.inrv", (1, 2, 3), (4.5,), (7, 8))
    timeline, groups = reference.groups(data)
    assert timeline["rate"] == [24, 1] and timeline["pattern"] == "fog.####.vdb"
    assert [[frame["number"] for frame in frames] for frames, _ in groups] == [
        [1, 2, 3],
        [4.5],
        [7, 8],
    ]
    assert groups[2][1] == group(7, 8)[0].data


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 100, 257])
def test_few_records_are_read_and_few_bytes_written(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.inrv"
    appender = SequenceAppender.create(path, TIMELINE)
    for number in range(count):
        if number % 5 == 4:  # closed without an index of one record, as by a kill
            appender._file.close()
            appender = SequenceAppender.open(path)
        appender.add(*group(number))
    file = opened(path.read_bytes())
    assert numbers_in(file) == [[number] for number in range(count)]
    assert len(file.records) <= count.bit_length() + 1
    appender.close()
    assert len(opened(path.read_bytes()).records) == 1
    index = path.stat().st_size - sum(own.size for own in file.groups) - HEAD_SIZE
    assert index <= 400 * (count.bit_length() + 2) + 25 * count * (count.bit_length() + 1)


def test_a_killed_writer_leaves_every_group_and_another_goes_on(tmp_path: Path) -> None:
    """All that the disk may hold after a kill: the writes so far, the last one in part."""
    path = tmp_path / "a.inrv"
    appender = SequenceAppender.create(path, TIMELINE)
    states: list[tuple[bytes, int]] = []
    for number in range(4):
        before, file = path.read_bytes(), appender._file
        appender.add(*group(number))
        file.flush()
        after = path.read_bytes()
        slot = next(own for own in SLOTS if after[own : own + 24] != before[own : own + 24])
        whole = before[:slot] + after[slot : slot + 24] + before[slot + 24 :]
        assert after[:HEAD_SIZE] == whole[:HEAD_SIZE]
        for cut in range(len(before), len(after) + 1, 7):  # group and record are being written
            states.append((before + after[len(before) : cut], number))
        for cut in range(25):  # the slot is
            head = before[:slot] + after[slot : slot + cut] + before[slot + cut : HEAD_SIZE]
            done = head == after[:HEAD_SIZE]
            states.append((head + after[HEAD_SIZE:], number + done))
    appender.close()
    for data, count in random.Random(1).sample(states, 100) + states[-30:]:
        assert numbers_in(opened(data)) == [[number] for number in range(count)]
        path.write_bytes(data)
        again = SequenceAppender.open(path)
        again.add(*group(99))
        again.close()
        assert numbers_in(opened(path.read_bytes())) == [*([n] for n in range(count)), [99]]


def test_a_damaged_record_gives_way_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    appender = SequenceAppender.create(path, TIMELINE)
    appender.add(*group(1))
    appender.add(*group(2))
    appender._file.flush()
    data = bytearray(path.read_bytes())
    data[opened(data).records[0][0].offset] ^= 255
    assert numbers_in(opened(bytes(data))) == [[1]]
    appender.close()


def test_who_may_write(tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    appender = SequenceAppender.create(path, TIMELINE)
    with pytest.raises(OutputExistsError):
        SequenceAppender.create(path, TIMELINE)
    with pytest.raises(OutputError, match="another program is appending"):
        SequenceAppender.open(path)
    appender.add(*group(1, 2))
    with pytest.raises(OptionError, match="has frame 2 already"):
        appender.add(*group(2, 3))
    appender.close()
    appender.close()
    with pytest.raises(OutputError, match="cannot be written"):
        SequenceAppender.open(tmp_path / "none.inrv")


Edit = Callable[[bytearray], Any]


def record(**changes: Any) -> Edit:
    """The last record with other keys, and a slot that names it."""

    def edit(data: bytearray) -> None:
        file = opened(bytes(data))
        found = Record("tests", file.timeline, None, tuple(file.groups))
        append(data, replace(found, **changes))

    return edit


def append(data: bytearray, found: Record) -> RecordPlace:
    stored, place = record_bytes(found, len(data))
    data += stored
    name(data, place)
    return place


def name(data: bytearray, place: RecordPlace) -> None:
    for slot in SLOTS:
        data[slot : slot + 24] = slot_bytes(place)


def places(**changes: Any) -> Edit:
    """Slots that name another place."""

    def edit(data: bytearray) -> None:
        name(data, replace(opened(bytes(data)).records[0][0], **changes))

    return edit


def circle(data: bytearray) -> None:
    place = append(data, Record("tests", TIMELINE, None, ()))
    append(data, Record("tests", TIMELINE, replace(place, offset=place.offset + 9), ()))


def long_chain(data: bytearray) -> None:
    place = None
    for _ in range(65):
        place = append(data, Record("tests", TIMELINE, place, ()))


def both_slots(data: bytearray) -> None:
    for slot in SLOTS:
        data[slot] ^= 1


def higher_version(data: bytearray) -> None:
    struct.pack_into("<H", data, 8, 3)


def other_json(data: bytearray) -> None:
    raw = b'{"generator":"x","before":null,"groups":[],"timeline":{"rate":[0,1]}}'
    at = len(data)
    data += raw
    name(data, RecordPlace(at, len(raw), len(raw), zlib.crc32(raw)))


MOMENTS = (Moment(1, 1.0), Moment(2, 2.0))
DAMAGE = [
    ("Q1", lambda data: data.__delitem__(slice(50, None)), "has 50 bytes of the 64"),
    ("H3", higher_version, "format version 3.0"),
    ("Q2", both_slots, "neither slot"),
    ("Q3", places(offset=8), "lies from 8"),
    ("Q3", places(stored=1 << 30, raw=1 << 30), "a record of its index lies"),
    ("C2", places(raw=1 << 31), "more than the limit"),
    ("C5", places(checksum=7), "the checksum"),
    ("Q4", circle, "do not lie one before the other"),
    ("Q4", long_chain, "do not lie one before the other"),
    ("Q4", other_json, "timeline lacks the key"),
    ("Q4", record(timeline=replace(TIMELINE, rate=(0, 1))), "rate.* from 1 to 2"),
    ("Q4", record(timeline=replace(TIMELINE, increment=0)), "increment is 0: must be above 0"),
    ("Q4", record(timeline=replace(TIMELINE, loop="never")), "loop is 'never': must be one of"),
    ("Q5", record(groups=[GroupEntry(64, 10, ())]), "has no frame"),
    ("Q5", record(groups=[GroupEntry(64, 1 << 40, MOMENTS)]), "group 0 lies from 64"),
    ("Q5", record(groups=[GroupEntry(0, 99, MOMENTS)]), "group 0 lies from 0"),
    ("Q7", record(groups=[GroupEntry(64, 9, MOMENTS[:1])] * 2), "frame 1 is there twice"),
    ("Q7", record(groups=[GroupEntry(64, 9, (MOMENTS[0], Moment(2, None)))]), "must ascend"),
    ("Q7", record(groups=[GroupEntry(64, 9, (MOMENTS[0], Moment(2, 0.5)))]), "must ascend"),
]


@pytest.mark.parametrize(("identity", "damage", "message"), DAMAGE)
def test_damage_is_told(tmp_path: Path, identity: str, damage: Edit, message: str) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2)))
    damage(data)
    with pytest.raises(FormatError, match=message) as caught:
        opened(bytes(data))
    assert caught.value.id == identity and str(caught.value).startswith("<bytes>")


def test_a_group_must_have_the_frames_of_the_index(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2, 3)))
    (own,) = opened(bytes(data)).groups
    record(groups=[replace(own, frames=own.frames[1:])])(data)
    assert numbers_in(opened(bytes(data))) == [[2, 3]]  # cut, without decoding
    opened(bytes(data)).group(0)
    record(groups=[replace(own, frames=(*own.frames, Moment(4, 4.0)))])(data)
    with pytest.raises(FormatError, match="frames 1 to 4: its manifest lacks a frame") as caught:
        opened(bytes(data)).group(0)
    assert caught.value.id == "Q8"


def test_a_group_is_no_sequence(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1,)))
    start = opened(bytes(data)).groups[0].offset
    data[start : start + 8] = data[:8]
    struct.pack_into("<I", data, start + 44, zlib.crc32(data[start : start + 44]))
    with pytest.raises(FormatError) as caught:
        opened(bytes(data)).group(0)
    assert caught.value.id == "H2"


def test_frames_are_limited(tmp_path: Path) -> None:
    data = write(tmp_path / "a.inrv", (1, 2, 3))
    assert opened(data, Limits(frames=3)).groups
    with pytest.raises(FormatError, match="3 frames, more than the limit 2") as caught:
        opened(data, Limits(frames=2))
    assert caught.value.id == "Q6"


def test_flipped_bytes_never_go_unseen(tmp_path: Path) -> None:
    """Each byte of head and index lies under a checksum, or is no part of the sequence."""
    data = write(tmp_path / "a.inrv", (1, 2), (3,))
    whole = opened(data)
    place = whole.records[0][0]
    used = [
        *range(SLOTS[whole.slot], SLOTS[whole.slot] + SLOT.size),
        *range(place.offset, place.end),
    ]
    for at in used:
        damaged = bytearray(data)
        damaged[at] ^= 16
        try:
            found = opened(bytes(damaged))
        except FormatError:
            continue
        assert found.slot != whole.slot  # the record before
