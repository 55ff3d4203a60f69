"""What every codec that we compare with has in common, and how its bytes at a quality are found.

A codec is a `Peer`. It has one or more settings, and each of these has a ladder: parameters whose
quality grows from rung to rung. `Curve` measures rungs where they are asked for, until two
neighbours lie on both sides of a quality; the bytes between two rungs are interpolated.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from inrv.grids import Box, Grid

Array = np.ndarray[Any, Any]
BOUNDS = tuple(10 ** (-rung / 16) for rung in range(5, 81))  # absolute errors, shares of the range


@dataclass(frozen=True)
class Frame:
    """What a decoder knows besides the bytes.

    box: where the values are, and so their shape
    low: the smallest value
    span: the range of the values
    """

    box: Box
    low: float
    span: float


@dataclass(frozen=True)
class Sample:
    """One component of one grid.

    name: of the file, the grid and the component
    group: of the table that it counts in
    grid: with its topology
    dense: float32 (X, Y, Z) the values of its active box
    frame: what a decoder may know
    """

    name: str
    group: str
    grid: Grid
    dense: Array
    frame: Frame


@dataclass(frozen=True)
class Setting:
    """One way to run a codec.

    name: says all that tells it from others, as results are kept by it
    ladder: parameters, the worst quality first
    bounded: whether the parameter bounds the error of every voxel
    choice: what the codec itself makes of this setting
    """

    name: str
    ladder: Sequence[float]
    bounded: bool = False
    choice: Any = None


@dataclass(frozen=True)
class Point:
    """What a codec made of a box at a parameter.

    parameter: of the setting's ladder
    bytes: float, as an estimate has no whole ones
    psnr: dB over the box, where the peak is the range of its values
    largest: error, as a share of the range
    encode_seconds, decode_seconds: of one run
    """

    parameter: float
    bytes: float
    psnr: float
    largest: float
    encode_seconds: float
    decode_seconds: float


class Peer(ABC):
    """A codec that we compare with.

    name: of its column
    package: the distribution whose version its results are kept by; none for a tool or an estimate
    old: whether the first comparisons had it too
    estimate: whether its bytes are a computed length, and no file
    slow: whether settings that are far behind at one quality are left out at the others
    remark: a line on what it lacks here, or nothing
    """

    name: str
    package: str | None = None
    old = False
    estimate = False
    slow = False
    remark = ""

    @abstractmethod
    def settings(self, frame: Frame) -> list[Setting]:
        """Return all ways to run it on a box."""

    @abstractmethod
    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Return the coded values."""

    @abstractmethod
    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Return the values from the bytes and the frame alone."""

    def measure(self, sample: Sample, setting: Setting, parameter: float) -> Point:
        """Encode, decode and compare."""
        started = time.perf_counter()
        data = self.encode(sample, setting, parameter)
        encoded = time.perf_counter()
        decoded = self.decode(data, sample.frame, setting)
        done = time.perf_counter()
        found = quality(decoded, sample.dense)
        return Point(parameter, len(data), *found, encoded - started, done - encoded)

    @property
    def version(self) -> str:
        """What tells results of this build from those of another."""
        return f"{self.package} {metadata.version(self.package)}" if self.package else "no package"


def quality(decoded: Array, array: Array) -> tuple[float, float]:
    """Return the PSNR in dB and the largest error over the range of `array`, which is the peak."""
    span = float(np.ptp(array))
    error = decoded.astype(np.float64) - array
    return 10 * math.log10(span**2 / max(float(np.mean(error**2)), 1e-30)), float(
        np.abs(error).max()
    ) / span


def to_integers(array: Array, frame: Frame, bits: int) -> Array:
    """Scale the range of the values to that of unsigned integers of `bits` bits."""
    scaled = (array.astype(np.float64) - frame.low) * ((2**bits - 1) / frame.span)
    return np.rint(scaled).astype(np.uint16)


def from_integers(integers: Array, frame: Frame, bits: int) -> Array:
    """Scale integers back to the range of the values."""
    return (integers * (frame.span / (2**bits - 1)) + frame.low).astype(np.float32)


class Curve:
    """One setting of a codec on one box."""

    def __init__(self, ladder: Sequence[float], measure: Callable[[float], Point]) -> None:
        """Begin without points.

        measure: codes the box at a parameter of the ladder
        """
        self.ladder = ladder
        self.measured: dict[int, Point] = {}
        self.measure = measure

    def bytes_at_psnr(self, psnr: float) -> float:
        """Return the bytes at a PSNR, infinite where no rung reaches it."""
        self._bracket(lambda point: point.psnr, psnr)
        return bytes_at_psnr(list(self.measured.values()), psnr)

    def bytes_at_error(self, error: float) -> float:
        """Return the bytes at which no voxel is off by more than `error` of the range."""
        self._bracket(_closeness, -math.log(error * (1 + 1e-6)))
        return bytes_at_error(list(self.measured.values()), error)

    def _bracket(self, good: Callable[[Point], float], wanted: float) -> None:
        """Measure until neighbouring rungs lie on both sides of `wanted`, or the ladder ends."""
        for step in range(len(self.ladder)):
            low, high = -1, len(self.ladder)
            for rung, point in sorted(self.measured.items()):
                if good(point) >= wanted:
                    high = rung
                    break
                low = rung
            if high - low <= 1:
                return
            rung = (low + high) // 2
            if low >= 0 and high < len(self.ladder) and step % 3 < 2:
                # Quality is almost linear over the rungs, so that a chord finds most in a step or
                # two; every third step halves, for the ladders where it is not.
                worse, better = good(self.measured[low]), good(self.measured[high])
                chord = low + (high - low) * (wanted - worse) / max(better - worse, 1e-9)
                rung = min(max(round(chord), low + 1), high - 1)
            self.measured[rung] = self.measure(self.ladder[rung])


def _closeness(point: Point) -> float:
    return -math.log(max(point.largest, 1e-30))


def bytes_at_psnr(curve: list[Point], psnr: float) -> float:
    """Return the bytes at a PSNR, infinite where the curve does not reach it.

    Between two points the logarithm of the bytes is linear in the PSNR.
    """
    points = sorted((entry.psnr, math.log(entry.bytes)) for entry in curve)
    better = [entry for entry in points if entry[0] >= psnr]
    if not better:
        return math.inf
    cheapest = min(entry[1] for entry in better)
    worse = [entry for entry in points if entry[0] < psnr]
    if not worse:
        return math.exp(cheapest)
    (low, low_size), (high, high_size) = worse[-1], better[0]
    between = low_size + (high_size - low_size) * (psnr - low) / (high - low)
    return math.exp(min(between, cheapest))


def bytes_at_error(curve: list[Point], error: float) -> float:
    """Return the fewest bytes of all points whose largest error is at most `error` of the range.

    A millionth more is allowed.
    """
    return min(
        (entry.bytes for entry in curve if entry.largest <= error * (1 + 1e-6)), default=math.inf
    )
