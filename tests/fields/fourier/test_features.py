"""Features by products of tables, and their gradient, are those of the formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inrv.fields.fourier.features import features_at, features_of_voxels, gradient_of_frequencies
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.shape import FourierConfig

ORIGIN = torch.tensor([-3.0, 2.0, 0.5])
SCALE = 1 / 90


def voxels(count: int, span: int = 60) -> Tensor:
    return torch.randint(
        -span, span, (count, 3), dtype=torch.int32, generator=torch.Generator().manual_seed(1)
    )


def frequencies() -> Tensor:
    return 20 * torch.randn(21, 3, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("count", [1, 700, 5000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-5), (torch.bfloat16, 2**-8)])
def test_features_of_voxels(count: int, dtype: torch.dtype, tolerance: float) -> None:
    found = features_of_voxels(
        voxels(count), ORIGIN, torch.tensor([SCALE] * 3), frequencies(), dtype
    )
    phase = 2 * math.pi * ((voxels(count).double() - ORIGIN) * SCALE) @ frequencies().double().T
    assert found.dtype == dtype and found.shape == (count, 42)
    assert (found - torch.cat([phase.cos(), phase.sin()], dim=1)).abs().max() <= tolerance


def test_far_voxels_take_no_table() -> None:
    far = torch.tensor([[-(2**30), 0, 2**30], [0, 5, 2**30]], dtype=torch.int32)
    found = features_of_voxels(
        far, torch.zeros(3), torch.full((3,), 2.0**-31), frequencies(), torch.float32
    )
    assert torch.equal(found, features_at(far.float() * 2.0**-31, frequencies()))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_gradient_is_that_of_the_formula(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        positions = (voxels(3000).float() - ORIGIN) * SCALE
        learned = frequencies().requires_grad_()
        features = features_at(positions, learned)
        given = torch.randn(features.shape, generator=torch.Generator().manual_seed(3))
        (expected,) = torch.autograd.grad(features, learned, given)
        found = gradient_of_frequencies(positions, features.detach(), given)
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    finally:
        torch.set_num_threads(before)


def test_a_network_trains_and_decodes_by_tables_as_it_does_by_points() -> None:
    config = FourierConfig(12, 3, 16, 2, (-60.0, -60.0, -60.0), 1 / 120, "silu")
    network = FourierNetwork(config, torch.linspace(1, 6, 12), torch.Generator().manual_seed(4))
    gradients = []
    for coordinates in (voxels(2000), voxels(2000).float()):
        network.zero_grad()
        network(coordinates).square().mean().backward()
        gradients.append(
            torch.cat(
                [
                    weight.grad.flatten()
                    for weight in network.parameters()
                    if weight.grad is not None
                ]
            )
        )
        with torch.no_grad():
            assert (network(coordinates) - network.eval()(voxels(2000).float())).abs().max() < 1e-5
        network.train()
    assert (gradients[0] - gradients[1]).abs().max() < 1e-5
