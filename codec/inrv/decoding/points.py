"""Values between voxels."""

from __future__ import annotations

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
    unique, inverse = torch.unique(around.reshape(-1, 3), dim=0, return_inverse=True)
    values: Tensor = voxels(unique)[inverse].unflatten(0, (len(points), 8))
    beyond = (points - base)[:, None, :]
    weight = torch.where(corners.bool(), beyond, 1 - beyond).prod(dim=2)
    weighted: Tensor = values * weight[:, :, None]
    return weighted.sum(dim=1)
