"""What real pipelines also produce: every grid comes back, coded or passed through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import inrv
from tests.corpus.round_trip import QUICK, check_volume, round_trip

# Active voxels of each grid, in the file's order.
CORRECT = {
    "anisotropic_many_empty.vdb": [1016, 1016, 12_696, 1016, 0, 0, 0, 0],
    "background_one.vdb": [9261],
    "constant_vector.vdb": [1_000_000],
    "duplicate_names.vdb": [491, 2222, 803],
    "empty_file.vdb": [0],
    "empty_grids.vdb": [0, 0],
    "tiles_and_two_transforms.vdb": [1_000_000, 188_700],
    "unnamed_grids.vdb": [166_375, 166_375],
}

# Passthrough grids, by position, and a word of why; the others are coded.
PASSTHROUGH = {
    "double_grid.vdb": {0: "double"},
    "int32_and_empty.vdb": {3: "int32"},
    "points_only.vdb": {0: "points"},
    "unregistered_codec.vdb": {1: "points"},
    "unregistered_map.vdb": {0: "Affine Map"},
}


@pytest.mark.parametrize("name", CORRECT)
def test_correct_result(corpus: Path, tmp_path: Path, name: str) -> None:
    original, decoded = round_trip(corpus / "hostile" / name, tmp_path)
    check_volume(original, decoded)
    assert [grid.topology.active_voxel_count for grid in decoded.grids] == CORRECT[name]


@pytest.mark.parametrize("name", PASSTHROUGH)
def test_what_is_not_coded_is_passed_through(corpus: Path, tmp_path: Path, name: str) -> None:
    original, decoded = round_trip(corpus / "hostile" / name, tmp_path)
    check_volume(original, decoded)
    assert {grid.position for grid in decoded.passthrough} == PASSTHROUGH[name].keys()
    for grid in decoded.passthrough:
        assert PASSTHROUGH[name][grid.position] in grid.reason, grid.reason


def test_nan_is_refused_or_kept(corpus: Path, tmp_path: Path) -> None:
    source = corpus / "hostile" / "has_nan.vdb"
    with pytest.raises(
        inrv.NonFiniteError,
        match=r"has_nan\.vdb: grid 0 'posdensity': 1 active voxel .* nan at index \(",
    ):
        inrv.encode(source, tmp_path / "out.inrv", QUICK)
    assert not list(tmp_path.iterdir()), "a failed encode leaves nothing behind"
    original, decoded = round_trip(source, tmp_path, replace(QUICK, nonfinite="keep"))
    check_volume(original, decoded)
    assert int((~np.isfinite(decoded.grids[0].values)).sum()) == 1


def test_doubles_are_coded_on_demand(corpus: Path, tmp_path: Path) -> None:
    source = corpus / "hostile" / "double_grid.vdb"
    report = inrv.encode(source, tmp_path / "out.inrv", replace(QUICK, doubles="float"))
    assert [(grid.name, grid.active_voxels) for grid in report.grids] == [
        ("density", 524_288)
    ] and not report.passthrough


def test_no_file_is_forgotten(corpus: Path) -> None:
    assert {
        path.name for path in corpus.glob("hostile/*.vdb")
    } == CORRECT.keys() | PASSTHROUGH.keys() | {"has_nan.vdb"}


def test_duplicate_names_keep_their_own_values(corpus: Path, tmp_path: Path) -> None:
    source = corpus / "hostile" / "duplicate_names.vdb"
    inrv.encode(source, tmp_path / "out.inrv", QUICK)
    volume = inrv.load(tmp_path / "out.inrv", device="cpu")
    assert [grid.name for grid in volume.grids] == ["density"] * 3
    assert [grid.active_voxel_count for grid in volume.grids] == CORRECT["duplicate_names.vdb"]
    assert volume["density"] is volume[0]
