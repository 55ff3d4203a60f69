"""The values around a channel, in its units: those of inactive voxels and of exact values.

Narrow bands, soft edges and plumes are predicted better where these are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import KnownVoxels, Leaves
from inrv.fields.lattice.constants import HIGHEST
from inrv.fields.lattice.regions import CELLS, REGION_EDGE
from inrv.grids import (
    LEAF_EDGE,
    LEAF_VOXELS,
    MASK_BYTES,
    Grid,
    LeafValues,
    Topology,
    leaf_keys,
    pack_masks,
)

Ints = NDArray[np.int32]
ToUnits = Callable[[NDArray[np.float32]], Ints]
FULL_BYTE = 255  # eight voxels


@dataclass(frozen=True, eq=False)
class Exterior:
    """The exterior of one component of a grid.

    grid: of whose active leaf values a decoder has only the exact ones before the channel
    exact: the exact values
    component: number of the component
    units: turns values float32 (n,) into units int32 (n,) of the channel
    """

    grid: Grid
    exact: LeafValues
    component: int
    units: ToUnits

    def __call__(self, corner: Ints) -> KnownVoxels:
        """The voxels of the region at `corner` (3,) that are not coded, within +-2^23."""
        topology, first = self.grid.topology, leaf_keys(corner[None])
        ends = np.concatenate([first, first + CELLS**3])
        leaves = slice(*np.searchsorted(topology.keys, ends).tolist())
        tile_keys, tile_units = self._cells
        tiles = slice(*np.searchsorted(tile_keys, ends).tolist())
        full = np.full((tiles.stop - tiles.start, MASK_BYTES), FULL_BYTE, dtype=np.uint8)
        keys, masks = [tile_keys[tiles]], [full]
        units = [np.repeat(tile_units[tiles], LEAF_VOXELS)]
        for values, own in ((self.grid.inactive, self._inactive), (self.exact, self._exact)):
            places = leaves.start * LEAF_VOXELS, leaves.stop * LEAF_VOXELS
            rows = slice(*np.searchsorted(values.places, places).tolist())
            if rows.start == rows.stop:
                continue
            voxels = np.zeros((leaves.stop - leaves.start, LEAF_VOXELS), dtype=np.bool_)
            voxels.reshape(-1)[values.places[rows] - places[0]] = True
            listed = pack_masks(voxels)
            some = listed.any(axis=1)
            keys.append(topology.keys[leaves][some])
            masks.append(listed[some])
            units.append(own[rows])
        cells = (np.concatenate(keys) & (CELLS**3 - 1)).astype(np.uint16)
        around = self._background if leaves.start < leaves.stop else self._without_leaves(corner)
        return KnownVoxels(Leaves(cells, np.concatenate(masks)), np.concatenate(units), around)

    def _without_leaves(self, corner: Ints) -> int:
        """Units of what fills a region that holds no leaf: a large tile, or the background."""
        topology = self.grid.topology
        if not topology.tile_count:
            return self._background
        (tile,) = topology.find_tiles(corner[None])
        if tile < 0 or topology.tile_edges[tile] < REGION_EDGE:
            return self._background
        return int(self._in_units(self.grid.tile_values[tile][None])[0])

    @cached_property
    def _background(self) -> int:
        """Units of the background."""
        return int(self._in_units(self.grid.background[None])[0])

    @cached_property
    def _cells(self) -> tuple[NDArray[np.int64], Ints]:
        """Keys int64 (T,) of tiles of one leaf's size, ascending, and their units int32 (T,)."""
        small = np.flatnonzero(self.grid.topology.tile_edges == LEAF_EDGE)
        keys = leaf_keys(self.grid.topology.tile_origins[small])
        order = keys.argsort(kind="stable")
        return keys[order], self._in_units(self.grid.tile_values[small[order]])

    @cached_property
    def _inactive(self) -> Ints:
        """Units int32 (M,) of the inactive values."""
        return self._in_units(self.grid.inactive.values)

    @cached_property
    def _exact(self) -> Ints:
        """Units int32 (K,) of the exact values."""
        return self._in_units(self.exact.values)

    def _in_units(self, values: NDArray[np.float32]) -> Ints:
        """Units int32 (n,) of values (n, C) of the grid."""
        return self.units(values[:, self.component])

    def whole(self, coded: Topology, values: Ints) -> tuple[Topology, Ints]:
        """The grid's topology, and units int32 (N,) by its rows, exact values among them.

        coded: topology of the voxels that are coded
        values: int32 (n,) units of these
        """
        if not len(self.exact.places):
            return coded, values
        known = self.exact_units.copy()
        known[self.grid.topology.place_rows(coded.places())] = values
        return self.grid.topology, known

    @cached_property
    def exact_units(self) -> Ints:
        """Units int32 (N,) by row of the grid's topology: right where values are exact."""
        known = np.full(self.grid.topology.leaf_voxel_count, self._background, dtype=np.int32)
        known[self.grid.topology.place_rows(self.exact.places)] = self._exact
        return known


def linear_units(minimum: float, maximum: float, scale: float) -> ToUnits:
    """Makes what turns values minimum to maximum, two different ones, into 0 to `scale` units.

    NaN becomes 0.
    """
    return partial(_linear, minimum, maximum, scale)


def _linear(minimum: float, maximum: float, scale: float, values: NDArray[np.float32]) -> Ints:
    with np.errstate(invalid="ignore"):  # a signalling NaN is cast
        shares = (values.astype(np.float64) - minimum) / (maximum - minimum)
        wide = np.clip(np.rint(shares * scale), -HIGHEST, HIGHEST)
    units: Ints = np.nan_to_num(wide, nan=0.0).astype(np.int32)
    return units
