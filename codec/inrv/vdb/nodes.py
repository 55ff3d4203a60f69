"""Leaves, their active voxels, and tiles, from the bytes of a .vdb file.

The bindings tell the nodes of a tree only one by one, asked by coordinate. The file lists them, so that time and memory
follow the nodes there are, however far apart. Layout: writeTopology of OpenVDB's RootNode.h, InternalNode.h and LeafNode.h,
and writeCompressedValues of io/Compression.h, file version 222 and later.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrv.vdb.header import ByteReader

_ZIP, _ACTIVE_MASK, _BLOSC = 1, 2, 4
_ALL_VALUES = 6  # what the byte before a node's values says: 0 to 5 tell the inactive values apart from the active ones
_LISTED_VALUES = {2: 1, 4: 1, 5: 2}  # inactive values that follow that byte
_WITH_SELECTION = (3, 4, 5)  # followed by a mask that chooses one of two inactive values for each slot
_CHILD_OR_BACKGROUND = 0  # every inactive slot holds the background
_NODE_BITS = {4096: 5, 128: 4}  # by a node's edge: log2 of its slots along an axis


@dataclass(frozen=True)
class TreeNodes:
    """The nodes of one tree, in file order.

    leaf_origins  int64 (L, 3)   lowest corner of each leaf
    leaf_masks    uint8 (L, 64)  active voxels, as `grids.topology.pack_masks` packs them
    tile_origins  int64 (T, 3)   lowest corner of each tile that is active or may differ from the background
    tile_edges    int32 (T,)     8, 128 or 4096
    """

    leaf_origins: NDArray[np.int64]
    leaf_masks: NDArray[np.uint8]
    tile_origins: NDArray[np.int64]
    tile_edges: NDArray[np.int32]


def read_nodes(path: str, position: int, components: int, half: bool, compression: int) -> TreeNodes:
    """The nodes of the tree that begins at byte `position`. Raises VdbError where it ends early or is damaged."""
    with open(path, "rb") as file:
        file.seek(position)
        walk = _Walk(ByteReader(file, path), components, half, compression)
        walk.root()
    return TreeNodes(
        np.concatenate([np.empty((0, 3), np.int64), *walk.leaf_origins]),
        np.concatenate([np.empty((0, 64), np.uint8), *walk.leaf_masks]),
        np.concatenate([np.empty((0, 3), np.int64), *walk.tile_origins]),
        np.concatenate([np.empty(0, np.int32), *walk.tile_edges]),
    )


class _Walk:
    def __init__(self, reader: ByteReader, components: int, half: bool, compression: int) -> None:
        self.reader, self.components, self.half, self.compression = reader, components, half, compression
        self.leaf_origins: list[NDArray[np.int64]] = []
        self.leaf_masks: list[NDArray[np.uint8]] = []
        self.tile_origins: list[NDArray[np.int64]] = []
        self.tile_edges: list[NDArray[np.int32]] = []

    def root(self) -> None:
        """Number of buffers and background, numbers of tiles and children; tiles: origin, value, state; then the children."""
        self.reader.skip(4 + 4 * self.components)
        tiles, children = self.reader.unpack("<II")
        tile = struct.Struct(f"<iii{4 * self.components + 1}x")
        origins = list(tile.iter_unpack(self.reader.take(tiles * tile.size)))
        self._add_tiles(np.array(origins, dtype=np.int64).reshape(-1, 3), 4096)
        for _ in range(children):
            self.node(np.array(self.reader.unpack("<iii"), dtype=np.int64), 4096)

    def node(self, origin: NDArray[np.int64], edge: int) -> None:
        """The node of that edge at `origin`: masks of children and of active slots, values, then the children."""
        bits = _NODE_BITS[edge]
        children, active = self._mask(1 << 3 * bits), self._mask(1 << 3 * bits)
        tiles = (active | self._inactive_values(active)) & ~children
        self._add_tiles(origin + _slot_origins(tiles, bits, edge >> bits), edge >> bits)
        origins = origin + _slot_origins(children, bits, edge >> bits)
        if edge == 128:
            self.leaf_origins.append(origins)
            masks = np.frombuffer(self.reader.take(64 * len(origins)), dtype=np.uint8)
            self.leaf_masks.append(masks.reshape(-1, 64))
            return
        for child in origins:
            self.node(child, edge >> bits)

    def _mask(self, slots: int) -> NDArray[np.bool_]:
        data = np.frombuffer(self.reader.take(slots // 8), dtype=np.uint8)
        return np.unpackbits(data, bitorder="little").view(bool)

    def _inactive_values(self, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Pass over a node's values; which slots may hold another value than the background where they are inactive."""
        kind = self.reader.number("<B")
        if kind > _ALL_VALUES:
            raise self.reader.fail(f"has a node with values of kind {kind}: the file is damaged")
        self.reader.skip(4 * self.components * _LISTED_VALUES.get(kind, 0))
        selected = self._mask(active.size) if kind in _WITH_SELECTION else np.zeros_like(active)
        masked = self.compression & _ACTIVE_MASK and kind != _ALL_VALUES
        self._skip_values(int(active.sum()) if masked else active.size)
        if kind == _CHILD_OR_BACKGROUND:
            return selected
        return np.ones_like(active) if kind == 5 else ~selected  # selected slots hold the background, but for kind 5

    def _skip_values(self, count: int) -> None:
        if self.half and not count:
            return
        if self.compression & (_ZIP | _BLOSC):
            self.reader.skip(abs(self.reader.number("<q")))
        else:
            self.reader.skip((2 if self.half else 4) * self.components * count)

    def _add_tiles(self, origins: NDArray[np.int64], edge: int) -> None:
        if len(origins):
            self.tile_origins.append(origins)
            self.tile_edges.append(np.full(len(origins), edge, dtype=np.int32))


def _slot_origins(slots: NDArray[np.bool_], bits: int, edge: int) -> NDArray[np.int64]:
    """Corners int64 (n, 3), from that of the node, of the chosen slots of `edge` voxels."""
    chosen = np.flatnonzero(slots)
    side = (1 << bits) - 1
    corners: NDArray[np.int64] = np.stack([chosen >> 2 * bits, (chosen >> bits) & side, chosen & side], axis=1) * edge
    return corners
