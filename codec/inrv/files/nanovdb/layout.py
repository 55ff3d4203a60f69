"""A grid as NanoVDB lays it out in memory: see `inrv.files.nanovdb.structs`.

Nodes come breadth-first: root, upper nodes, lower nodes, leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrv.errors import UnsupportedGridError
from inrv.files.nanovdb.structs import (
    BREADTH_FIRST,
    CLASSES,
    FLOAT,
    FP16,
    GRID,
    HAS_BOX,
    LOWER_BITS,
    MAGIC,
    MOST_NAME,
    NO_CHECKSUM,
    TREE,
    UPPER_BITS,
    VEC3F,
    VERSION,
    ValueType,
    root_keys,
    view,
)
from inrv.grids import Grid, Topology

KINDS = {1: FLOAT, 3: VEC3F}  # by components


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The bytes of a grid, in which the values of leaves are yet to be filled in.

    buffer: uint8 (n,)
    kind: type of the values
    grid, tree, root: structs (1,) in the buffer, as those below
    tiles: those of the root
    uppers, lowers, leaves: nodes
    upper_of: int64 (lowers,) which upper node has each lower one
    lower_of: int64 (leaves,) which lower node has each leaf
    order: int64 (leaves,) which leaf of the topology each leaf is
    """

    buffer: NDArray[np.uint8]
    kind: ValueType
    grid: NDArray[np.void]
    tree: NDArray[np.void]
    root: NDArray[np.void]
    tiles: NDArray[np.void]
    uppers: NDArray[np.void]
    lowers: NDArray[np.void]
    leaves: NDArray[np.void]
    upper_of: NDArray[np.int64]
    lower_of: NDArray[np.int64]
    order: NDArray[np.int64]

    @property
    def first_leaf(self) -> int:
        """Where the leaves begin, in bytes."""
        return len(self.buffer) - self.leaves.nbytes

    @property
    def leaf_size(self) -> int:
        """Bytes of a leaf."""
        return self.leaves.itemsize

    @property
    def first_voxel(self) -> int:
        """Where the values begin within a leaf, in bytes."""
        fields = self.leaves.dtype.fields
        assert fields is not None
        return fields["voxels"][1]


def skeleton(grid: Grid, half: bool = False) -> Skeleton:
    """Lay out a grid, whose leaf values are not looked at.

    half: whether the leaves of a float grid are to hold 16 bits a value
    Raises UnsupportedGridError for what NanoVDB has no type for.
    """
    if grid.components not in KINDS:
        raise UnsupportedGridError(f"grid {grid.name!r}: NanoVDB has no {grid.components} values")
    kind = FP16 if half and grid.components == 1 else KINDS[grid.components]
    types, topology = kind.types, grid.topology
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
        view(buffer, struct, start, count)
        for (struct, count), start in zip(held, starts[:-1], strict=True)
    )
    tiles = view(buffer, types.tile, starts[2] + types.root.itemsize, root_tiles)
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
    tiles["key"][:count] = root_keys(upper_origins)
    at_uppers = starts[3] + np.arange(count) * types.upper.itemsize
    tiles["child"][:count] = at_uppers - starts[2]
    tiles["value"][:count] = grid.background
    tiles["key"][count:] = root_keys(topology.tile_origins[widest])
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
    _fill_grid(grids, grid, kind, len(buffer), (lowest, highest))
    return Skeleton(
        buffer, kind, grids, trees, root, tiles, uppers, lowers, all_leaves, upper_of_lower,
        of_leaf, leaf_order,
    )  # fmt: skip


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


def _fill_grid(
    grids: NDArray[np.void],
    grid: Grid,
    kind: ValueType,
    size: int,
    box: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    grids["magic"], grids["checksum"], grids["version"] = MAGIC, NO_CHECKSUM, VERSION
    grids["flags"], grids["count"], grids["size"] = HAS_BOX | BREADTH_FIRST, 1, size
    grids["name"] = name_bytes(grid.name)[:MOST_NAME]
    affine = grid.transform.array()
    # NanoVDB has column vectors, where OpenVDB has rows.
    matrix, moved = affine[:3, :3].T, affine[3, :3]
    with np.errstate(over="ignore", invalid="ignore"):  # of what float32 or float64 cannot hold
        inverse = np.linalg.inv(matrix)
        for precision in "fd":
            grids[f"mat_{precision}"], grids[f"inverse_{precision}"] = matrix, inverse
            grids[f"vec_{precision}"], grids[f"taper_{precision}"] = moved, 1
        lower, upper = np.array(box[0]), np.array(box[1]) + 1
        corners = np.array(np.meshgrid(*zip(lower, upper, strict=True))).reshape(3, -1).T
        world = corners @ matrix.T + moved
        grids["world_box"] = world.min(axis=0), world.max(axis=0)
        grids["voxel_size"] = np.linalg.norm(matrix, axis=0)
    grids["grid_class"] = CLASSES.get(grid.grid_class, 0)
    grids["grid_type"] = kind.number


def name_bytes(name: str) -> bytes:
    """Give the name of a grid as a file has it; bytes that were not UTF-8 are what they were."""
    return name.encode("utf-8", "surrogateescape")
