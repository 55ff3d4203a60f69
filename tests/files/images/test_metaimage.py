"""MetaImage files, read and written, and read again by SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inrv import ImageFileError, files

SimpleITK = pytest.importorskip("SimpleITK")

SHAPE = (9, 12, 17)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
@pytest.mark.parametrize("more", [(), (3,)], ids=["scalars", "vectors"])
def test_metaimage(tmp_path: Path, dtype: str, more: tuple[int, ...]) -> None:
    array = np.abs(np.random.default_rng(2).normal(90, 30, (*SHAPE[::-1], *more))).astype(dtype)
    image = SimpleITK.GetImageFromArray(array, isVector=bool(more))
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-3.0, 4.0, 5.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / "scan.mha"))
    volume = files.read(tmp_path / "scan.mha")
    for name in ("back.mha", "back.nrrd", "back.nii"):
        if more and name == "back.nii":
            continue  # whose vectors ITK turns
        assert files.write(tmp_path / name, volume) == []
        back = SimpleITK.ReadImage(str(tmp_path / name))
        np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin(), rtol=1e-6)
        np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
        found = SimpleITK.GetArrayFromImage(back)
        assert found.dtype == np.dtype(dtype)
        assert np.array_equal(found.astype(np.float32), array.astype(np.float32))
    coordinates = volume.grids[0].topology.coordinates()[100].tolist()
    here = [*coordinates, 1] @ volume.grids[0].transform.array()
    np.testing.assert_allclose(here[:3], image.TransformIndexToPhysicalPoint(coordinates))


def test_a_series_is_a_fourth_axis(tmp_path: Path) -> None:
    series = np.arange(3 * 4 * 5 * 6, dtype=np.int16).reshape(3, 4, 5, 6)
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(series, isVector=False), str(tmp_path / "bold.mha")
    )
    volume = files.read(tmp_path / "bold.mha")
    assert [grid.name for grid in volume.grids] == ["bold.0", "bold.1", "bold.2"]
    files.write(tmp_path / "back.mha", volume)
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "back.mha")))
    assert np.array_equal(found, series)


def test_packed_numbers_that_are_damaged_are_refused(tmp_path: Path) -> None:
    path, array = tmp_path / "scan.mha", np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), useCompression=True)
    grid = files.read(path).grids[0]
    assert np.array_equal(grid.dense(grid.topology.box)[..., 0].T, array)
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    with pytest.raises(ImageFileError, match=r"scan\.mha"):
        files.read(path)


@pytest.mark.parametrize("sign", ["=", ":"])
def test_numbers_of_other_files_are_not_read(tmp_path: Path, sign: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    head = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"
    path = tmp_path / "scan.mha"
    path.write_text(f"{head}ElementDataFile {sign} {tmp_path / 'secret'}\n")
    with pytest.raises(ImageFileError, match=r"another file|has no ElementDataFile"):
        files.read(path)


def test_damage_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scan.mha").write_bytes(b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\n")
    with pytest.raises(ImageFileError, match=r"scan\.mha: its header has no ElementDataFile"):
        files.read(tmp_path / "scan.mha")
    (tmp_path / "scan.mha").write_bytes(b"NDims = x\nElementDataFile = LOCAL\n")
    with pytest.raises(
        ImageFileError, match=r"scan\.mha cannot be read as a MetaImage file: "
    ) as error:
        files.read(tmp_path / "scan.mha")
    assert "\n" not in str(error.value)
