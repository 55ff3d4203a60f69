"""Muon's directions are orthogonal, and weights that training rounds stay on their steps."""

from __future__ import annotations

import math

import pytest
import torch

from inrv.fields.fourier.training import TrainingPlan, WeightQuantisation, train
from inrv.fields.fourier.training.optimiser import orthogonal
from inrv.fields.fourier.training.quantisation_aware import QuantisationAware, stored_bytes
from testing.training import network, samples


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 80), (1, 80, 16)])
def test_directions_are_about_orthogonal(shape: tuple[int, int, int]) -> None:
    stack = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(stack)
    assert found.shape == stack.shape
    assert (torch.linalg.svdvals(found) - 1).abs().max() < 0.4
    left, _, right = torch.linalg.svd(stack, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), (left @ right).flatten(), dim=0)
    assert cosine > 0.97


def loss_of(plan: TrainingPlan) -> float:
    coded, data = network(), samples()
    train(coded, data, plan)
    assert data.counted is not None
    errors = (
        (coded(data.coordinates) - data.targets).square() * data.counted
    ).sum() / data.counted.sum()
    return float(errors.detach())


def test_muon_gets_further_in_as_many_steps() -> None:
    adam = loss_of(TrainingPlan(20, 256, 1e-2))
    assert loss_of(TrainingPlan(20, 256, 5e-3, optimiser="muon")) < 0.7 * adam


def test_rounded_weights_are_multiples_and_cost_little() -> None:
    plan = TrainingPlan(40, 256, 5e-3, optimiser="muon", rounding=WeightQuantisation())
    coded, data = network(), samples()
    result = train(coded, data, plan)
    assert result.rounded.keys() == coded.hidden().keys()
    for name, weight in coded.hidden().items():
        codes = weight.detach() / result.rounded[name].step
        assert (weight.detach() - result.rounded[name].exact).abs().max() <= 0.501 * result.rounded[
            name
        ].step
        assert (codes - codes.round()).abs().max() < 1e-3 and codes.abs().max() > 2
    rounded, whole = loss_of(plan), loss_of(TrainingPlan(40, 256, 5e-3, optimiser="muon"))
    assert 10 * math.log10(rounded / whole) < 1.5


@pytest.mark.parametrize("bytes_asked", [1800, 2500, 10**6])
def test_rounding_keeps_to_the_bytes(bytes_asked: int) -> None:
    begun = network()
    taken = stored_bytes(
        begun,
        QuantisationAware.begin(begun, WeightQuantisation(bytes=bytes_asked), lambda: 1.0).steps,
    )
    assert 0.95 * bytes_asked < taken <= bytes_asked or taken < bytes_asked == 10**6
