"""Values that a large share of a grid's voxels has, bit for bit.

Such are 0 in empty air, 1 inside a shape, and either end of a range that was clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrv.grids.grid import Grid, LeafValues

# From which share of the voxels on, more frequent values set aside, all voxels of a value get it
# back exactly: of a value that means something (0, 1, the background, an end of the range), and
# of any other.
LARGE_SHARE, LARGEST_SHARE = 0.1, 0.25
MOST_FREQUENT = 8
_HASH = 1_000_003  # joins the bits of a vector's components


@dataclass(frozen=True, eq=False)
class FrequentValues:
    """Active leaf voxels that share a few values.

    places: int64 (M,) leaf index * 512 + offset, ascending
    which: int16 (M,) index of the value of each
    values: float32 (K, C) the values
    """

    places: NDArray[np.int64]
    which: NDArray[np.int16]
    values: NDArray[np.float32]

    @staticmethod
    def none(components: int) -> FrequentValues:
        """Make a table of no voxel."""
        return FrequentValues(
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.int16),
            np.empty((0, components), dtype=np.float32),
        )

    @property
    def counts(self) -> list[int]:
        """How many voxels have each value."""
        return [int(count) for count in np.bincount(self.which, minlength=len(self.values))]

    @property
    def leaf_values(self) -> LeafValues:
        """The same voxels with a value each."""
        return LeafValues(self.places, self.values.take(self.which, axis=0))


def frequent_values(grid: Grid, open_rows: NDArray[np.bool_]) -> FrequentValues:
    """Find the values that a large share of the active leaf voxels have, and where they stand.

    open_rows: bool (N,) the voxels that count
    """
    bits = np.ascontiguousarray(grid.values).view(np.int32)
    open_places = np.flatnonzero(open_rows)
    keys = _keys(bits).take(open_places)
    found, counts = np.unique(keys, return_counts=True)
    rows, which = list[NDArray[np.int64]](), list[NDArray[np.int16]]()
    values = list[NDArray[np.float32]]()
    left = len(open_places)
    for one in np.argsort(-counts, kind="stable")[:MOST_FREQUENT]:
        if counts[one] < LARGE_SHARE * left:
            continue
        members = open_places[keys == found[one]]
        same = bits.take(members, axis=0) == bits[members[0]]  # two vectors may have one key
        members = members[same.all(axis=1)]
        value = grid.values[members[0]]
        share = LARGE_SHARE if _means_something(value, grid) else LARGEST_SHARE
        if len(members) < share * left:
            continue
        left -= len(members)
        rows.append(members)
        which.append(np.full(len(members), len(values), dtype=np.int16))
        values.append(value)
    if not rows:
        return FrequentValues.none(grid.components)
    joined = np.concatenate(rows)
    order = joined.argsort()
    places = grid.topology.places().take(joined[order])
    return FrequentValues(places, np.concatenate(which)[order], np.stack(values))


def _keys(bits: NDArray[np.int32]) -> NDArray[np.int32] | NDArray[np.int64]:
    """Give a number for each row of bits (N, C): the bits of a scalar, a hash of a vector's."""
    if bits.shape[1] == 1:
        return bits[:, 0]
    keys = bits[:, 0].astype(np.int64)
    for column in bits.T[1:]:
        keys = keys * _HASH + column
    return keys


def _means_something(value: NDArray[np.float32], grid: Grid) -> bool:
    """Tell whether a value (C,) is 0, 1, the background or, of a scalar, an end of the range."""
    usual = [np.zeros_like(value), np.ones_like(value), grid.background]
    if grid.components == 1:
        usual += [grid.values.min(axis=0), grid.values.max(axis=0)]
    return any(np.array_equal(value, other) for other in usual)
