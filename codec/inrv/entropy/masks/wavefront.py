"""Which voxels are coded together, and where the neighbours of a voxel are looked up.

Voxel (x, y, z) of a 128^3 node belongs to the front 4 x + 2 y + z: all voxels before it in x, y and
z, and some to its sides, belong to earlier fronts, so that a front is coded at once. All nodes
advance together.

For every voxel of a leaf a byte says which of the five voxels from z - 2 to z + 2 are known to be
active: bit j stands for z + j - 2. Such a byte is read where a context needs several voxels beside
one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from inrv.entropy.masks.constants import REACH, VOXELS
from inrv.entropy.masks.kernels import gather_front, mark

Index = NDArray[np.int64]

FRONT_X, FRONT_Y, FRONT_Z = 4, 2, 1
# (dx, dy) of the bytes that are read for a voxel.
ROWS = ((0, 0), (0, -1), (0, -2), (-1, -1), (-1, 0), (-1, 1), (-2, 0))
LARGEST_BATCH = 1 << 16  # voxels coded between two updates of the statistics

_x, _y, _z = (axis.reshape(-1) for axis in np.meshgrid(*[np.arange(8)] * 3, indexing="ij"))
OFFSET_FRONT = FRONT_X * _x + FRONT_Y * _y + FRONT_Z * _z
LAST_OFFSET_FRONT = int(OFFSET_FRONT[-1])
# Leaves that ROWS reach, and their place in a table.
_SIDES = tuple((dx, dy) for dx in (-1, 0) for dy in (-1, 0, 1))


def _row_tables() -> tuple[Index, Index]:
    """For each row and offset: which of _SIDES holds it, and at which offset."""
    sides, offsets = [], []
    for dx, dy in ROWS:
        x, y = _x + dx, _y + dy
        sides.append(((x >> 3) + 1) * 3 + (y >> 3) + 1)
        offsets.append(((x & 7) << 6) | ((y & 7) << 3) | _z)
    return np.array(sides, dtype=np.int64), np.array(offsets, dtype=np.int64)


def _reach_tables() -> tuple[Index, Index]:
    """For each bit j and offset: the byte whose bit j is this voxel.

    Returns its leaf, 0 below, 1 itself, 2 above, and its offset.
    """
    z = _z[None, :] - (np.arange(2 * REACH + 1)[:, None] - REACH)
    return (z >> 3) + 1, (_x << 6) | (_y << 3) | (z & 7)


ROW_SIDE, ROW_OFFSET = _row_tables()
REACH_SIDE, REACH_OFFSET = _reach_tables()
# Bytes of a leaf whose every voxel is active, and what such a leaf adds to the one above and the
# one below it.
_bits = np.arange(2 * REACH + 1)
_there = _z[:, None] + _bits - REACH
_WITHIN, _BELOW, _ABOVE = (
    (where << _bits).sum(axis=1).astype(np.uint8)
    for where in ((_there >= 0) & (_there < 8), _there < 0, _there > 7)
)


class Leaves:
    """What is known of the leaves while their mixed ones are coded.

    origins: int32 (L, 3) of the leaves, multiples of 8
    full: bool (L,) whose voxels are all active
    mixed: int64 (M,) ascending indices of the leaves that are coded
    """

    def __init__(self, origins: NDArray[np.int32], full: NDArray[np.bool_], mixed: Index) -> None:
        self.mixed = mixed
        blocks = np.concatenate([origins.astype(np.int64) >> 3, _ghosts(origins, mixed)])
        find = BlockFinder(blocks)
        # A leaf that is read as inactive, and one that only takes what is lost.
        nowhere, nothing = len(blocks), len(blocks) + 1
        own = blocks[mixed]
        sides = [find(own + np.array([dx, dy, 0]), nowhere) for dx, dy in _SIDES]
        self.rows = (np.stack(sides, axis=1) * VOXELS).reshape(-1)
        columns = [find(own + np.array([0, 0, dz]), nothing) for dz in (-1, 0, 1)]
        self.columns = (np.stack(columns, axis=1) * VOXELS).reshape(-1)
        self.bytes = _initial_bytes(blocks, full, find).reshape(-1)
        self.first_fronts = (8 * (own & 15)) @ np.array([FRONT_X, FRONT_Y, FRONT_Z])

    def batches(self) -> Iterator[Index]:
        """Voxels of the mixed leaves as leaf * 512 + offset.

        They come by front, then by the leaf's first front, by leaf and by offset.
        """
        order = np.argsort(self.first_fronts, kind="stable")
        starts = self.first_fronts[order]
        offsets = np.argsort(OFFSET_FRONT, kind="stable")
        ends = np.searchsorted(OFFSET_FRONT[offsets], np.arange(LAST_OFFSET_FRONT + 2))
        voxels = np.empty(len(order) * int(np.diff(ends).max()), dtype=np.int64)
        for front in range(int(starts[-1]) + LAST_OFFSET_FRONT + 1 if len(starts) else 0):
            count = gather_front(front, order, starts, offsets, ends, voxels)
            for first in range(0, count, LARGEST_BATCH):
                yield voxels[first : min(count, first + LARGEST_BATCH)]

    def mark(self, voxels: Index, active: NDArray[np.bool_]) -> None:
        """Make it known which of `voxels` are active."""
        mark(voxels, active, self.bytes, self.columns, REACH_SIDE, REACH_OFFSET)

    def masks(self) -> NDArray[np.uint8]:
        """The masks uint8 (M, 64) of the mixed leaves, as far as they are known."""
        own = self.bytes.reshape(-1, VOXELS)[self.mixed]
        return np.packbits((own >> REACH) & 1, axis=1, bitorder="little")


class BlockFinder:
    """Looks up blocks int64 (n, 3), leaf coordinates / 8, in a list of distinct ones."""

    def __init__(self, blocks: Index) -> None:
        keys = _keys(blocks)
        self.order = np.argsort(keys)
        self.keys = keys[self.order]

    def __call__(self, blocks: Index, missing: int) -> Index:
        """The index of each block, `missing` where it is not there."""
        if not len(self.keys):
            return np.full(len(blocks), missing, dtype=np.int64)
        keys = _keys(blocks)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found: Index = np.where(self.keys[at] == keys, self.order[at], missing)
        return found


def _keys(blocks: Index) -> Index:
    x, y, z = (blocks + (1 << 20)).T
    keys: Index = (x << 42) | (y << 21) | z
    return keys


def _ghosts(origins: NDArray[np.int32], mixed: Index) -> Index:
    """Blocks int64 (G, 3) that are no leaves, though some of their bytes are not 0.

    They lie beside a mixed leaf and over or under a leaf.
    """
    blocks = origins.astype(np.int64) >> 3
    find = BlockFinder(blocks)
    beside = np.concatenate([blocks[mixed] + np.array([dx, dy, 0]) for dx, dy in _SIDES])
    beside = beside[find(beside, -1) < 0]
    reached = np.zeros(len(beside), dtype=bool)
    for dz in (-1, 1):
        reached |= find(beside + np.array([0, 0, dz]), -1) >= 0
    ghosts: Index = np.unique(beside[reached], axis=0)
    return ghosts


def _initial_bytes(blocks: Index, full: NDArray[np.bool_], find: BlockFinder) -> NDArray[np.uint8]:
    """Bytes uint8 (blocks + 2, 512) before any mixed leaf is known."""
    known = np.zeros(len(blocks) + 1, dtype=bool)
    known[: len(full)] = full
    result = np.zeros((len(blocks) + 2, VOXELS), dtype=np.uint8)
    for dz, pattern in ((0, _WITHIN), (-1, _BELOW), (1, _ABOVE)):
        reached = known[find(blocks + np.array([0, 0, dz]), len(blocks))]
        result[:-2][reached] |= pattern
    return result


def predictions_of(origins: NDArray[np.int32], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Seven bits uint8 (L, 512) of a reference mask for each voxel.

    They are the voxel itself and its neighbours at +x, +y, +z, -x, -y and -z.

    origins: int32 (L, 3) of the leaves
    reference: uint8 (L, 64) masks of the same leaves
    """
    blocks = origins.astype(np.int64) >> 3
    find = BlockFinder(blocks)
    cells = np.unpackbits(reference, axis=1, bitorder="little").reshape(-1, 8, 8, 8)
    outside = np.zeros((1, 8, 8, 8), dtype=np.uint8)
    cells = np.concatenate([cells, outside])
    result: NDArray[np.uint8] = cells[:-1].copy()
    for direction, axis in itertools.product((1, -1), range(3)):
        shift = direction * np.eye(3, dtype=np.int64)[axis]
        beyond = cells[find(blocks + shift, len(blocks))]
        moved = np.roll(cells[:-1], -direction, axis=axis + 1)
        edge: list[slice | int] = [slice(None)] * 4
        edge[axis + 1] = 7 if direction > 0 else 0
        moved[tuple(edge)] = np.roll(beyond, -direction, axis=axis + 1)[tuple(edge)]
        result = ((result << 1) | moved).astype(np.uint8)
    return result.reshape(-1, VOXELS)
