"""Folders that are volumes: Zarr stores go where files go; images larger than memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import files

from .conftest import Run

zarr = pytest.importorskip("zarr")

SCAN = np.random.default_rng(1).integers(-50, 900, (12, 14, 20)).astype("i2")


def store(path: str) -> None:
    told = {"scale_factor": 0.5, "add_offset": 0.0, "space": "LPS"}
    array = zarr.create_array(
        path, shape=SCAN.shape, dtype="i2", chunks=(8,) * 3, attributes=told,
        dimension_names=("z", "y", "x"),
    )  # fmt: skip
    array[...] = SCAN


def stored(path: str) -> np.ndarray:
    return np.asarray(zarr.open_array(path, mode="r")[...])


def test_a_store_is_encoded_decoded_converted_and_compared(run: Run) -> None:
    store("a scan.zarr")
    result = run("encode", "a scan.zarr/", "--lossless")
    assert result.exit_code == 0 and "a scan.zarr -> a scan.inrv" in result.stdout
    assert run("decode", "a scan.inrv", "-o", "back.zarr", "-q").output == ""
    assert np.array_equal(stored("back.zarr"), SCAN)
    assert run("convert", "a scan.zarr", "b.npy").exit_code == 0
    assert run("convert", "b.npy", "b.ome.zarr", "-q").exit_code == 0
    assert np.array_equal(np.asarray(zarr.open_group("b.ome.zarr")["0"]), SCAN * np.float32(0.5))
    result = run("compare", "a scan.zarr", "back.zarr")
    assert result.exit_code == 0 and "equal  none" in result.stdout


def test_stores_among_files_and_in_folders(run: Run) -> None:
    Path("in").mkdir()
    for name in ("a", "b"):
        store(f"in/{name}.zarr")
    np.save("in/c.npy", SCAN)
    Path("in/d.nii.gz").write_bytes(b"")
    assert run("encode", "in", "-o", "out/", "--effort", "instant", "-q").exit_code == 3
    assert sorted(os.listdir("out")) == ["a.inrv", "b.inrv", "c.inrv"]
    assert run("convert", "in/*.zarr", "two/", "--to", "zarr", "-q").exit_code == 0
    assert sorted(os.listdir("two")) == ["a.zarr", "b.zarr"]
    assert run("decode", "in").exit_code == 3


def test_a_store_is_replaced_where_force_says_so(run: Run) -> None:
    store("a.zarr")
    assert run("encode", "a.zarr", "--lossless", "-q").exit_code == 0
    result = run("decode", "a.inrv", "-o", "a.zarr")
    assert result.exit_code == 4 and "a.zarr exists already" in result.stderr
    assert run("decode", "a.inrv", "-o", "a.zarr", "--force", "-q").exit_code == 0
    assert np.array_equal(stored("a.zarr"), SCAN)
    Path("b.zarr").mkdir()
    Path("b.zarr/letter").write_text("kept")
    result = run("decode", "a.inrv", "-o", "b.zarr", "--force")
    assert result.exit_code == 4 and "no volume that could be replaced" in result.stderr
    assert os.listdir("b.zarr") == ["letter"]
    result = run("convert", "a.inrv", "-", "--to", "zarr")
    assert result.exit_code == 2 and "name a path" in result.stderr
    assert run("convert", "a.inrv", "a.dcm").exit_code == 2


def test_blocks_are_encoded_and_decoded_one_after_the_other(run: Run) -> None:
    pytest.importorskip("dask")
    store("a.zarr")
    asked = ("--blocks", "10", "--max-error", "0.25", "--effort", "instant")
    result = run("encode", "a.zarr", *asked)
    assert result.exit_code == 0 and "blocks  8, largest error 0" in result.stdout
    assert len(inrv.load("a.inrv").frames) == 8
    for name in ("back.zarr", "back.npy", "back.ome.zarr", "back.nii"):
        assert run("decode", "a.inrv", "-o", name, "-q").exit_code == 0
    assert np.array_equal(stored("back.zarr"), SCAN)
    assert zarr.open_array("back.zarr").attrs["space"] == "LPS"
    assert np.array_equal(np.load("back.npy"), SCAN.T * np.float32(0.5))
    (image,) = files.read("back.nii").grids
    assert image.topology.box is not None
    assert np.array_equal(image.dense(image.topology.box)[..., 0], SCAN.T * np.float32(0.5))
    result = run("encode", "a.zarr", *asked, "--force", "--json")
    (told,) = json.loads(result.stdout)["files"]
    assert told["blocks"] == 8 and told["active_voxels"] == SCAN.size and told["max_error"] <= 0.25


def test_blocks_that_make_no_sense(run: Run) -> None:
    pytest.importorskip("dask")
    np.save("four.npy", np.ones((4, 5, 6, 2), dtype=np.float32))
    result = run("encode", "four.npy", "--blocks", "32", "--lossless")
    assert result.exit_code == 2 and "choose one of 'four.0', 'four.1'" in result.stderr
    assert run("encode", "four.npy", "--blocks", "32", "--grid", "1", "-q").exit_code == 0
    result = run("encode", "four.npy", "--blocks", "32", "--grid", "1", "--size", "9", "--force")
    assert result.exit_code == 2 and "quality of its own" in result.stderr
    result = run("decode", "four.inrv", "-o", "four.vdb")
    assert result.exit_code == 2 and "no dense image" in result.stderr
    assert run("encode", "four.npy", "--blocks", "0").exit_code == 2
    assert run("encode", "four.npy", "--blocks", "32", "--grid", "1", "-o", "-").exit_code == 2


@pytest.mark.parametrize("beside", [True, False], ids=["in a folder of others", "one by one"])
def test_pictures_of_one_series_are_not_encoded_one_by_one(run: Run, beside: bool) -> None:
    pydicom = pytest.importorskip("pydicom")
    Path("scan").mkdir()
    for number in range(3):
        held = pydicom.Dataset()
        held.file_meta = pydicom.dataset.FileMetaDataset()
        held.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        held.file_meta.MediaStorageSOPClassUID = held.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        held.file_meta.MediaStorageSOPInstanceUID = held.SOPInstanceUID = f"1.2.3.{number}"
        held.SeriesInstanceUID, held.Rows, held.Columns, held.BitsAllocated = "1.2", 2, 2, 8
        held.save_as(f"scan/{number}.dcm", enforce_file_format=True)
    if beside:
        np.save("scan/other.npy", SCAN)
    found = ["scan"] if beside else [f"scan/{number}.dcm" for number in range(3)]
    result = run("encode", *found, "-o", "out/", "--lossless")
    assert result.exit_code == 3 and "are pictures of one DICOM series" in result.stderr
    assert not Path("out").exists()


def test_an_unknown_suffix_is_told(run: Run) -> None:
    np.save("a.npy", SCAN)
    assert run("encode", "a.npy", "--lossless", "-q").exit_code == 0
    result = run("decode", "a.inrv", "-o", "a.nc")
    assert result.exit_code == 0 and "a.nc: no type of files that is known" in result.stderr
