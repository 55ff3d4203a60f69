"""Values between voxels.

NumPy arrays and torch tensors, whose gradients are kept, go through one arithmetic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# By integer coordinates int64 (n, 3), always NumPy: values (n, C), in whatever library the points
# are.
VoxelValues = Callable[[NDArray[np.int64]], Any]
CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))


def nearest(points: Any, voxels: VoxelValues) -> Any:
    """The value (N, C) of the voxel whose centre is nearest to each index-space point (N, 3)."""
    return voxels(np.floor(_numbers(points) + 0.5).astype(np.int64))


def trilinear(points: Any, voxels: VoxelValues) -> Any:
    """Interpolate values (N, C) between voxels at index-space points (N, 3).

    As OpenVDB's BoxSampler does, it takes the 8 voxels around each point.

    Each voxel is asked for once. Differentiable in the points and, where `voxels` is, in its
    values.
    """
    base = np.floor(_numbers(points))
    around = base.astype(np.int64)[:, None, :] + CORNERS
    unique, inverse = different(around.reshape(-1, 3))
    found = voxels(unique)
    values = found[inverse].reshape(len(base), len(CORNERS), found.shape[1])
    beyond = points - (base if isinstance(points, np.ndarray) else points.new_tensor(base))
    result: Any = -0.0  # it changes no sum, where 0 would change -0.0
    for number, corner in enumerate(CORNERS):
        weight: Any = 1
        for axis, upper in enumerate(corner):
            weight = weight * (beyond[:, axis] if upper else 1 - beyond[:, axis])
        # A voxel without weight tells nothing, NaN and infinity no more than others.
        told = (
            values[:, number].copy()
            if isinstance(values, np.ndarray)
            else values[:, number].clone()
        )
        told[weight == 0] = -0.0
        with np.errstate(over="ignore", invalid="ignore"):  # exact values may not be finite
            result = result + told * weight[:, None]
    return result


def shifted(
    points: NDArray[np.float64],
    parts: Sequence[tuple[tuple[float, float, float], slice]],
    in_nearest: bool,
    voxels: VoxelValues,
) -> NDArray[np.float32]:
    """Values float32 (N, C) at points (N, 3), which are shifted for some components.

    parts: by what points are shifted, for which components
    in_nearest: whether they are those of the nearest voxel, and not interpolated
    """
    interpolation = nearest if in_nearest else trilinear
    found = [interpolation(points + shift, voxels)[:, own] for shift, own in parts]
    joined: NDArray[np.float32] = np.concatenate(found, axis=1).astype(np.float32)
    return joined


def gradient(points: NDArray[np.float64], voxels: VoxelValues) -> NDArray[np.float64]:
    """The derivatives float64 (N, C, 3) of `trilinear` at index-space points (N, 3).

    Where it has a kink, in the planes of voxels, they are those of its upper side.
    """
    base = np.floor(points)
    beyond = points - base
    around = base.astype(np.int64)[:, None, :] + CORNERS
    values = voxels(around.reshape(-1, 3)).reshape(len(base), len(CORNERS), -1).astype(np.float64)
    result = np.zeros((len(base), values.shape[2], 3))
    for number, corner in enumerate(CORNERS):
        shares = np.where(corner, beyond, 1 - beyond)
        for axis in range(3):
            others = np.delete(shares, axis, axis=1).prod(axis=1)
            sign = 1 if corner[axis] else -1
            result[:, :, axis] += sign * others[:, None] * values[:, number]
    return result


def _numbers(points: Any) -> NDArray[Any]:
    return points if isinstance(points, np.ndarray) else points.detach().cpu().numpy()


def different(coordinates: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the different ones of some coordinates int64 (N, 3).

    Returns them in order, and for each of all its place among them (N,).
    """
    if not len(coordinates):
        return coordinates, np.zeros(0, dtype=np.int64)
    lowest = coordinates.min(axis=0)
    lengths = [int(length) for length in coordinates.max(axis=0) - lowest + 1]
    if math.prod(lengths) >= 1 << 62:
        unique, inverse = np.unique(coordinates, axis=0, return_inverse=True)
        return unique, inverse.reshape(-1)
    x, y, z = (coordinates - lowest).T  # as one number: several times faster to sort
    keys, inverse = np.unique((x * lengths[1] + y) * lengths[2] + z, return_inverse=True)
    planes, depth = lengths[1], lengths[2]
    parts = [keys // depth // planes, keys // depth % planes, keys % depth]
    return np.stack(parts, axis=1) + lowest, inverse.reshape(-1)
