"""Positions of 8^3 blocks, listed by the nodes of 16^3 blocks that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import FormatError
from inrv.grids import COORDINATE_LIMIT, LEAF_EDGE, TILE_EDGES, leaf_keys
from inrv.grids.blocks import NODE_EDGE

CHILDREN = (NODE_EDGE // LEAF_EDGE) ** 3  # blocks of a node
CHILD_BITS = CHILDREN.bit_length() - 1  # at the end of a block's key: its number in its node
NODE_BYTES = CHILDREN // 8
FARTHEST = COORDINATE_LIMIT - TILE_EDGES[-1]  # coordinate of an origin
PART_NODES = 1 << 10


def pack_nodes(origins: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return the nodes that hold some blocks.

    origins: int32 (L, 3) lowest corners of the blocks, multiples of 8, in key order
    Returns the nodes' lowest corners int32 (D, 3), in key order, and for each a mask of its blocks
    uint8 (D, 512).
    """
    keys = leaf_keys(origins)
    _, first, node = np.unique(keys >> CHILD_BITS, return_index=True, return_inverse=True)
    children = np.zeros((len(first), CHILDREN), dtype=np.bool_)
    children[node, keys & (CHILDREN - 1)] = True
    corners = origins[first] // NODE_EDGE * NODE_EDGE
    return corners, np.packbits(children, axis=1, bitorder="little")


def unpack_nodes(corners: NDArray[np.int32], masks: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the origins int32 (L, 3) of the blocks of some nodes.

    corners: int32 (D, 3) lowest corners of the nodes
    masks: uint8 (D, 512) the blocks of each
    Raises FormatError for corners that the format forbids.
    """
    check_origins("S4", "node origins", corners, NODE_EDGE)
    keys = leaf_keys(corners)
    if (keys[1:] <= keys[:-1]).any():
        message = "topology: node origins are not in ascending key order, or one stands twice"
        raise FormatError("S4", message)
    origins = [corners[:0]]
    for first, part in _parts(masks):
        node, child = np.unpackbits(part, axis=1, bitorder="little").nonzero()
        local = np.stack([child >> 8, (child >> 4) & 15, child & 15], axis=1) * LEAF_EDGE
        origins.append((corners[first + node] + local).astype(np.int32))
    return np.concatenate(origins)


def count_bits(masks: NDArray[np.uint8]) -> int:
    """Return how many bits are set in masks uint8 (D, any)."""
    return sum(int(np.unpackbits(part).sum(dtype=np.int64)) for _, part in _parts(masks))


def _parts(masks: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the masks of some nodes and the number of the first.

    Masks take eight times the memory when they are unpacked.
    """
    for first in range(0, len(masks), PART_NODES):
        yield first, masks[first : first + PART_NODES]


def check_origins(
    id: str, name: str, origins: NDArray[np.int32], edges: NDArray[np.int32] | int
) -> None:
    """Check that origins are multiples of edges and not too far away.

    id: the condition of the specification that an error is of
    name: what messages call the origins
    origins: int32 (n, 3)
    edges: int32 (n, 1) of each, or one of all
    Raises FormatError.
    """
    wide: NDArray[Any] = origins.astype(np.int64)
    if (wide % edges).any():
        raise FormatError(id, f"topology: {name} hold a value that is not a multiple of the edge")
    if (np.abs(wide) > FARTHEST).any():
        raise FormatError(id, f"topology: {name} hold a coordinate beyond +-{FARTHEST}")
