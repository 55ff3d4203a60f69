"""PSNR, NRMSE, SSIM and Score of one grid against another, in memory that follows the active voxels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrv.errors import InrvError
from inrv.grids import Box, Grid
from inrv.grids.topology import LEAF_EDGE
from inrv.metrics.regions import differing_regions, paired_values

HIGHEST_PSNR = 48.0  # dB, of the Score: Zurkova et al. 2025, section 2.5
WINDOW = 7
BRICK_EDGE = 64  # at least the reach of one 8^3 block: 14


@dataclass(frozen=True)
class GridMetrics:
    """Figures of one grid, or their means.

    psnr   dB, peak 1 on normalised values: peak = range of the original's values; inf where nothing differs
    nrmse  root mean square error over the root mean square of the original, both normalised
    ssim   mean structural similarity, 3D, uniform window of 7^3; None where the box is narrower than the window, or where
           scikit-image is not installed and the grids differ
    score  Zurkova et al. 2025, eq. (4), in [0, 1]; None where there is no SSIM
    """

    psnr: float
    nrmse: float
    ssim: float | None
    score: float | None


@dataclass(frozen=True, eq=False)
class Differences:
    """Sums over a box, one number a component, float64 (C,): what PSNR and NRMSE are made of.

    minimum, span         normalised value = (value - minimum) / span; a constant component has no range: minimum is
                          then 0 and span its magnitude, or 1 where it is 0
    counted               bool (C,): components that vary in the original or differ; the others say nothing
    squared_error         mean square of the normalised difference
    squared_original      mean square of the normalised original
    largest               largest absolute difference, in the grid's own units
    """

    minimum: Tensor
    span: Tensor
    counted: Tensor
    squared_error: Tensor
    squared_original: Tensor
    largest: Tensor


def measure(original: Grid, decoded: Grid, box: Box) -> tuple[GridMetrics, float]:
    """Figures over every voxel of `box`, active or not, and the largest absolute difference in the grid's own units.

    The original is normalised to [0, 1] by its minimum and maximum over `box`, each component of a vector grid by its
    own; mean squares and SSIM are averaged over the components, those that are constant and equal left out. Grids must
    have the same number of components.
    """
    sums = differences(original, decoded, box)
    largest = float(sums.largest.max())
    wide_enough = min(box.shape) >= WINDOW
    if not bool((sums.largest > 0).any()):
        return GridMetrics(math.inf, 0.0, 1.0 if wide_enough else None, 1.0), largest
    error = float(sums.squared_error[sums.counted].mean())
    reference = float(sums.squared_original[sums.counted].mean())
    psnr = -10 * math.log10(error)
    nrmse = math.sqrt(error / reference) if reference else math.inf
    ssim = ssim_within(original, decoded, box, sums) if wide_enough and lacking_for_ssim() is None else None
    return GridMetrics(psnr, nrmse, ssim, score(psnr, nrmse, ssim)), largest


def score(psnr: float, nrmse: float, ssim: float | None) -> float | None:
    """Score, Zurkova et al. 2025, eq. (4): mean of PSNR / 48 dB, 1 - NRMSE and SSIM, each kept within [0, 1]."""
    if ssim is None:
        return None
    return sum(min(1.0, max(0.0, part)) for part in (psnr / HIGHEST_PSNR, 1 - nrmse, ssim)) / 3


def differences(original: Grid, decoded: Grid, box: Box) -> Differences:
    """The sums over every voxel of `box`, each region of equal values taken once."""
    lowest = torch.full((original.components,), math.inf, dtype=torch.float64)
    highest, largest = -lowest, torch.zeros_like(lowest)
    for a, b, _ in paired_values(original, decoded, box):
        if len(a):
            lowest, highest = torch.minimum(lowest, a.amin(0)), torch.maximum(highest, a.amax(0))
            largest = torch.maximum(largest, (a - b).abs().amax(0))
    varying = highest > lowest
    minimum = torch.where(varying, lowest, 0.0)
    span = torch.where(varying, highest - lowest, torch.where(lowest == 0, 1.0, lowest.abs()))
    squared_error, squared_original = torch.zeros_like(lowest), torch.zeros_like(lowest)
    for a, b, counts in paired_values(original, decoded, box):
        weights = counts[:, None].double() / box.volume
        squared_error += (((a - b) / span).square() * weights).sum(0)
        squared_original += (((a - minimum) / span).square() * weights).sum(0)
    return Differences(minimum, span, varying | (largest > 0), squared_error, squared_original, largest)


def ssim_within(original: Grid, decoded: Grid, box: Box, sums: Differences | None = None) -> float:
    """Mean SSIM over every 7^3 window of `box` and over the components that count, on normalised values.

    What scikit-image's `structural_similarity` gives for the dense box with win_size 7 and data_range 1; windows in
    which both grids are equal count as 1 without being looked at. `box` must be at least 7 voxels wide. Raises InrvError
    where scikit-image is not installed.
    """
    sums = sums or differences(original, decoded, box)
    similarity = _structural_similarity()
    reach = WINDOW // 2
    low, high = (tuple(edge + step for edge in bound) for bound, step in ((box.lower, reach), (box.upper, -reach)))
    centres = Box(low, high)  # type: ignore[arg-type]
    components = sums.counted.nonzero()[:, 0].tolist()
    lost = 0.0
    for brick in _bricks_to_compare(original, decoded, box, centres):
        around = Box(*(tuple(e + s for e in bound) for bound, s in ((brick.lower, -reach), (brick.upper, reach))))  # type: ignore[arg-type]
        a, b = (_normalised(grid, around, sums) for grid in (original, decoded))
        found = [similarity(a[..., c], b[..., c], win_size=WINDOW, data_range=1.0) for c in components]
        lost += brick.volume * (1 - sum(found) / len(found))
    return 1 - lost / centres.volume


def _bricks_to_compare(original: Grid, decoded: Grid, box: Box, centres: Box) -> list[Box]:
    """Boxes of window centres that together hold every window in which the grids differ."""
    blocks, regions = differing_regions(original, decoded, box)
    reach = WINDOW // 2
    places: set[tuple[int, ...]] = set()
    for corner in itertools.product((-reach, LEAF_EDGE - 1 + reach), repeat=3):
        touched = torch.div(blocks + torch.tensor(corner, dtype=torch.int32), BRICK_EDGE, rounding_mode="floor")
        places.update(map(tuple, touched.unique(dim=0).tolist()))
    for region in regions:
        ranges = [
            range((low - reach) // BRICK_EDGE, (high + reach) // BRICK_EDGE + 1)
            for low, high in zip(region.lower, region.upper, strict=True)
        ]
        places.update(itertools.product(*ranges))
    bricks = (centres.intersection(_brick(*place)) for place in sorted(places))
    return [brick for brick in bricks if brick is not None]


def _brick(x: int, y: int, z: int) -> Box:
    last = BRICK_EDGE - 1
    x, y, z = x * BRICK_EDGE, y * BRICK_EDGE, z * BRICK_EDGE
    return Box((x, y, z), (x + last, y + last, z + last))


def _normalised(grid: Grid, box: Box, sums: Differences) -> np.ndarray[Any, np.dtype[np.float64]]:
    values: np.ndarray[Any, np.dtype[np.float64]] = ((grid.dense(box).double() - sums.minimum) / sums.span).numpy()
    return values


def lacking_for_ssim() -> str | None:
    """What SSIM, and with it the Score, needs and does not find here, and how to get it; None where nothing is lacking."""
    try:
        _structural_similarity()
    except InrvError as error:
        return str(error)
    return None


def _structural_similarity() -> Callable[..., float]:
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise InrvError(f"SSIM and Score need scikit-image ({error}): pip install 'inrv[metrics]'") from error
    found: Callable[..., float] = structural_similarity
    return found
