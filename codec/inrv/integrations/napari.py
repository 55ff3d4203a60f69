"""The reader of napari: .inrv files as images of many levels of detail, decoded where they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from inrv.decoding.frames import open_frames
from inrv.decoding.grid import STRIDES
from inrv.grids import Box
from inrv.integrations.lazy import GridArray, GridOverTime, axis_aligned, grids_over_time

COARSEST = 64  # voxels along the longest edge of the level that is shown first
AXES = "xyz"

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Give the function that reads .inrv files; None where some path is of another file."""
    paths = [path] if isinstance(path, str) else path
    return read if all(str(each).lower().endswith(".inrv") for each in paths) else None


def read(path: str | list[str]) -> list[LayerData]:
    """Give a layer for each component of each grid with an active voxel.

    path: of a file, or of several
    Raises FormatError, and OptionError where a grid is no array over time.
    """
    paths = [path] if isinstance(path, str) else path
    return [layer for each in paths for layer in _layers(each)]


def _layers(path: str) -> list[LayerData]:
    """Give the layers of a file."""
    frames = open_frames(path)
    return [
        _layer(grid, grid.box, component, Path(path).stem, frames.is_sequence)
        for grid in grids_over_time(frames).values()
        if grid.box is not None
        for component in range(grid.components)
    ]


def _layer(grid: GridOverTime, box: Box, component: int, stem: str, timed: bool) -> LayerData:
    """Give the layer of a component.

    The box is widened so that each level has exactly half the voxels of the one before.
    """
    top = next(
        (level for level in range(len(STRIDES)) if max(box.shape) >> level <= COARSEST),
        len(STRIDES) - 1,
    )
    coarsest = Box.of([[low >> top for low in box.lower], [high >> top for high in box.upper]])
    levels = [
        GridArray(grid, _finer(coarsest, top - level), level, timed, component)
        for level in range(top + 1)
    ]
    suffix = f".{AXES[component]}" if grid.components > 1 else ""
    shown = {
        "name": f"{stem} {grid.key}{suffix}",
        "multiscale": True,
        "metadata": {"inrv": grid.attributes},
        **_contrast(grid, component),
        **_placed(grid, levels[0].box, timed),
    }
    return levels, shown, "image"


def _finer(box: Box, levels: int) -> Box:
    """Give the box of voxels that are 2^levels times smaller."""
    lower = [low << levels for low in box.lower]
    return Box.of([lower, [((high + 1) << levels) - 1 for high in box.upper]])


def _contrast(grid: GridOverTime, component: int) -> dict[str, Any]:
    """Give the range of values that is shown, where the manifest tells that of the first frame.

    Without it napari takes that of the coarsest level.
    """
    found, background = grid.first.entry.components[component], grid.first.entry.background
    if found.output is None:
        return {}
    low = min(found.minimum, background[component])
    return {"contrast_limits": (low, max(found.maximum, background[component]))}


def _placed(grid: GridOverTime, box: Box, timed: bool) -> dict[str, Any]:
    """Say where the first voxel of a box lies in world space, and how far apart voxels are.

    Time, where there is some, is the first axis, and its unit is a frame.
    """
    matrix = grid.transform.array()
    origin = np.array(box.lower) @ matrix[:3, :3] + matrix[3, :3]
    first = int(timed)
    if axis_aligned(grid.transform):
        scale = np.ones(first + 3)
        scale[first:] = np.diag(matrix)[:3]
        return {"scale": scale.tolist(), "translate": [0.0] * first + origin.tolist()}
    affine = np.eye(first + 4)
    affine[first : first + 3, first : first + 3] = matrix[:3, :3].T
    affine[first : first + 3, -1] = origin
    return {"affine": affine}
