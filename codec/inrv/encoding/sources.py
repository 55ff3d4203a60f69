"""What can be encoded: files, arrays, grids, open volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from inrv.container import FrameEntry, Manifest
from inrv.decoding.grid import VolumeGrid
from inrv.decoding.volume import Volume
from inrv.errors import FormatError, OptionError
from inrv.files import from_openvdb, is_openvdb
from inrv.grids import Grid, SparseVolume, sparse_grid
from inrv.storage import store_metadata
from inrv.support.inputs import Input
from inrv.support.streams import Readable, input_of

AnyGrid: TypeAlias = Grid | VolumeGrid
Grids: TypeAlias = list[Grid] | list[VolumeGrid] | list[AnyGrid] | tuple[AnyGrid, ...]
Source: TypeAlias = Readable | SparseVolume | Volume | AnyGrid | Grids | Mapping[str, Any]


def volume_or_file(source: Source, doubles: str = "passthrough") -> SparseVolume | Input:
    """Give the volume that `source` holds or stands for, or the file to read it from.

    doubles: see `EncodeOptions`
    Raises OptionError for anything else, and where there is no grid in it.
    """
    if isinstance(source, (Mapping, list, tuple)) and not len(source):
        raise OptionError("there is no grid to encode: the source is empty")
    if isinstance(source, SparseVolume):
        return _checked(source)
    if isinstance(source, Volume):
        return source.to_sparse()
    if isinstance(source, Mapping):
        return _checked(SparseVolume(tuple(named(name, value) for name, value in source.items())))
    if isinstance(source, (Grid, VolumeGrid)):
        return _checked(SparseVolume((_decoded(source),)))
    if isinstance(source, (list, tuple)) and all(
        isinstance(grid, (Grid, VolumeGrid)) for grid in source
    ):
        return _checked(SparseVolume(tuple(_decoded(grid) for grid in source)))
    if is_openvdb(source) or (isinstance(source, (list, tuple)) and all(map(is_openvdb, source))):
        return _checked(from_openvdb(source, doubles=doubles))
    arrays = ("__array__", "__dlpack__")
    if isinstance(source, (list, tuple)) or any(hasattr(source, name) for name in arrays):
        raise OptionError(
            f"a {type(source).__name__} is neither a file nor grids: give arrays by name, as "
            "{'density': array}"
        )
    return input_of(source)


def _checked(volume: SparseVolume) -> SparseVolume:
    """Give a volume whose metadata a manifest can hold. Raises OptionError."""
    owners = [("the volume", volume.metadata, volume.vdb_version)]
    owners += [(f"grid {grid.name!r}", grid.metadata, volume.vdb_version) for grid in volume.grids]
    for owner, metadata, version in owners:
        frame = FrameEntry(None, None, 0, 0, store_metadata(metadata), version)
        manifest = Manifest("", (frame,), (), None, {})
        try:
            Manifest.from_json(manifest.to_json())
        except FormatError as error:
            found = error.message.removeprefix("manifest.frames[0].")
            raise OptionError(f"{owner}: {found}") from error
    return volume


def named(name: str, value: Any) -> Grid:
    """Give a grid, or an array, under a name. Raises OptionError for what is neither."""
    if is_openvdb(value):
        held = from_openvdb(value)
        if not held.grids:
            raise OptionError(
                f"grid {name!r}: a {type(value).__name__} has no values of float or vec3s: give it "
                "alone or in a list, and its bytes are kept"
            )
        value = held.grids[0]
    return (
        replace(_decoded(value), name=name)
        if isinstance(value, (Grid, VolumeGrid))
        else sparse_grid(value, name)
    )


def _decoded(grid: AnyGrid) -> Grid:
    return grid.to_grid() if isinstance(grid, VolumeGrid) else grid
