"""PSNR, NRMSE, SSIM and Score of one grid against another, in memory that follows the voxels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.grids import LEAF_EDGE, Box, Grid, every_component
from inrv.metrics.psnr import psnr_of
from inrv.metrics.regions import Pairs, differing_regions, paired_values
from inrv.metrics.ssim import WINDOW, structural_similarity

Array = NDArray[np.float64]

HIGHEST_PSNR = 48.0  # dB, of the Score: Zurkova et al. 2025, section 2.5
BRICK_EDGE = 64  # at least the reach of one 8^3 block: 14
REACH = WINDOW // 2  # of a window, from its centre


@dataclass(frozen=True)
class GridMetrics:
    """Figures of one grid, or their means.

    psnr: dB, for the peak 1 of normalised values: the range of the original's values; infinity
        where nothing differs
    nrmse: root mean square error over the root mean square of the original, both normalised
    ssim: mean structural similarity, 3D, uniform window of 7^3; None where the box is narrower than
        the window
    score: Zurkova et al. 2025, eq. (4), in [0, 1]; None where there is no SSIM
    """

    psnr: float
    nrmse: float
    ssim: float | None
    score: float | None


@dataclass(frozen=True, eq=False)
class Differences:
    """Sums over a box, one number a component: what PSNR and NRMSE are made of.

    A normalised value is (value - minimum) / span. A constant component has no range: its minimum
    is 0 then, and its span its magnitude, or 1 where that is 0.

    minimum: float64 (C,) lowest value of the original
    span: float64 (C,) range of the original
    counted: bool (C,) components that vary in the original or differ; the others say nothing
    squared_error: float64 (C,) mean square of the normalised difference
    squared_original: float64 (C,) mean square of the normalised original
    largest: float64 (C,) largest absolute difference, in the grid's own units
    """

    minimum: Array
    span: Array
    counted: NDArray[np.bool_]
    squared_error: Array
    squared_original: Array
    largest: Array


def measure(original: Grid, decoded: Grid, box: Box) -> tuple[GridMetrics, float]:
    """Give the figures over every voxel of `box`, active or not, and the largest difference.

    Voxels with NaN or infinity, which both grids must have in the same places, are left out; in the
    windows of the SSIM they have the lowest value.
    The original is normalised to [0, 1] by its minimum and maximum over `box`, each component of a
    vector grid by its own; mean squares and SSIM are averaged over the components, those that are
    constant and equal left out. The largest absolute difference is in the grid's own units. Grids
    must have the same number of components.
    """
    sums = differences(original, decoded, box)
    largest = float(sums.largest.max())
    wide_enough = min(box.shape) >= WINDOW
    if not (sums.largest > 0).any():
        return GridMetrics(math.inf, 0.0, 1.0 if wide_enough else None, 1.0), largest
    error = float(sums.squared_error[sums.counted].mean())
    reference = float(sums.squared_original[sums.counted].mean())
    psnr = psnr_of(error)
    nrmse = math.sqrt(error / reference) if reference else math.inf
    ssim = ssim_within(original, decoded, box, sums) if wide_enough else None
    return GridMetrics(psnr, nrmse, ssim, score(psnr, nrmse, ssim)), largest


def score(psnr: float, nrmse: float, ssim: float | None) -> float | None:
    """Give the Score, Zurkova et al. 2025, eq. (4).

    It is the mean of PSNR / 48 dB, 1 - NRMSE and SSIM, each kept within [0, 1].
    """
    if ssim is None:
        return None
    parts = (psnr / HIGHEST_PSNR, 1 - nrmse, ssim)
    return sum(min(1.0, max(0.0, part)) for part in parts) / 3


def differences(original: Grid, decoded: Grid, box: Box) -> Differences:
    """Sum over every finite voxel of `box`, each region of equal values taken once."""
    lowest, voxels = np.full(original.components, math.inf), 0
    highest, largest = -lowest, np.zeros_like(lowest)
    for a, b, counts in _finite_pairs(original, decoded, box):
        voxels += int(counts.sum())
        if len(a):
            lowest = np.minimum(lowest, _each(np.min, a))
            highest = np.maximum(highest, _each(np.max, a))
            largest = np.maximum(largest, _each(np.max, np.abs(a - b)))
    varying = highest > lowest
    minimum = np.where(varying, lowest, 0.0)
    constant = np.where(lowest == 0, 1.0, np.abs(lowest))
    span = np.where(varying, highest - lowest, constant)
    squared_error, squared_original = np.zeros_like(lowest), np.zeros_like(lowest)
    for a, b, counts in _finite_pairs(original, decoded, box):
        weights = counts[:, None] / voxels
        squared_error += _each(np.sum, np.square((a - b) / span) * weights)
        squared_original += _each(np.sum, np.square((a - minimum) / span) * weights)
    counted = varying | (largest > 0)
    return Differences(minimum, span, counted, squared_error, squared_original, largest)


def _finite_pairs(original: Grid, decoded: Grid, box: Box) -> Iterator[Pairs]:
    """Do what `paired_values` does, without the voxels in which the original is not finite."""
    for a, b, counts in paired_values(original, decoded, box):
        known = every_component(np.isfinite(a))
        yield (a, b, counts) if known.all() else (a[known], b[known], counts[known])


def _each(reduce: Callable[[Array], Any], values: Array) -> Array:
    """Reduce each component of values (n, C) to a number: float64 (C,).

    NumPy would take ten times as long over so short an axis, and add with larger errors.
    """
    return np.array([reduce(column) for column in values.T], dtype=np.float64)


def ssim_within(original: Grid, decoded: Grid, box: Box, sums: Differences | None = None) -> float:
    """Give the mean SSIM over every 7^3 window of `box` and over the components that count.

    The values are normalised. Windows in which both grids are equal count as 1 without a look at
    them.

    box: at least 7 voxels wide
    sums: of the same box, where they are known
    """
    sums = sums or differences(original, decoded, box)
    centres = _grown(box, -REACH)
    components = np.flatnonzero(sums.counted)
    lost = 0.0
    for brick in _bricks_to_compare(original, decoded, box, centres):
        around = _grown(brick, REACH)
        a, b = (_normalised(grid, around, sums) for grid in (original, decoded))
        found = [structural_similarity(a[..., c], b[..., c]) for c in components]
        lost += brick.volume * (1 - sum(found) / len(found))
    return 1 - lost / centres.volume


def _grown(box: Box, step: int) -> Box:
    """Move all six faces of a box outwards."""
    (x, y, z), (u, v, w) = box.lower, box.upper
    return Box((x - step, y - step, z - step), (u + step, v + step, w + step))


def _bricks_to_compare(original: Grid, decoded: Grid, box: Box, centres: Box) -> list[Box]:
    """Give boxes of window centres that hold every window in which the grids differ."""
    blocks, regions = differing_regions(original, decoded, box)
    places: set[tuple[int, ...]] = set()
    for corner in itertools.product((-REACH, LEAF_EDGE - 1 + REACH), repeat=3):
        touched = (blocks + np.array(corner, dtype=np.int32)) // BRICK_EDGE
        places.update(map(tuple, np.unique(touched, axis=0).tolist()))
    for region in regions:
        ranges = [
            range((low - REACH) // BRICK_EDGE, (high + REACH) // BRICK_EDGE + 1)
            for low, high in zip(region.lower, region.upper, strict=True)
        ]
        places.update(itertools.product(*ranges))
    bricks = (centres.intersection(_brick(*place)) for place in sorted(places))
    return [brick for brick in bricks if brick is not None]


def _brick(*place: int) -> Box:
    """Give the brick at a place, which counts in bricks."""
    x, y, z = (BRICK_EDGE * step for step in place)
    last = BRICK_EDGE - 1
    return Box((x, y, z), (x + last, y + last, z + last))


def _normalised(grid: Grid, box: Box, sums: Differences) -> Array:
    """Give the normalised values float64 (X, Y, Z, C) of a box, 0 for what is not finite."""
    values = (grid.dense(box).astype(np.float64) - sums.minimum) / sums.span
    return np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
