"""Portions of a grid: what lies in a box, and every 2^n-th voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import SelectionError
from inrv.grids.blocks import (
    LEAF_EDGE,
    LEAF_VOXELS,
    TILE_EDGES,
    leaf_keys,
    leaf_offsets,
    pack_masks,
    ragged,
    unpack_masks,
)
from inrv.grids.box import Box
from inrv.grids.grid import Grid, LeafValues
from inrv.grids.topology import Topology
from inrv.grids.transform import Transform

MOST_PIECES = 1 << 26  # that tiles are cut into

Ints = NDArray[np.int64]


def cropped(grid: Grid, box: Box | None) -> Grid:
    """The grid with the voxels of `box` alone; all others have the background; no box, no voxel.

    Tiles that cross the box are cut into smaller ones and into voxels. Raises SelectionError where
    these are too many.
    """
    if box is None:
        nothing = LeafValues.none(grid.components)
        empty = {"values": nothing.values, "tile_values": nothing.values, "inactive": nothing}
        return replace(grid, topology=Topology.empty(), **empty)  # type: ignore[arg-type]
    lower, upper = np.array(box.lower, dtype=np.int64), np.array(box.upper, dtype=np.int64)
    topology, inactive = grid.topology, grid.inactive
    leaves = topology.find_leaves(box.leaves_within(topology.leaf_origins))
    origins = topology.leaf_origins[leaves].astype(np.int64)
    along = np.arange(LEAF_EDGE)
    inside = [
        (origins[:, axis, None] + along >= lower[axis])
        & (origins[:, axis, None] + along <= upper[axis])
        for axis in range(3)
    ]
    chosen = inside[0][:, :, None, None] & inside[1][:, None, :, None] & inside[2][:, None, None]
    chosen = chosen.reshape(-1, LEAF_VOXELS)
    masks = unpack_masks(topology.leaf_masks[leaves])
    values = grid.values[ragged(topology.starts[leaves], topology.counts[leaves])][chosen[masks]]
    others = inactive.subset(leaves)
    kept = chosen.reshape(-1)[others.places]
    others = LeafValues(others.places[kept], others.values[kept])
    masks &= chosen
    held = masks.any(axis=1)
    held[others.places // LEAF_VOXELS] = True
    own = Topology.from_leaves(origins, masks)
    trunk = replace(
        grid, topology=own, values=values, inactive=others, tile_values=grid.tile_values[:0]
    )
    if not held.all():
        left = np.flatnonzero(held)
        trunk = replace(trunk, topology=own.subset(left), inactive=others.subset(left))
    ends = topology.tile_origins + topology.tile_edges[:, None].astype(np.int64)
    pieces = _Pieces.of(
        np.maximum(topology.tile_origins, lower), np.minimum(ends, upper + 1), topology.tile_active
    )
    return _joined(trunk, pieces.grid(grid, grid.tile_values))


def at_level(grid: Grid, values: NDArray[np.float32], level: int) -> Grid:
    """The grid of every 2^level-th voxel of another one; its voxels are as much wider.

    grid: the other one, whose values are not asked for
    values: float32 (n, C) of its active leaf voxels at multiples of 2^level
    """
    topology, stride = grid.topology, 1 << level
    coordinates = topology.at_multiples(level).coordinates() >> level
    places = grid.inactive.places
    others = topology.coordinates_of(places)
    kept = (others & (stride - 1) == 0).all(axis=1)
    origins = topology.tile_origins.astype(np.int64)
    ends = origins + topology.tile_edges[:, None]
    pieces = _Pieces.of(-(-origins >> level), -(-ends >> level), topology.tile_active)
    matrix = np.diag([stride, stride, stride, 1.0]) @ grid.transform.array()
    scaled = replace(grid, transform=Transform(_scaled_map(grid), matrix))  # type: ignore[arg-type]
    return pieces.grid(
        scaled,
        grid.tile_values,
        (coordinates, values),
        (others[kept] >> level, grid.inactive.values[kept]),
    )


def _scaled_map(grid: Grid) -> str:
    """The kind of a transform once its voxels are wider."""
    kind = grid.transform.map_type
    return {"TranslationMap": "UniformScaleTranslateMap", "UnitaryMap": "AffineMap"}.get(kind, kind)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Boxes, each of one value, as tiles and voxels.

    corners: int64 (T, 3) of the tiles
    edges: int32 (T,)
    tiles: int64 (T,) number of the box that each is of
    coordinates: int64 (n, 3) of the voxels
    voxels: int64 (n,) number of the box that each is of
    active: bool (boxes,)
    """

    corners: Ints
    edges: NDArray[np.int32]
    tiles: Ints
    coordinates: Ints
    voxels: Ints
    active: NDArray[np.bool_]

    @staticmethod
    def of(lower: Ints, upper: Ints, active: NDArray[np.bool_]) -> _Pieces:
        """Cut boxes: `lower` is included, `upper` is not; those that are empty give nothing."""
        held = np.flatnonzero((lower < upper).all(axis=1))
        rest = [(lower[held].astype(np.int64), upper[held].astype(np.int64), held)]
        cubes = list[tuple[int, Boxes]]()
        for edge in reversed(TILE_EDGES):
            rest, whole = _cut(rest, edge)
            cubes.append((edge, whole))
        _check_count([*rest, *(box for _, boxes in cubes for box in boxes)])
        corners, tiles, edges = [], [], []
        for edge, boxes in cubes:
            cells, owners = _cells(boxes)
            corners.append(cells * edge)
            tiles.append(owners)
            edges.append(np.full(len(cells), edge, dtype=np.int32))
        joined = np.concatenate(corners), np.concatenate(edges), np.concatenate(tiles)
        return _Pieces(*joined, *_cells(rest), active)

    def grid(
        self,
        like: Grid,
        values: NDArray[np.float32],
        active: tuple[NDArray[Any], NDArray[np.float32]] | None = None,
        inactive: tuple[NDArray[Any], NDArray[np.float32]] | None = None,
    ) -> Grid:
        """The pieces and single voxels as a grid.

        like: has its name, transform and the rest
        values: float32 (boxes, C)
        active, inactive: coordinates (n, 3) of voxels, and their values (n, C)
        """
        nothing = np.empty((0, 3), dtype=np.int64), np.empty((0, like.components), np.float32)
        active, inactive = active or nothing, inactive or nothing
        on = self.active[self.voxels]
        own = values[self.voxels]
        coordinates = np.concatenate(
            [active[0], self.coordinates[on], inactive[0], self.coordinates[~on]]
        )
        found = np.concatenate([active[1], own[on], inactive[1], own[~on]])
        is_active = np.arange(len(found)) < len(active[0]) + np.count_nonzero(on)
        keys = leaf_keys(coordinates)
        runs = np.flatnonzero(np.diff(keys, prepend=-1))  # of voxels of one leaf: few to sort
        _, firsts, leaf = np.unique(keys[runs], return_index=True, return_inverse=True)
        lengths = np.diff(np.append(runs, len(keys)))
        places = np.repeat(leaf.reshape(-1), lengths) * LEAF_VOXELS + leaf_offsets(coordinates)
        masks, others = np.zeros((2, len(firsts) * LEAF_VOXELS), dtype=np.bool_)
        masks[places[is_active]] = True
        others[places[~is_active]] = True
        blocks = np.empty((len(masks), like.components), dtype=np.float32)
        blocks[places] = found
        topology = Topology(
            (coordinates[runs[firsts]] // LEAF_EDGE * LEAF_EDGE).astype(np.int32).reshape(-1, 3),
            pack_masks(masks),
            self.corners.astype(np.int32),
            self.edges,
            self.active[self.tiles],
        )
        return replace(
            like,
            topology=topology,
            values=blocks[masks],
            tile_values=values[self.tiles],
            inactive=LeafValues(np.flatnonzero(others), blocks[others]),
        )


Boxes = list[tuple[Ints, Ints, Ints]]  # lower corners, upper ones, excluded, and owners


def _cut(boxes: Boxes, edge: int) -> tuple[Boxes, Boxes]:
    """Cut off what is no whole cube of an edge: the rest, and the others in multiples of it."""
    rest, whole = [], []
    for lower, upper, owner in boxes:
        low, high = -(-lower // edge) * edge, upper // edge * edge
        has = (low < high).all(axis=1)
        rest.append((lower[~has], upper[~has], owner[~has]))
        lower, upper, owner, low, high = (a[has] for a in (lower, upper, owner, low, high))
        whole.append((low // edge, high // edge, owner))
        lower, upper = lower.copy(), upper.copy()
        for axis in range(3):
            for first, last in ((lower, low), (high, upper)):
                slab = lower.copy(), upper.copy()
                slab[0][:, axis], slab[1][:, axis] = first[:, axis], last[:, axis]
                thick = first[:, axis] < last[:, axis]
                rest.append((slab[0][thick], slab[1][thick], owner[thick]))
            lower[:, axis], upper[:, axis] = low[:, axis], high[:, axis]
    return [boxes for boxes in rest if len(boxes[2])], whole


def _check_count(boxes: Boxes) -> None:
    """Raise SelectionError where boxes have too many voxels to be listed."""
    shapes = (shape for lower, upper, _ in boxes for shape in (upper - lower).tolist())
    pieces = sum(map(math.prod, shapes))
    if pieces > MOST_PIECES:
        raise SelectionError(
            f"tiles would be cut into {pieces:,} pieces, more than {MOST_PIECES:,}: choose a box "
            "that lies better on multiples of 8, 128 or 4096"
        )


def _cells(boxes: Boxes) -> tuple[Ints, Ints]:
    """The coordinates int64 (n, 3) of every voxel of boxes, and the owner of each."""
    cells, owners = [np.empty((0, 3), dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for lower, upper, owner in boxes:
        shape = upper - lower
        counts = shape.prod(axis=1)
        box = np.repeat(np.arange(len(owner)), counts)
        at = ragged(np.zeros(len(counts), dtype=np.int64), counts)
        depth, height = shape[box, 2], shape[box, 1]
        place = np.stack([at // depth // height, at // depth % height, at % depth], axis=1)
        cells.append(lower[box] + place)
        owners.append(owner[box])
    return np.concatenate(cells), np.concatenate(owners)


def _joined(one: Grid, other: Grid) -> Grid:
    """Both grids together, which share no leaf; the tiles of the other."""
    if not other.topology.leaf_count:
        topology = replace(
            other.topology,
            leaf_origins=one.topology.leaf_origins,
            leaf_masks=one.topology.leaf_masks,
        )
        return replace(one, topology=topology, tile_values=other.tile_values)
    origins = np.concatenate([one.topology.leaf_origins, other.topology.leaf_origins])
    order = Topology.order_of(origins)
    masks = np.concatenate([one.topology.leaf_masks, other.topology.leaf_masks])[order]
    starts = [one.topology.starts[:-1], other.topology.starts[:-1] + len(one.values)]
    counts = np.concatenate([one.topology.counts, other.topology.counts])[order]
    values = np.concatenate([one.values, other.values])[
        ragged(np.concatenate(starts)[order], counts)
    ]
    places = [one.inactive.places, other.inactive.places + one.topology.leaf_count * LEAF_VOXELS]
    inactive = LeafValues(
        np.concatenate(places), np.concatenate([one.inactive.values, other.inactive.values])
    )
    rows, leaf = inactive.of_leaves(order)
    return replace(
        one,
        topology=replace(other.topology, leaf_origins=origins[order], leaf_masks=masks),
        values=values,
        tile_values=other.tile_values,
        inactive=LeafValues(
            leaf * LEAF_VOXELS + inactive.places[rows] % LEAF_VOXELS, inactive.values[rows]
        ),
    )
