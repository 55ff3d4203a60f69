"""Motion: vectors along which a channel's reference is fetched, and the reference so fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inrv.container import Arrays, take
from inrv.core.lattice import (
    LEAF_VOXELS,
    KnownRegion,
    KnownVoxels,
    Leaves,
    RegionMotion,
    moved_values,
    predicted_vectors,
)
from inrv.errors import FormatError
from inrv.fields.lattice.regions import Regions
from inrv.fields.lattice.tokens import SAME, code_passes, decode_passes
from inrv.grids import MASK_BYTES, Topology
from inrv.grids.blocks import CELL_BITS

MOST_FRACTION = 3  # bits of a vector's components behind the point
FULL_BYTE = 255  # eight voxels
AXES = 3

Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Motion:
    """Vectors of leaves: where each fetches values of another frame.

    grid: number of the grid whose leaves have them
    topology: of that grid
    vectors: int8 (L, 3) in 2^-fraction voxels, by leaf
    fraction: 0 to 3
    """

    grid: int
    topology: Topology
    vectors: NDArray[np.int8]
    fraction: int

    @cached_property
    def regions(self) -> Regions:
        """The regions of its leaves."""
        return Regions(self.topology)

    @cached_property
    def still(self) -> Motion:
        """One whose vectors are all zero."""
        return Motion(self.grid, self.topology, np.zeros_like(self.vectors), 0)

    def region(self, key: int) -> RegionMotion:
        """The vectors of the leaves of a region; none where it has none."""
        number = self.regions.number(key)
        if number < 0:
            return RegionMotion(np.zeros(0, np.uint16), np.zeros((0, AXES), np.int8), self.fraction)
        leaves = self.regions.leaf_range(number)
        return RegionMotion(self._cells(leaves), self.vectors[leaves], self.fraction)

    def _cells(self, leaves: slice) -> NDArray[np.uint16]:
        return (self.topology.keys[leaves] & ((1 << CELL_BITS) - 1)).astype(np.uint16)

    def _predicted(self, vectors: Ints, restore: bool) -> Ints:
        """What vectors (L, 3) differ by from their predictions, or back. Raises FormatError."""
        found = np.empty_like(vectors)
        for number in range(len(self.regions)):
            leaves = self.regions.leaf_range(number)
            cells = self._cells(leaves)
            found[leaves] = predicted_vectors(cells, vectors[leaves], restore=restore)
        return found

    def pack(self, prior: NDArray[np.int64], grid: int) -> Arrays:
        """Return the tensors of its chunk.

        prior: of the tables of its codes
        grid: number in the manifest of a grid that has its topology
        """
        differences = self._predicted(self.vectors.astype(np.int32), restore=False)
        tables, codes = code_passes(prior, [np.ascontiguousarray(own) for own in differences.T])
        return {
            "grid": np.array([grid], dtype=np.int32),
            "fraction": np.array([self.fraction], dtype=np.uint8),
            "tables": tables,
            "codes": np.frombuffer(codes, dtype=np.uint8),
        }

    @staticmethod
    def unpack(
        arrays: Arrays, prior: NDArray[np.int64], topology_of: Callable[[int], Topology | None]
    ) -> Motion:
        """Return the motion that tensors hold. Raises FormatError.

        topology_of: gives the topology of a grid by its number; None where there is none
        """
        grid = int(take(arrays, "grid", np.int32, (1,))[0])
        fraction = int(take(arrays, "fraction", np.uint8, (1,))[0])
        tables = take(arrays, "tables", np.uint8, (AXES,))
        codes = take(arrays, "codes", np.uint8, (None,)).tobytes()
        topology = topology_of(grid)
        if topology is None or fraction > MOST_FRACTION or (tables > SAME).any():
            found = f"grid {grid}, fraction {fraction}, tables {tables.tolist()}"
            raise FormatError("F9", f"motion: its chunk says {found}, of which one is out of range")
        count = topology.leaf_count
        try:
            differences = np.stack(decode_passes(prior, tables, [count] * AXES, codes), axis=1)
        except FormatError as error:
            raise FormatError(error.id, "the codes of motion are damaged") from error
        empty = Motion(grid, topology, np.zeros((count, AXES), dtype=np.int8), fraction)
        vectors = empty._predicted(differences, restore=True)
        return Motion(grid, topology, vectors.astype(np.int8), fraction)


@dataclass(frozen=True, eq=False)
class MovedReference:
    """A channel that another one is predicted from, fetched along vectors.

    regions: of its coded voxels
    values: gives the values int32 (n,) of these in a region, by number, in the other's units
    exterior: gives for the corner int32 (3,) of a region its other voxels, in the same units
    motion: the vectors
    top: the other's largest value
    """

    regions: Regions
    values: Callable[[int], Ints]
    exterior: Callable[[Ints], KnownVoxels]
    motion: Motion
    top: int

    def region(self, key: int, corner: Ints, cells: NDArray[np.uint16]) -> tuple[Leaves, Ints]:
        """The values of every voxel of some cells of a region.

        key, corner: of the region
        cells: uint16 (n,) ascending
        """
        number = self.regions.number(key)
        own = self.regions.leaves(number)
        values = self.values(number) if number >= 0 else np.zeros(0, dtype=np.int32)
        known = KnownRegion(own, None, self.exterior(corner), 0, 0)
        moved = moved_values(known, values, self.motion.region(key), self.top, cells)
        full = np.full((len(cells), MASK_BYTES), FULL_BYTE, dtype=np.uint8)
        return Leaves(cells, full), moved.reshape(len(cells) * LEAF_VOXELS)


@dataclass(frozen=True, eq=False)
class MeanReference:
    """The mean of two references that are fetched along vectors, as frames before and after."""

    first: MovedReference
    second: MovedReference

    @property
    def top(self) -> int:
        """The largest value."""
        return self.first.top

    def region(self, key: int, corner: Ints, cells: NDArray[np.uint16]) -> tuple[Leaves, Ints]:
        """See `MovedReference`."""
        leaves, values = self.first.region(key, corner, cells)
        _, others = self.second.region(key, corner, cells)
        return leaves, (values + others + 1) >> 1
