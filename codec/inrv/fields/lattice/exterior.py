"""The values around a channel, in its units: those of inactive voxels and of exact values.

Narrow bands, soft edges and plumes are predicted better where these are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import HIGHEST
from inrv.fields.lattice.regions import CELLS, REGION_EDGE
from inrv.grids import LEAF_EDGE, LEAF_VOXELS, Grid, LeafValues, Topology

Ints = NDArray[np.int32]
ToUnits = Callable[[NDArray[np.float32]], Ints]
# Origins int32 (4096, 3) of a region's leaves, from its corner.
LEAF_PLACES = LEAF_EDGE * np.argwhere(np.ones((CELLS,) * 3, dtype=np.bool_)).astype(np.int32)
# Where the first voxel of each of these lies in the region, and the voxels of a leaf from there.
PITCHES = np.array([REGION_EDGE * REGION_EDGE, REGION_EDGE, 1])
FIRST = LEAF_PLACES @ PITCHES
WITHIN = np.argwhere(np.ones((LEAF_EDGE,) * 3, dtype=np.bool_)) @ PITCHES


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

    def __call__(self, corner: Ints) -> Ints | int:
        """Units of the region at `corner` (3,), within +-2^23: int32 (128, 128, 128).

        One number where all voxels that are not coded have the background.
        """
        grid, background, topology = self.grid, self._background, self.grid.topology
        if not (len(grid.inactive.places) or topology.tile_count or len(self.exact.places)):
            return background
        origins = corner + LEAF_PLACES
        dense = np.full(len(FIRST) * len(WITHIN), background, dtype=np.int32)
        leaf = topology.find_leaves(origins)
        present = np.flatnonzero(leaf >= 0)
        if topology.tile_count:
            tile = np.where(leaf < 0, topology.find_tiles(origins), -1)
            tiled = np.flatnonzero(tile >= 0)
            dense[FIRST[tiled, None] + WITHIN] = self._tiles[tile[tiled], None]
        for values, units in ((grid.inactive, self._inactive), (self.exact, self._exact)):
            rows, block = values.of_leaves(leaf[present])
            within = WITHIN[values.places[rows] % LEAF_VOXELS]
            dense[FIRST[present[block]] + within] = units[rows]
        return dense.reshape((REGION_EDGE,) * 3)

    @cached_property
    def _background(self) -> int:
        """Units of the background."""
        return int(self._in_units(self.grid.background[None])[0])

    @cached_property
    def _tiles(self) -> Ints:
        """Units int32 (T,) of the tiles."""
        return self._in_units(self.grid.tile_values)

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
