"""What real pipelines also produce: each file ends in a correct result or in one clear error."""

from __future__ import annotations

from pathlib import Path

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

# Which error, and what its message names besides the file: the grid and the reason.
ERRORS = {
    "double_grid.vdb": (inrv.UnsupportedGridError, ["density", "double"]),
    "has_nan.vdb": (inrv.NonFiniteError, ["posdensity", "NaN"]),
    "int32_and_empty.vdb": (inrv.UnsupportedGridError, ["obstacles", "int32"]),
    "points_only.vdb": (inrv.UnsupportedGridError, ["points", "ptdataidx32"]),
    "unregistered_codec.vdb": (inrv.UnsupportedGridError, ["ptdataidx32"]),
    "unregistered_map.vdb": (inrv.VdbError, ["Affine Map"]),
}


@pytest.mark.parametrize("name", CORRECT)
def test_correct_result(corpus: Path, tmp_path: Path, name: str) -> None:
    original, decoded = round_trip(corpus / "hostile" / name, tmp_path)
    check_volume(original, decoded)
    assert [grid.topology.active_voxel_count for grid in decoded.grids] == CORRECT[name]


@pytest.mark.parametrize("name", ERRORS)
def test_clear_error(corpus: Path, tmp_path: Path, name: str) -> None:
    kind, words = ERRORS[name]
    with pytest.raises(kind) as caught:
        inrv.encode(corpus / "hostile" / name, tmp_path / "out.inrv", QUICK)
    message = str(caught.value)
    assert "\n" not in message
    for word in [name, *words]:
        assert word in message
    assert not list(tmp_path.iterdir()), "a failed encode leaves nothing behind"


def test_no_file_is_forgotten(corpus: Path) -> None:
    assert {path.name for path in corpus.glob("hostile/*.vdb")} == CORRECT.keys() | ERRORS.keys()


def test_duplicate_names_keep_their_own_values(corpus: Path, tmp_path: Path) -> None:
    source = corpus / "hostile" / "duplicate_names.vdb"
    inrv.encode(source, tmp_path / "out.inrv", QUICK)
    volume = inrv.load(tmp_path / "out.inrv", device="cpu")
    assert [grid.name for grid in volume] == ["density"] * 3
    assert [grid.active_voxel_count for grid in volume] == CORRECT["duplicate_names.vdb"]
    assert volume["density"] is volume[0]
