"""Grids without NaN and infinity."""

from __future__ import annotations

from dataclasses import replace

from inrv.grids.grid import Grid, LeafValues
from inrv.grids.topology import LEAF_VOXELS, pack_masks, unpack_masks


def without_nonfinite(grid: Grid) -> Grid:
    """The grid whose voxels and tiles with a value that is not finite are inactive and have the background.

    A vector is finite where all its components are. Leaves that are left without an active voxel are left out, unless
    inactive voxels of theirs have other values than the background.
    """
    return _without_voxels(_without_tiles(grid))


def _without_tiles(grid: Grid) -> Grid:
    fine = grid.tile_values.isfinite().all(dim=1)
    if bool(fine.all()):
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
    fine, beside = grid.values.isfinite().all(dim=1), grid.inactive.values.isfinite().all(dim=1)
    inactive = LeafValues(grid.inactive.places[beside], grid.inactive.values[beside])
    if bool(fine.all()):
        return replace(grid, inactive=inactive)
    topology = grid.topology
    masks = unpack_masks(topology.leaf_masks)
    masks.view(-1)[topology.places()[~fine]] = False
    used = masks.any(dim=1) | (topology.counts == 0)
    used[inactive.places // LEAF_VOXELS] = True
    leaves = used.nonzero()[:, 0]
    left = replace(topology, leaf_masks=pack_masks(masks)).subset(leaves)
    return replace(grid, topology=left, values=grid.values[fine], inactive=inactive.subset(leaves))
