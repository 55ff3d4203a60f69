"""Fourier features of positions, eq. (1) of Zurkova et al. 2025, and their gradient.

On a CPU the features of many voxels cost more than the products of a layer. There a sine and a cosine are computed for
each coordinate that occurs along each axis, not for each voxel: cos and sin of x + y + z follow by products.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.fields.fourier import kernels


def features_at(
    positions: Tensor, frequencies: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """[cos, sin] (N, 2 k) of 2 pi frequencies . position; positions float32 (N, 3), frequencies float32 (k, 3)."""
    phase = positions @ (2 * math.pi * frequencies).T
    return torch.cat([phase.cos().to(dtype), phase.sin().to(dtype)], dim=1)


def features_of_voxels(
    voxels: Tensor, origin: Tensor, scale: float, frequencies: Tensor, dtype: torch.dtype
) -> Tensor:
    """`features_at` of (voxel - origin) * scale, voxels int32 (N, 3); on a CPU by products, where voxels share coordinates."""
    if voxels.device.type == "cpu" and not torch.compiler.is_compiling() and len(voxels):
        lowest = voxels.amin(dim=0).long()
        lengths = voxels.amax(dim=0).long() - lowest + 1
        if int(lengths.sum()) <= len(voxels):
            return _by_products(voxels, lowest, lengths, origin, scale, frequencies, dtype)
    return features_at((voxels.float() - origin) * scale, frequencies, dtype)


def _by_products(
    voxels: Tensor,
    lowest: Tensor,
    lengths: Tensor,
    origin: Tensor,
    scale: float,
    frequencies: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """The features from tables of the `lengths` (3,) coordinates along each axis from `lowest` (3,) on."""
    angles = []
    for axis, length in enumerate(lengths.tolist()):
        positions = (torch.arange(length) + lowest[axis] - origin[axis]) * scale
        cycles = positions[:, None] * frequencies[:, axis]
        angles.append((cycles - cycles.round()) * (2 * math.pi))
    table = torch.cat(angles)
    places = (voxels + (lengths.cumsum(0) - lengths - lowest)).numpy().astype(np.uint32)
    features = torch.empty((len(voxels), 2 * len(frequencies)), dtype=dtype)
    kernels.products(places, table.cos().numpy(), table.sin().numpy(), as_numbers(features))
    return features


def gradient_of_frequencies(positions: Tensor, features: Tensor, given: Tensor) -> Tensor:
    """The gradient float32 (k, 3) of `features_at` by its frequencies, where `given` (N, 2 k) is that by the features."""
    if given.device.type == "cpu" and not torch.compiler.is_compiling():
        result = np.zeros((features.shape[1] // 2, 3), dtype=np.float32)
        kernels.gradient(
            positions.numpy(), as_numbers(features), as_numbers(given.contiguous()), result
        )
        return 2 * math.pi * torch.from_numpy(result)
    cosines, sines = features.chunk(2, dim=1)
    by_cosines, by_sines = given.chunk(2, dim=1)
    by_phase = cosines * by_sines - sines * by_cosines
    return 2 * math.pi * (by_phase.T @ positions.to(by_phase.dtype)).float()


def as_numbers(tensor: Tensor) -> NDArray[Any]:
    """The memory of a float32 or bfloat16 tensor, as NumPy knows it: float32, or uint16."""
    return (
        tensor.view(torch.int16).numpy().view(np.uint16)
        if tensor.dtype == torch.bfloat16
        else tensor.numpy()
    )
