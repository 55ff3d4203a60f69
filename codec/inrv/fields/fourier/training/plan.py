"""What training is asked to do, and what it tells of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from inrv.errors import OptionError
from inrv.fields.seam import Progress

OPTIMISERS = ("adam", "muon")
PRECISIONS = (None, "bfloat16", "float32")
WARM_UP = 0.03  # of the run
FINAL_RATE = 0.001  # of the highest learning rate


@dataclass(frozen=True)
class WeightQuantisation:
    """How coarse the weights of a field's matrices become towards the end of training.

    loss   dB that rounding costs at most when it begins; training that goes on gets most of that back
    bytes  that the field's tensors take in a file at most, whatever they lose; None: as `loss` says
    """

    loss: float = 1.0
    bytes: int | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    epochs       passes over the samples, each in a fresh order without replacement; may be fractional
    batch        voxels a step, those of all processes together
    rate         Adam's highest learning rate; after a short warm-up it falls along half a cosine
    max_time     seconds after which training ends, the rate having fallen by then; None: no limit
    target_psnr  dB at which training ends, over one epoch's samples with peak 1; None: no target
    optimiser    'adam'; 'muon': Muon on the matrices of the field, Adam on the rest
    muon_rate    Muon's highest learning rate
    rounding     how far weights are rounded during the last quarter of training; None: they are not
    precision    of matrix products: 'bfloat16', 'float32', or None: bfloat16 where the device is faster in it. Weights and
                 sums are float32 in any case
    compiled     whether torch compiles a step; None: on CUDA and ROCm, for training so long that it pays
    """

    epochs: float
    batch: int
    rate: float
    max_time: float | None = None
    target_psnr: float | None = None
    seed: int = 0
    optimiser: str = "adam"
    muon_rate: float = 0.05
    rounding: WeightQuantisation | None = None
    precision: str | None = None
    compiled: bool | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "rate", "max_time", "muon_rate"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise OptionError(f"{name} {value} must be a positive number")
        if self.optimiser not in OPTIMISERS:
            raise OptionError(f"optimiser {self.optimiser!r} is not one of {', '.join(OPTIMISERS)}")
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision {self.precision!r} is not bfloat16 or float32")


@dataclass(frozen=True)
class TrainingProgress(Progress):
    """Where training stands.

    step: of the optimiser
    steps: of them, in all
    epoch: passes over the samples so far
    epochs: of them, in all
    loss: of the recent samples
    psnr: dB over these, peak 1 on normalised values
    """

    step: int
    steps: int
    epoch: float
    epochs: float
    loss: float
    psnr: float

    @property
    def figures(self) -> str:
        """Step, loss and PSNR."""
        return f"step {self.step:,}/{self.steps:,}  loss {self.loss:.2e}  PSNR {self.psnr:.1f} dB"


@dataclass(frozen=True, eq=False)
class RoundedWeight:
    """A matrix whose weights are multiples of `step`, and what they would be without."""

    step: float
    exact: Tensor


@dataclass(frozen=True)
class TrainingResult:
    """What was done: optimiser steps, epochs, seconds, and which of epochs, max-time or target-psnr ended it.

    rounded  by matrix, what its weights were rounded from, where training ended on rounded weights
    """

    steps: int
    epochs: float
    seconds: float
    stopped_by: str
    rounded: dict[str, RoundedWeight]


def rate_at(done: float) -> float:
    """The learning rate at fraction `done` of the run, relative to its highest."""
    if done < WARM_UP:
        return (done + 1e-3) / (WARM_UP + 1e-3)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
