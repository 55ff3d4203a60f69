"""The order in which the voxels of a region are coded, and from which neighbours each is predicted.

A region is a cube of 128^3 voxels whose corner is a multiple of 128. Its corner voxel comes first, then strides 64, 32, 16, 8,
4, 2, 1: at each stride the voxels with one odd multiple of it, with two, with three. All voxels of such a step are
predicted from earlier steps alone, so they are coded at once, in every region.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

REGION_EDGE = 128
LEVELS = 7  # strides 2^6 to 2^0
PAD = 2  # of a region's border, in strides: no offset reaches farther

Offset = tuple[int, int, int]


@dataclass(frozen=True)
class Pattern:
    """Offsets, in strides, of the voxels whose coordinates are odd along `odd` axes.

    near   of known neighbours; the first `nearest` ones are the nearest
    """

    near: tuple[Offset, ...]
    nearest: int


def _all(*axes: tuple[int, ...]) -> list[Offset]:
    return [(x, y, z) for x, y, z in itertools.product(*axes)]


ONE, TWO, NONE = (-1, 1), (-2, 2), (0,)
FACES: tuple[Offset, ...] = (*_all(ONE, NONE, NONE), *_all(NONE, ONE, NONE), *_all(NONE, NONE, ONE))
EDGES: tuple[Offset, ...] = (*_all(NONE, ONE, ONE), *_all(ONE, NONE, ONE), *_all(ONE, ONE, NONE))
CORNERS: tuple[Offset, ...] = tuple(_all(ONE, ONE, ONE))
AROUND = FACES + EDGES + CORNERS

# For an odd number of axes, with the odd axis (one) or the even axis (two) first.
PATTERNS = {
    1: Pattern((*_all(ONE, NONE, NONE), *_all(ONE, TWO, NONE), *_all(ONE, NONE, TWO), *_all(ONE, TWO, TWO)), 2),
    2: Pattern(
        (*_all(NONE, ONE, NONE), *_all(NONE, NONE, ONE), *_all(NONE, ONE, ONE), *CORNERS, *_all(TWO, ONE, ONE)),
        4,
    ),
    3: Pattern(AROUND, 6),
}


@dataclass(frozen=True)
class Parity:
    """Voxels whose coordinates, in strides, have these parities; `first` is the axis that stands first in the pattern."""

    odd: tuple[int, int, int]
    first: int

    def turned(self, offsets: tuple[Offset, ...]) -> list[Offset]:
        """Offsets of a pattern along the axes of index space."""
        others = [axis for axis in range(3) if axis != self.first]
        result = []
        for offset in offsets:
            turned = [0, 0, 0]
            turned[self.first], turned[others[0]], turned[others[1]] = offset
            result.append((turned[0], turned[1], turned[2]))
        return result


PARITIES = {
    1: (Parity((1, 0, 0), 0), Parity((0, 1, 0), 1), Parity((0, 0, 1), 2)),
    2: (Parity((0, 1, 1), 0), Parity((1, 0, 1), 1), Parity((1, 1, 0), 2)),
    3: (Parity((1, 1, 1), 0),),
}
STEPS = tuple((level, odd) for level in reversed(range(LEVELS)) for odd in PATTERNS)


def padded_edge(level: int) -> int:
    """Edge of a region's array at stride 2^level, with its border."""
    return (REGION_EDGE >> level) + 2 * PAD


def flat(offsets: list[Offset] | tuple[Offset, ...], level: int) -> list[int]:
    """Offsets, in strides, as distances in the flattened array of that level."""
    edge = padded_edge(level)
    return [(x * edge + y) * edge + z for x, y, z in offsets]
