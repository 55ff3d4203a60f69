"""Sequences that C programs read: what Python reads of them, and the same errors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from fixtures.make_golden import FOLDER
from fuzz.trees import HostileTree
from inrv import EncodeOptions, FormatError
from inrv.container import Limits, MetaEntry, Moment, Timeline
from inrv.container.sequence import (
    LOOPS,
    SLOTS,
    GroupEntry,
    Record,
    RecordPlace,
    SequenceFile,
    slot_bytes,
)
from inrv.decoding.frames import Frames, open_frames
from inrv.support.inputs import BytesInput
from testing.core_files import CoreDecoder, CoreFile, CoreGroup, CoreSequence
from tests.container.test_sequence import DAMAGE, Edit, append, name, opened, record, write

GOLDEN = sorted(path.stem for path in FOLDER.glob("*.inrv"))
NOT_CHECKED = {"M12"}  # values of metadata, which the core does not read


def puff(moment: int, edge: int = 20) -> NDArray[np.float32]:
    """A ball of fog that rises."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing="ij")
    fog = np.exp(-6 * (x**2 + y**2 + (z + 0.5 - 0.1 * moment) ** 2))
    return np.where(fog > 0.1, fog, 0).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sequence of five frames in two groups, in which one number is missing."""
    path = tmp_path_factory.mktemp("sequence") / "run.inrv"
    options = EncodeOptions(effort="instant", exact_below=0)
    more = {"start": 1, "loop": "ping-pong", "pattern": "caf\u00e9.####.vdb", "unit": "s"}
    with inrv.SequenceWriter(path, options, fps="30000/1001", group=3, **more) as writer:
        for moment in (1, 2, 3, 5, 6):
            writer.add(None, {"density": puff(moment), "heat": puff(moment)[:9]}, number=moment)
    return path.read_bytes()


def moments_of(frames: Frames) -> list[tuple[float, float | None]]:
    return list(zip(frames.numbers, frames.times, strict=True))


def check_frames(data: bytes, sequence: CoreSequence) -> None:
    """Every frame has the number, the time, the group and the values that Python finds."""
    frames = open_frames(data, "cpu")
    found = [(own.number, own.time if own.has_time else None) for own in sequence.frames]
    assert found == moments_of(frames)
    groups = dict[int, CoreGroup]()
    for own in sequence.frames:
        file = groups.setdefault(own.group, CoreGroup(sequence, own.group))
        volume, place = frames[own.number], file.frame_of(own.number)
        held = [(at, grid) for at, grid in enumerate(file.grids) if grid.frame == place]
        for number, header in held:
            if header.passthrough:
                continue
            decoder = CoreDecoder(file, number)
            for corner in decoder.corners:
                values, _ = decoder.block(corner)
                expected = volume[header.position].dense((corner, corner + 127))
                assert values.tobytes() == expected.tobytes()
        assert len(held) == len(volume) + len(volume.passthrough)
    assert len(groups) == len(frames.groups)
    for group, numbers in zip(groups.values(), sorted(frames.groups), strict=True):
        assert all(group.frame_of(number) >= 0 for number in numbers)


@pytest.mark.parametrize("reading", [False, True])
def test_frames_are_those_of_python(written: bytes, reading: bool) -> None:
    sequence = CoreSequence(written, reading)
    check_frames(written, sequence)
    assert [own.number for own in sequence.frames] == [1, 2, 3, 5, 6]
    assert len({own.group for own in sequence.frames}) == 2


def check_timeline(timeline: Timeline, sequence: CoreSequence) -> None:
    found = sequence.timeline
    assert (found.unit.decode(), found.pattern.decode()) == (timeline.unit, timeline.pattern)
    assert tuple(found.rate) == (timeline.rate or (0, 0))
    assert (found.start if found.has_start else None) == timeline.start
    assert (found.increment, LOOPS[found.loop]) == (timeline.increment, timeline.loop)


def test_the_timeline_is_that_of_python(written: bytes) -> None:
    timeline = opened(written).timeline
    assert timeline.rate == (30000, 1001) and timeline.loop == "ping-pong"
    check_timeline(timeline, CoreSequence(written))
    data = bytearray(written)
    bare = Timeline(None, "", -0.5, 1e-3, "repeat", "")
    record(timeline=bare)(data)
    check_timeline(bare, CoreSequence(bytes(data)))


def test_groups_may_lie_in_any_order(written: bytes) -> None:
    data = bytearray(written)
    record(groups=opened(written).groups[::-1])(data)
    check_frames(bytes(data), CoreSequence(bytes(data)))


def test_a_chain_of_records_is_followed(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2), (7,), (4, 5)))
    place = None
    for group in opened(bytes(data)).groups:
        place = append(data, Record("tests", Timeline(), place, (group,)))
    assert len(opened(bytes(data)).records) == 3
    check_frames(bytes(data), CoreSequence(bytes(data)))
    assert [own.number for own in CoreSequence(bytes(data)).frames] == [1, 2, 4, 5, 7]


@pytest.mark.parametrize("stem", GOLDEN)
def test_a_volume_is_a_sequence_of_one_group(stem: str) -> None:
    data = (FOLDER / f"{stem}.inrv").read_bytes()
    sequence, frames = CoreSequence(data, reading=True), open_frames(data, "cpu")
    assert [offset for offset, _ in sequence.reads] == [0, 0, 48]
    assert [own.number for own in sequence.frames] == list(frames.numbers)
    check_timeline(Timeline(), sequence)
    group = CoreGroup(sequence, 0)
    assert len(sequence.reads) == 3  # it is open already
    for own in sequence.frames:
        assert group.frames[group.frame_of(own.number)].number == own.number
    assert [own.name for own in group.grids] == [own.name for own in CoreFile(data).grids]
    with pytest.raises(ValueError, match="out of its range"):
        CoreGroup(sequence, 1)


def test_a_group_is_read_when_it_is_asked_for(written: bytes) -> None:
    sequence, file = CoreSequence(written, reading=True), opened(written)
    assert sequence.reads == [(0, 64), (file.records[0][0].offset, file.records[0][0].stored)]
    CoreGroup(sequence, 1)
    offset = file.groups[1].offset
    assert [at for at, _ in sequence.reads[2:]] == [offset, offset + 48]


def test_a_sequence_is_no_volume(written: bytes) -> None:
    with pytest.raises(FormatError, match="H2"):
        CoreFile(written)


# ---- Errors ----


def by_python(data: bytes, limits: Limits = Limits()) -> list[str]:
    """The id of what Python finds wrong with a sequence, or of each of its groups; "" for none."""
    try:
        file = SequenceFile(BytesInput("<bytes>", data), limits)
    except FormatError as error:
        return [error.id]
    order = sorted(range(len(file.groups)), key=lambda at: file.groups[at].frames[0].number)
    return [error_of(lambda at=at: file.group(at)) for at in order]


def by_core(data: bytes) -> list[str]:
    """The same of what the core finds."""
    try:
        sequence = CoreSequence(data)
    except FormatError as error:
        return [error.id]
    numbers = dict[int, float]()
    for own in sequence.frames:
        numbers.setdefault(own.group, own.number)
    return [error_of(lambda at=at: CoreGroup(sequence, at)) for at in numbers]


def error_of(ask: Callable[[], object]) -> str:
    try:
        ask()
    except FormatError as error:
        return error.id
    return ""


def check_same(data: bytes) -> list[str]:
    """Both find the same wrong."""
    found = by_python(data)
    assert NOT_CHECKED & set(found) or by_core(data) == found
    return found


@pytest.mark.parametrize(("identity", "damage", "message"), DAMAGE)
def test_damage_has_the_ids_of_python(
    tmp_path: Path, identity: str, damage: Edit, message: str
) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2)))
    damage(data)
    assert by_core(bytes(data)) == [identity]


def test_a_group_must_have_the_frames_of_the_index(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2, 3), (9,)))
    first, last = opened(bytes(data)).groups
    for frames, found in (
        (first.frames[1:], ""),
        ((*first.frames, Moment(4, 0.2)), "Q8"),
        ((Moment(2, 0.1),), "Q8"),
        ((Moment(0, 0.0),), "Q8"),
    ):
        groups = [GroupEntry(first.offset, first.size, frames), last]
        record(groups=groups)(data)
        assert check_same(bytes(data)) == [found, ""]


def test_a_volume_without_a_number_is_no_frame_0(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1,)))
    volume, at = (FOLDER / "one_leaf.inrv").read_bytes(), len(data)
    data += volume
    groups = [GroupEntry(at, len(volume), (Moment(0, None),))]
    record(groups=groups)(data)
    assert check_same(bytes(data)) == ["Q8"]


def test_no_frame_is_there_yet(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1,)))
    record(groups=[])(data)
    sequence = CoreSequence(bytes(data))
    assert sequence.frames == []
    with pytest.raises(FormatError, match="Q9"):
        CoreGroup(sequence, 0)


@pytest.mark.parametrize("slot", [0, 1])
def test_the_older_record_is_taken_where_the_last_one_is_damaged(tmp_path: Path, slot: int) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2)))
    older = opened(bytes(data)).records[0][0]
    data[SLOTS[1 - slot] : SLOTS[1 - slot] + 24] = slot_bytes(older)
    for raw in (b'{"generator":"x"}', b"{", b'{"generator":1,"generator":2}', b""):
        place = RecordPlace(len(data), len(raw), len(raw), zlib.crc32(raw))
        for named in (place, replace(place, checksum=7), replace(place, offset=1 << 63)):
            data[SLOTS[slot] : SLOTS[slot] + 24] = slot_bytes(named)
            assert check_same(bytes(data + raw)) == [""]
            assert [own.number for own in CoreSequence(bytes(data + raw)).frames] == [1, 2]


def flips(data: bytes) -> Iterator[bytes]:
    """The bytes of head, index and the groups' headers, each changed in turn."""
    file = opened(data)
    places = [*range(8, 64), *range(file.records[0][0].offset, file.records[0][0].end, 3)]
    for group in file.groups:
        places += range(group.offset, group.offset + 48)
    for at in places:
        for bit in (1, 128):
            damaged = bytearray(data)
            damaged[at] ^= bit
            yield bytes(damaged)


def test_flipped_bytes_have_the_ids_of_python(tmp_path: Path) -> None:
    data = write(tmp_path / "a.inrv", (1, 2), (3,))
    found = [check_same(damaged) for damaged in flips(data)]
    assert {identity for own in found for identity in own} >= {"", "C5", "H2", "H3", "H4"}


def test_cut_files_have_the_ids_of_python(tmp_path: Path) -> None:
    data = write(tmp_path / "a.inrv", (1, 2), (3,))
    found = [check_same(data[:size]) for size in range(8, len(data), 5)]
    assert {identity for own in found for identity in own} == {"Q1", "Q3"}


def with_index(data: bytes, raw: bytes) -> bytes:
    """The groups of a sequence behind another index, which is stored as it is."""
    changed = bytearray(data)
    name(changed, RecordPlace(len(data), len(raw), len(raw), zlib.crc32(raw)))
    return bytes(changed + raw)


def test_hostile_indices_have_the_ids_of_python(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2), (3,), (8, 9)))
    first, *_, last = opened(bytes(data)).groups
    metadata = {"shot": MetaEntry("string", "a1")}
    timeline = Timeline((24, 1), start=1, pattern="a.vdb", metadata=metadata)
    before = append(data, Record("tests", timeline, None, (first,)))
    whole = Record("tests", timeline, before, (last,))
    tree, random = json.loads(whole.to_json()), Random(3)
    assert check_same(with_index(bytes(data), whole.to_json())) == ["", ""]
    found = set[str]()
    for _ in range(1500):
        hostile = HostileTree(json.loads(json.dumps(tree)))
        hostile.change(random)  # once: who finds two faults may tell of either
        found |= set(check_same(with_index(bytes(data), hostile.to_bytes(random))))
    assert found >= {"", "M1", "M2", "M3", "M4", "M5", "Q3", "Q4", "Q5", "Q7", "Q8", "C2"}


# ---- Limits ----


@pytest.mark.parametrize(
    ("rule", "limits"), [("Q6", {"frames": 2}), ("C2", {"manifest_bytes": 100})]
)
def test_limits_are_kept(tmp_path: Path, rule: str, limits: dict[str, int]) -> None:
    data = write(tmp_path / "a.inrv", (1, 2), (3,))
    assert by_python(data, Limits(**limits)) == [rule]
    with pytest.raises(FormatError, match=rule):
        CoreSequence(data, **limits)
    assert len(CoreSequence(data, frames=3).frames) == 3


def test_the_limits_hold_for_groups(written: bytes) -> None:
    sequence = CoreSequence(written, grids=5)
    with pytest.raises(FormatError, match="M8"):
        CoreGroup(sequence, 0)
    CoreGroup(sequence, 1)


def test_memory_is_bounded(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.inrv", (1, 2)))
    frames = tuple(Moment(number, float(number)) for number in range(2000))
    record(groups=[GroupEntry(64, 9, frames)])(data)
    for most in (100, 10_000, 150_000):
        with pytest.raises(MemoryError):
            CoreSequence(bytes(data), memory=most)
    assert len(CoreSequence(bytes(data), memory=1 << 22).frames) == 2000


class Failing(CoreSequence):
    """A sequence whose last record the host cannot read."""

    def _read(self, context: Any, offset: int, to: int, size: int) -> int:
        failed = offset == opened(self.data).records[0][0].offset
        return 1 if failed else super()._read(context, offset, to, size)


def test_a_record_that_cannot_be_read_is_not_replaced_by_another(tmp_path: Path) -> None:
    """The fault is the host's: there are frames that would be left out."""
    data = bytearray(write(tmp_path / "a.inrv", (1,)))
    older = opened(bytes(data)).records[0][0]
    record(groups=[])(data)
    data[SLOTS[0] : SLOTS[0] + 24] = slot_bytes(older)
    assert CoreSequence(bytes(data), reading=True).frames == []
    with pytest.raises(FormatError, match="I1"):
        Failing(bytes(data), reading=True)
