"""Raw numbers with a header beside them, and MetaImage and NRRD headers in a file of their own."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
from numpy.typing import NDArray

from inrv import ImageFileError, InrvError, OptionError, files
from inrv.files.images.raw import FILE_TYPE
from inrv.grids import Grid
from inrv.support.inputs import FileInput
from tests.files.images.vti_files import dense

SHAPE = (5, 6, 7)  # z, y, x


def numbers(dtype: str, *shape: int) -> NDArray[Any]:
    found = np.abs(np.random.default_rng(1).normal(50, 20, shape or SHAPE))
    return found.astype(np.float32).astype(dtype)


def raw(path: Path, array: NDArray[Any], **told: Any) -> None:
    """Raw numbers and their header."""
    path.write_bytes(bytes(max(0, told.get("skip", 0))) + array.tobytes())
    entries = {"shape": array.shape, "dtype": array.dtype.name} | told
    Path(f"{path}.json").write_text(json.dumps(entries))


def only(path: Path) -> Grid:
    (grid,) = files.read(path).grids
    return grid


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float64", "bool", "float16", ">u2", ">f4"])
def test_raw_numbers_come_back(tmp_path: Path, dtype: str) -> None:
    array = numbers("float32") > 50 if dtype == "bool" else numbers(dtype)
    told = {"endian": "big"} if dtype[0] == ">" else {}
    raw(tmp_path / "a scan.raw", array, spacing=[0.5, 1, 2], origin=[1, 2, 3], skip=7, **told)
    grid = only(tmp_path / "a scan.raw")
    assert grid.name == "a scan" and only(tmp_path / "a scan.raw.json").name == "a scan"
    assert np.array_equal(dense(grid), array.T.astype(np.float32))
    assert np.diag(grid.transform.array()).tolist() == [0.5, 1, 2, 1]
    assert grid.transform.array()[3].tolist() == [1, 2, 3, 1]
    assert files.write(tmp_path / "back.raw", files.read(tmp_path / "a scan.raw")) == []
    plain = np.dtype(dtype).newbyteorder("<")
    assert np.array_equal(np.fromfile(tmp_path / "back.raw", plain).reshape(SHAPE), array)
    again = only(tmp_path / "back.raw")
    assert np.array_equal(again.transform.array(), grid.transform.array())


def test_axes_order_slope_and_affine_are_as_the_header_tells(tmp_path: Path) -> None:
    array = numbers("int16", 6, 7, 5, 3)
    affine = [[0, 1, 0, 5], [-1, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]]
    told = {"axes": "yxzv", "affine": affine, "slope": 0.5, "intercept": -3, "space": "LPS"}
    raw(tmp_path / "a.raw", array, **told)
    grid = only(tmp_path / "a.raw")
    assert np.array_equal(dense(grid), array.transpose(1, 0, 2, 3) * 0.5 - 3)
    assert np.array_equal(grid.transform.array().T, affine)
    files.write(tmp_path / "b.raw", files.read(tmp_path / "a.raw"))
    assert (tmp_path / "b.raw").read_bytes() == (tmp_path / "a.raw").read_bytes()
    back = json.loads((tmp_path / "b.raw.json").read_text())
    assert back["axes"] == "yxzv" and back["slope"] == 0.5 and back["space"] == "LPS"
    by_columns = np.asfortranarray(numbers("int16"))
    (tmp_path / "f.raw").write_bytes(by_columns.tobytes("F"))
    entries = {"shape": SHAPE, "dtype": "int16", "order": "F"}
    (tmp_path / "f.raw.json").write_text(json.dumps(entries))
    assert np.array_equal(dense(only(tmp_path / "f.raw")), by_columns.T)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"shape": [5, 6, 8]}, "it has 420 bytes where 480 belong"),
        ({"shape": [5, 6, 6]}, "it has 420 bytes where its header tells of 360"),
        ({"shape": [5, 6, -7]}, "no list of whole numbers"),
        ({"shape": [99999, 99999, 99999]}, "bytes where"),
        ({"dtype": "O"}, "no type of real numbers"),
        ({"dtype": "complex64"}, "no type of real numbers"),
        ({"axes": "zyy"}, "axes 'zyy' are not letters"),
        ({"axes": "zyxt"}, "axes 'zyxt' are 4 letters for an array of 3 axes"),
        ({"order": "K"}, "order 'K', not one of C, F"),
        ({"skip": -1}, "skip -1"),
        ({"spacing": [1, "a", 2]}, "spacing"),
        ({"spacings": [1, 1, 1]}, r"\['spacings'\]: known are shape"),
        ({"slope": 0}, "the slope 0"),
    ],
)
def test_headers_that_do_not_fit_are_told(tmp_path: Path, told: Any, words: str) -> None:
    raw(tmp_path / "a.raw", numbers("int16"), **told)
    with pytest.raises(ImageFileError, match=words) as error:
        files.read(tmp_path / "a.raw")
    assert "a.raw" in str(error.value) and "\n" not in str(error.value)


def test_numbers_without_a_header_or_with_that_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(60))
    with pytest.raises(ImageFileError, match=r"put a header beside it, as \.raw\.json"):
        files.read(tmp_path / "a.raw")
    with pytest.raises(ImageFileError, match="nothing tells what its numbers are"):
        FILE_TYPE.read(FileInput("a.raw", str(tmp_path / "a.raw")), files.ReadOptions())
    (tmp_path / "a.mhd").write_text("NDims = 3\nElementDataFile = b.raw\n")
    with pytest.raises(ImageFileError, match=r"a\.mhd beside it is the header of other ones"):
        files.read(tmp_path / "a.raw")


@pytest.mark.parametrize("name", ["../a.raw", "/etc/passwd", "sub/a.raw", "..", "c:\\a.raw"])
def test_numbers_lie_in_the_folder_of_their_header(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.raw").write_bytes(bytes(8))
    for header in ("sub/x.mhd", "sub/x.nhdr", "sub/x.dat"):
        path = tmp_path / header
        if header.endswith("mhd"):
            path.write_text(f"NDims = 3\nDimSize = 2 2 2\nElementDataFile = {name}\n")
        elif header.endswith("nhdr"):
            path.write_text(f"NRRD0004\ntype: uint8\ndata file: {name}\n")
        else:
            path.write_text(f"ObjectFileName: {name}\nResolution: 2 2 2\nFormat: UCHAR\n")
        if (header, name) == ("sub/x.mhd", "sub/a.raw"):
            continue
        with pytest.raises(
            ImageFileError, match=r"from a file in the same folder alone|has the size"
        ):
            files.read(path)


def test_dat_headers_are_read(tmp_path: Path) -> None:
    array = numbers("uint16")
    array.astype("<u2").tofile(tmp_path / "head.raw")
    text = (
        "ObjectFileName: head.raw\nTaggedFileName: ---\nResolution: 7 6 5\n"
        "SliceThickness: 1 1 2.5\nFormat: USHORT\nObjectModel: I\n"
    )
    (tmp_path / "head.dat").write_text(text)
    for name in ("head.dat", "head.raw"):
        grid = only(tmp_path / name)
        assert np.array_equal(dense(grid), array.T) and grid.transform.array()[2, 2] == 2.5


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
@pytest.mark.parametrize("more", [(), (3,)], ids=["scalars", "vectors"])
def test_headers_of_nrrd_and_metaimage_come_back(
    tmp_path: Path, dtype: str, more: tuple[int, ...]
) -> None:
    array = numbers(dtype, *SHAPE, *more)
    told = {"affine": [[0, 0.5, 0, 5], [-1, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]], "space": "LPS"}
    raw(tmp_path / "a.raw", array, **told)
    volume = files.read(tmp_path / "a.raw")
    for name in ("b.mhd", "b.nhdr"):
        assert files.write(tmp_path / name, volume) == []
        assert (tmp_path / "b.raw").read_bytes() == array.tobytes()
        again = only(tmp_path / name)
        assert np.array_equal(again.values, volume.grids[0].values)
        assert np.array_equal(again.transform.array().T, told["affine"])
        assert [own.name for own in files.list_grids(tmp_path / name)] == ["b"]
    values, header = nrrd.read(str(tmp_path / "b.nhdr"), index_order="C")
    assert np.array_equal(values, array) and values.dtype == array.dtype
    assert header["space"] == "left-posterior-superior"


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
@pytest.mark.parametrize("packed", [False, True])
def test_itk_reads_what_we_write_and_we_what_it_writes(
    tmp_path: Path, dtype: str, packed: bool
) -> None:
    itk: Any = pytest.importorskip("SimpleITK")
    array = numbers(dtype, *SHAPE, 3)
    image = itk.GetImageFromArray(array, isVector=True)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-3.0, 4.0, 5.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    itk.WriteImage(image, str(tmp_path / "a.mhd"), useCompression=packed)
    volume = files.read(tmp_path / "a.mhd")
    here = [1, 2, 3, 1] @ volume.grids[0].transform.array()
    np.testing.assert_allclose(here[:3], image.TransformIndexToPhysicalPoint((1, 2, 3)))
    for name in ("back.mhd", "back.nhdr"):
        assert files.write(tmp_path / name, volume) == []
        back = itk.ReadImage(str(tmp_path / name))
        assert np.array_equal(itk.GetArrayFromImage(back), array)
        np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin())
        np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing())


def test_metaimage_of_big_endian_numbers_behind_a_header(tmp_path: Path) -> None:
    text = "NDims = 3\nDimSize = 7 6 5\nElementType = MET_SHORT\nHeaderSize = {}\n"
    text += "ElementByteOrderMSB = True\nElementDataFile = a.raw\n"
    (tmp_path / "a.raw").write_bytes(bytes(11) + numbers(">i2").tobytes())
    for size in (11, -1):
        (tmp_path / "a.mhd").write_text(text.format(size))
        assert np.array_equal(dense(only(tmp_path / "a.mhd")), numbers("int16").T)
    for size in (12, 10**9):
        (tmp_path / "a.mhd").write_text(text.format(size))
        with pytest.raises(ImageFileError, match="bytes where"):
            files.read(tmp_path / "a.mhd")


def test_a_pair_is_written_to_a_path_and_its_header_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw(tmp_path / "a.raw", numbers("int16"))
    volume = files.read(tmp_path / "a.raw")
    with (tmp_path / "b.mhd").open("wb") as file, pytest.raises(OptionError, match="two files"):
        files.write(file, volume, ".mhd")
    assert files.written_paths("x/b.mhd") == ("x/b.raw", "x/b.mhd")
    seen = []

    def failing(target: Any, pieces: Any) -> None:
        seen.extend(sorted(os.listdir(tmp_path / "out")))
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("inrv.files.file_types.write_pieces", failing)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "out" / "c.nhdr", volume)
    assert seen == ["c.raw"] and not (tmp_path / "out" / "c.nhdr").exists()


def test_damaged_headers_are_one_line(tmp_path: Path) -> None:
    raw(tmp_path / "a.raw", numbers("int16"))
    for name in ("b.mhd", "b.nhdr", "b.raw"):
        files.write(tmp_path / name, files.read(tmp_path / "a.raw"))
        header = tmp_path / (name if name != "b.raw" else "b.raw.json")
        data = header.read_bytes()
        random = np.random.default_rng(0)
        for place in random.integers(0, len(data), 80).tolist():
            bent = bytearray(data)
            bent[place] ^= int(random.integers(1, 256))
            header.write_bytes(bytes(bent))
            try:
                files.read(tmp_path / name)
            except InrvError as error:
                assert "\n" not in str(error)
        for end in range(0, len(data), 17):
            header.write_bytes(data[:end])
            try:
                files.read(tmp_path / name)
            except InrvError as error:
                assert "\n" not in str(error)
        header.write_bytes(data)
    assert struct.calcsize("<h") * 210 == (tmp_path / "b.raw").stat().st_size


def test_numbers_with_two_headers_are_refused(tmp_path: Path) -> None:
    numbers = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    np.save(tmp_path / "x.npy", numbers)
    volume = files.read(tmp_path / "x.npy")
    files.write(tmp_path / "x.raw", volume)
    files.write(tmp_path / "x.mhd", volume)
    with pytest.raises(ImageFileError, match=r"several headers .*x\.raw\.json, x\.mhd"):
        files.read(tmp_path / "x.raw")
    for name in ("x.mhd", "x.raw.json"):
        found = files.read(tmp_path / name).grids[0]
        assert np.array_equal(dense(found), numbers)
