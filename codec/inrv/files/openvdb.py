"""Grids in memory of OpenVDB's own module of Python, `openvdb` or `pyopenvdb`, in and out.

They go through a temporary file, which holds trees, masks and tiles exactly. The module itself
gives masks and tiles voxel by voxel alone: that takes several times as long.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from inrv.errors import MissingPackageError, OptionError
from inrv.files.file_types import read, write
from inrv.grids import Grid, SparseVolume

MODULES = ("openvdb", "pyopenvdb")
STATISTICS = "file_"  # how the names of entries begin that OpenVDB adds to a grid in a file


def is_openvdb(value: Any) -> bool:
    """Tell whether a value is a grid of OpenVDB's module."""
    return _module_name(value) in MODULES and hasattr(value, "evalActiveVoxelBoundingBox")


def from_openvdb(grids: Any, *, doubles: str = "passthrough") -> SparseVolume:
    """Copy grids of OpenVDB's module: values, topology, transform, class and metadata.

    What a file of OpenVDB rounds is rounded: the values of grids that it saves as half floats.

    grids: a grid as `openvdb.FloatGrid`, or a sequence of such
    doubles: see `ReadOptions`
    Raises OptionError for anything else, and where OpenVDB cannot write a grid.
    """
    given = list(grids) if isinstance(grids, (list, tuple)) else [grids]
    strange = [type(grid).__name__ for grid in given if not is_openvdb(grid)]
    if strange or not given:
        what = f"a {strange[0]}" if strange else "an empty sequence"
        raise OptionError(f"{what} is no grid of OpenVDB: give an openvdb.FloatGrid, or a list")
    module: Any = sys.modules[_module_name(given[0])]
    with _file() as path:
        try:
            module.write(path, given)
        except Exception as error:
            raise OptionError(f"OpenVDB cannot write the grids: {error}") from error
        found = read(path, doubles=doubles)
    coded = zip(found.positions, found.grids, strict=True)
    grids = tuple(_as_in_memory(grid, given[position].metadata) for position, grid in coded)
    return replace(found, grids=grids)


def to_openvdb(volume: SparseVolume) -> list[Any]:
    """Make grids of OpenVDB's module, in the order of the volume.

    Raises MissingPackageError where there is no such module, and OptionError where it does not
    know the type of a grid.
    """
    module, found = _module(), list[Any]()
    for position in range(len(volume.grids) + len(volume.passthrough)):
        with _file() as path:
            # Of several grids in a file it would give those whose names come first, first.
            one = volume.choose([position])
            write(path, one)
            try:
                ((grid,), _) = module.readAll(path)
            except Exception as error:
                raise OptionError(f"OpenVDB's module cannot hold a grid: {error}") from error
        for own in one.grids:
            for name in set(grid.metadata) - set(own.metadata):
                if name.startswith(STATISTICS):
                    del grid[name]
        found.append(grid)
    return found


def _as_in_memory(grid: Grid, own: Mapping[str, Any]) -> Grid:
    """A grid without the metadata that a file says of it, and it does not itself."""
    kept = {
        name: value
        for name, value in grid.metadata.items()
        if name in own or not name.startswith(STATISTICS)
    }
    return replace(grid, metadata=kept)


def _module_name(value: Any) -> str:
    return type(value).__module__.split(".")[0]


def _module() -> Any:
    """The module that is loaded already, or else the first one that can be."""
    for name in sorted(MODULES, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingPackageError(
        f"grids of OpenVDB need its module, {' or '.join(MODULES)}, which is missing: conda has "
        "openvdb, Debian python3-openvdb, and bpy brings it along"
    )


@contextmanager
def _file() -> Iterator[str]:
    """A path for a file that is deleted after use, where the system lets one that is mapped."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield str(Path(folder, "grids"))
