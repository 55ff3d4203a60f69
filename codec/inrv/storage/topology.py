"""Topologies as chunks, and back: TREE, all of it coded, the MASK of version 1.1 and the TOPO of 1.0, plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from inrv.container import Chunk, Container, pack_tensors, unpack_tensors
from inrv.container.tensors import Arrays, bytes_of_words, take, take_words
from inrv.entropy.masks import KINDS, decode_masks, encode_masks, kinds_of
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.storage.skeleton import check_most, count_bits, frame_arrays, frame_of, leaf_origins
from inrv.storage.tree import restore_tree, tree_arrays

PREDICTING = ("MASK", "TREE")
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
        most, kind = self._container.limits.leaves - self._blocks, self._container.entries[chunk].type
        frame = (restore_tree if kind == "TREE" else _restore_frame)(arrays, most)
        if kind == "TOPO":
            masks = take(arrays, "leaf_masks", np.uint8, (frame.leaf_count, 64))
            return replace(frame, leaf_masks=torch.from_numpy(masks.copy()))
        kinds = take(arrays, "leaf_kinds", np.uint8, (frame.leaf_count,))
        if (kinds > max(KINDS)).any():
            raise FormatError("S11", f"topology: leaf_kinds hold a value that is not one of {KINDS}")
        words = take_words(arrays, "coded_masks")
        root = self._root(chunk, take(arrays, "predicted_from", np.int32, (None,)))
        reference = None if root is None else _same_leaves(root, frame)
        decoded = decode_masks(frame.leaf_origins.numpy(), kinds, words, reference)
        return replace(frame, leaf_masks=torch.from_numpy(decoded))

    def _root(self, chunk: int, predicted_from: NDArray[np.int32]) -> Topology | None:
        """The topology that this one is predicted from: one that is itself predicted from none, so that no chain is long."""
        if not len(predicted_from):
            return None
        number = int(predicted_from[0])
        if len(predicted_from) > 1 or not 0 <= number < chunk or self._container.entries[number].type not in PREDICTING:
            named = predicted_from[:4].tolist()
            raise FormatError(
                "S12", f"topology: predicted_from holds {named}, not the number of one MASK or TREE chunk before it"
            )
        if len(take(unpack_tensors(self._container.chunk(number)), "predicted_from", np.int32, (None,))):
            raise FormatError("S12", f"topology: predicted_from holds {number}, a chunk that is itself predicted from another")
        return self[number]


def store_topologies(topologies: Sequence[Topology], chunks: list[Chunk], trees: bool) -> list[int]:
    """Append a chunk for each different topology, TREE or MASK, and return the chunk number of each.

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
            frame = tree_arrays(topology) if trees else frame_arrays(topology)
            chunks.append(Chunk("TREE" if trees else "MASK", pack_tensors(frame | _mask_arrays(topology, root, words))))
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
        "coded_masks": bytes_of_words(words),
        "predicted_from": np.array([] if root is None else [root], dtype=np.int32),
    }


def _restore_frame(arrays: Arrays, most: int) -> Topology:
    """A topology whose leaf masks are empty. Raises FormatError for shapes, order or values the specification forbids."""
    node_origins = take(arrays, "node_origins", np.int32, (None, 3))
    node_masks = take(arrays, "node_masks", np.uint8, (len(node_origins), 512))
    tile_origins = take(arrays, "tile_origins", np.int32, (None, 3))
    tile_edges = take(arrays, "tile_edges", np.int32, (len(tile_origins),))
    # Before they are listed: 512 bytes of a node can stand for 4096 leaves.
    check_most(count_bits(node_masks), len(tile_origins), most)
    return frame_of(arrays, leaf_origins(node_origins, node_masks), tile_origins, tile_edges)
