"""Frames into one file, as a solver's loop gives them."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, FormatError, MissingFrameError, OptionError
from inrv.encoding.sequence import rate_of
from inrv.metrics.comparison import compare_volumes

INSTANT = EncodeOptions(effort="instant", exact_below=0)


def puff(moment: float, edge: int = 24) -> NDArray[np.float32]:
    """A ball of fog that rises."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing="ij")
    fog = np.exp(-6 * (x**2 + y**2 + (z + 0.5 - 0.1 * moment) ** 2))
    return np.where(fog > 0.1, fog, 0).astype(np.float32)


def write(path: Path, count: int = 5, **more: Any) -> list[inrv.EncodeReport]:
    reports: list[inrv.EncodeReport] = []
    with inrv.SequenceWriter(
        path, INSTANT, group=2, report=lambda _, own: reports.append(own), **more
    ) as writer:
        for moment in range(count):
            writer.add(None, {"density": puff(moment), "heat": 2 * puff(moment)})
    return reports


def test_every_frame_comes_back_with_its_number_and_time(tmp_path: Path) -> None:
    reports = write(tmp_path / "run.inrv", fps=24, start=60, metadata={"shot": "a1"})
    volume = inrv.load(tmp_path / "run.inrv")
    assert volume.number == 60 and volume.time == 2.5 and list(volume) == ["density", "heat"]
    assert list(volume.frames) == [60, 61, 62, 63, 64] and len(reports) == 3
    assert volume.frames.groups == ((60, 61), (62, 63), (64,))
    assert volume.frames.timeline.metadata["shot"].value == "a1"
    for number, frame in volume.frames.items():
        original = inrv.sparse_grid(puff(number - 60), "density")
        found = compare_volumes(inrv.SparseVolume((original,)), frame.to_sparse())
        assert found.grids[0].topology_equal and frame.number == number
        assert np.abs(np.asarray(frame["heat"]) - 2 * puff(number - 60)[slices(frame)]).max() < 0.1
    assert volume.at(2.56).number == 61 and volume.at(99).number == 64
    assert pickle.loads(pickle.dumps(volume.frames[63])).number == 63
    assert "5, from 60 to 64" in repr(volume.frames)


def slices(frame: inrv.Volume) -> tuple[slice, ...]:
    box = frame["density"].box
    assert box is not None
    return tuple(slice(low, high + 1) for low, high in zip(box.lower, box.upper, strict=True))


def test_it_is_the_same_as_one_frame_alone(tmp_path: Path) -> None:
    with inrv.SequenceWriter(tmp_path / "run.inrv", INSTANT, group=1) as writer:
        for moment in range(2):
            writer.add(None, {"density": puff(moment)})
    inrv.encode({"density": puff(1)}, tmp_path / "one.inrv", INSTANT)
    one, other = inrv.load(tmp_path / "one.inrv"), inrv.load(tmp_path / "run.inrv", frame=1)
    assert np.array_equal(np.asarray(one["density"]), np.asarray(other["density"]))
    assert list(one.frames) == [0] and one.number == 0 and not one.frames.is_sequence
    assert one.frames[0] is not one and one.frames.missing == []


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.inrv"
    write(path, 2, fps="30000/1001")
    with inrv.SequenceWriter(path, INSTANT, append=True) as writer:
        assert writer.written == {0, 1} and writer.timeline.rate == (30000, 1001)
        writer.add(None, {"smoke": puff(9)})
        writer.add(None, {"smoke": puff(9)}, number=5)
    frames = inrv.load(path).frames
    assert list(frames) == [0, 1, 2, 5] and frames.missing == [3, 4]
    assert list(frames[2]) == ["smoke"] and list(frames[1]) == ["density", "heat"]


def test_an_error_in_the_loop_keeps_the_frames_before(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: SIM117
        with inrv.SequenceWriter(tmp_path / "run.inrv", INSTANT, group=4) as writer:
            writer.add(0.0, {"density": puff(0)})
            raise ZeroDivisionError
    assert list(inrv.load(tmp_path / "run.inrv").frames) == [0]


def test_a_sequence_without_frames_says_so(tmp_path: Path) -> None:
    with inrv.SequenceWriter(tmp_path / "run.inrv"):
        pass
    with pytest.raises(FormatError, match="no frame yet") as caught:
        inrv.load(tmp_path / "run.inrv")
    assert caught.value.id == "Q9"
    assert inrv.verify(tmp_path / "run.inrv").chunks == 0


def test_verify_checks_every_group(tmp_path: Path) -> None:
    path = tmp_path / "run.inrv"
    write(path)
    found = inrv.verify(path, decode=True)
    assert found.voxels == 2 * sum(int((puff(moment) > 0).sum()) for moment in range(5))
    data = bytearray(path.read_bytes())
    last = inrv.load(path).frames.source.groups[-1]  # type: ignore[union-attr]
    data[last.offset + last.size - 3] ^= 1
    with pytest.raises(FormatError, match="frame 4"):
        inrv.verify(bytes(data))


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.inrv"
    for wrong, message in [
        ({"fps": 0}, "fps=0"),
        ({"fps": "fast"}, "fps='fast'"),
        ({"group": 0}, "group=0"),
        ({"increment": -1}, "increment is -1"),
        ({"loop": "never"}, "loop is 'never'"),
        ({"unit": 3}, "unit is 3"),
        ({"start": np.inf}, "start=inf"),
        ({"options": EncodeOptions(size=1000)}, "`size`"),
    ]:
        with pytest.raises(OptionError, match=message):
            inrv.SequenceWriter(path, **wrong)
    assert not path.exists()
    with inrv.SequenceWriter(path, INSTANT) as writer:
        writer.add(1.0, {"density": puff(0)}, number=3)
        for time, number, message in [
            (2.0, 3, "must come behind frame 3"),
            (0.5, 4, "must be above 1.0"),
            (None, 4, "either all frames have a time"),
            (np.nan, 4, "time=nan"),
        ]:
            with pytest.raises(OptionError, match=message):
                writer.add(time, {"density": puff(0)}, number=number)
    with pytest.raises(inrv.OutputExistsError):
        inrv.SequenceWriter(path)
    with pytest.raises(MissingFrameError, match="no frame 2; the file holds frame 3"):
        inrv.load(path, frame=2)
    with pytest.raises(OptionError, match="times of its frames are not known"):
        inrv.load(_untimed(tmp_path)).at(1.0)


def _untimed(folder: Path) -> Path:
    with inrv.SequenceWriter(folder / "untimed.inrv", INSTANT) as writer:
        writer.add(None, {"density": puff(0)})
    return folder / "untimed.inrv"


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (24, (24, 1)),
        (23.976, (24000, 1001)),
        ("29.97", (30000, 1001)),
        (59.94, (60000, 1001)),
        ("30000/1001", (30000, 1001)),
        (Fraction(25), (25, 1)),
        (12.5, (25, 2)),
        (0.1, (1, 10)),
    ],
)
def test_rates_are_exact(fps: Any, rate: tuple[int, int]) -> None:
    assert rate_of(fps) == rate


def test_a_frame_that_cannot_be_encoded_is_named_and_left_out(tmp_path: Path) -> None:
    broken = puff(3)
    broken[5, 5, 5] = np.nan
    with inrv.SequenceWriter(tmp_path / "run.inrv", INSTANT, group=4) as writer:
        for moment in range(6):
            array = broken if moment == 3 else puff(moment)
            if moment == 3:
                with pytest.raises(inrv.NonFiniteError, match="frame 3: "):
                    writer.add(None, {"density": array}, number=moment)
            else:
                writer.add(None, {"density": array}, number=moment)
    frames = inrv.load(tmp_path / "run.inrv").frames
    assert list(frames) == [0, 1, 2, 4, 5] and frames.missing == [3]


def test_nothing_is_written_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "run.inrv"
    with inrv.SequenceWriter(path, INSTANT, group=1) as writer:
        writer.add(0.0, {"density": puff(0)})
        writer.add(1.0, {"density": puff(1)})
        for wrong in (0.5, 1.0, None):
            with pytest.raises(OptionError, match="must ascend"):
                writer.add(wrong, {"density": puff(2)})
        with pytest.raises(inrv.OutputError, match="another program"):
            inrv.SequenceWriter(path, INSTANT, group=1, overwrite=True).add(0.0, {"d": puff(0)})
    assert list(inrv.load(path).frames) == [0, 1]
    with pytest.raises(OptionError, match="is closed"):
        writer.add(2.0, {"density": puff(2)})
    with pytest.raises(OptionError, match="another frame rate, none, than 30"):
        inrv.SequenceWriter(path, INSTANT, append=True, fps=30)


def test_a_file_that_has_lost_frames_is_told_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "run.inrv"
    write(path)
    whole = path.read_bytes()
    for cut in (whole[:-20], whole[: len(whole) // 2]):
        with pytest.raises(FormatError):
            inrv.verify(cut)
    damaged = bytearray(whole)
    damaged[20] ^= 1  # one slot of two that name the same
    assert list(inrv.load(bytes(damaged)).frames) == [0, 1, 2, 3, 4]
    with pytest.raises(FormatError, match="frames may be missing"):
        inrv.verify(bytes(damaged))
    path.write_bytes(damaged)
    with inrv.SequenceWriter(path, INSTANT, append=True) as writer:
        writer.add(None, {"density": puff(9)})
    assert path.read_bytes()[64 : len(whole)] == whole[64:]
    assert list(inrv.load(path).frames) == [0, 1, 2, 3, 4, 5]


def test_numbers_are_those_that_people_write(tmp_path: Path) -> None:
    with inrv.SequenceWriter(tmp_path / "run.inrv", INSTANT, increment=0.1) as writer:
        for _ in range(5):
            writer.add(None, {"density": puff(0)})
        writer.add(None, {"density": puff(0)}, number=0.7)
    frames = inrv.load(tmp_path / "run.inrv").frames
    assert list(frames) == [0, 0.1, 0.2, 0.3, 0.4, 0.7] and frames.missing == [0.5, 0.6]
    far = inrv.load(_untimed(tmp_path)).frames.timeline
    assert len(far.missing([0, 10**15])) == 100_000
