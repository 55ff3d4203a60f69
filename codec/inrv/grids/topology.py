"""The active topology of a sparse grid: 8^3 leaves with bit masks, and tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.grids.blocks import (
    CELL_BITS,
    COORDINATE_LIMIT,
    LEAF_EDGE,
    LEAF_VOXELS,
    MASK_BYTES,
    TILE_EDGES,
    byte_counts,
    check_range,
    leaf_keys,
    leaf_offsets,
    leaf_parts,
    mask_places,
    masks_at_multiples,
    offset_coordinates,
    pack_masks,
    unpack_masks,
)
from inrv.grids.box import Box

PART_PLACES = 1 << 20  # places whose rows are found at a time

_POPCOUNT = np.array([byte.bit_count() for byte in range(256)], dtype=np.int16)


@dataclass(frozen=True, eq=False)
class Topology:
    """Leaves in key order, and tiles.

    leaf_origins: int32 (L, 3) lowest corner of each leaf, multiples of 8, sorted by `leaf_keys`
    leaf_masks: uint8 (L, 64) active voxels of each leaf, see `pack_masks`
    tile_origins: int32 (T, 3) lowest corner of each tile
    tile_edges: int32 (T,) 8, 128 or 4096 voxels
    tile_active: bool (T,) inactive tiles are kept only where their value is not the background
    """

    leaf_origins: NDArray[np.int32]
    leaf_masks: NDArray[np.uint8]
    tile_origins: NDArray[np.int32]
    tile_edges: NDArray[np.int32]
    tile_active: NDArray[np.bool_]

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} of {self.leaf_count:,} leaves and {self.tile_count:,} tiles>"

    @staticmethod
    def empty() -> Topology:
        """Make a topology without a leaf or a tile."""
        return Topology(
            np.empty((0, 3), dtype=np.int32),
            np.empty((0, MASK_BYTES), dtype=np.uint8),
            np.empty((0, 3), dtype=np.int32),
            np.empty(0, dtype=np.int32),
            np.empty(0, dtype=np.bool_),
        )

    @staticmethod
    def from_leaves(origins: NDArray[Any], masks: NDArray[Any]) -> Topology:
        """Make a topology of leaves without tiles.

        origins: integers (L, 3) in any order
        masks: bool (L, 512) or packed uint8 (L, 64)
        Raises SelectionError where an origin is too far from the origin of index space.
        """
        check_range(origins)
        packed = pack_masks(masks) if masks.dtype == np.bool_ else masks
        order = Topology.order_of(origins)
        return replace(
            Topology.empty(),
            leaf_origins=origins[order].astype(np.int32),
            leaf_masks=packed[order],
        )

    @staticmethod
    def order_of(origins: NDArray[Any]) -> NDArray[np.int64]:
        """Give the permutation int64 (L,) that brings leaf origins (L, 3) into key order."""
        return leaf_keys(origins).argsort(kind="stable")

    @property
    def leaf_count(self) -> int:
        """Number of leaves."""
        return len(self.leaf_origins)

    @property
    def tile_count(self) -> int:
        """Number of tiles kept, active and inactive."""
        return len(self.tile_origins)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """Sorted key of each leaf, int64 (L,)."""
        return leaf_keys(self.leaf_origins)

    @cached_property
    def region_ends(self) -> NDArray[np.int64]:
        """Where the leaves of each region of 128^3 begin, and where the last one's end: (R + 1,).

        Leaves come in the order of regions.
        """
        firsts = np.flatnonzero(np.diff(self.keys >> CELL_BITS, prepend=-1))
        return np.append(firsts, self.leaf_count)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Active voxels of each leaf, int64 (L,)."""
        counts = np.empty(self.leaf_count, dtype=np.int64)
        for first, last in leaf_parts(0, self.leaf_count):
            counts[first:last] = byte_counts(self.leaf_masks[first:last]).sum(
                axis=1, dtype=np.int64
            )
        return counts

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Index of each leaf's first active voxel, int64 (L + 1,).

        Leaf i holds the active voxels starts[i] to starts[i + 1], excluded.
        """
        starts = np.zeros(self.leaf_count + 1, dtype=np.int64)
        np.cumsum(self.counts, out=starts[1:])
        return starts

    @property
    def leaf_voxel_count(self) -> int:
        """Active voxels in leaves: the rows of a grid's `values`."""
        return int(self.starts[-1])

    @property
    def active_voxel_count(self) -> int:
        """Active voxels, those of active tiles included."""
        edges = self.tile_edges[self.tile_active].astype(np.int64)
        return self.leaf_voxel_count + int((edges**3).sum())

    @cached_property
    def box(self) -> Box | None:
        """The smallest box that holds every active voxel, or None where none is active."""
        lowest, highest = [], []
        if self.leaf_voxel_count:
            filled = self.counts > 0
            low, high = _extent(self.leaf_origins[filled], self.leaf_masks[filled])
            lowest.append(low)
            highest.append(high)
        if self.tile_active.any():
            origins = self.tile_origins[self.tile_active]
            edges = self.tile_edges[self.tile_active, None]
            lowest.append(origins.min(axis=0))
            highest.append((origins + edges - 1).max(axis=0))
        if not lowest:
            return None
        low_x, low_y, low_z = np.min(lowest, axis=0).tolist()
        high_x, high_y, high_z = np.max(highest, axis=0).tolist()
        return Box((low_x, low_y, low_z), (high_x, high_y, high_z))

    def coordinates(self, first_leaf: int = 0, last_leaf: int | None = None) -> NDArray[np.int32]:
        """Give the coordinates int32 (n, 3) of the active voxels of some leaves.

        first_leaf, last_leaf: a range as of a slice: the last is excluded, None stands for the end
        """
        first, last, _ = slice(first_leaf, last_leaf).indices(self.leaf_count)
        places = mask_places(self.masks_at(slice(first, last)))
        places += first * LEAF_VOXELS
        return self.coordinates_of(places)

    def masks_at(self, leaves: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Give the masks uint8 (n, 64) of some leaves.

        A topology of an open file decodes those of their regions alone.

        leaves: a range, or ascending numbers int64 (n,)
        """
        return self.leaf_masks[leaves]

    def voxels_in(self, leaves: slice, level: int = 0) -> int:
        """Count the active voxels of a range of leaves that lie at multiples of 2^level."""
        return int(byte_counts(self.masks_at_multiples(leaves, level)).sum(dtype=np.int64))

    def masks_at_multiples(
        self, leaves: slice | NDArray[np.int64], level: int
    ) -> NDArray[np.uint8]:
        """Give the masks uint8 (n, 64) of the voxels of some leaves at multiples of 2^level."""
        masks = self.masks_at(leaves)
        return masks_at_multiples(self.leaf_origins[leaves], masks, level) if level else masks

    def places(self) -> NDArray[np.int64]:
        """Give the place, leaf index * 512 + offset, of each active leaf voxel: int64 (N,)."""
        return mask_places(self.leaf_masks)

    def at_multiples(self, level: int) -> Topology:
        """Give the topology in which only leaf voxels at multiples of 2^level stay active."""
        masks = masks_at_multiples(self.leaf_origins, self.leaf_masks, level)
        return replace(self, leaf_masks=masks)

    def coordinates_of(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """Give the coordinates int32 (n, 3) of the leaf voxels, active or not, at `places` (n,)."""
        local = offset_coordinates().astype(np.int32)
        coordinates = self.leaf_origins.take(places // LEAF_VOXELS, axis=0)
        coordinates += local.take(places % LEAF_VOXELS, axis=0)
        return coordinates

    def chunks(self, voxels: int) -> Iterator[tuple[int, int]]:
        """Give leaf ranges (first, last) of at least one leaf and about `voxels` active voxels."""
        first = 0
        while first < self.leaf_count:
            target = self.starts[first] + voxels
            last = max(first + 1, int(np.searchsorted(self.starts, target, side="right")) - 1)
            yield first, min(last, self.leaf_count)
            first = last

    def subset(self, leaves: NDArray[np.int64]) -> Topology:
        """Give the topology with only the leaves at ascending indices, and all tiles."""
        return Topology(
            self.leaf_origins[leaves],
            self.masks_at(leaves),
            self.tile_origins,
            self.tile_edges,
            self.tile_active,
        )

    def find_leaves(self, coordinates: NDArray[Any]) -> NDArray[np.int64]:
        """Give the index int64 (N,) of the leaf that holds each coordinate (N, 3), or -1."""
        return _find(self.keys, leaf_keys(coordinates), coordinates)

    def masks_of(self, leaves: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Give the active voxels bool (n, 512) of leaves (n,); none where the index is -1."""
        if not self.leaf_count:
            return np.zeros((len(leaves), LEAF_VOXELS), dtype=np.bool_)
        masks = unpack_masks(self.leaf_masks[np.maximum(leaves, 0)])
        masks[leaves < 0] = False
        return masks

    def find_tiles(self, coordinates: NDArray[Any]) -> NDArray[np.int64]:
        """Give the index int64 (N,) of the tile that holds each coordinate (N, 3), or -1.

        Leaves take no part.
        """
        found = np.full(len(coordinates), -1, dtype=np.int64)
        for edge in TILE_EDGES:
            members = np.flatnonzero(self.tile_edges == edge)
            if len(members):
                keys = leaf_keys(self.tile_origins[members])
                order = keys.argsort(kind="stable")
                corners = coordinates.astype(np.int64) // edge * edge
                at = _find(keys[order], leaf_keys(corners), coordinates)
                found = np.where(at >= 0, members[order][at], found)
        return found

    def active(self, coordinates: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which integer coordinates (N, 3) are active, in a leaf or in a tile: bool (N,)."""
        result = self.voxel_rows(coordinates) >= 0
        if self.tile_count:
            leaf, tile = self.find_leaves(coordinates), self.find_tiles(coordinates)
            result |= (leaf < 0) & (tile >= 0) & self.tile_active[np.maximum(tile, 0)]
        return result

    def voxel_rows(self, coordinates: NDArray[Any]) -> NDArray[np.int64]:
        """Give the row int64 (N,) of each coordinate (N, 3) among the active leaf voxels, or -1."""
        return self._rows(self.find_leaves(coordinates), leaf_offsets(coordinates))

    def place_rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the row int64 (N,) of each place (N,) among the active leaf voxels, or -1."""
        rows = np.empty(len(places), dtype=np.int64)
        for first in range(0, len(places), PART_PLACES):
            part = places[first : first + PART_PLACES]
            rows[first : first + PART_PLACES] = self._rows(part // LEAF_VOXELS, part % LEAF_VOXELS)
        return rows

    def _rows(self, leaf: NDArray[np.int64], offset: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the rows int64 (N,) of voxels, from their leaves, -1 for none, and offsets."""
        if not self.leaf_count:
            return np.full_like(leaf, -1)
        at, bit = np.maximum(leaf, 0), offset & 7
        byte = at * MASK_BYTES + (offset >> 3)
        bits = self.leaf_masks.reshape(-1).take(byte).astype(np.int64)
        before = self._byte_ranks.reshape(-1).take(byte)
        before += _POPCOUNT.take(bits & ((1 << bit) - 1))
        inside = (leaf >= 0) & (((bits >> bit) & 1) != 0)
        return np.where(inside, self.starts.take(at) + before, -1)

    @cached_property
    def _byte_ranks(self) -> NDArray[np.int16]:
        """Active voxels of the leaf before each of its 64 mask bytes, int16 (L, 64)."""
        ranks = np.empty(self.leaf_masks.shape, dtype=np.int16)
        for first, last in leaf_parts(0, self.leaf_count):
            counts, part = byte_counts(self.leaf_masks[first:last]), ranks[first:last]
            np.cumsum(counts, axis=1, dtype=np.int16, out=part)
            part -= counts
        return ranks

    def identical(self, other: Topology) -> bool:
        """Tell whether all arrays are equal: leaves, active voxels and tiles, in their order."""
        names = self.__dataclass_fields__
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    def equal(self, other: Topology) -> bool:
        """Tell whether leaves, active voxels and tiles are the same, tiles in any order."""
        pairs = zip(self._canonical(), other._canonical(), strict=True)
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    def _canonical(self) -> tuple[NDArray[Any], ...]:
        """The arrays, with the tiles in the order of their keys."""
        order = leaf_keys(self.tile_origins).argsort(kind="stable")
        tiles = self.tile_origins[order], self.tile_edges[order], self.tile_active[order]
        return self.leaf_origins, self.leaf_masks, *tiles


def _find(
    sorted_keys: NDArray[np.int64], keys: NDArray[np.int64], coordinates: NDArray[Any]
) -> NDArray[np.int64]:
    """Give the index int64 (N,) of each key among sorted ones, -1 for none or out of range."""
    if not len(sorted_keys):
        return np.full_like(keys, -1)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found = sorted_keys.take(at) == keys
    for axis in range(3):
        column = coordinates[:, axis]
        found &= (column < COORDINATE_LIMIT) & (column > -COORDINATE_LIMIT)
    return np.where(found, at, -1)


def _extent(
    origins: NDArray[np.int32], masks: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Give the lowest and highest coordinate int32 (3,) of any active voxel.

    origins: int32 (L, 3)
    masks: uint8 (L, 64), none of them empty
    """
    ends = np.empty((2, 3), dtype=np.int32)
    for axis in range(3):
        along = origins[:, axis]
        others = tuple(other + 1 for other in range(3) if other != axis)
        for end, outermost in enumerate((along.min(), along.max())):
            outer = unpack_masks(masks[along == outermost])
            used = np.flatnonzero(outer.reshape(-1, *[LEAF_EDGE] * 3).any(axis=(0, *others)))
            ends[end, axis] = outermost + used[-end]
    return ends[0], ends[1]
