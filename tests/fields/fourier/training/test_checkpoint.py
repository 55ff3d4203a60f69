"""A run that is broken off and resumed ends as one without a break.

A checkpoint that does not fit is not used.
"""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inrv.container.tensors import pack_tensors, unpack_tensors
from inrv.errors import OptionError, OutputError
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.training import (
    Checkpoint,
    TrainingPlan,
    TrainingProgress,
    TrainingResult,
    WeightQuantisation,
    checkpoint,
    train,
)
from testing.training import network, samples

PLAN = TrainingPlan(epochs=4, batch=256, rate=1e-2)
STEPS = 28
Change = Callable[[dict[str, Any], dict[str, Any]], object]


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved on the way out."""


class Frail(Checkpoint):
    """A checkpoint that kills its run when it has been written `writes` times."""

    def __init__(self, path: Path, writes: int, seconds: float = 0.0) -> None:
        self.lines: list[str] = []
        super().__init__(path, seconds, self.lines.append)
        self.writes = writes

    def write(self, *what: Any) -> None:
        super().write(*what)
        self.writes -= 1
        if not self.writes:
            raise Killed


def broken_off(path: Path, writes: int, plan: TrainingPlan = PLAN, seed: int = 0) -> list[str]:
    frail = Frail(path, writes)
    with pytest.raises(Killed):
        train(network(seed), samples(), plan, checkpoint=frail)
    return frail.lines


def finished(
    path: Path | None, plan: TrainingPlan = PLAN
) -> tuple[FourierNetwork, TrainingResult, list[str]]:
    fitted, lines = network(), list[str]()
    result = train(
        fitted,
        samples(),
        plan,
        checkpoint=None if path is None else Checkpoint(path, 99, lines.append),
    )
    return fitted, result, lines


def same(one: FourierNetwork, other: FourierNetwork) -> bool:
    tensors = other.tensors()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in one.tensors().items())


@pytest.mark.parametrize(
    "plan", [PLAN, replace(PLAN, optimiser="muon", rounding=WeightQuantisation())]
)
@pytest.mark.parametrize("breaks", [(1,), (7,), (6, 1, 1, 7), (27,), (3, 20, 4)])
def test_a_resumed_run_ends_in_the_same_weights(
    breaks: tuple[int, ...], plan: TrainingPlan, tmp_path: Path
) -> None:
    path, at = tmp_path / "c", 0
    for number, steps in enumerate(breaks):
        lines = broken_off(path, steps, plan)
        assert len(lines) == (number > 0)
        at += steps
    whole, expected, _ = finished(None, plan)
    resumed, result, lines = finished(path, plan)
    assert len(lines) == 1 and f"resumes at step {at} of {STEPS}" in lines[0]
    assert same(whole, resumed) and (result.steps, result.epochs) == (
        expected.steps,
        expected.epochs,
    )


def test_the_target_is_met_at_the_same_step(tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=500, batch=256, rate=1e-2, target_psnr=18)
    whole, expected, _ = finished(None, plan)
    assert expected.stopped_by == "target-psnr" and expected.steps % 7 == 0
    for steps in (expected.steps - 1, expected.steps - 4):
        broken_off(tmp_path / f"{steps}", steps, plan)
        resumed, result, _ = finished(tmp_path / f"{steps}", plan)
        assert same(whole, resumed) and result.steps == expected.steps


def test_time_spent_before_the_break_counts(tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=1e6, batch=256, rate=1e-2, max_time=1.0)
    frail = Frail(tmp_path / "c", 1, 0.4)
    with pytest.raises(Killed):
        train(network(), samples(), plan, checkpoint=frail)
    seen: list[TrainingProgress] = []
    result = train(network(), samples(), plan, seen.append, Checkpoint(tmp_path / "c"))
    assert (
        result.stopped_by == "max-time"
        and 1.0 <= result.seconds < 1.4
        and all(now.seconds > 0.4 for now in seen)
    )


def test_a_short_run_writes_nothing(tmp_path: Path) -> None:
    train(network(), samples(), PLAN, checkpoint=Checkpoint(tmp_path / "c"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "run"),
    [
        ("another input", lambda c: train(network(), samples(0.4), PLAN, checkpoint=c)),
        (
            "other options",
            lambda c: train(network(), samples(), TrainingPlan(4, 256, 2e-2), checkpoint=c),
        ),
        ("other options", lambda c: train(network(1), samples(), PLAN, checkpoint=c)),
        (
            "not those of this network|asks for|network can need",
            lambda c: train(network(0, 24), samples(), PLAN, checkpoint=c),
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_not_used(
    words: str, run: Callable[[Checkpoint], TrainingResult], tmp_path: Path
) -> None:
    broken_off(tmp_path / "c", 5)
    lines: list[str] = []
    result = run(Checkpoint(tmp_path / "c", 99, lines.append))
    assert result.steps == STEPS and len(lines) == 1 and "training starts anew" in lines[0]
    assert any(word in lines[0] for word in words.split("|"))


def test_a_checkpoint_of_another_version_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("inrv.fields.fourier.training.saving.program", lambda: "inrv 0.0.1, torch 1")
        broken_off(tmp_path / "c", 5)
    assert "of another version" in finished(tmp_path / "c")[2][0]


def rewritten(data: bytes, change: Change) -> bytes:
    """The checkpoint with other contents and a checksum that matches them."""
    length = struct.unpack_from("<I", data, 40)[0]
    told, tensors = json.loads(data[44 : 44 + length]), unpack_tensors(data[44 + length :])
    change(told, tensors)
    text = json.dumps(told).encode()
    body = struct.pack("<I", len(text)) + text + pack_tensors(tensors)
    return data[:8] + checkpoint._digest(body) + body


def with_nan(_: Any, tensors: dict[str, Any]) -> None:
    tensors["weights.layers.0.bias"][3] = math.nan


HOSTILE: dict[str, Change] = {
    "holds NaN or infinity": with_nan,
    "not those of this network": lambda _, tensors: tensors.pop("first.multipliers"),
    "the network asks for (40,)": lambda _, tensors: tensors.update(
        {"first.multipliers": np.zeros(41, np.float32)}
    ),
    "is torch.float16": lambda _, tensors: tensors.update(
        {"first.multipliers": np.zeros(40, np.float16)}
    ),
    "'second.multipliers' holds a negative": lambda _, tensors: tensors["second.multipliers"].fill(
        -1
    ),
    "step 28 is not on the way to step 28": lambda told, _: told.update(step=28),
    "step -5 is not on the way": lambda told, _: told.update(step=-5),
    "are not where training can stand": lambda told, _: told.update(step="5"),
    "seconds -1.0": lambda told, _: told.update(seconds=-1.0),
    "does not say what it belongs to": lambda told, _: told.pop("identity"),
    "another input": lambda told, _: told["identity"].update(voxels=[1]),
}


@pytest.mark.parametrize("words", HOSTILE)
def test_a_crafted_checkpoint_is_not_used(words: str, tmp_path: Path) -> None:
    path = tmp_path / "c"
    broken_off(path, 5)
    path.write_bytes(rewritten(path.read_bytes(), lambda *_: None))
    assert "resumes at step 5" in finished(path)[2][0]
    path.write_bytes(rewritten(path.read_bytes(), HOSTILE[words]))
    _, result, lines = finished(path)
    assert result.steps == STEPS and len(lines) == 1 and words in lines[0]


def damages(data: bytes) -> Iterator[bytes]:
    yield b""
    yield b"noise" * 99
    for at in range(0, len(data), len(data) // 37):
        yield data[:at]
        yield data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "c"
    broken_off(path, 5)
    plan, whole = PLAN, path.read_bytes()
    for data in damages(whole):
        path.write_bytes(data)
        saving = Frail(path, 0)
        assert saving.read(lambda: {}, {"a": (len(whole),)}) is None
        assert len(saving.lines) == 1 and str(path) in saving.lines[0] and not saving.kept
    assert train(network(), samples(), plan, checkpoint=Checkpoint(path, 99)).steps == STEPS


def test_what_is_no_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    path, lines = tmp_path / "c", list[str]()
    path.mkdir()
    path.joinpath("kept").touch()
    reader = Checkpoint(path, 99, lines.append)
    assert reader.read(lambda: {}, {}) is None and "directory" in lines.pop()
    reader.remove()
    assert path.joinpath("kept").exists()
    (big := Checkpoint(tmp_path / "big", 99, lines.append)).path.touch()
    os.truncate(big.path, 1 << 40)
    assert (
        big.read(lambda: {}, {}) is None and "1,099,511,627,776 bytes are more than" in lines.pop()
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_in_its_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c")
    assert "not a regular file" in finished(tmp_path / "c")[2][0]


def test_training_goes_on_where_no_checkpoint_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    lines: list[str] = []
    fitted = network()
    saving = Checkpoint(tmp_path / "c", 0, lines.append)
    train(fitted, samples(), PLAN, checkpoint=saving)
    assert len(lines) == 1 and "No space left on device; training goes on" in lines[0]
    assert same(fitted, finished(None)[0]) and os.listdir(tmp_path) == [] and not saving.kept


def test_a_full_disk_gets_the_room_of_the_checkpoint(tmp_path: Path) -> None:
    def written() -> None:
        done.append(sorted(os.listdir(tmp_path)))
        if saving.path.exists() or error.errno != 28:
            raise OutputError("no room") from error

    for error in (OSError(28, "No space left on device"), OSError(13, "Permission denied")):
        done: list[list[str]] = []
        saving = Frail(tmp_path / "c", 4)
        with pytest.raises(Killed):
            train(network(), samples(), PLAN, checkpoint=saving)
        if error.errno == 28:
            saving.finish(written)
            assert done == [["c"], []]
            continue
        with pytest.raises(OutputError):
            saving.finish(written)
        assert done == [["c"]] and saving.kept and os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_then_takes_effect(number: signal.Signals, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def at_ten(now: TrainingProgress) -> None:
        if now.seconds > 0.3:
            signal.raise_signal(number)

    before, saving = signal.signal(number, stop), Checkpoint(tmp_path / "c", 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(network(), samples(), TrainingPlan(1e6, 256, 1e-2), at_ten, saving)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert saving.kept and os.listdir(tmp_path) == ["c"]
    saving.remove()
    assert not saving.kept and os.listdir(tmp_path) == []


def test_too_little_done_is_not_saved(tmp_path: Path) -> None:
    saving = Checkpoint(tmp_path / "c", 60)
    with pytest.raises(KeyboardInterrupt):
        train(
            network(),
            samples(),
            TrainingPlan(1e6, 256, 1e-2),
            lambda _: signal.raise_signal(signal.SIGINT),
            saving,
        )
    assert not saving.kept and os.listdir(tmp_path) == []


def test_training_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []
    work = threading.Thread(
        target=lambda: train(
            network(),
            samples(),
            TrainingPlan(1e6, 256, 1e-2, 0.5),
            lambda _: seen.append(signal.getsignal(2)),
            Checkpoint(tmp_path / "c"),
        )
    )
    work.start()
    work.join()
    assert seen and all(handler is before for handler in seen)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_senseless_intervals_are_refused(seconds: float, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="between checkpoints"):
        Checkpoint(tmp_path / "c", seconds)


def test_it_lies_beside_the_output(tmp_path: Path) -> None:
    assert Checkpoint.beside(tmp_path / "fire.inrv").path == tmp_path / ".fire.inrv.checkpoint"
