"""Fourier features and their gradient, computed by the core: codec/core/fourier.h.

Features and their gradients (N, 2 k) hold all cosines, then all sines, as float32, or as uint16
with the bits of bfloat16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.library import instruction_sets, library

Floats = NDArray[np.float32]


def products(
    places: NDArray[np.uint32], cosines: Floats, sines: Floats, features: NDArray[Any]
) -> None:
    """Fill `features` with the cosines and sines of sums of three or four angles.

    places: uint32 (N, axes) rows of the tables, one along each axis
    cosines: float32 (rows, k)
    sines: float32 (rows, k)
    features: (N, 2 k) to be filled
    """
    library().inrv_features(
        instruction_sets(), places, *places.shape, cosines.shape[1], cosines, sines,
        features.itemsize == 2, features.ctypes.data,
    )  # fmt: skip


def gradient(
    positions: Floats, features: NDArray[Any], by_features: NDArray[Any], result: Floats
) -> None:
    """Add the gradient by frequency, up to a factor of 2 pi, to `result`.

    It is the sum over all positions of position * (cos * d/dsin - sin * d/dcos).

    positions: float32 (N, axes)
    features: (N, 2 k)
    by_features: (N, 2 k) gradient by the features
    result: float32 (k, axes) to be added to
    """
    library().inrv_features_gradient(
        instruction_sets(), positions, *positions.shape, len(result), features.itemsize == 2,
        features.ctypes.data, by_features.ctypes.data, result,
    )  # fmt: skip
