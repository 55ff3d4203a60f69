"""Grids as arrays that decode what is asked for: what xarray and napari are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.decoding.frames import Frames, Number
from inrv.decoding.grid import STRIDES, VolumeGrid
from inrv.errors import OptionError
from inrv.grids import Box, Transform

REGION = 128  # voxels along an edge of what is decoded at a time


@dataclass(frozen=True)
class GridOverTime:
    """A grid of a file, in all of its frames.

    frames: of the file
    key: of the grid in its volumes
    first: the grid of the first frame that has it
    box: around the active voxels of all frames; None where no voxel is ever active
    numbers: of the frames that have it
    """

    frames: Frames
    key: str
    first: VolumeGrid
    box: Box | None
    numbers: tuple[Number, ...]

    @property
    def components(self) -> int:
        """Values a voxel."""
        return len(self.first.entry.components)

    @property
    def transform(self) -> Transform:
        """Index space to world space, the same in all frames."""
        return self.first.transform

    @property
    def attributes(self) -> dict[str, Any]:
        """What the file says of the grid, in values that NetCDF and zarr can hold."""
        grid = self.first
        column_vectors = grid.transform.array().T
        found = {
            "grid_class": grid.entry.grid_class,
            "value_type": grid.entry.value_type,
            "vector_type": grid.entry.vector_type if self.components > 1 else None,
            "background": _few(grid.entry.background),
            "quality": grid.quality,
            "max_error": grid.max_error,
            "psnr": grid.psnr,
            "affine": [float(value) for value in column_vectors.reshape(-1)],
        }
        return {name: value for name, value in found.items() if value is not None}


def _few(values: Sequence[float]) -> float | list[float]:
    return float(values[0]) if len(values) == 1 else [float(value) for value in values]


def grids_over_time(frames: Frames) -> dict[str, GridOverTime]:
    """Find the grids of all frames by key; of a sequence, the manifest of each group is read.

    Raises OptionError where a grid has another type or transform in a later frame, FormatError.
    """
    found: dict[str, list[tuple[Number, VolumeGrid]]] = {}
    for number in frames:
        for key, grid in frames[number].items():
            found.setdefault(key, []).append((number, grid))
    return {key: _over_time(frames, key, grids) for key, grids in found.items()}


def _over_time(
    frames: Frames, key: str, grids: Sequence[tuple[Number, VolumeGrid]]
) -> GridOverTime:
    first = grids[0][1]
    for number, grid in grids:
        for what in ("value_type", "matrix"):
            if getattr(grid.entry, what) != getattr(first.entry, what):
                shown = {"value_type": "type", "matrix": "transform"}[what]
                raise OptionError(
                    f"{frames.name}: grid {key!r} has another {shown} in frame {number} than in "
                    f"frame {grids[0][0]}, so that it is no array over time: take frames one by "
                    "one, as with inrv.load(file, frame=number)"
                )
    boxes = [grid.box for _, grid in grids if grid.box is not None]
    numbers = tuple(number for number, _ in grids)
    return GridOverTime(frames, key, first, reduce(Box.union, boxes) if boxes else None, numbers)


def axis_aligned(transform: Transform) -> bool:
    """Tell whether the axes of index space are those of world space, in their order."""
    linear = transform.array()[:3, :3]
    return bool((linear == np.diag(np.diag(linear))).all())


@dataclass(frozen=True)
class GridArray:
    """A grid as an array ([time,] x, y, z[, component]) of float32, decoded where it is sliced.

    Numbers, and slices with a step of 1 or more, give arrays. A step of 2, 4, ... 64 along every
    axis of space that has more than one place gives a level of detail, if the places are multiples
    of it in index space. In a frame without the grid all is NaN.

    grid: the grid
    box: the voxels of it, in voxels of the level
    level: of detail, 0 to 6
    timed: whether time is the first axis; else it is the grid of the first frame that has it
    component: the one component that it has; None: all of them
    """

    grid: GridOverTime
    box: Box
    level: int = 0
    timed: bool = False
    component: int | None = None

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Places along each axis."""
        time = (len(self.grid.frames),) if self.timed else ()
        return (*time, *self.box.shape, *self._last)

    @property
    def _last(self) -> tuple[int, ...]:
        """The axis of components, where there is one."""
        many = self.component is None and self.grid.components > 1
        return (self.grid.components,) if many else ()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the values are decoded: they cannot be had without a copy")
        return self[...].astype(dtype or np.float32, copy=False)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        """Decode a block. Raises IndexError for other indices, and what `VolumeGrid.dense` does."""
        ranges, dropped = _ranges(index, self.shape)
        times, space, rest = (
            ranges[: int(self.timed)],
            ranges[int(self.timed) :][:3],
            ranges[int(self.timed) + 3 :],
        )
        kept = tuple(0 if axis in dropped else slice(None) for axis in range(self.ndim))
        shape = tuple(map(len, (*times, *space)))
        if not all(ranges):
            return np.empty((*shape, *map(len, rest)), dtype=np.float32)[kept]
        if not self.timed:
            return _last_of(self._block(self.grid.numbers[0], space), rest)[kept]
        numbers = self.grid.frames.numbers
        result = np.empty((*shape, *self._last), dtype=np.float32)
        for place, own in enumerate(times[0]):
            result[place] = self._block(numbers[own], space)
        return _last_of(result, rest)[kept]

    def _block(self, number: Number, space: Sequence[range]) -> NDArray[np.float32]:
        """Decode voxels of a frame: (X, Y, Z), or (X, Y, Z, C) of many components."""
        if number not in self.grid.numbers:
            return np.full((*map(len, space), *self._last), np.nan, dtype=np.float32)
        places = [
            range(own.start + low, own.stop + low, own.step)
            for own, low in zip(space, self.box.lower, strict=True)
        ]
        coarser = _coarser(places, len(STRIDES) - 1 - self.level)
        wide = 1 << self.level
        corners = [[own[0] * wide for own in places], [own[-1] * wide for own in places]]
        grid = self.grid.frames[number][self.grid.key]
        values = grid.dense(corners, stride=wide << coarser)
        values = values[tuple(slice(None, None, max(1, own.step >> coarser)) for own in places)]
        return (
            values
            if self.component is None or not values.shape[3:]
            else values[..., self.component]
        )


def _last_of(values: NDArray[np.float32], rest: Sequence[range]) -> NDArray[np.float32]:
    """Take components of values, where they have an axis of them."""
    return values[..., rest[0].start : rest[0].stop : rest[0].step] if rest else values


def _coarser(places: Sequence[range], most: int) -> int:
    """Give how many levels coarser all places are: their steps and coordinates are multiples."""
    steps = [own.step for own in places if len(own) > 1]
    found = 0
    while steps and found < most:
        wide = 2 << found
        if any(step % wide for step in steps) or any(own[0] % wide for own in places):
            break
        found += 1
    return found


def _ranges(index: Any, shape: tuple[int, ...]) -> tuple[tuple[range, ...], tuple[int, ...]]:
    """Give the places along each axis, and which axes are dropped. Raises IndexError."""
    parts = index if isinstance(index, tuple) else (index,)
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        missing = len(shape) - len(parts) + 1
        parts = (*parts[:at], *[slice(None)] * missing, *parts[at + 1 :])
    parts = (*parts, *[slice(None)] * (len(shape) - len(parts)))
    if len(parts) != len(shape):
        raise IndexError(f"an array of {len(shape)} axes has no index of {len(parts)}")
    ranges, dropped = list[range](), list[int]()
    for axis, (part, size) in enumerate(zip(parts, shape, strict=True)):
        if isinstance(part, slice):
            places = range(size)[part]
            if places.step < 0:
                raise IndexError(f"step {places.step} along axis {axis} is below 0")
            ranges.append(places)
            continue
        if not isinstance(part, (int, np.integer)):
            raise IndexError(f"{part!r} along axis {axis} is neither a whole number nor a slice")
        if not -size <= part < size:
            raise IndexError(f"{part} along axis {axis} is beyond its {size} places")
        ranges.append(range(int(part) % size, int(part) % size + 1))
        dropped.append(axis)
    return tuple(ranges), tuple(dropped)


def same_transform(grids: Mapping[str, GridOverTime]) -> tuple[str, str] | None:
    """Give the keys of two grids whose transforms differ; None where all are the same."""
    keys = list(grids)
    for key in keys[1:]:
        if grids[key].transform.matrix != grids[keys[0]].transform.matrix:
            return keys[0], key
    return None
