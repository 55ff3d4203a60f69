"""Active voxels by region: where each stands in the arrays in which a region is coded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.kernels import active_places
from inrv.fields.lattice.order import PAD, REGION_EDGE, Offset, Parity
from inrv.grids import LEAF_EDGE, Grid, Topology, leaf_keys

Place = tuple[int, int, int]
Ints = NDArray[np.int32]


def corners_of(coordinates: NDArray[Any]) -> Ints:
    """The lowest corner int32 (N, 3) of the region of each integer coordinate (N, 3)."""
    return (coordinates // REGION_EDGE * REGION_EDGE).astype(np.int32)


def region_corners(origins: NDArray[Any]) -> Ints:
    """The lowest corners int32 (R, 3) of the regions that hold leaf origins (L, 3), by key."""
    corners = corners_of(origins)
    _, first = np.unique(leaf_keys(corners), return_index=True)
    return corners[first]


@dataclass(frozen=True)
class Window:
    """The part of a region in which it has leaves.

    lower: its first voxel from the region's corner, multiples of 8
    upper: the voxel behind its last one from the region's corner, multiples of 8
    """

    lower: Place
    upper: Place

    @property
    def shape(self) -> Place:
        """Voxels along each axis."""
        x, y, z = (high - low for low, high in zip(self.lower, self.upper, strict=True))
        return x, y, z

    def level(self, level: int) -> LevelArray:
        """Where the voxels of a level, and all that they are predicted from, lie."""
        edge, stride = REGION_EDGE >> level, 1 << level
        lower = [max(0, low // stride - PAD) // 2 * 2 for low in self.lower]
        upper = [min(edge, -(-high // stride) + PAD + 1) // 2 * 2 for high in self.upper]
        return LevelArray(level, (lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


WHOLE = Window((0, 0, 0), (REGION_EDGE, REGION_EDGE, REGION_EDGE))
NOWHERE = Window((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True)
class LevelArray:
    """The array of a level of a region, which has a border of PAD places on all sides.

    level: 6 for the coarsest stride, 2^6, 0 for the finest
    lower: its first place from the region's corner, in strides, even
    upper: the place behind its last one from the region's corner, in strides, even
    """

    level: int
    lower: Place
    upper: Place

    @property
    def shape(self) -> Place:
        """Places along each axis, the border included."""
        x, y, z = (high - low + 2 * PAD for low, high in zip(self.lower, self.upper, strict=True))
        return x, y, z

    def distances(self, offsets: Sequence[Offset]) -> NDArray[np.int64]:
        """Offsets, in strides, as distances int64 in the flattened array."""
        _, y_edge, z_edge = self.shape
        distances = [(x * y_edge + y) * z_edge + z for x, y, z in offsets]
        return np.array(distances, dtype=np.int64)

    def take(self, array: Ints, window: Window, missing: int) -> Ints:
        """This level's voxels of an array int32 (X, Y, Z) of a window.

        What the window does not hold, and the border, is `missing`.
        """
        stride = 1 << self.level
        result = np.full(self.shape, missing, dtype=np.int32)
        sources, targets = [], []
        axes = zip(window.lower, window.upper, self.lower, self.upper, strict=True)
        for low, high, first, last in axes:
            begin, end = max(-(-low // stride), first), min(-(-high // stride), last)
            if begin >= end:
                return result
            sources.append(slice(begin * stride - low, (end - 1) * stride + 1 - low, stride))
            targets.append(slice(PAD + begin - first, PAD + end - first))
        result[tuple(targets)] = array[tuple(sources)]
        return result

    def take_coarser(self, values: Ints, coarse: Ints, coarser: LevelArray) -> None:
        """Write the values of the next coarser level into this level's array."""
        sources, targets = [], []
        for low, first, last in zip(coarser.lower, self.lower, self.upper, strict=True):
            sources.append(slice(PAD + first // 2 - low, PAD + last // 2 - low))
            targets.append(slice(PAD, PAD + last - first, 2))
        values[tuple(targets)] = coarse[tuple(sources)]


class Spans:
    """The windows of a topology's regions."""

    def __init__(self, topology: Topology) -> None:
        corners = corners_of(topology.leaf_origins)
        self.keys, region = np.unique(leaf_keys(corners), return_inverse=True)
        local = topology.leaf_origins - corners
        self.lower = np.full((len(self.keys), 3), REGION_EDGE, dtype=np.int32)
        self.upper = np.zeros((len(self.keys), 3), dtype=np.int32)
        np.minimum.at(self.lower, region, local)
        np.maximum.at(self.upper, region, local + LEAF_EDGE)

    def window(self, corner: Ints) -> Window:
        """The window of the region at `corner` int32 (3,); an empty one where it has no leaf."""
        key = leaf_keys(corner[None])[0]
        place = int(np.searchsorted(self.keys, key))
        if place == len(self.keys) or self.keys[place] != key:
            return NOWHERE
        lower, upper = self.lower[place].tolist(), self.upper[place].tolist()
        return Window((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


def region_rows(topology: Topology, corner: Ints, window: Window = WHOLE) -> Ints:
    """Row int32 (X, Y, Z) of each voxel of a window among the active leaf voxels, or -1."""
    leaf = topology.find_leaves(corner + _leaf_places(window))
    active = topology.masks_of(leaf)
    rank = np.cumsum(active, axis=1, dtype=np.int32)
    rank += (topology.starts[np.maximum(leaf, 0)] - 1).astype(np.int32)[:, None]
    return _voxels(np.where(active, rank, np.int32(-1)), window)


def region_values(grid: Grid, component: int, corner: Ints) -> NDArray[np.float32]:
    """Values float32 (128, 128, 128) of one component of all voxels of the region at `corner`.

    Active leaf voxels, which a decoder does not know, have whatever the grid holds for them.
    """
    return _voxels(grid.blocks(corner + _leaf_places(WHOLE))[:, :, component], WHOLE)


def _voxels(leaves: NDArray[Any], window: Window) -> NDArray[Any]:
    """Values (leaves, 512) of the leaves of a window, by voxel: (X, Y, Z)."""
    counts = [edge // LEAF_EDGE for edge in window.shape]
    cells = leaves.reshape(*counts, LEAF_EDGE, LEAF_EDGE, LEAF_EDGE)
    return cells.transpose(0, 3, 1, 4, 2, 5).reshape(window.shape)


@lru_cache(maxsize=64)
def _leaf_places(window: Window) -> Ints:
    """Origins int32 (L, 3) of the leaves of a window, from the region's corner."""
    axes = [
        np.arange(low, high, LEAF_EDGE, dtype=np.int32)
        for low, high in zip(window.lower, window.upper, strict=True)
    ]
    places: Ints = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return places


def places_of(rows: Ints, parity: Parity) -> NDArray[np.int64]:
    """The flat places int64 (n,) of the active voxels of a parity in a level's rows, ascending.

    rows: int32 (X, Y, Z) of the level, with its border, -1 where there is no voxel
    """
    most = 1
    for odd, edge in zip(parity.odd, rows.shape, strict=True):
        most *= len(range(PAD + odd, edge - PAD, 2))
    places = np.empty(most, dtype=np.int64)
    return places[: active_places(rows, parity.odd, PAD, places)]


def corner_place(rows: Ints) -> int | None:
    """The flat place of the region's corner voxel in the coarsest rows; None where not active."""
    _, y_edge, z_edge = rows.shape
    return (PAD * y_edge + PAD) * z_edge + PAD if rows[PAD, PAD, PAD] >= 0 else None
