"""Other people's files: each file type has a module or a folder, and a line in the table.

Everybody else reads and writes such files by the functions here, which choose the file type by
suffix and first bytes. To add a file type, write a module with a FILE_TYPE that has the methods of
`FileType`, and add its suffix to `file_types.MODULES`.
"""

from inrv.files.file_types import (
    SUFFIXES,
    WRITTEN,
    FileType,
    ListedGrid,
    ReadOptions,
    WriteOptions,
    file_type,
    is_beside_header,
    is_volume,
    is_written_as_folder,
    list_grids,
    read,
    write,
    written_paths,
)
from inrv.files.openvdb import from_openvdb, is_openvdb, to_openvdb

__all__ = [
    "SUFFIXES",
    "WRITTEN",
    "FileType",
    "ListedGrid",
    "ReadOptions",
    "WriteOptions",
    "file_type",
    "from_openvdb",
    "is_beside_header",
    "is_openvdb",
    "is_volume",
    "is_written_as_folder",
    "list_grids",
    "read",
    "to_openvdb",
    "write",
    "written_paths",
]
