"""Index space to world space: OpenVDB's linear maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.grids.normalisation import in_double
from inrv.support.arrays import as_array

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
IDENTITY: Matrix = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Transform:
    """A linear map from index space to world space.

    `matrix` is 4 x 4 in OpenVDB's row-vector convention, [i j k 1] @ matrix = [x y z 1], so the translation is the
    last row; it may be given as an array. `map_type` is OpenVDB's name of the map, kept so that a decoded file holds the
    same kind of map.
    Raises OptionError for an unknown map type or a matrix that is not finite, invertible and affine.
    """

    map_type: str = "UniformScaleMap"
    matrix: Matrix = IDENTITY

    def __post_init__(self) -> None:
        rows = as_array(self.matrix, "transform matrix")
        if rows.shape != (4, 4):
            raise OptionError(f"transform matrix {self.matrix} is not 4 x 4")
        object.__setattr__(self, "matrix", tuple(tuple(map(float, row)) for row in rows))
        if self.map_type not in LINEAR_MAPS:
            raise OptionError(f"transform map {self.map_type!r} is not one of {', '.join(LINEAR_MAPS)}")
        matrix = self.tensor()
        if not bool(matrix.isfinite().all()) or not abs(float(torch.linalg.det(matrix))) > 0.0:
            raise OptionError(f"transform matrix {self.matrix} is not finite and invertible")
        if matrix[:, 3].tolist() != [0.0, 0.0, 0.0, 1.0]:
            raise OptionError(f"transform matrix {self.matrix} is not affine: its last column must be 0, 0, 0, 1")

    @staticmethod
    def from_voxel_size(voxel_size: Any, origin: Any = (0, 0, 0)) -> Transform:
        """A transform with axis-aligned voxels.

        voxel_size  edge of a voxel in world units, or its edges along x, y and z
        origin      where index (0, 0, 0) lies in world space
        """
        sizes, place = _three(voxel_size, "voxel size"), _three(origin, "origin")
        kind = "UniformScale" if len(set(sizes)) == 1 else "Scale"
        kind += "TranslateMap" if any(place) else "Map"
        rows = [tuple(sizes[r] if r == c else 0.0 for c in range(4)) for r in range(3)]
        return Transform(kind, (*rows, (*place, 1.0)))

    def tensor(self) -> Tensor:
        """The matrix as a float64 tensor (4, 4) on the CPU."""
        return torch.tensor(self.matrix, dtype=torch.float64, device="cpu")

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in world units."""
        x, y, z = self.tensor()[:3, :3].norm(dim=1).tolist()
        return x, y, z

    def index_to_world(self, points: Tensor) -> Tensor:
        """Index-space points (N, 3) to world space, same dtype and device; computed in float64."""
        return _apply(points, self.tensor())

    def world_to_index(self, points: Tensor) -> Tensor:
        """World-space points (N, 3) to index space, same dtype and device; computed in float64."""
        return _apply(points, torch.linalg.inv(self.tensor()))


def _three(values: Any, what: str) -> tuple[float, ...]:
    """Three numbers, of one or of three."""
    found = as_array(values, what)
    if found.shape not in ((), (3,)):
        raise OptionError(f"{what} {values!r} is neither one number nor three")
    return tuple(map(float, np.broadcast_to(found, 3)))


def _apply(points: Tensor, matrix: Tensor) -> Tensor:
    wide = in_double(points)
    return (wide @ matrix[:3, :3].to(wide.device) + matrix[3, :3].to(wide.device)).to(points.device, points.dtype)
