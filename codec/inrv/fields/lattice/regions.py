"""Regions of a topology: runs of its leaves, since leaves come in the order of 128^3 nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import Leaves
from inrv.grids import LEAF_EDGE, NODE_EDGE, Topology
from inrv.grids.blocks import CELL_BITS

REGION_EDGE = NODE_EDGE  # measured: docs/lab-notes.md#regions
CELLS = REGION_EDGE // LEAF_EDGE  # along an edge


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

    def number(self, key: int) -> int:
        """The number of the region with this key, or -1."""
        at = int(np.searchsorted(self.keys, key))
        return at if at < len(self) and self.keys[at] == key else -1

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

    def voxels(self, number: int, level: int = 0) -> int:
        """How many its voxels at multiples of 2^level are."""
        return self.topology.voxels_in(self.leaf_range(number), level)

    def leaves(self, number: int) -> Leaves:
        """Its leaves as the core takes them; none for the number -1."""
        leaves = self.leaf_range(number) if number >= 0 else slice(0, 0)
        cells = self.topology.keys[leaves] & ((1 << CELL_BITS) - 1)
        return Leaves(cells.astype(np.uint16), self.topology.masks_at(leaves))
