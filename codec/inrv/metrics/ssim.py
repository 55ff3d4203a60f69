"""Structural similarity: Wang et al. 2004, in 3D, with a uniform window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WINDOW = 7  # voxels along an axis
LUMINANCE, CONTRAST = 0.01**2, 0.03**2  # the constants C1 and C2, for a range of 1


def structural_similarity(a: Array, b: Array) -> float:
    """Give the mean SSIM over all windows of 7^3 voxels that lie within two arrays.

    a, b: float64 (X, Y, Z) values normalised to a range of 1, at least 7 along each axis
    Gives what scikit-image's function of this name gives with `win_size=7` and `data_range=1`.
    """
    voxels = WINDOW**3
    mean_a, mean_b = _window_sums(a) / voxels, _window_sums(b) / voxels
    product, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    sample = voxels / (voxels - 1)  # makes variances of the window those of what it is a sample of
    covariance = sample * (_window_sums(a * b) / voxels - product)
    variances = sample * (_window_sums(a * a + b * b) / voxels - squares)
    upper = (2 * product + LUMINANCE) * (2 * covariance + CONTRAST)
    lower = (squares + LUMINANCE) * (variances + CONTRAST)
    return float((upper / lower).mean())


def _window_sums(array: Array) -> Array:
    """Sum each window of 7^3 voxels: float64 (X - 6, Y - 6, Z - 6)."""
    for axis in range(3):
        along = np.moveaxis(array, axis, 0)
        count = len(along) - WINDOW + 1
        pairs = along[:-1] + along[1:]
        total = pairs[:count] + pairs[2 : count + 2]
        total += pairs[4 : count + 4]
        total += along[WINDOW - 1 :]
        array = np.moveaxis(total, 0, axis)
    return array
