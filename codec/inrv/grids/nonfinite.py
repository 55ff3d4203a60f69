"""Grids without NaN and infinity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inrv.grids.blocks import LEAF_VOXELS, every_component, pack_masks, unpack_masks
from inrv.grids.grid import Grid, LeafValues


def without_nonfinite(grid: Grid) -> Grid:
    """Make voxels and tiles whose value is not finite inactive, with the background as value.

    A vector is finite where all its components are. Leaves that are left without an active voxel
    are left out, unless inactive voxels of theirs have other values than the background.
    """
    return _without_voxels(_without_tiles(grid))


def _without_tiles(grid: Grid) -> Grid:
    """Drop the tiles whose value is not finite."""
    fine = every_component(np.isfinite(grid.tile_values))
    if fine.all():
        return grid
    topology = grid.topology
    left = replace(
        topology,
        tile_origins=topology.tile_origins[fine],
        tile_edges=topology.tile_edges[fine],
        tile_active=topology.tile_active[fine],
    )
    return replace(grid, topology=left, tile_values=grid.tile_values[fine])


def _without_voxels(grid: Grid) -> Grid:
    """Drop the voxels whose value is not finite, and the leaves that hold nothing then."""
    fine = every_component(np.isfinite(grid.values))
    beside = every_component(np.isfinite(grid.inactive.values))
    inactive = LeafValues(grid.inactive.places[beside], grid.inactive.values[beside])
    if fine.all():
        return replace(grid, inactive=inactive)
    topology = grid.topology
    masks = unpack_masks(topology.leaf_masks)
    masks.reshape(-1)[topology.places()[~fine]] = False
    used = masks.any(axis=1) | (topology.counts == 0)
    used[inactive.places // LEAF_VOXELS] = True
    leaves = np.flatnonzero(used)
    left = replace(topology, leaf_masks=pack_masks(masks)).subset(leaves)
    return replace(grid, topology=left, values=grid.values[fine], inactive=inactive.subset(leaves))
