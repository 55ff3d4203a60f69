"""Units of a lattice as values, on a device: the same bits as those of the core.

Each operation is a kernel of its own, so that no product and sum are fused into one rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inrv.core.lattice import Scaling
from inrv.fields.lattice.constants import STEP
from inrv.grids import unpack_masks

if TYPE_CHECKING:
    from inrv.fields.lattice.decode import OpenChannel

KNOTS = 16  # pieces between the offsets


def values_of(channel: OpenChannel, number: int, units: Tensor, level: int = 0) -> Tensor:
    """The values float32 (n,) of the units int32 (n,) of a region, on their device.

    number: of the region
    level: they are those of its voxels at multiples of 2^level
    """
    lossless = channel.stored.lossless
    if lossless is None:
        return _scaled(channel.scaling, units)
    entries = torch.from_numpy(lossless.palette.entries).to(units.device)
    rest = lossless.rest[channel.regions.rows(number)]
    if level:
        topology, leaves = channel.regions.topology, channel.regions.leaf_range(number)
        coded = unpack_masks(topology.masks_at(leaves))
        rest = rest[unpack_masks(topology.masks_at_multiples(leaves, level))[coded]]
    low = torch.from_numpy(rest).to(units.device)
    ordered = (entries[(units // STEP).long()] << lossless.palette.low_bits) | low
    return turned(ordered).view(torch.float32)


def turned(bits: Tensor) -> Tensor:
    """The bits of float32 as int32 in the order of the values, or back: see `palette.in_order`."""
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _scaled(scaling: Scaling, units: Tensor) -> Tensor:
    """What `Scaling.values` gives, within the range."""
    wide = units.double()
    if scaling.offsets is not None:
        offsets = torch.from_numpy(scaling.offsets).to(units.device)
        place = wide * KNOTS / scaling.top
        piece = place.floor().clamp(max=KNOTS - 1)
        low = piece.long()
        risen = (place - piece) * (offsets[low + 1] - offsets[low])
        wide = wide + (offsets[low] + risen)
    share = wide / scaling.scale
    values = scaling.minimum + (scaling.maximum - scaling.minimum) * share
    return values.clamp(scaling.minimum, scaling.maximum).float()
