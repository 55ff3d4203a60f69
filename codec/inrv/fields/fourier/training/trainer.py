"""Training a network on samples, by one process or by several together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples
from inrv.fields.fourier.training.checkpoint import Checkpoint, TrainingState
from inrv.fields.fourier.training.objective import Gradient
from inrv.fields.fourier.training.optimiser import Optimiser
from inrv.fields.fourier.training.order import Order
from inrv.fields.fourier.training.plan import (
    FLOPS_PER_WEIGHT,
    RoundedWeight,
    TrainingPlan,
    TrainingProgress,
    TrainingResult,
    rate_at,
)
from inrv.fields.fourier.training.processes import Processes
from inrv.fields.fourier.training.quantisation_aware import SHARE, QuantisationAware
from inrv.fields.fourier.training.saving import Saving
from inrv.fields.seam import ProgressCallback
from inrv.metrics.psnr import psnr_of
from inrv.support.device import fast_precision
from inrv.support.graph import GraphedStep
from inrv.support.parallel import workers
from inrv.support.undisturbed import undisturbed

PROBED_SAMPLES = 1 << 15  # on which the cost of rounding is measured
# Floating-point operations and seconds of training, each about half a minute on a large GPU.
# Compiling takes 10 s, and then saves a third.
# measured: docs/lab-notes.md#training-on-a-gpu
WORTH_COMPILING, SECONDS_WORTH_COMPILING = 5e15, 30.0
# Seconds between two measurements of clock, losses and signals, each of which lets a GPU idle.
MEASURE_SECONDS = 0.2


@undisturbed()
@torch.enable_grad()
def train(
    network: FourierNetwork,
    samples: Samples,
    plan: TrainingPlan,
    report: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingResult:
    """Train a network, in place, on samples. The loss is the mean squared error.

    network: the network, on the device of the samples
    samples: what it is trained on
    plan: how long and how fast
    report: callback for where training stands, or None
    checkpoint: where training is saved, or None

    The result is deterministic for one device, number of processes, seed and plan, whatever the
    number of torch's threads, unless `max_time` is set. A run that is resumed from its checkpoint
    ends in the same weights as one without a break. With a checkpoint, Ctrl-C and SIGTERM take
    effect between two steps, when training has been saved.

    Where torch.distributed has been set up (`joined`), each process trains on its share of every
    batch. All must call this with the same network, samples and plan. But for floating-point
    rounding, the network is the one that a single process trains. Rank 0 alone reports, decides
    when to end, and reads and writes the checkpoint.
    """
    processes = Processes.current()
    on_cpu = samples.coordinates.device.type == "cpu"
    in_parts = on_cpu and processes.count == 1 and not plan.compiled
    network.train()
    with workers() if in_parts else nullcontext():
        run = Run(network, samples, plan, report, processes, in_parts)
        with nullcontext() if checkpoint is None else Saving(run, checkpoint) as run.saving:
            while run.stopped_by is None:
                run.one_step()
    network.eval()
    return TrainingResult(
        run.step, run.step / run.epoch_steps, run.seconds, run.stopped_by, run.rounded()
    )


class Run:
    """Holds and moves the state of one training run.

    network: the network that is trained
    samples: what it is trained on
    plan: how long and how fast
    report: callback for where training stands, or None
    processes: those that train together
    device: torch.device of network and samples
    epoch_steps: int optimiser steps of an epoch
    steps: int optimiser steps in all
    order: the samples of each step
    gradient: computes the gradients of a batch
    optimiser: moves the weights
    advance: does a step on some rows
    quantisation: keeps the weights rounded; None: it has not begun
    step: int optimiser steps done
    stopped_by: what ended the run; None: it goes on
    started: float time.monotonic() at which it would have begun without a break
    losses: float32 () sum of this process's losses since the last measurement
    window: float sum of the losses of this epoch's steps, up to the last measurement
    seconds: float seconds of training up to the last measurement, those before a break included
    seconds_per_step: float
    measured: int step of the last measurement
    next_measurement: int step of the next measurement
    saving: saves the run; None: it is not saved
    """

    def __init__(
        self,
        network: FourierNetwork,
        samples: Samples,
        plan: TrainingPlan,
        report: ProgressCallback | None,
        processes: Processes,
        in_parts: bool,
    ) -> None:
        self.network, self.samples, self.plan = network, samples, plan
        self.report, self.processes = report, processes
        self.device = samples.coordinates.device
        batch = min(plan.batch, len(samples))
        self.epoch_steps = math.ceil(len(samples) / batch)
        self.steps = max(1, round(plan.epochs * self.epoch_steps))
        self.order = Order(len(samples), batch, plan.seed, self.device)
        compiled, precision = self._compiled(batch), self._precision()
        self.gradient = Gradient(network, samples, precision, compiled, processes, in_parts)
        self.optimiser = Optimiser(network, plan, precision, compiled, in_parts)
        self.quantisation: QuantisationAware | None = None
        self.step = 0
        self.stopped_by: str | None = None
        self.started = time.monotonic()
        self.losses = torch.zeros((), dtype=torch.float32, device=self.device)
        self.window = 0.0
        self.seconds = 0.0
        self.seconds_per_step = 0.0
        self.measured = 0
        self.next_measurement = 1
        self.saving: Saving | None = None
        self.advance: Callable[[Tensor], None] = self._advance
        if self.device.type == "cuda" and processes.count == 1:
            self.advance = GraphedStep(self._advance)

    def _compiled(self, batch: int) -> bool:
        """Return whether torch compiles a step."""
        if self.plan.compiled is not None:
            return self.plan.compiled
        work = FLOPS_PER_WEIGHT * self.network.weight_count * batch * self.steps
        long = self.plan.max_time is None or self.plan.max_time > SECONDS_WORTH_COMPILING
        return self.device.type == "cuda" and work > WORTH_COMPILING and long

    def _precision(self) -> torch.dtype:
        """Return the dtype that matrices are multiplied in."""
        if self.plan.precision is None:
            return fast_precision(self.device)
        precision: torch.dtype = getattr(torch, self.plan.precision)
        return precision

    def fraction_done(self) -> float:
        """Return how far the run is, by steps or by time; the same for all processes."""
        by_steps = self.step / self.steps
        if self.plan.max_time is None:
            return by_steps
        seconds = self.seconds + (self.step - self.measured) * self.seconds_per_step
        return max(by_steps, seconds / self.plan.max_time)

    def one_step(self) -> None:
        """Make one optimiser step on the next batch, and measure where it is time to."""
        done = self.fraction_done()
        if self.plan.rounding is not None and self.quantisation is None and done >= 1 - SHARE:
            self.quantisation = QuantisationAware.begin(
                self.network, self.plan.rounding, self.mean_square
            )
            if isinstance(self.advance, GraphedStep):
                self.advance.forget()
        self.optimiser.set_rates(rate_at(done))
        self.advance(self.order.rows(self.step))
        self.step += 1
        if self.step >= self.next_measurement:
            self.measure()

    def _advance(self, rows: Tensor) -> None:
        """Move the weights by the gradient on the samples `rows`."""
        self.losses += self.gradient(rows)
        with nullcontext() if self.quantisation is None else self.quantisation.moving():
            self.optimiser.step()

    def rounded(self) -> dict[str, RoundedWeight]:
        """Return what the matrices were rounded from, and to, by name, where they were."""
        if self.quantisation is None:
            return {}
        return {
            name: RoundedWeight(float(step), self.quantisation.exact[name])
            for name, step in self.quantisation.steps.items()
        }

    def mean_square(self) -> float:
        """Return the loss on the samples of the first steps, PROBED_SAMPLES of them or all."""
        steps = range(min(self.epoch_steps, 1 + PROBED_SAMPLES // self.order.batch))
        losses = [self.gradient.loss_on(self.order.rows(step)) for step in steps]
        return float(sum(losses)) / len(steps)

    def state(self) -> TrainingState:
        """Return where the run stands: all that it needs to go on from there."""
        exact: dict[str, Tensor] = {} if self.quantisation is None else self.quantisation.exact
        tensors = {"window": torch.tensor(self.window, dtype=torch.float32)}
        for name, weight in self.network.named_parameters():
            tensors[f"weights.{name}"] = exact.get(name, weight.detach())
        tensors |= self.optimiser.state()
        if self.plan.rounding is not None:
            steps = {} if self.quantisation is None else self.quantisation.steps
            for name in self.network.hidden():
                tensors[f"rounding.{name}"] = steps.get(name, _no_step())
        stored = {name: tensor.float().cpu() for name, tensor in tensors.items()}
        return TrainingState(stored, self.step, self.seconds)

    def load(self, state: TrainingState) -> None:
        """Bring the run to where it stood when `state` was taken."""
        tensors = {name: tensor.to(self.device) for name, tensor in state.tensors.items()}
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                weight.copy_(tensors[f"weights.{name}"])
        self.optimiser.load(tensors, state.step)
        self.window = float(state.tensors["window"])
        matrices = self.network.hidden()
        steps = {name: tensors.get(f"rounding.{name}", _no_step()) for name in matrices}
        if any(bool(step > 0) for step in steps.values()):
            self.quantisation = QuantisationAware(matrices, steps)
        self.step = self.measured = state.step
        self.next_measurement = state.step + 1
        self.seconds = state.seconds
        self.started -= state.seconds

    def measure(self) -> None:
        """Measure, all processes together, where training stands, and whether it is over."""
        loss, seconds, interrupted = self._gather()
        steps = self.step - self.measured
        self.seconds_per_step = (seconds - self.seconds) / steps
        self.window += loss
        self.seconds, self.measured = seconds, self.step
        self.stopped_by = self._reason_to_stop()
        if self.step % self.epoch_steps == 0:
            self.window = 0.0
        self.next_measurement = self._next_measurement()
        if self.saving is not None and self.stopped_by is None:
            self.saving.between_steps(interrupted)
        if self.report is not None and self.processes.first:
            self.report(self._progress(loss / steps))

    def _gather(self) -> tuple[float, float, bool]:
        """Gather from all processes the sum of losses, the seconds, and whether a signal waits.

        The losses are those since the last measurement, the seconds those of training so far.
        """
        seconds = time.monotonic() - self.started if self.processes.first else 0.0
        waiting = self.saving is not None and self.saving.signals.pending is not None
        own = self.losses.new_tensor([seconds, float(waiting)])
        total = self.processes.sum(torch.cat([self.losses[None], own]))
        loss, seconds, waiting_somewhere = total.tolist()
        self.losses.zero_()
        return loss, seconds, waiting_somewhere > 0

    def _reason_to_stop(self) -> str | None:
        """Return what ends the run now; None: it goes on."""
        plan = self.plan
        if self.step >= self.steps:
            return "epochs"
        if plan.max_time is not None and self.seconds >= plan.max_time:
            return "max-time"
        if plan.target_psnr is None or self.step % self.epoch_steps:
            return None
        reached = psnr_of(self.window / self.epoch_steps) >= plan.target_psnr
        return "target-psnr" if reached else None

    def _next_measurement(self) -> int:
        """Return the step after which to measure again."""
        wait = MEASURE_SECONDS
        if self.plan.max_time is not None:
            wait = min(wait, self.plan.max_time - self.seconds)
        if self.saving is not None:
            wait = min(wait, self.saving.checkpoint.seconds)
        steps = max(1, int(wait / max(self.seconds_per_step, 1e-6)))
        if self.plan.target_psnr is not None:
            steps = min(steps, self.epoch_steps - self.step % self.epoch_steps)
        return min(self.step + steps, self.steps)

    def _progress(self, loss: float) -> TrainingProgress:
        """Return where training stands, with the loss of recent steps."""
        done = max(self.fraction_done(), 1e-9)
        return TrainingProgress(
            share=min(1.0, done),
            step=self.step,
            steps=self.steps,
            epoch=self.step / self.epoch_steps,
            epochs=self.steps / self.epoch_steps,
            loss=loss,
            psnr=psnr_of(loss),
            seconds=self.seconds,
            seconds_left=self.seconds * max(0.0, 1.0 / done - 1.0),
        )


def _no_step() -> Tensor:
    """Return what stands for the quantiser step of a matrix that is not rounded."""
    return torch.zeros((), dtype=torch.float32)
