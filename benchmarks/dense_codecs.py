"""Other codecs on dense boxes, each at absolute errors, and their rate curves.

The codecs are SZ3, SPERR and ZFP, from hdf5plugin.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

Array = np.ndarray[Any, Any]

# SPERR reads axes the other way round: without `swap` it is crippled on boxes that are not cubes.
CODECS: dict[str, Callable[[float], Any]] = {
    "SZ3": lambda error: hdf5plugin.SZ3(absolute=error),
    "SPERR": lambda error: hdf5plugin.Sperr(absolute=error, swap=True),
    "ZFP": lambda error: hdf5plugin.Zfp(accuracy=error),
}
SWEEP = tuple(
    10 ** (-exponent / 8) for exponent in (*range(28), *range(28, 37, 2))
)  # absolute errors, as shares of the range
BOUNDS = (1e-2, 1e-3)  # those that `--max-error` is compared at


@dataclass(frozen=True)
class Point:
    """What a codec made of a box at an absolute error `bound`.

    `bound` and `largest` are shares of the range, which is also the peak of the PSNR.
    """

    bound: float
    bytes: int
    psnr: float
    largest: float
    encode_seconds: float
    decode_seconds: float


def compress(array: Array, filters: Any) -> tuple[int, Array, float, float]:
    """Return stored bytes, the decompressed array, seconds to encode and seconds to decode."""
    memory = io.BytesIO()
    started = time.perf_counter()
    with h5py.File(memory, "w") as file:
        file.create_dataset("d", data=array, chunks=array.shape, compression=filters)
    encoded = time.perf_counter()
    with h5py.File(memory, "r") as file:
        data = file["d"]
        return data.id.get_storage_size(), data[:], encoded - started, time.perf_counter() - encoded


def point(array: Array, codec: str, bound: float) -> Point:
    """Compress `array` with `codec` at an absolute error of `bound` times its range."""
    span = float(np.ptp(array))
    size, decoded, encode_seconds, decode_seconds = compress(array, CODECS[codec](bound * span))
    return Point(bound, size, *quality(decoded, array), encode_seconds, decode_seconds)


def quality(decoded: Array, array: Array) -> tuple[float, float]:
    """Return the PSNR in dB and the largest error over the range of `array`, which is the peak."""
    span = float(np.ptp(array))
    error = decoded.astype(np.float64) - array
    return 10 * math.log10(span**2 / max(float(np.mean(error**2)), 1e-30)), float(
        np.abs(error).max()
    ) / span


class Curves:
    """Points of every codec on every box, kept in a file: peers stay the same between runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[str, list[dict[str, Any]]] = (
            json.loads(path.read_text()) if path.exists() else {}
        )

    def of(self, key: str, array: Array) -> dict[str, list[Point]]:
        """The curve of each codec on `array`, which `key` names."""
        for codec in CODECS:
            found = self.kept.setdefault(f"{key} {codec}", [])
            missing = {*SWEEP, *BOUNDS} - {entry["bound"] for entry in found}
            if missing:
                found += [asdict(point(array, codec, bound)) for bound in missing]
                found.sort(key=lambda entry: -float(entry["bound"]))
                self._save()
        return {
            codec: [Point(**entry) for entry in self.kept[f"{key} {codec}"]] for codec in CODECS
        }

    def other(self, key: str, codec: str, measure: Callable[[], list[Point]]) -> list[Point]:
        """The curve of a codec that is none of CODECS, measured where it is not kept yet."""
        if f"{key} {codec}" not in self.kept:
            self.kept[f"{key} {codec}"] = [asdict(entry) for entry in measure()]
            self._save()
        return [Point(**entry) for entry in self.kept[f"{key} {codec}"]]

    def _save(self) -> None:
        self.path.write_text(json.dumps(self.kept))


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
