"""Zarr stores and OME-Zarr images: read as zarr made them, and read again by zarr."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, ImageFileError, OptionError, OutputError, SparseVolume, files
from inrv.grids import Grid, sparse_grid

zarr = pytest.importorskip("zarr")

SHAPE = (9, 12, 17)  # z, y, x
MATRIX = np.array([[0.5, 0.1, 0, 5], [0, 2.0, 0, -7], [0, 0, 3.0, 11], [0, 0, 0, 1]])


def numbers(dtype: str, *before: int) -> NDArray[Any]:
    found = np.abs(np.random.default_rng(1).normal(100, 40, (*before, *SHAPE)))
    return found.astype(dtype)


def store(path: Path, array: NDArray[Any], **asked: Any) -> Any:
    made = zarr.create_array(path, shape=array.shape, dtype=array.dtype, chunks="auto", **asked)
    made[...] = array
    return made


def values(grid: Grid) -> NDArray[np.float32]:
    assert grid.topology.box is not None
    found = grid.dense(grid.topology.box)
    return found[..., 0] if grid.components == 1 else found


def ome(path: Path, array: NDArray[Any], version: str = "0.5", **more: Any) -> None:
    form = 3 if version == "0.5" else 2
    group = zarr.create_group(path, zarr_format=form)
    for level, own in enumerate([array, array[..., ::2, ::2, ::2]]):
        store(path / f"s{level}", own, zarr_format=form)
    kinds = {"t": "time", "c": "channel"}
    names = "tczyx"[-array.ndim :]
    edges = dict(zip("zyx", (2.0, 0.5, 0.25), strict=True))
    scale = [{"type": "scale", "scale": [edges.get(name, 1.0) for name in names]}]
    place = {"type": "translation", "translation": [4.0 if name == "x" else 0.0 for name in names]}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    told = {
        "axes": axes,
        "datasets": [
            {"path": "s0", "coordinateTransformations": [*scale, place]},
            {"path": "s1", "coordinateTransformations": scale},
        ],
        **more.pop("multiscales", {}),
    }
    if version == "0.5":
        group.attrs["ome"] = {"version": version, "multiscales": [told], **more}
    else:
        group.attrs.update({"multiscales": [{**told, "version": version}], **more})


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", ">i4", "bool"])
def test_an_array_comes_back_in_its_own_type(tmp_path: Path, dtype: str, form: int) -> None:
    array = numbers(dtype)
    store(tmp_path / "a scan.zarr", array, zarr_format=form)
    volume = files.read(tmp_path / "a scan.zarr")
    if dtype != "float64":
        data, _ = inrv.encode_bytes(tmp_path / "a scan.zarr", EncodeOptions(lossless=True))
        volume = inrv.load(data, "cpu").to_sparse()
    assert [grid.name for grid in volume.grids] == ["a scan"]
    assert np.array_equal(values(volume.grids[0]).T, array.astype(np.float32))
    assert files.write(tmp_path / "back.zarr", volume) == []
    back = zarr.open_array(tmp_path / "back.zarr", mode="r")
    assert back.dtype == np.dtype(dtype).newbyteorder("=") and back.metadata.zarr_format == 3
    assert np.array_equal(back[...].astype(np.float32), array.astype(np.float32))
    assert back.metadata.dimension_names == ("z", "y", "x")


def test_axes_are_told_by_their_names_and_come_back_in_their_order(tmp_path: Path) -> None:
    array = numbers("uint16", 2)
    store(tmp_path / "a.zarr", array, dimension_names=["time", "x", "z", "y"])
    volume = files.read(tmp_path / "a.zarr")
    assert [grid.name for grid in volume.grids] == ["a.0", "a.1"]
    assert np.array_equal(values(volume.grids[1]), array[1].transpose(0, 2, 1))
    files.write(tmp_path / "b.zarr", volume)
    back = zarr.open_array(tmp_path / "b.zarr", mode="r")
    assert back.metadata.dimension_names == ("time", "x", "z", "y")
    assert np.array_equal(back[...], array)


def test_coordinates_of_xarray_give_the_transform(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    named = {"_ARRAY_DIMENSIONS": ["depth", "lat", "lon"]}
    array = numbers("float32")
    store(tmp_path / "a.zarr" / "heat", array, zarr_format=2, attributes=named)
    for name, size, edge in zip(named["_ARRAY_DIMENSIONS"], SHAPE, (3.0, -2.0, 0.5), strict=True):
        own = {"_ARRAY_DIMENSIONS": [name]}
        store(tmp_path / "a.zarr" / name, 7 + edge * np.arange(size), zarr_format=2, attributes=own)
    assert sorted(group.array_keys()) == ["depth", "heat", "lat", "lon"]
    (grid,) = files.read(tmp_path / "a.zarr").grids
    assert grid.name == "a"
    wanted = np.diag([0.5, -2.0, 3.0, 1.0])
    wanted[:3, 3] = 7
    np.testing.assert_allclose(grid.transform.array().T, wanted)
    assert np.array_equal(values(grid).T, array)


def test_slope_affine_and_attributes_come_back(tmp_path: Path) -> None:
    told = {"scale_factor": 0.5, "add_offset": -3.0, "affine": MATRIX.tolist(), "space": "LPS"}
    array = numbers("int16")
    store(tmp_path / "a.zarr", array, attributes={**told, "who": "me"})
    volume = files.read(tmp_path / "a.zarr")
    assert np.array_equal(values(volume.grids[0]).T, array * 0.5 - 3)
    np.testing.assert_array_equal(volume.grids[0].transform.array().T, MATRIX)
    files.write(tmp_path / "b.zarr", volume)
    back = zarr.open_array(tmp_path / "b.zarr", mode="r")
    assert dict(back.attrs) == {**told, "who": "me"} and np.array_equal(back[...], array)
    assert files.write(tmp_path / "b.ome.zarr", volume) == [
        "OME-Zarr has no slope: the values are written as float32",
        "of the transform, the size of a voxel and the origin alone are kept",
        "an image does not say that its world space is LPS",
    ]


def test_a_group_has_a_grid_for_each_array(tmp_path: Path) -> None:
    fog = sparse_grid(np.random.default_rng(1).normal(size=(5, 6, 7)), "fog")
    wind = sparse_grid(np.random.default_rng(2).normal(size=(8, 6, 7, 3)), "wind")
    assert files.write(tmp_path / "a.zarr", SparseVolume((fog, wind))) == []
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["fog"].shape == (7, 6, 5) and group["wind"].shape == (7, 6, 8, 3)
    assert [own.name for own in files.list_grids(tmp_path / "a.zarr")] == ["fog", "wind"]
    for grid in files.read(tmp_path / "a.zarr", ["wind", "fog"]).grids:
        np.testing.assert_array_equal(values(grid), values({"fog": fog, "wind": wind}[grid.name]))
    with pytest.raises(OptionError, match="no grid 'heat'; it holds 'fog', 'wind'"):
        files.read(tmp_path / "a.zarr", ["heat"])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_image(tmp_path: Path, version: str) -> None:
    array = numbers("uint16", 2, 3)
    labels = {"omero": {"channels": [{"label": name} for name in ("DAPI", "GFP", "RFP")]}}
    ome(tmp_path / "a.ome.zarr", array, version, **labels)
    volume = files.read(tmp_path / "a.ome.zarr")
    names = ["DAPI.0", "GFP.0", "RFP.0", "DAPI.1", "GFP.1", "RFP.1"]
    assert [grid.name for grid in volume.grids] == names
    assert np.array_equal(values(volume.grids[4]).T, array[1, 1])
    wanted = np.diag([0.25, 0.5, 2.0, 1.0])
    wanted[0, 3] = 4
    assert np.array_equal(volume.grids[0].transform.array().T, wanted)
    assert files.write(tmp_path / "b.ome.zarr", volume) == []
    group = zarr.open_group(tmp_path / "b.ome.zarr", mode="r")
    told = group.attrs["ome"]
    assert np.array_equal(group["0"][...], array) and told["version"] == "0.5"
    assert [own["name"] for own in told["multiscales"][0]["axes"]] == list("tczyx")
    assert [own["label"] for own in told["omero"]["channels"]] == ["DAPI", "GFP", "RFP"]
    again = files.read(tmp_path / "b.ome.zarr")
    assert [grid.name for grid in again.grids] == names
    assert again.grids[0].transform == volume.grids[0].transform


def test_levels_of_detail_have_every_second_voxel(tmp_path: Path) -> None:
    array = np.random.default_rng(1).random((5, 7, 601))
    files.write(tmp_path / "a.ome.zarr", SparseVolume((sparse_grid(array.T, "fog"),)))
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    (told,) = group.attrs["ome"]["multiscales"]
    assert [own["path"] for own in told["datasets"]] == ["0", "1", "2"]
    assert told["datasets"][2]["coordinateTransformations"][0]["scale"] == [4.0, 4.0, 4.0]
    assert np.array_equal(group["2"][...], group["0"][...][::4, ::4, ::4])


def test_vectors_are_channels_of_an_ome_zarr_image(tmp_path: Path) -> None:
    wind = sparse_grid(np.random.default_rng(2).normal(size=(4, 6, 7, 3)), "wind")
    lost = files.write(tmp_path / "a.ome.zarr", SparseVolume((wind,)))
    assert lost == ["the components of vectors are written as channels"]
    array = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")["0"]
    assert np.array_equal(array[...], values(wind).transpose(3, 2, 1, 0))


def test_a_store_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    fog = SparseVolume((sparse_grid(numbers("float32"), "fog"),))
    files.write(tmp_path / "a.zarr", fog)
    files.write(tmp_path / "a.zarr", SparseVolume((sparse_grid(np.ones((2, 2, 2)), "fog"),)))
    assert zarr.open_array(tmp_path / "a.zarr", mode="r").shape == (2, 2, 2)
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "letter").write_text("kept")
    (tmp_path / "c.zarr").write_text("kept")
    for name in ("b.zarr", "c.zarr"):
        with pytest.raises(OutputError, match=f"{name} cannot be written: something else has"):
            files.write(tmp_path / name, fog)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.zarr", "c.zarr"]
    assert (tmp_path / "b.zarr" / "letter").read_text() == "kept"
    with pytest.raises(OptionError, match=r"\.zarr is a folder: name a path"):
        files.write(open(tmp_path / "d", "wb"), fog, ".zarr")  # noqa: SIM115


def test_hostile_and_damaged_stores_are_one_line(tmp_path: Path) -> None:
    huge = zarr.create_array(
        tmp_path / "huge.zarr", shape=(4000,) * 3, dtype="f4", chunks=(64,) * 3
    )
    huge[:8, :8, :8] = 1
    text = '{"id": "pickle", "protocol": 5}'
    store(tmp_path / "pickled.zarr", numbers("int16"), zarr_format=2)
    told = (tmp_path / "pickled.zarr" / ".zarray").read_text()
    assert '"filters": null' in told
    (tmp_path / "pickled.zarr" / ".zarray").write_text(
        told.replace('"filters": null', f'"filters": [{text}]')
    )
    store(tmp_path / "cut.zarr", numbers("int16"))
    for path in (tmp_path / "cut.zarr").rglob("c/*/*/*"):
        path.write_bytes(path.read_bytes()[:9])
    (tmp_path / "odd.zarr").mkdir()
    (tmp_path / "odd.zarr" / "zarr.json").write_text('{"zarr_format": 3')
    store(tmp_path / "flat.zarr", np.ones(5))
    store(tmp_path / "complex.zarr", numbers("complex64"))
    ome(tmp_path / "turned.zarr", numbers("u1"), multiscales={"coordinateTransformations": [
        {"type": "rotation"}]})  # fmt: skip
    zarr.create_group(tmp_path / "empty.zarr")
    for name, why in [
        ("huge", "an array of 256,000,000,000 bytes stands where"),
        ("pickled", "pickled"),
        ("cut", "cannot be read as a Zarr store"),
        ("odd", "cannot be read as a Zarr store"),
        ("flat", "fewer than two are axes of space"),
        ("complex", "complex64 numbers"),
        ("turned", "'rotation' is not read"),
        ("empty", "its group holds no array"),
    ]:
        with pytest.raises(ImageFileError, match=why) as caught:
            files.read(tmp_path / f"{name}.zarr")
        assert "\n" not in str(caught.value) and f"{name}.zarr" in str(caught.value)


def test_slope_and_affine_are_kept_beside_too_many_attributes(tmp_path: Path) -> None:
    attributes = {"scale_factor": 0.5, "affine": MATRIX.tolist(), "history": "x" * 100_000}
    store(tmp_path / "scan.zarr", numbers("i2"), attributes=attributes)
    (grid,) = files.read(tmp_path / "scan.zarr").grids
    assert np.array_equal(values(grid).T, numbers("i2") * np.float32(0.5))
    np.testing.assert_allclose(grid.transform.array().T, MATRIX)


@pytest.mark.parametrize("along", [[0, 1, 2, 4], [0, 1, 2]], ids=["uneven", "too few"])
def test_coordinates_that_give_no_transform_are_told(
    tmp_path: Path, along: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    zarr.create_group(tmp_path / "run.zarr")
    store(tmp_path / "run.zarr" / "x", np.array(along, dtype=float))
    field = np.zeros((2, 3, 4), np.float32)
    store(tmp_path / "run.zarr" / "field", field, dimension_names=["z", "y", "x"])
    with caplog.at_level("WARNING", logger="inrv"):
        (grid,) = files.read(tmp_path / "run.zarr").grids
    assert "the coordinates x are not evenly spaced" in caplog.text
    assert np.array_equal(grid.transform.array(), np.eye(4))


@pytest.mark.parametrize("scale", [[2], [1, 2], "x", [1, 2, "x"]], ids=str)
def test_scales_that_are_not_one_an_axis_are_refused(tmp_path: Path, scale: Any) -> None:
    steps = [{"type": "scale", "scale": scale}]
    told = {"datasets": [{"path": "s0", "coordinateTransformations": steps}]}
    ome(tmp_path / "cells.ome.zarr", numbers("u1"), multiscales=told)
    with pytest.raises(ImageFileError, match="not a number for each of 3 axes"):
        files.read(tmp_path / "cells.ome.zarr")
