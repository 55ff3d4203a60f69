"""What prediction knows beside a channel's own voxels: inactive, frequent and exact values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from inrv import Grid
from inrv.fields.lattice.constants import HIGHEST
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.grids import LeafValues, Topology
from testing.lattice import box, placed


def units_of(minimum: float, maximum: float, scale: float, values: list[float]) -> list[int]:
    found: list[int] = linear_units(minimum, maximum, scale)(
        np.array(values, dtype=np.float32)
    ).tolist()
    return found


def test_units_run_from_the_least_value_to_the_greatest_and_beyond() -> None:
    assert units_of(-1.0, 3.0, 400.0, [-1, 0, 3, 5, -2, 0.005]) == [0, 100, 400, 600, -100, 100]
    assert units_of(0.0, 1.0, 2.0, [0.25, 0.75, 1.25]) == [0, 2, 2], "halves go to the even one"


@pytest.mark.parametrize(
    ("minimum", "maximum"), [(0.0, 1.0), (-3.4e38, 3.4e38), (5.0, 5.0000005), (-1e-45, 1e-45)]
)
def test_nan_is_the_least_unit_and_infinities_are_clipped_whatever_the_range(
    minimum: float, maximum: float
) -> None:
    found = units_of(minimum, maximum, 1000.0, [math.nan, math.inf, -math.inf])
    assert found == [0, HIGHEST, -HIGHEST]


def band() -> tuple[Grid, LeafValues, Topology]:
    """Active voxels in two regions, every third of them exact, some inactive ones, and a tile."""
    coordinates = box(range(120, 136), range(4), range(3))
    grid = placed(coordinates, np.zeros((len(coordinates), 1)), background=2.0)
    topology = replace(
        grid.topology,
        tile_origins=np.zeros((1, 3), dtype=np.int32),
        tile_edges=np.array([8], dtype=np.int32),
        tile_active=np.array([True]),
    )
    places = topology.places()
    values = np.linspace(-1, 1, len(places[::3]), dtype=np.float32)[:, None]
    exact = LeafValues(places[::3], values)
    inactive = LeafValues(np.array([500, 1000]), np.array([[4.0], [math.nan]], dtype=np.float32))
    tiles = np.array([[3.0]], dtype=np.float32)
    grid = replace(grid, topology=topology, tile_values=tiles, inactive=inactive)
    masks = np.zeros((topology.leaf_count, 512), dtype=np.bool_)
    masks.reshape(-1)[places] = True
    masks.reshape(-1)[exact.places] = False
    coded = Topology.from_leaves(topology.leaf_origins, masks)
    return grid, exact, coded


def test_every_voxel_of_a_region_but_the_channels_own_is_known() -> None:
    grid, exact, coded = band()
    exterior = Exterior(grid, exact, 0, linear_units(0.0, 1.0, 100.0))
    corners = np.array([[0, 0, 0], [128, 0, 0]], dtype=np.int32)
    found = np.stack([exterior(corner) for corner in corners])
    expected = np.full((2, 128, 128, 128), 200, dtype=np.int32)
    expected[0, :8, :8, :8] = 300
    for values in (grid.inactive, exact):
        units = np.rint(np.nan_to_num(values.values[:, 0]).astype(np.float64) * 100).astype(int)
        voxels = grid.topology.coordinates_of(values.places).tolist()
        for (x, y, z), unit in zip(voxels, units.tolist(), strict=True):
            expected[x // 128, x % 128, y, z] = unit
    asked = np.ones(expected.shape, dtype=np.bool_)
    for x, y, z in coded.coordinates().tolist():
        asked[x // 128, x % 128, y, z] = False
    assert found.dtype == np.int32 and np.array_equal(found[asked], expected[asked])


def test_a_region_where_nothing_but_the_background_is_known_holds_it_everywhere() -> None:
    grid, _, _ = band()
    bare = replace(
        grid, topology=replace(grid.topology, tile_origins=np.zeros((0, 3), dtype=np.int32))
    )
    bare = replace(bare, inactive=LeafValues.none(1))
    found = Exterior(bare, LeafValues.none(1), 0, linear_units(0.0, 1.0, 100.0))(
        np.zeros(3, dtype=np.int32)
    )
    assert found.shape == (128, 128, 128) and found.dtype == np.int32 and (found == 200).all()


def test_a_reference_channel_is_whole_with_its_exact_values() -> None:
    grid, exact, coded = band()
    own = np.arange(coded.leaf_voxel_count, dtype=np.int32) + 1000
    units = linear_units(0.0, 1.0, 100.0)
    topology, values = Exterior(grid, exact, 0, units).whole(coded, own)
    assert topology is grid.topology
    assert np.array_equal(values[topology.voxel_rows(coded.coordinates())], own)
    places = topology.coordinates_of(exact.places)
    expected = np.rint(exact.values[:, 0].astype(np.float64) * 100).tolist()
    assert values[topology.voxel_rows(places)].tolist() == expected
    assert Exterior(grid, LeafValues.none(1), 0, units).whole(coded, own) == (coded, own)
