"""Targets on coarse strides are smooth values, by the wavelet 5/3: held to NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from inrv.core.lattice import LEVELS, Leaves, prefiltered
from testing.regions import EDGE, by_cell, leaves_of

LIMITS = np.array([0, 128, *[192] * (LEVELS - 2)], dtype=np.float32)

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


def halved(values: Floats, there: Flags, axis: int) -> tuple[Floats, Flags]:
    """Every second value along an axis, filtered, and which of them are there."""
    values, there = np.moveaxis(values, axis, 0), np.moveaxis(there, axis, 0)
    filtered = values[::2].copy()
    for place, (distance, weight) in product(range(0, len(values), 2), ((1, 0.25), (2, -0.125))):
        if place >= distance and place + distance < len(values):
            before, behind = place - distance, place + distance
            bent = values[before] + values[behind] - 2 * values[place]
            filtered[place // 2] += np.float32(weight) * bent * (there[before] & there[behind])
    return np.moveaxis(filtered, 0, axis), np.moveaxis(there[::2], 0, axis)


def expected(values: Floats, there: Flags) -> Floats:
    """Targets (128, 128, 128), before they are rounded."""
    targets, smooth = values.copy(), values
    for level in range(1, LEVELS):
        for axis in range(3):
            smooth, there = halved(smooth, there, axis)
        coarse = (slice(None, None, 1 << level),) * 3
        departure = smooth - values[coarse]
        kept = np.maximum(1 - (departure / LIMITS[level]) ** 2, 0)
        targets[coarse] = values[coarse] + departure * kept
    return targets


@pytest.mark.parametrize("share", [1.0, 0.7])
@pytest.mark.parametrize("reach", [EDGE, 72])
def test_targets_are_those_of_the_wavelet(share: float, reach: int) -> None:
    draws = np.random.default_rng(int(10 * share) + reach)
    active = draws.random((EDGE,) * 3) < share
    active[reach:] = active[:, reach:] = False
    along = np.linspace(0, 20, EDGE)
    dense = 3000 + 1000 * np.sin(along[:, None, None] + 2 * along[:, None]) * np.cos(along)
    dense = np.where(active, np.rint(dense + draws.normal(0, 30, dense.shape)), 0)
    leaves, values = leaves_of(active), dense.astype(np.float32)
    rows = by_cell(active)[leaves.cells]
    targets = prefiltered(leaves, by_cell(values)[leaves.cells][rows].astype(np.int32), LIMITS)
    exact = by_cell(expected(values, active))[leaves.cells][rows]
    assert np.abs(targets - exact).max() <= 0.51
    assert (targets != by_cell(values)[leaves.cells][rows]).any()


def test_a_region_without_voxels_has_no_targets() -> None:
    none = Leaves(np.zeros(0, dtype=np.uint16), np.zeros((0, 64), dtype=np.uint8))
    assert not len(prefiltered(none, np.zeros(0, dtype=np.int32), LIMITS))
