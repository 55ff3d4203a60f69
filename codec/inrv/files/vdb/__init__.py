"""OpenVDB files in and out, without OpenVDB.

Float and vec3s grids are read and written to the bit, all others as the bytes they are.
"""

from inrv.files.vdb.header import GridDescriptor
from inrv.files.vdb.reading import list_grids, read_volume
from inrv.files.vdb.writing import write_stream, write_volume

__all__ = ["GridDescriptor", "list_grids", "read_volume", "write_stream", "write_volume"]
