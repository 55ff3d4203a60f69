"""OpenVDB files in and out: the only place that imports openvdb or pyopenvdb, and only when needed."""

from inrv.vdb.bindings import load_bindings
from inrv.vdb.header import GridDescriptor
from inrv.vdb.reading import list_grids, read_volume
from inrv.vdb.writing import write_volume

__all__ = ["GridDescriptor", "list_grids", "load_bindings", "read_volume", "write_volume"]
