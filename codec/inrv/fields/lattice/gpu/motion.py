"""Reference channels that are fetched along motion, on a GPU: spec/lattice.md, Motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.core.lattice import Leaves
from inrv.fields.lattice.constants import HIGHEST, STEP
from inrv.fields.lattice.gpu import kernels
from inrv.fields.lattice.gpu.batch import leaf_places, limited
from inrv.fields.lattice.gpu.values import turned, values_of
from inrv.fields.lattice.motion import Motion
from inrv.grids import MASK_BYTES

if TYPE_CHECKING:
    from inrv.fields.lattice.decode import OpenChannel

CELLS, VOXELS = 16**3, kernels.VOXELS.value
FULL_BYTE = 255  # eight voxels

UnitsOf = Callable[["OpenChannel", int], Tensor]  # of a region of a channel, on the device


def moved_reference(
    channel: OpenChannel, number: int, units_of: UnitsOf, device: torch.device
) -> tuple[Leaves, Tensor]:
    """The leaves of a region of a channel, and int32 (n,) what is fetched for all their voxels.

    number: of the region
    units_of: gives the units of the channels that it is fetched from
    """
    cells = channel.regions.leaves(number).cells
    stored = channel.stored
    fetched = [
        _fetched(channel, number, other, motion, cells, units_of, device)
        for other, motion in zip(
            channel.references, (stored.motion, stored.second_motion), strict=True
        )
        if other is not None and motion is not None
    ]
    values = fetched[0] if len(fetched) == 1 else (fetched[0] + fetched[1] + 1) >> 1
    full = np.full((len(cells), MASK_BYTES), FULL_BYTE, dtype=np.uint8)
    return Leaves(cells, full), values.view(-1)


def _fetched(
    channel: OpenChannel,
    number: int,
    other: OpenChannel,
    motion: Motion,
    cells: NDArray[np.uint16],
    units_of: UnitsOf,
    device: torch.device,
) -> Tensor:
    """The values int32 (n, 512) of the voxels of some cells, in units of the channel."""
    key, corner = int(channel.regions.keys[number]), channel.regions.corner(number)
    top = channel.stored.channel.top
    known = replace(other.exterior, units=channel.exterior.units)(corner)
    around = int(limited(known.around, top))
    there = torch.full((VOXELS,), around, dtype=torch.int32, device=device)
    exterior = torch.from_numpy(limited(known.values, top)).to(device)
    _put(there, known.leaves, exterior)
    region = other.regions.number(key)
    if region >= 0:
        values = values_of(other, region, units_of(other, region))
        units = _in_units(channel, values).clamp(-(top >> 1), top + (top >> 1))
        _put(there, other.regions.leaves(region), units)
    own = motion.region(key)
    vectors = torch.zeros((CELLS, 3), dtype=torch.int32, device=device)
    has = torch.zeros(CELLS, dtype=torch.int8, device=device)
    at = torch.from_numpy(own.cells.astype(np.int64)).to(device)
    vectors[at] = torch.from_numpy(own.vectors.astype(np.int32)).to(device)
    has[at] = 1
    wanted = torch.from_numpy(cells.astype(np.int32)).to(device)
    moved = torch.empty((len(cells), 512), dtype=torch.int32, device=device)
    if len(cells):
        kernels.fetch[(len(cells),)](there, vectors, has, wanted, moved, own.fraction)
    return moved


def _put(array: Tensor, leaves: Leaves, values: Tensor) -> None:
    """Put the values of leaves' voxels into the array (VOXELS,) of a region."""
    places, masks = leaf_places([leaves], array.device)
    array[places[masks]] = values


def _in_units(channel: OpenChannel, values: Tensor) -> Tensor:
    """Values float32 (n,), all finite, as int32 units of a channel: see `Exterior`."""
    lossless = channel.stored.lossless
    if lossless is None:
        own = channel.scaling
        share = (values.double() - own.minimum) / (own.maximum - own.minimum)
        wide = (share * own.scale).round()
        return wide.clamp(-HIGHEST, HIGHEST).int()
    ordered = turned(values.view(torch.int32)) >> lossless.palette.low_bits
    entries = torch.from_numpy(lossless.palette.entries).to(values.device)
    below: Tensor = torch.searchsorted(entries, ordered.contiguous(), out_int32=True)
    return (below * STEP).clamp(max=HIGHEST)
