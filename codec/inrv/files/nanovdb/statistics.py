"""What NanoVDB's nodes tell of the active voxels in them: least and largest value, mean, box.

Vectors are compared by the squares of their lengths, and these are averaged: GridStats.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrv.files.nanovdb.layout import Skeleton
from inrv.files.nanovdb.structs import (
    HAS_AVERAGE,
    HAS_BOX,
    HAS_DEVIATION,
    HAS_RANGE,
    LOWER_BITS,
    SKIPPED,
    UPPER_BITS,
    root_origins,
)
from inrv.grids import LEAF_EDGE


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of the active voxels of some nodes or tiles.

    counts: float64 (n,) of the voxels
    lowest, highest: float32 (n, C) the least and the largest value
    least, largest: float64 (n,) their sizes, by which they are compared
    means: float64 (n,) of the sizes
    squares: float64 (n,) the squares of their distances from the mean, added up
    boxes: int32 (n, 2, 3) lowest and highest corner
    """

    counts: NDArray[np.float64]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    least: NDArray[np.float64]
    largest: NDArray[np.float64]
    means: NDArray[np.float64]
    squares: NDArray[np.float64]
    boxes: NDArray[np.int32]

    @property
    def deviations(self) -> NDArray[np.float64]:
        """The standard deviation of the sizes of each: float64 (n,)."""
        found: NDArray[np.float64] = np.sqrt(self.squares / np.maximum(self.counts, 1))
        return found


def joined(parts: list[Statistics]) -> Statistics:
    """Give the statistics of all parts, one behind the other."""
    names = Statistics.__dataclass_fields__
    return Statistics(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def of_leaves(
    origins: NDArray[np.int32], blocks: NDArray[np.float32], active: NDArray[np.bool_]
) -> Statistics:
    """Give the statistics of leaves.

    origins: int32 (n, 3)
    blocks: float32 (n, 512, C) their values
    active: bool (n, 512)
    """
    sizes, rows = _sizes(blocks), np.arange(len(blocks))
    comparable = active & ~np.isnan(sizes)
    low = np.where(comparable, sizes, np.inf).argmin(axis=1)
    high = np.where(comparable, sizes, -np.inf).argmax(axis=1)
    counts = active.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.where(active, sizes, 0).sum(axis=1) / np.maximum(counts, 1)
        squares = np.where(active, (sizes - means[:, None]) ** 2, 0).sum(axis=1)
    cubes = active.reshape(-1, LEAF_EDGE, LEAF_EDGE, LEAF_EDGE)
    boxes = np.empty((len(blocks), 2, 3), dtype=np.int32)
    for axis, others in enumerate(((2, 3), (1, 3), (1, 2))):
        used = cubes.any(axis=others)
        boxes[:, 0, axis] = origins[:, axis] + used.argmax(axis=1)
        boxes[:, 1, axis] = origins[:, axis] + LEAF_EDGE - 1 - used[:, ::-1].argmax(axis=1)
    return Statistics(
        counts, blocks[rows, low], blocks[rows, high], sizes[rows, low], sizes[rows, high], means,
        squares, boxes,
    )  # fmt: skip


def fill(laid: Skeleton, leaves: Statistics) -> None:
    """Tell lower and upper nodes, root and grid of the voxels in them.

    leaves: statistics of the leaves of the grid, in its order
    """
    lowers = _of_nodes(laid.lowers, leaves, laid.lower_of, LOWER_BITS, 4)
    uppers = _of_nodes(laid.uppers, lowers, laid.upper_of, UPPER_BITS, 5)
    tiles = laid.tiles[(laid.tiles["child"] == 0) & (laid.tiles["state"] != 0)]
    wide = _of_tiles(root_origins(tiles["key"]), tiles["value"], 1 << UPPER_BITS)
    all_of_it = joined([uppers, wide])
    whole = _merged(all_of_it, np.zeros(len(all_of_it.counts), dtype=np.int64), 1)
    _tell(laid.root, whole)
    if not whole.counts[0]:
        laid.root["minimum"] = laid.root["maximum"] = laid.root["background"]
    laid.grid["flags"] |= HAS_RANGE | HAS_AVERAGE | HAS_DEVIATION


def _of_nodes(
    nodes: NDArray[np.void],
    children: Statistics,
    parents: NDArray[np.int64],
    bits: int,
    table_bits: int,
) -> Statistics:
    """Tell nodes of the voxels in them, and give these statistics.

    children: of their children
    parents: which node each child is in
    bits: log2 of the edge of a node
    table_bits: log2 of the entries along an edge
    """
    rows = np.flatnonzero(nodes["values"].any(axis=1))
    active = np.unpackbits(nodes["values"][rows], axis=1, bitorder="little")
    row, entries = np.nonzero(active)
    owners, side = rows[row], (1 << table_bits) - 1
    edge = 1 << bits - table_bits
    local = np.stack([entries >> 2 * table_bits, entries >> table_bits & side, entries & side], 1)
    origins = (nodes["box"][owners, 0] + local * edge).astype(np.int32)
    tiles = _of_tiles(origins, nodes["table"]["value"][owners, entries], edge)
    found = _merged(joined([children, tiles]), np.concatenate([parents, owners]), len(nodes))
    filled = np.flatnonzero(found.counts)
    nodes["flags"] = SKIPPED
    nodes["flags"][filled] = HAS_BOX
    nodes["box"][filled] = found.boxes[filled]
    _tell(nodes, found)
    return found


def _of_tiles(origins: NDArray[np.int32], values: NDArray[np.float32], edge: int) -> Statistics:
    """Give the statistics of tiles, all active and of one edge."""
    sizes, none = _sizes(values), np.zeros(len(values))
    boxes = np.stack([origins, origins + np.int32(edge - 1)], axis=1)
    counts = np.full(len(values), float(edge) ** 3)
    return Statistics(counts, values, values, sizes, sizes, sizes, none, boxes)


def _merged(parts: Statistics, owners: NDArray[np.int64], count: int) -> Statistics:
    """Give the statistics of nodes.

    parts: of what is in them
    owners: int64 (m,) which node each part is in
    count: of the nodes
    """
    filled = np.flatnonzero(parts.counts)
    owners, counts = owners[filled], parts.counts[filled]
    means, squares = parts.means[filled], parts.squares[filled]
    totals = _summed(owners, counts, count)
    with np.errstate(invalid="ignore", over="ignore"):
        averages = _summed(owners, counts * means, count) / np.maximum(totals, 1)
        squares = squares + counts * (means - averages[owners]) ** 2
    boxes = np.empty((count, 2, 3), dtype=np.int32)
    boxes[:, 0], boxes[:, 1] = np.iinfo(np.int32).max, np.iinfo(np.int32).min
    np.minimum.at(boxes[:, 0], owners, parts.boxes[filled, 0])
    np.maximum.at(boxes[:, 1], owners, parts.boxes[filled, 1])
    low = filled[_first(owners, parts.least[filled], count)] if len(filled) else filled
    high = filled[_first(owners, -parts.largest[filled], count)] if len(filled) else filled
    lowest = np.zeros((count, parts.lowest.shape[1]), dtype=np.float32)
    highest, least, largest = lowest.copy(), np.zeros(count), np.zeros(count)
    there = totals > 0
    lowest[there], highest[there] = parts.lowest[low], parts.highest[high]
    least[there], largest[there] = parts.least[low], parts.largest[high]
    return Statistics(
        totals, lowest, highest, least, largest, averages, _summed(owners, squares, count),
        boxes,
    )  # fmt: skip


def _summed(
    owners: NDArray[np.int64], numbers: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Add up the numbers of each node."""
    return np.bincount(owners, numbers, count).astype(np.float64)


def _first(owners: NDArray[np.int64], ranks: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Give the place of the part with the least rank of each node that has parts, by node."""
    order = np.lexsort((ranks, owners))
    found: NDArray[np.int64] = order[np.flatnonzero(np.diff(owners[order], prepend=-1))]
    return found


def _sizes(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give what values (..., C) are compared by: themselves, or the squares of their lengths."""
    wide = values.astype(np.float64)
    found: NDArray[np.float64] = (
        wide[..., 0] if values.shape[-1] == 1 else np.square(wide).sum(axis=-1)
    )
    return found


def _tell(nodes: NDArray[np.void], found: Statistics) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        nodes["minimum"], nodes["maximum"] = found.lowest, found.highest
        nodes["average"], nodes["deviation"] = found.means, found.deviations
