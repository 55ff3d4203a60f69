"""Index space to world space: OpenVDB's linear maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.support.arrays import as_array, is_tensor

LINEAR_MAPS = (
    "AffineMap",
    "ScaleMap",
    "ScaleTranslateMap",
    "TranslationMap",
    "UniformScaleMap",
    "UniformScaleTranslateMap",
    "UnitaryMap",
)

Matrix = tuple[tuple[float, ...], ...]
IDENTITY: Matrix = (
    (1.0, 0.0, 0.0, 0.0),
    (0.0, 1.0, 0.0, 0.0),
    (0.0, 0.0, 1.0, 0.0),
    (0.0, 0.0, 0.0, 1.0),
)


@dataclass(frozen=True)
class Transform:
    """A linear map from index space to world space.

    map_type: OpenVDB's name of the map, kept so that a decoded file holds the same kind of map
    matrix: 4 x 4 in OpenVDB's convention of row vectors, [i j k 1] @ matrix = [x y z 1], so that
        the translation is the last row; it may be given as an array
    Raises OptionError for an unknown map type, and for a matrix that is not finite, invertible and
    affine.
    """

    map_type: str = "UniformScaleMap"
    matrix: Matrix = IDENTITY

    def __post_init__(self) -> None:
        rows = as_array(self.matrix, "transform matrix")
        if rows.shape != (4, 4):
            raise OptionError(f"transform matrix {self.matrix} is not 4 x 4")
        object.__setattr__(self, "matrix", tuple(tuple(map(float, row)) for row in rows))
        if self.map_type not in LINEAR_MAPS:
            raise OptionError(
                f"transform map {self.map_type!r} is not one of {', '.join(LINEAR_MAPS)}"
            )
        matrix = self.array()
        if not np.isfinite(matrix).all() or not _determinant(matrix) > 0.0:
            raise OptionError(f"transform matrix {self.matrix} is not finite and invertible")
        if matrix[:, 3].tolist() != [0.0, 0.0, 0.0, 1.0]:
            raise OptionError(
                f"transform matrix {self.matrix} is not affine: its last column must be 0, 0, 0, 1"
            )

    @staticmethod
    def from_voxel_size(voxel_size: Any, origin: Any = (0, 0, 0)) -> Transform:
        """Make a transform with axis-aligned voxels.

        voxel_size: edge of a voxel in world units, or its edges along x, y and z
        origin: where index (0, 0, 0) lies in world space
        Raises OptionError for what is neither one number nor three.
        """
        sizes, place = _three(voxel_size, "voxel size"), _three(origin, "origin")
        kind = "UniformScale" if len(set(sizes)) == 1 else "Scale"
        kind += "TranslateMap" if any(place) else "Map"
        rows = [tuple(sizes[r] if r == c else 0.0 for c in range(4)) for r in range(3)]
        return Transform(kind, (*rows, (*place, 1.0)))

    def array(self) -> NDArray[np.float64]:
        """Give the matrix as an array float64 (4, 4)."""
        return np.array(self.matrix, dtype=np.float64)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in world units."""
        x, y, z = np.sqrt(np.square(self.array()[:3, :3]).sum(axis=1)).tolist()
        return x, y, z

    def index_to_world(self, points: Any) -> Any:
        """Map points (N, 3) of index space to world space.

        points: an array, or a tensor of any device
        Gives the same kind and dtype; computes in float64.
        """
        return _apply(points, self.array())

    def world_to_index(self, points: Any) -> Any:
        """Map points (N, 3) of world space to index space.

        points: an array, or a tensor of any device
        Gives the same kind and dtype; computes in float64.
        """
        return _apply(points, np.linalg.inv(self.array()))


def _determinant(matrix: NDArray[np.float64]) -> float:
    """Give the absolute value of the determinant; infinity where it is beyond float64."""
    with np.errstate(all="ignore"):
        return abs(float(np.linalg.det(matrix)))


def _three(values: Any, what: str) -> tuple[float, ...]:
    """Give three numbers of one, or of three."""
    found = as_array(values, what)
    if found.shape not in ((), (3,)):
        raise OptionError(f"{what} {values!r} is neither one number nor three")
    return tuple(map(float, np.broadcast_to(found, 3)))


def _apply(points: Any, matrix: NDArray[np.float64]) -> Any:
    """Map points (N, 3) by a matrix (4, 4), computed in float64 and rounded to their own dtype."""
    if not is_tensor(points):
        wide = points.astype(np.float64)
        return (wide @ matrix[:3, :3] + matrix[3, :3]).astype(points.dtype)
    wide = (points.cpu() if points.device.type == "mps" else points).double()
    turn = wide.new_tensor(matrix)
    return (wide @ turn[:3, :3] + turn[3, :3]).to(points.device, points.dtype)
