"""By which rule a grid's active voxels can be told from its values, and what becomes of the others."""

from __future__ import annotations

from dataclasses import replace

import torch

from inrv.encoding.topology_choice import coarse, rule_of
from inrv.grids import Grid, LeafValues, sparse_grid
from inrv.grids.thresholds import ABOVE, AWAY, WITHIN, scores, thresholded


def band() -> Grid:
    """A sphere's narrow band, minus the background inside."""
    x, y, z = torch.meshgrid(*[torch.arange(24.0) - 11.3] * 3, indexing="ij")
    distance = ((x**2 + y**2 + z**2).sqrt() - 8).clamp(-3, 3)
    grid = sparse_grid(distance, "surface", background=(3.0,), active=distance.abs() < 3)
    places = torch.arange(grid.topology.leaf_count * 512)
    left = ~torch.isin(places, grid.topology.places())
    inside = places[left][distance[tuple(grid.topology.coordinates_of(places[left]).long().T)] < 0]
    return replace(grid, inactive=LeafValues(inside, torch.full((len(inside), 1), -3.0)))


def test_the_rule_follows_from_the_values() -> None:
    fog = torch.rand(9, 9, 9, generator=torch.Generator().manual_seed(1)) + 0.1
    assert rule_of(sparse_grid(fog, "density")) == ABOVE
    assert rule_of(sparse_grid(fog - 0.5, "pressure")) == AWAY
    assert rule_of(sparse_grid(torch.stack([fog] * 3, dim=3), "velocity")) == AWAY
    assert rule_of(band()) == WITHIN
    other = replace(band(), inactive=LeafValues(band().inactive.places, band().inactive.values + 1))
    assert rule_of(other) is None
    assert rule_of(replace(band(), values=4 * band().values)) is None


def test_scores_are_of_single_precision() -> None:
    values = torch.tensor([[3.0, 4.0, 1.0], [0.1, 0.2, 0.3]])
    background = torch.tensor([0.0, 0.0, 1.0])
    assert scores(AWAY, values, background)[0] == 5
    squares = (values[1] - background).square()
    assert scores(AWAY, values, background)[1] == (squares[0] + squares[1] + squares[2]).sqrt()
    assert scores(WITHIN, torch.tensor([[-2.5], [4.0]]), torch.tensor([3.0])).tolist() == [0.5, -1.0]
    assert scores(ABOVE, values[:, :1], background[:1]).tolist() == values[:, 0].tolist()


def test_a_band_comes_back_from_its_own_values() -> None:
    grid = band()
    whole = coarse(grid)
    assert whole.topology.leaf_voxel_count == 512 * grid.topology.leaf_count and not len(whole.inactive.places)
    found, leaves = thresholded(whole, whole.values, WITHIN, 0.0, LeafValues.none(1))
    assert found.topology.equal(grid.topology) and len(leaves) == grid.topology.leaf_count
    assert torch.equal(found.inactive.places, grid.inactive.places) and torch.equal(found.inactive.values, grid.inactive.values)


def test_leaves_without_active_voxels_go_but_those_inside_a_band_stay() -> None:
    grid = coarse(sparse_grid(torch.ones(8, 8, 24), "d", background=(3.0,)))
    values = torch.cat([torch.full((512, 1), value) for value in (3.0, -3.0, 1.0)])
    kept = LeafValues(torch.tensor([5]), torch.tensor([[7.0]]))
    found, leaves = thresholded(grid, values, WITHIN, 0.0, LeafValues.none(1))
    assert leaves.tolist() == [1, 2] and found.inactive.places.tolist() == list(range(512))
    found, leaves = thresholded(grid, values, WITHIN, 0.0, kept)
    assert leaves.tolist() == [0, 1, 2] and found.topology.leaf_voxel_count == 513
    found, leaves = thresholded(grid, values, AWAY, 1.0, LeafValues.none(1))
    assert leaves.tolist() == [1, 2] and not len(found.inactive.places)
