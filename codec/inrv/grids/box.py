"""Boxes of voxels in index space."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.grids.blocks import LEAF_EDGE
from inrv.support.arrays import as_array, as_triple

Triple = tuple[int, int, int]
FARTHEST = (1 << 31) - 1  # coordinate along an axis, as OpenVDB's; voxels lie much nearer


@dataclass(frozen=True)
class Box:
    """The voxels from `lower` to `upper`, both included, as OpenVDB's CoordBBox.

    lower: lowest corner in index space: a tuple, list or array of three whole numbers
    upper: highest corner, of the same kinds
    Raises OptionError where a corner is something else or not within +-FARTHEST, or where the box
    is empty.
    """

    lower: Triple
    upper: Triple

    def __post_init__(self) -> None:
        for corner in ("lower", "upper"):
            found = as_triple(getattr(self, corner), f"{corner} corner of a box")
            if max(map(abs, found)) > FARTHEST:
                raise OptionError(
                    f"{corner} corner {found} of a box is too far away: coordinates are from "
                    f"-{FARTHEST} to {FARTHEST}"
                )
            object.__setattr__(self, corner, found)
        if any(low > high for low, high in zip(self.lower, self.upper, strict=True)):
            raise OptionError(
                f"box {self.lower} to {self.upper} is empty: "
                "every lower bound must be <= its upper bound"
            )

    @staticmethod
    def of(box: Any) -> Box:
        """Make a box of a box, or of its two corners: a pair of triples or an array (2, 3).

        Raises OptionError for anything else.
        """
        if isinstance(box, Box):
            return box
        corners: Any = as_array(box, "a box")
        if corners.shape != (2, 3):
            raise OptionError(
                "a box is a lower and an upper corner of three whole numbers each, "
                f"not {corners.tolist()}"
            )
        return Box(*corners)

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
        """Give the smallest box that holds both."""
        lower = _triple(map(min, self.lower, other.lower))
        return Box(lower, _triple(map(max, self.upper, other.upper)))

    def intersection(self, other: Box) -> Box | None:
        """Give the voxels in both, or None where there are none."""
        lower = _triple(map(max, self.lower, other.lower))
        upper = _triple(map(min, self.upper, other.upper))
        empty = any(low > high for low, high in zip(lower, upper, strict=True))
        return None if empty else Box(lower, upper)

    def leaf_origins(self) -> NDArray[np.int64]:
        """Give the origins int64 (n, 3) of all 8^3 leaf blocks that touch the box."""
        axes = [
            np.arange(low // LEAF_EDGE * LEAF_EDGE, high + 1, LEAF_EDGE, dtype=np.int64)
            for low, high in zip(self.lower, self.upper, strict=True)
        ]
        corners: NDArray[np.int64] = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return corners.reshape(-1, 3)

    def leaves_within(self, origins: NDArray[Any]) -> NDArray[Any]:
        """Choose those of the leaf origins (n, 3) whose leaf touches the box."""
        chosen: NDArray[Any] = origins[self.touched(origins, LEAF_EDGE)]
        return chosen

    def touched(self, corners: NDArray[Any], edge: int) -> NDArray[np.int64]:
        """Give the numbers, ascending, of the cubes that touch the box.

        corners: integers (n, 3) lowest corner of each
        edge: of all of them
        """
        touching = np.ones(len(corners), dtype=np.bool_)
        for axis, (lower, upper) in enumerate(zip(self.lower, self.upper, strict=True)):
            touching &= (corners[:, axis] <= upper) & (corners[:, axis] > lower - edge)
        return np.flatnonzero(touching)

    def multiples(self, stride: int) -> Box | None:
        """Give the box of the voxels at multiples of a stride, in strides; None for none."""
        lower = _triple(-(-low // stride) for low in self.lower)
        upper = _triple(high // stride for high in self.upper)
        empty = any(low > high for low, high in zip(lower, upper, strict=True))
        return None if empty else Box(lower, upper)

    def contains(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which points (N, 3) lie in the box: bool (N,)."""
        inside = np.ones(len(points), dtype=np.bool_)
        for axis, (lower, upper) in enumerate(zip(self.lower, self.upper, strict=True)):
            inside &= (points[:, axis] >= lower) & (points[:, axis] <= upper)
        return inside


def _triple(values: Iterable[int]) -> Triple:
    x, y, z = values
    return x, y, z
