"""Steps of the quantiser that the lattice's integers have room for."""

from __future__ import annotations

from inrv.fields.lattice.constants import STEP
from inrv.grids.rounding import SINGLE_ROUNDING

LEAST_STEP = 1 / (1 << 16)  # of the range: finer ones do not fit the integers
MOST_STEP = 2.0  # of the range
UNITS_A_BOUND = 64.5  # half a step of the finest level, and half a unit from rounding to units


def error_step(bound: float, minimum: float, maximum: float) -> float:
    """The step of the finest level, in values, with which no value misses by more than the bound.

    minimum: of the values
    maximum: of the values
    """
    left = bound - SINGLE_ROUNDING * max(abs(minimum), abs(maximum))
    return left * STEP / UNITS_A_BOUND


def can_bound(bound: float, minimum: float, maximum: float) -> bool:
    """Whether there is a step with which no value misses by more than the bound."""
    return error_step(bound, minimum, maximum) > LEAST_STEP * (maximum - minimum)
