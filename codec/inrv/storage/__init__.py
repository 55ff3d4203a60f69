"""Grids and topologies as chunks and manifest entries: the bridge between memory and container."""

from inrv.storage.carried import restore_carried, store_carried
from inrv.storage.grids import CodedGrid, restore_grid, restore_metadata, store_grids, store_metadata
from inrv.storage.tensors import take
from inrv.storage.topology import StoredTopologies

__all__ = [
    "CodedGrid",
    "StoredTopologies",
    "restore_carried",
    "restore_grid",
    "restore_metadata",
    "store_carried",
    "store_grids",
    "store_metadata",
    "take",
]
