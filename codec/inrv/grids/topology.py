"""The active topology of a sparse grid: 8^3 leaves with bit masks, and tiles.

A coordinate is looked up by a 63-bit key: 17 bits an axis for the 128^3 node it lies in, then 4 bits an axis for
the leaf inside the node, so that sorted keys are OpenVDB's own order of leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from inrv.errors import SelectionError
from inrv.grids.box import Box

LEAF_EDGE = 8
LEAF_VOXELS = 512
TILE_EDGES = (8, 128, 4096)
COORDINATE_LIMIT = 1 << 23
PART_LEAVES = 1 << 15  # whose masks are unpacked at a time
PART_PLACES = 1 << 20  # whose rows are found at a time

_BITS = torch.tensor([1 << b for b in range(8)], dtype=torch.uint8, device="cpu")
_POPCOUNT = torch.tensor([byte.bit_count() for byte in range(256)], dtype=torch.int16, device="cpu")


def leaf_keys(coordinates: Tensor) -> Tensor:
    """Sort keys int64 (N,) of the 8^3 blocks that hold integer `coordinates` (N, 3), |c| < 2^23."""
    block = (coordinates.to(torch.int64) + COORDINATE_LIMIT) >> 3
    node, child = block >> 4, block & 15
    key = node[:, 0]
    for part, bits in ((node[:, 1], 17), (node[:, 2], 17), (child[:, 0], 4), (child[:, 1], 4), (child[:, 2], 4)):
        key = (key << bits) | part
    return key


def check_range(coordinates: Tensor) -> None:
    """Raise SelectionError when an index-space coordinate lies outside +-2^23, where float32 loses whole voxels."""
    if coordinates.numel() and int(coordinates.abs().max()) > COORDINATE_LIMIT - 4096:
        raise SelectionError(
            f"voxel coordinate {int(coordinates.abs().max())} is beyond +-{COORDINATE_LIMIT - 4096}: "
            "translate the grid nearer the origin of index space"
        )


def leaf_offsets(coordinates: Tensor) -> Tensor:
    """Offset 0..511 (x * 64 + y * 8 + z) of integer `coordinates` (N, 3) inside their leaf, int64 (N,)."""
    local = coordinates.to(torch.int64) & 7
    return (local[:, 0] << 6) | (local[:, 1] << 3) | local[:, 2]


def offset_coordinates(device: torch.device | str = "cpu") -> Tensor:
    """Local coordinates (512, 3) int64 of the 512 offsets of a leaf."""
    axis = torch.arange(LEAF_EDGE, device=device)
    return torch.cartesian_prod(axis, axis, axis)


def pack_masks(masks: Tensor) -> Tensor:
    """Bool (L, 512) to uint8 (L, 64); bit b of byte j is offset 8 j + b."""
    return (masks.reshape(-1, 64, 8).to(torch.uint8) * _BITS.to(masks.device)).sum(dim=2, dtype=torch.uint8)


def unpack_masks(packed: Tensor) -> Tensor:
    """Uint8 (L, 64) to bool (L, 512)."""
    return ((packed[:, :, None] & _BITS.to(packed.device)) != 0).reshape(-1, LEAF_VOXELS)


def mask_places(packed: Tensor) -> Tensor:
    """Leaf index * 512 + offset of every bit set in masks uint8 (L, 64), ascending: int64 (M,)."""
    parts = [
        unpack_masks(packed[first:last]).reshape(-1).nonzero()[:, 0] + first * LEAF_VOXELS
        for first, last in _ranges(0, len(packed))
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64, device=packed.device)


def _ranges(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Leaves a part at a time: a mask takes a thousand bytes while it is unpacked."""
    for start in range(first, last, PART_LEAVES):
        yield start, min(start + PART_LEAVES, last)


def _byte_counts(packed: Tensor) -> Tensor:
    """Bits set in each byte, int16."""
    return _POPCOUNT.to(packed.device)[packed.to(torch.int32)]


@dataclass(frozen=True, eq=False)
class Topology:
    """Leaves in key order and tiles; every tensor on one device.

    leaf_origins  int32 (L, 3)   lowest corner of each leaf, multiples of 8, sorted by `leaf_keys`
    leaf_masks    uint8 (L, 64)  active voxels of each leaf, see `pack_masks`
    tile_origins  int32 (T, 3)   lowest corner of each tile
    tile_edges    int32 (T,)     8, 128 or 4096
    tile_active   bool  (T,)     inactive tiles are kept only where their value is not the background
    """

    leaf_origins: Tensor
    leaf_masks: Tensor
    tile_origins: Tensor
    tile_edges: Tensor
    tile_active: Tensor

    @staticmethod
    def empty(device: torch.device | str = "cpu") -> Topology:
        """No leaf, no tile."""
        none = torch.empty((0, 3), dtype=torch.int32, device=device)
        return Topology(
            none,
            torch.empty((0, 64), dtype=torch.uint8, device=device),
            none,
            torch.empty(0, dtype=torch.int32, device=device),
            torch.empty(0, dtype=torch.bool, device=device),
        )

    @staticmethod
    def from_leaves(origins: Tensor, masks: Tensor) -> Topology:
        """From leaf origins (L, 3) in any order and masks, bool (L, 512) or packed uint8 (L, 64); no tiles."""
        check_range(origins)
        packed = pack_masks(masks) if masks.dtype == torch.bool else masks
        order = Topology.order_of(origins)
        none = Topology.empty(origins.device)
        return Topology(origins[order].to(torch.int32), packed[order], none.tile_origins, none.tile_edges, none.tile_active)

    @staticmethod
    def order_of(origins: Tensor) -> Tensor:
        """The permutation int64 (L,) that brings leaf origins (L, 3) into key order."""
        return leaf_keys(origins).argsort()

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.leaf_origins.device

    def to(self, device: torch.device | str) -> Topology:
        """The same topology on another device; itself where it lives there."""
        if torch.device(device) == self.device:
            return self
        return Topology(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    @property
    def leaf_count(self) -> int:
        """Number of leaves."""
        return len(self.leaf_origins)

    @property
    def tile_count(self) -> int:
        """Number of tiles kept, active and inactive."""
        return len(self.tile_origins)

    @cached_property
    def keys(self) -> Tensor:
        """Sorted key of each leaf, int64 (L,)."""
        return leaf_keys(self.leaf_origins)

    @cached_property
    def counts(self) -> Tensor:
        """Active voxels of each leaf, int64 (L,)."""
        parts = [_byte_counts(part).sum(dim=1, dtype=torch.int64) for part in self.leaf_masks.split(PART_LEAVES)]
        return torch.cat(parts)

    @cached_property
    def starts(self) -> Tensor:
        """Index of each leaf's first active voxel, int64 (L + 1,): leaf i holds active voxels starts[i] to starts[i + 1]."""
        return torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)])

    @property
    def leaf_voxel_count(self) -> int:
        """Active voxels in leaves: the rows of a grid's `values`."""
        return int(self.starts[-1])

    @property
    def active_voxel_count(self) -> int:
        """Active voxels, those of active tiles included."""
        edges = self.tile_edges[self.tile_active].to(torch.int64)
        return self.leaf_voxel_count + int((edges**3).sum())

    @cached_property
    def box(self) -> Box | None:
        """The smallest box that holds every active voxel, or None where none is active."""
        lowest, highest = [], []
        if self.leaf_voxel_count:
            filled = self.counts > 0
            origins, masks = self.leaf_origins[filled], self.leaf_masks[filled]
            low, high = _leaf_extents(masks)
            lowest.append((origins + low).amin(0))
            highest.append((origins + high).amax(0))
        if bool(self.tile_active.any()):
            origins = self.tile_origins[self.tile_active]
            lowest.append(origins.amin(0))
            highest.append((origins + self.tile_edges[self.tile_active, None] - 1).amax(0))
        if not lowest:
            return None
        low_x, low_y, low_z = torch.stack(lowest).amin(0).tolist()
        high_x, high_y, high_z = torch.stack(highest).amax(0).tolist()
        return Box((low_x, low_y, low_z), (high_x, high_y, high_z))

    def coordinates(self, first_leaf: int = 0, last_leaf: int | None = None) -> Tensor:
        """Index-space coordinates int32 (n, 3) of the active voxels of leaves first_leaf to last_leaf (excluded)."""
        local = offset_coordinates(self.device).to(torch.int32)
        parts = []
        for first, last in _ranges(*slice(first_leaf, last_leaf).indices(self.leaf_count)[:2]):
            leaf, offset = unpack_masks(self.leaf_masks[first:last]).nonzero(as_tuple=True)
            parts.append(self.leaf_origins[first:last][leaf] + local[offset])
        return torch.cat(parts) if parts else self.leaf_origins[:0]

    def places(self) -> Tensor:
        """Leaf index * 512 + offset of every active leaf voxel, ascending: int64 (N,)."""
        return mask_places(self.leaf_masks)

    def coordinates_of(self, places: Tensor) -> Tensor:
        """Index-space coordinates int32 (n, 3) of leaf voxels, active or not, at `places` (n,): leaf index * 512 + offset."""
        local = offset_coordinates(self.device).to(torch.int32)
        return self.leaf_origins[places // LEAF_VOXELS] + local[places % LEAF_VOXELS]

    def chunks(self, voxels: int) -> Iterator[tuple[int, int]]:
        """Leaf ranges (first, last) that hold about `voxels` active voxels each, at least one leaf."""
        first = 0
        while first < self.leaf_count:
            target = self.starts[first] + voxels
            last = max(first + 1, int(torch.searchsorted(self.starts, target, right=True)) - 1)
            yield first, min(last, self.leaf_count)
            first = last

    def subset(self, leaves: Tensor) -> Topology:
        """The topology with only the leaves at ascending indices `leaves`, all tiles kept."""
        return replace(self, leaf_origins=self.leaf_origins[leaves], leaf_masks=self.leaf_masks[leaves])

    def find_leaves(self, coordinates: Tensor) -> Tensor:
        """Index int64 (N,) of the leaf that holds each integer coordinate (N, 3), or -1."""
        return _find(self.keys, leaf_keys(coordinates), coordinates)

    def masks_of(self, leaves: Tensor) -> Tensor:
        """Active voxels bool (n, 512) of the leaves at indices `leaves` (n,); none where the index is -1."""
        if not self.leaf_count:
            return torch.zeros((len(leaves), LEAF_VOXELS), dtype=torch.bool, device=self.device)
        return unpack_masks(self.leaf_masks[leaves.clamp_min(0)]) & (leaves >= 0)[:, None]

    def find_tiles(self, coordinates: Tensor) -> Tensor:
        """Index int64 (N,) of the tile that holds each integer coordinate (N, 3), or -1. Leaves take no part."""
        found = torch.full((len(coordinates),), -1, dtype=torch.int64, device=self.device)
        for edge in TILE_EDGES:
            members = (self.tile_edges == edge).nonzero()[:, 0]
            if len(members):
                keys, order = leaf_keys(self.tile_origins[members]).sort()
                at = _find(keys, leaf_keys(coordinates.to(torch.int64) // edge * edge), coordinates)
                found = torch.where(at >= 0, members[order][at], found)
        return found

    def active(self, coordinates: Tensor) -> Tensor:
        """Bool (N,): which integer coordinates (N, 3) are active, in a leaf or in a tile."""
        result = self.voxel_rows(coordinates) >= 0
        if self.tile_count:
            leaf, tile = self.find_leaves(coordinates), self.find_tiles(coordinates)
            result |= (leaf < 0) & (tile >= 0) & self.tile_active[tile.clamp_min(0)]
        return result

    def voxel_rows(self, coordinates: Tensor) -> Tensor:
        """Row int64 (N,) of each integer coordinate (N, 3) among the active leaf voxels, or -1 where it is none of them."""
        return self._rows(self.find_leaves(coordinates), leaf_offsets(coordinates))

    def place_rows(self, places: Tensor) -> Tensor:
        """Row int64 (N,) of each place, leaf index * 512 + offset, among the active leaf voxels, or -1 where it is none."""
        parts = [self._rows(part // LEAF_VOXELS, part % LEAF_VOXELS) for part in places.split(PART_PLACES)]
        return torch.cat(parts)

    def _rows(self, leaf: Tensor, offset: Tensor) -> Tensor:
        if not self.leaf_count:
            return torch.full_like(leaf, -1)
        at, byte, bit = leaf.clamp_min(0), offset >> 3, offset & 7
        bits = self.leaf_masks[at, byte].to(torch.int64)
        before = self._byte_ranks[at, byte] + _POPCOUNT.to(self.device)[bits & ((1 << bit) - 1)]
        inside = (leaf >= 0) & (((bits >> bit) & 1) != 0)
        return torch.where(inside, self.starts[at] + before, -1)

    @cached_property
    def _byte_ranks(self) -> Tensor:
        """Active voxels of the leaf before each of its 64 mask bytes, int16 (L, 64)."""
        counts = [_byte_counts(part) for part in self.leaf_masks.split(PART_LEAVES)]
        return torch.cat([part.cumsum(1, dtype=torch.int16) - part for part in counts])

    def identical(self, other: Topology) -> bool:
        """Equal tensors: same leaves, same active voxels, same tiles in the same order."""
        return all(torch.equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)

    def equal(self, other: Topology) -> bool:
        """Same leaves, same active voxels, same tiles."""
        mine, theirs = self._canonical(), other._canonical()
        return all(torch.equal(a, b.to(a.device)) for a, b in zip(mine, theirs, strict=True))

    def _canonical(self) -> tuple[Tensor, ...]:
        order = torch.argsort(leaf_keys(self.tile_origins) if self.tile_count else self.tile_edges)
        return self.leaf_origins, self.leaf_masks, self.tile_origins[order], self.tile_edges[order], self.tile_active[order]


def _find(sorted_keys: Tensor, keys: Tensor, coordinates: Tensor) -> Tensor:
    if not len(sorted_keys):
        return torch.full_like(keys, -1)
    at = torch.searchsorted(sorted_keys, keys).clamp_max(len(sorted_keys) - 1)
    within = (coordinates.abs() < COORDINATE_LIMIT).all(dim=1)
    return torch.where((sorted_keys[at] == keys) & within, at, -1)


def _leaf_extents(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest active local coordinate of each non-empty leaf, int32 (L, 3) each."""
    lows, highs = [], []
    for part in masks.split(PART_LEAVES):
        cube = unpack_masks(part).reshape(-1, 8, 8, 8)
        any_along = [cube.any(dim=3).any(dim=2), cube.any(dim=3).any(dim=1), cube.any(dim=2).any(dim=1)]
        lows.append(torch.stack([a.to(torch.int8).argmax(1) for a in any_along], 1))
        highs.append(torch.stack([7 - a.flip(1).to(torch.int8).argmax(1) for a in any_along], 1))
    return torch.cat(lows).to(torch.int32), torch.cat(highs).to(torch.int32)
