"""Fitting a field to samples: loss, optimiser, schedule, and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.fields import Field
from inrv.selection import Samples
from inrv.training.checkpoint import Checkpoint
from inrv.training.saving import Saving

WARM_UP = 0.03  # of the run
REPORT_SECONDS = 0.2
FINAL_RATE = 0.001  # of the highest learning rate


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    epochs       passes over the samples, each in a fresh order without replacement; may be fractional
    batch        voxels a step
    rate         Adam's highest learning rate; after a short warm-up it falls along half a cosine
    max_time     seconds after which training ends, the rate having fallen by then; None: no limit
    target_psnr  dB at which training ends, over one epoch's samples with peak 1; None: no target
    """

    epochs: float
    batch: int
    rate: float
    max_time: float | None = None
    target_psnr: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "rate", "max_time"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise OptionError(f"{name} {value} must be a positive number")


@dataclass(frozen=True)
class Progress:
    """Where training stands: PSNR in dB over the recent samples, peak 1 on normalised values; times in seconds."""

    step: int
    steps: int
    epoch: float
    epochs: float
    loss: float
    psnr: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class TrainingResult:
    """What was done: optimiser steps, epochs, seconds, and which of epochs, max-time or target-psnr ended it."""

    steps: int
    epochs: float
    seconds: float
    stopped_by: str


def train(
    field: Field,
    samples: Samples,
    plan: TrainingPlan,
    report: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingResult:
    """Fit `field`, in place, to `samples` on the device both are on.

    The loss is the mean squared error over the values that count. Deterministic for one device, seed and plan,
    unless `max_time` is set; a run resumed from its `checkpoint` ends in the same weights as one without a break.
    With a checkpoint, Ctrl-C and SIGTERM take effect between two steps, when training has been saved.
    """
    run = Run(field, samples, plan, report)
    field.train()
    with nullcontext() if checkpoint is None else Saving(run, checkpoint) as run.saving:
        while run.stopped_by is None:
            run.epoch()
    field.eval()
    return TrainingResult(run.step, run.step / run.epoch_steps, run.elapsed(), run.stopped_by)


class Run:
    """The state of one training run."""

    def __init__(self, field: Field, samples: Samples, plan: TrainingPlan, report: Callable[[Progress], None] | None) -> None:
        self.field, self.samples, self.plan, self.report = field, samples, plan, report
        self.device = samples.coordinates.device
        self.batch = min(plan.batch, len(samples))
        self.epoch_steps = math.ceil(len(samples) / self.batch)
        self.steps = max(1, round(plan.epochs * self.epoch_steps))
        self.step = 0
        self.stopped_by: str | None = None
        self.started = self.reported = time.monotonic()
        self.generator = torch.Generator(device=self.device).manual_seed(plan.seed)
        fused = self.device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.Adam(field.parameters(), lr=plan.rate, betas=(0.9, 0.99), fused=fused)
        self.recent = torch.zeros(2, device=self.device)
        self.position = 0  # steps done of this epoch
        self.before_order = self.generator.get_state()
        self.squared_error = torch.zeros((), device=self.device)
        self.saving: Saving | None = None

    def elapsed(self) -> float:
        """Seconds of training, those before a break included."""
        return time.monotonic() - self.started

    def fraction_done(self) -> float:
        """How far the run is, by steps or by time."""
        by_steps = self.step / self.steps
        return by_steps if self.plan.max_time is None else max(by_steps, self.elapsed() / self.plan.max_time)

    def epoch(self) -> None:
        """One pass over the samples, or what is left of it."""
        self.before_order = self.generator.get_state()
        order = torch.randperm(len(self.samples), generator=self.generator, device=self.device)
        for rows in order.split(self.batch)[self.position :]:
            loss = self.one_step(rows)
            self.squared_error += loss * (len(rows) / len(self.samples))
            self.position += 1
            if time.monotonic() - self.reported > REPORT_SECONDS:
                self.report_progress()
            if self.fraction_done() >= 1.0:
                self.stopped_by = "epochs" if self.step >= self.steps else "max-time"
                return
            if self.saving is not None:
                self.saving.between_steps()
        target = self.plan.target_psnr
        if target is not None and psnr_of(float(self.squared_error)) >= target:
            self.stopped_by = "target-psnr"
        self.position = 0
        self.squared_error.zero_()

    def one_step(self, rows: Tensor) -> Tensor:
        """One optimiser step on the samples `rows`; returns the loss, detached."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate * _schedule(self.fraction_done())
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type != "mps"):
            outputs = self.field(self.samples.coordinates[rows])
        counted = None if self.samples.counted is None else self.samples.counted[rows]
        loss = mean_squared_error(outputs, self.samples.targets[rows], counted)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self.recent = self.recent * 0.98 + torch.stack([loss.detach(), torch.ones_like(loss)]) * 0.02
        return loss.detach()

    def report_progress(self) -> None:
        """Tell where training stands."""
        self.reported = time.monotonic()
        if self.report is None:
            return
        loss = float(self.recent[0] / self.recent[1])
        done = max(self.fraction_done(), 1e-9)
        self.report(
            Progress(
                step=self.step,
                steps=self.steps,
                epoch=self.step / self.epoch_steps,
                epochs=self.steps / self.epoch_steps,
                loss=loss,
                psnr=psnr_of(loss),
                seconds=self.elapsed(),
                seconds_left=self.elapsed() * (1.0 / done - 1.0),
            )
        )


def mean_squared_error(outputs: Tensor, targets: Tensor, counted: Tensor | None) -> Tensor:
    """Mean over the values that count, each output weighing by its own count: a scalar tensor."""
    squared = (outputs - targets).square()
    if counted is None:
        return squared.mean()
    return (squared * counted).sum() / counted.sum().clamp_min(1)


def psnr_of(mean_square: float) -> float:
    """PSNR in dB for peak 1."""
    return math.inf if mean_square <= 0 else -10 * math.log10(mean_square)


def _schedule(done: float) -> float:
    """The learning rate at fraction `done` of the run, relative to its highest."""
    if done < WARM_UP:
        return (done + 1e-3) / (WARM_UP + 1e-3)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
