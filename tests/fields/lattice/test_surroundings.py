"""What prediction knows beside a channel's own voxels: inactive, frequent and kept values, in its units."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from inrv import Grid
from inrv.fields.lattice import Surroundings, linear_units
from inrv.fields.lattice.constants import HIGHEST
from inrv.grids import LeafValues, Topology
from testing.lattice import placed


def units_of(minimum: float, maximum: float, scale: float, values: list[float]) -> list[int]:
    return linear_units(minimum, maximum, scale)(torch.tensor(values)).tolist()


def test_units_run_from_the_least_value_to_the_greatest_and_beyond() -> None:
    assert units_of(-1.0, 3.0, 400.0, [-1, 0, 3, 5, -2, 0.005]) == [0, 100, 400, 600, -100, 100]
    assert units_of(0.0, 1.0, 2.0, [0.25, 0.75, 1.25]) == [0, 2, 2], "halves go to the even one"


@pytest.mark.parametrize(("minimum", "maximum"), [(0.0, 1.0), (-3.4e38, 3.4e38), (5.0, 5.0000005), (-1e-45, 1e-45)])
def test_nan_is_the_least_unit_and_infinities_are_clipped_whatever_the_range(minimum: float, maximum: float) -> None:
    assert units_of(minimum, maximum, 1000.0, [math.nan, math.inf, -math.inf]) == [0, HIGHEST, -HIGHEST]


def band() -> tuple[Grid, LeafValues, Topology]:
    """Active voxels in two regions, of which every third is kept, some inactive ones, and a tile."""
    coordinates = torch.cartesian_prod(torch.arange(120, 136), torch.arange(4), torch.arange(3))
    grid = placed(coordinates, torch.zeros(len(coordinates), 1), background=2.0)
    tiles = {"tile_origins": [[0, 0, 0]], "tile_edges": [8]}
    typed: dict[str, Tensor] = {name: torch.tensor(rows, dtype=torch.int32) for name, rows in tiles.items()}
    topology = replace(grid.topology, tile_active=torch.tensor([True]), **typed)
    places = topology.places()
    kept = LeafValues(places[::3], torch.linspace(-1, 1, len(places[::3]))[:, None])
    inactive = LeafValues(torch.tensor([500, 1000]), torch.tensor([[4.0], [math.nan]]))
    grid = replace(grid, topology=topology, tile_values=torch.tensor([[3.0]]), inactive=inactive)
    masks = torch.zeros(topology.leaf_count, 512, dtype=torch.bool)
    masks.view(-1)[places] = True
    masks.view(-1)[kept.places] = False
    coded = Topology.from_leaves(topology.leaf_origins, masks)
    return grid, kept, coded


def test_every_voxel_of_a_region_but_the_channels_own_is_known() -> None:
    grid, kept, coded = band()
    corners = torch.tensor([[0, 0, 0], [128, 0, 0]], dtype=torch.int32)
    found = Surroundings(grid, kept, 0, linear_units(0.0, 1.0, 100.0))(corners)
    expected = torch.full((2, 128, 128, 128), 200, dtype=torch.int32)
    expected[0, :8, :8, :8] = 300
    for values in (grid.inactive, kept):
        units = (values.values[:, 0].nan_to_num(0.0).double() * 100).round().int()
        for voxel, unit in zip(grid.topology.coordinates_of(values.places).tolist(), units.tolist(), strict=True):
            expected[voxel[0] // 128, voxel[0] % 128, voxel[1], voxel[2]] = unit
    asked = torch.ones_like(expected, dtype=torch.bool)
    for x, y, z in coded.coordinates().tolist():
        asked[x // 128, x % 128, y, z] = False
    assert found.dtype == torch.int32 and torch.equal(found[asked], expected[asked])


def test_a_given_channel_is_whole_with_the_values_that_are_kept_in_it() -> None:
    grid, kept, coded = band()
    own = torch.arange(coded.leaf_voxel_count, dtype=torch.int32) + 1000
    topology, values = Surroundings(grid, kept, 0, linear_units(0.0, 1.0, 100.0)).whole(coded, own)
    assert topology is grid.topology
    assert torch.equal(values[topology.voxel_rows(coded.coordinates())], own)
    places = topology.coordinates_of(kept.places)
    assert values[topology.voxel_rows(places)].tolist() == (kept.values[:, 0].double() * 100).round().tolist()
    assert Surroundings(grid, LeafValues.none(1), 0, linear_units(0.0, 1.0, 100.0)).whole(coded, own) == (coded, own)
