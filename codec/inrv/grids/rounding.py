"""Numbers rounded to float32, which grids hold, and what that costs them, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PART_NUMBERS = 1 << 22  # rounded at a time
# Of the largest value: decoding rounds once to float32, and computes in float64 before.
SINGLE_ROUNDING = 2.0**-23
HALF_BITS = 32  # of a 64-bit integer, whose halves float64 holds exactly
# Of the largest number: arithmetic in float64 leaves a range no wider than this of a constant.
NOISE = 2.0**-43


@dataclass(frozen=True)
class Rounding:
    """How the active values of a grid were rounded to float32 from the source's numbers.

    dtype: of the source's numbers, as 'int64'
    errors: the largest error of any value, by component
    spans: the range of the source's numbers, by component; 0 where floats differ by no more than
        the noise of arithmetic
    """

    dtype: str
    errors: tuple[float, ...]
    spans: tuple[float, ...]

    @property
    def of_integers(self) -> bool:
        """Whether the source's numbers are integers, which have no noise."""
        return np.dtype(self.dtype).kind in "iu"


class BeyondFloat32(ValueError):
    """A number is larger than any of float32.

    number: the number
    index: its place in the array
    """

    def __init__(self, number: Any, index: tuple[int, ...]) -> None:
        super().__init__(
            f"{number} is beyond float32, whose largest number is {np.finfo(np.float32).max:.3g}"
        )
        self.number, self.index = number, index


def round_numbers(
    numbers: NDArray[Any], counted: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], Rounding | None]:
    """Round numbers to float32, and tell how; None where float32 holds all of them.

    numbers: (..., C) of any real type; NaN and infinity stay what they are
    counted: bool (...) the numbers that matter; by default all
    Raises BeyondFloat32.
    """
    singles = np.empty(numbers.shape, dtype=np.float32)
    columns = [_Column() for _ in range(numbers.shape[-1])]
    for part in _parts(numbers):
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            singles[part] = numbers[part]
        if _can_round(numbers.dtype):
            chosen = ... if counted is None else counted[part]
            _check_range(numbers[part], singles[part], chosen, part.start)
            for component, column in enumerate(columns):
                column.add(
                    numbers[part][..., component][chosen], singles[part][..., component][chosen]
                )
    errors = tuple(column.error for column in columns)
    return singles, Rounding(
        numbers.dtype.name, errors, tuple(column.span for column in columns)
    ) if any(errors) else None


def _parts(numbers: NDArray[Any]) -> Iterator[slice]:
    """Give slices of the first axis that hold about PART_NUMBERS numbers each."""
    rows = len(numbers)
    thickness = max(1, PART_NUMBERS * rows // max(1, numbers.size))
    for first in range(0, rows, thickness):
        yield slice(first, min(first + thickness, rows))


def _can_round(dtype: np.dtype[Any]) -> bool:
    return not np.can_cast(dtype, np.float32)


def _check_range(
    numbers: NDArray[Any], singles: NDArray[np.float32], chosen: Any, first: int
) -> None:
    """Raise BeyondFloat32 for the first of the numbers that became infinite.

    first: the row of the array at which `numbers` begin
    """
    beyond = np.isinf(singles)
    if not beyond.any():
        return
    counted = np.zeros(beyond.shape, dtype=bool)
    counted[chosen] = True
    beyond &= counted & np.isfinite(numbers)
    if beyond.any():
        place = tuple(int(axis) for axis in np.argwhere(beyond)[0])
        raise BeyondFloat32(numbers[place], (place[0] + first, *place[1:-1]))


class _Column:
    """The largest error and the range of the numbers of one component."""

    def __init__(self) -> None:
        self.error = 0.0
        self.ends: list[Any] = []

    def add(self, numbers: NDArray[Any], singles: NDArray[np.float32]) -> None:
        finite = np.isfinite(singles)
        if not finite.all():
            numbers, singles = numbers[finite], singles[finite]
        if numbers.size:
            self.error = max(self.error, float(_errors(numbers, singles).max()))
            self.ends += [numbers.min().item(), numbers.max().item()]

    @property
    def span(self) -> float:
        if not self.ends:
            return 0.0
        low, high = min(self.ends), max(self.ends)
        noise = 0.0 if isinstance(low, int) else NOISE * max(abs(low), abs(high))
        return float(high - low) if high - low > noise else 0.0


def _errors(numbers: NDArray[Any], singles: NDArray[np.float32]) -> NDArray[Any]:
    """Give |numbers - singles|, exactly.

    A number and the nearest float32 differ by what the number's own type, or float64, holds.
    """
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
        return _errors_of_long(numbers, singles)
    wide = np.result_type(numbers.dtype, np.float64)
    return np.asarray(np.abs(numbers.astype(wide) - singles.astype(wide)))


def _errors_of_long(numbers: NDArray[Any], singles: NDArray[np.float32]) -> NDArray[Any]:
    """Do the same for 64-bit integers, which float64 does not hold, by halves, which it does."""
    upper, lower = numbers >> HALF_BITS, numbers & ((1 << HALF_BITS) - 1)
    wide = singles.astype(np.float64)
    wide_upper = np.floor(wide / 2.0**HALF_BITS)
    wide_lower = wide - wide_upper * 2.0**HALF_BITS
    return np.asarray(np.abs((upper - wide_upper) * 2.0**HALF_BITS + (lower - wide_lower)))
