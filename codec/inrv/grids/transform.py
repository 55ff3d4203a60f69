"""Index space to world space: OpenVDB's linear maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.grids.normalisation import in_double

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
    last row. `map_type` is OpenVDB's name of the map, kept so that a decoded file holds the same kind of map.
    Raises OptionError for an unknown map type or a matrix that is not finite, invertible and affine.
    """

    map_type: str = "UniformScaleMap"
    matrix: Matrix = IDENTITY

    def __post_init__(self) -> None:
        if [len(row) for row in self.matrix] != [4] * 4:
            raise OptionError(f"transform matrix {self.matrix} is not 4 x 4")
        if self.map_type not in LINEAR_MAPS:
            raise OptionError(f"transform map {self.map_type!r} is not one of {', '.join(LINEAR_MAPS)}")
        matrix = self.tensor()
        if not bool(matrix.isfinite().all()) or not abs(float(torch.linalg.det(matrix))) > 0.0:
            raise OptionError(f"transform matrix {self.matrix} is not finite and invertible")
        if matrix[:, 3].tolist() != [0.0, 0.0, 0.0, 1.0]:
            raise OptionError(f"transform matrix {self.matrix} is not affine: its last column must be 0, 0, 0, 1")

    @staticmethod
    def from_voxel_size(
        voxel_size: float | tuple[float, float, float], origin: tuple[float, float, float] = (0, 0, 0)
    ) -> Transform:
        """A transform with axis-aligned voxels of `voxel_size` world units and index (0, 0, 0) at world `origin`."""
        sizes = (voxel_size,) * 3 if isinstance(voxel_size, (int, float)) else tuple(voxel_size)
        kind = "UniformScale" if len(set(sizes)) == 1 else "Scale"
        kind += "TranslateMap" if any(origin) else "Map"
        rows = [tuple(float(sizes[r]) if r == c else 0.0 for c in range(4)) for r in range(3)]
        return Transform(kind, (*rows, (*map(float, origin), 1.0)))

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


def _apply(points: Tensor, matrix: Tensor) -> Tensor:
    wide = in_double(points)
    return (wide @ matrix[:3, :3].to(wide.device) + matrix[3, :3].to(wide.device)).to(points.device, points.dtype)
