"""PyTorch's private functions that training uses: all of them, in one place.

Each changes a list of tensors at once. On GPUs that takes a few kernels in place of one for every
tensor; torch's own optimisers use them, and there are no public ones. On CPUs they loop.
"""

from __future__ import annotations

import torch
from torch import Tensor


def add_each_(tensors: list[Tensor], others: list[Tensor]) -> None:
    """Add to each tensor, in place, the other of its place in the list."""
    torch._foreach_add_(tensors, others)  # sums the gradients of the parts of a batch


def scale_each_(tensors: list[Tensor], factor: float | Tensor) -> None:
    """Multiply each tensor by a factor, in place."""
    torch._foreach_mul_(tensors, factor)  # the decay of Muon's matrices


def blend_each_(tensors: list[Tensor], others: list[Tensor], share: float) -> None:
    """Move each tensor, in place, by a share of the way to the other."""
    torch._foreach_lerp_(tensors, others, share)  # Muon's momentum


def blended(tensors: list[Tensor], others: list[Tensor], share: float) -> list[Tensor]:
    """Return, for each tensor, what lies at a share of the way to the other."""
    return list(torch._foreach_lerp(tensors, others, share))  # Muon's Nesterov momentum
