"""Grids and topologies as chunks and manifest entries: the bridge between memory and container."""

from inrv.storage.carried import restore_carried, store_carried
from inrv.storage.grids import CodedGrid, RestoredGrid, restore_grid, restore_metadata, store_grids, store_metadata, without
from inrv.storage.lattice import StoredChannel, StoredValues, restore_channel, store_channel
from inrv.storage.tensors import take
from inrv.storage.topology import StoredTopologies

__all__ = [
    "CodedGrid",
    "RestoredGrid",
    "StoredChannel",
    "StoredTopologies",
    "StoredValues",
    "restore_carried",
    "restore_channel",
    "restore_grid",
    "restore_metadata",
    "store_carried",
    "store_channel",
    "store_grids",
    "store_metadata",
    "take",
    "without",
]
