"""The programs of examples/ run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import inrv
from examples.solver import Smoke

ROOT = Path(__file__).resolve().parents[1]


def solver(*arguments: object) -> str:
    command = [sys.executable, "-m", "examples.solver", *map(str, arguments), "--edge", "24"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_solver_writes_its_frames_and_goes_on_with_them(tmp_path: Path) -> None:
    path = tmp_path / "smoke.inrv"
    assert "3 frames; the solver waited" in solver(path, "--frames", 3)
    solver(path, "--frames", 4, "--append")
    frames, smoke = inrv.load(path).frames, Smoke(24)
    assert frames.numbers == (0, 1, 2, 3) and frames.times[3] == 3 / 24
    for frame in frames.values():
        smoke.step(1 / 24)
        places = tuple(frame["density"].coordinates().T)
        assert len(places[0]) == np.count_nonzero(smoke.density) > 0
        wind = frame["velocity"].dense(((0, 0, 0), (23, 23, 23)))
        missed = np.sqrt(np.mean((wind - smoke.velocity) ** 2))
        assert missed < 10 ** (-45 / 20) * np.ptp(smoke.velocity)


def test_the_smoke_rises_in_air_that_is_not_compressed() -> None:
    smoke = Smoke(24)
    heights = []
    for _ in range(24):
        smoke.step(1 / 24)
        heights.append(float((smoke.density * smoke.places[..., 2]).sum() / smoke.density.sum()))
    assert heights[-1] > heights[0] + 3
    smoke._project()
    flow = np.fft.rfftn(smoke.velocity, axes=(0, 1, 2))
    apart = np.abs((smoke.waves * flow).sum(axis=-1)).max()
    assert apart < 1e-3 * np.abs(flow).max()
