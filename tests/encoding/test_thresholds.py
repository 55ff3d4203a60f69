"""By which rule a grid's active voxels can be told from its values, and what others become."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inrv.encoding.thresholds import rule_of, whole_leaves
from inrv.grids import Grid, LeafValues, sparse_grid
from inrv.grids.thresholds import ABOVE, AWAY, WITHIN, scores, thresholded


def band() -> Grid:
    """A sphere's narrow band, minus the background inside."""
    x, y, z = np.meshgrid(*[np.arange(24, dtype=np.float32) - np.float32(11.3)] * 3, indexing="ij")
    distance = (np.sqrt(x**2 + y**2 + z**2) - 8).clip(-3, 3)
    grid = sparse_grid(distance, "surface", background=(3.0,), active=np.abs(distance) < 3)
    places = np.arange(grid.topology.leaf_count * 512)
    left = places[~np.isin(places, grid.topology.places())]
    inside = left[distance[tuple(grid.topology.coordinates_of(left).T)] < 0]
    return replace(grid, inactive=LeafValues(inside, np.full((len(inside), 1), -3, np.float32)))


def test_the_rule_follows_from_the_values() -> None:
    fog = np.random.default_rng(1).random((9, 9, 9), dtype=np.float32) + np.float32(0.1)
    assert rule_of(sparse_grid(fog, "density")) == ABOVE
    assert rule_of(sparse_grid(fog - 0.5, "pressure")) == AWAY
    assert rule_of(sparse_grid(np.stack([fog] * 3, axis=3), "velocity")) == AWAY
    assert rule_of(band()) == WITHIN
    other = replace(band(), inactive=LeafValues(band().inactive.places, band().inactive.values + 1))
    assert rule_of(other) is None
    assert rule_of(replace(band(), values=4 * band().values)) is None


def test_scores_are_of_single_precision() -> None:
    values = np.array([[3.0, 4.0, 1.0], [0.1, 0.2, 0.3]], np.float32)
    background = np.array([0.0, 0.0, 1.0], np.float32)
    assert scores(AWAY, values, background)[0] == 5
    squares = np.square(values[1] - background)
    found = scores(AWAY, values, background)
    assert found.dtype == np.float32 and found[1] == np.sqrt(squares[0] + squares[1] + squares[2])
    band = np.array([[-2.5], [4.0]], np.float32)
    assert scores(WITHIN, band, np.array([3], np.float32)).tolist() == [0.5, -1.0]
    assert scores(ABOVE, values[:, :1], background[:1]).tolist() == values[:, 0].tolist()


def test_a_band_comes_back_from_its_own_values() -> None:
    grid = band()
    whole = whole_leaves(grid)
    assert whole.topology.leaf_voxel_count == 512 * grid.topology.leaf_count and not len(
        whole.inactive.places
    )
    found, leaves = thresholded(whole, whole.values, WITHIN, 0.0, LeafValues.none(1))
    assert found.topology.equal(grid.topology) and len(leaves) == grid.topology.leaf_count
    assert np.array_equal(found.inactive.places, grid.inactive.places)
    assert np.array_equal(found.inactive.values, grid.inactive.values)


def test_leaves_without_active_voxels_go_but_those_inside_a_band_stay() -> None:
    grid = whole_leaves(sparse_grid(np.ones((8, 8, 24), np.float32), "d", background=(3.0,)))
    values = np.repeat(np.array([3, -3, 1], np.float32), 512)[:, None]
    kept = LeafValues(np.array([5]), np.array([[7]], np.float32))
    found, leaves = thresholded(grid, values, WITHIN, 0.0, LeafValues.none(1))
    assert leaves.tolist() == [1, 2] and found.inactive.places.tolist() == list(range(512))
    found, leaves = thresholded(grid, values, WITHIN, 0.0, kept)
    assert leaves.tolist() == [0, 1, 2] and found.topology.leaf_voxel_count == 513
    found, leaves = thresholded(grid, values, AWAY, 1.0, LeafValues.none(1))
    assert leaves.tolist() == [1, 2] and not len(found.inactive.places)
