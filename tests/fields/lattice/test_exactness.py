"""The same file is the same bits everywhere, under other threads, orders and ways of reading.

Encoding repeats itself.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import Box, SparseVolume
from inrv.fields.lattice.search import EFFORTS
from inrv.grids import sparse_grid
from inrv.support import parallel
from testing.lattice import (
    bits,
    decoded,
    hazy_regions,
    in_regions,
    instant,
    noise,
    smooth,
    whole_numbers,
)

Bits = NDArray[np.int32]
Encoded = tuple[SparseVolume, bytes, inrv.EncodeReport]


@pytest.fixture(scope="module", params=["plain", "hazy", "lossless"])
def encoded(request: pytest.FixtureRequest) -> Encoded:
    """Two grids, one predicted from the other, in four regions.

    They are filtered; have frequent and exact values; or come back bit for bit.
    """
    volume = {
        "plain": in_regions,
        "hazy": hazy_regions,
        "lossless": lambda: whole_numbers(hazy_regions()),
    }[request.param]()
    data, report = inrv.encode_bytes(
        volume, instant(**{"lossless": True} if request.param == "lossless" else {"psnr": 35.0})
    )
    manifest = inrv.load(data, device="cpu").manifest
    assert manifest.field is not None
    channels = manifest.field.config["channels"]
    assert [channel["reference"] for channel in channels] == [None, 0]
    assert all(
        channel["restoration"] != channel["lossless"] == (request.param == "lossless")
        for channel in channels
    )
    assert all(
        (grid.frequent_values is None) == (request.param == "plain") for grid in manifest.grids
    )
    return volume, data, report


@pytest.fixture(scope="module")
def data(encoded: Encoded) -> bytes:
    return encoded[1]


@pytest.fixture(scope="module")
def expected(data: bytes) -> list[Bits]:
    return decoded(data)


def with_threads(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "thread_count", lambda: count)


def assert_same(found: list[Bits], expected: list[Bits]) -> None:
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads(
    count: int, data: bytes, expected: list[Bits], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_threads(count, monkeypatch)
    assert_same(decoded(data), expected)


def test_networks_learn_the_same_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = inrv.EncodeOptions(psnr=35.0, exact_below=0, device="cpu")
    found = set()
    for count in (1, 2, 5):
        with_threads(count, monkeypatch)
        found.add(inrv.encode_bytes(in_regions(), options)[0])
    assert len(found) == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_regions_in_any_order_and_by_any_way_of_reading(
    seed: int, data: bytes, expected: list[Bits]
) -> None:
    generator = np.random.default_rng(seed)
    volume = inrv.load(data, device="cpu")
    order = list(enumerate(volume.grids))[:: 1 if seed == 1 else -1]
    for number, grid in order:
        coordinates, found = grid.coordinates(), np.zeros_like(expected[number])
        for part in np.split(
            generator.permutation(len(coordinates)), range(997, len(coordinates), 997)
        ):
            asked = coordinates[part]
            way = int(generator.integers(3))
            if way == 0:
                values = grid.sample(asked, interpolation="nearest")
            elif way == 1:
                values = grid.voxels(asked)[:, 0]
            else:
                values = np.stack(
                    [
                        grid.dense(Box(*[tuple(place.tolist())] * 2)).reshape(())
                        for place in asked[:20]
                    ]
                )
                part = part[:20]
            found[part] = bits(values)
            assert np.array_equal(found[part], expected[number][part])
        assert np.array_equal(bits(grid.values()), expected[number])


def test_a_dense_box_has_the_same_bits(data: bytes, expected: list[Bits]) -> None:
    box = Box((0, 0, -6), (10, 8, 6))
    for grid, whole in zip(inrv.load(data, device="cpu").grids, expected, strict=True):
        found, coordinates = bits(grid.dense(box)), grid.coordinates()
        low, high = np.array(box.lower), np.array(box.upper)
        inside = ((coordinates >= low) & (coordinates <= high)).all(axis=1)
        x, y, z = (coordinates[inside] - low).T
        assert int(inside.sum()) > 700 and np.array_equal(found[x, y, z], whole[inside])


def test_decoding_gives_what_the_encoder_saw(encoded: Encoded) -> None:
    volume, data, report = encoded
    for original, grid, told in zip(
        volume.grids, inrv.load(data, device="cpu").grids, report.grids, strict=True
    ):
        errors = np.abs(grid.values().astype(np.float64) - original.values[:, 0])
        usual = original.values[original.values < 1e5].astype(np.float64)
        span = float(usual.max() - usual.min())
        assert float(errors.max()) == told.max_error
        squared = float(((errors / span) ** 2).mean())
        psnr = -10 * math.log10(squared) if squared else math.inf
        assert psnr == pytest.approx(told.psnr, abs=1e-3)


@pytest.mark.parametrize("asked", [{"psnr": 35.0}, {"max_error": "1%"}, {"size": 2300}])
def test_encoding_twice_gives_the_same_bytes(asked: dict[str, float | str]) -> None:
    volume = SparseVolume((sparse_grid(smooth(16)),))
    assert (
        inrv.encode_bytes(volume, instant(**asked))[0]
        == inrv.encode_bytes(volume, instant(**asked))[0]
    )


def test_fitted_networks_repeat_themselves_and_decode_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(EFFORTS, "default", replace(EFFORTS["default"], steps=20, batch=512))
    volume = SparseVolume((sparse_grid(smooth(24) + np.float32(0.05) * noise((24,) * 3, 1)),))
    options = instant(effort="default", psnr=38.0)
    data, report = inrv.encode_bytes(volume, options)
    assert inrv.encode_bytes(volume, options)[0] == data
    expected = decoded(data)
    for count in (1, 2):
        with_threads(count, monkeypatch)
        assert_same(decoded(data), expected)
    errors = (
        inrv.load(data, device="cpu")[0].values().astype(np.float64) - volume.grids[0].values[:, 0]
    )
    assert float(np.abs(errors).max()) == report.grids[0].max_error
