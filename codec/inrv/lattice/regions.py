"""Active voxels by region: where each stands in the arrays in which regions are coded."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from inrv.grids import Grid, Topology
from inrv.grids.topology import leaf_keys
from inrv.lattice.steps import PAD, REGION_EDGE, Parity

LEAVES_EDGE = REGION_EDGE // 8


def corners_of(coordinates: Tensor) -> Tensor:
    """The lowest corner int32 (N, 3) of the region of each integer coordinate (N, 3)."""
    return coordinates.div(REGION_EDGE, rounding_mode="floor").to(torch.int32) * REGION_EDGE


def region_corners(origins: Tensor) -> Tensor:
    """The lowest corners int32 (R, 3) of the regions that hold leaf origins (L, 3), in the order of `leaf_keys`."""
    corners = corners_of(origins)
    keys, region = torch.unique(leaf_keys(corners), return_inverse=True)
    result = corners.new_empty((len(keys), 3))
    result[region] = corners
    return result


def region_rows(topology: Topology, corners: Tensor) -> Tensor:
    """Row int32 (B, 128, 128, 128) of each voxel among the active leaf voxels, -1 where it is none, of regions at `corners`."""
    origins = (corners[:, None, :] + _leaf_places(corners.device)).reshape(-1, 3)
    leaf = topology.find_leaves(origins)
    active = topology.masks_of(leaf)
    rank = active.cumsum(1, dtype=torch.int32) - 1 + topology.starts[leaf.clamp_min(0)].to(torch.int32)[:, None]
    cells = torch.where(active, rank, -1).reshape(len(corners), *[LEAVES_EDGE] * 3, 8, 8, 8)
    return cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(corners), *[REGION_EDGE] * 3)


def region_values(grid: Grid, component: int, corners: Tensor) -> Tensor:
    """Values float32 (B, 128, 128, 128) of one component of every voxel of the regions at `corners`, inactive ones included.

    What active leaf voxels have is not meant: a decoder does not know it.
    """
    origins = (corners[:, None, :] + _leaf_places(corners.device)).reshape(-1, 3)
    cells = grid.blocks(origins)[:, :, component].reshape(len(corners), *[LEAVES_EDGE] * 3, 8, 8, 8)
    return cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(corners), *[REGION_EDGE] * 3)


@lru_cache(maxsize=4)
def _leaf_places(device: torch.device) -> Tensor:
    axis = torch.arange(LEAVES_EDGE, dtype=torch.int32, device=device) * 8
    return torch.cartesian_prod(axis, axis, axis)


def at_level(rows: Tensor, level: int) -> Tensor:
    """`rows` (B, 128, 128, 128) at multiples of 2^level, with a border of -1: int32 (B, edge, edge, edge)."""
    stride = 1 << level
    return functional.pad(rows[:, ::stride, ::stride, ::stride], [PAD] * 6, value=-1)


def inner(array: Tensor, stride: int = 1) -> Tensor:
    """An array (B, edge, edge, edge) without its border, at every `stride`-th place."""
    inside = slice(PAD, array.shape[1] - PAD, stride)
    return array[:, inside, inside, inside]


def places_of(level_rows: Tensor, parity: Parity) -> Tensor:
    """The flat places int64 (n,) of the active voxels of a parity, by region, x, y, z."""
    edge = level_rows.shape[1]
    x, y, z = (slice(PAD + odd, edge - PAD, 2) for odd in parity.odd)
    found = (level_rows[:, x, y, z] >= 0).nonzero()
    axes = [found[:, axis + 1] * 2 + (PAD + odd) for axis, odd in enumerate(parity.odd)]
    return ((found[:, 0] * edge + axes[0]) * edge + axes[1]) * edge + axes[2]


def corner_places(level_rows: Tensor) -> Tensor:
    """The flat places int64 (n,) of the regions' corner voxels, where they are active."""
    edge = level_rows.shape[1]
    places = torch.arange(len(level_rows), device=level_rows.device) * edge**3 + (PAD * edge + PAD) * edge + PAD
    return places[level_rows.reshape(-1)[places] >= 0]
