"""What the table of file types calls for .vdb files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

from inrv.files.file_types import ListedGrid, ReadOptions, WriteOptions
from inrv.files.vdb.header import MAGIC
from inrv.files.vdb.reading import list_grids, read_volume
from inrv.files.vdb.writing import write_stream
from inrv.grids import Grid, SparseVolume
from inrv.support.inputs import Input


class VdbFiles:
    """OpenVDB's files, of the versions 219 to 225. Raises VdbError."""

    def sniff(self, start: bytes) -> bool:
        """Tell whether a file begins with OpenVDB's magic number."""
        return start.startswith(MAGIC)

    def list_grids(self, source: Input) -> Sequence[ListedGrid]:
        """List every grid, of any type."""
        return list_grids(source)

    def read(self, source: Input, options: ReadOptions) -> SparseVolume:
        """Read float and vec3s grids to the bit, and all others as the bytes they are."""
        return read_volume(source, options.grids, doubles=options.doubles)

    def write(self, output: BinaryIO, volume: SparseVolume, options: WriteOptions) -> Sequence[str]:
        """Write all grids; the same volume gives the same bytes. Nothing is lost."""
        if options.half:
            volume = replace(volume, grids=tuple(map(_as_half, volume.grids)))
        write_stream(output, volume)
        return ()


def _as_half(grid: Grid) -> Grid:
    return replace(grid, saved_as_half=True)


FILE_TYPE = VdbFiles()
