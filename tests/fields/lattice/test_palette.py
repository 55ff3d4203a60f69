"""Values as whole numbers in their order: every bit of every finite value comes back."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inrv.fields.lattice import Palette
from inrv.fields.lattice.constants import HIGHEST, STEP
from inrv.fields.lattice.palette import MOST_ENTRIES, from_order, in_order
from inrv.grids import sparse_grid
from testing.lattice import bits, decoded, file_of

ANY_BITS = st.integers(-(1 << 31), (1 << 31) - 1)
NOTABLE = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.17549435e-38, -1.1754942e-38, 3.4028235e38, -3.4028235e38, math.inf, -math.inf]


def of_bits(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32).view(torch.float32)


def finite(numbers: list[int]) -> Tensor:
    """Those of the values with these bits that are finite, and 0 where none is."""
    values = of_bits(numbers)
    return values[values.isfinite()] if bool(values.isfinite().any()) else torch.zeros(1)


@given(st.lists(ANY_BITS, min_size=1, max_size=60))
def test_the_order_of_values_is_that_of_their_numbers_and_leads_back(numbers: list[int]) -> None:
    values = torch.cat([of_bits(numbers), torch.tensor(NOTABLE)])
    assert torch.equal(bits(from_order(in_order(values))), bits(values))
    told = values[~values.isnan()]
    ordered = told[in_order(told).argsort(stable=True)]
    assert bool((ordered[1:] >= ordered[:-1]).all())
    assert int(in_order(torch.tensor([-0.0]))) == -1 and int(in_order(torch.tensor([0.0]))) == 0


@settings(max_examples=200)
@given(st.lists(ANY_BITS, min_size=1, max_size=200), st.integers(1, 9))
def test_units_and_low_bits_give_every_bit_back(numbers: list[int], times: int) -> None:
    values = finite(numbers).repeat(times)
    palette = Palette.of(values)
    units, rest = palette.units(values), palette.rest(values)
    assert torch.equal(bits(palette.values(units, rest)), bits(values))
    assert bool((palette.entries.long().diff() > 0).all()) and 0 <= palette.low_bits < 32
    assert int(rest.min()) >= 0 and int(units.max()) == STEP * (len(palette.entries) - 1)


def test_values_that_come_again_and_again_have_no_low_bits() -> None:
    few = torch.randn(50, generator=torch.Generator().manual_seed(1))
    assert Palette.of(few.repeat(4)).low_bits == 0
    assert Palette.of(few).low_bits > 0


def test_no_more_entries_than_fit_the_units() -> None:
    palette = Palette.of(torch.arange(4 * MOST_ENTRIES + 8).float().repeat(4))
    assert palette.low_bits > 0 and (len(palette.entries) - 1) * STEP <= HIGHEST


def test_values_that_are_no_entries_are_known_beside_one() -> None:
    """What surrounds a channel: the place where a value would stand, NaN as the lowest."""
    palette = Palette.of(torch.tensor([-2.0, 0.5, 3.0]).repeat(8))
    around = torch.tensor([-math.inf, -2.0, -1.0, 0.5, 0.6, 3.0, 4.0, math.inf, math.nan])
    assert palette.units(around).tolist() == [STEP * place for place in (0, 0, 1, 1, 2, 2, 3, 3, 0)]


def test_entries_further_apart_than_a_number_of_32_bits_come_back_from_a_file() -> None:
    """-3 and 3 are more than 2^31 apart as whole numbers."""
    values = torch.tensor([-3e38, -3.0, 3.0, 3e38])[torch.arange(20**3) * 7 % 11 % 4].reshape(20, 20, 20)
    values[3, ::2, ::3] = torch.linspace(3, 4, 70).reshape(10, 7)
    (found,) = decoded(file_of(sparse_grid(values), lossless=True, frequent_values="approximate"))
    assert np.array_equal(np.sort(found.numpy()), np.sort(bits(values.reshape(-1)).numpy()))
