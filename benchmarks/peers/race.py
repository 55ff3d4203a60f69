"""Who is best on a grid, and the file that keeps all that was measured on it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.peer import Array, Curve, Peer, Point, Sample, Setting

PILOT = 40.0  # dB at which a slow codec shows which of its settings are worth the time
MARGIN = 1.15  # of the bytes of its best setting there


@dataclass(frozen=True)
class Winner:
    """The best setting of a codec at a quality.

    bytes: at that quality
    setting: its name
    """

    bytes: float
    setting: str


class Kept:
    """Results on one grid, in a JSON file that is written after each, so that a run can go on."""

    def __init__(self, folder: Path, name: str, dense: Array) -> None:
        """Read what an earlier run has left, unless it was of other values.

        folder: of all grids
        name: of the grid
        dense: its values
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{re.sub(r'[^A-Za-z0-9.]+', '_', name)}.json"
        what = {"grid": name, "shape": list(dense.shape), "values": _digest(dense)}
        self.data: dict[str, Any] = {**what, "points": {}, "failures": {}, "own": {}}
        if self.path.exists():
            earlier = json.loads(self.path.read_text())
            if {key: earlier.get(key) for key in what} == what:
                self.data = earlier

    def save(self) -> None:
        """Replace the file, so that no half of one is left when a run is broken off."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.data, indent=1) + "\n")
        part.replace(self.path)


def _digest(dense: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(dense).tobytes()).hexdigest()[:16]


class NotKept(Exception):
    """A point was not measured in an earlier run, and is not to be measured in this one."""


class Race:
    """All codecs on one grid."""

    def __init__(
        self,
        sample: Sample,
        peers: Sequence[Peer],
        kept: Kept,
        say: Callable[[str], None] = print,
        measures: bool = True,
    ) -> None:
        """Begin with what is kept.

        say: takes a line on each setting that fails
        measures: whether what is not kept is measured; else a codec is left out where it is needed
        """
        self.sample, self.peers, self.kept, self._say = sample, peers, kept, say
        self._measures = measures
        self._curves = {
            peer.name: {
                setting: self._curve(peer, setting) for setting in peer.settings(sample.frame)
            }
            for peer in peers
        }

    def at_psnr(self, peer: Peer, psnr: float) -> Winner | None:
        """Return the best setting at a PSNR, or None where none reaches it."""
        return _best(
            {
                setting: self._tried(peer, setting, lambda curve: curve.bytes_at_psnr(psnr))
                for setting in self._promising(peer)
            }
        )

    def at_error(self, peer: Peer, error: float) -> Winner | None:
        """Return the best setting that keeps a bound, a share of the range, or None."""
        return _best(
            {
                setting: self._tried(peer, setting, lambda curve: curve.bytes_at_error(error))
                for setting in self._curves[peer.name]
                if setting.bounded
            }
        )

    def _curve(self, peer: Peer, setting: Setting) -> Curve:
        """Join a setting's ladder with the points that are kept of it."""
        points = self.kept.data["points"].setdefault(f"{peer.name}, {peer.version}", {})
        found = points.setdefault(setting.name, {})

        def measure(parameter: float) -> Point:
            if not self._measures:
                raise NotKept
            point = peer.measure(self.sample, setting, parameter)
            found[f"{parameter:.9g}"] = asdict(point)
            self.kept.save()
            return point

        curve = Curve(setting.ladder, measure)
        for rung, parameter in enumerate(setting.ladder):
            if f"{parameter:.9g}" in found:
                curve.measured[rung] = Point(**found[f"{parameter:.9g}"])
        return curve

    def _promising(self, peer: Peer) -> list[Setting]:
        """Return the settings, of a slow codec those that are near its best at PILOT."""
        curves = self._curves[peer.name]
        if not peer.slow:
            return list(curves)
        sizes = {
            setting: self._tried(peer, setting, lambda curve: curve.bytes_at_psnr(PILOT))
            for setting in curves
        }
        return [size for size in sizes if sizes[size] <= MARGIN * min(sizes.values())]

    def _tried(self, peer: Peer, setting: Setting, ask: Callable[[Curve], float]) -> float:
        """Ask a curve; a setting that fails once is out, and no reason to end a run of hours."""
        key, failures = f"{peer.name}, {peer.version}, {setting.name}", self.kept.data["failures"]
        if key in failures:
            return math.inf
        try:
            return ask(self._curves[peer.name][setting])
        except NotKept:
            return math.inf
        except Exception as error:  # the codecs are other people's, and raise what they like
            failures[key] = f"{type(error).__name__}: {error}".splitlines()[0]
            self.kept.save()
            self._say(f"{self.sample.name}: {key} is left out: {failures[key]}")
            return math.inf


def _best(sizes: dict[Setting, float]) -> Winner | None:
    size, name = min(
        ((size, setting.name) for setting, size in sizes.items()), default=(math.inf, "")
    )
    return None if math.isinf(size) else Winner(size, name)
