"""Grids and topologies as chunks and manifest entries: the bridge between memory and container."""

from inrv.storage.grids import restore_grid, restore_metadata, store_grids, store_metadata
from inrv.storage.tensors import take

__all__ = ["restore_grid", "restore_metadata", "store_grids", "store_metadata", "take"]
