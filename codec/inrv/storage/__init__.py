"""Grids as chunks and manifest entries: the bridge between memory and container."""

from inrv.storage.grids import (
    PreparedGrid,
    RestoredGrid,
    StoredGrids,
    described,
    restore_transform,
    store_grids,
    without,
)
from inrv.storage.metadata import restore_metadata, store_metadata
from inrv.storage.passthrough import restore_passthrough, store_passthrough
from inrv.storage.topology import unread_masks
from inrv.storage.values import masks_of

__all__ = [
    "PreparedGrid",
    "RestoredGrid",
    "StoredGrids",
    "described",
    "masks_of",
    "restore_metadata",
    "restore_passthrough",
    "restore_transform",
    "store_grids",
    "store_metadata",
    "store_passthrough",
    "unread_masks",
    "without",
]
