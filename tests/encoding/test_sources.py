"""What can be encoded: arrays by name, grids with properties, open files; and what cannot."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inrv
from inrv import EncodeOptions, MetaValue, OptionError, SparseVolume, Transform, sparse_grid
from inrv.encoding.preparation import find_nonfinite
from inrv.grids import LeafValues, without_nonfinite

INSTANT = EncodeOptions(effort="instant", device="cpu")
CLOUD = np.random.default_rng(5).random((9, 10, 11)).astype(np.float32)


def test_several_arrays_make_one_file(tmp_path: Path) -> None:
    wind = np.stack([CLOUD] * 3, axis=3)
    report = inrv.encode({"density": CLOUD, "wind": wind}, tmp_path / "scene.inrv", INSTANT)
    volume = inrv.load(tmp_path / "scene.inrv", "cpu")
    assert list(volume) == ["density", "wind"] and [told.name for told in report.grids] == [
        "density",
        "wind",
    ]
    assert np.array_equal(np.asarray(volume["density"]), CLOUD)


def test_each_grid_has_properties_of_its_own() -> None:
    first = sparse_grid(
        CLOUD,
        "density",
        Transform.from_voxel_size(0.5, (1, 2, 3)),
        metadata={"author": "us", "frame": np.int32(7)},
    )
    second = sparse_grid(
        np.stack([CLOUD] * 3, axis=3),
        "vel",
        grid_class="staggered",
        vector_type="contravariant relative",
        background=(0, 0, 1),
    )
    volume = inrv.load(inrv.encode_bytes([first, second], INSTANT)[0], "cpu")
    density, velocity = (volume[name].to_grid() for name in ("density", "vel"))
    assert density.transform == first.transform and density.grid_class == "fog volume"
    assert density.metadata == {"author": MetaValue("string", "us"), "frame": MetaValue("int32", 7)}
    assert (velocity.grid_class, velocity.vector_type) == ("staggered", "contravariant relative")
    assert velocity.background.tolist() == [0, 0, 1] and velocity.transform == Transform()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, MetaValue("bool", True)),
        (np.int64(1 << 40), MetaValue("int64", 1 << 40)),
        (np.float32(0.5), MetaValue("double", 0.5)),
        ("x", MetaValue("string", "x")),
        ((1, 2, 3), MetaValue("vec3i", (1, 2, 3))),
        (np.array([0.5, 1]), MetaValue("vec2d", (0.5, 1.0))),
        (MetaValue("float", 2.0), MetaValue("float", 2.0)),
    ],
)
def test_metadata_takes_plain_values(value: Any, expected: MetaValue) -> None:
    assert MetaValue.of(value) == expected


def test_wrong_properties_are_errors() -> None:
    with pytest.raises(OptionError, match="grid class 'level_set' is not one of"):
        sparse_grid(CLOUD, grid_class="level_set")
    with pytest.raises(OptionError, match="vector type 'up'"):
        sparse_grid(CLOUD, vector_type="up")
    with pytest.raises(OptionError, match="background"):
        sparse_grid(CLOUD, background=(1, 2))
    with pytest.raises(OptionError, match="metadata"):
        sparse_grid(CLOUD, metadata={"all": CLOUD})
    with pytest.raises(OptionError, match="metadata is of type int"):
        sparse_grid(CLOUD, metadata=3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="active mask shape"):
        sparse_grid(CLOUD, active=CLOUD[0])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2**70, "'a': metadata 1180591620717411303424 has more than 64 bits"),
        ((2**40, 1, 2), r"'a': metadata \(1099511627776, 1, 2\) is no .* 32 bits"),
        ((2**70, 1, 2), r"'a': metadata \(1180591620717411303424, 1, 2\) is no .* 32 bits"),
        (None, "'a': metadata None is no"),
        (b"abc", "'a': metadata b'abc' is no"),
        ("\ud800", r"'a': metadata is '\\ud800', which no file can hold"),
        (MetaValue("int32", 2**31), r"metadata\.a\.value is 2147483648: .* of 32 bits"),
        (MetaValue("int32", "x"), r"metadata\.a\.value is 'x': .* of 32 bits"),
        (MetaValue("vec3i", (1, 2)), r"metadata\.a\.value is \[1, 2\]: .* 3 items"),
        (MetaValue("float", 1e300), r"metadata\.a\.value is 1e\+300: .* float32"),
        (MetaValue("unheard", 5), r"metadata\.a\.value is 5: .* 'unheard'"),
        (MetaValue(5, "x"), r"metadata\.a\.type is 5"),  # type: ignore[arg-type]
    ],
)
def test_metadata_that_no_file_can_hold_are_refused_at_the_door(value: Any, words: str) -> None:
    with pytest.raises(OptionError, match=f"^grid 'fog': {words}"):
        inrv.encode_bytes(sparse_grid(CLOUD, "fog", metadata={"a": value}), INSTANT)
    with pytest.raises(OptionError, match=f"^the volume: {words}"):
        inrv.encode_bytes(SparseVolume((sparse_grid(CLOUD),), {"a": value}), INSTANT)


def test_a_volume_takes_what_a_grid_takes() -> None:
    grid = sparse_grid(CLOUD, "fog")
    given: Any = {"frame": 7, "kept": MetaValue("unheard", b"12"), "odd": "\udcff"}
    volume = SparseVolume([grid], given, vdb_version=[224, 10, 0])  # type: ignore[arg-type]
    expected = {**given, "frame": MetaValue("int32", 7), "odd": MetaValue("string", "\udcff")}
    assert volume.grids == (grid,) and volume.metadata == expected
    assert inrv.load(inrv.encode_bytes(volume, INSTANT)[0]).to_sparse().metadata == expected
    assert replace(grid, metadata=given).metadata == expected


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"metadata": 3}, "the volume: metadata is of type int: give values by name"),
        ({"metadata": {3: 4}}, "the volume: a name of metadata is 3: it must be a text"),
        ({"grids": 5}, "grids of a volume is of type int"),
        ({"grids": sparse_grid(CLOUD)}, r"grids of a volume is of type Grid: .* inrv\.Grid"),
        ({"grids": (CLOUD,)}, r"grids\[0\] of a volume is of type ndarray, not inrv\.Grid"),
        ({"passthrough": (3,)}, r"passthrough\[0\] of a volume is of type int"),
        ({"vdb_version": 3}, "vdb_version 3 is not three whole numbers"),
        ({"vdb_version": (2**70, 1, 1)}, "vdb_version holds 1180591620717411303424"),
        ({"vdb_version": (1, 1, 1)}, r"vdb_version is \[1, 1, 1\]: its first number must be from"),
    ],
)
def test_a_volume_refuses_what_is_of_another_kind(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        inrv.encode_bytes(SparseVolume(**{"grids": (sparse_grid(CLOUD),), **wrong}), INSTANT)


@pytest.mark.parametrize("name", [3, None, "a\ud800"])
def test_the_name_of_a_grid_is_a_text(name: Any) -> None:
    for make in (
        lambda: sparse_grid(CLOUD, name),
        lambda: replace(sparse_grid(CLOUD), name=name),
        lambda: inrv.encode_bytes({name: CLOUD}),
    ):
        with pytest.raises(OptionError, match="the name of a grid is "):
            make()


@pytest.mark.parametrize("nothing", [{}, [], ()])
def test_nothing_cannot_be_encoded(nothing: Any) -> None:
    with pytest.raises(OptionError, match="no grid to encode"):
        inrv.encode_bytes(nothing)


def test_options_are_of_their_type() -> None:
    with pytest.raises(OptionError, match=r"options is of type dict: give inrv\.EncodeOptions"):
        inrv.encode_bytes({"density": CLOUD}, {})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="progress is of type int: give a function"):
        inrv.encode_bytes({"density": CLOUD}, progress=3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"checkpoint is of type str: .*Checkpoint\.beside"):
        inrv.encode_bytes({"density": CLOUD}, checkpoint="x")  # type: ignore[arg-type]


def test_an_open_file_and_grids_of_it_can_be_encoded_again(tmp_path: Path) -> None:
    grid = sparse_grid(CLOUD, "density", Transform.from_voxel_size(2))
    volume = inrv.load(inrv.encode_bytes([grid, sparse_grid(2 * CLOUD, "heat")], INSTANT)[0], "cpu")
    for source in (
        volume,
        [volume["density"]],
        volume["density"],
        {"density": volume["density"]},
        grid,
    ):
        again = inrv.load(inrv.encode_bytes(source, INSTANT)[0], "cpu")["density"].to_grid()
        assert np.array_equal(again.values, grid.values) and again.transform == grid.transform
    with pytest.raises(OptionError, match=r"give it to encode\(\)"):
        inrv.encode_array(volume["density"], tmp_path / "x.inrv")


@pytest.mark.parametrize("source", [CLOUD, [CLOUD], torch.zeros(4, 4, 4), 5, None])
def test_what_cannot_be_encoded_is_an_error_that_says_how(source: Any) -> None:
    with pytest.raises(OptionError, match=r"by name, as \{'density': array\}|give a path"):
        inrv.encode_bytes(source, INSTANT)


def test_masked_voxels_are_inactive_whatever_lies_beneath() -> None:
    hidden = CLOUD > 0.7
    for fill in (1e20, np.nan, -5.0):
        masked = np.ma.array(CLOUD.copy(), mask=hidden)
        masked.data[hidden] = fill
        data, report = inrv.encode_bytes({"sea": masked}, INSTANT)
        decoded = inrv.load(data, "cpu")["sea"].dense(((0, 0, 0), (8, 9, 10)))
        assert report.grids[0].active_voxels == (~hidden).sum()
        assert np.array_equal(decoded, np.where(hidden, 0, CLOUD))


def test_voxels_that_are_not_masked_are_active_even_at_the_background() -> None:
    array = np.ma.array(np.where(CLOUD > 0.5, 0.0, CLOUD), mask=CLOUD < 0.2)
    assert sparse_grid(array).topology.active_voxel_count == (CLOUD >= 0.2).sum()
    assert sparse_grid(np.ma.array(np.zeros((4, 4, 4)))).topology.active_voxel_count == 64


def test_a_mask_and_active_voxels_both_hold() -> None:
    array = np.ma.array(CLOUD, mask=CLOUD > 0.7)
    grid = sparse_grid(array, active=CLOUD > 0.2)
    assert grid.topology.active_voxel_count == ((CLOUD > 0.2) & (CLOUD <= 0.7)).sum()
    active = np.ma.array(np.ones(CLOUD.shape, bool), mask=CLOUD > 0.7)
    assert sparse_grid(CLOUD, active=active).topology.active_voxel_count == (CLOUD <= 0.7).sum()


def test_a_vector_is_masked_as_a_whole() -> None:
    wind = np.ma.array(np.stack([CLOUD] * 3, axis=3))
    wind[1, 2, 3] = np.ma.masked
    assert sparse_grid(wind).topology.active_voxel_count == CLOUD.size - 1
    wind[4, 5, 6, 1] = np.ma.masked
    with pytest.raises(
        OptionError, match=r"voxel \(4, 5, 6\), the first of 1, has some components masked"
    ):
        sparse_grid(wind)


def test_a_level_set_has_the_negative_background_inside() -> None:
    x, y, z = np.mgrid[0:30, 0:31, 0:29] - 15.0
    distance = np.sqrt(x * x + y * y + z * z) - 11
    grid = sparse_grid(
        distance, "surface", background=2, active=abs(distance) < 2, grid_class="level set"
    )
    decoded = grid.dense(inrv.Box((0, 0, 0), (29, 30, 28)))[..., 0]
    assert np.array_equal(decoded, distance.clip(-2, 2).astype(np.float32))
    assert (
        sparse_grid(
            np.ma.masked_less(distance, -5), background=2, grid_class="level set"
        ).inactive.values.size
        == 0
    )


def with_holes() -> np.ndarray[Any, Any]:
    array = CLOUD.copy()
    array[2:4], array[5, 5, 5] = math.nan, math.inf
    return array


def test_missing_values_become_inactive_and_are_told() -> None:
    array = with_holes()
    data, report = inrv.encode_bytes(
        {"d": array}, EncodeOptions(effort="instant", nonfinite="inactive")
    )
    (told,) = report.nonfinite
    assert (told.what, told.count, told.index, told.fate) == (
        "active voxel",
        221,
        (2, 0, 0),
        "made inactive",
    )
    grid = inrv.load(data, "cpu")["d"].to_grid()
    assert (
        grid.topology.active_voxel_count
        == np.isfinite(array).sum()
        == report.grids[0].active_voxels
    )
    decoded = grid.dense(inrv.Box((0, 0, 0), (8, 9, 10)))[..., 0]
    assert np.array_equal(decoded, np.where(np.isfinite(array), array, 0))


def test_tiles_and_inactive_voxels_that_are_not_finite_take_the_background() -> None:
    array = np.full((24, 8, 8), math.nan, np.float32)
    array[:8], array[0, 0, 0] = 3.0, 0.0
    grid = sparse_grid(array)
    topology = replace(
        grid.topology,
        tile_origins=np.array([[64, 0, 0], [128, 0, 0]], dtype=np.int32),
        tile_edges=np.array([8, 128], dtype=np.int32),
        tile_active=np.array([True, False]),
    )
    odd = replace(
        grid,
        topology=topology,
        tile_values=np.array([[math.inf], [2.0]], np.float32),
        inactive=LeafValues(np.array([0]), np.array([[math.nan]], np.float32)),
    )
    clean = without_nonfinite(odd)
    assert not find_nonfinite(SparseVolume((clean,)))
    assert clean.topology.leaf_count == 1 and clean.topology.active_voxel_count == 511
    assert clean.tile_values.tolist() == [[2.0]]
    assert (clean.lookup(np.array([[64, 0, 0], [0, 0, 0], [9, 0, 0]])) == 0).all()


def test_a_leaf_without_active_voxels_stays_where_others_have_values() -> None:
    array = np.full((24, 8, 8), math.nan, np.float32)
    array[0, 0, 0], array[16, 0, 0] = 1.0, 0.0
    grid = sparse_grid(array)
    odd = replace(grid, inactive=LeafValues(np.array([2 * 512]), np.array([[7.0]], np.float32)))
    clean = without_nonfinite(odd)
    assert clean.topology.leaf_count == 2 and clean.inactive.places.tolist() == [512]
    assert clean.lookup(np.array([[0, 0, 0], [16, 0, 0], [16, 0, 1]]))[:, 0].tolist() == [
        1.0,
        7.0,
        0.0,
    ]
