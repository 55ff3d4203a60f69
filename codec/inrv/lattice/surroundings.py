"""The values of inactive voxels, in a channel's units: what a narrow band, or a soft edge, is surrounded by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from inrv.grids import Grid, LeafValues, in_double
from inrv.lattice.constants import HIGHEST
from inrv.lattice.regions import region_values
from inrv.lattice.steps import REGION_EDGE


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Of component `component` of `grid`, whose values minimum to maximum are 0 to `scale` units.

    The grid's active leaf values are NaN, as a decoder has them; so are those of kept voxels, which count as the background.
    """

    grid: Grid
    component: int
    minimum: float
    maximum: float
    scale: float

    def __call__(self, corners: Tensor) -> Tensor:
        """Units int32 (B, 128, 128, 128) of the regions at `corners` (B, 3), within +-2^23."""
        grid = self._in_units
        if not len(grid.inactive.places) and not grid.topology.tile_count:
            return grid.background.to(corners.device).expand(len(corners), *[REGION_EDGE] * 3)
        return region_values(grid, 0, corners).to(corners.device)

    @cached_property
    def _in_units(self) -> Grid:
        """The grid with units int32 for values: there are few besides those of active voxels, which are not looked at."""
        grid, column = self.grid, slice(self.component, self.component + 1)
        inactive = LeafValues(grid.inactive.places, self._units(grid.inactive.values[:, column]))
        background, tiles = self._units(grid.background[column]), self._units(grid.tile_values[:, column])
        unknown = background[None].expand(len(grid.values), -1)
        return replace(grid, values=unknown, background=background, tile_values=tiles, inactive=inactive)

    def _units(self, values: Tensor) -> Tensor:
        exact = in_double(values.nan_to_num(self.minimum))
        units = ((exact - self.minimum) / (self.maximum - self.minimum) * self.scale).round()
        return units.clamp(-HIGHEST, HIGHEST).to(torch.int32)
