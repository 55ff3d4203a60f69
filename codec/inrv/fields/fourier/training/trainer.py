"""Fitting a field to samples, by one process or by several together."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext

import torch

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples
from inrv.fields.fourier.training.checkpoint import Checkpoint
from inrv.fields.fourier.training.objective import Gradient
from inrv.fields.fourier.training.optimiser import Optimiser
from inrv.fields.fourier.training.order import Order
from inrv.fields.fourier.training.plan import (
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
from inrv.support.parallel import workers
from inrv.support.undisturbed import undisturbed

PROBED = 1 << 15
FLOPS_A_WEIGHT = (
    6  # and sample: two each for the output, the gradient of the weights and that of the inputs
)
WORTH_COMPILING = 1e16  # floating-point operations of training: about half a minute on a large GPU, and compiling takes as long
LOOK_SECONDS = 0.2  # between two looks at clock, losses and signals: each lets the device run dry


@undisturbed()
@torch.enable_grad()
def train(
    field: FourierNetwork,
    samples: Samples,
    plan: TrainingPlan,
    report: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingResult:
    """Fit `field`, in place, to `samples` on the device both are on.

    The loss is the mean squared error over the values that count. Deterministic for one device, number of processes, seed
    and plan, whatever the number of torch's threads, unless `max_time` is set; a run resumed from its `checkpoint` ends in
    the same weights as one without a break. With a checkpoint, Ctrl-C and SIGTERM take effect between two steps, when
    training has been saved.

    Where torch.distributed has been set up (`joined`), each process trains on its share of every batch, all of which must
    call this with the same field, samples and plan: but for rounding the network is the one that a single process
    trains. Rank 0 alone reports, decides when to end, and reads and writes the checkpoint.
    """
    processes = Processes.current()
    in_parts = (
        samples.coordinates.device.type == "cpu" and processes.count == 1 and not plan.compiled
    )
    field.train()
    with workers() if in_parts else nullcontext():
        run = Run(field, samples, plan, report, processes, in_parts)
        with nullcontext() if checkpoint is None else Saving(run, checkpoint) as run.saving:
            while run.stopped_by is None:
                run.one_step()
    field.eval()
    return TrainingResult(
        run.step, run.step / run.epoch_steps, run.seconds, run.stopped_by, run.rounded()
    )


class Run:
    """The state of one training run."""

    def __init__(
        self,
        field: FourierNetwork,
        samples: Samples,
        plan: TrainingPlan,
        report: ProgressCallback | None,
        processes: Processes,
        in_parts: bool,
    ) -> None:
        self.field, self.samples, self.plan, self.report, self.processes = (
            field,
            samples,
            plan,
            report,
            processes,
        )
        self.device = samples.coordinates.device
        batch = min(plan.batch, len(samples))
        self.epoch_steps = math.ceil(len(samples) / batch)
        self.steps = max(1, round(plan.epochs * self.epoch_steps))
        self.order = Order(len(samples), batch, plan.seed, self.device)
        work = FLOPS_A_WEIGHT * field.weight_count * batch * self.steps
        compiled = (
            self.device.type == "cuda" and work > WORTH_COMPILING
            if plan.compiled is None
            else plan.compiled
        )
        precision = (
            fast_precision(self.device)
            if plan.precision is None
            else getattr(torch, plan.precision)
        )
        self.gradient = Gradient(field, samples, precision, compiled, processes, in_parts)
        self.optimiser = Optimiser(field, plan, precision, compiled, in_parts)
        self.quantisation: QuantisationAware | None = None
        self.step = 0
        self.stopped_by: str | None = None
        self.started = time.monotonic()
        self.losses = torch.zeros(
            (), dtype=torch.float32, device=self.device
        )  # of this process, since the last look
        self.window = 0.0  # sum of the losses of this epoch's steps, up to the last look
        self.seconds = 0.0  # of training up to the last look, those before a break included
        self.a_step = 0.0  # seconds
        self.looked = 0  # step of the last look
        self.next_look = 1
        self.saving: Saving | None = None

    def fraction_done(self) -> float:
        """How far the run is, by steps or by time; the same for all processes."""
        by_steps = self.step / self.steps
        if self.plan.max_time is None:
            return by_steps
        return max(
            by_steps, (self.seconds + (self.step - self.looked) * self.a_step) / self.plan.max_time
        )

    def one_step(self) -> None:
        """One optimiser step on the next batch, and a look around where it is time for one."""
        done = self.fraction_done()
        if self.plan.rounding is not None and self.quantisation is None and done >= 1 - SHARE:
            self.quantisation = QuantisationAware.begin(
                self.field, self.plan.rounding, self.mean_square
            )
        self.losses += self.gradient(self.order.rows(self.step))
        with nullcontext() if self.quantisation is None else self.quantisation.moving():
            self.optimiser.step(rate_at(done))
        self.step += 1
        if self.step >= self.next_look:
            self.look()

    def rounded(self) -> dict[str, RoundedWeight]:
        """What the matrices were rounded from, and to, where they were."""
        if self.quantisation is None:
            return {}
        return {
            name: RoundedWeight(float(step), self.quantisation.exact[name])
            for name, step in self.quantisation.steps.items()
        }

    def mean_square(self) -> float:
        """The loss on the samples of the first steps, PROBED of them or all."""
        steps = range(min(self.epoch_steps, 1 + PROBED // self.order.batch))
        return float(sum(self.gradient.loss_on(self.order.rows(step)) for step in steps)) / len(
            steps
        )

    def look(self) -> None:
        """Find out, all processes together, where training stands, whether it is over, and until when nobody need ask."""
        loss, seconds, interrupted = self._told()
        self.a_step = (seconds - self.seconds) / (self.step - self.looked)
        loss_a_step = loss / (self.step - self.looked)
        self.window += loss
        self.seconds, self.looked = seconds, self.step
        self.stopped_by = self._reason_to_stop()
        if self.step % self.epoch_steps == 0:
            self.window = 0.0
        self.next_look = self._next_look()
        if self.saving is not None and self.stopped_by is None:
            self.saving.between_steps(interrupted)
        if self.report is not None and self.processes.first:
            self.report(self._progress(loss_a_step))

    def _told(self) -> tuple[float, float, bool]:
        """Sum of the losses since the last look, seconds of training, and whether a signal waits in any process."""
        seconds = time.monotonic() - self.started if self.processes.first else 0.0
        waiting = self.saving is not None and self.saving.signals.pending is not None
        own = self.losses.new_tensor([seconds, float(waiting)])
        loss, seconds, waiting_somewhere = self.processes.sum(
            torch.cat([self.losses[None], own])
        ).tolist()
        self.losses.zero_()
        return loss, seconds, waiting_somewhere > 0

    def _reason_to_stop(self) -> str | None:
        plan = self.plan
        if self.step >= self.steps:
            return "epochs"
        if plan.max_time is not None and self.seconds >= plan.max_time:
            return "max-time"
        if plan.target_psnr is None or self.step % self.epoch_steps:
            return None
        return (
            "target-psnr" if psnr_of(self.window / self.epoch_steps) >= plan.target_psnr else None
        )

    def _next_look(self) -> int:
        """The step after which to look again."""
        wait = LOOK_SECONDS
        if self.plan.max_time is not None:
            wait = min(wait, self.plan.max_time - self.seconds)
        if self.saving is not None:
            wait = min(wait, self.saving.checkpoint.seconds)
        steps = max(1, int(wait / max(self.a_step, 1e-6)))
        if self.plan.target_psnr is not None:
            steps = min(steps, self.epoch_steps - self.step % self.epoch_steps)
        return min(self.step + steps, self.steps)

    def _progress(self, loss: float) -> TrainingProgress:
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
