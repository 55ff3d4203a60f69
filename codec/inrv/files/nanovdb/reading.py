"""From a .nvdb file to sparse grids: topology, tiles and every value, to the bit where it is one.

No number of the file is believed: every node that is named lies within the grid, and none is named
twice, so that time and memory follow the bytes there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError, SelectionError, UnsupportedGridError, VdbError
from inrv.files.nanovdb.segments import StoredGrid, grid_bytes, list_grids, near
from inrv.files.nanovdb.structs import (
    CHECKED_FROM,
    CLASSES,
    GRID,
    LEAF_VOXELS,
    LOWER_BITS,
    MAGIC,
    MAJOR,
    NO_CHECKSUM,
    NO_CRC,
    OTHER_TYPES,
    RAW_MAGIC,
    READ,
    TREE,
    UPPER_BITS,
    VERSION,
    ValueType,
    root_keys,
    root_origins,
    view,
)
from inrv.files.selection import chosen
from inrv.grids import (
    BeyondFloat32,
    Grid,
    LeafValues,
    SparseVolume,
    Topology,
    Transform,
    check_range,
    round_numbers,
    unpack_masks,
)
from inrv.support.inputs import Input

_PART = 1 << 12  # leaves whose values are read at a time
_BLOCK_BITS = 12  # log2 of the bytes that are checked at a time, in newer grids
_CLASS_NAMES = {number: name for name, number in CLASSES.items()}
_LEAF_BITS = 3
_FPN_SHIFT = 5  # of the flags of a leaf: log2 of the bits of its numbers stands above
_FPN_LARGEST = 4  # log2 of the most bits


def read_volume(source: Input, grids: Any = None) -> SparseVolume:
    """Read the grids of a file.

    grids: names or positions of some, in the order that is wanted; None for all
    Raises VdbError where the file cannot be read or is damaged, UnsupportedGridError for a grid of
    another type, OptionError where a chosen grid is not there.
    """
    source = near(source)
    listed = list_grids(source)
    wanted = listed if grids is None else chosen(source.name, listed, grids)
    return SparseVolume(tuple(_read_grid(source, stored) for stored in wanted))


def _read_grid(source: Input, stored: StoredGrid) -> Grid:
    where = f"{source.name}: grid {stored.position} {stored.name!r}"
    buffer = grid_bytes(source, stored)
    try:
        reader = _Reader(buffer)
    except _Damage as error:
        raise VdbError(f"{where} {error}: the file is damaged") from error
    number = int(reader.grid["grid_type"])
    if number not in READ:
        kind = OTHER_TYPES.get(number, f"number {number}")
        known = ", ".join(found.name for found in READ.values())
        raise UnsupportedGridError(
            f"{where} is of NanoVDB's type {kind}, and {known} are read: choose other grids"
        )
    try:
        return replace(reader.read(READ[number]), name=stored.name)
    except _Damage as error:
        raise VdbError(f"{where} {error}: the file is damaged") from error
    except (SelectionError, BeyondFloat32, OptionError) as error:
        raise UnsupportedGridError(f"{where}: {error}") from error


class _Damage(ValueError):
    """What is wrong with a grid: the end of a sentence about it."""


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The nodes of one level, by their places in the buffer.

    places: int64 (n,) ascending
    origins: int32 (n, 3)
    structs: (n,) a view of the buffer where they lie side by side, else a copy
    """

    places: NDArray[np.int64]
    origins: NDArray[np.int32]
    structs: NDArray[np.void]


@dataclass(frozen=True, eq=False)
class _Tiles:
    """Tiles that are active, or are not the background.

    origins: int32 (n, 3)
    edges: int32 (n,)
    active: bool (n,)
    values: (n, C)
    """

    origins: NDArray[np.int32]
    edges: NDArray[np.int32]
    active: NDArray[np.bool_]
    values: NDArray[Any]


class _Reader:
    """Reads one grid from its bytes. Raises _Damage."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self.buffer = buffer
        (self.grid,) = view(buffer, GRID, 0, 1)
        (self.tree,) = view(buffer, TREE, GRID.itemsize, 1)
        if self.grid["magic"] not in (MAGIC, RAW_MAGIC):
            raise _Damage("does not begin as one of NanoVDB does")
        if self.grid["version"] >> 21 != MAJOR or self.grid["size"] != len(buffer):
            raise _Damage("has another version or size than the file says")

    def read(self, kind: ValueType) -> Grid:
        """Read a grid with values of a type."""
        types = kind.types
        root_at = GRID.itemsize + int(self.tree["offsets"][3])
        (root,) = self._structs(types.root, np.array([root_at]))
        count, tiles_at = int(root["size"]), root_at + types.root.itemsize
        if count * types.tile.itemsize > len(self.buffer) - tiles_at:
            raise _Damage(f"claims {count:,} root tiles, more than it has bytes for")
        self._check(tiles_at + count * types.tile.itemsize)
        self.kind, self.background = kind, root["background"]
        table = view(self.buffer, types.tile, tiles_at, count)
        origins = root_origins(table["key"])
        if len(np.unique(table["key"])) != count or (root_keys(origins) != table["key"]).any():
            raise _Damage("has root tiles that do not lie side by side")
        parent = table["child"] != 0
        tiles = [
            self._tiles(
                origins[~parent], UPPER_BITS, table["state"][~parent] != 0, table["value"][~parent]
            )
        ]
        places = self._sum(np.int64(root_at), table["child"][parent])
        uppers = self._nodes(types.upper, places, origins[parent])
        places, origins = self._children(uppers, LOWER_BITS, 5, tiles)
        lowers = self._nodes(types.lower, places, origins)
        places, origins = self._children(lowers, _LEAF_BITS, 4, tiles)
        return self._grid(tiles, self._nodes(types.leaf, places, origins))

    def _check(self, head_ends: int) -> None:
        """Compare the checksum.

        head_ends: where the root with its tiles ends
        """
        checksum = int(self.grid["checksum"])
        if checksum == NO_CHECKSUM:
            return
        newer = self.grid["version"] > VERSION
        end = GRID.itemsize + TREE.itemsize if newer else head_ends
        head, tail = checksum & NO_CRC, checksum >> 32
        fits = zlib.crc32(self.buffer[CHECKED_FROM:end].data) == head
        if newer and tail != NO_CRC:
            fits &= _blocked_crc(self.buffer[end:]) == tail
        if not fits:
            raise _Damage("does not fit its checksum")

    def _sum(self, start: Any, distances: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add distances, which a file tells, to places."""
        size = len(self.buffer)
        if ((distances > size) | (distances < -size)).any():
            raise _Damage("names a node that is not in it")
        found: NDArray[np.int64] = start + distances
        return found

    def _structs(self, kind: np.dtype[np.void], places: NDArray[np.int64]) -> NDArray[np.void]:
        """Give the structs at ascending places, none of which may overlap with another."""
        size = kind.itemsize
        if not len(places):
            return np.empty(0, kind)
        first, last = int(places[0]), int(places[-1])
        if first < GRID.itemsize + TREE.itemsize or last + size > len(self.buffer):
            raise _Damage("names a node that is not in it")
        steps = np.diff(places)
        if (steps < size).any():
            raise _Damage("names a node twice, or nodes that overlap")
        if (steps == size).all():
            return view(self.buffer, kind, first, len(places))
        pieces = [self.buffer[place : place + size] for place in places.tolist()]
        gathered: NDArray[np.void] = np.concatenate(pieces).view(kind)
        return gathered

    def _nodes(
        self, kind: np.dtype[np.void], places: NDArray[np.int64], origins: NDArray[np.int32]
    ) -> _Nodes:
        order = places.argsort(kind="stable")
        places = places[order]
        return _Nodes(places, origins[order], self._structs(kind, places))

    def _children(
        self, nodes: _Nodes, bits: int, table_bits: int, tiles: list[_Tiles]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Give places and origins of the children of nodes, and add their tiles to `tiles`.

        bits: log2 of the edge of a child
        table_bits: log2 of the children along an edge
        """
        places, origins = [np.empty(0, np.int64)], [np.empty((0, 3), np.int32)]
        for place, origin, node in zip(nodes.places, nodes.origins, nodes.structs, strict=True):
            parent, active = (
                np.unpackbits(node[mask], bitorder="little").view(bool)
                for mask in ("children", "values")
            )
            entries = np.flatnonzero(parent)
            places.append(self._sum(place, node["table"]["child"][entries]))
            origins.append(_origins(origin, entries, bits, table_bits))
            values = node["table"]["value"]
            kept = np.flatnonzero(~parent & (active | _differ(values, self.background)))
            corners = _origins(origin, kept, bits, table_bits)
            tiles.append(self._tiles(corners, bits, active[kept], values[kept]))
        return np.concatenate(places), np.concatenate(origins)

    def _tiles(
        self,
        origins: NDArray[np.int32],
        bits: int,
        active: NDArray[np.bool_],
        values: NDArray[Any],
    ) -> _Tiles:
        kept = active | _differ(values, self.background)
        edges = np.full(int(kept.sum()), 1 << bits, dtype=np.int32)
        return _Tiles(origins[kept], edges, active[kept], values[kept])

    def _grid(self, tiles: list[_Tiles], leaves: _Nodes) -> Grid:
        parts = [[getattr(part, name) for part in tiles] for name in _Tiles.__dataclass_fields__]
        corners, edges, states, tile_values = map(np.concatenate, parts)
        check_range(corners)
        check_range(leaves.origins)
        order = Topology.order_of(leaves.origins)
        values, places, inactive = self._leaf_values(leaves, order)
        singles, rounded = round_numbers(np.concatenate([values, tile_values[states]]))
        background, inactive, tile_values = map(_singles, (self.background, inactive, tile_values))
        if not np.isfinite(background).all():
            raise OptionError(f"its background is {background.tolist()}: give it a finite one")
        # What is rounded to the background is no longer listed.
        kept = states | _differ(tile_values, background)
        off = _differ(inactive, background)
        topology = replace(
            Topology.from_leaves(leaves.origins[order], leaves.structs["values"][order]),
            tile_origins=corners[kept],
            tile_edges=edges[kept],
            tile_active=states[kept],
        )
        return Grid(
            name="",
            value_type="float" if self.kind.components == 1 else "vec3s",
            background=background,
            topology=topology,
            values=singles[: len(values)],
            tile_values=tile_values[kept],
            inactive=LeafValues(places[off], inactive[off]),
            transform=_transform(self.grid),
            grid_class=_CLASS_NAMES.get(int(self.grid["grid_class"]), "unknown"),
            rounded=rounded,
        )

    def _leaf_values(
        self, leaves: _Nodes, order: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any]]:
        """Give values (N, C) of active voxels, places and values of inactive ones.

        Of the latter those that are not the background.

        order: of the leaves
        """
        shape = 0, self.kind.components
        values, inactive = [np.empty(shape, self.kind.real)], [np.empty(shape, self.kind.real)]
        places = [np.empty(0, np.int64)]
        block_values = self._values_of()
        for first in range(0, len(order), _PART):
            rows = order[first : first + _PART]
            part = leaves.structs[rows]
            blocks = block_values(part, leaves.places[rows])
            active = unpack_masks(np.ascontiguousarray(part["values"]))
            values.append(blocks[active])
            other = ~active & _differ(blocks, self.background)
            inactive.append(blocks[other])
            places.append(np.flatnonzero(other) + first * LEAF_VOXELS)
        return np.concatenate(values), np.concatenate(places), np.concatenate(inactive)

    def _values_of(
        self,
    ) -> Callable[[NDArray[np.void], NDArray[np.int64]], NDArray[Any]]:
        """Give the function that gives the values (n, 512, C) of leaves (n,) at places (n,)."""
        if self.kind.bits is None:
            return lambda leaves, places: np.ascontiguousarray(leaves["voxels"])
        if self.kind.bits:
            bits = self.kind.bits
            return lambda leaves, places: _decoded(leaves, _codes(leaves["codes"], bits))
        return self._values_of_any_width

    def _values_of_any_width(
        self, leaves: NDArray[np.void], places: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Give the values of leaves each of which tells how many bits a number has."""
        widths = leaves["flags"] >> _FPN_SHIFT
        if (widths > _FPN_LARGEST).any():
            raise _Damage(f"has a leaf whose numbers have {1 << int(widths.max())} bits")
        values = np.empty((len(leaves), LEAF_VOXELS, 1), np.float32)
        for width in np.unique(widths).tolist():
            rows, size = np.flatnonzero(widths == width), LEAF_VOXELS * (1 << width) // 8
            starts = places[rows] + leaves.itemsize
            if int(starts.max()) + size > len(self.buffer):
                raise _Damage("ends within a leaf")
            packed = self.buffer[starts[:, None] + np.arange(size)]
            values[rows] = _decoded(leaves[rows], _codes(packed, 1 << width))
        return values


def _codes(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint16]:
    """Give the numbers (n, 512) of so many bits that bytes (n, ...) hold, low bits first."""
    packed = np.ascontiguousarray(packed)
    if bits >= 8:
        found: NDArray[np.uint16] = packed.view(f"<u{bits // 8}").astype(np.uint16)
        return found
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts: NDArray[np.uint8] = packed[:, :, None] >> shifts & np.uint8((1 << bits) - 1)
    return parts.reshape(len(packed), -1).astype(np.uint16)


def _decoded(leaves: NDArray[np.void], codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Give the values (n, 512, 1) of leaves, computed in float32 as NanoVDB does."""
    with np.errstate(over="ignore", invalid="ignore"):
        steps = codes.astype(np.float32) * leaves["quantum"][:, None]
        found: NDArray[np.float32] = (steps + leaves["minimum"][:, None])[..., None]
    return found


def _differ(values: NDArray[Any], background: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which values (..., C) are not the background (C,), to the bit."""
    found: NDArray[np.bool_] = (_bits(values) != _bits(background)).any(axis=-1)
    return found


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    """Give the bits of numbers, which tell NaN from NaN and 0 from -0."""
    return np.ascontiguousarray(values).view(f"<u{values.dtype.itemsize}")


def _singles(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def _origins(
    corner: NDArray[np.int32], entries: NDArray[np.int64], bits: int, table_bits: int
) -> NDArray[np.int32]:
    """Give the lowest corners (n, 3) of entries of a node: see `_Reader._children`."""
    side = (1 << table_bits) - 1
    local = np.stack([entries >> 2 * table_bits, entries >> table_bits & side, entries & side], 1)
    found: NDArray[np.int32] = (corner.astype(np.int64) + (local << bits)).astype(np.int32)
    return found


def _blocked_crc(data: NDArray[np.uint8]) -> int:
    """Give the checksum of the checksums of blocks of 4 KiB; the last one takes what is left."""
    blocks = len(data) >> _BLOCK_BITS
    starts = [number << _BLOCK_BITS for number in range(blocks)]
    ends = [*starts[1:], len(data)]
    found = [zlib.crc32(data[start:end].data) for start, end in zip(starts, ends, strict=False)]
    return zlib.crc32(np.array(found, dtype="<u4").data)


def _transform(grid: np.void) -> Transform:
    """Give the transform, of the plainest map that has its matrix. Raises OptionError."""
    matrix, moved = grid["mat_d"].T, grid["vec_d"]
    rows = [(*row, 0.0) for row in matrix.tolist()]
    affine = (*rows, (*moved.tolist(), 1.0))
    scale = np.diagonal(matrix)
    if (matrix != np.diag(scale)).any():
        return Transform("AffineMap", affine)
    kind = "UniformScale" if len(set(scale.tolist())) == 1 else "Scale"
    return Transform(kind + ("TranslateMap" if moved.any() else "Map"), affine)
