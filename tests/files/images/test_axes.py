"""Arrays whose axes stand in another order than x, y, z."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import EncodeOptions, OptionError, files
from tests.files.images.vti_files import dense

ARRAY = np.random.default_rng(1).normal(50, 20, (4, 5, 6)).astype(np.float32)
EXACT = EncodeOptions(lossless=True, effort="instant", device="cpu")


@pytest.mark.parametrize("axes", ["xyz", "zyx", "yzx", "xzy"])
def test_an_array_comes_back_in_its_own_order(tmp_path: Path, axes: str) -> None:
    inrv.encode_array(ARRAY, tmp_path / "a.inrv", EXACT, axes=axes)
    volume = inrv.load(tmp_path / "a.inrv", "cpu")
    ordered = ARRAY.transpose([axes.index(letter) for letter in "xyz"])
    assert np.array_equal(volume["density"].dense(), ordered)
    assert files.write(tmp_path / "back.npy", volume.to_sparse()) == []
    assert np.array_equal(np.load(tmp_path / "back.npy"), ARRAY)


@pytest.mark.parametrize(
    ("axes", "shape"), [("tzyx", (2, 4, 5, 6)), ("zcyx", (4, 2, 5, 6)), ("tzyxv", (2, 4, 5, 6, 3))]
)
def test_moments_and_channels_are_grids(tmp_path: Path, axes: str, shape: Any) -> None:
    array = np.random.default_rng(2).integers(0, 900, shape).astype(np.int16)
    np.save(tmp_path / "run.npy", array)
    volume = files.read(tmp_path / "run.npy", axes=axes)
    assert [grid.name for grid in volume.grids] == ["run.0", "run.1"]
    first = array.take(0, axis=axes.index("t" if "t" in axes else "c"))
    assert np.array_equal(dense(volume.grids[0]), first.transpose(2, 1, 0, *range(3, first.ndim)))
    for name, path in (("arrays", "b.npy"), ("file", "c.npy")):
        coded = tmp_path / f"{name}.inrv"
        if name == "arrays":
            inrv.encode_array(array, coded, EXACT, name="run", axes=axes)
        else:
            options = EncodeOptions(lossless=True, effort="instant", device="cpu", axes=axes)
            inrv.encode(tmp_path / "run.npy", coded, options)
        files.write(tmp_path / path, inrv.load(coded, "cpu").to_sparse())
        back = np.load(tmp_path / path)
        assert back.dtype == np.int16 and np.array_equal(back, array)


def test_some_parts_keep_the_order_of_the_axes_that_are_left(tmp_path: Path) -> None:
    array = np.random.default_rng(3).integers(0, 900, (4, 3, 2, 5, 6)).astype(np.int16)
    np.save(tmp_path / "run.npy", array)  # z, c, t, y, x
    for wanted, left in (
        (["run.1", "run.3", "run.5"], array[:, :, 1]),
        (["run.3"], array[:, 1, 1]),
    ):
        files.write(tmp_path / "b.npy", files.read(tmp_path / "run.npy", wanted, axes="zctyx"))
        assert np.array_equal(np.load(tmp_path / "b.npy"), left)


def test_zarr_arrays_without_names_take_axes(tmp_path: Path) -> None:
    zarr: Any = pytest.importorskip("zarr")
    for axes, shape in (("xyz", (4, 5, 6)), ("xtzy", (4, 2, 5, 6)), ("yxzv", (4, 5, 6, 3))):
        array = np.random.default_rng(2).integers(0, 900, shape).astype(np.int16)
        zarr.save_array(str(tmp_path / f"{axes}.zarr"), array)
        volume = files.read(tmp_path / f"{axes}.zarr", axes=axes)
        order = [axes.index(letter) for letter in "xyztv" if letter in axes]
        found = np.stack([dense(grid) for grid in volume.grids], axis=3)
        assert np.array_equal(
            found.reshape([shape[axis] for axis in order]), array.transpose(order)
        )
        assert files.write(tmp_path / f"{axes}.back.zarr", volume) == []
        assert np.array_equal(zarr.open(str(tmp_path / f"{axes}.back.zarr"))[...], array)
        with pytest.raises(OptionError, match="axes"):
            files.read(tmp_path / f"{axes}.back.zarr", axes=axes)


def test_masks_and_backgrounds_go_with_the_array(tmp_path: Path) -> None:
    active = ARRAY > 50
    masked = np.ma.MaskedArray(ARRAY, ~active)
    for array, mask in ((ARRAY, active), (masked, None)):
        inrv.encode_array(
            array, tmp_path / "a.inrv", EXACT, axes="zyx", active=mask, overwrite=True
        )
        grid = inrv.load(tmp_path / "a.inrv", "cpu").to_sparse().grids[0]
        assert grid.topology.active_voxel_count == active.sum()
        assert np.array_equal(dense(grid), np.where(active, ARRAY, 0).T)


def test_an_axis_of_space_may_be_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "slice.npy", ARRAY[0])
    (grid,) = files.read(tmp_path / "slice.npy", axes="yx").grids
    assert np.array_equal(dense(grid), ARRAY[0].T[..., None])
    files.write(tmp_path / "back.npy", inrv.SparseVolume((grid,)))
    assert np.array_equal(np.load(tmp_path / "back.npy"), ARRAY[0])


@pytest.mark.parametrize("axes", ["", "zyy", "abc", "tc", "zy", "zyxt", "ZYX"])
def test_letters_that_tell_no_axes_are_refused(tmp_path: Path, axes: str) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    with pytest.raises(OptionError, match="axes"):
        files.read(tmp_path / "a.npy", axes=axes)
    with pytest.raises(OptionError, match="axes"):
        inrv.encode_array(ARRAY, tmp_path / "a.inrv", EXACT, axes=axes)
    assert not (tmp_path / "a.inrv").exists()


def test_files_that_tell_their_axes_take_none(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    volume = files.read(tmp_path / "a.npy")
    for name in ("a.vdb", "a.vol", "a.vti"):
        files.write(tmp_path / name, volume)
        with pytest.raises(OptionError, match=rf"{name} tells its axes itself"):
            files.read(tmp_path / name, axes="zyx")
    with pytest.raises(OptionError, match="encode_array"):
        inrv.encode_bytes(volume, EncodeOptions(axes="zyx"))
