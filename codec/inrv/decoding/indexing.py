"""Subscripts of a grid: blocks of voxels in index space."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inrv.errors import OptionError
from inrv.grids import Box
from inrv.grids.box import FARTHEST

ORDER = "xyz"


@dataclass(frozen=True)
class Block:
    """The coordinates along x, y and z that a subscript asks for.

    `dropped` are the axes that it gives one number of.
    """

    ranges: tuple[range, ...]
    dropped: tuple[int, ...]

    @staticmethod
    def of(subscript: Any, whole: Callable[[], Box]) -> Block:
        """Give the block that `grid[subscript]` asks for.

        Open ends are those of the box that `whole` gives. Raises OptionError.
        """
        parts = _expanded(subscript if isinstance(subscript, tuple) else (subscript,))
        ranges = tuple(_range(part, axis, whole) for axis, part in enumerate(parts))
        return Block(
            ranges, tuple(axis for axis, part in enumerate(parts) if not isinstance(part, slice))
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along the axes that are not dropped."""
        return tuple(
            len(numbers) for axis, numbers in enumerate(self.ranges) if axis not in self.dropped
        )

    @property
    def box(self) -> Box | None:
        """The box around all voxels, None where there is none."""
        if not all(self.ranges):
            return None
        return Box.of(
            [[numbers[0] for numbers in self.ranges], [numbers[-1] for numbers in self.ranges]]
        )

    @property
    def within(self) -> tuple[slice | int, ...]:
        """Where in an array of that box they are."""
        return tuple(
            0 if axis in self.dropped else slice(None, None, numbers.step)
            for axis, numbers in enumerate(self.ranges)
        )


def _expanded(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """Three parts: an ellipsis, or what is missing at the end, stands for whole axes."""
    places = [place for place, part in enumerate(parts) if part is Ellipsis]
    if len(parts) - len(places) > len(ORDER) or len(places) > 1:
        raise OptionError(
            f"a grid has three axes, not {len(parts)}; components come after them, as in "
            "grid[...][..., 0]"
        )
    place = places[0] if places else len(parts)
    left, right = parts[:place], parts[place + 1 :]
    return (*left, *[slice(None)] * (len(ORDER) - len(left) - len(right)), *right)


def _range(part: Any, axis: int, whole: Callable[[], Box]) -> range:
    if not isinstance(part, slice):
        at = _coordinate(part, axis)
        return range(at, at + 1)
    start = whole().lower[axis] if part.start is None else _coordinate(part.start, axis)
    stop = whole().upper[axis] + 1 if part.stop is None else _coordinate(part.stop, axis)
    step = 1 if part.step is None else _whole(part.step, axis)
    if step < 1:
        raise OptionError(f"step {step} along {ORDER[axis]} must be at least 1")
    return range(start, stop, step)


def _coordinate(number: Any, axis: int) -> int:
    at = _whole(number, axis)
    if abs(at) > FARTHEST:
        raise OptionError(
            f"{at} along {ORDER[axis]} is too far away: coordinates are from -{FARTHEST} to "
            f"{FARTHEST}"
        )
    return at


def _whole(number: Any, axis: int) -> int:
    try:
        return operator.index(number)
    except TypeError as error:
        raise OptionError(
            f"{number!r} along {ORDER[axis]} is neither a whole number nor a slice of such"
        ) from error
