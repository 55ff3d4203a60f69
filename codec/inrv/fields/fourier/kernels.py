"""Fourier features on CPUs and their gradient, compiled. What they compute is in `features.py`, with tensors.

Features and their gradients (N, 2 k) hold all cosines, then all sines, as float32 or as uint16, the bits of bfloat16.
"""

from __future__ import annotations

import numpy as np

from inrv.support.compiled import compiled


@compiled
def products(places, cosines, sines, features):
    """Fill `features` for sums of three angles, whose rows in the tables `cosines` and `sines` (rows, k) are uint32 (N, 3)."""
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
def gradient(positions, features, given, result):
    """Add to `result` (k, 3) the gradient by phase, cos * d/dsin - sin * d/dcos, times `positions` (N, 3), summed over all."""
    frequencies = len(result)
    row, given_row = (
        np.empty(2 * frequencies, dtype=np.float32),
        np.empty(2 * frequencies, dtype=np.float32),
    )
    sums = np.zeros((3, frequencies), dtype=np.float32)
    for voxel in range(len(positions)):
        widen(features[voxel], row)
        widen(given[voxel], given_row)
        x, y, z = positions[voxel]
        for j in range(frequencies):
            by_phase = row[j] * given_row[frequencies + j] - row[frequencies + j] * given_row[j]
            sums[0, j] += by_phase * x
            sums[1, j] += by_phase * y
            sums[2, j] += by_phase * z
    result += sums.T


@compiled
def narrow(row, stored):
    """Store a row of float32; as bfloat16 to the nearest, to the even one of two."""
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
    """Read a stored row as float32."""
    if stored.itemsize == 4:
        for j in range(len(row)):
            row[j] = stored[j]
        return
    bits = row.view(np.uint32)
    for j in range(len(row)):
        bits[j] = np.uint32(stored[j]) << np.uint32(16)
