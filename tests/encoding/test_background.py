"""Frames that a thread encodes while the program goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, InrvError, NonFiniteError, OptionError, OutputError
from inrv.container import SequenceAppender

INSTANT = EncodeOptions(effort="instant", exact_below=0)


def puff(moment: float) -> NDArray[np.float32]:
    """A ball of fog that rises."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 16)] * 3, indexing="ij")
    fog = np.exp(-6 * (x**2 + y**2 + (z + 0.5 - 0.1 * moment) ** 2))
    return np.where(fog > 0.1, fog, 0).astype(np.float32)


def test_the_file_is_that_of_a_sequence_writer(tmp_path: Path) -> None:
    for name, kind in (("a", inrv.SequenceWriter), ("b", inrv.BackgroundWriter)):
        fog = np.empty((16, 16, 16), np.float32)
        with kind(tmp_path / name, INSTANT, fps=24, group=2) as writer:
            for moment in range(5):
                fog[:] = puff(moment)  # a solver's own memory, which the next step uses again
                heat = torch.from_numpy(2 * fog)
                writer.add(moment / 24, {"density": fog, "heat": heat})
            if isinstance(writer, inrv.BackgroundWriter):
                writer.flush()
            assert isinstance(writer, inrv.SequenceWriter) or writer.written == set(range(5))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_sources_are_taken_too(fixtures: Path, tmp_path: Path) -> None:
    density = inrv.sparse_grid(puff(0))
    with inrv.BackgroundWriter(tmp_path / "a.inrv", INSTANT, group=1) as writer:
        writer.add(None, density)
        writer.add(None, {"other": density, "masked": np.ma.masked_less(puff(1), 0.5)})
        writer.add(None, fixtures / "fire.vdb")
    frames = inrv.load(tmp_path / "a.inrv").frames
    assert [next(iter(frames[number])) for number in range(2)] == ["density", "other"]
    assert frames[1]["masked"].active_voxel_count == (puff(1) >= 0.5).sum()
    assert frames[2]["density"].active_voxel_count > 0


class Held:
    """A report that lasts until it is let go, which keeps the thread from the next frame."""

    def __init__(self) -> None:
        self.entered, self.gone = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.entered.set()
        assert self.gone.wait(60)


def test_add_waits_only_where_as_many_frames_wait_as_may(tmp_path: Path) -> None:
    held = Held()
    with inrv.BackgroundWriter(
        tmp_path / "a.inrv", INSTANT, group=1, waiting=2, report=held
    ) as writer:
        writer.add(None, {"fog": puff(0)})
        assert held.entered.wait(60)
        writer.add(None, {"fog": puff(1)})
        writer.add(None, {"fog": puff(2)})
        assert writer.written == {0} and writer.waited < 1
        threading.Timer(1.2, held.gone.set).start()
        writer.add(None, {"fog": puff(3)})
        assert held.gone.is_set() and writer.waited > 1
    assert list(inrv.load(tmp_path / "a.inrv").frames) == [0, 1, 2, 3]


def test_a_frame_that_cannot_be_encoded_is_told_once_and_left_out(tmp_path: Path) -> None:
    bad = puff(0)
    bad[3, 4, 5] = np.nan
    with inrv.BackgroundWriter(tmp_path / "a.inrv", INSTANT, group=2) as writer:
        with pytest.raises(OptionError, match="grid 'fog': the array"):
            writer.add(0, {"fog": "smoke"})
        writer.add(0, {"fog": bad}, number=7)
        with pytest.raises(NonFiniteError, match=r"frame 7: .* \(3, 4, 5\)"):
            writer.flush()
        for moment in range(1, 4):
            writer.add(moment, {"fog": puff(moment)}, number=moment)
    assert list(inrv.load(tmp_path / "a.inrv").frames) == [1, 2, 3]
    with pytest.raises(OptionError, match="is closed"):
        writer.add(0, {"fog": puff(0)})
    with pytest.raises(InrvError, match=r"frame 0: .*; frame 0: "):  # all that were not told
        writer = inrv.BackgroundWriter(tmp_path / "b.inrv", INSTANT, waiting=8)
        held = threading.Event()
        writer._hand_over(held.wait)
        for _ in range(2):
            writer.add(None, {"fog": bad})
        held.set()
        writer.close()
    writer.close()


def test_a_failure_comes_out_of_every_later_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = SequenceAppender.add

    def full(self: SequenceAppender, *given: Any) -> None:
        if self.numbers:
            raise OutputError("the disk is full")
        add(self, *given)

    monkeypatch.setattr(SequenceAppender, "add", full)
    writer = inrv.BackgroundWriter(tmp_path / "a.inrv", INSTANT, group=1, waiting=1)
    with pytest.raises(OutputError, match="the disk is full"):
        for moment in range(9):
            writer.add(None, {"fog": puff(moment)})
    for call in (writer.flush, writer.close):
        with pytest.raises(OutputError, match="the disk is full"):
            call()
    assert not writer._thread.is_alive()
    assert list(inrv.load(tmp_path / "a.inrv").frames) == [0]


def test_what_the_solver_raises_keeps_the_frames_before(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        inrv.BackgroundWriter(tmp_path / "a.inrv", INSTANT, waiting=4) as writer,
    ):
        for moment in range(3):
            writer.add(None, {"fog": puff(moment)})
        raise ZeroDivisionError
    assert list(inrv.load(tmp_path / "a.inrv").frames) == [0, 1, 2]


def test_an_interruption_drops_what_waits(tmp_path: Path) -> None:
    held = Held()
    with (
        pytest.raises(KeyboardInterrupt),
        inrv.BackgroundWriter(
            tmp_path / "a.inrv", INSTANT, group=1, waiting=4, report=held
        ) as writer,
    ):
        for moment in range(3):
            writer.add(None, {"fog": puff(moment)})
        assert held.entered.wait(60)
        threading.Timer(0.2, held.gone.set).start()
        raise KeyboardInterrupt
    assert list(inrv.load(tmp_path / "a.inrv").frames) == [0]


SOLVER = """
import sys, numpy as np, inrv
def told(numbers, report):
    print(*numbers, flush=True)
writer = inrv.BackgroundWriter(
    sys.argv[1], inrv.EncodeOptions(effort="instant"), group=1, report=told
)
for step in range(int(sys.argv[2])):
    writer.add(None, {"fog": np.full((16, 16, 16), step + 1.0)})
"""


def test_a_kill_leaves_the_finished_frames(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SOLVER, str(tmp_path / "a.inrv"), "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as solver:
        assert solver.stdout is not None
        told = [int(solver.stdout.readline()) for _ in range(3)]
        solver.send_signal(signal.SIGKILL)
    frames = inrv.load(tmp_path / "a.inrv").frames
    assert told == [0, 1, 2] and list(frames)[:3] == told
    assert all((frames[number]["fog"].dense() == number + 1).all() for number in frames)
    inrv.verify(tmp_path / "a.inrv", decode=True)
    assert os.listdir(tmp_path) == ["a.inrv"]


def test_a_program_that_does_not_close_its_writer_ends(tmp_path: Path) -> None:
    started = time.monotonic()
    command = [sys.executable, "-c", SOLVER, str(tmp_path / "a.inrv"), "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "" and time.monotonic() - started < 60


@pytest.mark.parametrize("waiting", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_of_frames_is_an_error(waiting: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="waiting is "):
        inrv.BackgroundWriter(tmp_path / "a.inrv", waiting=waiting)
