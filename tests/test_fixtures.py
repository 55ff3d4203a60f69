"""The fixtures are what fixtures/README.md says they are, and the simulation that makes the fire is
sound.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.make_fire import CUT_OFF, cut_quadrant
from fixtures.make_shapes import VOXEL, torus_distance
from inrv.fields.lattice.workshop.fire_simulation import (
    FireOptions,
    FireSimulation,
    PressureSolver,
    advect,
    cell_coordinates,
    divergence,
    face_shape,
)
from inrv.files.vdb import read_volume
from inrv.grids import Grid

SHAPE = (8, 9, 10)


def read_one(path: Path) -> Grid:
    (grid,) = read_volume(path).grids
    return grid


def test_fire_is_a_burner_fire_without_a_quadrant(fixtures: Path) -> None:
    volume = read_volume(fixtures / "fire.vdb")
    assert [grid.name for grid in volume.grids] == ["density", "temperature"]
    for grid in volume.grids:
        assert (grid.value_type, grid.grid_class, grid.saved_as_half) == (
            "float",
            "fog volume",
            False,
        )
        assert 50_000 < grid.topology.active_voxel_count < 120_000
        assert float(grid.values.min()) >= CUT_OFF
        coordinates = grid.topology.coordinates()
        assert not bool(((coordinates[:, 0] >= 32) & (coordinates[:, 1] >= 32)).any())
        assert bool((coordinates[:, 0] >= 32).any()) and bool((coordinates[:, 1] >= 32).any())
        assert grid.metadata["cut_off"].value == pytest.approx(CUT_OFF)
        assert grid.transform.voxel_size == pytest.approx((0.025, 0.025, 0.025))


def test_velocity_is_staggered(fixtures: Path) -> None:
    grid = read_one(fixtures / "velocity.vdb")
    assert (grid.name, grid.value_type, grid.grid_class) == ("velocity", "vec3s", "staggered")
    assert grid.vector_type == "contravariant relative"
    assert len(grid.values) == grid.topology.active_voxel_count > 5000
    assert float(grid.values[:, 2].mean()) > 0.5, "hot air rises"


def test_torus_is_a_level_set_with_signs_inside(fixtures: Path) -> None:
    grid = read_one(fixtures / "torus.vdb")
    assert (grid.grid_class, grid.background.tolist()) == ("level set", [pytest.approx(3 * VOXEL)])
    assert np.array_equal(grid.values[:, 0], torus_distance(grid.topology.coordinates()))
    assert grid.topology.box is not None and min(grid.topology.box.lower) < 0
    inside, outside = np.array([[26, 0, 0]]), np.array([[0, 0, 0]])
    assert np.array_equal(grid.lookup(inside)[0], -grid.background)
    assert np.array_equal(grid.lookup(outside)[0], grid.background)


def test_tiles_are_active_tiles_of_two_sizes(fixtures: Path) -> None:
    grid = read_one(fixtures / "tiles.vdb")
    assert grid.saved_as_half
    assert sorted(grid.topology.tile_edges[grid.topology.tile_active].tolist()) == [8, 8, 8, 128]
    assert grid.lookup(np.array([[0, 0, 8], [130, 5, 5], [60, 60, 60]]))[:, 0].tolist() == [
        0.75,
        0.125,
        0.25,
    ]
    assert np.array_equal(grid.values, grid.values.astype(np.float16).astype(np.float32))


def test_empty_has_grids_and_no_voxel(fixtures: Path) -> None:
    volume = read_volume(fixtures / "empty.vdb")
    assert [(grid.name, grid.value_type) for grid in volume.grids] == [
        ("flame", "float"),
        ("velocity", "vec3s"),
    ]
    assert volume.active_voxel_count == 0
    assert volume.grids[1].background.tolist() == [0.0, 0.0, 1.0]


def test_fixtures_stay_small(fixtures: Path) -> None:
    sizes = [path.stat().st_size for path in fixtures.glob("*.vdb")]
    assert len(sizes) == 5
    assert sum(sizes) < 3_000_000


def test_projection_leaves_the_divergence_wanted() -> None:
    generator = torch.Generator().manual_seed(1)
    u, v, w = (torch.rand(face_shape(SHAPE, axis), generator=generator) for axis in range(3))
    w[:, :, 0] = 0
    wanted = torch.zeros(SHAPE)
    wanted[4, 4, 2] = 1.5
    projected = PressureSolver(SHAPE).project((u, v, w), wanted)
    assert torch.allclose(divergence(projected), wanted, atol=1e-5)
    assert not bool(projected[2][:, :, 0].any()), "nothing flows through the floor"
    again = PressureSolver(SHAPE).project(projected, wanted)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(projected, again, strict=True))


def test_advection_by_whole_cells_shifts() -> None:
    u, v, w = (torch.zeros(face_shape(SHAPE, axis)) for axis in range(3))
    values = cell_coordinates(SHAPE).sum(dim=-1).sin()[None]
    moved = advect(values, (u + 2, v, w - 1), None)
    assert torch.allclose(moved[0, 3:-3, :, 3:-3], values[0, 1:-5, :, 4:-2], atol=1e-5)


def test_advection_makes_no_new_extremes() -> None:
    generator = torch.Generator().manual_seed(2)
    u, v, w = (torch.randn(face_shape(SHAPE, axis), generator=generator) for axis in range(3))
    values = torch.rand((1, *SHAPE), generator=generator)
    moved = advect(values, (u, v, w), None)
    assert float(moved.min()) >= float(values.min())
    assert float(moved.max()) <= float(values.max())


def test_a_fire_burns_rises_and_repeats() -> None:
    options = FireOptions(shape=(16, 16, 24), burner_radius=4)
    first, second = FireSimulation(options), FireSimulation(options)
    for _ in range(6):
        first.step()
        second.step()
    assert float(first.temperature.max()) > 0.5
    assert float(first.velocity[2].max()) > 0.2
    assert torch.equal(first.soot, second.soot)


def test_cut_quadrant() -> None:
    cut = cut_quadrant(torch.ones(4, 6, 2))
    assert float(cut.sum()) == 0.75 * 4 * 6 * 2
    assert not bool(cut[2:, 3:].any())
