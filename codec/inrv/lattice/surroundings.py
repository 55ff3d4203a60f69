"""The values of inactive voxels, in a channel's units: what a narrow band, or a soft edge, is surrounded by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from inrv.grids import Grid, in_double
from inrv.lattice.context import HIGHEST
from inrv.lattice.regions import region_values


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Of component `component` of `grid`, whose values minimum to maximum are 0 to `scale` units.

    The grid's active leaf values are NaN, as a decoder has them; so are those of kept voxels, which count as the minimum.
    """

    grid: Grid
    component: int
    minimum: float
    maximum: float
    scale: float

    def __call__(self, corners: Tensor) -> Tensor:
        """Units int32 (B, 128, 128, 128) of the regions at `corners` (B, 3), within +-2^23."""
        values = in_double(region_values(self.grid, self.component, corners).nan_to_num(self.minimum))
        units = ((values - self.minimum) / (self.maximum - self.minimum) * self.scale).round()
        return units.clamp(-HIGHEST, HIGHEST).to(corners.device, dtype=corners.dtype)
