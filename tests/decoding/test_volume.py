"""An open file as its user meets it: a mapping of grids, sampled, sliced, pickled, shown."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inrv
from inrv import EncodeOptions, FormatError, OptionError, SparseVolume, sparse_grid
from inrv.decoding.volume import unique_keys
from inrv.grids import PassthroughGrid

INSTANT = EncodeOptions(effort="instant", device="cpu")
X, Y, Z = np.mgrid[0:20, 0:18, 0:22].astype(np.float32)
FOG = np.maximum(np.exp(-((X - 10) ** 2 + (Y - 9) ** 2 + (Z - 11) ** 2) / 40) - 0.05, 0)
WIND = np.stack([FOG, 2 * FOG, 1 - FOG], axis=3)


@pytest.fixture(scope="module")
def data() -> bytes:
    grids = [
        sparse_grid(FOG, "density"),
        sparse_grid(WIND, "wind"),
        sparse_grid(2 * FOG, "density"),
        sparse_grid(0 * FOG, ""),
    ]
    return inrv.encode_bytes(grids, INSTANT)[0]


@pytest.fixture
def volume(data: bytes) -> inrv.Volume:
    return inrv.load(data, "cpu")


def test_a_volume_is_a_mapping_of_its_grids(volume: inrv.Volume) -> None:
    assert (
        list(volume) == list(volume.keys()) == ["density", "wind", "density[1]", "[0]"]
        and len(volume) == 4
    )
    assert [grid.position for grid in volume.values()] == [0, 1, 2, 3] and dict(volume)[
        "wind"
    ] is volume["wind"] is volume[1]
    assert (
        "density" in volume
        and "density[1]" in volume
        and 3 in volume
        and "heat" not in volume
        and 4 not in volume
    )
    assert volume["density[1]"] is volume[2] and volume.get("heat") is None
    assert volume == volume and volume != inrv.load(
        b"".join([volume.container.file.data or b""]), "cpu"
    )
    assert {volume: 1}[volume] == 1


def test_a_missing_grid_is_a_key_error_that_reads_like_any_other(volume: inrv.Volume) -> None:
    for error in (KeyError, OptionError, inrv.MissingGridError):
        with pytest.raises(
            error, match=r"^<bytes>: no grid 'heat'; the file holds 'density', 'wind'"
        ) as caught:
            volume["heat"]
        assert str(caught.value).startswith("<bytes>")


def test_keys_are_unique_whatever_the_names() -> None:
    assert unique_keys(["a", "b", "a", "a"]) == ["a", "b", "a[1]", "a[2]"]
    assert unique_keys(["", "a", ""]) == ["[0]", "a", "[1]"]
    assert unique_keys(["a", "a", "a[1]", "a"]) == ["a", "a[2]", "a[1]", "a[3]"]
    assert unique_keys(["a[1]", "a[1]"]) == ["a[1]", "a[1][1]"]


def test_a_volume_of_passthrough_grids_holds_no_values() -> None:
    passthrough = PassthroughGrid(
        0, "flags", "Tree_int32_5_4_3", False, None, 4, b"tree", "int32 values"
    )
    volume = inrv.load(inrv.encode_bytes(SparseVolume((), passthrough=(passthrough,)), INSTANT)[0])
    assert (
        len(volume) == 0
        and "flags" not in volume
        and "'flags': Tree_int32_5_4_3, passed through" in repr(volume)
    )


def test_what_is_shown_tells_grids_sizes_and_quality(data: bytes) -> None:
    bounded, _ = inrv.encode_bytes(
        {"density": np.pad(FOG, 2)}, EncodeOptions(effort="instant", max_error="1%")
    )
    shown = repr(inrv.load(bounded, "cpu"))
    assert shown.startswith(
        f"<inrv.Volume '<bytes>', {len(bounded):,} bytes>\n  'density': float, fog volume, "
    )
    assert " active voxels, box (2, 2, 3) to (21, 19, 23), no error above 1%, PSNR " in shown
    shown = repr(inrv.load(data, "cpu")["wind"])
    assert shown.startswith(
        "<inrv.VolumeGrid 'wind' of '<bytes>': vec3s, unknown, 7,920 active voxels, "
        "box (0, 0, 0) to (19, 17, 21), PSNR 4"
    )
    assert len(shown) < 200 and "\n" not in shown
    assert "values exact" in repr(inrv.load(data, "cpu")[3])


def test_a_volume_may_be_used_in_a_with_statement(data: bytes) -> None:
    with inrv.load(data, "cpu") as volume:
        grid = volume["density"]
    assert grid.dense().shape == grid.box.shape  # type: ignore[union-attr]


def test_a_grid_is_an_array_of_its_active_box(volume: inrv.Volume) -> None:
    grid = volume["density"]
    array = np.asarray(grid)
    assert (
        array.dtype == np.float32
        and np.array_equal(array, grid.dense())
        and isinstance(grid.dense(), np.ndarray)
    )
    assert np.asarray(volume["wind"], dtype=np.float64).shape == (20, 18, 22, 3)
    with pytest.raises(ValueError, match="without a copy"):
        grid.__array__(copy=False)
    with pytest.raises(OptionError, match="no active voxel"):
        np.asarray(volume[3])


def test_slices_are_blocks_in_index_space(volume: inrv.Volume) -> None:
    grid, whole = volume["wind"], volume["wind"].dense(((-10, 0, 0), (29, 17, 21)))
    assert np.array_equal(grid[-5:25:3, :, 5], whole[5:35:3, :, 5])
    assert np.array_equal(grid[...], whole[10:30]) and np.array_equal(grid[:], whole[10:30])
    assert np.array_equal(grid[..., 4:6], whole[10:30, :, 4:6]) and np.array_equal(
        grid[-1], whole[9]
    )
    assert np.array_equal(grid[np.int64(3), 4, 5], whole[13, 4, 5]) and grid[3, 4, 5].shape == (3,)
    assert (
        volume["density"][10, 9, 11].shape == ()
        and grid[4:4].shape == (0, 18, 22, 3)
        and grid[:, 3, 5:1].shape == (20, 0, 3)
    )
    assert (volume[3][0:2, 0:2, 0:2] == 0).all()


@pytest.mark.parametrize(
    "subscript", [(1, 2, 3, 4), 1.5, slice(None, None, -1), slice(0.5, 2), "x", None, (..., 1, ...)]
)
def test_other_subscripts_are_errors(volume: inrv.Volume, subscript: Any) -> None:
    with pytest.raises(OptionError):
        volume["density"][subscript]


HUGE = (2**31, -(2**31), 2**63, 10**30, -(10**30))


@pytest.mark.parametrize("huge", HUGE)
def test_coordinates_that_are_too_far_away_are_named(volume: inrv.Volume, huge: int) -> None:
    grid, end = volume["density"], 2**31 - 1
    for subscript in (huge, (0, huge), slice(huge, 4), slice(0, huge), (..., slice(huge, huge))):
        with pytest.raises(OptionError, match=f"^{huge} along .* from -{end} to {end}$"):
            grid[subscript]
    for work in (grid.dense, grid.crop, grid.tensor, lambda box: grid.level(1, box), inrv.Box.of):
        with pytest.raises(OptionError, match=str(huge)):
            work((np.minimum(0, [huge] * 3).tolist(), np.maximum(0, [huge] * 3).tolist()))
    assert (grid[end, 0, 0], grid[-end, 0, 0]) == (0, 0)
    assert np.array_equal(grid[0 : 4 : abs(huge), 9, 11], grid[0:1, 9, 11])


def test_voxels_are_asked_for_by_three_whole_numbers(volume: inrv.Volume) -> None:
    for grid in volume.grids:
        places = [[10, 9, 11], [3, 4, 5], [2**62, 0, 0], [-(2**62), 0, 0]]
        found = grid.voxels(places)
        assert np.array_equal(found, grid.voxels(np.array(places, dtype=np.float64)))
        assert np.array_equal(found[0].reshape(-1), np.asarray(grid[10, 9, 11]).reshape(-1))
        assert (found[2:] == grid.to_grid().background).all()
    wrong = (
        [1, 2, 3],
        [[1, 2]],
        [[1, 2, 0.5]],
        [[1, 2, np.nan]],
        [[1, 2, np.inf]],
        "x",
        [[10**30, 0, 0]],
    )
    for coordinates in wrong:
        with pytest.raises(OptionError, match="coordinates"):
            volume["density"].voxels(coordinates)


def test_a_grid_is_not_walked_through_without_an_end(volume: inrv.Volume) -> None:
    with pytest.raises(TypeError):
        iter(volume["density"])  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="no active voxel"):
        volume[3][:]


@pytest.mark.parametrize(
    "box",
    [
        ((0, 0, 0), (4, 5, 6)),
        [[0, 0, 0], [4, 5, 6]],
        np.array([[0, 0, 0], [4.0, 5, 6]]),
        torch.tensor([[0, 0, 0], [4, 5, 6]]),
    ],
)
def test_a_box_is_two_corners_of_any_kind(volume: inrv.Volume, box: Any) -> None:
    expected = volume["density"].dense(inrv.Box((0, 0, 0), (4, 5, 6)))
    assert np.array_equal(volume["density"].dense(box), expected)
    assert torch.equal(volume["density"].tensor(box), torch.from_numpy(expected))
    assert inrv.Box(*box) == inrv.Box.of(box) == inrv.Box((0, 0, 0), (4, 5, 6)) and hash(
        inrv.Box(*box)
    )


@pytest.mark.parametrize(
    "box", [5, (1, 2, 3), ((0, 0), (1, 1)), ((0, 0, 0), (1, 1, 1.5)), ((5, 5, 5), (1, 1, 1))]
)
def test_other_boxes_are_errors(volume: inrv.Volume, box: Any) -> None:
    with pytest.raises(OptionError, match=r"box|corner"):
        volume["density"].dense(box)


def test_points_of_any_kind_give_values_of_their_kind(volume: inrv.Volume) -> None:
    grid, points = volume["density"], [[10, 9, 11], [3.5, 4.25, 5]]
    expected = grid.sample(torch.tensor(points, dtype=torch.float64))
    assert isinstance(expected, torch.Tensor) and expected.dtype == torch.float32
    kinds = (
        points,
        tuple(map(tuple, points)),
        np.array(points),
        np.array(points, ">f4"),
        np.array(points)[::-1][::-1],
    )
    for given in kinds:
        values = grid.sample(given)
        assert isinstance(values, np.ndarray) and np.array_equal(values, expected.numpy())
    assert grid.sample([10, 9, 11]) == float(expected[0]) and isinstance(
        grid.sample([10, 9, 11]), np.float32
    )
    assert grid.sample(torch.tensor([10, 9, 11])).shape == () and volume["wind"].sample(
        (10, 9, 11)
    ).shape == (3,)
    assert grid.sample(np.zeros((4, 5, 3))).shape == (4, 5) and volume["wind"].sample(
        torch.zeros(4, 5, 3)
    ).shape == (4, 5, 3)
    assert grid.sample(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    "points",
    [
        [1, 2],
        5,
        [],
        [[1, 2, 3], [4, 5]],
        np.zeros((3, 3), complex),
        [[1, 2, float("nan")]],
        "points",
    ],
)
def test_other_points_are_errors(volume: inrv.Volume, points: Any) -> None:
    with pytest.raises(OptionError, match="point"):
        volume["density"].sample(points)


def on_faces() -> tuple[inrv.VolumeGrid, np.ndarray, np.ndarray]:
    """A staggered velocity whose components are linear in the place of their faces.

    Also these places, and the slopes.
    """
    slopes = np.array([[0.5, -0.25, 0.125], [0.25, 1.0, -0.5], [-0.125, 0.5, 0.75]])
    centres = np.stack(np.meshgrid(*[np.arange(10.0)] * 3, indexing="ij"), axis=3)
    faces = centres[..., None, :] - 0.5 * np.eye(3)
    grid = sparse_grid(
        (faces * slopes).sum(axis=4), "v", active=np.ones((10, 10, 10)), grid_class="staggered"
    )
    return inrv.load(inrv.encode_bytes(grid, INSTANT)[0], "cpu")["v"], faces, slopes


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_a_staggered_velocity_is_sampled_on_its_faces(kind: Any) -> None:
    grid, faces, slopes = on_faces()
    points = 1 + 7 * np.random.default_rng(0).random((200, 3))
    np.testing.assert_allclose(
        np.asarray(grid.sample(kind(points))), points @ slopes.T, atol=1e-6, rtol=0
    )
    inner = (slice(2, 8),) * 3
    at_faces = faces[inner].reshape(-1, 3, 3)
    stored = grid.dense(((2, 2, 2), (7, 7, 7))).reshape(-1, 3)
    for axis in range(3):
        for interpolation in ("trilinear", "nearest"):
            found = np.asarray(grid.sample(kind(at_faces[:, axis]), interpolation=interpolation))
            assert np.array_equal(found[:, axis], stored[:, axis])


def test_staggering_holds_in_world_space_and_for_no_other_class() -> None:
    grid, _, slopes = on_faces()
    half = inrv.Transform.from_voxel_size(0.5, (1, 2, 3))
    moved = inrv.load(
        inrv.encode_bytes(
            sparse_grid(np.asarray(grid), "v", half, grid_class="staggered"), INSTANT
        )[0],
        "cpu",
    )["v"]
    points = np.array([[4.5, 3.25, 5.0]])
    np.testing.assert_allclose(
        moved.sample(points * 0.5 + [1, 2, 3], space="world"), points @ slopes.T, atol=1e-6
    )
    centred = inrv.load(inrv.encode_bytes(sparse_grid(np.asarray(grid), "v"), INSTANT)[0], "cpu")[
        "v"
    ]
    assert np.array_equal(centred.sample([4, 3, 5]), centred[4, 3, 5])


def test_a_volume_and_its_grids_pickle_by_path(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fog.inrv").write_bytes(data)
    volume = inrv.load("fog.inrv", "cpu", inrv.Limits(grids=7))
    pickled = pickle.dumps((volume, volume["wind"], volume[2]))
    assert len(pickled) < 1000 < len(data)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again, wind, second = pickle.loads(pickled)
    assert again["wind"] is wind and again[2] is second and again.container.limits.grids == 7
    assert np.array_equal(wind.dense(), volume["wind"].dense()) and again.device == volume.device
    assert np.array_equal(copy.deepcopy(volume)["wind"].values(), wind.values())


def test_a_volume_of_bytes_pickles_with_them(volume: inrv.Volume) -> None:
    assert np.array_equal(
        pickle.loads(pickle.dumps(volume["density"])).values(), volume["density"].values()
    )


def test_a_file_that_was_replaced_is_named_so_and_not_called_damaged(
    data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "fog.inrv"
    path.write_bytes(data)
    volume, pickled = inrv.load(path, "cpu"), pickle.dumps(inrv.load(path, "cpu"))
    path.touch()  # the same bytes
    assert np.isfinite(volume["density"].values()).all()
    (tmp_path / "new.inrv").write_bytes(inrv.encode_bytes({"density": FOG + 1}, INSTANT)[0])
    os.replace(tmp_path / "new.inrv", path)
    for act in (lambda: volume["wind"].dense(), lambda: pickle.loads(pickled)):
        with pytest.raises(
            FormatError, match=r"fog\.inrv was replaced since it was opened.*open it anew"
        ) as caught:
            act()
        assert "damaged" not in str(caught.value)
    path.unlink()
    for act in (lambda: volume["wind"].dense(), lambda: pickle.loads(pickled)):
        with pytest.raises(
            FormatError, match=r"fog\.inrv:? (can no longer|cannot) be read: No such file"
        ):
            act()
