"""`import inrv.pyvista` teaches PyVista to read and write .inrv files.

    pyvista.read("fire.inrv")              # a MultiBlock: an ImageData for each grid
    pyvista.read("fire.inrv", level=2)     # every 4th voxel
    image.inrv.crop(((0, 0, 0), (63, 63, 63)))  # from the file, at the finest level
    image.save("smoke.inrv", psnr=50)

A voxel is a point of the image, because its value is that of a place and no mean over a cell. The
extent of the image holds the coordinates of its voxels in index space; origin, spacing and
direction are those of the transform. Where the axes of voxels are not at right angles, a
StructuredGrid stands for the ImageData.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.decoding.frames import load
from inrv.decoding.grid import VolumeGrid
from inrv.encoding.api import encode
from inrv.errors import OptionError
from inrv.grids import Box, Grid, Transform, sparse_grid
from inrv.grids.transform import LINEAR_MAPS
from inrv.options import EncodeOptions
from inrv.support.extras import needed_for

with needed_for("reading into PyVista", "pyvista"):
    import pyvista

__all__ = ["InrvAccessor", "image_of", "read", "write"]

SUFFIX = ".inrv"
TOLD = "inrv"  # field data of an image: JSON that tells where it comes from
RIGHT_ANGLE = 1e-6  # cosine of two axes, below which they are at right angles


def read(
    path: Any,
    *,
    grids: Sequence[str] | None = None,
    level: int = 0,
    box: Any = None,
    frame: float | None = None,
) -> Any:
    """Read a file as a pyvista.MultiBlock, a block for each grid with an active voxel.

    path: as `inrv.load` takes it
    grids: keys of the grids to read; None: all
    level: of detail, 0 to 6: every 2^level-th voxel
    box: in index space, lower and upper corner, both included; None: the active box of each grid
    frame: number of a frame of a sequence; None: its first one
    Raises FormatError, MissingGridError, MissingFrameError, OptionError, SelectionError.
    """
    volume = load(path, frame=frame)
    blocks = pyvista.MultiBlock()
    for key in volume if grids is None else grids:
        if box is not None or volume[key].box is not None:
            blocks[key] = image_of(volume[key], level=level, box=box, key=key)
    return blocks


def image_of(grid: VolumeGrid, *, level: int = 0, box: Any = None, key: str | None = None) -> Any:
    """Give a grid as a pyvista.ImageData, with its values as point data of its name.

    grid: of an open volume
    level: of detail, 0 to 6
    box: in index space, as `VolumeGrid.dense` takes it; None: the active box
    key: what the values are called; None: the name of the grid
    Raises what `VolumeGrid.dense` raises.
    """
    asked = grid.box if box is None else Box.of(box)
    if level not in range(7):
        raise OptionError(f"level {level!r} is not one of 0 to 6")
    shown = None if asked is None else asked.multiples(1 << level)
    if asked is None or shown is None:
        raise OptionError(f"grid {grid.name!r}: no voxel to show at level {level}")
    values = grid.dense(asked, stride=1 << level)
    name = grid.name if key is None else key
    matrix = grid.transform.array()
    axes, edges = (
        matrix[:3, :3].T * (1 << level),
        np.array(grid.transform.voxel_size) * (1 << level),
    )
    right = _at_right_angles(axes / edges)
    image = pyvista.ImageData(
        dimensions=shown.shape,
        spacing=tuple(edges) if right else (1, 1, 1),
        origin=tuple(matrix[3, :3]) if right else (0, 0, 0),
        offset=shown.lower,
        direction_matrix=axes / edges if right else np.eye(3),
    )
    image.point_data[name] = values.reshape((-1, *values.shape[3:]), order="F")
    if not right:
        image = image.cast_to_structured_grid()
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = axes, matrix[3, :3]
        image.transform(affine, inplace=True)
    image.set_active_scalars(name)
    image.field_data[TOLD] = [json.dumps(_told(grid, name))]
    return image


def _at_right_angles(axes: NDArray[np.float64]) -> bool:
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < RIGHT_ANGLE)


def _told(grid: VolumeGrid, key: str) -> dict[str, Any]:
    """Give what an image tells of the grid that it shows."""
    file = grid.volume.container.file
    return {
        "file": getattr(file, "path", file.name),
        "grid": grid.position,
        "frame": getattr(grid.volume, "number", 0),
        "key": key,
        "class": grid.entry.grid_class,
        "vector_type": grid.entry.vector_type,
        "background": list(grid.entry.background),
    }


class InrvAccessor:
    """`image.inrv`: the grid of an .inrv file that an image was read from.

    image: a data set
    """

    def __init__(self, image: Any) -> None:
        self._image = image

    @property
    def told(self) -> dict[str, Any]:
        """What the image tells of that grid. Raises OptionError where it comes from no file."""
        found = _told_by(self._image)
        if found is None:
            raise OptionError("this data set was not read from an .inrv file, or a filter left it")
        return found

    @property
    def grid(self) -> VolumeGrid:
        """The grid, open. Raises OptionError, and what `inrv.load` raises."""
        told = self.told
        volume = load(told["file"])
        return volume.frames[told["frame"]][told["grid"]]

    def crop(self, box: Any, *, level: int = 0) -> Any:
        """Read a box of the grid from its file, at the finest level or another one.

        box: in index space, lower and upper corner, both included
        level: of detail, 0 to 6
        Gives what `image_of` gives. Raises what `grid` and `image_of` raise.
        """
        return image_of(self.grid, level=level, box=box, key=self.told["key"])

    def level(self, level: int) -> Any:
        """Read the whole grid from its file at a level of detail, 0 to 6."""
        return image_of(self.grid, level=level, key=self.told["key"])


def _told_by(image: Any) -> dict[str, Any] | None:
    """Give what an image tells of its grid; None where it tells nothing."""
    if TOLD not in image.field_data:
        return None
    try:
        found = json.loads(str(image.field_data[TOLD][0]))
    except (ValueError, IndexError):
        return None
    return (
        found
        if isinstance(found, dict) and {"file", "grid", "frame", "key"} <= set(found)
        else None
    )


def write(data: Any, path: Any, **options: Any) -> None:
    """Write an ImageData, or a MultiBlock of such, as an .inrv file; one that is there is replaced.

    Every array of point data with one or three components becomes a grid. Voxel (0, 0, 0) of it is
    the first point of the image.

    data: a data set of PyVista
    path: of the file
    options: by name, as of `inrv.EncodeOptions`
    Raises OptionError for other data sets, and what `inrv.encode` raises.
    """
    blocks = [data] if not isinstance(data, pyvista.MultiBlock) else list(data.recursive_iterator())
    grids = [grid for block in blocks for grid in _grids_of(block)]
    if not grids:
        raise OptionError(f"{path}: the data set has no point data with one or three components")
    try:
        chosen = EncodeOptions(**options)
    except TypeError as error:
        unknown = ", ".join(sorted(set(options) - set(EncodeOptions.__dataclass_fields__)))
        raise OptionError(f"{path}: no option of inrv.EncodeOptions is called {unknown}") from error
    encode(grids, path, chosen, overwrite=True)


def _grids_of(image: Any) -> Iterator[Grid]:
    """Make a grid of each array of point data of an image."""
    if not isinstance(image, pyvista.ImageData):
        raise OptionError(
            f"a {type(image).__name__} is no ImageData: sample it onto one, as with "
            "pyvista.ImageData.sample"
        )
    edges, axes = np.array(image.spacing), np.array(image.direction_matrix)
    matrix = np.eye(4)
    matrix[:3, :3] = (axes * edges).T
    matrix[3, :3] = np.array(image.origin) + (axes * edges) @ np.array(image.offset)
    kind = "AffineMap" if (axes != np.eye(3)).any() else "ScaleTranslateMap"
    assert kind in LINEAR_MAPS
    told: Mapping[str, Any] = _told_by(image) or {}
    for name, flat in image.point_data.items():
        values = np.asarray(flat)
        if values.ndim == 2 and values.shape[1] != 3:
            continue
        own = told if told.get("key") == name else {}
        yield sparse_grid(
            values.reshape((*image.dimensions, *values.shape[1:]), order="F"),
            name,
            Transform(kind, matrix),  # type: ignore[arg-type]
            own.get("background", 0.0),
            grid_class=own.get("class"),
            vector_type=own.get("vector_type", "invariant"),
        )


pyvista.register_reader(SUFFIX, read, override=True)
pyvista.register_writer(SUFFIX, write, override=True)
pyvista.register_dataset_accessor("inrv", pyvista.DataSet)(InrvAccessor)
