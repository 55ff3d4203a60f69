"""The same file is the same bits everywhere: under other threads, batches, orders and devices; and encoding repeats itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import inrv
from inrv import Box, SparseVolume
from inrv.fields.lattice import EFFORTS, codec
from inrv.fields.lattice import restoration as smoothing
from inrv.grids import sparse_grid
from testing.lattice import bits, decoded, hazy_regions, in_regions, instant, smooth, whole_numbers

Encoded = tuple[SparseVolume, bytes, inrv.EncodeReport]


@pytest.fixture(scope="module", params=["plain", "hazy", "lossless"])
def encoded(request: pytest.FixtureRequest) -> Encoded:
    """Two grids, one predicted from the other, in four regions: smoothed; with frequent and kept values; every bit as it was."""
    volume = {"plain": in_regions, "hazy": hazy_regions, "lossless": lambda: whole_numbers(hazy_regions())}[request.param]()
    data, report = inrv.encode_bytes(volume, instant(**{"lossless": True} if request.param == "lossless" else {"psnr": 35.0}))
    manifest = inrv.load(data, device="cpu").manifest
    assert manifest.field is not None
    channels = manifest.field.config["channels"]
    assert [channel["given"] for channel in channels] == [None, 0]
    assert all(channel["smoothed"] != channel["lossless"] == (request.param == "lossless") for channel in channels)
    assert all((grid.frequent_values is None) == (request.param == "plain") for grid in manifest.grids)
    return volume, data, report


@pytest.fixture(scope="module")
def data(encoded: Encoded) -> bytes:
    return encoded[1]


@pytest.fixture(scope="module")
def expected(data: bytes) -> list[Tensor]:
    return decoded(data)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.usefixtures("threads")
def test_any_number_of_threads(count: int, data: bytes, expected: list[Tensor]) -> None:
    torch.set_num_threads(count)
    assert_same(decoded(data), expected)


@pytest.mark.usefixtures("threads")
def test_networks_learn_the_same_with_any_number_of_threads() -> None:
    options = inrv.EncodeOptions(psnr=35.0, exact_below=0, device="cpu")
    found = set()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        found.add(inrv.encode_bytes(in_regions(), options)[0])
    assert len(found) == 1


@pytest.mark.parametrize("regions", [1, 3, 64])
def test_any_number_of_regions_at_a_time(
    regions: int, data: bytes, expected: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "BATCH_REGIONS", {"cpu": regions})
    assert_same(decoded(data), expected)


@pytest.mark.parametrize("part", [33, 1000])
def test_any_number_of_voxels_smoothed_at_a_time(
    part: int, data: bytes, expected: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoothing, "PART", part)
    assert_same(decoded(data), expected)


@pytest.mark.parametrize("precision", ["medium", "high"])
def test_any_precision_of_float32_products(precision: str, data: bytes, expected: list[Tensor]) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert_same(decoded(data), expected)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("seed", [1, 2])
def test_regions_in_any_order_and_by_any_way_of_reading(seed: int, data: bytes, expected: list[Tensor]) -> None:
    generator = torch.Generator().manual_seed(seed)
    volume = inrv.load(data, device="cpu")
    order = list(enumerate(volume.grids))[:: 1 if seed == 1 else -1]
    for number, grid in order:
        coordinates, found = grid.coordinates(), torch.zeros_like(expected[number])
        for part in torch.randperm(len(coordinates), generator=generator).split(997):
            asked = coordinates[part]
            way = int(torch.randint(3, (1,), generator=generator))
            if way == 0:
                values = grid.sample(asked, interpolation="nearest")
            elif way == 1:
                values = grid.voxels(asked)[:, 0]
            else:
                values = torch.stack([grid.dense(Box(*[tuple(place.tolist())] * 2)).reshape(()) for place in asked[:20]])
                part = part[:20]
            found[part] = bits(values)
            assert torch.equal(found[part], expected[number][part])
        assert torch.equal(bits(grid.values()), expected[number])


def test_a_dense_box_has_the_same_bits(data: bytes, expected: list[Tensor]) -> None:
    box = Box((0, 0, -6), (10, 8, 6))
    for grid, whole in zip(inrv.load(data, device="cpu").grids, expected, strict=True):
        found, coordinates = bits(grid.dense(box)), grid.coordinates()
        low, high = torch.tensor(box.lower), torch.tensor(box.upper)
        inside = ((coordinates >= low) & (coordinates <= high)).all(dim=1)
        x, y, z = (coordinates[inside].long() - low).T
        assert int(inside.sum()) > 700 and torch.equal(found[x, y, z], whole[inside])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_a_cuda_device_gives_the_same_bits(precision: str, data: bytes, expected: list[Tensor]) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert_same([bits(grid.values().cpu()) for grid in inrv.load(data, device="cuda").grids], expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_decoding_gives_what_the_encoder_saw(encoded: Encoded) -> None:
    volume, data, report = encoded
    for original, grid, told in zip(volume.grids, inrv.load(data, device="cpu").grids, report.grids, strict=True):
        errors = (grid.values().double() - original.values[:, 0].double()).abs()
        usual = original.values[original.values < 1e5].double()
        span = float(usual.max() - usual.min())
        assert float(errors.max()) == told.max_error
        assert -10 * float((errors / span).square().mean().log10()) == pytest.approx(told.psnr, abs=1e-3)


@pytest.mark.parametrize("asked", [{"psnr": 35.0}, {"max_error": "1%"}, {"size": 2300}])
def test_encoding_twice_gives_the_same_bytes(asked: dict[str, float | str]) -> None:
    volume = SparseVolume((sparse_grid(smooth(16)),))
    assert inrv.encode_bytes(volume, instant(**asked))[0] == inrv.encode_bytes(volume, instant(**asked))[0]


@pytest.mark.usefixtures("threads")
def test_fitted_networks_repeat_themselves_and_decode_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFORTS, "default", replace(EFFORTS["default"], steps=20, batch=512))
    volume = SparseVolume((sparse_grid(smooth(24) + 0.05 * torch.rand(24, 24, 24, generator=torch.Generator().manual_seed(1))),))
    options = instant(effort="default", psnr=38.0)
    data, report = inrv.encode_bytes(volume, options)
    assert inrv.encode_bytes(volume, options)[0] == data
    expected = decoded(data)
    for count in (1, 2):
        torch.set_num_threads(count)
        assert_same(decoded(data), expected)
    errors = inrv.load(data, device="cpu")[0].values().double() - volume.grids[0].values[:, 0].double()
    assert float(errors.abs().max()) == report.grids[0].max_error
