"""The other codecs of the benchmarks: what they code comes back, and is measured once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.peers.peer import Array, Curve, Frame, Peer, Point, Sample, Setting, quality
from benchmarks.peers.race import Kept, Race
from inrv.grids import sparse_grid

PRESETS = {"SVT-AV1": "8", "x265": "medium"}
MIDDLE = 0.4  # of a ladder: a quality that all have


def made_up() -> Sample:
    x, y, z = np.mgrid[0:67, 0:70, 0:33]
    dense = (np.sin(x / 9) * np.cos(y / 7) + z / 20).astype(np.float32)
    grid = sparse_grid(dense, active=np.ones(dense.shape, bool))
    box = grid.topology.box
    assert box is not None
    frame = Frame(box, float(dense.min()), float(np.ptp(dense)))
    return Sample("made up", "raw volumes", grid, dense, frame)


def installed() -> Iterator[Peer]:
    for name in peers.NAMES:
        yield from peers.load([name], PRESETS)[0]


@pytest.mark.parametrize("peer", list(installed()), ids=lambda peer: peer.name)
def test_the_bytes_alone_give_the_values_back(peer: Peer) -> None:
    sample = made_up()
    for setting in peer.settings(sample.frame):
        parameter = setting.ladder[int(MIDDLE * len(setting.ladder))]
        point = peer.measure(sample, setting, parameter)
        assert point.psnr > 25
        assert 0 < point.bytes < sample.dense.nbytes / 2
        if not peer.estimate:
            data = peer.encode(sample, setting, parameter)
            decoded = peer.decode(data, sample.frame, setting)
            assert len(data) == point.bytes
            assert quality(decoded, sample.dense) == (point.psnr, point.largest)
        if setting.bounded and setting.name != "Fp":
            assert point.largest <= parameter * (1 + 1e-6)


class Straight(Peer):
    """A codec of 1 dB and 10 % more bytes a rung, whose second setting needs twice the bytes."""

    name = "straight"
    asked = 0

    def settings(self, frame: Frame) -> list[Setting]:
        return [Setting(f"times {times}", range(100), True, times) for times in (1, 2)]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        raise NotImplementedError

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        raise NotImplementedError

    def measure(self, sample: Sample, setting: Setting, parameter: float) -> Point:
        self.asked += 1
        if setting.choice == 2 and parameter > 70:
            raise RuntimeError("too good")
        size = setting.choice * 1000 * 1.1**parameter
        return Point(parameter, size, parameter, 10 ** (-parameter / 20), 0.0, 0.0)


def test_a_curve_finds_the_bytes_between_two_rungs_in_a_few_steps() -> None:
    peer, sample = Straight(), made_up()
    setting = peer.settings(sample.frame)[0]
    curve = Curve(setting.ladder, lambda rung: peer.measure(sample, setting, rung))
    assert curve.bytes_at_psnr(42.5) == pytest.approx(1000 * 1.1**42.5)
    assert peer.asked < 8
    assert curve.bytes_at_error(0.01) == pytest.approx(1000 * 1.1**40)
    assert math.isinf(curve.bytes_at_psnr(120))
    assert curve.bytes_at_psnr(-5) == pytest.approx(1000)


def test_a_race_goes_on_where_it_stopped(tmp_path: Path) -> None:
    peer, sample, lines = Straight(), made_up(), []
    race = Race(sample, [peer], Kept(tmp_path, sample.name, sample.dense), lines.append)
    won = race.at_psnr(peer, 45)
    assert won is not None
    assert (won.setting, won.bytes) == ("times 1", pytest.approx(1000 * 1.1**45))
    assert race.at_psnr(peer, 80) is not None
    assert lines == ["made up: straight, no package, times 2 is left out: RuntimeError: too good"]
    asked = peer.asked
    again = Race(sample, [peer], Kept(tmp_path, sample.name, sample.dense), lines.append)
    assert again.at_psnr(peer, 45) == won
    assert peer.asked == asked
    assert len(lines) == 1
    other = Kept(tmp_path, sample.name, sample.dense + 1)
    assert other.data["points"] == {}
