"""Two sparse grids over one box, so that each region in which both hold one value is taken once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.grids import LEAF_EDGE, NODE_EDGE, TILE_EDGES, Box, Grid, Topology, leaf_keys

Pairs = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
Origins = NDArray[np.int32]
LEAVES_AT_ONCE = 2048


def paired_values(a: Grid, b: Grid, box: Box) -> Iterator[Pairs]:
    """Give every voxel of `box` in both grids, part by part.

    A part is the values float64 (n, C) of `a`, those of `b`, and how many voxels hold each pair,
    int64 (n,).
    """
    rest = box.volume
    for edge, origins in joint_cells(a.topology, b.topology):
        touching = origins[clipped_volumes(origins, edge, box) > 0]
        if edge == LEAF_EDGE:
            for part in _parts(touching):
                inside = np.flatnonzero(_voxels_within(part, box))
                mine, theirs = (_values(grid.blocks(part), inside) for grid in (a, b))
                rest -= len(mine)
                yield mine, theirs, np.ones(len(mine), dtype=np.int64)
        elif len(touching):
            counts = clipped_volumes(touching, edge, box)
            rest -= int(counts.sum())
            mine, theirs = (grid.lookup(touching).astype(np.float64) for grid in (a, b))
            yield mine, theirs, counts
    if rest:
        mine, theirs = (grid.background[None].astype(np.float64) for grid in (a, b))
        yield mine, theirs, np.array([rest], dtype=np.int64)


def joint_cells(a: Topology, b: Topology) -> Iterator[tuple[int, Origins]]:
    """Give disjoint cells, outside of which both grids hold their background.

    A part is an edge in voxels and the origins int32 (n, 3) of the cells of that edge. Cells wider
    than a leaf hold one value in each grid: a tile that the other grid divides further is cut up.
    """
    pieces = np.empty((0, 3), dtype=np.int32)
    for edge, child in ((TILE_EDGES[-1], NODE_EDGE), (NODE_EDGE, LEAF_EDGE)):
        cells = _distinct([_tiles(a, edge), _tiles(b, edge), pieces])
        divided = np.zeros(len(cells), dtype=np.bool_)
        if len(cells):
            finer = np.concatenate([_finer(a, edge), _finer(b, edge)])
            divided = np.isin(leaf_keys(cells), leaf_keys(finer // edge * edge))
        children = np.argwhere(np.ones((edge // child,) * 3, dtype=np.bool_)).astype(np.int32)
        pieces = (cells[divided][:, None, :] + children * np.int32(child)).reshape(-1, 3)
        yield edge, cells[~divided]
    tiles = [_tiles(a, LEAF_EDGE), _tiles(b, LEAF_EDGE)]
    yield LEAF_EDGE, _distinct([a.leaf_origins, b.leaf_origins, *tiles, pieces])


def differing_regions(a: Grid, b: Grid, box: Box) -> tuple[Origins, list[Box]]:
    """Find where the grids differ in `box`: origins int32 (n, 3) of 8^3 blocks, wider regions."""
    if not np.array_equal(a.background, b.background):
        return np.empty((0, 3), dtype=np.int32), [box]
    blocks, regions = [np.empty((0, 3), dtype=np.int32)], []
    for edge, origins in joint_cells(a.topology, b.topology):
        touching = origins[clipped_volumes(origins, edge, box) > 0]
        for part in _parts(touching):
            if edge == LEAF_EDGE:
                differs = a.blocks(part) != b.blocks(part)
                blocks.append(part[differs.reshape(len(part), -1).any(axis=1)])
                continue
            differing = part[(a.lookup(part) != b.lookup(part)).any(axis=1)]
            regions += [_cell(edge, *corner) for corner in differing.tolist()]
    return np.concatenate(blocks), regions


def clipped_volumes(origins: Origins, edge: int, box: Box) -> NDArray[np.int64]:
    """Count the voxels that each cell of `edge` at `origins` (n, 3) has in `box`: int64 (n,)."""
    low = np.maximum(origins.astype(np.int64), box.lower)
    high = np.minimum(origins.astype(np.int64) + edge - 1, box.upper)
    sides = np.maximum(high - low + 1, 0)
    volumes: NDArray[np.int64] = sides[:, 0] * sides[:, 1] * sides[:, 2]
    return volumes


def _parts(origins: Origins) -> Iterator[Origins]:
    """Cut origins into parts of so many cells as are compared at a time."""
    for first in range(0, len(origins), LEAVES_AT_ONCE):
        yield origins[first : first + LEAVES_AT_ONCE]


def _voxels_within(origins: Origins, box: Box) -> NDArray[np.bool_]:
    """Tell which voxels of the blocks at `origins` (n, 3) lie in `box`: bool (n, 8, 8, 8)."""
    steps = np.arange(LEAF_EDGE)
    x, y, z = (
        (origins[:, axis, None] + steps >= lower) & (origins[:, axis, None] + steps <= upper)
        for axis, (lower, upper) in enumerate(zip(box.lower, box.upper, strict=True))
    )
    inside: NDArray[np.bool_] = x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]
    return inside


def _values(blocks: NDArray[np.float32], voxels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take the values float64 (n, C) of some voxels (n,) of blocks (m, 512, C)."""
    return blocks.reshape(-1, blocks.shape[2]).take(voxels, axis=0).astype(np.float64)


def _cell(edge: int, x: int, y: int, z: int) -> Box:
    return Box((x, y, z), (x + edge - 1, y + edge - 1, z + edge - 1))


def _tiles(topology: Topology, edge: int) -> Origins:
    origins: Origins = topology.tile_origins[topology.tile_edges == edge]
    return origins


def _finer(topology: Topology, edge: int) -> Origins:
    """Give the origins of everything in the tree that is narrower than `edge`."""
    tiles = topology.tile_origins[topology.tile_edges < edge]
    return np.concatenate([topology.leaf_origins, tiles])


def _distinct(parts: list[NDArray[Any]]) -> Origins:
    """Join origins, in key order, each once."""
    origins = np.concatenate(parts)
    _, first = np.unique(leaf_keys(origins), return_index=True)
    distinct: Origins = origins[first]
    return distinct
