"""The frame of a topology, its leaves and tiles, as arrays and back, checked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container.tensors import Arrays, take
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.grids.topology import COORDINATE_LIMIT, LEAF_EDGE, TILE_EDGES, leaf_keys

NODE_EDGE = 128
NODE_LEAVES = 4096
PART_NODES = 1 << 10


def frame_arrays(topology: Topology) -> Arrays:
    """Tensors of a topology but for its leaf masks; see format_spec.md."""
    keys = topology.keys
    nodes, of_node = torch.unique_consecutive(keys >> 12, return_inverse=True)
    children = torch.zeros((len(nodes), NODE_LEAVES), dtype=torch.bool)
    children[of_node, keys & (NODE_LEAVES - 1)] = True
    origins = torch.div(topology.leaf_origins, NODE_EDGE, rounding_mode="floor") * NODE_EDGE
    first = torch.searchsorted(keys >> 12, nodes)
    return {
        "node_origins": origins[first].numpy(),
        "node_masks": np.packbits(children.numpy(), axis=1, bitorder="little"),
        "tile_origins": topology.tile_origins.numpy(),
        "tile_edges": topology.tile_edges.numpy(),
        "tile_active": topology.tile_active.numpy().astype(np.uint8),
    }


def frame_of(arrays: Arrays, leaves: Tensor, tile_origins: NDArray[np.int32], tile_edges: NDArray[np.int32]) -> Topology:
    """The topology with these leaves int32 (L, 3), their masks empty, and tiles. Raises FormatError."""
    tile_active = take(arrays, "tile_active", np.uint8, (len(tile_origins),))
    _check_tiles(tile_origins, tile_edges, tile_active)
    origins, edges = torch.from_numpy(tile_origins.copy()), torch.from_numpy(tile_edges.copy())
    _check_disjoint(leaves, origins, edges)
    masks = torch.zeros((1, 64), dtype=torch.uint8).expand(len(leaves), -1)
    return Topology(leaves, masks, origins, edges, torch.from_numpy(tile_active != 0))


def count_bits(masks: NDArray[np.uint8]) -> int:
    """Bits set in masks uint8 (D, bytes)."""
    return sum(int(np.unpackbits(part).sum()) for _, part in _parts(masks))


def leaf_origins(node_origins: NDArray[np.int32], node_masks: NDArray[np.uint8]) -> Tensor:
    """Origins int32 (L, 3) of the leaves that the bits of masks uint8 (D, 512) stand for. Raises FormatError."""
    check_origins("node_origins", node_origins, np.full(len(node_origins), NODE_EDGE))
    origins = torch.from_numpy(node_origins.copy())
    keys = leaf_keys(origins)
    if bool((keys[1:] <= keys[:-1]).any()):
        raise FormatError("S4", "topology: node_origins are not in ascending key order, or one stands twice")
    leaves = [origins[:0]]
    for first, part in _parts(node_masks):
        node, child = (torch.from_numpy(index) for index in np.unpackbits(part, axis=1, bitorder="little").nonzero())
        local = torch.stack([child >> 8, (child >> 4) & 15, child & 15], dim=1) * LEAF_EDGE
        leaves.append((origins[first + node] + local).to(torch.int32))
    return torch.cat(leaves)


def _parts(node_masks: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Masks of some nodes and the number of the first: unpacked they take eight times the memory."""
    for first in range(0, len(node_masks), PART_NODES):
        yield first, node_masks[first : first + PART_NODES]


def check_most(leaves: int, tiles: int, most: int) -> None:
    """Raise FormatError where leaves and tiles are too many."""
    if leaves + tiles > most:
        raise FormatError(
            "L2",
            f"topology: {leaves:,} leaves and {tiles:,} tiles, with those read before, exceed the limit of leaves and tiles "
            f"by {leaves + tiles - most:,}",
        )


def _check_tiles(origins: NDArray[np.int32], edges: NDArray[np.int32], active: NDArray[np.uint8]) -> None:
    if not np.isin(edges, TILE_EDGES).all():
        raise FormatError("S5", f"topology: tile_edges hold a value that is not one of {TILE_EDGES}")
    if (active > 1).any():
        raise FormatError("S5", "topology: tile_active holds a value that is not 0 or 1")
    check_origins("tile_origins", origins, edges)


def _check_disjoint(leaves: Tensor, tiles: Tensor, edges: Tensor) -> None:
    """No tile twice, in another or over a leaf: which of them holds then, no two readers might agree on."""
    blocks = torch.cat([leaves, tiles])
    sizes = torch.cat([edges.new_full((len(leaves),), LEAF_EDGE), edges])
    for edge in TILE_EDGES:
        keys = leaf_keys(tiles[edges == edge]).unique()
        within = leaf_keys(blocks[sizes <= edge] // edge * edge)
        if int(torch.isin(within, keys).sum()) > len(keys):
            raise FormatError("S5", f"topology: a tile of {edge} voxels stands twice, or over another tile or a leaf")


def check_origins(name: str, origins: NDArray[np.int32], edges: NDArray[np.int32]) -> None:
    """Raise FormatError where origins (n, 3) are not multiples of their edges (n,), or too far away."""
    wide = origins.astype(np.int64)
    if (wide % edges[:, None]).any():
        raise FormatError(
            "S5" if name.startswith("tile") else "S4", f"topology: {name} hold a value that is not a multiple of the edge"
        )
    if (np.abs(wide) > COORDINATE_LIMIT - TILE_EDGES[-1]).any():
        raise FormatError(
            "S5" if name.startswith("tile") else "S4",
            f"topology: {name} hold a coordinate beyond +-{COORDINATE_LIMIT - TILE_EDGES[-1]}",
        )
