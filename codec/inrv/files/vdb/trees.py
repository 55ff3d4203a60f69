"""Trees as the bytes of a .vdb file: leaves, active voxels, tiles and every value, to the bit.

Layout: writeTopology and writeBuffers of OpenVDB's RootNode.h, InternalNode.h and LeafNode.h, and
writeCompressedValues of io/Compression.h, as OpenVDB 10 writes them by default: active values
alone, packed with BLOSC. Where OpenVDB asks whether two values are equal, the bits are compared
here, so that NaN and -0.0 survive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from inrv.errors import SelectionError, VdbError
from inrv.files.vdb.nodes import (
    ALL_VALUES,
    LEAF_SLOTS,
    LISTED,
    MASKED_BACKGROUND,
    MASKED_VALUE,
    MASKED_VALUES,
    MINUS_BACKGROUND,
    ONE_VALUE,
    WITH_SELECTION,
)
from inrv.files.vdb.values import ACTIVE_MASK, BLOSC, Bits, ValueType, narrow, pack_buffer, widen
from inrv.grids import LEAF_VOXELS, Grid, check_range, ragged
from inrv.support.parallel import in_threads

COMPRESSION = BLOSC | ACTIVE_MASK
# By components, bytes of OpenVDB's root, leaf and other nodes.
_MEMORY = {1: (1304, 2144, 33804, 270348), 3: (1320, 6240, 66572, 532492)}
_ROOT_OFFSET = 1 << 11  # makes the coordinates of a root's entries positive
_PART = 1 << 11  # leaves packed by a thread at a time
_AT_ONCE = 16  # parts packed before they are written

Keys = NDArray[np.int64]
Masks = NDArray[np.bool_]


class TreeWriter:
    """Lays one grid out as OpenVDB does.

    A key orders what lies in a tree as the file does: 36 bits for the entry of the root, 15 for the
    slot in it and 12 for the slot in the node of 128^3. Raises VdbError where nodes overlap or lie
    beyond the range.
    """

    def __init__(self, grid: Grid) -> None:
        self.kind, self.half = ValueType(grid.components), grid.saved_as_half
        self.background = self._bits(grid.background)
        self._check(grid)
        topology = grid.topology
        keys = _keys(topology.leaf_origins)
        order = keys.argsort()
        self.leaf_keys, self.leaf_masks = keys[order], topology.leaf_masks[order]
        rows = (
            ragged(topology.starts[order], topology.counts[order])
            if (order[1:] < order[:-1]).any()
            else slice(None)
        )
        self.values = self._bits(grid.values[rows])
        self.ends = np.concatenate([[0], topology.counts[order].cumsum()])
        self._set_inactive(grid, order)
        self.tile_edges = topology.tile_edges
        self.tile_keys = _keys(topology.tile_origins)
        self.tile_active, self.tile_values = topology.tile_active, self._bits(grid.tile_values)
        self.lower = np.unique(
            np.concatenate([self.leaf_keys, self.tile_keys[self.tile_edges == 8]]) >> 12
        )
        self.upper = np.unique(
            np.concatenate([self.lower, self.tile_keys[self.tile_edges == 128] >> 12]) >> 15
        )
        self._check_overlap()

    def _bits(self, values: NDArray[np.float32]) -> Bits:
        """Give the bits of float32 values, rounded to half floats where the file holds these."""
        bits = np.ascontiguousarray(values).view(np.uint32)
        return widen(narrow(bits)) if self.half else bits

    def _check(self, grid: Grid) -> None:
        topology = grid.topology
        try:
            check_range(topology.leaf_origins)
            check_range(topology.tile_origins)
        except SelectionError as error:
            raise VdbError(str(error)) from error
        if (topology.tile_origins % topology.tile_edges[:, None]).any() or (
            topology.leaf_origins % 8
        ).any():
            raise VdbError("a leaf or tile does not lie on a multiple of its edge")
        if (
            len(grid.values) != topology.leaf_voxel_count
            or len(grid.tile_values) != topology.tile_count
        ):
            raise VdbError(
                f"{len(grid.values):,} values for {topology.leaf_voxel_count:,} active leaf voxels"
            )

    def _set_inactive(self, grid: Grid, order: Keys) -> None:
        """Order the inactive values off the background by place in the file's order of leaves."""
        values, places = self._bits(grid.inactive.values), grid.inactive.places
        off = (values != self.background).any(axis=1)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        places = place[places[off] // LEAF_VOXELS] * LEAF_VOXELS + places[off] % LEAF_VOXELS
        ascending = places.argsort()
        self.places, self.inactive = places[ascending], values[off][ascending]

    def _check_overlap(self) -> None:
        """Raise VdbError where a voxel would have several values."""
        for edge, shift, nodes in (
            (8, 0, self.leaf_keys),
            (128, 12, self.lower),
            (4096, 27, self.upper),
        ):
            keys = np.concatenate([nodes, self.tile_keys[self.tile_edges == edge] >> shift])
            if len(np.unique(keys)) != len(keys):
                raise VdbError(
                    f"a tile of {edge}^3 voxels lies over another tile or a leaf, "
                    "or a leaf over a leaf"
                )

    @property
    def memory(self) -> int:
        """Bytes that OpenVDB 10 takes for the tree."""
        root, leaf, lower, upper = _MEMORY[self.kind.components]
        return root + leaf * len(self.leaf_keys) + lower * len(self.lower) + upper * len(self.upper)

    def topology(self) -> Iterator[bytes]:
        """Give the tree down to the masks of the leaves, in parts."""
        tiles = self._tiles(4096, 27)
        yield (
            struct.pack("<i", 1)
            + self.background.tobytes()
            + struct.pack("<II", len(tiles), len(self.upper))
        )
        for tile in tiles:
            yield _root_origin(self.tile_keys[tile] >> 27) + self.tile_values[tile].tobytes()
            yield bytes([int(self.tile_active[tile])])
        for upper in self.upper.tolist():
            yield _root_origin(upper)
            first, last = np.searchsorted(self.lower, (upper << 15, (upper + 1) << 15))
            yield self._node(self.lower[first:last], self._upper_tiles, upper, 15)
            for lower in self.lower[first:last].tolist():
                start, end = np.searchsorted(self.leaf_keys, (lower << 12, (lower + 1) << 12))
                yield self._node(self.leaf_keys[start:end], self._lower_tiles, lower, 12)
                yield self.leaf_masks[start:end].tobytes()

    def buffers(self) -> Iterator[bytes]:
        """Give the values of the leaves, in parts."""
        parts = range(0, len(self.leaf_keys), _PART)
        for first in range(0, len(parts), _AT_ONCE):
            yield from in_threads(self._buffers, parts[first : first + _AT_ONCE])

    def _buffers(self, first: int) -> bytes:
        """Give the values of a part of the leaves, from `first` on."""
        last = min(first + _PART, len(self.leaf_keys))
        active = np.unpackbits(self.leaf_masks[first:last], axis=1, bitorder="little").view(bool)
        start, end = np.searchsorted(self.places, (first * LEAF_SLOTS, last * LEAF_SLOTS))
        sections = self._sections(
            active,
            np.full(last - first, LEAF_SLOTS) - np.diff(self.ends[first : last + 1]),
            self.values[self.ends[first] : self.ends[last]],
            self.places[start:end] - first * LEAF_SLOTS,
            self.inactive[start:end],
        )
        masks = map(bytes, self.leaf_masks[first:last])
        return b"".join(chain.from_iterable(zip(masks, sections, strict=True)))

    def _tiles(self, edge: int, shift: int) -> Keys:
        """Give the indices of the tiles of that edge, in the file's order."""
        chosen = np.flatnonzero(self.tile_edges == edge)
        ordered: Keys = chosen[(self.tile_keys[chosen] >> shift).argsort()]
        return ordered

    @cached_property
    def _upper_tiles(self) -> tuple[Keys, Keys]:
        tiles = self._tiles(128, 12)
        return tiles, self.tile_keys[tiles] >> 12

    @cached_property
    def _lower_tiles(self) -> tuple[Keys, Keys]:
        tiles = self._tiles(8, 0)
        return tiles, self.tile_keys[tiles]

    def _node(
        self, children: Keys, tiles_of_level: tuple[Keys, Keys], node: int, bits: int
    ) -> bytes:
        """Give the masks and values of a node.

        children: int64 (n,) keys of its children
        tiles_of_level: indices and keys of all tiles that are as wide as its slots
        node: its key
        bits: log2 of its number of slots
        """
        tiles, keys = tiles_of_level
        first, last = np.searchsorted(keys, (node << bits, (node + 1) << bits))
        tiles, slots, side = tiles[first:last], keys[first:last] & ((1 << bits) - 1), 1 << bits
        child, active = np.zeros(side, dtype=bool), np.zeros(side, dtype=bool)
        child[children & (side - 1)] = True
        on = self.tile_active[tiles]
        active[slots[on]] = True
        values = self.tile_values[tiles]
        off = ~on & (values != self.background).any(axis=1)
        inactive = np.array([side - len(children) - np.count_nonzero(on)])
        (section,) = self._sections(
            active[None], inactive, values[on], slots[off], values[off], child[None]
        )
        return _packed(child) + _packed(active) + section

    def _sections(
        self,
        active: Masks,
        inactive: Keys,
        values: Bits,
        places: Keys,
        off: Bits,
        children: Masks | None = None,
    ) -> list[bytes]:
        """Give the values of n nodes as the file holds them.

        active: bool (n, S) active slots
        inactive: int64 (n,) how many other slots with values each node has
        values: (N, C) of the active slots
        places: int64 (M,) node * S + slot of the inactive slots that are not the background,
            ascending
        off: (M, C) their values
        children: bool (n, S) slots that hold a child, in whose place a 0 stands
        """
        slots = active.shape[1]
        ends = np.count_nonzero(active, axis=1).cumsum().tolist()
        plain = self._stored(values)
        if not len(places):
            return [
                b"\0" + self._buffer(plain[first:last])
                for first, last in zip([0, *ends], ends, strict=False)
            ]
        kinds, low, high = self._rules(places // slots, off, inactive)
        inside = np.searchsorted(places, np.arange(len(active) + 1) * slots).tolist()
        sections = []
        for node, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
            kind, rows = int(kinds[node]), slice(inside[node], inside[node + 1])
            stored = plain[first:last]
            if kind == ALL_VALUES:
                block = np.repeat(self.background[None], slots, axis=0)
                block[active[node]], block[places[rows] % slots] = values[first:last], off[rows]
                if children is not None:
                    block[children[node]] = 0
                stored = self._stored(block)
            listed = (low[node].tobytes() + high[node].tobytes())[
                : self.kind.size * LISTED.get(kind, 0)
            ]
            selection = b""
            if kind in WITH_SELECTION:
                second = ~active[node]
                second[places[rows] % slots] = (off[rows] == high[node]).all(axis=1)
                if children is not None:
                    second[children[node]] = not high[node].any()
                selection = _packed(second)
            sections.append(bytes([kind]) + listed + selection + self._buffer(stored))
        return sections

    def _rules(self, node: Keys, off: Bits, inactive: Keys) -> tuple[NDArray[np.uint8], Bits, Bits]:
        """Choose the kind of each of n nodes.

        node: int64 (M,) the node of each inactive slot that is not the background, ascending
        off: (M, C) their values
        inactive: int64 (n,) how many inactive slots each node has
        Gives the kinds, and the two values (n, C) between which a kind's selection chooses.
        """
        low, high = (np.repeat(self.background[None], len(inactive), axis=0) for _ in range(2))
        held, first = np.unique(node, return_index=True)
        low[held] = off[first]
        others = np.flatnonzero((off != low[node]).any(axis=1))
        double, second = np.unique(node[others], return_index=True)
        high[double] = off[others[second]]
        many = np.unique(node[others][(off[others] != high[node[others]]).any(axis=1)])
        all_off = np.bincount(node, minlength=len(inactive)) == inactive
        minus = (low == self.background ^ np.uint32(self.kind.sign)).all(axis=1)
        kinds = np.where(
            all_off,
            np.where(minus, MINUS_BACKGROUND, ONE_VALUE),
            np.where(minus, MASKED_BACKGROUND, MASKED_VALUE),
        )
        kinds[double] = np.where(all_off[double], MASKED_VALUES, ALL_VALUES)
        kinds[many] = ALL_VALUES
        kinds[np.setdiff1d(np.arange(len(inactive)), held)] = 0
        return kinds.astype(np.uint8), low, high

    def _stored(self, values: Bits) -> Bits:
        """Give values (n, C) as the numbers of the file."""
        return narrow(values) if self.half else values

    def _buffer(self, stored: Bits) -> bytes:
        return (
            pack_buffer(stored) if len(stored) or not self.half else b""
        )  # for no half floats OpenVDB writes nothing


def _keys(origins: NDArray[np.int32]) -> Keys:
    """Give the key int64 (n,) of each corner (n, 3) of a leaf or tile."""
    block = origins.astype(np.int64) >> 3
    key = np.zeros(len(block), dtype=np.int64)
    for shift, bits, offset in ((9, 12, _ROOT_OFFSET), (4, 5, 0), (0, 4, 0)):
        for axis in range(3):
            key = key << bits | (block[:, axis] >> shift) + offset & ((1 << bits) - 1)
    return key


def _root_origin(key: int) -> bytes:
    """Give the corner of the root's entry with that key."""
    return struct.pack(
        "<iii", *(((int(key) >> shift & 4095) - _ROOT_OFFSET) << 12 for shift in (24, 12, 0))
    )


def _packed(mask: Masks) -> bytes:
    return np.packbits(mask, bitorder="little").tobytes()
