"""The skeleton of a topology, its leaves and tiles without masks, as tensors and back.

Leaves and tiles of 8^3 voxels are themselves voxels of a smaller topology. A *cell* is a cube of
8^3 voxels, a *block* a cube of 8^3 cells, aligned as a leaf is. Masks of the blocks say which cells
are leaves and which are tiles; they are coded as the masks of leaves are. Other tiles are listed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inrv.container import Arrays, take
from inrv.entropy.masks import MIXED, encode_masks
from inrv.errors import FormatError
from inrv.grids import (
    LEAF_EDGE,
    LEAF_VOXELS,
    TILE_EDGES,
    Topology,
    leaf_keys,
    leaf_offsets,
    mask_places,
    offset_coordinates,
    pack_masks,
)
from inrv.grids.blocks import MASK_BYTES, NODE_EDGE
from inrv.storage.coded_masks import pack_coded, unpack_coded
from inrv.storage.nodes import NODE_BYTES, check_origins, count_bits, pack_nodes, unpack_nodes


def pack_skeleton(topology: Topology) -> Arrays:
    """Return the tensors of a topology but for those of its leaf masks."""
    listed = topology.tile_count - _ascending_cells(topology)
    leaves, tiles = topology.leaf_origins, topology.tile_origins[listed:]
    cells = np.concatenate([leaves, tiles]) // LEAF_EDGE
    _, first, block = np.unique(leaf_keys(cells), return_index=True, return_inverse=True)
    masks = np.zeros((2, len(first), LEAF_VOXELS), dtype=np.bool_)
    is_tile = (np.arange(len(cells)) >= len(leaves)).astype(np.int64)
    masks[is_tile, block, leaf_offsets(cells)] = True
    leaf_cells, tile_cells = pack_masks(masks[0]), pack_masks(masks[1])
    origins = cells[first] // LEAF_EDGE * LEAF_EDGE
    corners, node_masks = pack_nodes(origins)
    kinds = _kinds(len(first))
    of_tiles = encode_masks(origins, tile_cells, leaf_cells, kinds) if len(tiles) else []
    return {
        "block_origins": corners,
        "block_masks": node_masks,
        **pack_coded("leaf", encode_masks(origins, leaf_cells, None, kinds)),
        **pack_coded("tile", of_tiles),
        "tile_origins": topology.tile_origins[:listed],
        "tile_edges": topology.tile_edges[:listed],
        "tile_active": topology.tile_active.astype(np.uint8),
    }


def _ascending_cells(topology: Topology) -> int:
    """Return how many tiles at the end are cells in ascending key order, as a mask gives them."""
    small = topology.tile_edges == LEAF_EDGE
    first = int(small.argmax()) if small.any() else topology.tile_count
    keys = leaf_keys(topology.tile_origins[first:])
    ascending = small[first:].all() and (keys[1:] > keys[:-1]).all()
    return topology.tile_count - first if ascending else 0


def _kinds(count: int) -> NDArray[np.uint8]:
    """Return the kinds of the masks of blocks: all are coded."""
    return np.full(count, MIXED, dtype=np.uint8)


def unpack_skeleton(arrays: Arrays, most: int) -> Topology:
    """Return the topology, its leaf masks empty, of the tensors that `pack_skeleton` returned.

    most: leaves and tiles that are allowed
    Raises FormatError for shapes, order or values that the specification forbids.
    """
    corners = take(arrays, "block_origins", np.int32, (None, 3))
    node_masks = take(arrays, "block_masks", np.uint8, (len(corners), NODE_BYTES))
    check_most(count_bits(node_masks), 0, most)
    blocks = unpack_nodes(corners, node_masks)
    leaf_cells, tile_cells = _cell_masks(blocks, arrays)
    listed = take(arrays, "tile_origins", np.int32, (None, 3))
    edges = take(arrays, "tile_edges", np.int32, (len(listed),))
    # Before they are listed: 64 bytes of a block stand for up to 512 leaves.
    check_most(count_bits(leaf_cells), len(listed) + count_bits(tile_cells), most)
    leaves, cells = _cell_origins(blocks, leaf_cells), _cell_origins(blocks, tile_cells)
    check_origins("S4", "nodes of leaves", leaves // NODE_EDGE * NODE_EDGE, NODE_EDGE)
    cell_edges = np.full(len(cells), LEAF_EDGE, dtype=np.int32)
    tiles, edges = np.concatenate([listed, cells]), np.concatenate([edges, cell_edges])
    active = take(arrays, "tile_active", np.uint8, (len(tiles),))
    _check_tiles(tiles, edges, active)
    _check_disjoint(leaves, tiles, edges)
    masks = np.broadcast_to(np.zeros((1, MASK_BYTES), dtype=np.uint8), (len(leaves), MASK_BYTES))
    return Topology(leaves, masks, tiles, edges, active != 0)


def _cell_masks(
    blocks: NDArray[np.int32], arrays: Arrays
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return which cells of the blocks are leaves, and which are tiles: uint8 (B, 64) each."""
    kinds = _kinds(len(blocks))
    leaf_cells = unpack_coded("leaf", arrays, blocks, kinds)
    tile_cells = np.zeros_like(leaf_cells)
    if len(take(arrays, "tile_lengths", np.int32, (None,))):
        tile_cells = unpack_coded("tile", arrays, blocks, kinds, leaf_cells)
    if (leaf_cells & tile_cells).any():
        raise FormatError("S13", "topology: a cell of a block is a leaf and a tile")
    if not (leaf_cells | tile_cells).any(axis=1).all():
        raise FormatError("S13", "topology: a block holds neither a leaf nor a tile")
    return leaf_cells, tile_cells


def _cell_origins(blocks: NDArray[np.int32], masks: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the origins, in voxels and in key order, of some cells: int32 (n, 3).

    blocks: int32 (B, 3) origins of the blocks, in cells
    masks: uint8 (B, 64) cells of each
    """
    places = mask_places(masks)
    cells = blocks[places // LEAF_VOXELS] + offset_coordinates()[places % LEAF_VOXELS]
    origins: NDArray[np.int32] = (cells * LEAF_EDGE).astype(np.int32)
    return origins[Topology.order_of(origins)]


def check_most(leaves: int, tiles: int, most: int) -> None:
    """Raise FormatError where leaves and tiles are more than `most`."""
    if leaves + tiles > most:
        beyond = leaves + tiles - most
        held = f"{leaves:,} leaves and {tiles:,} tiles, with those read before,"
        message = f"topology: {held} exceed the limit of leaves and tiles by {beyond:,}"
        raise FormatError("L2", message)


def _check_tiles(
    origins: NDArray[np.int32], edges: NDArray[np.int32], active: NDArray[np.uint8]
) -> None:
    """Check the three tensors of tiles. Raises FormatError."""
    if not np.isin(edges, TILE_EDGES).all():
        message = f"topology: tile_edges hold a value that is not one of {TILE_EDGES}"
        raise FormatError("S5", message)
    if (active > 1).any():
        raise FormatError("S5", "topology: tile_active holds a value that is not 0 or 1")
    check_origins("S5", "tile_origins", origins, edges[:, None])


def _check_disjoint(
    leaves: NDArray[np.int32], tiles: NDArray[np.int32], edges: NDArray[np.int32]
) -> None:
    """Check that no tile stands twice, in another or over a leaf: readers might disagree on it."""
    if not len(tiles):
        return
    blocks = np.concatenate([leaves, tiles])
    sizes = np.concatenate([np.full(len(leaves), LEAF_EDGE, dtype=edges.dtype), edges])
    for edge in TILE_EDGES:
        keys = np.unique(leaf_keys(tiles[edges == edge]))
        within = leaf_keys(blocks[sizes <= edge] // edge * edge)
        if len(keys) and np.isin(within, keys).sum() > len(keys):
            clash = "stands twice, or over another tile or a leaf"
            raise FormatError("S5", f"topology: a tile of {edge} voxels {clash}")
