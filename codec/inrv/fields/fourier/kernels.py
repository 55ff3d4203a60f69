"""Compiled kernels for Fourier features and their gradient on CPUs.

`features.py` computes the same with tensors. Features and their gradients (N, 2 k) hold all
cosines, then all sines, as float32, or as uint16 with the bits of bfloat16.
"""

from __future__ import annotations

import numpy as np

from inrv.support.compiled import compiled


@compiled
def products(places, cosines, sines, features):
    """Fill `features` with the cosines and sines of sums of three angles.

    places: uint32 (N, 3) rows of the tables, one along each axis
    cosines: float32 (rows, k)
    sines: float32 (rows, k)
    features: (N, 2 k) to be filled
    """
    frequencies = cosines.shape[1]
    row = np.empty(2 * frequencies, dtype=np.float32)
    for voxel in range(len(places)):
        x, y, z = places[voxel]
        cosine_x, cosine_y, cosine_z = cosines[x], cosines[y], cosines[z]
        sine_x, sine_y, sine_z = sines[x], sines[y], sines[z]
        for j in range(frequencies):
            cosine = cosine_x[j] * cosine_y[j] - sine_x[j] * sine_y[j]
            sine = sine_x[j] * cosine_y[j] + cosine_x[j] * sine_y[j]
            row[j] = cosine * cosine_z[j] - sine * sine_z[j]
            row[frequencies + j] = sine * cosine_z[j] + cosine * sine_z[j]
        narrow(row, features[voxel])


@compiled
def gradient(positions, features, by_features, result):
    """Add the gradient by frequency, up to a factor of 2 pi, to `result`.

    It is the sum over all positions of position * (cos * d/dsin - sin * d/dcos).

    positions: float32 (N, 3)
    features: (N, 2 k)
    by_features: (N, 2 k) gradient by the features
    result: float32 (k, 3) to be added to
    """
    frequencies = len(result)
    row = np.empty(2 * frequencies, dtype=np.float32)
    slopes = np.empty(2 * frequencies, dtype=np.float32)
    sums = np.zeros((3, frequencies), dtype=np.float32)
    for voxel in range(len(positions)):
        widen(features[voxel], row)
        widen(by_features[voxel], slopes)
        x, y, z = positions[voxel]
        for j in range(frequencies):
            by_phase = row[j] * slopes[frequencies + j] - row[frequencies + j] * slopes[j]
            sums[0, j] += by_phase * x
            sums[1, j] += by_phase * y
            sums[2, j] += by_phase * z
    result += sums.T


@compiled
def narrow(row, stored):
    """Store a row float32; bfloat16 is rounded to the nearest, ties to even."""
    if stored.itemsize == 4:
        for j in range(len(row)):
            stored[j] = row[j]
        return
    bits = row.view(np.uint32)
    for j in range(len(row)):
        stored[j] = (
            bits[j] + np.uint32(0x7FFF) + ((bits[j] >> np.uint32(16)) & np.uint32(1))
        ) >> np.uint32(16)


@compiled
def widen(stored, row):
    """Read a stored row into `row` float32."""
    if stored.itemsize == 4:
        for j in range(len(row)):
            row[j] = stored[j]
        return
    bits = row.view(np.uint32)
    for j in range(len(row)):
        bits[j] = np.uint32(stored[j]) << np.uint32(16)
