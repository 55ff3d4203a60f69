"""The codec of zarr 3: arrays on disk, in memory and in shards, sliced and written over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv

zarr = pytest.importorskip("zarr")

from inrv.integrations import zarr as ours  # noqa: E402
from inrv.integrations.zarr import LatticeCodec  # noqa: E402

BOUND = 0.01


@pytest.fixture(autouse=True)
def registered() -> None:
    """Zarr knows the codec, as by the entry point of an installation."""
    zarr.registry.register_codec("inrv.lattice", LatticeCodec)


def fog(*shape: int) -> NDArray[np.float32]:
    """A smooth array that is 0 in a corner."""
    axes = np.meshgrid(*[np.linspace(0, 3, size) for size in shape], indexing="ij")
    found = sum(np.sin((n + 1) * axis) for n, axis in enumerate(axes))
    return np.maximum(found, 0).astype(np.float32)


def stored(array: NDArray[Any], store: Any = None, **settings: Any) -> Any:
    """An array, written with the codec and opened again."""
    chosen = {"max_error": BOUND} if "codec" not in settings else settings.pop("codec")
    store = {} if store is None else store
    settings = {"chunks": (16, 24, 16), "compressors": None, **settings}
    serializer = {"name": "inrv.lattice", "configuration": chosen}
    made = zarr.create_array(
        store, shape=array.shape, dtype=array.dtype, serializer=serializer, **settings
    )
    made[...] = array
    return zarr.open_array(store, mode="r+")


SELECTIONS = [
    np.s_[...],
    np.s_[3:30, 5, ::2],
    np.s_[-1, -2, -3],
    np.s_[20:4, :, :],
    np.s_[::3, 2:40:7, 5:6],
]


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("shards", [None, (32, 48, 32)], ids=["chunks", "shards"])
def test_an_array_keeps_its_bound_and_slices_are_those_of_the_whole(
    tmp_path: Path, where: str, shards: tuple[int, ...] | None
) -> None:
    array = fog(33, 40, 20)
    store = {} if where == "memory" else tmp_path / "fog.zarr"
    found = stored(array, store, shards=shards)
    whole = found[...]
    assert whole.dtype == np.float32 and np.abs(whole - array).max() <= BOUND
    assert not np.array_equal(whole, array)
    for selection in SELECTIONS:
        assert np.array_equal(found[selection], whole[selection]), selection
    rows, columns = [1, 30, 3], [4, 39, 17]
    assert np.array_equal(found.oindex[rows, :, [2, 3]], whole[np.ix_(rows, range(40), [2, 3])])
    assert np.array_equal(found.vindex[rows, columns, [2, 3, 19]], whole[rows, columns, [2, 3, 19]])


def test_a_part_that_is_written_changes_no_other_by_more_than_the_bound() -> None:
    array = fog(32, 24, 16)
    found = stored(array)
    found[3:20, 5:9, 2:4] = 7
    array[3:20, 5:9, 2:4] = 7
    assert np.abs(found[...] - array).max() <= 2 * BOUND


def test_a_chunk_that_nothing_was_written_to_takes_nothing() -> None:
    array = np.zeros((64, 24, 16), dtype=np.float32)
    array[20] = fog(24, 16)
    store: dict[str, Any] = {}
    assert np.array_equal(stored(array, store)[:16], array[:16])
    assert sorted(key for key in store if key.startswith("c/")) == ["c/1/0/0"]


@pytest.mark.parametrize("dtype", ["int16", ">u2", "uint64", "int64", "bool"])
@pytest.mark.parametrize("codec", [{"max_error": 1.7}, {"max_error": "2%"}, {"lossless": True}])
def test_whole_numbers_come_back_whole_and_keep_the_bound(
    dtype: str, codec: dict[str, Any]
) -> None:
    chance = np.random.default_rng(0)
    array = (fog(20, 24, 20) * 90 + chance.integers(0, 3, (20, 24, 20))).astype(dtype)
    found = stored(array, codec=codec)[...]
    most = {1.7: 1, "2%": int(0.02 * np.ptp(array.astype(np.float64)))}.get(
        codec.get("max_error"), 0
    )
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.abs(found.astype(np.float64) - array.astype(np.float64)).max() <= most


def test_a_psnr_holds_after_whole_numbers_are_rounded() -> None:
    chance = np.random.default_rng(0)
    array = (fog(16, 24, 16) * 3 + chance.integers(0, 3, (16, 24, 16))).astype(np.int16) + 1
    found = stored(array, codec={"psnr": 22})[...].astype(np.float64)
    error = np.square(found - array).mean()
    assert error > 0 and 10 * np.log10(np.ptp(array) ** 2 / error) >= 22


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("codec", [{"max_error": BOUND}, {"lossless": True}, {"psnr": 40}])
@pytest.mark.parametrize("fill", [0, np.nan, 0.1])
def test_nan_and_infinity_come_back(dtype: str, codec: dict[str, Any], fill: float) -> None:
    array = fog(16, 24, 16).astype(dtype)
    array[:, :5], array[3, 20, 4], array[0, 12:, 0] = np.nan, np.inf, np.float32(0.1)
    found = stored(array, codec=codec, fill_value=fill)[...]
    assert found.dtype == dtype
    assert np.array_equal(np.isnan(found), np.isnan(array)) and found[3, 20, 4] == np.inf
    here = np.isfinite(array)
    assert np.abs(found[here] - array[here]).max() <= {"lossless": 0, "psnr": 1}.get(
        next(iter(codec)), BOUND
    )


def test_nothing_but_nan_comes_back() -> None:
    array = np.full((16, 24, 16), np.nan, dtype=np.float32)
    assert np.isnan(stored(array)[...]).all()


def test_lossless_keeps_the_sign_of_zero_and_every_nan() -> None:
    array = fog(16, 24, 16)
    array[2, 3, :4] = -0.0
    array[5].view(np.uint32)[...] = 0xFFC00001
    found = stored(array, codec={"lossless": True})[...]
    assert np.array_equal(found.view(np.uint32), array.view(np.uint32))


def test_numbers_that_float32_does_not_hold_are_refused() -> None:
    array = np.arange(16 * 24 * 16, dtype=np.int64).reshape(16, 24, 16) + 2**40
    with pytest.raises(inrv.OptionError, match=r"inrv\.lattice: grid.*int64 numbers.*float32"):
        stored(array, codec={"lossless": True})


@pytest.mark.parametrize("shape", [(2, 3, 12, 10, 9), (1, 1, 12, 10, 9)])
def test_axes_before_those_of_space_are_grids_of_their_own(shape: tuple[int, ...]) -> None:
    array = fog(*shape)
    store: dict[str, Any] = {}
    found = stored(array, store, chunks=(2, *shape[1:]))
    whole = found[...]
    assert np.abs(whole - array).max() <= BOUND
    for selection in (np.s_[-1, :, 3:5], np.s_[:, 0, ..., 2], np.s_[0, -1, 4, 4, 4]):
        assert np.array_equal(found[selection], whole[selection])
    volume = inrv.load(store["c/0/0/0/0/0"].to_bytes())
    assert len(volume) == np.prod((2, *shape[1:2]))


def test_a_slice_reads_only_the_regions_that_it_touches(tmp_path: Path) -> None:
    """Of a chunk of four regions on a disk, a voxel takes a small share of the bytes."""
    chance = np.random.default_rng(0)
    array = chance.random((256, 256, 24), dtype=np.float32)
    found = stored(array, tmp_path / "noise.zarr", chunks=array.shape)
    size = (tmp_path / "noise.zarr" / "c" / "0" / "0" / "0").stat().st_size
    read = list[int]()
    part = ours.StoredChunk._part

    async def counted(self: Any, offset: int, length: int) -> bytes:
        data = await part(self, offset, length)
        read.append(len(data))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours.StoredChunk, "_part", counted)
        corner = found[3:5, 200, 7:9]
        assert np.abs(corner - array[3:5, 200, 7:9]).max() <= BOUND
        assert 0 < sum(read) < 0.4 * size
        read.clear()
        whole = found[...]
        assert not read and np.array_equal(whole[3:5, 200, 7:9], corner)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ({}, r"say how good"),
        ({"max_error": -1}, r"max_error=-1"),
        ({"psnr": 40, "lossless": True}, r"choose one"),
        ({"size": 5}, r"`size` is not one of"),
        ({"psnr": 40, "effort": "much"}, r"effort='much'"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    codec: dict[str, Any], message: str
) -> None:
    with pytest.raises(inrv.OptionError, match=r"inrv\.lattice: .*" + message):
        stored(fog(4, 4, 4), codec=codec, chunks=(4, 4, 4))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4), np.float32), "no three axes"),
        (np.zeros((4, 4, 4), np.float16), "float16"),
        (np.zeros((4, 4, 4), np.complex64), "complex64"),
        (np.zeros((300, 4, 4, 4), np.float32), "300 volumes"),
    ],
)
def test_arrays_that_cannot_be_coded_are_refused_before_they_are_written(
    array: NDArray[Any], message: str
) -> None:
    store: dict[str, Any] = {}
    with pytest.raises(inrv.OptionError, match=message):
        stored(array, store, chunks=array.shape)
    assert not [key for key in store if key.startswith("c/")]


def test_the_metadata_hold_the_configuration() -> None:
    store: dict[str, Any] = {}
    stored(fog(4, 4, 4), store, codec={"max_error": "1%", "effort": "instant"}, chunks=(4, 4, 4))
    (codec,) = json.loads(store["zarr.json"].to_bytes())["codecs"]
    assert codec == {
        "name": "inrv.lattice",
        "configuration": {"max_error": "1%", "effort": "instant"},
    }
    assert LatticeCodec.from_dict(codec) == LatticeCodec(max_error="1%")
    assert LatticeCodec.from_dict(codec) != LatticeCodec(max_error="2%")
    assert repr(LatticeCodec.from_dict(codec)) == "LatticeCodec(max_error='1%', effort='instant')"


def test_chunks_of_others_and_damaged_ones_are_told() -> None:
    array, store = fog(8, 8, 8), dict[str, Any]()
    found = stored(array, store, chunks=(8, 8, 8))
    right = store["c/0/0/0"]
    other = dict[str, Any]()
    for wrong, message in (
        (array[:4], r"has shape \(4, 8, 8\)"),
        (array.astype(np.float64), "holds float64"),
    ):
        stored(wrong, other, chunks=wrong.shape, overwrite=True)
        store["c/0/0/0"] = other["c/0/0/0"]
        with pytest.raises(inrv.OptionError, match=message):
            found[...]
    plain, _ = inrv.encode_bytes({"a": array})
    for data, kind, message in (
        (plain, inrv.OptionError, "no chunk of an array"),
        (right.to_bytes()[:-9], inrv.FormatError, "a chunk"),
        (b"", inrv.FormatError, "a chunk"),
    ):
        store["c/0/0/0"] = zarr.core.buffer.cpu.Buffer.from_bytes(data)
        with pytest.raises(kind, match=message):
            found[...]
        with pytest.raises(kind):
            found[1, 2, 3]


def test_xarray_opens_and_writes_such_arrays(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    run = np.stack([fog(24, 20, 17), fog(24, 20, 17)[::-1]])
    names = ("time", "x", "y", "z")
    group = zarr.open_group(tmp_path / "run.zarr", mode="w")
    settings = {"chunks": (1, 24, 20, 17), "compressors": None}
    serializer = {"name": "inrv.lattice", "configuration": {"max_error": BOUND}}
    group.create_array(
        "fog", shape=run.shape, dtype=run.dtype, dimension_names=names,
        serializer=serializer, **settings,
    )[...] = run  # fmt: skip
    for opened in (
        xarray.open_zarr(tmp_path / "run.zarr", consolidated=False, chunks=None),
        xarray.open_dataset(tmp_path / "run.zarr", engine="zarr", consolidated=False),
    ):
        assert opened.fog.dims == names
        plane = opened.fog.isel(time=1, x=slice(3, 9), y=5).values
        assert np.abs(plane - run[1, 3:9, 5]).max() <= BOUND
        assert np.array_equal(opened.fog[0, ::4, [1, 2]], opened.fog.values[0, ::4][:, [1, 2]])
    data = xarray.Dataset({"fog": (names, run)})
    encoding = {"fog": {"serializer": serializer, **settings}}
    path = tmp_path / "again.zarr"
    data.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
    again = xarray.open_zarr(path, consolidated=False, chunks=None)
    assert 0 < np.abs(again.fog.values - run).max() <= BOUND
