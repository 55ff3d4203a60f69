"""Files are read and written by the type that their first bytes or their names tell."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from inrv import OptionError, SparseVolume, VdbError, files
from inrv.files import FileType, ReadOptions, WriteOptions, file_types
from inrv.files.vdb import read_volume, write_volume
from inrv.grids import sparse_grid
from inrv.support.inputs import Input
from testing.vdb.referee import HandTree, assert_same_bits, vdb_file

FOG = SparseVolume((sparse_grid(np.arange(60.0).reshape(3, 4, 5), "fog"),))


def only(volume: SparseVolume) -> np.ndarray:
    (grid,) = volume.grids
    assert grid.topology.box is not None
    return grid.dense(grid.topology.box)[..., 0]


class NpyFiles:
    """A second file type, as somebody adds it: NumPy's arrays."""

    def sniff(self, start: bytes) -> bool:
        return start.startswith(b"\x93NUMPY")

    def list_grids(self, source: Input) -> Sequence[files.ListedGrid]:
        raise OptionError("an array has no list of grids")

    def read(self, source: Input, options: ReadOptions) -> SparseVolume:
        with source.open() as file:
            return SparseVolume((sparse_grid(np.load(file), Path(source.name).stem),))

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        np.save(output, only(volume).astype(np.float16 if options.half else np.float32))
        return [f"grid {volume.grids[0].name!r} has no transform"]


FILE_TYPE: FileType = NpyFiles()


@pytest.fixture
def npy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "npy_files", sys.modules[__name__])
    monkeypatch.setitem(file_types.MODULES, ".npy", "npy_files")


def test_a_file_is_read_by_its_first_bytes_whatever_its_name(tmp_path: Path) -> None:
    for name in ("fog.vdb", "FOG.VDB", "fog", "fog.data"):
        files.write(tmp_path / name, FOG)
        assert_same_bits(files.read(tmp_path / name).grids[0], FOG.grids[0], but=["metadata"])
        assert [grid.name for grid in files.list_grids(tmp_path / name)] == ["fog"]
        data = (tmp_path / name).read_bytes()
        assert_same_bits(files.read(data).grids[0], FOG.grids[0], but=["metadata"])


def test_grids_are_chosen_and_doubles_rounded_as_asked(tmp_path: Path) -> None:
    data = vdb_file(HandTree("d").grid("a"), HandTree().grid("b"))
    assert [grid.name for grid in files.read(data).passthrough] == ["a"]
    assert [grid.name for grid in files.read(data, doubles="float").grids] == ["a", "b"]
    assert [grid.name for grid in files.read(data, [1]).grids] == ["b"]
    with pytest.raises(OptionError, match="no grid 'c'"):
        files.read(data, ["c"])


def test_a_file_object_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    written = io.BytesIO()
    files.write(written, FOG)
    write_volume(tmp_path / "fog.vdb", FOG)
    assert written.getvalue() == (tmp_path / "fog.vdb").read_bytes()
    unknown, nothing = SparseVolume(FOG.grids, vdb_version=(226, 0, 0)), io.BytesIO()
    with pytest.raises(VdbError, match=r"^VDB file version 226"):
        files.write(nothing, unknown)
    with pytest.raises(VdbError, match=r"out\.vdb: VDB file version 226"):
        files.write(tmp_path / "out.vdb", unknown)
    assert not nothing.getvalue() and not (tmp_path / "out.vdb").exists()


def test_what_is_of_no_type_is_an_error_that_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(VdbError, match=r"missing\.xyz cannot be read: No such file"):
        files.read(tmp_path / "missing.xyz")
    (tmp_path / "page.vdb").write_text("<html>")
    with pytest.raises(VdbError, match=r"page\.vdb: is a page of HTML"):
        files.read(tmp_path / "page.vdb")
    with pytest.raises(OptionError, match=r"'\.xyz' is of no known file type; known are \.vdb"):
        files.file_type(".xyz")
    with pytest.raises(OptionError, match="no known file type"):
        files.file_type(b"<html>")


@pytest.mark.usefixtures("npy")
def test_a_second_file_type_is_one_module_and_one_line_of_the_table(tmp_path: Path) -> None:
    assert files.file_type(".npy") is files.file_type(b"\x93NUMPY\1\0") is FILE_TYPE
    assert files.write(tmp_path / "half.npy", FOG, half=True) == ["grid 'fog' has no transform"]
    assert np.load(tmp_path / "half.npy").dtype == np.float16
    files.write(tmp_path / "fog.npy", FOG)
    assert np.array_equal(np.load(tmp_path / "fog.npy"), only(FOG))
    for source in (tmp_path / "fog.npy", (tmp_path / "fog.npy").read_bytes()):
        assert np.array_equal(only(files.read(source)), only(FOG))
    (tmp_path / "misnamed.vdb").write_bytes((tmp_path / "fog.npy").read_bytes())
    assert np.array_equal(only(files.read(tmp_path / "misnamed.vdb")), only(FOG))
    files.write(tmp_path / "fog.npy", FOG, ".vdb")
    assert read_volume(tmp_path / "fog.npy").grids[0].name == "fog"


def test_a_file_type_is_imported_when_it_is_used() -> None:
    code = "import sys, inrv.files; print('inrv.files.vdb' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
