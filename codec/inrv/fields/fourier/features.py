"""Fourier features of positions and their gradient, eq. (1) of Zurkova et al. 2025.

On a CPU the features of many voxels cost more than the products of a layer. There, a sine and a
cosine are computed for each coordinate that occurs along each axis, not for each voxel. The cosine
and sine of the sum x + y + z, or x + y + z + t with time, follow from these by products.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.core.features import gradient, products


def features_at(
    positions: Tensor, frequencies: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the features (N, 2 k): the cosines, then the sines, of 2 pi frequency . position.

    positions: float32 (N, axes)
    frequencies: float32 (k, axes)
    dtype: dtype of the features
    """
    phase = positions @ (2 * math.pi * frequencies).T
    return torch.cat([phase.cos().to(dtype), phase.sin().to(dtype)], dim=1)


def features_of_voxels(
    voxels: Tensor, origin: Tensor, scale: Tensor, frequencies: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return the features (N, 2 k) at positions (voxel - origin) * scale.

    voxels: int32 (N, axes) index space, and the place in time where there are four axes
    origin: float32 (axes,) the voxel with position 0
    scale: float32 (axes,) position per voxel
    frequencies: float32 (k, axes)
    dtype: dtype of the features

    On a CPU they are computed by products where voxels share coordinates.
    """
    if voxels.device.type == "cpu" and not torch.compiler.is_compiling() and len(voxels):
        lowest = voxels.amin(dim=0).long()
        lengths = voxels.amax(dim=0).long() - lowest + 1
        if int(lengths.sum()) <= len(voxels):
            return _by_products(voxels, lowest, lengths, origin, scale, frequencies, dtype)
    positions = (voxels.float() - origin) * scale
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return features_at(positions, frequencies, dtype)
    # Written in place, and rounded as they are: a GPU spends more time on moving them than on
    # computing them.
    phase = positions @ (2 * math.pi * frequencies).T
    features = torch.empty((len(voxels), 2 * len(frequencies)), dtype=dtype, device=voxels.device)
    cosines, sines = features.chunk(2, dim=1)
    torch.cos(phase, out=cosines)
    torch.sin(phase, out=sines)
    return features


def _by_products(
    voxels: Tensor,
    lowest: Tensor,
    lengths: Tensor,
    origin: Tensor,
    scale: Tensor,
    frequencies: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Compute features from a table of the coordinates along each axis.

    lowest: int64 (axes,) the first coordinate along each axis
    lengths: int64 (axes,) the number of coordinates along each axis
    """
    angles = []
    for axis, length in enumerate(lengths.tolist()):
        positions = (torch.arange(length) + lowest[axis] - origin[axis]) * scale[axis]
        cycles = positions[:, None] * frequencies[:, axis]
        angles.append((cycles - cycles.round()) * (2 * math.pi))
    table = torch.cat(angles)
    places = (voxels + (lengths.cumsum(0) - lengths - lowest)).numpy().astype(np.uint32)
    features = torch.empty((len(voxels), 2 * len(frequencies)), dtype=dtype)
    products(places, table.cos().numpy(), table.sin().numpy(), as_numbers(features))
    return features


def gradient_of_frequencies(positions: Tensor, features: Tensor, by_features: Tensor) -> Tensor:
    """Return the gradient float32 (k, axes) of a loss by the frequencies.

    positions: float32 (N, axes)
    features: (N, 2 k) `features_at` the positions
    by_features: (N, 2 k) gradient of the loss by the features
    """
    if by_features.device.type == "cpu" and not torch.compiler.is_compiling():
        result = np.zeros((features.shape[1] // 2, positions.shape[1]), dtype=np.float32)
        gradient(
            positions.contiguous().numpy(),
            as_numbers(features),
            as_numbers(by_features.contiguous()),
            result,
        )
        return 2 * math.pi * torch.from_numpy(result)
    cosines, sines = features.chunk(2, dim=1)
    by_cosines, by_sines = by_features.chunk(2, dim=1)
    by_phase = cosines * by_sines - sines * by_cosines
    return 2 * math.pi * (by_phase.T @ positions.to(by_phase.dtype)).float()


def as_numbers(tensor: Tensor) -> NDArray[Any]:
    """Return a view of a tensor: float32, or uint16 with the bits of bfloat16."""
    return (
        tensor.view(torch.int16).numpy().view(np.uint16)
        if tensor.dtype == torch.bfloat16
        else tensor.numpy()
    )
