"""NanoVDB grids: every voxel is found where a reader of the format looks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import Grid, SparseVolume, files
from inrv.files.nanovdb.layout import skeleton
from inrv.files.nanovdb.structs import GRID, TREE, Types
from testing.lattice import instant
from testing.nvdb import look_up


def voxels_of(grid: Grid) -> NDArray[np.int64]:
    """Some voxels of leaves and tiles, and some that are in neither."""
    draws = np.random.default_rng(1)
    topology = grid.topology
    found = [np.array([[-5000, 7, 9], [0, 0, 0]]), topology.tile_origins + 3]
    if topology.leaf_count:
        leaves = topology.leaf_origins[draws.integers(0, topology.leaf_count, 200)]
        found += [leaves + draws.integers(0, 8, leaves.shape), leaves - 9]
    return np.concatenate(found)


@pytest.mark.parametrize("name", ["fire", "tiles", "torus", "velocity", "empty"])
def test_every_voxel_is_found(fixtures: Path, name: str) -> None:
    data, _ = inrv.encode_bytes(fixtures / f"{name}.vdb", instant(psnr=35.0))
    volume = inrv.load(data, "cpu")
    for grid in volume.grids:
        buffer, whole = grid.nanovdb().numpy(), grid.to_grid()
        assert len(buffer) % 32 == 0
        coordinates = voxels_of(whole)
        values, active = grid.voxels(coordinates), whole.topology.active(coordinates)
        for voxel, value, state in zip(coordinates.tolist(), values, active, strict=True):
            found, found_state = look_up(buffer, tuple(voxel), whole.components)
            assert np.array_equal(found, value) and found_state == state, voxel


@pytest.mark.parametrize(("level", "box"), [(0, ((0, 4, 0), (20, 31, 40))), (2, None)])
def test_boxes_and_levels(fixtures: Path, level: int, box: inrv.Box | None) -> None:
    data, _ = inrv.encode_bytes(fixtures / "fire.vdb", instant(psnr=35.0))
    grid = inrv.load(data, "cpu")[0]
    buffer, part = grid.nanovdb(box, level).numpy(), grid.level(level, box)
    coordinates = np.concatenate([voxels_of(part), voxels_of(grid.template)])
    expected = part.topology.active(coordinates)
    rows = part.topology.voxel_rows(coordinates)
    assert 0 < expected.sum() < len(expected)
    for voxel, row, state in zip(coordinates.tolist(), rows, expected, strict=True):
        found, found_state = look_up(buffer, tuple(voxel), part.components)
        assert found_state == state and (row < 0 or np.array_equal(found, part.values[row])), voxel


def test_nodes_have_the_sizes_of_the_format() -> None:
    sizes = [
        [kind.itemsize for kind in (own.leaf, own.lower, own.upper, own.root, own.tile)]
        for own in (Types(1), Types(3))
    ]
    assert (GRID.itemsize, TREE.itemsize) == (672, 64)
    assert sizes == [[2144, 33856, 270400, 64, 32], [6272, 66624, 532544, 96, 32]]


def test_the_head_tells_of_the_grid(fixtures: Path) -> None:
    (grid,) = files.read(fixtures / "torus.vdb").grids
    buffer = skeleton(replace(grid, name="ring" * 100)).buffer
    head = np.frombuffer(buffer, GRID, 1)[0]
    tree = np.frombuffer(buffer, TREE, 1, GRID.itemsize)[0]
    assert head["name"].decode() == ("ring" * 100)[:255] and head["size"] == len(buffer)
    assert (head["grid_class"], head["grid_type"]) == (1, 1)
    assert tree["voxels"] == grid.topology.active_voxel_count
    point = np.array([1.0, 2.0, 3.0])
    world = head["mat_d"] @ point + head["vec_d"]
    np.testing.assert_allclose(world, grid.transform.index_to_world(point[None])[0])
    np.testing.assert_allclose(head["inverse_d"] @ (world - head["vec_d"]), point)
    assert (head["world_box"][0] < head["world_box"][1]).all()


def test_warp_opens_it(fixtures: Path) -> None:
    wp = pytest.importorskip("warp")
    volume = files.read(fixtures / "fire.vdb")
    data, _ = inrv.encode_bytes(SparseVolume(volume.grids[:1]), instant(psnr=35.0))
    buffer = inrv.load(data, "cpu").grids[0].nanovdb().numpy()
    opened = wp.Volume(wp.array(buffer, dtype=wp.uint8, device="cpu"))
    found, transform = opened.get_grid_info(), volume.grids[0].transform.array()
    assert (found.name, found.size_in_bytes) == (volume.grids[0].name, len(buffer))
    assert opened.get_voxel_count() == 512 * volume.grids[0].topology.leaf_count
    np.testing.assert_allclose(np.array(found.transform_matrix).reshape(3, 3), transform[:3, :3].T)
