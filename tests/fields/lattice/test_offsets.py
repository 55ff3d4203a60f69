"""Offsets give decoded values the sum of the original ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.core.lattice import errors_by_unit
from inrv.fields.lattice.offsets import FARTHEST, KNOTS, Offsets


def fitted(
    decoded: NDArray[np.int32], targets: NDArray[np.float64], top: int, scale: float
) -> Offsets:
    """The offsets of voxels that lie in three regions, one of them empty.

    targets: float64 (n,) in units
    """
    cut = len(decoded) // 3
    errors = [
        errors_by_unit(decoded[own], targets[own] / scale, scale, top)
        for own in (slice(cut), slice(0, 0), slice(cut, None))
    ]
    offsets, squared = Offsets.of(np.concatenate(errors), scale, top)
    missed = targets - offsets.add(decoded).clip(0, scale)
    assert squared == pytest.approx(float((missed**2).sum()), rel=1e-6, abs=1e-6)
    return offsets


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 1 << 20), st.integers(1, 3000), st.floats(-1, 1))
def test_the_sum_of_the_errors_is_small_beside_a_unit_a_voxel(
    seed: int, top: int, count: int, bias: float
) -> None:
    generator = np.random.default_rng(seed)
    targets = generator.random(count) * top
    pulled = targets + (bias * 100 + 60 * generator.standard_normal(count))
    codes = np.clip(np.rint(pulled), 0, top).astype(np.int32)
    offsets = fitted(codes, targets, top, 2.0 * top)
    missed = targets - offsets.add(codes).clip(0, 2.0 * top)
    before = np.abs(targets - codes).mean()
    # What is left is of the few voxels by which a knot is tried, of rounding to half precision,
    # and of values at 0.
    assert abs(float(missed.mean())) <= abs(float((targets - codes).mean())) + 0.1
    assert float((missed**2).mean()) <= float(((targets - codes) ** 2).mean()) + 0.1 + 1e-3 * float(
        before
    )


def test_values_all_drawn_to_one_side_come_back_to_their_sum() -> None:
    targets = np.linspace(100, 900, 5001)
    codes = np.rint(targets - 20 + 10 * np.sin(targets / 40)).astype(np.int32)
    offsets = fitted(codes, targets, 1000, 1000.0)
    assert abs(float((targets - codes).mean())) > 15
    assert abs(float((targets - offsets.add(codes)).mean())) < 0.02


def test_exact_values_have_no_offsets_and_places_without_values_none_either() -> None:
    codes = np.arange(0, 500, dtype=np.int32)
    assert not fitted(codes, codes.astype(np.float64), 1600, 1600.0).knots.any()
    shifted = fitted(codes, codes.astype(np.float64) + 7, 1600, 1600.0).knots
    assert shifted[:5].tolist() == [7.0] * 5 and not shifted[7:].any()


def test_offsets_are_finite_halves_whatever_the_values() -> None:
    codes = np.tile(np.array([0, 1 << 23], dtype=np.int32), 100)
    offsets = fitted(codes, codes.astype(np.float64)[::-1], 1 << 23, float(1 << 23))
    assert offsets.knots.dtype == np.float16 and offsets.knots.shape == (KNOTS,)
    assert float(np.abs(offsets.knots).max()) <= FARTHEST


def test_an_offset_is_that_of_the_knots_on_both_sides_in_proportion() -> None:
    offsets = Offsets((np.arange(KNOTS) ** 2).astype(np.float16), 1600)
    values = np.array([0, 50, 100, 175, 1500, 1550, 1600], dtype=np.int32)
    assert offsets.add(values).tolist() == [
        0,
        50.5,
        101,
        175 + 1 + 0.75 * 3,
        1500 + 225,
        1550 + 240.5,
        1600 + 256,
    ]
