"""What rounding to float32 costs, to the last bit, against Python's own integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from inrv.grids.rounding import BeyondFloat32, round_numbers

RANDOM = np.random.default_rng(2)


def exact_error(numbers: NDArray[np.generic]) -> Fraction:
    singles = numbers.astype(np.float32).reshape(-1).tolist()
    return max(
        abs(Fraction(number) - Fraction(single))
        for number, single in zip(numbers.reshape(-1).tolist(), singles, strict=True)
    )


@pytest.mark.parametrize(
    "numbers",
    [
        RANDOM.integers(-(2**63), 2**63 - 1, (5, 4, 3)),
        RANDOM.integers(0, 2**64 - 1, (5, 4, 3), dtype=np.uint64),
        np.full((1, 1), 2**63 - 1),
        np.full((1, 1), 2**64 - 1, dtype=np.uint64),
        np.full((1, 1), -(2**63) + 1),
        RANDOM.integers(2**62, 2**62 + 10**6, (40, 3)).astype(">i8"),
        RANDOM.integers(-(2**31), 2**31 - 1, (40, 3), dtype=np.int32),
        RANDOM.integers(0, 2**32 - 1, (40, 1), dtype=np.uint32),
        RANDOM.normal(size=(40, 3)) * 10.0 ** RANDOM.integers(-60, 38, (40, 3)),
        np.array([[1e-320, 1.0 + 2.0**-24, 2.0**-150]]),
    ],
)
def test_the_error_is_exact(numbers: NDArray[np.generic]) -> None:
    singles, rounding = round_numbers(numbers)
    assert np.array_equal(singles, numbers.astype(np.float32)) and rounding is not None
    for component, error in enumerate(rounding.errors):
        assert Fraction(error) == exact_error(numbers[..., component])
        column = numbers[..., component].reshape(-1).tolist()
        assert rounding.spans[component] == float(Fraction(max(column)) - Fraction(min(column)))
    assert rounding.dtype == numbers.dtype.name


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int16", "float16", "float32", ">f4"])
def test_types_that_float32_holds_are_not_rounded(dtype: str) -> None:
    numbers = RANDOM.integers(0, 2, (30, 1)).astype(dtype)
    assert round_numbers(numbers)[1] is None


def test_wide_numbers_that_float32_holds_are_not_rounded() -> None:
    assert round_numbers(np.array([[1 << 24], [-(1 << 40)], [0]]))[1] is None
    assert round_numbers(np.array([[0.5], [np.nan], [np.inf], [-np.inf]]))[1] is None


def test_only_what_counts_is_measured() -> None:
    numbers = np.array([[1e300], [0.5], [0.1]])
    assert round_numbers(numbers, np.array([False, True, False]))[1] is None
    with pytest.raises(BeyondFloat32, match=r"1e\+300") as caught:
        round_numbers(numbers[::-1])
    assert caught.value.index == (2,)


def test_parts_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = RANDOM.normal(size=(13, 5, 3))
    whole = round_numbers(numbers)[1]
    monkeypatch.setattr("inrv.grids.rounding.PART_NUMBERS", 40)
    assert round_numbers(numbers)[1] == whole


def test_the_noise_of_arithmetic_is_no_range() -> None:
    _, rounding = round_numbers(np.array([[0.1], [0.1 * 3 / 3], [np.nextafter(0.1, 1)]]))
    assert rounding is not None and rounding.spans == (0.0,)
    _, rounding = round_numbers(np.array([[2**60], [2**60 + 1]]))
    assert rounding is not None and rounding.spans == (1.0,)
