"""The values around a channel, in its units: those of inactive voxels and of exact values.

Narrow bands, soft edges and plumes are predicted better where these are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import HIGHEST
from inrv.fields.lattice.regions import CELLS, in_region
from inrv.grids import LEAF_EDGE, Grid, LeafValues, Topology

Ints = NDArray[np.int32]
ToUnits = Callable[[NDArray[np.float32]], Ints]
# Origins int32 (4096, 3) of a region's leaves, from its corner.
LEAF_PLACES = LEAF_EDGE * np.argwhere(np.ones((CELLS,) * 3, dtype=np.bool_)).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Exterior:
    """The exterior of one component of a grid.

    grid: of whose active leaf values a decoder has only the exact ones before the channel
    exact: the exact values
    component: number of the component
    units: turns values float32 (n, 1) into units int32 of the channel
    """

    grid: Grid
    exact: LeafValues
    component: int
    units: ToUnits

    def __call__(self, corner: Ints) -> Ints | int:
        """Units of the region at `corner` (3,), within +-2^23: int32 (128, 128, 128).

        One number where all voxels that are not coded have the background.
        """
        grid = self._in_units
        if not (len(grid.inactive.places) or grid.topology.tile_count or len(self.exact.places)):
            return int(grid.background[0])
        blocks = grid.blocks(corner + LEAF_PLACES)[:, :, 0]
        return np.ascontiguousarray(in_region(blocks), dtype=np.int32)

    @cached_property
    def _in_units(self) -> Grid:
        """The grid with units int32 for values.

        Voxels that are still to be decoded have the background, which nobody reads.
        """
        grid, column = self.grid, slice(self.component, self.component + 1)
        inactive_units = self.units(grid.inactive.values[:, column])
        background = self.units(grid.background[column])
        tiles = self.units(grid.tile_values[:, column])
        values: Any = np.broadcast_to(background, (len(grid.values), 1))
        if len(self.exact.places):
            values = values.copy()
            rows = grid.topology.place_rows(self.exact.places)
            values[rows] = self.units(self.exact.values[:, column])
        units: dict[str, Any] = {"background": background, "tile_values": tiles, "values": values}
        inactive = LeafValues(grid.inactive.places, inactive_units)  # type: ignore[arg-type]
        return replace(grid, inactive=inactive, **units)

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

    @property
    def exact_units(self) -> Ints:
        """Units int32 (N,) by row of the grid's topology: right where values are exact."""
        known: Ints = self._in_units.values[:, 0]  # type: ignore[assignment]
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
