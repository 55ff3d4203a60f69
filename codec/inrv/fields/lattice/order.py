"""The order in which the voxels of a region are coded, and the neighbours that predict each.

A region is a cube of 128^3 voxels whose corner is a multiple of 128. Its corner voxel comes first,
then strides 64, 32, 16, 8, 4, 2, 1: at each stride the voxels with one odd multiple of it, then
those with two, then those with three. The voxels of such a pass are predicted from earlier passes
alone, so they are coded at once.
"""

from __future__ import annotations

from dataclasses import dataclass

REGION_EDGE = 128  # measured: docs/lab-notes.md#regions
LEVELS = 7  # strides 2^6 to 2^0
# Strides of a region's border: no offset reaches farther than 3, and an even number keeps parities.
PAD = 4

Offset = tuple[int, int, int]


@dataclass(frozen=True)
class Pattern:
    """Known neighbours of the voxels whose coordinates are odd along some axes, in strides.

    Each offset stands for itself and its opposite.

    along: for each odd axis, the neighbours at distance 1 and 3, which the base is interpolated
        from
    beside: the other neighbours
    """

    along: tuple[tuple[Offset, Offset], ...]
    beside: tuple[Offset, ...]

    @property
    def pairs(self) -> tuple[Offset, ...]:
        """One offset of each pair: distance 1 along the odd axes, then distance 3, then others."""
        return (*(near for near, _ in self.along), *(far for _, far in self.along), *self.beside)


def _along(*axes: int) -> tuple[tuple[Offset, Offset], ...]:
    units = [tuple(int(axis == own) for axis in range(3)) for own in axes]
    return tuple(((x, y, z), (3 * x, 3 * y, 3 * z)) for x, y, z in units)


FACES: tuple[Offset, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
EDGES: tuple[Offset, ...] = (
    (0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
)  # fmt: skip
CORNERS: tuple[Offset, ...] = ((1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1))
AROUND = FACES + EDGES + CORNERS

# measured: docs/lab-notes.md#neighbours
# By number of odd axes; the odd axis (of one) or the even axis (of two) stands first.
PATTERNS = {
    1: Pattern(
        _along(0),
        (
            (1, 2, 0), (1, -2, 0), (1, 0, 2), (1, 0, -2),
            (1, 2, 2), (1, 2, -2), (1, -2, 2), (1, -2, -2),
        ),
    ),
    2: Pattern(
        _along(1, 2),
        ((0, 1, 1), (0, 1, -1), *CORNERS, (2, 1, 0), (2, -1, 0), (2, 0, 1), (2, 0, -1)),
    ),
    3: Pattern(_along(0, 1, 2), EDGES + CORNERS),
}  # fmt: skip


@dataclass(frozen=True)
class Parity:
    """Voxels whose coordinates, in strides, have these parities.

    odd: for each axis 1 where the coordinate is odd, else 0
    first: the axis that stands first in the pattern
    """

    odd: tuple[int, int, int]
    first: int

    def turned(self, offsets: tuple[Offset, ...]) -> list[Offset]:
        """Turns offsets of a pattern to the axes of index space."""
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
