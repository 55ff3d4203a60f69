"""Warp as a referee: it opens what we write, and we read what it saves.

Its package takes some 400 MB, so that `dev` does not bring it: `pip install warp-lang blosc`.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import Grid, SparseVolume, files
from testing.lattice import instant

pytest.importorskip("warp")

from testing import warp_volumes as warp


def opened(grid: Grid, **options: bool) -> Any:
    stream = io.BytesIO()
    files.write(stream, SparseVolume((grid,)), ".nvdb", **options)
    return warp.opened(stream.getvalue())


def around(grid: Grid, count: int) -> Any:
    """Random voxels in the box of a grid, and around it."""
    assert grid.topology.box is not None
    low, high = np.array(grid.topology.box.lower), np.array(grid.topology.box.upper)
    return np.random.default_rng(0).integers(low - 9, high + 10, (count, 3))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", ["fire", "torus", "tiles"])
def test_warp_finds_every_voxel(fixtures: Path, name: str, compress: bool) -> None:
    grid = files.read(fixtures / f"{name}.vdb").grids[0]
    volume = opened(grid, compress=compress)
    assert volume.get_grid_info().name == grid.name
    voxels = np.concatenate([grid.topology.coordinates(), around(grid, 20_000)]).astype(np.int32)
    assert np.array_equal(warp.look_up(volume, voxels), grid.lookup(voxels))


def test_warp_finds_vectors(fixtures: Path) -> None:
    (grid,) = files.read(fixtures / "velocity.vdb").grids
    voxels = around(grid, 20_000).astype(np.int32)
    assert np.array_equal(warp.look_up(opened(grid), voxels, 3), grid.lookup(voxels))


def test_warp_samples_what_we_sample(fixtures: Path) -> None:
    data, _ = inrv.encode_bytes(fixtures / "fire.vdb", instant(psnr=40.0))
    ours = inrv.load(data, "cpu")["density"]
    grid = ours.to_grid()
    points = (around(grid, 20_000) + np.random.default_rng(1).random((20_000, 3))).astype(
        np.float32
    )
    found = warp.sample(opened(grid), points)
    np.testing.assert_allclose(found, ours.sample(points), atol=2e-5)  # Warp: float32


@pytest.mark.parametrize("codec", ["none", "zip", "blosc"])
@pytest.mark.parametrize("name", ["torus", "velocity"])
def test_we_read_what_warp_saves(fixtures: Path, tmp_path: Path, name: str, codec: str) -> None:
    if codec == "blosc" and find_spec("blosc") is None:
        pytest.skip("Warp needs the package blosc")
    (grid,) = files.read(fixtures / f"{name}.vdb").grids
    opened(grid).save_to_nvdb(str(tmp_path / "warp.nvdb"), codec=codec)
    (found,) = files.read(tmp_path / "warp.nvdb").grids
    assert found.same_voxels(grid) and found.name == grid.name
    assert found.transform.matrix == grid.transform.matrix


def test_we_read_what_warp_makes_itself(tmp_path: Path) -> None:
    array = np.random.default_rng(2).random((20, 9, 17), dtype=np.float32)
    volume = warp.wp.Volume.load_from_numpy(array, (1, 2, 3), 0.5, device="cpu")
    volume.save_to_nvdb(str(tmp_path / "made.nvdb"), codec="zip")
    (grid,) = files.read(tmp_path / "made.nvdb").grids
    assert grid.transform.voxel_size == (0.5, 0.5, 0.5)
    found = grid.dense(inrv.Box((0, 0, 0), (19, 8, 16)))[..., 0]
    assert np.array_equal(found, array)
