"""What the table of file types calls for .nvdb files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from inrv.files.file_types import ListedGrid, ReadOptions, WriteOptions
from inrv.files.nanovdb.reading import read_volume
from inrv.files.nanovdb.segments import list_grids
from inrv.files.nanovdb.structs import FILE_MAGIC, MAGIC, RAW_MAGIC
from inrv.files.nanovdb.writing import write_stream
from inrv.grids import SparseVolume
from inrv.support.inputs import Input


class NanoVdbFiles:
    """NanoVDB's files, of the versions 32.x. Raises VdbError."""

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with one of NanoVDB's magic numbers."""
        return start.startswith((MAGIC, RAW_MAGIC, FILE_MAGIC))

    def list_grids(self, source: Input) -> Sequence[ListedGrid]:
        """List every grid, of any type."""
        return list_grids(source)

    def read(self, source: Input, options: ReadOptions) -> SparseVolume:
        """Read grids of float and Vec3f to the bit, of Fp4 to FpN as they are decoded.

        Those of double and Vec3d are rounded, whatever the options say: nothing could hold the
        bytes that they are. Raises UnsupportedGridError for a grid of any other type.
        """
        return read_volume(source, options.grids)

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Write the float and vec3s grids; the same volume gives the same bytes."""
        return write_stream(output, volume, options.half, options.compress)


FILE_TYPE = NanoVdbFiles()
