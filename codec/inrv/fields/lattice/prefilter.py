"""Targets for coarse strides where the encoder will leave out the finer voxels: smooth values.

The low-pass filter is that of the wavelet 5/3 of Le Gall and Tabatabai (1988), (-1, 2, 6, 2, -1) /
8 along each axis and at each doubling of the stride. Decoders know nothing of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import LEVELS
from inrv.fields.lattice.constants import STEP

# Units by which the target of a voxel of each level departs from its value at most.
# measured: docs/lab-notes.md#prefilter
LIMITS = (0.0, 1.0 * STEP) + (1.5 * STEP,) * (LEVELS - 2)

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


def prefilter(
    targets: NDArray[np.int32], rows: NDArray[np.int32], values: NDArray[np.int32]
) -> None:
    """Write into `targets` int32 (n,) what the voxels of a region are to be coded as.

    rows: int32 (128, 128, 128) of its voxels, -1 where not active
    values: int32 (n,) in units, by row
    """
    there = rows >= 0
    exact = np.where(there, values[np.maximum(rows, 0)], 0).astype(np.float32)
    smooth = exact
    for level in range(1, LEVELS):
        for axis in range(3):
            smooth, there = _halved(smooth, there, axis)
        exact, rows = exact[::2, ::2, ::2], rows[::2, ::2, ::2]
        departure = smooth - exact
        share = departure / np.float32(LIMITS[level])
        kept = np.maximum(1 - share * share, np.float32(0))
        targets[rows[there]] = np.rint(exact + departure * kept)[there].astype(np.int32)


def _halved(values: Floats, there: Flags, axis: int) -> tuple[Floats, Flags]:
    """Every second value along an axis, filtered, and which of them are there.

    A pair of neighbours counts where both are there.
    """
    values, there = np.moveaxis(values, axis, -1), np.moveaxis(there, axis, -1)
    own = values[..., ::2]
    near = _bend(values[..., 1::2], there[..., 1::2], own, (1, 0))
    far = _bend(own, there[..., ::2], own, (1, -1))
    filtered = own + near / np.float32(4) - far / np.float32(8)
    return np.moveaxis(filtered, -1, axis), np.moveaxis(there[..., ::2], -1, axis)


def _bend(values: Floats, there: Flags, own: Floats, shifts: tuple[int, int]) -> Floats:
    """Sum of the values before and behind `own` less twice `own`, 0 where one is missing."""
    before, behind = (_shifted(values, shift) for shift in shifts)
    both = _shifted(there, shifts[0]) & _shifted(there, shifts[1])
    return np.where(both, before + behind - np.float32(2) * own, np.float32(0))


def _shifted(values: NDArray[Any], shift: int) -> NDArray[Any]:
    """Values moved by `shift` places, -1, 0 or 1, along the last axis; zeros come in."""
    result = np.zeros_like(values)
    if shift > 0:
        result[..., shift:] = values[..., :-shift]
    elif shift < 0:
        result[..., :shift] = values[..., -shift:]
    else:
        result[...] = values
    return result
