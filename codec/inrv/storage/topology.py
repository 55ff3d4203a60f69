"""Topologies as chunks, and back: MASK, context-coded, and the TOPO of version 1.0, plain tensors."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container import Chunk, Container, unpack_tensors
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.grids.topology import COORDINATE_LIMIT, LEAF_EDGE, TILE_EDGES, leaf_keys

try:
    from inrv.masks import Masks, decode_masks, encode_masks
except ImportError:
    Masks = None
from inrv.storage.tensors import Arrays, take

NODE_EDGE = 128
NODE_LEAVES = 4096
PART_NODES = 1 << 10
NO_REFERENCE = 0xFFFFFFFF
REFERENCE = struct.Struct("<I")  # the MASK chunk that a MASK chunk is predicted from, before its bit stream


class StoredTopologies:
    """The topologies of a file: each chunk is restored once, however many grids share it. Raises FormatError."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._restored: dict[int, Topology] = {}
        self._leaves = 0

    def __getitem__(self, chunk: int) -> Topology:
        if chunk not in self._restored:
            self._restored[chunk] = self._restore(chunk)
            self._leaves += self._restored[chunk].leaf_count + self._restored[chunk].tile_count
        return self._restored[chunk]

    def _restore(self, chunk: int) -> Topology:
        most = self._container.limits.leaves - self._leaves
        data = self._container.chunk(chunk)
        if self._container.entries[chunk].type == "TOPO":
            return restore_topology(unpack_tensors(data), most)
        reference = self._reference(chunk, data)
        predicted_from = None if reference is None else _masks(self[reference])
        masks = decode_masks(data[REFERENCE.size :], predicted_from, most)
        _check_most(len(masks.leaf_origins), len(masks.tile_origins), most)
        return _topology(masks)

    def _reference(self, chunk: int, data: bytes) -> int | None:
        """The chunk it is predicted from. Only one that is predicted from none: so no chain can be long."""
        if len(data) < REFERENCE.size:
            raise FormatError(f"chunk {chunk} has {len(data)} bytes, too few for a MASK")
        (reference,) = REFERENCE.unpack_from(data)
        if reference == NO_REFERENCE:
            return None
        if reference >= chunk or self._container.entries[reference].type != "MASK":
            raise FormatError(f"chunk {chunk} is predicted from chunk {reference}, which is no earlier MASK chunk")
        if self._container.chunk(reference)[: REFERENCE.size] != REFERENCE.pack(NO_REFERENCE):
            raise FormatError(f"chunk {chunk} is predicted from chunk {reference}, which is itself predicted from another")
        return int(reference)


def store_topologies(topologies: Sequence[Topology], chunks: list[Chunk]) -> list[int]:
    """Append a MASK chunk for each different topology and return the chunk number of each.

    Each is predicted from the earlier one that makes it smallest, where one does.
    """
    numbers: list[int] = []
    roots: dict[int, Masks] = {}  # those predicted from none
    for position, topology in enumerate(topologies):
        twin = next((n for n, other in zip(numbers, topologies, strict=False) if topology.identical(other)), None)
        if twin is None and Masks is None:
            from inrv.container import pack_tensors

            twin = len(chunks)
            chunks.append(Chunk("TOPO", pack_tensors(topology_arrays(topology))))
        elif twin is None:
            masks = _masks(topology)
            candidates = {number: encode_masks(masks, root) for number, root in roots.items()}
            candidates[NO_REFERENCE] = encode_masks(masks)
            best = min(candidates, key=lambda number: len(candidates[number]))
            twin = len(chunks)
            if best == NO_REFERENCE:
                roots[twin] = masks
            chunks.append(Chunk("MASK", REFERENCE.pack(best) + candidates[best]))
        numbers.append(twin)
    return numbers


def _masks(topology: Topology) -> Masks:
    tiles = topology.tile_origins.numpy(), topology.tile_edges.numpy(), topology.tile_active.numpy()
    return Masks(topology.leaf_origins.numpy(), topology.leaf_masks.numpy(), *tiles)


def _topology(masks: Masks) -> Topology:
    origins, edges = torch.from_numpy(masks.tile_origins), torch.from_numpy(masks.tile_edges)
    _check_tiles(masks.tile_origins, masks.tile_edges, masks.tile_active.astype(np.uint8))
    leaves = torch.from_numpy(masks.leaf_origins)
    _check_disjoint(leaves, origins, edges)
    return Topology(leaves, torch.from_numpy(masks.leaf_masks), origins, edges, torch.from_numpy(masks.tile_active != 0))


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


def restore_topology(arrays: Arrays, most_leaves: int) -> Topology:
    """The topology of a TOPO chunk. Raises FormatError for shapes, order or values the specification forbids."""
    node_origins = take(arrays, "node_origins", np.int32, (None, 3))
    node_masks = take(arrays, "node_masks", np.uint8, (len(node_origins), 512))
    tile_origins = take(arrays, "tile_origins", np.int32, (None, 3))
    leaves = sum(int(np.unpackbits(part).sum()) for _, part in _parts(node_masks))
    _check_most(leaves, len(tile_origins), most_leaves)  # before they are listed: 512 bytes of a node can stand for 4096 leaves
    leaf_masks = take(arrays, "leaf_masks", np.uint8, (leaves, 64))
    leaf_origins = _leaf_origins(node_origins, node_masks)
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


def _check_most(leaves: int, tiles: int, most: int) -> None:
    if leaves + tiles > most:
        raise FormatError(
            f"topology: {leaves:,} leaves and {tiles:,} tiles, with those read before, exceed the limit of leaves and tiles "
            f"by {leaves + tiles - most:,}"
        )


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
