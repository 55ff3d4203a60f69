"""Boxes cut out of grids, and every 2^n-th voxel of them: leaves, tiles and inactive values."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from inrv import Box, Grid, SelectionError, SparseVolume, Transform, sparse_grid
from inrv.files import read, write
from inrv.grids import LeafValues, unpack_masks
from inrv.grids.portions import at_level, cropped

PLAIN = Transform()
EDGES = (8, 128, 4096, 8, 128, 4096)
CORNERS = [[40, 0, 0], [128, 0, -128], [0, 4096, 0], [-8, 8, 8], [-128, 128, 0], [-4096, -4096, 0]]
AROUND = Box((-12, -4, -6), (140, 30, 29))  # touches leaves, and tiles of all sizes but 4096


def scene(transform: Transform = PLAIN) -> Grid:
    """A grid with leaves, inactive values, and tiles of every size, active ones and others."""
    rng = np.random.default_rng(5)
    values = rng.random((40, 24, 24), dtype=np.float32)
    grid = sparse_grid(values, "a", transform, background=0.25, active=values > 0.4)
    inactive = np.flatnonzero(~unpack_masks(grid.topology.leaf_masks))[::3]
    topology = replace(
        grid.topology,
        tile_origins=np.array(CORNERS, dtype=np.int32),
        tile_edges=np.array(EDGES, dtype=np.int32),
        tile_active=np.array([True] * 3 + [False] * 3),
    )
    return replace(
        grid,
        topology=topology,
        tile_values=np.arange(1, 7, dtype=np.float32)[:, None],
        inactive=LeafValues(inactive, -rng.random((len(inactive), 1), dtype=np.float32)),
    )


def everywhere(box: Box) -> np.ndarray:
    """The coordinates (n, 3) of a box."""
    axes = [np.arange(low, high + 1) for low, high in zip(box.lower, box.upper, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize(
    "box",
    [
        AROUND,
        Box((3, 5, 1), (30, 6, 17)),
        Box((0, 0, 0), (63, 127, 15)),
        Box((4, 4, 4), (4, 4, 4)),
        Box((-20, 4090, -4), (12, 4100, 12)),
        Box((-4000, -200, 5), (-3850, -180, 9)),
        Box((900, 900, 900), (901, 901, 901)),
    ],
)
def test_a_crop_has_the_voxels_of_the_box_and_no_others(box: Box) -> None:
    grid = scene()
    part = cropped(grid, box)
    places = np.concatenate([everywhere(box), everywhere(AROUND)])
    inside = box.contains(places)
    assert np.array_equal(part.topology.active(places), grid.topology.active(places) & inside)
    assert np.array_equal(part.lookup(places)[inside], grid.lookup(places)[inside])
    assert (part.lookup(places)[~inside] == grid.background).all()
    assert np.array_equal(part.topology.keys, np.unique(part.topology.keys))
    assert (np.diff(part.inactive.places) > 0).all()
    volume = read(_written(part)).grids[0]  # the writer refuses tiles and leaves that overlap
    assert volume.topology.equal(part.topology)


def _written(grid: Grid) -> bytes:
    stream = BytesIO()
    write(stream, SparseVolume((grid,)))
    return stream.getvalue()


def test_a_crop_of_everything_is_the_grid() -> None:
    grid = scene()
    whole = cropped(grid, Box((-4096, -4096, -4096), (8191, 8191, 8191)))
    assert whole.topology.equal(grid.topology) and np.array_equal(whole.values, grid.values)
    assert np.array_equal(whole.inactive.places, grid.inactive.places)
    assert np.array_equal(whole.inactive.values, grid.inactive.values)


def test_tiles_are_cut_into_the_largest_that_fit() -> None:
    topology = cropped(scene(), Box((0, 4096, 0), (299, 4096 + 143, 127))).topology
    kinds, counts = np.unique(topology.tile_edges, return_counts=True)
    assert dict(zip(kinds.tolist(), counts.tolist(), strict=True)) == {
        128: 2,
        8: 2 * 16 * 16 * 2 + 5 * 18 * 16,
    }
    assert topology.active_voxel_count == 300 * 144 * 128


def test_no_crop_takes_all_memory() -> None:
    with pytest.raises(SelectionError, match="multiples of 8"):
        cropped(scene(), Box((1, 4097, 1), (4094, 8190, 4094)))


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5, 6])
def test_a_level_has_every_so_manieth_voxel(level: int) -> None:
    grid, stride = scene(), 1 << level
    multiples = (grid.topology.coordinates() % stride == 0).all(axis=1)
    found = at_level(grid, grid.values[multiples], level)
    bounds = AROUND.multiples(stride)
    assert bounds is not None
    places = everywhere(bounds)
    far = np.array([CORNERS[2], CORNERS[5]]) // stride + 1
    places = np.concatenate([places, far])
    assert np.array_equal(found.lookup(places), grid.lookup(places * stride))
    assert np.array_equal(found.topology.active(places), grid.topology.active(places * stride))
    assert read(_written(found)).grids[0].topology.equal(found.topology)


@pytest.mark.parametrize("kind", ["UniformScaleTranslateMap", "TranslationMap", "UnitaryMap"])
def test_a_level_lies_where_its_grid_does(kind: str) -> None:
    matrix = np.eye(4)
    matrix[3, :3] = 5, 6, 7
    grid = scene(Transform(kind, matrix))  # type: ignore[arg-type]
    multiples = (grid.topology.coordinates() % 4 == 0).all(axis=1)
    found = at_level(grid, grid.values[multiples], 2)
    points = np.random.default_rng(0).random((9, 3)) * 20
    np.testing.assert_allclose(
        found.transform.index_to_world(points), grid.transform.index_to_world(4 * points)
    )
    assert read(_written(found)).grids[0].transform.map_type == found.transform.map_type
