"""VTK's image data: every form of its XML, and what VTK itself reads of ours."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inrv import Box, ImageFileError, InrvError, SparseVolume, Transform, files
from inrv.grids import sparse_grid
from tests.files.images.vti_files import DENSITY, EXTENT, HEAT, SHAPE, WIND, dense, vti

FORMS = [
    (form, packed, wide, big)
    for form, packed, wide, big in itertools.product(
        ("ascii", "binary", "raw", "base64"), (False, True), (False, True), (False, True)
    )
    if form != "ascii" or not packed
]


@pytest.mark.parametrize(("form", "packed", "wide", "big"), FORMS)
def test_every_form_of_the_file_is_read(form: str, packed: bool, wide: bool, big: bool) -> None:
    density, wind, heat = files.read(vti(form, packed, wide, big)).grids
    assert [density.name, wind.name, heat.name] == ["density", "wind", "heat"]
    assert np.array_equal(dense(density), DENSITY) and np.array_equal(dense(wind), WIND)
    assert np.array_equal(dense(heat), HEAT)
    # Point (2, -1, 0) is the first: 1 + 0.25 along x, as the axis y is turned, 2 + 1 along y.
    np.testing.assert_allclose(density.transform.array()[3], [1.25, 3, 3, 1])
    np.testing.assert_allclose([1, 0, 0, 0] @ density.transform.array(), [0, 0.5, 0, 0])
    np.testing.assert_allclose(heat.transform.array()[3], [1.125, 3.25, 4, 1])


@pytest.mark.parametrize("compress", [True, False])
def test_all_arrays_of_a_box_are_written_with_their_place_and_time(
    tmp_path: Path, compress: bool
) -> None:
    volume = files.read(vti("raw", True, False, False))
    assert files.write(tmp_path / "back.vti", volume, compress=compress) == []
    data = (tmp_path / "back.vti").read_bytes()
    for words in (f'WholeExtent="{EXTENT}"', 'Origin="1.0 2.0 3.0"', ">1.25</DataArray>"):
        assert words.encode() in data
    for grid, again in zip(volume.grids, files.read(data).grids, strict=True):
        assert grid.name == again.name and np.array_equal(dense(grid), dense(again))
        assert np.array_equal(grid.transform.array(), again.transform.array())
    assert [own.name for own in files.read(data, ["heat", 0]).grids] == ["heat", "density"]


def test_sparse_grids_of_one_transform_get_one_box(tmp_path: Path) -> None:
    frame = Transform.from_voxel_size(0.5)
    fog = sparse_grid(np.ones((3, 4, 5)), "fog", frame)
    heat = sparse_grid(np.ones((3, 3, 3)), "heat", frame, origin=(2, 2, 2))
    other = sparse_grid(np.ones((3, 3, 3)), "other")
    lost = files.write(tmp_path / "scene.vti", SparseVolume((fog, heat, other)))
    assert lost == ["grid 'other' is left out: it lies in another box than the first one"]
    first, second = files.read(tmp_path / "scene.vti").grids
    assert first.topology.box == second.topology.box == Box((0, 0, 0), (4, 4, 4))
    assert dense(first).sum() == 60 and dense(second).sum() == 27


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float64", "bool", "float16"])
def test_numbers_of_any_type_come_back(tmp_path: Path, dtype: str) -> None:
    array = (DENSITY > 50) if dtype == "bool" else np.abs(DENSITY).astype(dtype)
    np.save(tmp_path / "array.npy", array)
    lost = files.write(tmp_path / "array.vti", files.read(tmp_path / "array.npy"))
    assert len(lost) == (dtype in ("bool", "float16"))
    (grid,) = files.read(tmp_path / "array.vti").grids
    assert np.array_equal(dense(grid), array.astype(np.float32))


def test_pieces_are_joined_and_must_fill_the_box() -> None:
    low, high = ("0 1 0 0 0 0", "1 2"), ("1 2 0 0 0 0", "2 3")
    assert dense(files.read(_in_pieces(low, high)).grids[0]).ravel().tolist() == [1, 2, 3]
    for pieces, words in (
        ([low], "it has 2 bytes where 3 belong"),
        ([low, low], "leave a part of the box without values"),
        ([low, ("2 3 0 0 0 0", "2 3")], "outside of"),
        ([low, ("1 2 0 0 0 0", "2")], "it has 1 bytes where 2 belong"),
    ):
        with pytest.raises(ImageFileError, match=words):
            files.read(_in_pieces(*pieces))


def _in_pieces(*pieces: tuple[str, str]) -> bytes:
    tag = '<DataArray type="UInt8" Name="a" format="ascii">'
    inner = "".join(
        f'<Piece Extent="{extent}"><PointData>{tag}{words}</DataArray></PointData></Piece>'
        for extent, words in pieces
    )
    image = f'<ImageData WholeExtent="0 2 0 0 0 0">{inner}</ImageData>'
    return f'<VTKFile type="ImageData">{image}</VTKFile>'.encode()


def test_texts_that_are_no_numbers_of_their_type_are_refused() -> None:
    for words in ("1 2 300", "1 -1 2", "1 2 3.5", "1 2 x"):
        with pytest.raises(ImageFileError) as error:
            files.read(_in_pieces(("0 2 0 0 0 0", words)))
        assert "\n" not in str(error.value)


def test_entities_and_other_data_are_refused() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "bbbb">]>' + _in_pieces(("0 2 0 0 0 0", "1 2 3"))
    with pytest.raises(ImageFileError, match="its XML has a document type"):
        files.read(bomb)
    other = _in_pieces(("0 2 0 0 0 0", "1 2 3")).replace(b'type="ImageData"', b'type="PolyData"')
    with pytest.raises(ImageFileError, match="it holds 'PolyData': only ImageData is read"):
        files.read(other)


@pytest.mark.parametrize("form", ["ascii", "binary", "raw", "base64"])
def test_damage_is_one_line_or_no_harm(form: str) -> None:
    data = vti(form, form != "ascii", False, False)
    random = np.random.default_rng(0)
    for length in (40, 300, len(data) // 2, len(data) - 300):
        with pytest.raises(ImageFileError) as error:
            files.read(data[:length], ["heat"])
        assert "\n" not in str(error.value)
    for place in random.integers(0, len(data), 80).tolist():
        bent = bytearray(data)
        bent[place] ^= int(random.integers(1, 256))
        try:
            files.read(bytes(bent))
        except InrvError as error:
            assert "\n" not in str(error)


def test_what_a_header_claims_takes_no_memory() -> None:
    wide = EXTENT.replace("5", "2000").replace("6", "2000").replace("3", "2000").encode()
    tracemalloc.start()
    for form, packed in (("raw", False), ("raw", True), ("binary", True), ("ascii", False)):
        data = vti(form, packed, True, False).replace(EXTENT.encode(), wide)
        with pytest.raises(ImageFileError, match="bytes where"):
            files.read(data)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_vtk_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    vtk: Any = pytest.importorskip("vtk")
    support: Any = pytest.importorskip("vtk.util.numpy_support")
    files.write(tmp_path / "ours.vti", files.read(vti("raw", True, False, False)))
    reader = vtk.vtkXMLImageDataReader()
    reader.SetFileName(str(tmp_path / "ours.vti"))
    reader.Update()
    image = reader.GetOutput()
    points = support.vtk_to_numpy(image.GetPointData().GetArray("density"))
    assert np.array_equal(points.reshape(SHAPE[::-1]).T, DENSITY)
    assert image.GetPoint(0) == (1.25, 3, 3)
    writer = vtk.vtkXMLImageDataWriter()
    writer.SetInputData(image)
    for mode, compressor in itertools.product(range(3), ("ZLib", "LZ4", "LZMA", "None")):
        writer.SetDataMode(mode)
        getattr(writer, f"SetCompressorTypeTo{compressor}")()
        writer.SetFileName(str(tmp_path / "theirs.vti"))
        writer.Write()
        density, wind, heat = files.read(tmp_path / "theirs.vti").grids
        assert np.array_equal(dense(density), DENSITY) and np.array_equal(dense(wind), WIND)
        assert np.array_equal(dense(heat), HEAT)
