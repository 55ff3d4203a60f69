"""What the encoder aims at where it will leave out the finer voxels: on coarse strides, a smooth version of the values.

The low-pass filter is that of the wavelet 5/3 of Le Gall and Tabatabai (1988), (-1, 2, 6, 2, -1) / 8 along each axis and at
each doubling of the stride. Decoders know nothing of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from inrv.fields.lattice.constants import STEP
from inrv.fields.lattice.order import LEVELS, REGION_EDGE
from inrv.fields.lattice.traversal import Batch

LIMITS = (0.0, 1.0 * STEP) + (1.5 * STEP,) * (LEVELS - 2)  # units by which a voxel of each level may at most depart


def soften(aims: Tensor, batch: Batch, targets: Tensor) -> None:
    """Write into `aims` int32 (N,) what the voxels of a batch are to be coded as.

    targets  int32 (N,), units, by row
    """
    rows = batch.rows.new_full((len(batch.rows), *[REGION_EDGE] * 3), -1)
    x, y, z = (slice(low, high) for low, high in zip(batch.window.lower, batch.window.upper, strict=True))
    rows[:, x, y, z] = batch.rows
    there = rows >= 0
    exact = torch.where(there, targets[rows.clamp_min(0)], 0).to(torch.float32)
    smooth = exact
    for level in range(1, LEVELS):
        for axis in (1, 2, 3):
            smooth, there = _halved(smooth, there, axis)
        exact, rows = exact[:, ::2, ::2, ::2], rows[:, ::2, ::2, ::2]
        departure = smooth - exact
        kept = (1 - (departure / LIMITS[level]).square()).clamp_min(0)
        aims[rows[there].long()] = (exact + departure * kept).round().to(torch.int32)[there]


def _halved(values: Tensor, there: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Every second value along an axis, filtered, and which of them are there; a pair of neighbours counts where both are."""
    values, there = values.movedim(axis, -1), there.movedim(axis, -1)
    own = values[..., ::2]
    near = _bend(values[..., 1::2], there[..., 1::2], own, (1, 0))
    far = _bend(own, there[..., ::2], own, (1, -1))
    return (own + near / 4 - far / 8).movedim(-1, axis), there[..., ::2].movedim(-1, axis)


def _bend(values: Tensor, there: Tensor, own: Tensor, shifts: tuple[int, int]) -> Tensor:
    """Sum of the values before and behind `own` less twice `own`, 0 where one is missing."""
    before, behind = (functional.pad(values, (shift, -shift)) for shift in shifts)
    both = functional.pad(there, (shifts[0], -shifts[0])) & functional.pad(there, (shifts[1], -shifts[1]))
    return torch.where(both, before + behind - 2 * own, 0.0)
