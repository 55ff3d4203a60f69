"""Samples and a network that train in a second."""

from __future__ import annotations

import torch

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples
from inrv.fields.fourier.shape import FourierConfig


def samples(value: float = 0.5) -> Samples:
    coordinates = torch.cartesian_prod(*[torch.arange(12, dtype=torch.int32)] * 3)
    x, y, z = (coordinates.float() / 12).unbind(1)
    targets = torch.stack([value + 0.5 * torch.sin(6 * x + 2 * y), z * x], dim=1)
    return Samples(coordinates, targets, torch.stack([x > 0.2, y > -1], dim=1))


def network(seed: int = 0, neurons: int = 16) -> FourierNetwork:
    config = FourierConfig(40, 3, neurons, 2, (0.0, 0.0, 0.0), 1 / 12, "silu")
    return FourierNetwork(config, torch.linspace(0.5, 3, 40), torch.Generator().manual_seed(seed))


def largest_difference(one: FourierNetwork, other: FourierNetwork) -> float:
    tensors = other.tensors()
    return max(
        float((tensor - tensors[name]).abs().max()) for name, tensor in one.tensors().items()
    )
