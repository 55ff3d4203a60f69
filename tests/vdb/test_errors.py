"""What cannot be read or written is one error that says so."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inrv import BindingsError, OptionError, SparseVolume, UnsupportedGridError, VdbError
from inrv.grids import sparse_grid
from inrv.vdb import list_grids, load_bindings, read_volume, write_volume
from inrv.vdb.header import read_grid_header


@pytest.fixture
def fog(tmp_path: Path) -> Path:
    path = tmp_path / "fog.vdb"
    array = torch.rand(20, 20, 20, generator=torch.Generator().manual_seed(0))
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
    """Only our parser: OpenVDB itself can crash the process on damaged trees."""
    data, bad, refused = fog.read_bytes(), tmp_path / "bad.vdb", 0
    for at in range(0, list_grids(fog)[0].start + 300, 3):
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            for descriptor in list_grids(bad):
                read_grid_header(str(bad), descriptor)
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


def test_grids_of_other_types_are_named_with_the_cure(tmp_path: Path) -> None:
    module, path = load_bindings(), tmp_path / "mixed.vdb"
    mask, heat = module.BoolGrid(), module.FloatGrid()
    mask.name, heat.name = "inside", "heat"
    module.write(str(path), grids=[mask, heat])
    with pytest.raises(UnsupportedGridError, match=r"mixed\.vdb: grid 0 'inside' is of type Tree_bool_5_4_3.*--grid 'heat'"):
        read_volume(path)
    assert [grid.name for grid in read_volume(path, ["heat", 1]).grids] == ["heat"]
    with pytest.raises(OptionError, match="'cold'"):
        read_volume(path, ["cold"])


def test_frustum_transforms_are_named(tmp_path: Path) -> None:
    module, path = load_bindings(), tmp_path / "frustum.vdb"
    grid = module.FloatGrid()
    grid.name = "density"
    grid.transform = module.createFrustumTransform((0, 0, 0), (10, 10, 10), 0.5, 10.0, 0.1)
    module.write(str(path), grids=[grid])
    with pytest.raises(UnsupportedGridError, match="NonlinearFrustumMap"):
        read_volume(path)


def test_places_that_cannot_be_written(fog: Path, tmp_path: Path) -> None:
    volume = read_volume(fog)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(VdbError, match="No such file"):
        write_volume(tmp_path / "nowhere" / "out.vdb", volume)
    (tmp_path / "folder.vdb").mkdir()
    with pytest.raises(VdbError, match="Is a directory"):
        write_volume(tmp_path / "folder.vdb", volume)
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "folder.vdb"])


@pytest.fixture
def fresh_bindings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    load_bindings.cache_clear()
    yield monkeypatch
    load_bindings.cache_clear()


def test_missing_bindings_give_the_install_line(fresh_bindings: pytest.MonkeyPatch) -> None:
    fresh_bindings.setattr("inrv.vdb.bindings.find_spec", lambda _: None)
    with pytest.raises(BindingsError, match="apt-get install python3-openvdb"):
        load_bindings()


def test_numpy_2_is_refused_before_it_crashes(fresh_bindings: pytest.MonkeyPatch) -> None:
    fresh_bindings.setattr("inrv.vdb.bindings.find_spec", lambda name: None if name == "openvdb" else object())
    fresh_bindings.setattr(np, "__version__", "2.1.0")
    fresh_bindings.delitem(sys.modules, "pyopenvdb", raising=False)
    with pytest.raises(BindingsError, match=r"NumPy 2\.1\.0.*numpy<2"):
        load_bindings()
    assert "pyopenvdb" not in sys.modules
