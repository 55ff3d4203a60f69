"""Regions as wavelets: what comes back, by every kernel, and what happens to damaged ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from inrv.core.lattice import WAVELET_PRIOR, WAVELET_TOP, LatticeChannel
from inrv.errors import FormatError
from inrv.fields.lattice.constants import INPUTS
from testing.regions import KERNELS, Box, Made, at_multiples, kernels, made

WHOLE: Box = ((0, 128), (0, 128), (0, 128))
ROD: Box = ((40, 48), (7, 9), (0, 128))
REGIONS: dict[str, dict[str, Any]] = {
    "some leaves": {},
    "a voxel": {"box": ((8, 9), (17, 18), (100, 101)), "share": 1.0},
    "a rod": {"box": ROD, "share": 1.0},
    "nothing": {"share": 0.0},
    "filtered": {"restoration": True},
    "filtered, the exterior known": {"restoration": True, "exterior": "dense"},
    "large magnitudes": {"top": WAVELET_TOP},
    "a range of a step": {"top": 60},
}


@cache
def region_of(name: str) -> Made:
    return made(wavelet=True, **{"restoration": False, "exterior": "unknown", **REGIONS[name]})


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize("weight", [0.0, 0.8])
def test_every_kernel_gives_the_same_codes_and_values(name: str, weight: float) -> None:
    own = region_of(name)
    codes, values = own.encode(weight)
    assert (codes.lanes, codes.cut) == (0, False)
    for kernel in KERNELS:
        with kernels(kernel):
            again, decoded = own.encode(weight)
            assert again.segments == codes.segments and np.array_equal(decoded, values)
            assert np.array_equal(own.decode(codes), values)


def test_the_nearest_codes_leave_errors_of_about_a_step() -> None:
    own = region_of("some leaves")
    _, values = own.encode(0.0)
    errors = np.abs(values - own.values) / 128
    assert errors.max() < 3 and np.sqrt((errors**2).mean()) < 0.5


def test_what_bits_cost_is_traded_for_errors() -> None:
    own = region_of("some leaves")
    sizes, errors = [], []
    for weight in (0.0, 0.8, 3.0):
        codes, values = own.encode(weight)
        sizes.append(codes.size)
        errors.append(float(np.square(values - own.values, dtype=np.float64).mean()))
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)


@pytest.mark.parametrize("level", range(1, 7))
def test_a_level_of_detail_is_of_the_same_values_unfiltered(level: int) -> None:
    for name in ("some leaves", "filtered"):
        own = region_of(name)
        codes, _ = own.encode()
        count = own.count()
        bare = own.bare.decode(own.region, codes, count)
        taken = at_multiples(own.region.leaves, level)
        assert np.array_equal(own.decode(codes, level), bare[taken])


def test_damage_is_found_or_harmless() -> None:
    own = region_of("some leaves")
    codes, _ = own.encode()
    (segment,) = codes.segments
    for size in (0, 2, 3, 4, len(segment) // 2 & ~1, len(segment) - 2):
        with pytest.raises(FormatError):
            own.decode(replace(codes, segments=(segment[:size],)))
    with pytest.raises(FormatError):
        own.decode(replace(codes, segments=(segment + b"\0\0",)))
    with pytest.raises(FormatError):
        own.decode(replace(codes, lanes=1))
    with pytest.raises(FormatError):
        own.decode(replace(codes, segments=(segment, b"", b"", b""), cut=True))
    generator = np.random.default_rng(0)
    for _ in range(30):
        place, bit = int(generator.integers(len(segment))), int(generator.integers(8))
        damaged = bytearray(segment)
        damaged[place] ^= 1 << bit
        try:
            values = own.decode(replace(codes, segments=(bytes(damaged),)))
        except FormatError:
            continue
        assert values.min() >= 0 and values.max() <= own.top


def test_bytes_of_all_kinds_decode_alike_everywhere() -> None:
    """Coefficients as large as the format has: sums are modulo 2^32 in every kernel."""
    own = region_of("a rod")
    generator = np.random.default_rng(1)
    codes, _ = own.encode()
    for _ in range(20):
        segment = b"\xff\xff\x01\0" + generator.bytes(2000)
        found = []
        for kernel in KERNELS:
            with kernels(kernel):
                try:
                    found.append(own.decode(replace(codes, segments=(segment,))).tobytes())
                except FormatError as error:
                    found.append(str(error).encode())
        assert len(set(found)) == 1


@pytest.mark.parametrize(
    "change", [{"lossless": True}, {"trellis": True}, {"top": WAVELET_TOP + 1}]
)
def test_what_a_wavelet_cannot_be_is_refused(change: dict[str, Any]) -> None:
    own = region_of("some leaves")
    rules = {"top": own.top, "lossless": False, "trellis": False} | change
    channel = LatticeChannel(
        (128,) * 7, rules["top"], 0, 0, rules["lossless"], False, rules["trellis"], True,
        [own.model.networks[odd].tensors for odd in INPUTS], None, own.model.prior,
        np.zeros(WAVELET_PRIOR, dtype=np.int8),
    )  # fmt: skip
    codes, _ = own.encode()
    with pytest.raises(ValueError, match="out of its range"):
        channel.decode(own.region, codes, own.count())
