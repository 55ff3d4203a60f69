"""Values that a large share of a grid's voxels has, bit for bit: 0 in empty air, 1 inside a shape, an end of the range."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.grids.grid import Grid, LeafValues

# The share of the voxels that have a value, more frequent ones set aside, from which on all of them get it back exactly: of a
# value that means something (0, 1, the background, an end of the range), and of any other.
LARGE_SHARE, LARGEST_SHARE = 0.1, 0.25
MOST_FREQUENT = 8


@dataclass(frozen=True, eq=False)
class FrequentValues:
    """Active leaf voxels that share a few values.

    places  int64 (M,)      leaf index * 512 + offset, ascending
    which   int16 (M,)      the value of each
    values  float32 (K, C)  the values
    """

    places: Tensor
    which: Tensor
    values: Tensor

    @staticmethod
    def none(components: int) -> FrequentValues:
        """No voxel."""
        nothing = torch.empty(0, dtype=torch.int64, device="cpu")
        return FrequentValues(nothing, nothing.short(), torch.empty((0, components), dtype=torch.float32, device="cpu"))

    @property
    def counts(self) -> list[int]:
        """How many voxels have each value."""
        return torch.bincount(self.which, minlength=len(self.values)).tolist()

    @property
    def leaf_values(self) -> LeafValues:
        """The same voxels with a value each."""
        return LeafValues(self.places, self.values[self.which.int()])


def frequent_values(grid: Grid, open_rows: Tensor) -> FrequentValues:
    """The values that a large share of the active leaf voxels have, bit for bit, and where they stand.

    open_rows  bool (N,)  of the voxels that are looked at
    """
    bits = grid.values.view(torch.int32)
    key = bits[:, 0].to(torch.int64)
    for column in bits.unbind(dim=1)[1:]:  # vectors: by a hash, and then compared
        key = key * 1_000_003 + column
    _, inverse, counts = torch.unique(key[open_rows], return_inverse=True, return_counts=True)
    rows, which, values = list[Tensor](), list[Tensor](), list[Tensor]()
    open_places = open_rows.nonzero()[:, 0]
    left = len(open_places)
    for one in counts.argsort(descending=True, stable=True)[:MOST_FREQUENT].tolist():
        members = open_places[inverse == one]
        members = members[(bits[members] == bits[members[0]]).all(dim=1)]
        value = grid.values[members[0]]
        if len(members) < (LARGE_SHARE if _means_something(value, grid) else LARGEST_SHARE) * left:
            continue
        left -= len(members)
        rows.append(members)
        which.append(torch.full_like(members, len(values), dtype=torch.int16))
        values.append(value)
    if not rows:
        return FrequentValues.none(grid.components)
    joined, order = torch.cat(rows).sort()
    return FrequentValues(grid.topology.places()[joined], torch.cat(which)[order], torch.stack(values))


def _means_something(value: Tensor, grid: Grid) -> bool:
    """Whether a value float32 (C,) is 0, 1, the background or, of a scalar, an end of the range."""
    usual = [torch.zeros_like(value), torch.ones_like(value), grid.background]
    if grid.components == 1:
        usual += [grid.values.amin(dim=0), grid.values.amax(dim=0)]
    return any(torch.equal(value, other) for other in usual)
