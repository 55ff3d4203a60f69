"""Topologies as chunks, and back: MASK, context-coded, and the TOPO of version 1.0, plain tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container import Chunk, Container, pack_tensors, unpack_tensors
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.grids.topology import COORDINATE_LIMIT, LEAF_EDGE, TILE_EDGES, leaf_keys
from inrv.masks import KINDS, decode_masks, encode_masks, kinds_of
from inrv.storage.tensors import Arrays, take

NODE_EDGE = 128
NODE_LEAVES = 4096
PART_NODES = 1 << 10
MOST_ROOTS = 4  # earlier topologies that one is tried to be predicted from: each try codes it once


class StoredTopologies:
    """The topologies of a file: each chunk is restored once, however many grids share it. Raises FormatError."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._restored: dict[int, Topology] = {}
        self._blocks = 0

    def __getitem__(self, chunk: int) -> Topology:
        if chunk not in self._restored:
            topology = self._restore(chunk, unpack_tensors(self._container.chunk(chunk)))
            self._restored[chunk] = topology
            self._blocks += topology.leaf_count + topology.tile_count
        return self._restored[chunk]

    def _restore(self, chunk: int, arrays: Arrays) -> Topology:
        most = self._container.limits.leaves - self._blocks
        if self._container.entries[chunk].type == "TOPO":
            frame, masks = _restore_frame(arrays, most, "leaf_masks", 64)
            return replace(frame, leaf_masks=torch.from_numpy(masks.copy()))
        frame, kinds = _restore_frame(arrays, most, "leaf_kinds")
        if (kinds > max(KINDS)).any():
            raise FormatError(f"topology: leaf_kinds hold a value that is not one of {KINDS}")
        coded = take(arrays, "coded_masks", np.uint8, (None,))
        if len(coded) % 4:
            raise FormatError(f"topology: coded_masks have {len(coded)} bytes, which are not words of 4")
        root = self._root(chunk, take(arrays, "predicted_from", np.int32, (None,)))
        reference = None if root is None else _same_leaves(root, frame)
        decoded = decode_masks(frame.leaf_origins.numpy(), kinds, coded.view("<u4"), reference)
        return replace(frame, leaf_masks=torch.from_numpy(decoded))

    def _root(self, chunk: int, predicted_from: NDArray[np.int32]) -> Topology | None:
        """The topology that this one is predicted from: one that is itself predicted from none, so that no chain is long."""
        if not len(predicted_from):
            return None
        number = int(predicted_from[0])
        if len(predicted_from) > 1 or not 0 <= number < chunk or self._container.entries[number].type != "MASK":
            raise FormatError(
                f"topology: predicted_from holds {predicted_from[:4].tolist()}, not the number of one MASK chunk before it"
            )
        if len(take(unpack_tensors(self._container.chunk(number)), "predicted_from", np.int32, (None,))):
            raise FormatError(f"topology: predicted_from holds {number}, a chunk that is itself predicted from another")
        return self[number]


def store_topologies(topologies: Sequence[Topology], chunks: list[Chunk]) -> list[int]:
    """Append a MASK chunk for each different topology and return the chunk number of each.

    Each is predicted from the earlier one that makes it smallest, where one does.
    """
    numbers: list[int] = []
    roots: dict[int, Topology] = {}  # those predicted from none
    for topology in topologies:
        known = (number for number, other in zip(numbers, topologies, strict=False) if topology.identical(other))
        number = next(known, len(chunks))
        if number == len(chunks):
            root, words = _smallest(topology, dict(list(roots.items())[-MOST_ROOTS:]))
            if root is None:
                roots[number] = topology
            chunks.append(Chunk("MASK", pack_tensors(_frame_arrays(topology) | _mask_arrays(topology, root, words))))
        numbers.append(number)
    return numbers


def _smallest(topology: Topology, roots: dict[int, Topology]) -> tuple[int | None, NDArray[np.uint32]]:
    """The root, if any, that makes the coded masks smallest, and their words."""
    origins, masks = topology.leaf_origins.numpy(), topology.leaf_masks.numpy()
    best: int | None = None
    words = encode_masks(origins, masks)
    for number, root in roots.items():
        predicted = encode_masks(origins, masks, _same_leaves(root, topology))
        if len(predicted) < len(words):
            best, words = number, predicted
    return best, words


def _same_leaves(root: Topology, topology: Topology) -> NDArray[np.uint8]:
    """Masks uint8 (L, 64) that `root` has at the leaves of `topology`; all bits set within an active tile."""
    leaf = root.find_leaves(topology.leaf_origins)
    masks = torch.zeros_like(topology.leaf_masks)
    masks[leaf >= 0] = root.leaf_masks[leaf[leaf >= 0]]
    if root.tile_count:
        tile = root.find_tiles(topology.leaf_origins)
        masks[(leaf < 0) & (tile >= 0) & root.tile_active[tile.clamp_min(0)]] = 255
    found: NDArray[np.uint8] = masks.numpy()
    return found


def _mask_arrays(topology: Topology, root: int | None, words: NDArray[np.uint32]) -> Arrays:
    return {
        "leaf_kinds": kinds_of(topology.leaf_masks.numpy()),
        "coded_masks": words.astype("<u4").view(np.uint8),
        "predicted_from": np.array([] if root is None else [root], dtype=np.int32),
    }


def _frame_arrays(topology: Topology) -> Arrays:
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


def _restore_frame(arrays: Arrays, most: int, per_leaf: str, *shape: int) -> tuple[Topology, NDArray[np.uint8]]:
    """A topology whose leaf masks are empty, and the tensor that holds something of every leaf.

    Raises FormatError for shapes, order or values the specification forbids.
    """
    node_origins = take(arrays, "node_origins", np.int32, (None, 3))
    node_masks = take(arrays, "node_masks", np.uint8, (len(node_origins), 512))
    tile_origins = take(arrays, "tile_origins", np.int32, (None, 3))
    leaves = sum(int(np.unpackbits(part).sum()) for _, part in _parts(node_masks))
    # Before they are listed: 512 bytes of a node can stand for 4096 leaves.
    _check_most(leaves, len(tile_origins), most)
    of_leaves = take(arrays, per_leaf, np.uint8, (leaves, *shape))
    leaf_origins = _leaf_origins(node_origins, node_masks)
    tile_edges = take(arrays, "tile_edges", np.int32, (len(tile_origins),))
    tile_active = take(arrays, "tile_active", np.uint8, (len(tile_origins),))
    _check_tiles(tile_origins, tile_edges, tile_active)
    origins, edges = torch.from_numpy(tile_origins.copy()), torch.from_numpy(tile_edges.copy())
    _check_disjoint(leaf_origins, origins, edges)
    masks = torch.zeros((1, 64), dtype=torch.uint8).expand(leaves, -1)
    return Topology(leaf_origins, masks, origins, edges, torch.from_numpy(tile_active != 0)), of_leaves


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
