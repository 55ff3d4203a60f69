"""Trees from the bytes of a .vdb file: leaves, active voxels, tiles and every value, to the bit.

Layout: readTopology and readBuffers of OpenVDB's RootNode.h, InternalNode.h and LeafNode.h, and
readCompressedValues of io/Compression.h, file versions 219 to 225. Time and memory follow the nodes
there are, however far apart, and no length is believed before the bytes are there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inrv.errors import VdbError
from inrv.files.buffers import unpack_blosc
from inrv.files.vdb.values import (
    ACTIVE_MASK,
    BLOSC,
    ZIP,
    Bits,
    ValueType,
    unzip_buffer,
    widen,
)
from inrv.grids import LEAF_VOXELS, byte_counts

# The kinds of a node say what its inactive values are. They are all the same:
BACKGROUND, MINUS_BACKGROUND, ONE_VALUE = 0, 1, 2
# Or one of two: -background or background, a value or background, a value or another value.
MASKED_BACKGROUND, MASKED_VALUE, MASKED_VALUES = 3, 4, 5
ALL_VALUES = 6  # no rule: every value is stored
# By kind, how many inactive values follow its byte.
LISTED = {ONE_VALUE: 1, MASKED_VALUE: 1, MASKED_VALUES: 2}
# The kinds that are followed by a mask, which chooses the second value.
WITH_SELECTION = (MASKED_BACKGROUND, MASKED_VALUE, MASKED_VALUES)
NODE_BITS = {4096: 5, 128: 4}  # by a node's edge: log2 of its slots along an axis
LEAF_SLOTS = LEAF_VOXELS
_PART = 1 << 12  # leaves whose values are unpacked at a time

Buffer = bytes | memoryview
# Passes over the buffers of leaves with so many active voxels.
PassLeaves = Callable[["TreeReader", NDArray[np.int64]], None]


@dataclass(frozen=True)
class Tree:
    """One tree, in file order; values as the bits of their numbers.

    background: (C,)
    leaf_origins: int64 (L, 3) lowest corner of each leaf
    leaf_masks: uint8 (L, 64) active voxels, as `inrv.grids.pack_masks` packs them
    values: (N, C) active leaf voxels, leaf by leaf
    places: int64 (M,) leaf index * 512 + offset of the inactive leaf voxels that differ from the
        background
    inactive: (M, C) their values
    tile_origins: int64 (T, 3) lowest corner of each tile that is active or differs from the
        background
    tile_edges: int32 (T,) 8, 128 or 4096
    tile_active: bool (T,)
    tile_values: (T, C)
    """

    background: Bits
    leaf_origins: NDArray[np.int64]
    leaf_masks: NDArray[np.uint8]
    values: Bits
    places: NDArray[np.int64]
    inactive: Bits
    tile_origins: NDArray[np.int64]
    tile_edges: NDArray[np.int32]
    tile_active: NDArray[np.bool_]
    tile_values: Bits


class _Section(NamedTuple):
    """Where the values of a node are.

    kind: see BACKGROUND and the others
    whole: whether all values are stored, not those of active slots alone
    listed: position of the inactive values that are listed
    selection: position of the mask that chooses between two of them
    values: position of the stored values
    size: of the packed values, or minus that of values stored as they are
    """

    kind: int
    whole: bool
    listed: int
    selection: int
    values: int
    size: int


class _Tiles(NamedTuple):
    origins: NDArray[np.int64]
    edges: NDArray[np.int32]
    active: NDArray[np.bool_]
    values: Bits


@dataclass(frozen=True)
class Encoding:
    """How the values of a tree are stored.

    kind: the type of a voxel's value
    half: whether the grid is saved as half floats
    compression: the grid's compression flags
    old: whether the file version is below 222
    """

    kind: ValueType
    half: bool
    compression: int
    old: bool = False


def read_tree(data: Buffer, where: str, encoding: Encoding) -> Tree:
    """Read the tree that `data` begins with.

    where: what errors begin with
    Raises VdbError if the tree ends early or is damaged.
    """
    with _damage(where):
        return _reader(data, where, encoding).tree()


def tree_positions(
    data: Buffer, where: str, encoding: Encoding, leaves: PassLeaves
) -> tuple[int, int]:
    """Find where the buffers of the leaves begin, and where the tree ends.

    data: begins with the tree
    where: what errors begin with
    leaves: passes over these buffers
    Gives two positions in `data`. Raises VdbError if the tree ends early or is damaged.
    """
    with _damage(where):
        reader = _reader(data, where, encoding)
        reader.root()
        start = reader.at
        leaves(reader, popcounts(np.concatenate(reader.leaf_masks)))
        return start, reader.at


def _reader(data: Buffer, where: str, encoding: Encoding) -> TreeReader:
    return (OldTreeReader if encoding.old else TreeReader)(data, where, encoding)


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """Turn a ValueError in here, which means that the file is damaged, into VdbError."""
    try:
        yield
    except ValueError as error:
        raise VdbError(f"{where}: {error}: the file is damaged") from error


class TreeReader:
    """Reads a tree from its bytes, one after the other."""

    def __init__(self, data: Buffer, where: str, encoding: Encoding) -> None:
        self.data, self.view, self.bytes = (
            data,
            memoryview(data),
            np.frombuffer(data, dtype=np.uint8),
        )
        self.where, self.kind, self.compression = where, encoding.kind, encoding.compression
        self.half = encoding.half and self.kind.real
        self.stored = np.dtype("<u2") if self.half else self.kind.bits
        self.at = 0
        self.leaf_origins = [np.empty((0, 3), dtype=np.int64)]
        self.leaf_masks = [np.empty((0, 64), dtype=np.uint8)]
        self.tiles = [_no_tiles(self.kind)]

    def tree(self) -> Tree:
        """Read the topology, then the buffers of the leaves."""
        self.root()
        masks = np.concatenate(self.leaf_masks)
        values, places, inactive = self._leaves(masks)
        tiles = [np.concatenate(parts) for parts in zip(*self.tiles, strict=True)]
        return Tree(
            self.background,
            np.concatenate(self.leaf_origins),
            masks,
            values,
            places,
            inactive,
            *tiles,
        )

    def take(self, size: int) -> int:
        """Give the position of the next `size` bytes, and pass over them. Raises VdbError."""
        at = self.at
        if size > len(self.data) - at:
            raise VdbError(
                f"{self.where}: its tree ends after {len(self.data):,} bytes, but needs more: "
                "truncated or damaged"
            )
        self.at = at + size
        return at

    def number(self, layout: str) -> int:
        """Read the next integer, as struct lays it out."""
        number: int = struct.unpack_from(layout, self.data, self.take(struct.calcsize(layout)))[0]
        return number

    def root(self) -> None:
        """Read all but the buffers of the leaves.

        There stand the number of buffers, the background, the numbers of tiles and children, the
        origin, value and state of each tile, then the children.
        """
        self.take(4)
        self.background = self._numbers(self.take(self.kind.size), self.kind.components)
        tiles, children = struct.unpack_from("<II", self.data, self.take(8))
        row = np.dtype(
            [
                ("origin", "<i4", 3),
                ("value", self.kind.bits, (self.kind.components,)),
                ("active", "u1"),
            ]
        )
        table = np.frombuffer(
            self.data, dtype=row, count=tiles, offset=self.take(tiles * row.itemsize)
        )
        origins = [table["origin"].astype(np.int64)]
        self._add_tiles(origins[0], 4096, table["active"] != 0, table["value"])
        for _ in range(children):
            origins.append(
                np.array([struct.unpack_from("<iii", self.data, self.take(12))], dtype=np.int64)
            )
            self._node(origins[-1][0], 4096)
        corners = np.concatenate(origins)
        if (corners % 4096).any() or len(np.unique(corners, axis=0)) != len(corners):
            raise ValueError("the nodes of its root do not lie side by side")

    def _numbers(self, at: int, count: int) -> Bits:
        return np.frombuffer(self.data, dtype=self.kind.bits, count=count, offset=at)

    def _node(self, origin: NDArray[np.int64], edge: int) -> None:
        """Read a node: masks of its children and of its active slots, values, then the children.

        origin: int64 (3,) its lowest corner
        edge: 4096 or 128 voxels
        """
        bits = NODE_BITS[edge]
        children, active = self._mask(1 << 3 * bits), self._mask(1 << 3 * bits)
        self._node_tiles(origin, children, active, bits, edge >> bits)
        origins = origin + _slot_origins(np.flatnonzero(children), bits, edge >> bits)
        if edge == 128:
            self.leaf_origins.append(origins)
            at = self.take(64 * len(origins))
            self.leaf_masks.append(self.bytes[at : self.at].reshape(-1, 64))
            return
        for child in origins:
            self._node(child, edge >> bits)

    def _mask(self, slots: int) -> NDArray[np.bool_]:
        at = self.take(slots // 8)
        return np.unpackbits(self.bytes[at : self.at], bitorder="little").view(bool)

    def _node_tiles(
        self,
        origin: NDArray[np.int64],
        children: NDArray[np.bool_],
        active: NDArray[np.bool_],
        bits: int,
        edge: int,
    ) -> None:
        count = int(np.count_nonzero(active))
        section = self._section(count, active.size)
        if not count and section.kind == BACKGROUND and not section.whole:
            return
        values = np.empty((count, self.kind.components), dtype=self.kind.bits)
        slots, inactive = self._values([section], active[None], values)
        for where, numbers, state in (
            (np.flatnonzero(active), values, True),
            (slots, inactive, False),
        ):
            tiles = ~children[where]
            origins = origin + _slot_origins(where[tiles], bits, edge)
            self._add_tiles(origins, edge, np.full(len(origins), state), numbers[tiles])

    def _add_tiles(
        self, origins: NDArray[np.int64], edge: int, active: NDArray[np.bool_], values: Bits
    ) -> None:
        kept = active | (values != self.background).any(axis=1)
        edges = np.full(int(np.count_nonzero(kept)), edge, dtype=np.int32)
        self.tiles.append(_Tiles(origins[kept], edges, active[kept], values[kept]))

    def leaf_section(self, active: int) -> _Section:
        """Pass over the values of a leaf, behind its mask, with that many active voxels."""
        return self._section(active, LEAF_SLOTS)

    def _section(self, active: int, slots: int) -> _Section:
        """Pass over the values of a node with that many slots, `active` of them active."""
        kind = self.data[self.take(1)]
        if kind > ALL_VALUES:
            raise ValueError(f"a node has values of kind {kind}")
        listed = self.take(self.kind.size * LISTED.get(kind, 0))
        selection = self.take(slots // 8 if kind in WITH_SELECTION else 0)
        whole = kind == ALL_VALUES or not self.compression & ACTIVE_MASK
        values, size = self._buffer(
            (slots if whole else active) * self.kind.components * self.stored.itemsize
        )
        return _Section(kind, whole, listed, selection, values, size)

    def _buffer(self, size: int) -> tuple[int, int]:
        """Pass over a buffer that holds `size` bytes.

        Gives its position, and its packed size or minus its plain one.
        """
        if not self.compression & (ZIP | BLOSC) or (self.half and not size):
            return self.take(size), -size
        packed = self.number("<q")
        if packed <= 0 and packed != -size:
            raise ValueError(f"a buffer of {-packed:,} bytes stands where {size:,} should")
        return self.take(abs(packed)), packed

    def _leaves(self, masks: NDArray[np.uint8]) -> tuple[Bits, NDArray[np.int64], Bits]:
        """Read the values of the active leaf voxels, and the inactive ones off the background.

        Gives values (N, C), places int64 (M,) and values (M, C).
        """
        counts = popcounts(masks)
        sections, starts = [], []
        for count in counts.tolist():
            starts.append(self.take(64))
            sections.append(self.leaf_section(count))
        ends = np.concatenate([[0], counts.cumsum()])
        values = np.empty((int(ends[-1]), self.kind.components), dtype=self.kind.bits)
        places, inactive = [np.empty(0, dtype=np.int64)], [values[:0]]
        for first in range(0, len(masks), _PART):
            last = min(first + _PART, len(masks))
            if (self._gather(np.array(starts[first:last]), 64) != masks[first:last]).any():
                raise ValueError("a leaf's buffer has other active voxels than its node")
            active = np.unpackbits(masks[first:last], axis=1, bitorder="little").view(bool)
            inside, numbers = self._values(
                sections[first:last], active, values[ends[first] : ends[last]]
            )
            places.append(inside + first * LEAF_SLOTS)
            inactive.append(numbers)
        return values, np.concatenate(places), np.concatenate(inactive)

    def _gather(self, starts: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """Gather the `size` bytes at each of `starts` (n,): uint8 (n, size)."""
        return self.bytes[starts[:, None] + np.arange(size)]

    def _values(
        self, sections: list[_Section], active: NDArray[np.bool_], out: Bits
    ) -> tuple[NDArray[np.int64], Bits]:
        """Read the values of nodes.

        active: bool (n, S) active slots of each node
        out: (N, C) takes the values of the active slots
        Gives the places, node * S + slot, and values of the others that are not the background.
        """
        ends = np.count_nonzero(active, axis=1).cumsum().tolist()
        whole = [index for index, section in enumerate(sections) if section.whole]
        stored = np.empty(out.shape, dtype=self.stored) if self.half else out
        blocks = np.empty((len(whole), active.shape[1], self.kind.components), dtype=self.stored)
        targets = iter(blocks)
        for section, first, last in zip(sections, [0, *ends], ends, strict=False):
            self._unpack(section, next(targets) if section.whole else stored[first:last])
        if self.half:
            out[...] = widen(stored, self.kind.double)
            blocks = widen(blocks, self.kind.double)
        places, inactive = self._ruled(np.array(sections, dtype=np.int64), active)
        if not whole:
            return places, inactive
        rows = np.repeat(np.isin(np.arange(len(sections)), whole), np.diff([0, *ends]))
        out[rows] = blocks[active[whole]]
        differs = ~active[whole] & (blocks != self.background).any(axis=2)
        node, slot = differs.nonzero()
        places = np.concatenate([places, np.array(whole)[node] * active.shape[1] + slot])
        order = places.argsort()
        return places[order], np.concatenate([inactive, blocks[differs]])[order]

    def _unpack(self, section: _Section, out: Bits) -> None:
        if not out.size:
            return
        if section.size <= 0:
            out[...] = np.frombuffer(self.data, out.dtype, out.size, section.values).reshape(
                out.shape
            )
            return
        unpack = unpack_blosc if self.compression & BLOSC else unzip_buffer
        unpack(self.view[section.values : section.values + section.size], out)

    def _ruled(
        self, sections: NDArray[np.int64], active: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], Bits]:
        """Find the inactive slots that are not the background by the rule of their node's kind.

        sections: int64 (n, 6) a `_Section` a node
        active: bool (n, S) active slots of each node
        Gives their places, node * S + slot, and values.
        """
        chosen = np.flatnonzero((sections[:, 0] != BACKGROUND) & (sections[:, 1] == 0))
        kinds, listed, masks = sections[chosen, 0], sections[chosen, 2], sections[chosen, 3]
        low = np.repeat(
            self.background[None] ^ self.kind.bits.type(self.kind.sign), len(chosen), axis=0
        )
        high = np.repeat(self.background[None], len(chosen), axis=0)
        for values, which, skipped in (
            (low, np.isin(kinds, list(LISTED)), 0),
            (high, kinds == MASKED_VALUES, self.kind.size),
        ):
            data = self._gather(listed[which] + skipped, self.kind.size)
            values[which] = data.view(self.kind.bits)
        second = np.zeros((len(chosen), active.shape[1]), dtype=bool)
        masked = np.isin(kinds, WITH_SELECTION)
        packed = self._gather(masks[masked], active.shape[1] // 8)
        second[masked] = np.unpackbits(packed, axis=1, bitorder="little").view(bool)
        low_differs, high_differs = (
            (values != self.background).any(axis=1)[:, None] for values in (low, high)
        )
        node, slot = (~active[chosen] & np.where(second, high_differs, low_differs)).nonzero()
        return chosen[node] * active.shape[1] + slot, np.where(
            second[node, slot][:, None], high[node], low[node]
        )


class OldTreeReader(TreeReader):
    """Reads trees of file versions before 222.

    All values are stored there, but for those in the place of a child.
    """

    def _node_tiles(
        self,
        origin: NDArray[np.int64],
        children: NDArray[np.bool_],
        active: NDArray[np.bool_],
        bits: int,
        edge: int,
    ) -> None:
        slots = np.flatnonzero(~children)
        stored = np.empty((len(slots), self.kind.components), dtype=self.stored)
        self._unpack(self._whole_section(len(slots)), stored)
        values = widen(stored, self.kind.double) if self.half else stored
        self._add_tiles(origin + _slot_origins(slots, bits, edge), edge, active[slots], values)

    def leaf_section(self, active: int) -> _Section:
        """Pass over the values of a leaf, of which only the first buffer is of use.

        Its origin and the number of its buffers go before them.
        """
        buffers = self.data[self.take(13) + 12]
        sections = [self._whole_section(LEAF_SLOTS) for _ in range(buffers)]
        if not sections:
            raise ValueError("a leaf has no values")
        return sections[0]

    def _whole_section(self, slots: int) -> _Section:
        return _Section(
            ALL_VALUES,
            True,
            0,
            0,
            *self._buffer(slots * self.kind.components * self.stored.itemsize),
        )


def _no_tiles(kind: ValueType) -> _Tiles:
    none = np.empty((0, kind.components), dtype=kind.bits)
    return _Tiles(
        np.empty((0, 3), dtype=np.int64), np.empty(0, dtype=np.int32), np.empty(0, dtype=bool), none
    )


def popcounts(masks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the active voxels of each leaf: int64 (L,)."""
    counts: NDArray[np.int64] = byte_counts(masks).sum(axis=1, dtype=np.int64)
    return counts


def _slot_origins(slots: NDArray[np.int64], bits: int, edge: int) -> NDArray[np.int64]:
    """Give the corners int64 (n, 3), from that of the node, of slots (n,) of `edge` voxels."""
    side = (1 << bits) - 1
    corners: NDArray[np.int64] = (
        np.stack([slots >> 2 * bits, (slots >> bits) & side, slots & side], axis=1) * edge
    )
    return corners
