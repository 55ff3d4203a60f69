"""Active voxels by region: where each stands in the arrays in which regions are coded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from inrv.fields.lattice.order import PAD, REGION_EDGE, Offset, Parity
from inrv.grids import Grid, Topology
from inrv.grids.topology import leaf_keys

Place = tuple[int, int, int]


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


@dataclass(frozen=True)
class Window:
    """The part of regions in which they have leaves: from `lower` to below `upper`, voxels from a region's corner, multiples
    of 8."""

    lower: Place
    upper: Place

    @property
    def shape(self) -> Place:
        """Voxels along each axis."""
        x, y, z = (high - low for low, high in zip(self.lower, self.upper, strict=True))
        return x, y, z

    def frame(self, level: int) -> Frame:
        """Where the voxels of a level and all that they are predicted from lie."""
        edge, stride = REGION_EDGE >> level, 1 << level
        lower = [max(0, low // stride - PAD) // 2 * 2 for low in self.lower]
        upper = [min(edge, -(-high // stride) + PAD + 1) // 2 * 2 for high in self.upper]
        return Frame(level, (lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


WHOLE = Window((0, 0, 0), (REGION_EDGE, REGION_EDGE, REGION_EDGE))
NOWHERE = Window((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True)
class Frame:
    """The array of a level: from `lower` to below `upper`, even multiples of its stride from a region's corner, and a border."""

    level: int
    lower: Place
    upper: Place

    @property
    def shape(self) -> Place:
        """Of the array of a region, its border included."""
        x, y, z = (high - low + 2 * PAD for low, high in zip(self.lower, self.upper, strict=True))
        return x, y, z

    @property
    def volume(self) -> int:
        """Places of a region in the flattened array."""
        return math.prod(self.shape)

    def distances(self, offsets: Sequence[Offset]) -> list[int]:
        """Offsets, in strides, as distances in the flattened array."""
        _, y_edge, z_edge = self.shape
        return [(x * y_edge + y) * z_edge + z for x, y, z in offsets]

    def take(self, array: Tensor, window: Window, missing: int) -> Tensor:
        """This level's voxels of an `array` int32 (B, X, Y, Z) of a window; what is not in it, and the border, is `missing`."""
        stride = 1 << self.level
        result = array.new_full((len(array), *self.shape), missing)
        sources, targets = [], []
        for low, high, first, last in zip(window.lower, window.upper, self.lower, self.upper, strict=True):
            begin, end = max(-(-low // stride), first), min(-(-high // stride), last)
            if begin >= end:
                return result
            sources.append(slice(begin * stride - low, (end - 1) * stride + 1 - low, stride))
            targets.append(slice(PAD + begin - first, PAD + end - first))
        result[:, targets[0], targets[1], targets[2]] = array[:, sources[0], sources[1], sources[2]]
        return result

    def take_coarser(self, values: Tensor, coarse: Tensor, coarser: Frame) -> None:
        """Write the values of the next coarser level into this one's array."""
        sources, targets = [], []
        for low, first, last in zip(coarser.lower, self.lower, self.upper, strict=True):
            sources.append(slice(PAD + first // 2 - low, PAD + last // 2 - low))
            targets.append(slice(PAD, PAD + last - first, 2))
        values[:, targets[0], targets[1], targets[2]] = coarse[:, sources[0], sources[1], sources[2]]


class Spans:
    """The windows of a topology's regions."""

    def __init__(self, topology: Topology) -> None:
        corners = corners_of(topology.leaf_origins)
        self.keys, region = torch.unique(leaf_keys(corners), return_inverse=True)
        local, where = topology.leaf_origins - corners, region[:, None].expand(-1, 3)
        shape = (len(self.keys), 3)
        self.lower = local.new_full(shape, REGION_EDGE).scatter_reduce_(0, where, local, "amin").cpu()
        self.upper = local.new_zeros(shape).scatter_reduce_(0, where, local + 8, "amax").cpu()

    def window(self, corners: Tensor) -> Window:
        """That of the regions at `corners` int32 (B, 3) together; an empty one where they have no leaf."""
        if not len(self.keys):
            return NOWHERE
        keys = leaf_keys(corners)
        places = torch.searchsorted(self.keys, keys).clamp_max(len(self.keys) - 1)
        places = places[self.keys[places] == keys].cpu()
        if not len(places):
            return NOWHERE
        lower, upper = self.lower[places].amin(0).tolist(), self.upper[places].amax(0).tolist()
        return Window((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


def region_rows(topology: Topology, corners: Tensor, window: Window = WHOLE) -> Tensor:
    """Row int32 (B, X, Y, Z) of each voxel among the active leaf voxels, -1 where it is none, in a window of those regions."""
    origins = (corners[:, None, :] + _leaf_places(window, corners.device)).reshape(-1, 3)
    leaf = topology.find_leaves(origins)
    active = topology.masks_of(leaf)
    rank = active.cumsum(1, dtype=torch.int32) - 1 + topology.starts[leaf.clamp_min(0)].to(torch.int32)[:, None]
    return _voxels(torch.where(active, rank, -1), len(corners), window)


def region_values(grid: Grid, component: int, corners: Tensor) -> Tensor:
    """Values float32 (B, 128, 128, 128) of one component of every voxel of the regions at `corners`, inactive ones included.

    What active leaf voxels have is not meant: a decoder does not know it.
    """
    origins = (corners[:, None, :] + _leaf_places(WHOLE, corners.device)).reshape(-1, 3)
    return _voxels(grid.blocks(origins)[:, :, component], len(corners), WHOLE)


def _voxels(leaves: Tensor, regions: int, window: Window) -> Tensor:
    """Values (regions * leaves, 512) of the leaves of a window, by voxel: (regions, X, Y, Z)."""
    cells = leaves.reshape(regions, *[edge // 8 for edge in window.shape], 8, 8, 8)
    return cells.permute(0, 1, 4, 2, 5, 3, 6).reshape(regions, *window.shape)


@lru_cache(maxsize=64)
def _leaf_places(window: Window, device: torch.device) -> Tensor:
    """Origins int32 (L, 3) of the leaves of a window, from the region's corner."""
    axes = [
        torch.arange(low, high, 8, dtype=torch.int32, device=device) for low, high in zip(window.lower, window.upper, strict=True)
    ]
    return torch.cartesian_prod(*axes)


def places_of(rows: Tensor, parity: Parity) -> Tensor:
    """The flat places int64 (n,) of the active voxels of a parity in a level's `rows`, with border: by region, x, y, z."""
    _, x_edge, y_edge, z_edge = rows.shape
    x, y, z = (slice(PAD + odd, edge - PAD, 2) for odd, edge in zip(parity.odd, rows.shape[1:], strict=True))
    found = (rows[:, x, y, z] >= 0).nonzero()
    axes = [found[:, axis + 1] * 2 + (PAD + odd) for axis, odd in enumerate(parity.odd)]
    return ((found[:, 0] * x_edge + axes[0]) * y_edge + axes[1]) * z_edge + axes[2]


def corner_places(rows: Tensor) -> Tensor:
    """The flat places int64 (n,) of the regions' corner voxels in the coarsest level's `rows`, where they are active."""
    count, x_edge, y_edge, z_edge = rows.shape
    places = torch.arange(count, device=rows.device) * (x_edge * y_edge * z_edge) + (PAD * y_edge + PAD) * z_edge + PAD
    return places[rows.reshape(-1)[places] >= 0]
