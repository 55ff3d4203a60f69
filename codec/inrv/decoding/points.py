"""Values between voxels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

VoxelValues = Callable[[Tensor], Tensor]


def nearest(points: Tensor, voxels: VoxelValues) -> Tensor:
    """The value (N, C) of the voxel whose centre is nearest to each index-space point (N, 3)."""
    return voxels((points + 0.5).floor().to(torch.int64))


def trilinear(points: Tensor, voxels: VoxelValues) -> Tensor:
    """Values (N, C) interpolated from the 8 voxels around each index-space point (N, 3), as OpenVDB's BoxSampler.

    Each voxel is asked for once. Differentiable in the points and, where `voxels` is, in its values.
    """
    base = points.detach().floor()
    corners = torch.cartesian_prod(*[torch.arange(2, device=points.device)] * 3)
    around = base.to(torch.int64)[:, None, :] + corners
    unique, inverse = different(around.reshape(-1, 3))
    values: Tensor = voxels(unique)[inverse].unflatten(0, (len(points), 8))
    beyond = (points - base)[:, None, :]
    weight = torch.where(corners.bool(), beyond, 1 - beyond).prod(dim=2)
    # A voxel without weight tells nothing, NaN and infinity no more than others.
    weighted: Tensor = torch.where(weight[:, :, None] == 0, 0, values * weight[:, :, None])
    return weighted.sum(dim=1)


def different(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """The different ones of `coordinates`, int64 (N, 3), in order, and for each of all its place among them (N,)."""
    if not len(coordinates):
        return coordinates, coordinates.new_zeros(0)
    lowest = coordinates.amin(dim=0)
    lengths = (coordinates.amax(dim=0) - lowest + 1).tolist()
    if math.prod(lengths) >= 1 << 62:
        unique, inverse = torch.unique(coordinates, dim=0, return_inverse=True)
        return unique, inverse
    x, y, z = (coordinates - lowest).unbind(1)  # as one number: several times faster to sort
    keys, inverse = torch.unique((x * lengths[1] + y) * lengths[2] + z, return_inverse=True)
    rows, planes = keys.div(lengths[2], rounding_mode="floor"), lengths[1]
    parts = [rows.div(planes, rounding_mode="floor"), rows % planes, keys % lengths[2]]
    return torch.stack(parts, dim=1) + lowest, inverse
