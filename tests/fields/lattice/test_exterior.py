"""What prediction knows beside a channel's own voxels: inactive, frequent and exact values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from inrv import Grid
from inrv.core.lattice import KnownVoxels
from inrv.fields.lattice.constants import HIGHEST
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.fields.lattice.regions import CELLS
from inrv.grids import LeafValues, Topology, unpack_masks
from testing.lattice import box, placed
from testing.regions import known_voxels, made, of_cells


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


def dense(known: KnownVoxels) -> NDArray[np.int32]:
    """Values int32 (128, 128, 128) of a region's voxels, those that are coded among them."""
    cells = np.full((CELLS**3, 512), known.around, dtype=np.int32)
    starts = np.append(0, np.cumsum(unpack_masks(known.leaves.masks).sum(axis=1)))
    assert known.values.dtype == np.int32 and known.values.shape == (starts[-1],)
    for cell, mask, start, end in zip(
        known.leaves.cells, unpack_masks(known.leaves.masks), starts, starts[1:], strict=False
    ):
        cells[cell, mask] = known.values[start:end]
    found: NDArray[np.int32] = of_cells(cells)
    return found


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
    found = np.stack([dense(exterior(corner)) for corner in corners])
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
    assert np.array_equal(found[asked], expected[asked])


def test_nothing_is_listed_of_a_grid_where_nothing_but_the_background_is_known() -> None:
    grid, exact, _ = band()
    no_tiles = replace(
        grid.topology,
        tile_origins=np.zeros((0, 3), dtype=np.int32),
        tile_edges=np.zeros(0, dtype=np.int32),
        tile_active=np.zeros(0, dtype=np.bool_),
    )
    tiles = np.zeros((0, 1), dtype=np.float32)
    bare = replace(grid, topology=no_tiles, tile_values=tiles, inactive=LeafValues.none(1))
    units, corner = linear_units(0.0, 1.0, 100.0), np.zeros(3, dtype=np.int32)
    found = Exterior(bare, LeafValues.none(1), 0, units)(corner)
    assert found.around == 200 and not len(found.values) and not len(found.leaves.cells)
    for known, separate in [
        (grid, LeafValues.none(1)),
        (replace(bare, inactive=grid.inactive), LeafValues.none(1)),
        (bare, exact),
    ]:
        found = Exterior(known, separate, 0, units)(corner)
        assert found.around == 200 and len(found.values)


def test_one_number_is_coded_as_a_list_of_it_is() -> None:
    one = made(exterior="known", background=900)
    whole = known_voxels(np.full((128, 128, 128), 900, dtype=np.int32))
    other = replace(one, region=replace(one.region, exterior=whole))
    (codes, values), (same, too) = one.encode(), other.encode()
    assert codes.segments == same.segments and np.array_equal(values, too)
    assert np.array_equal(one.decode(same), values) and np.array_equal(other.decode(codes), values)


@pytest.mark.parametrize("reference_top", [0, 50])
def test_what_is_far_beyond_the_range_is_known_as_half_a_range_beyond(reference_top: int) -> None:
    """The core clips exterior values, and those of the reference channel."""
    near = made(exterior="dense", reference_top=reference_top)
    top, known = near.top, near.region.exterior
    assert known is not None
    exterior = known.values
    assert exterior.min() < -(top >> 1) and exterior.max() > top + (top >> 1)
    clipped = exterior.clip(-(top >> 1), top + (top >> 1))
    far = np.where(clipped == exterior, exterior, exterior * 400).astype(np.int32)
    reference = near.region.reference
    if reference is not None:
        leaves, values = reference
        values = np.where(np.arange(len(values)) % 3 == 0, 1 << 23, values).astype(np.int32)
        reference = leaves, values
        least = leaves, values.clip(-(reference_top >> 1), reference_top + (reference_top >> 1))
        near = replace(near, region=replace(near.region, reference=least))
    codes, values = replace(
        near, region=replace(near.region, exterior=replace(known, values=clipped))
    ).encode()
    wide = replace(near.region, exterior=replace(known, values=far), reference=reference)
    found, decoded = replace(near, region=wide).encode()
    assert found.segments == codes.segments and np.array_equal(decoded, values)


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
