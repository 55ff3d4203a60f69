"""HDF5 and VTKHDF files, written and read again by h5py."""

from __future__ import annotations

import itertools
import json
import logging
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inrv import ImageFileError, InrvError, OptionError, SparseVolume, files
from inrv.files.images.hdf5 import FILE_TYPE
from inrv.grids import Grid
from inrv.grids.metadata import metadata_of
from inrv.support.inputs import FileInput
from tests.files.images.vti_files import DENSITY, HEAT, WIND, dense, vti

h5py = pytest.importorskip("h5py")

SHAPE = (7, 6, 5)  # z, y, x


def numbers(dtype: str, *shape: int) -> NDArray[Any]:
    found = np.abs(np.random.default_rng(1).normal(50, 20, shape or SHAPE))
    return found.astype(np.float32).astype(dtype)


def by_name(path: Path | str, *wanted: str) -> dict[str, Grid]:
    return {grid.name: grid for grid in files.read(path, wanted or None).grids}


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", ">f8", "bool", "float16", ">i4"])
def test_data_sets_come_back_in_their_own_type(tmp_path: Path, dtype: str) -> None:
    array = numbers("float32") > 50 if dtype == "bool" else numbers(dtype)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        data = file.create_dataset("fields/density", data=array)
        data.attrs["unit"], data.attrs["levels"] = "kg/m3", [1, 2, 3]
    volume = files.read(tmp_path / "run.h5")
    assert np.array_equal(dense(volume.grids[0]), array.T.astype(np.float32))
    assert files.write(tmp_path / "back.h5", volume) == []
    with h5py.File(tmp_path / "back.h5") as file:
        back = file["fields/density"]
        assert back.dtype == np.dtype(dtype).newbyteorder("=") and np.array_equal(back, array)
        assert back.attrs["unit"] == "kg/m3" and back.attrs["levels"].tolist() == [1, 2, 3]
        assert back.compression == "gzip" and [own.label for own in back.dims] == list("zyx")


def test_grids_are_named_and_chosen_by_path(tmp_path: Path) -> None:
    series, wind = numbers("int16", 3, *SHAPE), numbers("float32", *SHAPE, 3)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["density"], file["fields/series"], file["fields/wind"] = numbers("f4"), series, wind
        file["places"], file["note"] = np.arange(7), "text"
    found = by_name(tmp_path / "run.h5")
    names = ["fields/series.0", "fields/series.1", "fields/series.2", "fields/wind"]
    assert list(found) == ["density", *names]
    assert np.array_equal(dense(found["fields/series.1"]), series[1].T)
    assert np.array_equal(dense(found["fields/wind"]), wind.transpose(2, 1, 0, 3))
    some = by_name(tmp_path / "run.h5", "/fields/wind", "density")
    assert list(some) == ["fields/wind", "density"]
    with pytest.raises(OptionError, match=r"no grid '/fields/x'; it holds '/density', "):
        files.read(tmp_path / "run.h5", ["/fields/x"])
    assert files.write(tmp_path / "back.hdf5", files.read(tmp_path / "run.h5")) == []
    with h5py.File(tmp_path / "back.hdf5") as file:
        assert np.array_equal(file["fields/series"], series)
        assert np.array_equal(file["fields/wind"], wind)


def test_names_of_dimensions_tell_the_axes_and_attributes_the_frame(tmp_path: Path) -> None:
    array = numbers("int16", 5, 6, 7, 2)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        data = file.create_dataset("a", data=array)
        for dimension, name in zip(data.dims, ("x", "y", "z", "time"), strict=True):
            dimension.label = name
        data.attrs["spacing"], data.attrs["origin"] = [0.5, 1, 2], [1, 2, 3]
        data.attrs["scale_factor"], data.attrs["add_offset"] = 0.5, -10.0
        other = file.create_dataset("b", data=array[..., 0])
        other.attrs["element_size_um"] = [3.0, 2.0, 1.0]
    volume = files.read(tmp_path / "run.h5")
    first, _, b = volume.grids
    assert np.array_equal(dense(first), array[..., 0] * 0.5 - 10)
    assert np.diag(first.transform.array()).tolist() == [0.5, 1, 2, 1]
    assert first.transform.array()[3].tolist() == [1, 2, 3, 1]
    assert np.diag(b.transform.array()).tolist() == [1, 2, 3, 1]
    assert files.write(tmp_path / "back.h5", volume) == []
    with h5py.File(tmp_path / "back.h5") as file:
        assert np.array_equal(file["a"], array) and file["a"].dtype == np.int16
        assert file["a"].attrs["scale_factor"] == 0.5 and file["a"].attrs["affine"][0, 3] == 1


def test_a_part_and_a_box_are_read_alone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file.create_dataset("a", data=numbers("float32", 4, 64, 64, 64))
    (image,) = FILE_TYPE.images(FileInput("run.h5", str(tmp_path / "run.h5")))
    box, array = (slice(3, 9), slice(None), slice(5, 6)), numbers("float32", 4, 64, 64, 64)
    tracemalloc.start()
    found = image.part_values(2, box)
    assert tracemalloc.get_traced_memory()[1] < 100_000  # bytes, of a part that has a million
    tracemalloc.stop()
    assert np.array_equal(found, array[2].T[box])


def test_numbers_in_other_files_and_numbers_that_are_not_there_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_bytes(bytes(4 * 210))
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["a"] = numbers("f4")
        file["link"] = h5py.ExternalLink("other.h5", "/a")
        outside = [(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("stolen", SHAPE, "f4", external=outside)
        layout = h5py.VirtualLayout(SHAPE, "f4")
        layout[:] = h5py.VirtualSource("other.h5", "a", SHAPE)
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("claimed", (9999, 9999, 9999), "f4", chunks=(9, 9, 9))
    with caplog.at_level(logging.WARNING, "inrv"):
        assert list(by_name(tmp_path / "run.h5")) == ["a"]
    told = sorted(record.getMessage().split("data set ")[1] for record in caplog.records)
    assert told == [
        "/claimed is left out: it claims 3,998,800,119,996 bytes of numbers, and 0 are stored",
        "/stolen is left out: its numbers lie in other files",
        "/virtual is left out: its numbers lie in other files",
    ]


def test_world_space_and_bytes_without_a_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["a"] = numbers("int16")
        file["a"].attrs["space"] = "LPS"
    (grid,) = files.read((tmp_path / "run.h5").read_bytes()).grids
    volume = SparseVolume((grid,))
    assert (
        files.write(tmp_path / "back.h5", volume) == files.write(tmp_path / "a.mhd", volume) == []
    )
    with h5py.File(tmp_path / "back.h5") as file:
        assert file["a"].attrs["space"] == "LPS"


def test_vtkhdf_keeps_place_frame_and_components(tmp_path: Path) -> None:
    volume = files.read(vti("raw", True, False, False))
    assert files.write(tmp_path / "run.vtkhdf", volume) == []
    with h5py.File(tmp_path / "run.vtkhdf") as file:
        group = file["VTKHDF"]
        assert group.attrs["Type"] == b"ImageData"
        assert group.attrs["WholeExtent"].tolist() == [2, 5, -1, 3, 0, 6]
        assert group.attrs["Origin"].tolist() == [1, 2, 3]
        assert np.array_equal(group["PointData/density"], DENSITY.T)
        assert np.array_equal(group["PointData/wind"], WIND.transpose(2, 1, 0, 3))
        assert np.array_equal(group["CellData/heat"], HEAT.T)
    found = by_name(tmp_path / "run.vtkhdf")
    for grid in volume.grids:
        assert np.array_equal(dense(grid), dense(found[grid.name]))
        assert np.array_equal(grid.transform.array(), found[grid.name].transform.array())


def moments(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """A file of three moments, of which an array in cells has two, in another order."""
    density, heat = numbers("float32", 3, *SHAPE), numbers("float32", 2, 6, 5, 4)
    with h5py.File(path, "w") as file:
        group = file.create_group("VTKHDF")
        group.attrs["Version"], group.attrs["Type"] = [2, 0], np.bytes_("ImageData")
        group.attrs["WholeExtent"] = [0, 4, 0, 5, 0, 6]
        group.attrs["Origin"], group.attrs["Spacing"] = [0.0, 0, 0], [1.0, 2, 3]
        group["PointData/density"], group["CellData/heat"] = density, heat
        group["Steps/Values"], group["Steps/CellDataOffsets/heat"] = [0.0, 0.5, 2.0], [1, 0, 1]
        group["Steps"].attrs["NSteps"] = 3
    return density, heat


def test_moments_of_vtkhdf_are_parts(tmp_path: Path) -> None:
    density, heat = moments(tmp_path / "run.vtkhdf")
    found = by_name(tmp_path / "run.vtkhdf")
    assert np.array_equal(dense(found["density.2"]), density[2].T)
    assert np.array_equal(dense(found["heat.2"]), heat[1].T)
    assert files.write(tmp_path / "back.vtkhdf", files.read(tmp_path / "run.vtkhdf")) == []
    with h5py.File(tmp_path / "back.vtkhdf") as file:
        group = file["VTKHDF"]
        assert (
            group["Steps/Values"][...].tolist() == [0, 0.5, 2]
            and group["Steps"].attrs["NSteps"] == 3
        )
        assert np.array_equal(group["PointData/density"], density)
        assert np.array_equal(group["CellData/heat"], heat[[1, 0, 1]])


def test_other_data_of_vtk_is_refused_by_name(tmp_path: Path) -> None:
    moments(tmp_path / "run.vtkhdf")
    for kind, words in (("OverlappingAMR", "resample them"), ("PolyData", "only ImageData")):
        with h5py.File(tmp_path / "run.vtkhdf", "r+") as file:
            file["VTKHDF"].attrs["Type"] = np.bytes_(kind)
        with pytest.raises(ImageFileError, match=rf"run\.vtkhdf: it holds {kind}: .*{words}"):
            files.read(tmp_path / "run.vtkhdf")
    with h5py.File(tmp_path / "plain.vtkhdf", "w") as file:
        file["a"] = numbers("f4")
    with pytest.raises(ImageFileError, match=r"it has no group VTKHDF: call it \.h5"):
        files.read(tmp_path / "plain.vtkhdf")


def test_names_that_no_file_can_hold_are_mended(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers("f4"))
    (grid,) = files.read(tmp_path / "a.npy").grids
    names = ("a", "a/b", "/c//d", "", "a")
    many = SparseVolume(tuple(replace(grid, name=name) for name in names))
    lost = files.write(tmp_path / "many.h5", many)
    assert len(lost) == 4
    with h5py.File(tmp_path / "many.h5") as file:
        assert sorted(file) == ["a", "a.2", "a.b", "c", "image"] and list(file["c"]) == ["d"]


def test_headers_that_anybody_may_have_written_do_no_harm(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers("f4"))
    (grid,) = files.read(tmp_path / "a.npy").grids
    told = json.loads(str(grid.metadata["image_source"].value))
    headers: list[dict[str, Any]] = [
        {"axes": 5, "attributes": 5, "name": []},
        {"axes": "zyyt", "attributes": {"a": {"b": 1}, "c": 2}},
        {"extent": "x", "origin": [None] * 3, "place": 5, "time": "now", "times": [1]},
    ]
    for kind, header in itertools.product(("hdf5", "vtk", "raw", "numpy"), headers):
        text = json.dumps(told | {"kind": kind, "header": header})
        bent = replace(grid, metadata=metadata_of({"image_source": text}, "a"))
        for name in ("b.h5", "b.vtkhdf", "b.vti", "b.raw", "b.npy"):
            files.write(tmp_path / name, SparseVolume((bent,)))
            assert np.array_equal(dense(files.read(tmp_path / name).grids[0]), dense(grid))


def test_damage_is_one_line(tmp_path: Path) -> None:
    moments(tmp_path / "run.vtkhdf")
    data = (tmp_path / "run.vtkhdf").read_bytes()
    for length in (8, 60, len(data) // 2):
        with pytest.raises(InrvError, match="cannot be read as a VTKHDF file") as error:
            (tmp_path / "cut.vtkhdf").write_bytes(data[:length])
            files.read(tmp_path / "cut.vtkhdf")
        assert "\n" not in str(error.value)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments(tmp_path / "run.vtkhdf")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'inrv\[science\]'"):
        files.read(tmp_path / "run.vtkhdf")


def test_a_file_without_an_image_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["flat"], file["waves"] = np.zeros((3, 4)), np.zeros((3, 4, 5), np.complex64)
    with pytest.raises(ImageFileError, match=r"a\.h5: it holds no image"):
        files.read(tmp_path / "a.h5")


def test_a_slope_of_zero_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("field", data=numbers("i2")).attrs["scale_factor"] = 0.0
    with pytest.raises(ImageFileError, match="field has the slope 0"):
        files.read(tmp_path / "a.h5")
