"""The values of inactive and kept voxels, in a channel's units: what a narrow band, a soft edge or a plume is surrounded by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from inrv.fields.lattice.constants import HIGHEST
from inrv.fields.lattice.order import REGION_EDGE
from inrv.fields.lattice.regions import region_values
from inrv.grids import Grid, LeafValues, Topology, in_double

ToUnits = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Of component `component` of `grid`, of whose active leaf values a decoder has only `kept` before the channel is decoded.

    units  brings values float32 (n, 1) to units int32 of the channel
    """

    grid: Grid
    exact: LeafValues
    component: int
    units: ToUnits

    def __call__(self, corners: Tensor) -> Tensor:
        """Units int32 (B, 128, 128, 128) of the regions at `corners` (B, 3), within +-2^23."""
        grid = self._in_units
        if not len(grid.inactive.places) and not grid.topology.tile_count and not len(self.exact.places):
            return grid.background.to(corners.device).expand(len(corners), *[REGION_EDGE] * 3)
        return region_values(grid, 0, corners).to(corners.device)

    @cached_property
    def _in_units(self) -> Grid:
        """The grid with units int32 for values; voxels still to be decoded have the background, which nobody looks at."""
        grid, column = self.grid, slice(self.component, self.component + 1)
        inactive = LeafValues(grid.inactive.places, self.units(grid.inactive.values[:, column]))
        background, tiles = self.units(grid.background[column]), self.units(grid.tile_values[:, column])
        values = background[None].expand(len(grid.values), -1)
        if len(self.exact.places):
            values = values.clone()
            values[grid.topology.place_rows(self.exact.places)] = self.units(self.exact.values[:, column])
        return replace(grid, values=values, background=background, tile_values=tiles, inactive=inactive)

    def whole(self, coded: Topology, values: Tensor) -> tuple[Topology, Tensor]:
        """The grid's topology, and units int32 (N,) by its rows: those of kept voxels, and `values` of the voxels of `coded`."""
        if not len(self.exact.places):
            return coded, values
        known = self._in_units.values[:, 0].clone()
        known[self.grid.topology.place_rows(coded.places())] = values
        return self.grid.topology, known


def linear_units(minimum: float, maximum: float, scale: float) -> ToUnits:
    """Values minimum to maximum, two different ones, to 0 to `scale` units, NaN to 0."""
    return partial(_linear, minimum, maximum, scale)


def _linear(minimum: float, maximum: float, scale: float, values: Tensor) -> Tensor:
    units = ((in_double(values) - minimum) / (maximum - minimum) * scale).round()
    return units.clamp(-HIGHEST, HIGHEST).nan_to_num(0.0).to(torch.int32)
