"""Topologies as TOPO chunks, and back: a skeleton, and the masks of its leaves.

The masks of a topology may be predicted from those of an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inrv.container import (
    Arrays,
    Chunk,
    Container,
    bytes_of_words,
    pack_tensors,
    take,
    take_words,
    unpack_tensors,
)
from inrv.container.layout import TOPOLOGY
from inrv.entropy.masks import KINDS, decode_masks, encode_masks, kinds_of
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.storage.skeleton import pack_skeleton, unpack_skeleton

MOST_ROOTS = 4  # earlier topologies that one is tried to be predicted from: each try codes it once
FULL_BYTE = 255  # eight active voxels


def store_topologies(topologies: Sequence[Topology], chunks: list[Chunk]) -> list[int]:
    """Append a chunk for each different topology and return the chunk number of each.

    A topology is predicted from the earlier one that makes it smallest, where one does.
    """
    numbers: list[int] = []
    roots: dict[int, Topology] = {}  # those predicted from none
    for topology in topologies:
        stored = zip(numbers, topologies, strict=False)
        known = (number for number, other in stored if topology.identical(other))
        number = next(known, len(chunks))
        if number == len(chunks):
            root, words = _smallest(topology, dict(list(roots.items())[-MOST_ROOTS:]))
            if root is None:
                roots[number] = topology
            arrays = pack_skeleton(topology) | _pack_masks(topology, root, words)
            chunks.append(Chunk(TOPOLOGY, pack_tensors(arrays)))
        numbers.append(number)
    return numbers


def _smallest(
    topology: Topology, roots: dict[int, Topology]
) -> tuple[int | None, NDArray[np.uint32]]:
    """Return the root, if any, that makes the coded masks smallest, and their words."""
    origins, masks = topology.leaf_origins, topology.leaf_masks
    best: int | None = None
    words = encode_masks(origins, masks)
    for number, root in roots.items():
        predicted = encode_masks(origins, masks, _same_leaves(root, topology))
        if len(predicted) < len(words):
            best, words = number, predicted
    return best, words


def _same_leaves(root: Topology, topology: Topology) -> NDArray[np.uint8]:
    """Return the masks uint8 (L, 64) that `root` has at the leaves of `topology`.

    All bits are set within an active tile of `root`.
    """
    leaf = root.find_leaves(topology.leaf_origins)
    masks = np.zeros_like(topology.leaf_masks)
    masks[leaf >= 0] = root.leaf_masks[leaf[leaf >= 0]]
    if root.tile_count:
        tile = root.find_tiles(topology.leaf_origins)
        masks[(leaf < 0) & (tile >= 0) & root.tile_active[np.maximum(tile, 0)]] = FULL_BYTE
    return masks


def _pack_masks(topology: Topology, root: int | None, words: NDArray[np.uint32]) -> Arrays:
    """Return the tensors of the leaf masks, coded as `words`, predicted from the chunk `root`."""
    return {
        "leaf_kinds": kinds_of(topology.leaf_masks),
        "coded_masks": bytes_of_words(words),
        "predicted_from": np.array([] if root is None else [root], dtype=np.int32),
    }


class StoredTopologies:
    """The topologies of a file by chunk number.

    Each chunk is restored once, however many grids share it. Raises FormatError.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._restored: dict[int, Topology] = {}
        self._blocks = 0

    def __getitem__(self, chunk: int) -> Topology:
        if chunk not in self._restored:
            arrays = unpack_tensors(self._container.chunk(chunk))
            skeleton = unpack_skeleton(arrays, self._container.limits.leaves - self._blocks)
            topology = replace(skeleton, leaf_masks=self._unpack_masks(arrays, skeleton, chunk))
            self._restored[chunk] = topology
            self._blocks += topology.leaf_count + topology.tile_count
        return self._restored[chunk]

    def _unpack_masks(self, arrays: Arrays, skeleton: Topology, chunk: int) -> NDArray[np.uint8]:
        """Return the leaf masks uint8 (L, 64) in the tensors of a chunk."""
        kinds = take(arrays, "leaf_kinds", np.uint8, (skeleton.leaf_count,))
        if (kinds > max(KINDS)).any():
            message = f"topology: leaf_kinds hold a value that is not one of {KINDS}"
            raise FormatError("S11", message)
        words = take_words(arrays, "coded_masks")
        root = self._root(chunk, take(arrays, "predicted_from", np.int32, (None,)))
        reference = None if root is None else _same_leaves(root, skeleton)
        return decode_masks(skeleton.leaf_origins, kinds, words, reference)

    def _root(self, chunk: int, predicted_from: NDArray[np.int32]) -> Topology | None:
        """Return the topology that this one is predicted from, if there is any.

        It must be predicted from none itself, so that no chain is long.
        """
        if not len(predicted_from):
            return None
        number, entries = int(predicted_from[0]), self._container.entries
        known = len(predicted_from) == 1 and 0 <= number < chunk
        if not known or entries[number].type != TOPOLOGY:
            found = f"predicted_from holds {predicted_from[:4].tolist()}"
            message = f"topology: {found}, not the number of one {TOPOLOGY} chunk before it"
            raise FormatError("S12", message)
        arrays = unpack_tensors(self._container.chunk(number))
        if len(take(arrays, "predicted_from", np.int32, (None,))):
            found = f"predicted_from holds {number}"
            message = f"topology: {found}, a chunk that is itself predicted from another"
            raise FormatError("S12", message)
        return self[number]
