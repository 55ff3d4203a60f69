"""Values as whole numbers in their order: every bit of every finite value comes back."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.fields.lattice.constants import HIGHEST, STEP
from inrv.fields.lattice.palette import MOST_ENTRIES, Palette, from_order, in_order
from inrv.grids import sparse_grid
from testing.lattice import bits, decoded, file_of

Floats = NDArray[np.float32]
ANY_BITS = st.integers(-(1 << 31), (1 << 31) - 1)
NOTABLE = np.array(
    [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.17549435e-38, -1.1754942e-38,
     3.4028235e38, -3.4028235e38, math.inf, -math.inf], dtype=np.float32
)  # fmt: skip


def of_bits(numbers: list[int]) -> Floats:
    return np.array(numbers, dtype=np.int32).view(np.float32)


def finite(numbers: list[int]) -> Floats:
    """Those of the values with these bits that are finite, and 0 where none is."""
    values = of_bits(numbers)
    there = np.isfinite(values)
    return values[there] if there.any() else np.zeros(1, dtype=np.float32)


@given(st.lists(ANY_BITS, min_size=1, max_size=60))
def test_the_order_of_values_is_that_of_their_numbers_and_leads_back(numbers: list[int]) -> None:
    values = np.concatenate([of_bits(numbers), NOTABLE])
    assert np.array_equal(bits(from_order(in_order(values))), bits(values))
    told = values[~np.isnan(values)]
    ordered = told[in_order(told).argsort(kind="stable")]
    assert bool((ordered[1:] >= ordered[:-1]).all())
    assert in_order(np.array([-0.0, 0.0], dtype=np.float32)).tolist() == [-1, 0]


@settings(max_examples=200)
@given(st.lists(ANY_BITS, min_size=1, max_size=200), st.integers(1, 9))
def test_units_and_low_bits_give_every_bit_back(numbers: list[int], times: int) -> None:
    values = np.tile(finite(numbers), times)
    palette = Palette.of(values)
    units, rest = palette.units(values), palette.rest(values)
    assert np.array_equal(bits(palette.values(units, rest)), bits(values))
    assert (
        bool((np.diff(palette.entries.astype(np.int64)) > 0).all()) and 0 <= palette.low_bits < 32
    )
    assert int(rest.min()) >= 0 and int(units.max()) == STEP * (len(palette.entries) - 1)


def test_values_that_come_again_and_again_have_no_low_bits() -> None:
    few = np.random.default_rng(1).standard_normal(50, dtype=np.float32)
    assert Palette.of(np.tile(few, 4)).low_bits == 0
    assert Palette.of(few).low_bits > 0


def test_no_more_entries_than_fit_the_units() -> None:
    palette = Palette.of(np.tile(np.arange(4 * MOST_ENTRIES + 8, dtype=np.float32), 4))
    assert palette.low_bits > 0 and (len(palette.entries) - 1) * STEP <= HIGHEST


def test_values_that_are_no_entries_are_known_beside_one() -> None:
    """What surrounds a channel: the place where a value would stand, NaN as the lowest."""
    palette = Palette.of(np.tile(np.array([-2.0, 0.5, 3.0], dtype=np.float32), 8))
    around = np.array(
        [-math.inf, -2.0, -1.0, 0.5, 0.6, 3.0, 4.0, math.inf, math.nan], dtype=np.float32
    )
    assert palette.units(around).tolist() == [STEP * place for place in (0, 0, 1, 1, 2, 2, 3, 3, 0)]


def test_entries_further_apart_than_a_number_of_32_bits_come_back_from_a_file() -> None:
    """-3 and 3 are more than 2^31 apart as whole numbers."""
    four = np.array([-3e38, -3.0, 3.0, 3e38], dtype=np.float32)
    values = four[np.arange(20**3) * 7 % 11 % 4].reshape(20, 20, 20)
    values[3, ::2, ::3] = np.linspace(3, 4, 70).reshape(10, 7)
    (found,) = decoded(file_of(sparse_grid(values), lossless=True, frequent_values="approximate"))
    assert np.array_equal(np.sort(found), np.sort(bits(values.reshape(-1))))
