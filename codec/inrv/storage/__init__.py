"""Grids and topologies as chunks and manifest entries: the bridge between memory and container."""

from inrv.storage.grids import PreparedGrid, RestoredGrid, restore_grid, restore_metadata, store_grids, store_metadata, without
from inrv.storage.passthrough import restore_passthrough, store_passthrough
from inrv.storage.topology import StoredTopologies

__all__ = [
    "PreparedGrid",
    "RestoredGrid",
    "StoredTopologies",
    "restore_grid",
    "restore_metadata",
    "restore_passthrough",
    "store_grids",
    "store_metadata",
    "store_passthrough",
    "without",
]
