"""Boxes of voxels in index space."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.support.arrays import as_array, as_triple

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """Voxels from `lower` to `upper` in index space, both included, as OpenVDB's CoordBBox.

    The corners may be tuples, lists or arrays of three whole numbers. Raises OptionError for others.
    """

    lower: Triple
    upper: Triple

    def __post_init__(self) -> None:
        for corner in ("lower", "upper"):
            object.__setattr__(self, corner, as_triple(getattr(self, corner), f"{corner} corner of a box"))
        if any(low > high for low, high in zip(self.lower, self.upper, strict=True)):
            raise OptionError(f"box {self.lower} to {self.upper} is empty: every lower bound must be <= its upper bound")

    @staticmethod
    def of(box: Any) -> Box:
        """A box, or its lower and upper corner: a pair of triples, an array (2, 3). Raises OptionError."""
        if isinstance(box, Box):
            return box
        corners = as_array(box, "a box")
        if corners.shape != (2, 3):
            raise OptionError(f"a box is a lower and an upper corner of three whole numbers each, not {corners.tolist()}")
        lower, upper = (as_triple(corner, "corner of a box") for corner in corners)
        return Box(lower, upper)

    @property
    def shape(self) -> Triple:
        """Voxels along x, y and z."""
        x, y, z = (high - low + 1 for low, high in zip(self.lower, self.upper, strict=True))
        return x, y, z

    @property
    def volume(self) -> int:
        """Number of voxels."""
        x, y, z = self.shape
        return x * y * z

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(_triple(map(min, self.lower, other.lower)), _triple(map(max, self.upper, other.upper)))

    def intersection(self, other: Box) -> Box | None:
        """The voxels in both, or None."""
        lower, upper = _triple(map(max, self.lower, other.lower)), _triple(map(min, self.upper, other.upper))
        return None if any(low > high for low, high in zip(lower, upper, strict=True)) else Box(lower, upper)

    def leaf_origins(self, device: torch.device | str = "cpu") -> Tensor:
        """Origins (n, 3) int64 of all 8^3 leaf blocks that touch the box."""
        axes = [torch.arange(low // 8 * 8, high + 1, 8, device=device) for low, high in zip(self.lower, self.upper, strict=True)]
        return torch.cartesian_prod(*axes).reshape(-1, 3)

    def contains(self, points: Tensor) -> Tensor:
        """Bool (N,): which points (N, 3) lie in the box."""
        lower, upper = points.new_tensor(self.lower), points.new_tensor(self.upper)
        return ((points >= lower) & (points <= upper)).all(dim=1)


def _triple(values: Iterable[int]) -> Triple:
    x, y, z = values
    return x, y, z
