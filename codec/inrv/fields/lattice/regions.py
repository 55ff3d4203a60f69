"""Regions of a topology: runs of its leaves, since leaves come in the order of 128^3 nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import Leaves
from inrv.grids import LEAF_EDGE, LEAF_VOXELS, NODE_EDGE, Topology, leaf_keys, unpack_masks

REGION_EDGE = NODE_EDGE  # measured: docs/lab-notes.md#regions
CELLS = REGION_EDGE // LEAF_EDGE  # along an edge
CELL_BITS = 12  # of a leaf's key: where it lies in its region


class Regions:
    """The regions of a topology, in the order of their corners.

    topology: whose leaves they hold
    keys: int64 (R,) ascending, of the regions
    """

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        nodes = topology.keys >> CELL_BITS
        self.keys, firsts = np.unique(nodes, return_index=True)
        self._ends = np.append(firsts, len(nodes))

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, coordinates: NDArray[Any]) -> NDArray[np.int64]:
        """The number int64 (n,) of the region that holds each coordinate (n, 3), or -1."""
        return self._numbers(leaf_keys(coordinates) >> CELL_BITS)

    def at(self, corner: NDArray[Any]) -> int:
        """The number of the region at a corner (3,), or -1."""
        return int(self.find(corner[None])[0])

    def number(self, key: int) -> int:
        """The number of the region with this key, or -1."""
        return int(self._numbers(np.array([key]))[0])

    def _numbers(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)

    def corner(self, number: int) -> NDArray[np.int32]:
        """The lowest corner int32 (3,) of a region."""
        origin = self.topology.leaf_origins[self._ends[number]]
        corner: NDArray[np.int32] = origin // REGION_EDGE * REGION_EDGE
        return corner

    def leaf_range(self, number: int) -> slice:
        """Its leaves among those of the topology."""
        return slice(int(self._ends[number]), int(self._ends[number + 1]))

    def rows(self, number: int) -> slice:
        """Its voxels among the active leaf voxels of the topology."""
        leaves = self.leaf_range(number)
        starts = self.topology.starts
        return slice(int(starts[leaves.start]), int(starts[leaves.stop]))

    def voxels(self, number: int) -> int:
        """How many its voxels are."""
        return self.topology.voxels_in(self.leaf_range(number))

    def leaves(self, number: int) -> Leaves:
        """Its leaves as the core takes them; none for the number -1."""
        leaves = self.leaf_range(number) if number >= 0 else slice(0, 0)
        cells = self.topology.keys[leaves] & ((1 << CELL_BITS) - 1)
        return Leaves(cells.astype(np.uint16), self.topology.masks_at(leaves))


def at_multiples(leaves: Leaves, level: int) -> NDArray[np.bool_]:
    """Which of some leaves' active voxels lie at multiples of 2^level: bool (voxels,)."""
    stride, local = 1 << level, np.arange(LEAF_EDGE) % min(1 << level, LEAF_EDGE) == 0
    within = local[:, None, None] & local[:, None] & local
    chosen = np.broadcast_to(within.reshape(-1), (len(leaves.cells), LEAF_VOXELS))
    if stride > LEAF_EDGE:
        cells = leaves.cells.astype(np.int64)[:, None] >> np.array([8, 4, 0]) & (CELLS - 1)
        chosen = chosen & (cells % (stride // LEAF_EDGE) == 0).all(axis=1)[:, None]
    return chosen[unpack_masks(leaves.masks)]
