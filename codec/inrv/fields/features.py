"""Fourier features of positions, eq. (1) of Zurkova et al. 2025, and their gradient.

On a CPU the features of many voxels cost more than the products of a layer. There a sine and a cosine are computed for
each coordinate that occurs along each axis, not for each voxel: cos and sin of x + y + z follow by products.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.fields import kernels

FEWEST_ROWS = 256  # a thread
Result = TypeVar("Result")


def features_at(positions: Tensor, frequencies: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """[cos, sin] (N, 2 k) of 2 pi frequencies . position; positions float32 (N, 3), frequencies float32 (k, 3)."""
    phase = positions @ (2 * math.pi * frequencies).T
    return torch.cat([phase.cos().to(dtype), phase.sin().to(dtype)], dim=1)


def features_of_voxels(voxels: Tensor, origin: Tensor, scale: float, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
    """`features_at` of (voxel - origin) * scale, voxels int32 (N, 3); on a CPU by products, where voxels share coordinates."""
    found = None if voxels.device.type != "cpu" or torch.compiler.is_compiling() else _Tables.of(voxels)
    if found is None:
        return features_at((voxels.float() - origin) * scale, frequencies, dtype)
    return found.features(voxels, origin, scale, frequencies, dtype)


class _Tables:
    """Coordinates along the axes, from `lowest` (3,) on, `lengths` (3,) of them."""

    def __init__(self, lowest: Tensor, lengths: Tensor) -> None:
        self.lowest, self.lengths = lowest, lengths

    @staticmethod
    def of(voxels: Tensor) -> _Tables | None:
        """Those of the voxels; None where they would be more than voxels."""
        if not len(voxels):
            return None
        lowest = voxels.amin(dim=0).long()
        lengths = voxels.amax(dim=0).long() - lowest + 1
        return None if int(lengths.sum()) > len(voxels) else _Tables(lowest, lengths)

    def features(self, voxels: Tensor, origin: Tensor, scale: float, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
        """See `features_of_voxels`."""
        angles = []
        for axis, length in enumerate(self.lengths.tolist()):
            positions = (torch.arange(length) + self.lowest[axis] - origin[axis]) * scale
            cycles = positions[:, None] * frequencies[:, axis]
            angles.append((cycles - cycles.round()) * (2 * math.pi))
        table = torch.cat(angles)
        cosines, sines = table.cos().numpy(), table.sin().numpy()
        places = (voxels + (self.lengths.cumsum(0) - self.lengths - self.lowest)).numpy().astype(np.uint32)
        features = torch.empty((len(voxels), 2 * len(frequencies)), dtype=dtype)
        rows = as_numbers(features)
        in_parts(len(voxels), lambda part: kernels.products(places[part], cosines, sines, rows[part]))
        return features


def gradient_of_frequencies(positions: Tensor, features: Tensor, given: Tensor) -> Tensor:
    """The gradient float32 (k, 3) of `features_at` by its frequencies, where `given` (N, 2 k) is that by the features."""
    if given.device.type == "cpu" and not torch.compiler.is_compiling():
        return 2 * math.pi * _gradient_on_cpu(positions, features, given)
    cosines, sines = features.chunk(2, dim=1)
    by_cosines, by_sines = given.chunk(2, dim=1)
    by_phase = cosines * by_sines - sines * by_cosines
    return 2 * math.pi * (by_phase.T @ positions.to(by_phase.dtype)).float()


def _gradient_on_cpu(positions: Tensor, features: Tensor, given: Tensor) -> Tensor:
    where, rows, given_rows = positions.numpy(), as_numbers(features), as_numbers(given.contiguous())

    def of_part(part: slice) -> NDArray[np.float32]:
        result = np.zeros((features.shape[1] // 2, 3), dtype=np.float32)
        kernels.gradient(where[part], rows[part], given_rows[part], result)
        return result

    return torch.from_numpy(np.sum(in_parts(len(positions), of_part), axis=0, dtype=np.float32))


def as_numbers(tensor: Tensor) -> NDArray[Any]:
    """The memory of a float32 or bfloat16 tensor, as NumPy knows it: float32, or uint16."""
    return tensor.view(torch.int16).numpy().view(np.uint16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def in_parts(rows: int, work: Callable[[slice], Result]) -> list[Result]:
    """The results of `work` on all rows, part by part, in as many threads as torch has and makes sense."""
    parts = max(1, min(torch.get_num_threads(), rows // FEWEST_ROWS))
    bounds = [rows * number // parts for number in range(parts + 1)]
    slices = [slice(first, last) for first, last in itertools.pairwise(bounds)]
    others = [_pool().submit(work, part) for part in slices[1:]]
    return [work(slices[0]), *(other.result() for other in others)]


@lru_cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())
