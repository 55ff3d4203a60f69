"""Grids and topologies as chunks and manifest entries: the bridge between memory and container."""

from inrv.storage.grids import CodedGrid, RestoredGrid, restore_grid, restore_metadata, store_grids, store_metadata, without
from inrv.storage.passthrough import restore_carried, store_carried
from inrv.storage.topology import StoredTopologies

__all__ = [
    "CodedGrid",
    "RestoredGrid",
    "StoredTopologies",
    "restore_carried",
    "restore_grid",
    "restore_metadata",
    "store_carried",
    "store_grids",
    "store_metadata",
    "without",
]
