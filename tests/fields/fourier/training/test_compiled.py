"""A compiled step trains the network that an eager one trains."""

from __future__ import annotations

import shutil

import pytest
import torch

from inrv.fields.fourier.training import TrainingPlan, train
from testing.training import largest_difference, network, samples


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with a C++ compiler")
def test_a_compiled_step_gives_the_same_weights() -> None:
    plan = TrainingPlan(2, 256, 5e-3, optimiser="muon", precision="float32")
    eager, compiled = network(), network()
    train(eager, samples(), plan)
    try:
        train(compiled, samples(), TrainingPlan(**{**vars(plan), "compiled": True}))
    finally:
        torch.compiler.reset()
    assert largest_difference(eager, compiled) <= 1e-4
