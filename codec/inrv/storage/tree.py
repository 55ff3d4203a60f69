"""The frame of a topology in few bytes: leaves and tiles of 8^3 voxels are themselves voxels of a coarser topology, the blocks.

A block is a cube of 8^3 cells, a cell a cube of 8^3 voxels, aligned as a leaf is. Which cells are leaves, and which are tiles,
are masks of the blocks, coded as the masks of leaves are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container.tensors import Arrays, bytes_of_words, take, take_words
from inrv.entropy.masks import MIXED, decode_masks, encode_masks
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.grids.topology import LEAF_EDGE, LEAF_VOXELS, leaf_keys, leaf_offsets, mask_places, offset_coordinates, pack_masks
from inrv.storage.skeleton import NODE_EDGE, check_most, check_origins, count_bits, frame_arrays, frame_of, leaf_origins


def tree_arrays(topology: Topology) -> Arrays:
    """Tensors of a topology but for its leaf masks; see the chunk TREE in format_spec.md."""
    plain = topology.tile_count - _ascending_cells(topology)
    leaves, tiles = topology.leaf_origins, topology.tile_origins[plain:]
    cells = torch.div(torch.cat([leaves, tiles]), LEAF_EDGE, rounding_mode="floor")
    blocks, block = torch.unique(torch.div(cells, LEAF_EDGE, rounding_mode="floor"), dim=0, return_inverse=True)
    masks = torch.zeros((2, len(blocks), LEAF_VOXELS), dtype=torch.bool)
    masks[(torch.arange(len(cells)) >= len(leaves)).long(), block, leaf_offsets(cells)] = True
    order = Topology.order_of(blocks * LEAF_EDGE)
    origins = (blocks[order] * LEAF_EDGE).to(torch.int32)
    of_leaves, of_tiles = (pack_masks(mask[order]).numpy() for mask in masks)
    frame = frame_arrays(Topology.from_leaves(origins, torch.from_numpy(of_leaves)))
    kinds, corners = _kinds(len(blocks)), origins.numpy()
    none = np.zeros(0, dtype=np.uint32)
    return {
        "block_origins": frame["node_origins"],
        "block_masks": frame["node_masks"],
        "leaf_words": bytes_of_words(encode_masks(corners, of_leaves, None, kinds)),
        "tile_words": bytes_of_words(encode_masks(corners, of_tiles, of_leaves, kinds) if len(tiles) else none),
        "tile_origins": topology.tile_origins[:plain].numpy(),
        "tile_edges": topology.tile_edges[:plain].numpy(),
        "tile_active": topology.tile_active.numpy().astype(np.uint8),
    }


def _ascending_cells(topology: Topology) -> int:
    """How many tiles at the end are of 8^3 voxels and in ascending key order: as a mask gives them back."""
    small = topology.tile_edges == LEAF_EDGE
    first = int(small.int().argmax()) if bool(small.any()) else topology.tile_count
    keys = leaf_keys(topology.tile_origins[first:])
    return topology.tile_count - first if bool(small[first:].all()) and bool((keys[1:] > keys[:-1]).all()) else 0


def _kinds(count: int) -> NDArray[np.uint8]:
    return np.full(count, MIXED, dtype=np.uint8)


def restore_tree(arrays: Arrays, most: int) -> Topology:
    """A topology whose leaf masks are empty. Raises FormatError for shapes, order or values the specification forbids."""
    nodes = take(arrays, "block_origins", np.int32, (None, 3))
    node_masks = take(arrays, "block_masks", np.uint8, (len(nodes), 512))
    check_most(count_bits(node_masks), 0, most)
    blocks = leaf_origins(nodes, node_masks)
    of_leaves, of_tiles = _block_masks(blocks.numpy(), take_words(arrays, "leaf_words"), take_words(arrays, "tile_words"))
    origins = take(arrays, "tile_origins", np.int32, (None, 3))
    edges = take(arrays, "tile_edges", np.int32, (len(origins),))
    check_most(count_bits(of_leaves), len(origins) + count_bits(of_tiles), most)  # before they are listed
    leaves, cells = _cells(blocks, of_leaves), _cells(blocks, of_tiles)
    nodes_of_leaves = torch.div(leaves, NODE_EDGE, rounding_mode="floor") * NODE_EDGE
    check_origins("nodes of leaves", nodes_of_leaves.numpy(), np.full(len(leaves), NODE_EDGE))
    origins = np.concatenate([origins, cells.numpy()])
    return frame_of(arrays, leaves, origins, np.concatenate([edges, np.full(len(cells), LEAF_EDGE, dtype=np.int32)]))


def _block_masks(
    blocks: NDArray[np.int32], leaf_words: NDArray[np.uint32], tile_words: NDArray[np.uint32]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Masks uint8 (B, 64) of leaves and of tiles."""
    kinds = _kinds(len(blocks))
    of_leaves = decode_masks(blocks, kinds, leaf_words)
    of_tiles = decode_masks(blocks, kinds, tile_words, of_leaves) if len(tile_words) else np.zeros_like(of_leaves)
    if (of_leaves & of_tiles).any():
        raise FormatError("S13", "topology: a cell of a block is a leaf and a tile")
    if not (of_leaves | of_tiles).any(axis=1).all():
        raise FormatError("S13", "topology: a block holds neither a leaf nor a tile")
    return of_leaves, of_tiles


def _cells(blocks: Tensor, masks: NDArray[np.uint8]) -> Tensor:
    """Origins int32 (n, 3), in voxels and in ascending key order, of the cells whose bits are set in masks uint8 (B, 64)."""
    places = mask_places(torch.from_numpy(masks))
    cells = blocks[places // LEAF_VOXELS].long() + offset_coordinates()[places % LEAF_VOXELS]
    origins = (cells * LEAF_EDGE).clamp(-(1 << 30), 1 << 30).to(torch.int32)
    return origins[Topology.order_of(origins)]
