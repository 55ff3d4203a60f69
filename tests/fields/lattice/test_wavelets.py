"""Channels as wavelets: chosen where they are smaller, and read like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import SparseVolume
from inrv.container import Value
from inrv.core.lattice import WAVELET_TOP
from inrv.errors import FormatError
from inrv.fields.lattice.config import _check_channel
from inrv.fields.lattice.field import CODEC
from inrv.grids import Box, Grid, sparse_grid
from testing.lattice import instant, noise


def gas(size: int = 48, seed: int = 5) -> Grid:
    """Turbulence: random numbers whose spectrum falls by the 5th power of the wave number."""
    waves = np.fft.fftfreq(size) * size
    number = np.sqrt(waves[:, None, None] ** 2 + waves[:, None] ** 2 + waves**2)
    spectrum = np.fft.fftn(np.random.default_rng(seed).standard_normal((size,) * 3))
    spectrum *= np.where(number > 1, np.maximum(number, 1) ** -2.5, 0)
    values = np.fft.ifftn(spectrum).real.astype(np.float32)
    return sparse_grid(values, "gas", active=np.ones(values.shape, bool))


def channels_of(data: bytes) -> list[dict[str, Any]]:
    field = inrv.load(data, device="cpu").manifest.field
    assert field is not None
    channels: list[dict[str, Any]] = field.config["channels"]
    return channels


def psnr_of(values: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    return float(-20 * np.log10(np.sqrt(np.square(values - exact).mean()) / np.ptp(exact)))


@pytest.fixture(scope="module")
def coded() -> bytes:
    """The gas at a quality at which a wavelet is smaller."""
    data, _ = inrv.encode_bytes(SparseVolume((gas(),)), instant(psnr=30))
    return data


def test_a_smooth_channel_is_a_wavelet_and_reaches_its_quality(coded: bytes) -> None:
    (channel,) = channels_of(coded)
    assert channel["wavelet"] and not channel["trellis"] and not channel["fitted"]
    grid = inrv.load(coded, device="cpu")[0].to_grid()
    assert 30 <= psnr_of(grid.values, gas().values) < 30.3


def test_the_description_of_a_file_counts_wavelets(coded: bytes) -> None:
    (channel,), container = channels_of(coded), inrv.load(coded, device="cpu").container
    text = CODEC.describe(container)["text"]
    assert text.endswith("0 with networks of their own, 1 as wavelets")
    assert f"{channel['steps'][0] / channel['scale']:.3g};" in text


def test_it_is_smaller_than_a_lattice(coded: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inrv.fields.lattice.search.WAVELET_BITS", 0.0)
    data, _ = inrv.encode_bytes(SparseVolume((gas(),)), instant(psnr=30))
    assert not channels_of(data)[0]["wavelet"]
    assert len(coded) < 0.95 * len(data)


def test_boxes_points_and_levels_of_detail_are_those_of_the_whole(coded: bytes) -> None:
    grid = inrv.load(coded, device="cpu")[0]
    whole = grid.dense(((0, 0, 0), (47, 47, 47)))
    part = grid.dense(((5, 8, 30), (20, 8, 47)))
    assert np.array_equal(part, whole[5:21, 8:9, 30:48])
    places = np.random.default_rng(0).integers(0, 48, (50, 3))
    assert np.array_equal(grid.voxels(places)[:, 0], whole[tuple(places.T)])
    coarse, level = grid.dense(stride=4), grid.level(2)
    box = Box((0, 0, 0), (11, 11, 11))
    assert np.array_equal(coarse, level.dense(box)[..., 0])
    exact = gas().dense(Box((0, 0, 0), (47, 47, 47)))
    assert psnr_of(coarse, exact[::4, ::4, ::4, 0]) > 26


@pytest.mark.parametrize("asked", [{"lossless": True}, {"max_error": "2%"}])
def test_a_bound_is_never_kept_by_a_wavelet(asked: dict[str, Any]) -> None:
    grid = gas(24)
    whole = replace(grid, values=np.round(grid.values * 900 / np.ptp(grid.values)))
    data, _ = inrv.encode_bytes(SparseVolume((whole,)), instant(psnr=None, **asked))
    assert not channels_of(data)[0]["wavelet"]


def test_a_size_is_met_by_a_wavelet_too() -> None:
    data, _ = inrv.encode_bytes(SparseVolume((gas(),)), instant(psnr=None, size=2400))
    assert channels_of(data)[0]["wavelet"]
    assert 2200 < len(data) <= 2400


def test_another_channel_is_predicted_from_a_wavelet() -> None:
    first = gas()
    detailed = first.values[:, 0] + np.float32(0.3) * noise((48**3,), 9)
    second = sparse_grid(detailed.reshape(48, 48, 48), "detail", active=np.ones((48,) * 3, bool))
    data, _ = inrv.encode_bytes(SparseVolume((first, second)), instant(psnr=30))
    decoded = [grid.to_grid() for grid in inrv.load(data, device="cpu").values()]
    for grid, exact in zip(decoded, (first, second), strict=True):
        assert psnr_of(grid.values, exact.values) >= 29.99


@pytest.mark.parametrize(
    "change",
    [{"trellis": True}, {"lossless": True}, {"reference": 0}, {"top": WAVELET_TOP + 1}],
)
def test_a_configuration_that_contradicts_itself_is_refused(
    coded: bytes, change: dict[str, Any]
) -> None:
    channel = channels_of(coded)[0] | change
    with pytest.raises(FormatError, match=r"wavelet|lossless|32768"):
        _check_channel(Value("channel", channel), 1)
