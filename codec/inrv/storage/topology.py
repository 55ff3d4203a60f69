"""A topology as the tensors of a TOPO chunk, and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.grids.topology import COORDINATE_LIMIT, LEAF_EDGE, TILE_EDGES, leaf_keys
from inrv.storage.tensors import Arrays, take

NODE_EDGE = 128
NODE_LEAVES = 4096


def topology_arrays(topology: Topology) -> Arrays:
    """Tensors of the TOPO chunk; see format_spec.md."""
    keys = topology.keys
    nodes, of_node = torch.unique_consecutive(keys >> 12, return_inverse=True)
    children = torch.zeros((len(nodes), NODE_LEAVES), dtype=torch.bool)
    children[of_node, keys & (NODE_LEAVES - 1)] = True
    origins = torch.div(topology.leaf_origins, NODE_EDGE, rounding_mode="floor") * NODE_EDGE
    first = torch.searchsorted(keys >> 12, nodes)
    return {
        "node_origins": origins[first].numpy(),
        "node_masks": np.packbits(children.numpy(), axis=1, bitorder="little"),
        "leaf_masks": topology.leaf_masks.numpy(),
        "tile_origins": topology.tile_origins.numpy(),
        "tile_edges": topology.tile_edges.numpy(),
        "tile_active": topology.tile_active.numpy().astype(np.uint8),
    }


def restore_topology(arrays: Arrays) -> Topology:
    """The topology of a TOPO chunk. Raises FormatError for shapes, order or values the specification forbids."""
    node_origins = take(arrays, "node_origins", np.int32, (None, 3))
    node_masks = take(arrays, "node_masks", np.uint8, (len(node_origins), 512))
    leaf_origins = _leaf_origins(node_origins, node_masks)
    leaf_masks = take(arrays, "leaf_masks", np.uint8, (len(leaf_origins), 64))
    tile_origins = take(arrays, "tile_origins", np.int32, (None, 3))
    tile_edges = take(arrays, "tile_edges", np.int32, (len(tile_origins),))
    tile_active = take(arrays, "tile_active", np.uint8, (len(tile_origins),))
    _check_tiles(tile_origins, tile_edges, tile_active)
    origins, edges = torch.from_numpy(tile_origins.copy()), torch.from_numpy(tile_edges.copy())
    _check_disjoint(leaf_origins, origins, edges)
    return Topology(leaf_origins, torch.from_numpy(leaf_masks.copy()), origins, edges, torch.from_numpy(tile_active != 0))


def _leaf_origins(node_origins: NDArray[np.int32], node_masks: NDArray[np.uint8]) -> Tensor:
    _check_origins("node_origins", node_origins, np.full(len(node_origins), NODE_EDGE))
    origins = torch.from_numpy(node_origins.copy())
    keys = leaf_keys(origins)
    if bool((keys[1:] <= keys[:-1]).any()):
        raise FormatError("topology: node_origins are not in ascending key order, or one stands twice")
    children = np.unpackbits(node_masks, axis=1, bitorder="little")
    node, child = (torch.from_numpy(index) for index in children.nonzero())
    local = torch.stack([child >> 8, (child >> 4) & 15, child & 15], dim=1) * LEAF_EDGE
    return (origins[node] + local).to(torch.int32)


def _check_tiles(origins: NDArray[np.int32], edges: NDArray[np.int32], active: NDArray[np.uint8]) -> None:
    if not np.isin(edges, TILE_EDGES).all():
        raise FormatError(f"topology: tile_edges hold a value that is not one of {TILE_EDGES}")
    if (active > 1).any():
        raise FormatError("topology: tile_active holds a value that is not 0 or 1")
    _check_origins("tile_origins", origins, edges)


def _check_disjoint(leaves: Tensor, tiles: Tensor, edges: Tensor) -> None:
    """No tile twice, in another or over a leaf: which of them holds then, no two readers might agree on."""
    blocks = torch.cat([leaves, tiles])
    sizes = torch.cat([edges.new_full((len(leaves),), LEAF_EDGE), edges])
    for edge in TILE_EDGES:
        keys = leaf_keys(tiles[edges == edge]).unique()
        within = leaf_keys(blocks[sizes <= edge] // edge * edge)
        if int(torch.isin(within, keys).sum()) > len(keys):
            raise FormatError(f"topology: a tile of {edge} voxels stands twice, or over another tile or a leaf")


def _check_origins(name: str, origins: NDArray[np.int32], edges: NDArray[np.int32]) -> None:
    wide = origins.astype(np.int64)
    if (wide % edges[:, None]).any():
        raise FormatError(f"topology: {name} hold a value that is not a multiple of the edge")
    if (np.abs(wide) > COORDINATE_LIMIT - TILE_EDGES[-1]).any():
        raise FormatError(f"topology: {name} hold a coordinate beyond +-{COORDINATE_LIMIT - TILE_EDGES[-1]}")
