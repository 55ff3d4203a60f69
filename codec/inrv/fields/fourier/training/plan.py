"""What training is asked to do, and what it reports."""

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
# Floating-point operations of training for each weight and sample: two each for the output, the
# gradient of the weights and that of the inputs.
FLOPS_PER_WEIGHT = 6


@dataclass(frozen=True)
class WeightQuantisation:
    """Says how coarse the weights of a network's matrices become towards the end of training.

    loss: float dB that rounding costs at most when it begins; further training gets most of that
        back
    bytes: int bytes that the network takes in a file at most, whatever it loses; None: as `loss`
        says
    """

    loss: float = 1.0
    bytes: int | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """Says how long and how fast to train.

    epochs: float passes over the samples, each in a fresh order without replacement
    batch: int voxels of a step, of all processes together
    rate: float Adam's highest learning rate; after a short warm-up it falls along half a cosine
    max_time: float seconds after which training ends, with the rate brought down by then; None: no
        limit
    target_psnr: float dB at which training ends, over one epoch's samples with peak 1; None: none
    seed: int from which the order of the samples follows
    optimiser: 'adam', or 'muon': Muon on the matrices of the network, Adam on the rest
    muon_rate: float Muon's highest learning rate
    rounding: how coarse weights become during the last quarter of training; None: they are not
        rounded
    precision: dtype of matrix products: 'bfloat16', 'float32', or None: bfloat16 where the device
        is faster in it; weights and sums are float32 in any case
    compiled: whether torch compiles a step; None: on CUDA and ROCm, where training is so long that
        it pays

    Raises OptionError where a value makes no sense.
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
    """Says where training stands.

    step: int optimiser steps done
    steps: int optimiser steps in all
    epoch: float passes over the samples done
    epochs: float passes over the samples in all
    loss: float loss on recent samples
    psnr: float dB on these, peak 1 on normalised values
    """

    step: int
    steps: int
    epoch: float
    epochs: float
    loss: float
    psnr: float

    @property
    def figures(self) -> str:
        """Step, loss and PSNR, for people."""
        return f"step {self.step:,}/{self.steps:,}  loss {self.loss:.2e}  PSNR {self.psnr:.1f} dB"


@dataclass(frozen=True, eq=False)
class RoundedWeight:
    """Says what a matrix was rounded from, and to.

    step: float quantiser step: the rounded weights are multiples of it
    exact: float32 weights as they would be without rounding
    """

    step: float
    exact: Tensor


@dataclass(frozen=True)
class TrainingResult:
    """Says what training did.

    steps: int optimiser steps done
    epochs: float passes over the samples done
    seconds: float seconds of training
    stopped_by: what ended it: 'epochs', 'max-time' or 'target-psnr'
    rounded: by name of the matrix, where training ended on rounded weights
    """

    steps: int
    epochs: float
    seconds: float
    stopped_by: str
    rounded: dict[str, RoundedWeight]


def rate_at(done: float) -> float:
    """Return the learning rate at a fraction of the run, as a share of the highest one."""
    if done < WARM_UP:
        return (done + 1e-3) / (WARM_UP + 1e-3)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
