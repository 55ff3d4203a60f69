"""Where VTK's image data lies: what its files share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import ImageFileError
from inrv.files.images.image import Image

KIND = "vtk"
TIMES = "times"  # in a header: of the moments that are the first axis of parts
GROUPS = {"point": "PointData", "cell": "CellData"}  # by where values lie

Extent = tuple[int, int, int, int, int, int]  # the first and the last point along x, y and z


def extent_of(numbers: Sequence[float], what: str) -> Extent:
    """Six numbers as an extent. Raises ImageFileError where they are none, which `what` begins."""
    whole = [int(number) for number in numbers if np.isfinite(number)]
    if len(whole) == 6 and whole == list(numbers):
        x0, x1, y0, y1, z0, z1 = whole
        if x0 <= x1 and y0 <= y1 and z0 <= z1:
            return x0, x1, y0, y1, z0, z1
    raise ImageFileError(f"{what} {list(numbers)}, which is not one of six whole numbers in order")


def shape_of(extent: Extent, place: str) -> tuple[int, int, int]:
    """How many values lie along x, y and z at the points or in the cells of an extent."""
    x, y, z = (
        max(1, high - low + (place == "point"))
        for low, high in zip(extent[::2], extent[1::2], strict=True)
    )
    return x, y, z


def matrix_of(
    extent: Extent,
    origin: Sequence[float],
    spacing: Sequence[float],
    turn: Sequence[float],
    place: str,
) -> NDArray[np.float64]:
    """The matrix of an image whose first value lies at the first point, or in the first cell.

    origin: of the point (0, 0, 0), in world space
    spacing: of points along the axes
    turn: what VTK calls the direction: nine numbers, row by row, whose columns are the axes
    place: 'point' or 'cell', in whose middle a value lies
    """
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(turn, (3, 3)) * np.array(spacing)
    first = np.array(extent[::2]) + (0.5 if place == "cell" else 0.0)
    matrix[:3, 3] = np.array(origin) + matrix[:3, :3] @ first
    return matrix


def place_of(image: Image) -> str:
    """Where the values of an image lie, as the file that it came from told."""
    return "cell" if image.header_of(KIND).get("place") == "cell" else "point"


def time_of(images: Iterable[Image]) -> float | None:
    """The first time that an image tells."""
    times = (image.header_of(KIND).get("time") for image in images)
    return next((float(time) for time in times if isinstance(time, (int, float))), None)


def arrays_of(image: Image, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays that hold an image, with their names.

    They are one where its parts were components of one array, and else one for each part.
    """
    told, values = image.header_of(KIND), image.plain_values()
    count, vectors = math.prod(image.part_shape), (3,) * image.vectors
    if count == 1:
        yield name, values.reshape(*values.shape[:3], *vectors)
    elif told and TIMES not in told:
        yield str(told.get("name", name)), values.reshape(*values.shape[:3], count, *vectors)
    else:
        parts = values.reshape(*values.shape[:3], count, *vectors)
        for part in range(count):
            yield f"{name}.{part:0{len(str(count - 1))}}", parts[:, :, :, part]


def _numbers(told: object, count: int) -> NDArray[np.float64]:
    """So many numbers, as a header of ours has them; zeros where it does not."""
    if not isinstance(told, list) or len(told) != count:
        return np.zeros(count)
    known = all(isinstance(own, (int, float)) and abs(own) < 2**53 for own in told)
    return np.array(told, dtype=np.float64) if known else np.zeros(count)


@dataclass(frozen=True)
class Frame:
    """The box of an image.

    extent: of its points
    matrix: float64 (3, 3) from steps along the axes to world space
    origin: float64 (3,) of the point (0, 0, 0)
    """

    extent: Extent
    matrix: NDArray[np.float64]
    origin: NDArray[np.float64]

    @staticmethod
    def of(image: Image) -> Frame:
        """The frame that an image came with, where it still lies there, or one that begins at 0."""
        in_cells = place_of(image) == "cell"
        shape, turn = image.numbers.shape[:3], image.matrix[:3, :3]
        held = image.header_of(KIND)
        x, y, z = (int(size) - (not in_cells) for size in shape)
        start = _numbers(held.get("extent"), 6)[::2].astype(np.int64)
        origin, told = image.matrix[:3, 3] - turn @ (start + 0.5 * in_cells), held.get("origin")
        if np.allclose(origin, _numbers(told, 3), rtol=1e-12, atol=0):
            origin = _numbers(told, 3)
        i, j, k = start.tolist()
        return Frame((i, i + x, j, j + y, k, k + z), turn, origin)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """The distances of points along the axes."""
        return np.asarray(np.linalg.norm(self.matrix, axis=0))

    @property
    def turn(self) -> NDArray[np.float64]:
        """What VTK calls the direction: float64 (3, 3)."""
        return self.matrix / self.spacing

    def fits(self, other: Frame) -> bool:
        """Whether another one is the same, but for rounding."""
        scale = float(np.abs(self.matrix).max())
        return (
            self.extent == other.extent
            and np.allclose(self.matrix, other.matrix, rtol=1e-9, atol=0)
            and np.allclose(self.origin, other.origin, rtol=1e-9, atol=1e-6 * scale)
        )
