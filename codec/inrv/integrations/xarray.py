"""The backend of xarray: `xarray.open_dataset("fire.inrv")`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inrv.decoding.frames import Frames, open_frames
from inrv.decoding.grid import STRIDES
from inrv.errors import MissingGridError, OptionError
from inrv.grids import Box
from inrv.integrations.lazy import (
    REGION,
    GridArray,
    GridOverTime,
    axis_aligned,
    grids_over_time,
    same_transform,
)
from inrv.support.extras import needed_for

with needed_for("the backend of xarray", "xarray"):
    import xarray
    from xarray.backends import BackendArray, BackendEntrypoint
    from xarray.core import indexing

AXES = ("x", "y", "z")
TIME, FRAME, COMPONENT = "time", "frame", "component"
TAKEN = (*AXES, TIME, FRAME, COMPONENT)  # names that no variable of a grid has
MAGIC = b"\x89INRV"


class InrvBackend(BackendEntrypoint):
    """Opens .inrv files: a variable a grid, decoded where it is sliced.

    Its dimensions are x, y and z, ahead of them time for a sequence, and behind them component for
    vectors. Coordinates are those of voxels in world space where its axes are those of the voxels,
    and else in index space; `affine` among the attributes is the matrix 4 x 4 from index space to
    world space, row by row, for column vectors.
    """

    description: ClassVar[str] = "Open .inrv files, compressed volumes"
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = (
        "filename_or_obj",
        "drop_variables",
        "group",
        "level",
    )
    supports_groups: ClassVar[bool] = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether something is an .inrv file by its name, or by its first bytes."""
        if isinstance(filename_or_obj, (str, os.PathLike)):
            return os.fspath(filename_or_obj).lower().endswith(".inrv")
        if isinstance(filename_or_obj, (bytes, bytearray, memoryview)):
            return bytes(filename_or_obj[: len(MAGIC)]) == MAGIC
        return False

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
        level: int = 0,
    ) -> xarray.Dataset:
        """Open a file as one data set, whose box holds all grids.

        filename_or_obj: as `inrv.load` takes it
        drop_variables: names of grids to leave out
        group: the key of one grid, which is opened alone, with its own box
        level: of detail, 0 to 6: every 2^level-th voxel
        Raises OptionError where grids have different transforms, FormatError.
        """
        frames, grids = _opened(filename_or_obj, drop_variables, level)
        if group is not None:
            key = group.strip("/")
            if key not in grids:
                raise MissingGridError(
                    f"{frames.name}: no grid {key!r}; the file holds "
                    f"{', '.join(map(repr, grids)) or 'none'}"
                )
            grids = {key: grids[key]}
        differ = same_transform(grids)
        if differ is not None:
            raise OptionError(
                f"{frames.name}: grids {differ[0]!r} and {differ[1]!r} have different transforms, "
                "and no axes in common: take xarray.open_datatree, or "
                f"xarray.open_dataset(..., group={differ[0]!r})"
            )
        return _dataset(frames, grids, level)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        level: int = 0,
    ) -> dict[str, xarray.Dataset]:
        """Open a file as a data set for each grid, each with a box of its own.

        The arguments are those of `open_dataset`. Raises FormatError.
        """
        frames, grids = _opened(filename_or_obj, drop_variables, level)
        groups = {"/": xarray.Dataset(attrs=_file_attributes(frames))}
        for key, grid in grids.items():
            groups[f"/{key.replace('/', '_')}"] = _dataset(frames, {key: grid}, level)
        return groups

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        level: int = 0,
    ) -> xarray.DataTree:
        """Open a file as a tree, a node for each grid. Arguments as of `open_groups_as_dict`."""
        groups = self.open_groups_as_dict(
            filename_or_obj, drop_variables=drop_variables, level=level
        )
        return xarray.DataTree.from_dict(groups)


def _opened(
    source: Any, dropped: str | Iterable[str] | None, level: int
) -> tuple[Frames, dict[str, GridOverTime]]:
    """Open a file, and find its grids."""
    if level not in range(len(STRIDES)):
        raise OptionError(f"level {level!r} is not one of 0 to {len(STRIDES) - 1}")
    frames = open_frames(source)
    left_out = {dropped} if isinstance(dropped, str) else set(dropped or ())
    grids = grids_over_time(frames)
    return frames, {key: grid for key, grid in grids.items() if key not in left_out}


def _dataset(frames: Frames, grids: Mapping[str, GridOverTime], level: int) -> xarray.Dataset:
    """Make a data set of grids that have one transform."""
    boxes = [grid.box for grid in grids.values() if grid.box is not None]
    whole = reduce(Box.union, boxes) if boxes else None
    box = None if whole is None else whole.multiples(1 << level)
    coordinates: dict[str, Any] = {}
    if box is not None:
        coordinates = _coordinates(next(iter(grids.values())), box, level)
    if frames.is_sequence:
        coordinates[FRAME] = xarray.Variable((TIME,), np.array(frames.numbers))
        if None not in frames.times:
            times = xarray.Variable((TIME,), np.array(frames.times, dtype=np.float64))
            times.attrs["unit"] = frames.timeline.unit
            coordinates[TIME] = times
    variables = {
        f"{key}_grid" if key in TAKEN else key: _variable(frames, grid, box, level)
        for key, grid in grids.items()
    }
    if any(grid.components > 1 for grid in grids.values()):
        coordinates[COMPONENT] = xarray.Variable((COMPONENT,), np.array(AXES))
    return xarray.Dataset(variables, coordinates, _file_attributes(frames))


def _variable(frames: Frames, grid: GridOverTime, box: Box | None, level: int) -> xarray.Variable:
    """Make a variable of a grid; it is empty where no voxel is active."""
    time = (TIME,) if frames.is_sequence else ()
    last = (COMPONENT,) if grid.components > 1 else ()
    dims = (*time, *AXES, *last)
    if box is None:
        sizes = (*(len(frames) for _ in time), 0, 0, 0, *(grid.components for _ in last))
        return xarray.Variable(dims, np.empty(sizes, dtype=np.float32), grid.attributes)
    array = GridArray(grid, box, level, timed=frames.is_sequence)
    data = indexing.LazilyIndexedArray(_Lazy(array))
    edge = max(1, REGION >> level)
    chunks = {
        axis: _chunks(low, high, edge)
        for axis, low, high in zip(AXES, box.lower, box.upper, strict=True)
    }
    wanted = {name: 1 for name in time} | chunks | {name: grid.components for name in last}
    return xarray.Variable(dims, data, grid.attributes, {"preferred_chunks": wanted})


def _chunks(low: int, high: int, edge: int) -> tuple[int, ...]:
    """Cut an axis from `low` to `high` where regions meet: the sizes of the pieces."""
    cuts = [low, *range((low // edge + 1) * edge, high + 1, edge), high + 1]
    return tuple(int(size) for size in np.diff(cuts))


def _coordinates(grid: GridOverTime, box: Box, level: int) -> dict[str, Any]:
    """Give the coordinates of voxels along each axis."""
    aligned, matrix = axis_aligned(grid.transform), grid.transform.array()
    found = {}
    for axis, name in enumerate(AXES):
        places = np.arange(box.lower[axis], box.upper[axis] + 1, dtype=np.int64) << level
        values: NDArray[Any] = places
        if aligned:
            values = matrix[3, axis] + places * matrix[axis, axis]
        found[name] = xarray.Variable((name,), values, {"space": "world" if aligned else "index"})
    return found


def _file_attributes(frames: Frames) -> dict[str, Any]:
    """Give what a data set says of its file."""
    return {"source": frames.name, "format": "inrv"}


class _Lazy(BackendArray):
    """A grid as xarray slices it."""

    def __init__(self, array: GridArray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.array.__getitem__
        )
