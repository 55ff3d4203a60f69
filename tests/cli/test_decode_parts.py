"""`inrv decode --box` and `--lod`: parts of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv.files.vdb import read_volume

from .conftest import Run

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.fixture
def torus(tmp_path: Path) -> Path:
    options = inrv.EncodeOptions(effort="instant")
    (tmp_path / "torus.inrv").write_bytes(inrv.encode_bytes(FIXTURES / "torus.vdb", options)[0])
    return tmp_path / "torus.inrv"


def test_a_box_has_its_voxels_alone_and_ends_are_excluded(run: Run, torus: Path) -> None:
    grid = inrv.load(torus)[0]
    (x, y, z), upper = grid.topology.leaf_origins[9].tolist(), grid.box.upper  # type: ignore[union-attr]
    result = run("decode", torus, "-o", "part.vdb", "--box", f"{x}:{x + 20},{y - 3}: {y + 9},{z}:")
    assert result.exit_code == 0, result.stderr
    wanted = grid.crop(((x, y - 3, z), (x + 19, y + 8, upper[2])))
    found = read_volume("part.vdb").grids[0]
    assert found.topology.equal(wanted.topology) and np.array_equal(found.values, wanted.values)
    assert f"{wanted.topology.active_voxel_count:,} active voxels" in result.stdout


def test_a_level_has_wider_voxels(run: Run, torus: Path) -> None:
    result = run("decode", torus, "-o", "small.vdb", "--lod", "2", "--box", ":,:,:")
    assert result.exit_code == 0, result.stderr
    grid, found = inrv.load(torus)[0], read_volume("small.vdb").grids[0]
    assert np.array_equal(found.values, grid.level(2, grid.box).values)
    assert found.transform.voxel_size == tuple(4 * size for size in grid.transform.voxel_size)


@pytest.mark.parametrize("box", ["1:2,3:4", "1,2,3", "0:1,0:1,0:1,0:1", "0:1,0:1.5,0:1", "", "a"])
def test_other_boxes_are_mistakes(run: Run, torus: Path, box: str) -> None:
    result = run("decode", torus, "-o", "part.vdb", "--box", box)
    assert result.exit_code == 2 and "0:64,-8:8,10:20" in result.stderr


@pytest.mark.parametrize("huge", ["9" * 20, "-" + "9" * 20, "3000000000"])
def test_a_box_that_is_too_far_away_is_a_mistake(run: Run, torus: Path, huge: str) -> None:
    for box in (f"{huge}:,0:1,0:1", f"0:1,:{huge},0:1"):
        result = run("decode", torus, "-o", "part.vdb", "--box", box)
        assert result.exit_code == 2 and f"{huge} along " in result.stderr
        assert "from -2147483647 to 2147483647" in result.stderr


def test_an_empty_box_is_a_mistake_too(run: Run, torus: Path) -> None:
    result = run("decode", torus, "-o", "part.vdb", "--box", "5:5,0:9,0:9")
    assert result.exit_code == 2 and "empty" in result.stderr and not Path("part.vdb").exists()


def test_grids_that_are_passed_through_are_left_out(run: Run, library: Path) -> None:
    result = run("decode", library / "scene.inrv", "-o", "part.vdb", "--lod", "1")
    assert result.exit_code == 0, result.stderr
    left = len(inrv.load(library / "scene.inrv").passthrough)
    assert len(read_volume("part.vdb").grids) == 3 and (
        f"{left} left out" in result.stdout
    ) == bool(left)
