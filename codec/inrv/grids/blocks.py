"""The 8^3 blocks of voxels that leaves are: sizes, the order of their keys, bit masks.

A coordinate is looked up by a key of 63 bits: 17 bits an axis for the 128^3 node it lies in, then
4 bits an axis for the leaf inside the node, so that sorted keys are OpenVDB's own order of leaves.
A *place* names a voxel of a leaf, active or not: index of the leaf * 512 + offset inside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import SelectionError

LEAF_EDGE = 8
LEAF_VOXELS = LEAF_EDGE**3
MASK_BYTES = LEAF_VOXELS // 8
NODE_EDGE = 128
TILE_EDGES = (LEAF_EDGE, NODE_EDGE, 4096)
COORDINATE_LIMIT = 1 << 23  # beyond it float32 loses whole voxels
PART_LEAVES = 1 << 15  # leaves whose masks are unpacked at a time

_EDGE_BITS = 3  # of a coordinate, inside its leaf
_CHILD_BITS = 4  # of a leaf's place inside its node, an axis
_NODE_BITS = 17  # of a node's place, an axis
CELL_BITS = 3 * _CHILD_BITS  # of a key: where its leaf lies in the node of 128^3
_CHILD_SHIFTS = (2 * _CHILD_BITS, _CHILD_BITS, 0)
_NODE_SHIFTS = tuple(CELL_BITS + axis * _NODE_BITS for axis in (2, 1, 0))


def leaf_keys(coordinates: NDArray[Any]) -> NDArray[np.int64]:
    """Give the sort keys int64 (N,) of the leaves that hold some coordinates.

    coordinates: integers (N, 3), each |c| < 2^23
    """
    keys = np.zeros(len(coordinates), dtype=np.int64)
    for axis in range(3):
        block = coordinates[:, axis].astype(np.int64)
        block += COORDINATE_LIMIT
        block >>= _EDGE_BITS
        keys |= (block >> _CHILD_BITS) << _NODE_SHIFTS[axis]
        block &= (1 << _CHILD_BITS) - 1
        keys |= block << _CHILD_SHIFTS[axis]
    return keys


def leaf_offsets(coordinates: NDArray[Any]) -> NDArray[np.int64]:
    """Give the offsets int64 (N,), x * 64 + y * 8 + z, of coordinates inside their leaf.

    coordinates: integers (N, 3)
    """
    offsets = np.zeros(len(coordinates), dtype=np.int64)
    for axis in range(3):
        offsets <<= _EDGE_BITS
        offsets |= coordinates[:, axis].astype(np.int64) & (LEAF_EDGE - 1)
    return offsets


def offset_coordinates() -> NDArray[np.int64]:
    """Give the local coordinates int64 (512, 3) of the 512 offsets of a leaf."""
    return np.argwhere(np.ones((LEAF_EDGE,) * 3, dtype=np.bool_))


def check_range(coordinates: NDArray[Any]) -> None:
    """Raise SelectionError where a coordinate lies outside the range in which keys are unique."""
    limit = COORDINATE_LIMIT - TILE_EDGES[-1]
    farthest = max(int(coordinates.max()), -int(coordinates.min())) if coordinates.size else 0
    if farthest > limit:
        raise SelectionError(
            f"voxel coordinate {farthest} is beyond +-{limit}: "
            "translate the grid nearer the origin of index space"
        )


def pack_masks(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Turn bool masks (L, 512) into bytes (L, 64): bit b of byte j is offset 8 j + b."""
    return np.packbits(masks.reshape(-1, LEAF_VOXELS), axis=1, bitorder="little")


def unpack_masks(packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Turn masks of bytes (L, 64) into bool (L, 512)."""
    return np.unpackbits(packed, axis=1, bitorder="little").view(np.bool_)


def masks_at_multiples(
    origins: NDArray[Any], masks: NDArray[np.uint8], level: int
) -> NDArray[np.uint8]:
    """Give masks uint8 (L, 64) of the voxels at multiples of 2^level that are set in `masks`.

    origins: integers (L, 3) of the leaves
    """
    stride = 1 << level
    chosen = pack_masks((offset_coordinates() % stride == 0).all(axis=1))
    leaves = (origins % max(stride, LEAF_EDGE) == 0).all(axis=1)
    found: NDArray[np.uint8] = masks & np.where(leaves[:, None], chosen, np.uint8(0))
    return found


def mask_places(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Give the places int64 (M,) of every bit that is set in masks uint8 (L, 64), ascending."""
    parts = [
        np.flatnonzero(unpack_masks(packed[first:last])) + first * LEAF_VOXELS
        for first, last in leaf_parts(0, len(packed))
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def byte_counts(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Count the bits that are set in each byte of masks uint8 (L, 64): uint8 (L, 64)."""
    words = np.ascontiguousarray(packed).view(np.uint64)
    pairs = words - ((words >> _ONE) & _PAIRS)
    fours = (pairs & _FOURS) + ((pairs >> _TWO) & _FOURS)
    counts: NDArray[np.uint64] = (fours + (fours >> _FOUR)) & _BYTES
    return counts.view(np.uint8)


_ONE, _TWO, _FOUR = (np.uint64(bits) for bits in (1, 2, 4))
_PAIRS, _FOURS, _BYTES = (np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f"))


def leaf_parts(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Give the leaves first to last a part at a time: a mask takes 512 bytes while unpacked."""
    for start in range(first, last, PART_LEAVES):
        yield start, min(start + PART_LEAVES, last)


def ragged(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the ranges first[i], first[i] + 1, ... of counts[i] indices: int64 (counts.sum(),)."""
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    steps: NDArray[np.int64] = np.repeat(first - (ends - counts), counts)
    return np.arange(total, dtype=np.int64) + steps


def block_coordinates(origins: NDArray[Any]) -> NDArray[np.int64]:
    """Give the coordinates int64 (n * 512, 3) of every voxel of the blocks at `origins` (n, 3)."""
    corners = origins.astype(np.int64)[:, None, :]
    coordinates: NDArray[np.int64] = (corners + offset_coordinates()).reshape(-1, 3)
    return coordinates


def every_component(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell for each row of flags bool (N, C) whether all C hold: bool (N,).

    NumPy's `all` takes ten times as long over so short an axis.
    """
    result = flags[:, 0].copy()
    for column in flags.T[1:]:
        result &= column
    return result
