"""The backend of xarray: data sets and trees, lazily, with coordinates of world space."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv

xarray = pytest.importorskip("xarray")

from inrv.integrations.xarray import InrvBackend  # noqa: E402

X = np.linspace(0, 3, 40, dtype=np.float32)
FOG = 1.5 + np.sin(X)[:, None, None] * np.cos(X)[:, None] * np.sin(2 * X)
BOUNDED = inrv.EncodeOptions(effort="instant", max_error=0.01)
PLACED = inrv.Transform.from_voxel_size((0.5, 1, 2), (10, 20, 30))


def opened(*args: Any, **kwargs: Any) -> Any:
    return xarray.open_dataset(*args, engine=InrvBackend, **kwargs)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scalar grid, and a smaller vector grid."""
    path = tmp_path_factory.mktemp("xarray") / "fog.inrv"
    active = np.zeros(FOG.shape, dtype=bool)
    active[8:, 4:, :] = True
    wind = np.stack([FOG, 2 * FOG, FOG - 1], axis=-1)[:20, :20, :20]
    grids = [
        inrv.sparse_grid(FOG, "fog", PLACED, background=0.25, active=active),
        inrv.sparse_grid(wind, "wind", PLACED, grid_class="staggered"),
    ]
    inrv.encode(grids, path, BOUNDED)
    return path


def test_a_data_set_has_a_variable_a_grid_in_the_box_of_all(file: Path) -> None:
    data, volume = opened(file), inrv.load(file)
    assert dict(data.sizes) == {"x": 40, "y": 40, "z": 40, "component": 3}
    assert data.fog.dims == ("x", "y", "z") and data.wind.dims == ("x", "y", "z", "component")
    assert data.fog.dtype == np.float32
    whole = volume["fog"].dense(volume.box)
    assert np.array_equal(data.fog.isel(x=slice(3, 9), y=5).values, whole[3:9, 5])
    assert np.array_equal(data.fog[::-1, [7, 2], -1].values, whole[::-1][:, [7, 2], -1])
    points = {name: xarray.DataArray([3, 30, 12], dims="point") for name in "xyz"}
    assert np.array_equal(
        data.fog.isel(points).values, whole[[3, 30, 12], [3, 30, 12], [3, 30, 12]]
    )
    assert data.wind.sel(component="y").shape == (40, 40, 40)
    assert np.array_equal(data.fog.values, whole)


def test_coordinates_are_those_of_voxels_in_world_space(file: Path) -> None:
    data, fog = opened(file), inrv.load(file)["fog"]
    near = data.fog.sel(x=14.6, y=35.2, z=70.9, method="nearest")
    assert (near.x, near.y, near.z) == (14.5, 35, 70)
    assert near == fog[9, 15, 20] == fog.sample([14.5, 35, 70], space="world")
    assert data.x.attrs == {"space": "world"}


def test_attributes_tell_class_background_and_quality(file: Path) -> None:
    data = opened(file)
    told = data.fog.attrs
    assert (told["grid_class"], told["background"], told["max_error"]) == ("fog volume", 0.25, 0.01)
    assert told["psnr"] > 40 and "no error above 0.01" in told["quality"]
    affine = np.reshape(told["affine"], (4, 4))
    assert (affine @ [2, 3, 4, 1]).tolist() == [11, 23, 38, 1]
    assert (
        data.wind.attrs["grid_class"] == "staggered" and data.wind.attrs["background"] == [0.0] * 3
    )
    assert data.attrs["source"] == str(file)


def test_levels_of_detail_are_had_by_number(file: Path) -> None:
    data, fog = opened(file, level=2, drop_variables="wind"), inrv.load(file)["fog"]
    assert list(data) == ["fog"] and np.array_equal(data.fog.values, fog.dense(fog.box, stride=4))
    assert data.x.values[:2].tolist() == [14, 16]
    with pytest.raises(inrv.OptionError, match="level 7"):
        opened(file, level=7)


def test_chunks_that_are_preferred_end_where_regions_do(tmp_path: Path) -> None:
    active = np.zeros((270, 5, 5), dtype=bool)
    active[100:] = True
    inrv.encode_array(np.ones(active.shape), tmp_path / "a.inrv", BOUNDED, active=active)
    chunks = opened(tmp_path / "a.inrv").density.encoding["preferred_chunks"]
    assert chunks == {"x": (28, 128, 14), "y": (5,), "z": (5,)}


def test_a_tree_has_a_node_a_grid_with_its_own_box(file: Path) -> None:
    tree = xarray.open_datatree(file, engine=InrvBackend)
    assert {name: dict(node.sizes) for name, node in tree.children.items()} == {
        "fog": {"x": 32, "y": 36, "z": 40},
        "wind": {"x": 20, "y": 20, "z": 20, "component": 3},
    }
    alone = opened(file, group="fog")
    assert np.array_equal(tree["fog/fog"].values, alone.fog.values)
    with pytest.raises(inrv.MissingGridError, match="no grid 'fire'"):
        opened(file, group="fire")


def test_grids_that_lie_differently_have_no_axes_in_common(tmp_path: Path) -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.6, 0.8], [-0.8, 0.6]]
    grids = [
        inrv.sparse_grid(FOG[:9, :9, :9], "x", PLACED),
        inrv.sparse_grid(FOG[:9, :9, :9], "turned", inrv.Transform("AffineMap", turned)),
    ]
    inrv.encode(grids, tmp_path / "two.inrv", BOUNDED)
    with pytest.raises(inrv.OptionError, match=r"'x' and 'turned' have different .*open_datatree"):
        opened(tmp_path / "two.inrv")
    tree = xarray.open_datatree(tmp_path / "two.inrv", engine=InrvBackend)
    assert tree["x"].x_grid.shape == (9, 9, 9)  # x is the name of an axis
    one = tree["turned"]
    assert one.x.attrs == {"space": "index"} and one.x.values.tolist() == list(range(9))
    assert np.allclose(np.reshape(one.turned.attrs["affine"], (4, 4)), turned.T)


@pytest.mark.parametrize("fps", [None, 10])
def test_a_sequence_has_time_first(tmp_path: Path, fps: int | None) -> None:
    path = tmp_path / "run.inrv"
    with inrv.SequenceWriter(path, BOUNDED, fps=fps) as writer:
        for number in range(3):
            writer.add(None if fps is None else number / fps, {"a": FOG[:9, :9, :9] + number})
    data = opened(path)
    assert data.a.dims == ("time", "x", "y", "z") and data.frame.values.tolist() == [0, 1, 2]
    assert ("time" in data.coords) == (fps is not None)
    if fps:
        assert data.a.sel(time=0.12, method="nearest").frame == 1
        assert data.time.attrs == {"unit": "s"}
    assert np.abs(data.a[2, :, 4].values - FOG[:9, 4, :9] - 2).max() <= 0.0101


def test_files_are_known_by_name_and_by_their_first_bytes(file: Path) -> None:
    backend = InrvBackend()
    assert backend.guess_can_open(file) and backend.guess_can_open("https://host/A.INRV")
    assert not backend.guess_can_open("fog.nc")
    assert backend.guess_can_open(file.read_bytes()) and not backend.guess_can_open(b"CDF\x01")
    assert not backend.guess_can_open(io.BytesIO())
    assert np.array_equal(opened(io.BytesIO(file.read_bytes())).fog[3].values, opened(file).fog[3])


def test_a_file_without_active_voxels_is_empty_and_others_are_told(tmp_path: Path) -> None:
    inrv.encode_array(np.zeros((4, 4, 4)), tmp_path / "empty.inrv")
    assert opened(tmp_path / "empty.inrv").density.shape == (0, 0, 0)
    (tmp_path / "junk.inrv").write_bytes(b"junk")
    with pytest.raises(inrv.FormatError, match=r"junk\.inrv"):
        opened(tmp_path / "junk.inrv")
