"""A step that a GPU replays as a graph trains the network that one kernel after another trains."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.training import TrainingPlan, WeightQuantisation, train
from inrv.fields.fourier.training import trainer as module
from inrv.support.graph import PLAIN_STEPS, GraphedStep
from testing.training import largest_difference, network, samples

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
PLAN = TrainingPlan(
    40, 256, 5e-3, optimiser="muon", precision="float32", rounding=WeightQuantisation()
)


class Plain(GraphedStep):
    """A step without a graph."""

    def __call__(self, rows: Tensor) -> None:
        self.step(rows)


def trained(**changes: Any) -> FourierNetwork:
    found = network().to("cuda")
    train(found, samples().to(torch.device("cuda")), TrainingPlan(**{**vars(PLAN), **changes}))
    return found


@ON_GPU
@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_graph_gives_the_same_weights(optimiser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphed = trained(optimiser=optimiser)
    monkeypatch.setattr(module, "GraphedStep", Plain)
    assert largest_difference(graphed, trained(optimiser=optimiser)) <= 1e-3


@ON_GPU
def test_a_compiled_graph_trains_and_rounds() -> None:
    try:
        found = trained(compiled=True)
    finally:
        torch.compiler.reset()
    assert all(bool(tensor.isfinite().all()) for tensor in found.tensors().values())


@ON_GPU
def test_a_gpu_trains_as_a_cpu_does() -> None:
    plan = TrainingPlan(**{**vars(PLAN), "epochs": 2, "rounding": None})
    on_cpu = network()
    train(on_cpu, samples(), plan)
    # Each device draws an order of its own, so only the quality is the same.
    on_gpu = trained(epochs=2, rounding=None).cpu()
    data = samples()
    with torch.no_grad():
        losses = [
            float((n(data.coordinates) - data.targets).square().mean()) for n in (on_cpu, on_gpu)
        ]
    assert losses[1] < 1.5 * losses[0]


@pytest.mark.parametrize(
    ("seconds", "epochs", "compiled"),
    [(None, 100, True), (None, 1, False), (10, 1e6, False), (60, 100, True)],
)
def test_only_what_takes_long_is_compiled(
    seconds: float | None, epochs: float, compiled: bool
) -> None:
    plan = TrainingPlan(epochs, 24 * 1024, 3e-4, max_time=seconds)
    run = SimpleNamespace(
        plan=plan,
        network=SimpleNamespace(weight_count=3_150_850),
        steps=round(epochs * 890),
        device=torch.device("cuda"),
    )
    assert module.Run._compiled(run, plan.batch) is compiled  # type: ignore[arg-type]


class Stream:
    def wait_stream(self, other: Any) -> None:
        pass


class Graph:
    """A graph that replays what was called while it was captured."""

    captured: Callable[[], None] | None = None
    replays = 0

    def replay(self) -> None:
        Graph.replays += 1


def test_a_graph_is_replayed_after_plain_steps_and_captured_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **how: contextlib.nullcontext())
    monkeypatch.setattr(Graph, "replays", 0)
    seen = list[Tensor]()
    step = GraphedStep(seen.append)
    rows = [torch.arange(4) + number for number in range(PLAIN_STEPS + 3)]
    for own in rows:
        step(own)
    assert all(found is own for found, own in zip(seen, rows[:PLAIN_STEPS], strict=False))
    assert len(seen) == PLAIN_STEPS + 1 and Graph.replays == 3
    assert torch.equal(seen[-1], rows[-1])  # the captured step reads the rows of the last one
    step.forget()
    step(rows[0])
    assert seen[-1] is rows[0] and Graph.replays == 3
