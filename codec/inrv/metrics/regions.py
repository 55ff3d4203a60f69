"""Two sparse grids over one box: the parts in which they hold more than one value each, and the rest counted."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from inrv.grids import Box, Grid, Topology
from inrv.grids.grid import block_coordinates
from inrv.grids.topology import LEAF_EDGE, leaf_keys

Pairs = tuple[Tensor, Tensor, Tensor]
LEAVES_AT_ONCE = 2048


def paired_values(a: Grid, b: Grid, box: Box) -> Iterator[Pairs]:
    """Every voxel of `box` in both grids: values float64 (n, C) of `a`, of `b`, and how many voxels hold them, int64 (n,)."""
    rest = box.volume
    for edge, origins in joint_cells(a.topology, b.topology):
        touching = origins[clipped_volumes(origins, edge, box) > 0]
        if edge == LEAF_EDGE:
            for part in touching.split(LEAVES_AT_ONCE):
                inside = box.contains(block_coordinates(part))
                values = [grid.blocks(part).flatten(0, 1)[inside].double() for grid in (a, b)]
                rest -= len(values[0])
                yield values[0], values[1], torch.ones(len(values[0]), dtype=torch.int64)
        elif len(touching):
            counts = clipped_volumes(touching, edge, box)
            rest -= int(counts.sum())
            yield a.lookup(touching).double(), b.lookup(touching).double(), counts
    if rest:
        yield a.background[None].double(), b.background[None].double(), torch.tensor([rest], dtype=torch.int64)


def joint_cells(a: Topology, b: Topology) -> Iterator[tuple[int, Tensor]]:
    """Disjoint cells, as (edge, origins int32 (n, 3)), outside of which both grids hold their background.

    Cells wider than a leaf hold one value in each grid: a tile that the other grid divides further is cut up.
    """
    pieces = a.leaf_origins.new_empty((0, 3))
    for edge, child in ((4096, 128), (128, LEAF_EDGE)):
        cells = _distinct(torch.cat([_tiles(a, edge), _tiles(b, edge), pieces]))
        finer = torch.cat([_finer(a, edge), _finer(b, edge)])
        divided = torch.isin(leaf_keys(cells), leaf_keys(finer // edge * edge))
        steps = torch.arange(0, edge, child, dtype=torch.int32)
        pieces = (cells[divided][:, None, :] + torch.cartesian_prod(steps, steps, steps)).reshape(-1, 3)
        yield edge, cells[~divided]
    leaves = [a.leaf_origins, b.leaf_origins, _tiles(a, LEAF_EDGE), _tiles(b, LEAF_EDGE), pieces]
    yield LEAF_EDGE, _distinct(torch.cat(leaves))


def differing_regions(a: Grid, b: Grid, box: Box) -> tuple[Tensor, list[Box]]:
    """Where the grids differ in `box`: origins int32 (n, 3) of 8^3 blocks, and wider regions."""
    if not torch.equal(a.background, b.background):
        return a.topology.leaf_origins.new_empty((0, 3)), [box]
    blocks, regions = [a.topology.leaf_origins.new_empty((0, 3))], []
    for edge, origins in joint_cells(a.topology, b.topology):
        touching = origins[clipped_volumes(origins, edge, box) > 0]
        for part in touching.split(LEAVES_AT_ONCE):
            if edge == LEAF_EDGE:
                blocks.append(part[(a.blocks(part) != b.blocks(part)).flatten(1).any(dim=1)])
                continue
            differing = part[(a.lookup(part) != b.lookup(part)).any(dim=1)]
            regions += [Box((x, y, z), (x + edge - 1, y + edge - 1, z + edge - 1)) for x, y, z in differing.tolist()]
    return torch.cat(blocks), regions


def clipped_volumes(origins: Tensor, edge: int, box: Box) -> Tensor:
    """Voxels that each cell of `edge` at `origins` (n, 3) has within `box`, int64 (n,)."""
    low = torch.maximum(origins.long(), torch.tensor(box.lower, dtype=torch.int64))
    high = torch.minimum(origins.long() + edge - 1, torch.tensor(box.upper, dtype=torch.int64))
    return (high - low + 1).clamp_min(0).prod(dim=1)


def _tiles(topology: Topology, edge: int) -> Tensor:
    return topology.tile_origins[topology.tile_edges == edge]


def _finer(topology: Topology, edge: int) -> Tensor:
    """Origins of everything in the tree that is narrower than `edge`."""
    return torch.cat([topology.leaf_origins, topology.tile_origins[topology.tile_edges < edge]])


def _distinct(origins: Tensor) -> Tensor:
    keys, order = leaf_keys(origins).sort()
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    return origins[order[first]]
