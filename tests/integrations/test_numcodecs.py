"""The codec of numcodecs: by its identity, in zarr of version 2, and on its own."""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np
import pytest

import inrv
from inrv.grids import MetaValue
from inrv.integrations.numcodecs import Inrv

X = np.linspace(0, 3, 20, dtype=np.float32)
FOG = np.sin(X)[:, None, None] * np.cos(X)[:, None] * np.sin(2 * X)


@pytest.fixture(autouse=True)
def registered() -> None:
    """Numcodecs knows the codec, as by the entry point of an installation."""
    numcodecs.registry.register_codec(Inrv)


def test_it_is_had_by_its_identity_and_configuration() -> None:
    codec = numcodecs.get_codec({"id": "inrv", "max_error": 0.01})
    assert codec.get_config() == {"id": "inrv", "max_error": 0.01, "effort": "instant"}
    assert numcodecs.get_codec(codec.get_config()) == codec
    assert repr(codec) == "Inrv(max_error=0.01, effort='instant')"
    with pytest.raises(inrv.OptionError, match="say how good"):
        numcodecs.get_codec({"id": "inrv"})


@pytest.mark.parametrize("array", [FOG, np.asfortranarray(FOG), FOG.astype(">f8"), FOG[None, None]])
def test_shape_dtype_and_order_come_back(array: Any) -> None:
    codec = Inrv(max_error=0.01)
    data = codec.encode(array)
    found = codec.decode(data)
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    assert found.flags.f_contiguous == array.flags.f_contiguous
    assert 0 < np.abs(found - array).max() <= 0.01
    out = np.empty_like(array)
    assert codec.decode(data, out) is out and np.array_equal(out, found)
    assert len(data) < array.nbytes / 4


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i2"])
def test_zarr_of_version_2_takes_it(order: str, dtype: str) -> None:
    zarr = pytest.importorskip("zarr")
    array = (100 * FOG).astype(dtype)
    store: dict[str, Any] = {}
    made = zarr.create_array(
        store,
        shape=array.shape,
        chunks=(8, 12, 20),
        dtype=dtype,
        order=order,
        compressors=Inrv(max_error=1),
        zarr_format=2,
        fill_value=0,
    )
    made[...] = array
    found = zarr.open_array(store, mode="r")[...]
    assert found.dtype == array.dtype
    assert 0 < np.abs(found.astype(float) - array.astype(float)).max() <= 1


def test_a_chunk_is_an_inrv_file_and_small_ones_carry_little() -> None:
    codec = Inrv(psnr=45)
    data = codec.encode(FOG)
    assert np.abs(inrv.load(data)[0].dense(((0, 0, 0), (19, 19, 19))) - FOG).max() < 0.1
    assert len(codec.encode(np.zeros((64, 64, 64), np.float32))) < 300


def test_hostile_chunks_are_told_in_a_line() -> None:
    codec = Inrv(lossless=True)
    for layout in ("<f4 C 8,8", "<f4 C 99999,99999,99999", "<f2 C 4,4,4", "<f4 C 2,4,4,4", "", 7):
        metadata = {"array": MetaValue.of(layout)}
        grid = inrv.sparse_grid(np.ones((4, 4, 4)), metadata=metadata)
        data, _ = inrv.encode_bytes(grid)
        with pytest.raises(inrv.InrvError) as caught:
            codec.decode(data)
        assert "\n" not in str(caught.value), layout
    for data in (b"", b"junk", bytes(300)):
        with pytest.raises(inrv.FormatError):
            codec.decode(data)
