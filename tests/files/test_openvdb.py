"""Grids of OpenVDB's own module, in memory, in and out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import EncodeOptions, OptionError, SparseVolume, files
from inrv.files.openvdb import from_openvdb, is_openvdb, to_openvdb
from testing.vdb.referee import assert_same_bits, load_openvdb

LOSSLESS = EncodeOptions(lossless=True, effort="instant")


@pytest.fixture(scope="module")
def vdb() -> Any:
    return load_openvdb()


def fog(vdb: Any) -> Any:
    """A grid with leaves, an active tile, an inactive value, a turn, a class and metadata."""
    grid = vdb.FloatGrid(background=0.5)
    array = np.random.default_rng(0).normal(size=(20, 9, 30)).astype(np.float32)
    grid.copyFromArray(array, ijk=(-3, 40, 5))
    grid.fill((128, 0, 0), (135, 7, 7), 2.5, active=True)
    grid.prune()
    grid.getAccessor().setValueOff((0, 41, 6), -7.0)
    matrix = [[0.5, 0.1, 0, 0], [-0.1, 0.5, 0, 0], [0, 0, 0.25, 0], [1, 2, 3, 1]]
    grid.transform = vdb.createLinearTransform(matrix)
    grid.name, grid.gridClass, grid["author"] = "fog", vdb.GridClass.FOG_VOLUME, "us"
    return grid


def wind(vdb: Any) -> Any:
    grid = vdb.Vec3SGrid(background=(1, 2, 3))
    array = np.random.default_rng(1).normal(size=(9, 9, 9, 3)).astype(np.float32)
    grid.copyFromArray(array)
    grid.name, grid.gridClass = "wind", vdb.GridClass.STAGGERED
    return grid


def test_grids_come_in_exactly(vdb: Any, tmp_path: Path) -> None:
    grids = [fog(vdb), wind(vdb), vdb.BoolGrid()]
    assert all(map(is_openvdb, grids)) and not is_openvdb(np.ones(3))
    volume = from_openvdb(grids)
    vdb.write(str(tmp_path / "theirs.vdb"), grids)
    theirs = files.read(tmp_path / "theirs.vdb")
    for found, expected in zip(volume.grids, theirs.grids, strict=True):
        assert_same_bits(found, expected, but=["metadata"])
    first = volume.grids[0]
    assert set(first.metadata) <= set(grids[0].metadata) and first.metadata["author"].value == "us"
    assert first.grid_class == "fog volume" and volume.grids[1].grid_class == "staggered"
    assert first.topology.tile_count == 1 and -7.0 in first.inactive.values
    assert volume.passthrough[0].position == 2


def test_grids_go_out_exactly(vdb: Any) -> None:
    grids = [fog(vdb), wind(vdb), vdb.BoolGrid(True)]
    back = to_openvdb(from_openvdb(grids))
    assert [type(grid) for grid in back] == [type(grid) for grid in grids]
    for found, expected in zip(back, grids, strict=True):
        assert found.name == expected.name and found.background == expected.background
        assert found.gridClass == expected.gridClass and found.transform == expected.transform
        assert found.activeVoxelCount() == expected.activeVoxelCount()
        assert found.leafCount() == expected.leafCount()
        if expected is not grids[2]:
            assert dict(found.metadata) == dict(expected.metadata)
        values = [(item.min, item.max, item.value) for item in expected.citerOnValues()]
        assert [(item.min, item.max, item.value) for item in found.citerOnValues()] == values
    assert back[0].getConstAccessor().getValue((0, 41, 6)) == -7.0


def test_they_are_encoded_as_they_are(vdb: Any, tmp_path: Path) -> None:
    one, other = fog(vdb), wind(vdb)
    inrv.encode(one, tmp_path / "one.inrv", LOSSLESS)
    inrv.encode([one, other], tmp_path / "both.inrv", LOSSLESS)
    inrv.encode({"smoke": one}, tmp_path / "named.inrv", LOSSLESS)
    with inrv.BackgroundWriter(tmp_path / "run.inrv", LOSSLESS, fps=24) as writer:
        writer.add(0, {"smoke": one})
        writer.add(1, [one, other])
        one.clear()
    assert list(inrv.load(tmp_path / "run.inrv").frames[1]) == ["fog", "wind"]
    volume = inrv.load(tmp_path / "both.inrv")
    expected = from_openvdb([fog(vdb), other])
    for found, grid in zip(volume.to_sparse().grids, expected.grids, strict=True):
        assert_same_bits(found, grid)
    back = volume["fog"].to_openvdb()
    assert isinstance(back, vdb.FloatGrid) and back.transform == fog(vdb).transform
    assert [grid.name for grid in volume.to_openvdb()] == ["fog", "wind"]
    assert list(inrv.load(tmp_path / "named.inrv")) == ["smoke"]
    assert list(inrv.load(tmp_path / "one.inrv")) == ["fog"]


def test_what_is_no_grid_is_refused(vdb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="a int is no grid of OpenVDB"):
        from_openvdb([fog(vdb), 3])
    with pytest.raises(OptionError, match="an empty sequence is no grid"):
        from_openvdb([])
    with pytest.raises(OptionError, match="'mask': a BoolGrid has no values of float or vec3s"):
        inrv.encode_bytes({"mask": vdb.BoolGrid()})
    for name in ("openvdb", "pyopenvdb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(inrv.MissingPackageError, match="conda has openvdb, Debian python3-openvdb"):
        to_openvdb(SparseVolume(()))
