"""Dense images: each file type read and written, and read again by its own library."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, ImageFileError, OptionError, SparseVolume, files
from inrv.grids import sparse_grid

SHAPE = (9, 12, 17)
MATRIX = np.array([[-2.0, 0.1, 0, 5], [0.1, 2.0, 0, -7], [0, 0, 3.0, 11], [0, 0, 0, 1]])


def numbers(dtype: str, *more: int) -> NDArray[Any]:
    found = np.abs(np.random.default_rng(1).normal(100, 40, (*SHAPE, *more)))
    return found.astype(dtype)


def through_inrv(path: Path, **asked: Any) -> SparseVolume:
    data, _ = inrv.encode_bytes(path, EncodeOptions(effort="instant", device="cpu", **asked))
    return inrv.load(data, "cpu").to_sparse()


def nifti(path: Path, array: NDArray[Any], **header: Any) -> None:
    image = nibabel.Nifti1Image(array, MATRIX)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a phantom"
    image.header["pixdim"][4] = 2.5
    if header:
        image.header.set_slope_inter(header["slope"], header["inter"])
    nibabel.save(image, path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "int32"])
def test_nifti_comes_back_in_its_own_type(tmp_path: Path, dtype: str, suffix: str) -> None:
    array = numbers(dtype)
    nifti(tmp_path / f"scan{suffix}", array)
    volume = files.read(tmp_path / f"scan{suffix}")
    assert [grid.name for grid in volume.grids] == ["scan"]
    assert files.write(tmp_path / f"back{suffix}", volume) == []
    back = nibabel.load(tmp_path / f"back{suffix}")
    assert back.get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(back.get_fdata(dtype=np.float32), array.astype(np.float32))
    np.testing.assert_allclose(back.affine, MATRIX, rtol=1e-6)
    assert back.header.get_xyzt_units() == ("mm", "sec") and back.header["pixdim"][4] == 2.5
    assert bytes(back.header["descrip"]).rstrip(b"\0") == b"a phantom"


def test_nifti_with_a_slope_keeps_its_numbers(tmp_path: Path) -> None:
    raw = numbers("int16")
    image = nibabel.Nifti1Image(raw, MATRIX)
    image.header.set_slope_inter(0.125, -1024)
    data = bytearray(image.to_bytes())
    (tmp_path / "ct.nii").write_bytes(bytes(data))
    theirs = nibabel.load(tmp_path / "ct.nii")
    assert theirs.dataobj.slope == 0.125
    stored = theirs.dataobj.get_unscaled()
    volume = through_inrv(tmp_path / "ct.nii", max_error=0.0625)
    grid = volume.grids[0]
    box = inrv.Box((0, 0, 0), tuple(size - 1 for size in SHAPE))  # type: ignore[arg-type]
    assert np.abs(grid.dense(box)[..., 0] - theirs.get_fdata()).max() <= 0.0625
    files.write(tmp_path / "back.nii", volume)
    back = nibabel.load(tmp_path / "back.nii")
    assert (back.dataobj.slope, back.dataobj.inter) == (0.125, -1024)
    assert np.array_equal(back.dataobj.get_unscaled(), stored)


def test_half_a_unit_is_lossless_for_integers(tmp_path: Path) -> None:
    array = numbers("int16")
    nifti(tmp_path / "ct.nii.gz", array)
    for bound, most in ((0.5, 0), (3, 3)):
        volume = through_inrv(tmp_path / "ct.nii.gz", max_error=bound, exact_below=0)
        files.write(tmp_path / "back.nii.gz", volume)
        back = np.asanyarray(nibabel.load(tmp_path / "back.nii.gz").dataobj)
        assert back.dtype == np.int16 and np.abs(back.astype(int) - array).max() == most


def test_a_series_is_a_grid_a_moment(tmp_path: Path) -> None:
    series = numbers("int16", 11)
    nifti(tmp_path / "bold.nii", series)
    volume = files.read(tmp_path / "bold.nii")
    assert [grid.name for grid in volume.grids][:2] == ["bold.00", "bold.01"]
    assert [own.name for own in files.list_grids(tmp_path / "bold.nii")][-1] == "bold.10"
    assert files.write(tmp_path / "back.nii", volume) == []
    assert np.array_equal(np.asanyarray(nibabel.load(tmp_path / "back.nii").dataobj), series)
    some = files.read(tmp_path / "bold.nii", ["bold.03", 7])
    assert files.write(tmp_path / "some.nii", some) == []
    found = np.asanyarray(nibabel.load(tmp_path / "some.nii").dataobj)
    assert np.array_equal(found, series[..., [3, 7]])
    with pytest.raises(OptionError, match=r"no grid 'bold\.3'"):
        files.read(tmp_path / "bold.nii", ["bold.3"])


def test_vectors(tmp_path: Path) -> None:
    vectors = numbers("float32", 1, 3)
    nifti(tmp_path / "flow.nii", vectors)
    (grid,) = files.read(tmp_path / "flow.nii").grids
    assert grid.value_type == "vec3s"
    for name in ("flow.nii.gz", "flow.nrrd", "flow.npy", "flow.vol"):
        files.write(tmp_path / name, SparseVolume((grid,)))
    back = np.asanyarray(nibabel.load(tmp_path / "flow.nii.gz").dataobj)
    assert np.array_equal(back, vectors)
    values, header = nrrd.read(str(tmp_path / "flow.nrrd"))
    assert np.array_equal(np.moveaxis(values, 0, -1), vectors[:, :, :, 0])
    assert header["kinds"][0] == "vector"
    assert np.array_equal(np.load(tmp_path / "flow.npy"), vectors[:, :, :, 0])
    for name in ("flow.nrrd", "flow.npy", "flow.vol"):
        (again,) = files.read(tmp_path / name).grids
        assert np.array_equal(again.values, grid.values)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "uint32"])
def test_nrrd(tmp_path: Path, dtype: str) -> None:
    array = numbers(dtype)
    header = {
        "space": "left-posterior-superior",
        "space directions": MATRIX[:3, :3].T,
        "space origin": MATRIX[:3, 3],
        "kinds": ["domain"] * 3,
        "patient": "a phantom",
    }
    nrrd.write(str(tmp_path / "scan.nrrd"), array, header)
    volume = files.read(tmp_path / "scan.nrrd")
    assert files.write(tmp_path / "back.nrrd", volume) == []
    values, told = nrrd.read(str(tmp_path / "back.nrrd"))
    assert values.dtype == np.dtype(dtype)
    assert np.array_equal(values.astype(np.float32), array.astype(np.float32))
    np.testing.assert_array_equal(told["space directions"], header["space directions"])
    np.testing.assert_array_equal(told["space origin"], header["space origin"])
    assert told["space"] == header["space"] and told["patient"] == "a phantom"


def test_world_space_is_turned_between_nrrd_and_nifti(tmp_path: Path) -> None:
    header = {
        "space": "left-posterior-superior",
        "space directions": MATRIX[:3, :3].T,
        "space origin": MATRIX[:3, 3],
    }
    nrrd.write(str(tmp_path / "scan.nrrd"), numbers("int16"), header)
    files.write(tmp_path / "scan.nii", files.read(tmp_path / "scan.nrrd"))
    found = nibabel.load(tmp_path / "scan.nii")
    np.testing.assert_allclose(found.affine, np.diag([-1, -1, 1, 1]) @ MATRIX, rtol=1e-6)
    assert found.get_data_dtype() == np.int16


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
def test_mrc(tmp_path: Path, dtype: str) -> None:
    array = (numbers("float32") / 4).astype(dtype)
    with mrcfile.new(tmp_path / "map.mrc") as file:
        file.set_data(np.ascontiguousarray(array.transpose()))
        file.voxel_size = (1.5, 2.0, 2.5)
        file.header.origin.x = 30
        file.add_label("a phantom")
    volume = files.read(tmp_path / "map.mrc")
    assert files.write(tmp_path / "back.mrc", volume) == []
    if dtype != "float16":  # of whose numbers it sums the squares in 16 bits
        assert mrcfile.validate(tmp_path / "back.mrc", print_file=io.StringIO())
    with mrcfile.open(tmp_path / "back.mrc") as file:
        assert file.data.dtype == np.dtype(dtype) and np.array_equal(file.data.T, array)
        assert file.voxel_size.tolist() == (1.5, 2.0, 2.5) and file.header.origin.x == 30
        assert any("a phantom" in label for label in file.get_labels())
    assert np.allclose(volume.grids[0].transform.array()[3, :3], [30, 0, 0])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16", "float64"])
def test_tiff(tmp_path: Path, dtype: str) -> None:
    array = numbers(dtype)
    imagej = dtype in ("uint8", "uint16", "float32")
    tifffile.imwrite(
        tmp_path / "stack.tif",
        np.ascontiguousarray(array.transpose()),
        imagej=imagej,
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": "um"},
        resolution=(1 / 0.5, 1 / 0.25),
    )
    volume = files.read(tmp_path / "stack.tif")
    assert files.write(tmp_path / "back.tif", volume) == []
    with tifffile.TiffFile(tmp_path / "back.tif") as file:
        back = file.series[0]
        found = back.asarray().T.astype(np.float32)
        assert back.axes == "ZYX" and np.array_equal(found, array.astype(np.float32))
        assert back.dtype == np.dtype(dtype)
        if imagej:
            assert file.imagej_metadata["spacing"] == 3.0 and file.imagej_metadata["unit"] == "um"
    edges = np.diag(volume.grids[0].transform.array())[:3]
    np.testing.assert_allclose(edges, [0.5, 0.25, 3.0] if imagej else [1, 1, 1])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_ome_tiff_keeps_the_size_of_a_voxel(tmp_path: Path, dtype: str) -> None:
    array = numbers(dtype, 2)
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2000.0}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm", "PhysicalSizeZUnit": "nm"}
    tifffile.imwrite(
        tmp_path / "cells.ome.tif",
        np.ascontiguousarray(array.transpose(3, 2, 1, 0)),
        metadata={"axes": "CZYX", **sizes, **units},
        ome=True,
    )
    volume = files.read(tmp_path / "cells.ome.tif")
    assert [grid.name for grid in volume.grids] == ["cells.0", "cells.1"]
    edges = np.diag(volume.grids[0].transform.array())[:3]
    np.testing.assert_allclose(edges, [0.5, 0.25, 2.0])
    assert files.write(tmp_path / "back.tif", volume) == []
    with tifffile.TiffFile(tmp_path / "back.tif") as file:
        assert file.is_ome and file.series[0].dtype == np.dtype(dtype)
        axes, found = file.series[0].axes, file.asarray()
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert axes == "ZCYX"
    assert np.array_equal(found.transpose(3, 2, 0, 1), array.astype(np.float32).astype(dtype))
    np.testing.assert_allclose([pixels[f"PhysicalSize{axis}"] for axis in "XYZ"], [0.5, 0.25, 2.0])
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "XYZ"} == {"µm"}


def test_units_of_ome_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeZ": 2.0}
    metadata |= {"PhysicalSizeZUnit": "pixel"}
    tifffile.imwrite(tmp_path / "a.tif", numbers("uint8").T, ome=True, metadata=metadata)
    with pytest.raises(ImageFileError, match=r"a\.tif: .* units that do not compare"):
        files.read(tmp_path / "a.tif")


def test_hyperstacks_of_imagej_keep_their_spacing(tmp_path: Path) -> None:
    array = numbers("uint16", 2, 3)  # times, channels
    tifffile.imwrite(
        tmp_path / "stack.tif",
        np.ascontiguousarray(array.transpose(3, 2, 4, 1, 0)),
        imagej=True,
        metadata={"axes": "TZCYX", "spacing": 3.0, "unit": "um"},
        resolution=(1 / 0.5, 1 / 0.25),
    )
    volume = files.read(tmp_path / "stack.tif")
    assert len(volume.grids) == 6
    assert files.write(tmp_path / "back.tif", volume) == []
    with tifffile.TiffFile(tmp_path / "back.tif") as file:
        assert file.is_imagej and file.series[0].axes == "TZCYX"
        told = file.imagej_metadata
        assert (told["spacing"], told["unit"], told["frames"]) == (3.0, "um", 2)
        assert np.array_equal(file.asarray().transpose(4, 3, 1, 0, 2), array)
    edges = np.diag(files.read(tmp_path / "back.tif").grids[0].transform.array())[:3]
    np.testing.assert_allclose(edges, [0.5, 0.25, 3.0])


def test_units_of_imagej_are_ascii_there(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": 3.0, "unit": "\\u00B5m"}  # as ImageJ writes it
    tifffile.imwrite(tmp_path / "a.tif", numbers("uint8").T, imagej=True, metadata=metadata)
    volume = files.read(tmp_path / "a.tif")
    (grid,) = volume.grids
    text = str(grid.metadata["image_source"].value).replace("\\\\u00B5m", "µm")
    for found in (volume, SparseVolume((replace(grid, metadata={"image_source": text}),))):
        assert files.write(tmp_path / "back.tif", found) == []
        with tifffile.TiffFile(tmp_path / "back.tif") as file:
            assert file.imagej_metadata["unit"] in ("\\u00B5m", "µm")


def test_scans_in_tiff_are_in_millimetres(tmp_path: Path) -> None:
    series = numbers("int16", 2)
    nibabel.save(nibabel.Nifti1Image(series, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "bold.nii")
    assert files.write(tmp_path / "bold.tif", files.read(tmp_path / "bold.nii")) == []
    with tifffile.TiffFile(tmp_path / "bold.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeZ"], pixels["PhysicalSizeZUnit"]) == (3.0, "mm")
        assert np.array_equal(file.asarray().transpose(3, 2, 1, 0), series)


def test_series_of_a_tiff_file_are_grids(tmp_path: Path) -> None:
    first, second = numbers("int16"), numbers("uint8", 2)[:4]
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        writer.write(np.ascontiguousarray(first.T), metadata={"axes": "ZYX"})
        writer.write(np.ascontiguousarray(second.T), metadata={"axes": "CZYX"})
    names = ["two", "two.series1.0", "two.series1.1"]
    assert [one.name for one in files.list_grids(tmp_path / "two.tif")] == names
    volume = files.read(tmp_path / "two.tif")
    assert [grid.name for grid in volume.grids] == names
    (line, _) = files.write(tmp_path / "back.tif", volume)
    assert line == "grid 'two.series1.0' is left out: an image holds one"
    assert np.array_equal(tifffile.imread(tmp_path / "back.tif").T, first)
    some = files.read(tmp_path / "two.tif", ["two.series1.0", 2])
    assert files.write(tmp_path / "back.tif", some) == []
    found = tifffile.imread(tmp_path / "back.tif").transpose(3, 2, 0, 1)
    assert np.array_equal(found, second)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16"])
@pytest.mark.parametrize("axes", ["YX", "YXS", "TYX"])
def test_pictures_come_back_with_their_own_axes(tmp_path: Path, axes: str, dtype: str) -> None:
    shape = {"YX": (12, 9), "YXS": (12, 9, 3), "TYX": (5, 12, 9)}[axes]
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    more = {"photometric": "rgb" if axes == "YXS" else "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", picture, metadata={"axes": axes}, **more)
    volume = files.read(tmp_path / "a.tif")
    assert volume.grids[0].topology.box == inrv.Box((0, 0, 0), (8, 11, 4 if axes == "TYX" else 0))
    assert files.write(tmp_path / "back.tif", volume) == []
    with tifffile.TiffFile(tmp_path / "back.tif") as file:
        assert file.series[0].axes == axes and np.array_equal(file.asarray(), picture)


def test_pages_that_are_missing_are_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers("uint8").T, ome=True, metadata={"axes": "ZYX"})
    data = (tmp_path / "a.tif").read_bytes().replace(b'PlaneCount="17"', b'PlaneCount="14"')
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ImageFileError, match=r"a\.tif: 3 pages of .* are missing"):
        files.read(tmp_path / "a.tif")


def test_numpy_arrays_of_any_type(tmp_path: Path) -> None:
    for dtype in ("int64", "uint16", "float16", "float64", "bool"):
        array = numbers("float64") > 100 if dtype == "bool" else numbers(dtype)
        np.save(tmp_path / "array.npy", array)
        volume = files.read(tmp_path / "array.npy")
        assert files.write(tmp_path / "back.npy", volume) == []
        back = np.load(tmp_path / "back.npy")
        assert back.dtype == array.dtype
        assert np.array_equal(back.astype(np.float32), array.astype(np.float32))


def test_flat_images_keep_their_two_axes(tmp_path: Path) -> None:
    flat = numbers("int16")[:, :, 0]
    np.save(tmp_path / "flat.npy", flat)
    nibabel.save(nibabel.Nifti1Image(flat, np.eye(4)), tmp_path / "flat.nii")
    for name in ("flat.npy", "flat.nii"):
        volume = files.read(tmp_path / name)
        assert volume.grids[0].topology.box == inrv.Box((0, 0, 0), (8, 11, 0))
        assert files.write(tmp_path / f"back.{name}", volume) == []
    assert np.array_equal(np.load(tmp_path / "back.flat.npy"), flat)
    assert np.array_equal(np.asanyarray(nibabel.load(tmp_path / "back.flat.nii").dataobj), flat)


@pytest.mark.parametrize("parts", [(), (2,)])
def test_colours_of_nifti_are_vectors(tmp_path: Path, parts: tuple[int, ...]) -> None:
    plain = np.random.default_rng(0).integers(0, 256, (*SHAPE, *parts, 3)).astype(np.uint8)
    colours = plain.view([(name, "u1") for name in "RGB"])[..., 0]
    nibabel.save(nibabel.Nifti1Image(colours, MATRIX), tmp_path / "rgb.nii")
    volume = files.read(tmp_path / "rgb.nii")
    assert {grid.value_type for grid in volume.grids} == {"vec3s"}
    assert files.write(tmp_path / "back.nii.gz", volume) == []
    back = nibabel.load(tmp_path / "back.nii.gz")
    assert back.get_data_dtype().names == ("R", "G", "B")
    found = np.asanyarray(back.dataobj)
    assert np.array_equal(np.stack([found[name] for name in "RGB"], axis=-1), plain)
    if not parts:
        files.write(tmp_path / "rgb.nrrd", volume)
        found, _ = nrrd.read(str(tmp_path / "rgb.nrrd"))
        assert found.dtype == np.uint8 and np.array_equal(np.moveaxis(found, 0, -1), plain)


def test_colours_with_opacity_are_refused(tmp_path: Path) -> None:
    colours = np.zeros(SHAPE, [(name, "u1") for name in "RGBA"])
    nibabel.save(nibabel.Nifti1Image(colours, MATRIX), tmp_path / "rgba.nii")
    with pytest.raises(ImageFileError, match=r"rgba\.nii: .* 4 numbers, RGBA: save .* RGB24"):
        files.read(tmp_path / "rgba.nii")


def test_what_nibabel_mends_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(nibabel.Nifti1Image(numbers("int16"), MATRIX).to_bytes())
    struct.pack_into("<h", data, 252, 99)  # qform_code, which is 4 at most
    (tmp_path / "scan.nii").write_bytes(data)
    files.write(tmp_path / "back.nii", files.read(tmp_path / "scan.nii"))
    assert caplog.messages == []
    nibabel.load(tmp_path / "scan.nii")
    assert "qform_code 99" in caplog.text  # others still hear of it


def test_mitsuba(tmp_path: Path) -> None:
    grid = sparse_grid(
        numbers("float32"), "density", inrv.Transform.from_voxel_size(0.5, (1, 2, 3))
    )
    assert files.write(tmp_path / "fog.vol", SparseVolume((grid,))) == []
    data = (tmp_path / "fog.vol").read_bytes()
    magic, version, kind, *sizes = struct.unpack_from("<3sB5i", data)
    assert (magic, version, kind, *sizes) == (b"VOL", 3, 1, 9, 12, 17, 1)
    x, y, z = 4, 5, 6
    (found,) = struct.unpack_from("<f", data, 48 + 4 * ((z * 12 + y) * 9 + x))
    assert found == numbers("float32")[x, y, z]
    np.testing.assert_allclose(
        struct.unpack_from("<6f", data, 24), (0.75, 1.75, 2.75, 5.25, 7.75, 11.25)
    )
    (again,) = files.read(tmp_path / "fog.vol").grids
    np.testing.assert_allclose(again.transform.array(), grid.transform.array())


def test_sparse_grids_become_images_of_their_box(tmp_path: Path) -> None:
    active = np.zeros((20, 20, 20), dtype=np.bool_)
    active[5:9, 6:8, 10:17] = True
    fog = sparse_grid(
        np.ones(active.shape), "fog", inrv.Transform.from_voxel_size(2.0), active=active
    )
    heat = sparse_grid(np.ones((3, 3, 3)), "heat", metadata={"unit": "K"})
    lost = files.write(tmp_path / "fog.nii", SparseVolume((fog, heat)))
    assert lost == ["grid 'heat' is left out: an image holds one"]
    found = nibabel.load(tmp_path / "fog.nii")
    assert found.shape == (4, 2, 7) and found.affine[:3, 3].tolist() == [10, 12, 20]
    lost = files.write(tmp_path / "heat.npy", SparseVolume((heat,)))
    assert lost == ["grid 'heat': no image holds its metadata: unit"]
    with pytest.raises(ImageFileError, match="there is no grid of float or vec3s"):
        files.write(tmp_path / "none.nii", SparseVolume(()))
    assert not (tmp_path / "none.nii").exists()


def test_metadata_that_is_not_ours_is_no_image(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"shape": [1e99]}', '{"shape": [3, 3], "dtype": "int16"}'):
        grid = sparse_grid(np.ones((3, 3, 3)), "fog", metadata={"image_source": text})
        files.write(tmp_path / "fog.npy", SparseVolume((grid,)))
        assert np.load(tmp_path / "fog.npy").dtype == np.float32
    np.save(tmp_path / "small.npy", numbers("int16"))
    small = files.read(tmp_path / "small.npy").grids[0]
    wide = sparse_grid(
        np.ones((30, 30, 30)), "fog", metadata={"image_source": small.metadata["image_source"]}
    )
    with pytest.raises(ImageFileError, match="has voxels outside of the"):
        files.write(tmp_path / "wide.npy", SparseVolume((wide,)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mrc", ".tif", ".npy", ".vol"])
def test_damaged_files_are_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    np.save(tmp_path / "array.npy", numbers("float32"))
    files.write(path, files.read(tmp_path / "array.npy"))
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for length in (0, 3, 60, 300, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(inrv.InrvError, match=r"scan\.") as error:
            files.read(path)
        assert "\n" not in str(error.value)
    for place in random.integers(0, min(len(data), 352), 60).tolist():
        bent = bytearray(data)
        bent[place] ^= int(random.integers(1, 256))
        path.write_bytes(bytes(bent))
        try:
            files.read(path)
        except inrv.InrvError as error:
            assert "\n" not in str(error)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nifti(tmp_path / "scan.nii", numbers("int16"))
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(inrv.MissingPackageError, match=r"pip install 'inrv\[images\]'"):
        files.read(tmp_path / "scan.nii")


def test_halves_that_were_decoded_keep_the_bound(tmp_path: Path) -> None:
    x, y, z = np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij")
    halves = (np.sin(x / 3) * np.cos(y / 4) * 500 + z * 9).astype(np.float16)
    np.save(tmp_path / "halves.npy", halves)
    volume = through_inrv(tmp_path / "halves.npy", max_error=0.6, exact_below=0)
    lost = files.write(tmp_path / "back.npy", volume)
    assert lost == ["numbers of float16 are written as float32: decoded ones lie between them"]
    assert np.abs(np.load(tmp_path / "back.npy") - halves.astype(np.float32)).max() <= 0.6


def test_other_spaces_are_neither_mirrored_nor_lost(tmp_path: Path) -> None:
    frame = {"space directions": MATRIX[:3, :3].T, "space origin": MATRIX[:3, 3]}
    signs = {"left-anterior-superior": [-1, 1, 1], "scanner-xyz": [1, 1, 1]}
    for space, flips in signs.items():
        nrrd.write(str(tmp_path / "scan.nrrd"), numbers("int16"), {"space": space, **frame})
        volume = files.read(tmp_path / "scan.nrrd")
        assert files.write(tmp_path / "back.nrrd", volume) == []
        assert nrrd.read_header(str(tmp_path / "back.nrrd"))["space"] == space
        lost = files.write(tmp_path / "scan.nii", volume)
        unknown = space == "scanner-xyz"
        told = "it is not known how world space lies in a patient: it is taken as RAS"
        assert lost == [told] * unknown
        affine = nibabel.load(tmp_path / "scan.nii").affine
        np.testing.assert_allclose(affine, np.diag([*flips, 1]) @ MATRIX, rtol=1e-6)


def test_vectors_lie_along_any_axis_of_nrrd(tmp_path: Path) -> None:
    vectors = numbers("float32", 3)
    for place, kinds in ((3, ["space"] * 3 + ["vector"]), (0, ["RGB-color"] + ["space"] * 3)):
        moved = np.moveaxis(vectors, 3, place)
        nrrd.write(str(tmp_path / "flow.nrrd"), np.asfortranarray(moved), {"kinds": kinds})
        (grid,) = files.read(tmp_path / "flow.nrrd").grids
        box = inrv.Box((0, 0, 0), (SHAPE[0] - 1, SHAPE[1] - 1, SHAPE[2] - 1))
        assert np.array_equal(grid.dense(box), vectors)


def test_integers_that_were_rounded_are_told(tmp_path: Path) -> None:
    labels = numbers("int32") + 2**30 + 1
    np.save(tmp_path / "labels.npy", labels)
    (line,) = files.write(tmp_path / "back.npy", files.read(tmp_path / "labels.npy"))
    assert line.startswith("grid 'labels': numbers of int32 were rounded to float32, by up to ")
    assert np.load(tmp_path / "back.npy").dtype == np.int32


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mrc", ".tif", ".npy", ".vol"])
def test_headers_that_claim_too_much_take_no_memory(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, edge = tmp_path / f"scan{suffix}", 2000
    plain = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes()
    claiming = plain[:42] + struct.pack("<3h", edge, edge, edge) + plain[48:]
    if suffix == ".nii":
        path.write_bytes(claiming)
    elif suffix == ".nii.gz":
        path.write_bytes(gzip.compress(claiming))
    elif suffix == ".nrrd":
        head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {edge} {edge} {edge}\n"
        path.write_bytes(
            (head + "encoding: gzip\nendian: little\n\n").encode() + gzip.compress(b"x")
        )
    elif suffix == ".mrc":
        with mrcfile.new(path) as file:
            file.set_data(np.zeros((2, 2, 2), np.float32))
        path.write_bytes(struct.pack("<3i", edge, edge, edge) + path.read_bytes()[12:])
    elif suffix == ".tif":
        tifffile.imwrite(path, np.zeros((2, 2, 2), np.uint8), metadata={"shape": (9, 9, 9)})
        with tifffile.TiffFile(path) as file:
            tags = [file.pages[0].tags[name] for name in ("ImageWidth", "ImageLength")]
        bent = bytearray(path.read_bytes())
        for tag in tags:
            struct.pack_into("<I", bent, tag.valueoffset, 200_000)
        path.write_bytes(bent)
    elif suffix == ".npy":
        np.save(path, np.zeros((2, 2, 2)))
        path.write_bytes(path.read_bytes().replace(b"(2, 2, 2)", b"(2000, 2000, 2000)"))
    else:
        path.write_bytes(struct.pack("<3sB5i6f", b"VOL", 3, 1, edge, edge, edge, 1, *[0.0] * 6))
    tracemalloc.start()
    with pytest.raises(ImageFileError, match=r"scan\."):
        files.read(path)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    zeros = bytes(100_000_000)
    plain = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(plain + zeros, 1))
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: gzip\nendian: little\n\n"
    (tmp_path / "bomb.nrrd").write_bytes(head + gzip.compress(zeros, 1))
    tracemalloc.start()
    assert files.read(tmp_path / "bomb.nii.gz").active_voxel_count == 8
    with pytest.raises(ImageFileError, match="bytes of numbers where 16 belong"):
        files.read(tmp_path / "bomb.nrrd")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_checksums_of_gzip_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nifti(path, numbers("int16"))
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes(8))
    with pytest.raises(
        ImageFileError, match=r"scan\.nii\.gz cannot be read .* incorrect data check"
    ):
        files.read(path)
    path.write_bytes(data[:-3])
    with pytest.raises(ImageFileError, match="the file was cut off"):
        files.read(path)
    path.write_bytes(gzip.compress(gzip.decompress(data) + bytes(9)) + bytes(9))
    assert len(files.read(path).grids) == 1  # bytes behind the numbers do no harm


def test_axes_of_a_map_are_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "map.mrc"
    with mrcfile.new(path) as file:
        file.set_data(numbers("float32"))  # sections, rows and columns, which lie along x, y and z
        file.header.mapc, file.header.mapr, file.header.maps = 3, 2, 1
        file.header.mx, file.header.my, file.header.mz = SHAPE
        file.header.cella = tuple(np.multiply(SHAPE, (1.5, 2.0, 2.5)))
        file.header.nxstart, file.header.nzstart = 7, 5
    volume = files.read(path)
    (grid,) = volume.grids
    assert np.array_equal(grid.dense(grid.topology.box)[..., 0], numbers("float32"))
    np.testing.assert_allclose(np.diag(grid.transform.array())[:3], (1.5, 2.0, 2.5))
    assert files.write(tmp_path / "back.mrc", volume) == []
    with mrcfile.open(tmp_path / "back.mrc") as file:
        assert np.array_equal(file.data.T, numbers("float32"))
        assert (file.header.mapc, file.header.mapr, file.header.maps) == (1, 2, 3)
        assert (file.header.nxstart, file.header.nzstart) == (5, 7)
    with mrcfile.open(path, mode="r+") as file:
        file.header.mapc = 4
    with pytest.raises(ImageFileError, match=r"lie along \[4, 2, 1\]"):
        files.read(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_lines_that_are_not_there_are_not_skipped(tmp_path: Path, suffix: str) -> None:
    head = (
        "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nline skip: 900000000\n"
    )
    (tmp_path / "scan.raw").write_bytes(bytes(8))
    named = "data file: scan.raw\n" if suffix == ".nhdr" else "\n"
    (tmp_path / f"scan{suffix}").write_bytes((head + named).encode())
    with pytest.raises(ImageFileError, match="it skips 900,000,000 lines"):
        files.read(tmp_path / f"scan{suffix}")
