"""A grid as NanoVDB lays it out in memory: version 32.6 of the format, PNanoVDB.h of OpenVDB 12.

Everything is little-endian. Nodes come breadth-first: root, upper nodes of 4096^3 voxels, lower
nodes of 128^3, leaves of 8^3. A child is named by the distance in bytes from the node that has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import UnsupportedGridError
from inrv.grids import Grid, Topology

MAGIC = b"NanoVDB0"
VERSION = 32 << 21 | 6 << 10
NO_CHECKSUM = (1 << 64) - 1
HAS_BOX, BREADTH_FIRST = 1 << 1, 1 << 5  # of the flags of a grid
CLASSES = {"level set": 1, "fog volume": 2, "staggered": 3}  # 0 for every other one
TYPES = {1: 1, 3: 6}  # Float and Vec3f, by components
MOST_NAME = 255
ALIGNED = 32  # bytes that nodes and their tables begin at multiples of
LEAF_VOXELS, MASK_BYTES = 512, 64
UPPER, LOWER = 32**3, 16**3  # entries of the tables
UPPER_BITS, LOWER_BITS = 12, 7  # log2 of the edge of a node, in voxels

GRID = np.dtype(
    [
        ("magic", "S8"), ("checksum", "<u8"), ("version", "<u4"), ("flags", "<u4"),
        ("index", "<u4"), ("count", "<u4"), ("size", "<u8"), ("name", "S256"),
        ("mat_f", "<f4", (3, 3)), ("inverse_f", "<f4", (3, 3)), ("vec_f", "<f4", 3),
        ("taper_f", "<f4"), ("mat_d", "<f8", (3, 3)), ("inverse_d", "<f8", (3, 3)),
        ("vec_d", "<f8", 3), ("taper_d", "<f8"), ("world_box", "<f8", (2, 3)),
        ("voxel_size", "<f8", 3), ("grid_class", "<u4"), ("grid_type", "<u4"),
        ("blind_offset", "<i8"), ("blind_count", "<u4"), ("data_0", "<u4"), ("data_1", "<u8"),
        ("data_2", "<u8"),
    ]
)  # fmt: skip
TREE = np.dtype(
    [("offsets", "<i8", 4), ("nodes", "<u4", 3), ("tiles", "<u4", 3), ("voxels", "<u8")]
)


def _aligned(size: int, to: int = ALIGNED) -> int:
    return -(-size // to) * to


def _struct(
    names: list[str], formats: list[Any], offsets: list[int], size: int
) -> np.dtype[np.void]:
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


@dataclass(frozen=True)
class Types:
    """The nodes of a tree whose values have so many components."""

    components: int

    def _node(self, entries: int) -> np.dtype[np.void]:
        """A node whose table has so many entries."""
        value = ("<f4", (self.components,))
        entry = _aligned(4 * self.components, 8)
        head = 24 + 8 + 2 * (entries // 8) + 2 * 4 * self.components + 8
        names = ["box", "flags", "values", "children", "minimum", "maximum", "average", "deviation"]
        formats = [
            ("<i4", (2, 3)), "<u8", ("u1", entries // 8), ("u1", entries // 8), value, value, "<f4",
            "<f4",
        ]  # fmt: skip
        sizes = [24, 8, entries // 8, entries // 8, 4 * self.components, 4 * self.components, 4, 4]
        offsets = np.cumsum([0, *sizes[:-1]]).tolist()
        table = _struct(["child", "value"], ["<i8", value], [0, 0], entry)
        start = _aligned(head)
        return _struct(
            [*names, "table"],
            [*formats, (table, (entries,))],
            [*offsets, start],
            _aligned(start + entries * entry),
        )

    @property
    def upper(self) -> np.dtype[np.void]:
        """An upper node."""
        return self._node(UPPER)

    @property
    def lower(self) -> np.dtype[np.void]:
        """A lower node."""
        return self._node(LOWER)

    @property
    def leaf(self) -> np.dtype[np.void]:
        """A leaf."""
        value = ("<f4", (self.components,))
        size = 4 * self.components
        start = _aligned(12 + 4 + MASK_BYTES + 2 * size + 8)
        return np.dtype(
            {
                "names": ["box", "extent", "flags", "values", "minimum", "maximum", "voxels"],
                "formats": [
                    ("<i4", 3), ("u1", 3), "u1", ("u1", MASK_BYTES), value, value,
                    ("<f4", (LEAF_VOXELS, self.components)),
                ],
                "offsets": [0, 12, 15, 16, 80, 80 + size, start],
                "itemsize": _aligned(start + LEAF_VOXELS * size),
            }
        )  # fmt: skip

    @property
    def root(self) -> np.dtype[np.void]:
        """The root, without its tiles."""
        value, size = ("<f4", (self.components,)), 4 * self.components
        return np.dtype(
            {
                "names": ["box", "size", "background", "minimum", "maximum"],
                "formats": [("<i4", (2, 3)), "<u4", value, value, value],
                "offsets": [0, 24, 28, 28 + size, 28 + 2 * size],
                "itemsize": _aligned(28 + 3 * size + 8),
            }
        )

    @property
    def tile(self) -> np.dtype[np.void]:
        """An entry of the root."""
        return np.dtype(
            {
                "names": ["key", "child", "state", "value"],
                "formats": ["<u8", "<i8", "<u4", ("<f4", (self.components,))],
                "offsets": [0, 8, 16, 20],
                "itemsize": _aligned(20 + 4 * self.components),
            }
        )


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The bytes of a grid, in which the values of leaves are yet to be filled in.

    buffer: uint8 (n,)
    first_leaf: place of the first leaf
    leaf_size: bytes of a leaf
    first_voxel: place of the first voxel's value within a leaf
    order: int64 (L,) which leaf of the topology each leaf is
    """

    buffer: NDArray[np.uint8]
    first_leaf: int
    leaf_size: int
    first_voxel: int
    order: NDArray[np.int64]


def skeleton(grid: Grid) -> Skeleton:
    """Lay out a grid, whose leaf values are not looked at.

    Raises UnsupportedGridError for what NanoVDB has no type for.
    """
    if grid.components not in TYPES:
        raise UnsupportedGridError(f"grid {grid.name!r}: NanoVDB has no {grid.components} values")
    types, topology = Types(grid.components), grid.topology
    small, wide, widest = (np.flatnonzero(topology.tile_edges == edge) for edge in (8, 128, 4096))
    lower_origins, lower_of = _nodes(
        [topology.leaf_origins, topology.tile_origins[small]], LOWER_BITS
    )
    upper_origins, upper_of = _nodes([lower_origins, topology.tile_origins[wide]], UPPER_BITS)
    # Lower nodes are listed by upper node, and leaves by lower node.
    order = np.argsort(upper_of[0], kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    lower_origins, upper_of_lower = lower_origins[order], upper_of[0][order]
    lower_of_leaf, lower_of_tile = ranks[lower_of[0]], ranks[lower_of[1]]
    leaf_order = np.argsort(lower_of_leaf, kind="stable")
    root_tiles = len(upper_origins) + len(widest)
    sizes = [
        GRID.itemsize, TREE.itemsize, types.root.itemsize + root_tiles * types.tile.itemsize,
        len(upper_origins) * types.upper.itemsize, len(lower_origins) * types.lower.itemsize,
        topology.leaf_count * types.leaf.itemsize,
    ]  # fmt: skip
    starts = np.cumsum([0, *sizes]).tolist()
    buffer = np.zeros(starts[-1], dtype=np.uint8)
    held = [
        (GRID, 1), (TREE, 1), (types.root, 1), (types.upper, len(upper_origins)),
        (types.lower, len(lower_origins)), (types.leaf, topology.leaf_count),
    ]  # fmt: skip
    grids, trees, root, uppers, lowers, all_leaves = (
        _view(buffer, kind, start, count)
        for (kind, count), start in zip(held, starts[:-1], strict=True)
    )
    tiles = _view(buffer, types.tile, starts[2] + types.root.itemsize, root_tiles)
    _fill_leaves(all_leaves, topology, leaf_order)
    _fill_nodes(lowers, lower_origins, 1 << LOWER_BITS, grid)
    children = topology.leaf_origins[leaf_order]
    at_leaves = starts[5] + np.arange(len(children)) * types.leaf.itemsize
    of_leaf = lower_of_leaf[leaf_order]
    _adopt(lowers, of_leaf, children, 3, 4, at_leaves - starts[4] - of_leaf * types.lower.itemsize)
    _fill_tiles(lowers, lower_of_tile, 3, 4, topology, small, grid)
    _fill_nodes(uppers, upper_origins, 1 << UPPER_BITS, grid)
    at_lowers = starts[4] + np.arange(len(lower_origins)) * types.lower.itemsize
    within = at_lowers - starts[3] - upper_of_lower * types.upper.itemsize
    _adopt(uppers, upper_of_lower, lower_origins, LOWER_BITS, 5, within)
    _fill_tiles(uppers, upper_of[1], LOWER_BITS, 5, topology, wide, grid)
    count = len(upper_origins)
    tiles["key"][:count] = _root_keys(upper_origins)
    at_uppers = starts[3] + np.arange(count) * types.upper.itemsize
    tiles["child"][:count] = at_uppers - starts[2]
    tiles["value"][:count] = grid.background
    tiles["key"][count:] = _root_keys(topology.tile_origins[widest])
    tiles["state"][count:] = topology.tile_active[widest]
    tiles["value"][count:] = grid.tile_values[widest]
    tiles[:] = tiles[np.argsort(tiles["key"], kind="stable")]
    box = topology.box
    lowest, highest = ((0, 0, 0), (-1, -1, -1)) if box is None else (box.lower, box.upper)
    root["box"], root["size"], root["background"] = (lowest, highest), root_tiles, grid.background
    trees["offsets"] = [start - starts[1] for start in (starts[5], starts[4], starts[3], starts[2])]
    trees["nodes"] = topology.leaf_count, len(lower_origins), len(upper_origins)
    active = topology.tile_active
    trees["tiles"] = [int(active[held].sum()) for held in (small, wide, widest)]
    trees["voxels"] = topology.active_voxel_count
    _fill_grid(grids, grid, len(buffer), (lowest, highest))
    offsets = types.leaf.fields
    assert offsets is not None
    return Skeleton(buffer, starts[5], types.leaf.itemsize, offsets["voxels"][1], leaf_order)


def _view(
    buffer: NDArray[np.uint8], kind: np.dtype[np.void], start: int, count: int
) -> NDArray[np.void]:
    """So many structs of a buffer."""
    found: NDArray[np.void] = buffer[start : start + count * kind.itemsize].view(kind)
    return found


def _nodes(
    origins: list[NDArray[np.int32]], bits: int
) -> tuple[NDArray[np.int32], list[NDArray[np.int64]]]:
    """The lowest corners int32 (n, 3), ascending, of the nodes that hold what lies at origins.

    origins: of some kinds
    bits: log2 of the edge of a node

    Returns for each kind the numbers of its nodes too.
    """
    joined = np.concatenate(origins).reshape(-1, 3) >> bits << bits
    found, numbers = np.unique(joined, axis=0, return_inverse=True)
    ends = np.cumsum([len(own) for own in origins])[:-1]
    return found, np.split(numbers.reshape(-1), ends)


def _fill_leaves(leaves: NDArray[np.void], topology: Topology, order: NDArray[np.int64]) -> None:
    leaves["box"], leaves["extent"], leaves["flags"] = topology.leaf_origins[order], 7, HAS_BOX
    leaves["values"] = topology.leaf_masks[order]


def _fill_nodes(nodes: NDArray[np.void], origins: NDArray[np.int32], edge: int, grid: Grid) -> None:
    nodes["box"][:, 0], nodes["box"][:, 1] = origins, origins + edge - 1
    nodes["table"]["value"] = grid.background


def _entry(origins: NDArray[np.int32], bits: int, table_bits: int) -> NDArray[np.int64]:
    """Which entry of its node's table each child has.

    bits: log2 of the edge of a child
    table_bits: log2 of the children along an edge
    """
    x, y, z = (origins.astype(np.int64) >> bits & (1 << table_bits) - 1).T
    found: NDArray[np.int64] = x << 2 * table_bits | y << table_bits | z
    return found


def _mark(masks: NDArray[np.uint8], nodes: NDArray[np.int64], entries: NDArray[np.int64]) -> None:
    """Set a bit for each entry of nodes."""
    bits = (1 << (entries & 7)).astype(np.uint8)
    np.bitwise_or.at(masks, (nodes, entries >> 3), bits)


def _adopt(
    nodes: NDArray[np.void],
    parents: NDArray[np.int64],
    children: NDArray[np.int32],
    bits: int,
    table_bits: int,
    distances: NDArray[np.int64],
) -> None:
    """Let nodes name their children: see `_entry`.

    parents: of each child
    distances: bytes from the parent to the child
    """
    entries = _entry(children, bits, table_bits)
    _mark(nodes["children"], parents, entries)
    nodes["table"]["child"][parents, entries] = distances


def _fill_tiles(
    nodes: NDArray[np.void],
    parents: NDArray[np.int64],
    bits: int,
    table_bits: int,
    topology: Topology,
    tiles: NDArray[np.int64],
    grid: Grid,
) -> None:
    """Give nodes their tiles.

    tiles: numbers of them
    """
    entries = _entry(topology.tile_origins[tiles], bits, table_bits)
    nodes["table"]["value"][parents, entries] = grid.tile_values[tiles]
    active = topology.tile_active[tiles]
    _mark(nodes["values"], parents[active], entries[active])


def _root_keys(origins: NDArray[np.int32]) -> NDArray[np.uint64]:
    x, y, z = (origins.astype(np.uint32).astype(np.uint64) >> np.uint64(UPPER_BITS)).T
    found: NDArray[np.uint64] = x << np.uint64(42) | y << np.uint64(21) | z
    return found


def _fill_grid(
    grids: NDArray[np.void], grid: Grid, size: int, box: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    grids["magic"], grids["checksum"], grids["version"] = MAGIC, NO_CHECKSUM, VERSION
    grids["flags"], grids["count"], grids["size"] = HAS_BOX | BREADTH_FIRST, 1, size
    grids["name"] = grid.name.encode()[:MOST_NAME]
    affine = grid.transform.array()
    # NanoVDB has column vectors, where OpenVDB has rows.
    matrix, moved = affine[:3, :3].T, affine[3, :3]
    inverse = np.linalg.inv(matrix)
    for kind in "fd":
        grids[f"mat_{kind}"], grids[f"inverse_{kind}"] = matrix, inverse
        grids[f"vec_{kind}"], grids[f"taper_{kind}"] = moved, 1
    lower, upper = np.array(box[0]), np.array(box[1]) + 1
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True))).reshape(3, -1).T
    world = corners @ matrix.T + moved
    grids["world_box"] = world.min(axis=0), world.max(axis=0)
    grids["voxel_size"] = np.linalg.norm(matrix, axis=0)
    grids["grid_class"] = CLASSES.get(grid.grid_class, 0)
    grids["grid_type"] = TYPES[grid.components]
