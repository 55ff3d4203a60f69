"""What cannot be read or written is one error that says so."""

import struct
from pathlib import Path

import numpy as np
import pytest

from inrv import OptionError, OutputError, SparseVolume, VdbError
from inrv.files.vdb import list_grids, read_volume, write_volume
from inrv.files.vdb.header import NotCoded, read_grid_header
from inrv.grids import sparse_grid


@pytest.fixture
def fog(tmp_path: Path) -> Path:
    path = tmp_path / "fog.vdb"
    array = np.random.default_rng(0).random((20, 20, 20))
    write_volume(path, SparseVolume((sparse_grid(array, "density"), sparse_grid(array, "heat"))))
    return path


def test_truncated_at_any_length(fog: Path, tmp_path: Path) -> None:
    data = fog.read_bytes()
    cut = tmp_path / "cut.vdb"
    for length in [*range(0, 700, 23), *range(700, len(data), len(data) // 25)]:
        cut.write_bytes(data[:length])
        with pytest.raises(VdbError, match=r"cut\.vdb"):
            read_volume(cut)


def test_damaged_headers(fog: Path, tmp_path: Path) -> None:
    data, bad, refused = fog.read_bytes(), tmp_path / "bad.vdb", 0
    for at in range(0, list_grids(fog)[0].start + 300, 3):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            for descriptor in list_grids(bad):
                read_grid_header(str(bad), descriptor)
        except NotCoded:
            continue
        except VdbError as error:
            refused += 1
            assert "bad.vdb" in str(error)
    assert refused > 30


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(VdbError, match=r"missing\.vdb.*No such file"):
        read_volume(tmp_path / "missing.vdb")
    (tmp_path / "text.vdb").write_text("a text, not a volume")
    with pytest.raises(VdbError, match=r"not a \.vdb file"):
        list_grids(tmp_path / "text.vdb")


def test_future_file_versions(fog: Path) -> None:
    data = bytearray(fog.read_bytes())
    data[8:12] = struct.pack("<I", 300)
    fog.write_bytes(bytes(data))
    with pytest.raises(VdbError, match="version 300"):
        read_volume(fog)


def test_a_damaged_tree_is_an_error_or_another_tree(fog: Path, tmp_path: Path) -> None:
    data, bad, refused = fog.read_bytes(), tmp_path / "bad.vdb", 0
    for at in range(list_grids(fog)[0].start, len(data), 611):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            read_volume(bad)
        except VdbError as error:
            refused += 1
            assert "bad.vdb" in str(error)
    assert refused > 20


def test_choices_that_are_not_there(fog: Path) -> None:
    with pytest.raises(OptionError, match=r"fog\.vdb: no grid 'cold'; it holds 'density', 'heat'"):
        read_volume(fog, ["cold"])
    with pytest.raises(OptionError, match="`doubles='round'` is not one of passthrough, float"):
        read_volume(fog, doubles="round")


def test_places_that_cannot_be_written(fog: Path, tmp_path: Path) -> None:
    volume = read_volume(fog)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="No such file"):
        write_volume(tmp_path / "nowhere" / "out.vdb", volume)
    (tmp_path / "folder.vdb").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_volume(tmp_path / "folder.vdb", volume)
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "folder.vdb"])
