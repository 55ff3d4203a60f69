"""What a user may choose when encoding, and what follows from the data where he does not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.fields import FourierConfig, network_weights
from inrv.grids import Box
from inrv.training import TrainingPlan

CHOICES = {
    "preset": ("default", "paper"),
    "topology": ("exact", "threshold"),
    "nonfinite": ("refuse", "keep"),
    "doubles": ("carry", "float"),
}
CPU_BUDGET = 5e12  # floating-point operations of training: about a minute on two cores
MOST_EPOCHS = 100
FEWEST_STEPS = 2000


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode.

    preset       'default': network and schedule follow from the data; 'paper': Table 1 of Zurkova et al. 2025
    selection    voxels trained on: 'topology', active voxels as stored; 'avm', normalised value > 0, eq. (2)
    dilation     voxels added around the selection, eq. (3); math.inf trains on the whole box (BBX)
    ratio        values of the active voxels for each weight of the network (preset 'default')
    epochs       passes over the selected voxels; None: 100, on a CPU no more than fit CPU_BUDGET but at least one, and
                 for a small volume as many as make FEWEST_STEPS
    max_time     seconds of training after which it ends; the result then depends on the machine's speed
    target_psnr  dB over the selected voxels, peak 1, at which training ends
    seed         of B, the initial weights and the order of the samples
    device       torch device to train on; None: the best there is
    grids        names or positions of the grids to encode; None: all
    exact_below  grids of at most so many active values are stored exactly: a network would cost more than they do
    topology     'exact': every active voxel as it was; 'threshold': of grids whose active values all lie above the
                 background only the leaves are stored, and a voxel is active where its decoded value exceeds a threshold
    nonfinite    NaN and infinity in voxels and tiles: 'refuse' them, or 'keep' them, bit for bit, in their places
    doubles      grids of double and vec3d: 'carry' them as they are, or code them rounded to 'float'
    """

    preset: str = "default"
    selection: str = "topology"
    dilation: float = 0
    ratio: float = 14.0
    epochs: float | None = None
    max_time: float | None = None
    target_psnr: float | None = None
    seed: int = 0
    device: str | None = None
    grids: tuple[str | int, ...] | None = None
    exact_below: int = 4096
    topology: str = "exact"
    nonfinite: str = "refuse"
    doubles: str = "carry"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}")
        if self.exact_below < 0:
            raise OptionError(f"exact-below {self.exact_below} must be a whole number of values >= 0")
        if not (self.ratio > 0 and math.isfinite(self.ratio)):
            raise OptionError(f"ratio {self.ratio} must be a positive number of values for each weight")
        for name in ("epochs", "max_time", "target_psnr"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise OptionError(f"{name.replace('_', '-')} {value} must be a positive number")


def network_for(options: EncodeOptions, values: int, outputs: int, box: Box) -> FourierConfig:
    """The network for `values` active values in `outputs` components within `box`."""
    paper = options.preset == "paper"
    frequencies, layers, neurons = (1280, 8, 512) if paper else proportions(values / options.ratio, outputs)
    x, y, z = map(float, box.lower)
    return FourierConfig(frequencies, layers, neurons, outputs, (x, y, z), 1.0 / max(box.shape), "relu" if paper else "silu")


def proportions(weights: float, outputs: int) -> tuple[int, int, int]:
    """k, m, n of the network with the most neurons within `weights`: k = 2.5 n and m = n / 64, as in Table 1.

    At least 3 hidden layers and 16 neurons: with 38,000 weights 3 hidden layers gave 1.4 dB more than 8.
    """
    best = (40, 3, 16)
    for neurons in range(16, 4097, 8):
        shape = (neurons * 5 // 2, max(3, neurons // 64), neurons)
        if network_weights(*shape, outputs) > weights:
            break
        best = shape
    return best


def multipliers_for(options: EncodeOptions, config: FourierConfig) -> Tensor:
    """Initial Gauss multipliers (k,): Table 1's 2.5, or bands from 2 cycles a box edge up to a quarter of the voxels'."""
    if options.preset == "paper":
        return torch.full((config.frequencies,), 2.5)
    highest = min(30.0, max(4.0, 0.25 / config.scale))
    return torch.logspace(math.log10(2.0), math.log10(highest), config.frequencies)


def plan_for(options: EncodeOptions, config: FourierConfig, voxels: int, device: torch.device) -> TrainingPlan:
    """How long and how fast to train. The paper's "batch size 24" is read as 24 x 1024 voxels."""
    if options.preset == "paper":
        epochs, batch, rate = float(MOST_EPOCHS), 24 * 1024, 3e-4
    else:
        batch = min(8192, max(256, voxels // 128))
        epochs = default_epochs(config, voxels, batch, device)
        rate = 1e-2 * min(1.0, 80 / config.neurons)
    return TrainingPlan(options.epochs or epochs, batch, rate, options.max_time, options.target_psnr, options.seed)


def default_epochs(config: FourierConfig, voxels: int, batch: int, device: torch.device) -> float:
    """The paper's 100; fewer where a CPU would need more than CPU_BUDGET, more where that is under FEWEST_STEPS.

    Forward and backward together are 6 floating-point operations a weight and voxel.
    """
    weights = network_weights(config.frequencies, config.layers, config.neurons, config.outputs)
    affordable = MOST_EPOCHS if device.type != "cpu" else max(1, math.floor(CPU_BUDGET / (6 * weights * voxels)))
    if affordable < MOST_EPOCHS:
        return affordable
    return max(MOST_EPOCHS, math.ceil(FEWEST_STEPS * batch / voxels))
