"""The network and the training of a fourier field, as they follow from what was chosen and from the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.fields.fourier.shape import FourierConfig, network_weights
from inrv.fields.fourier.training import TrainingPlan, WeightQuantisation
from inrv.grids import Box
from inrv.options import EncodeOptions

VALUES_PER_WEIGHT = 14.0
NEURONS = (*range(16, 64, 8), *range(64, 4097, 16))
SHAPES = tuple(
    (neurons, max(4, neurons // 64), neurons) for neurons in NEURONS
)  # k, m, n of the default networks
BITS = 6.0  # a weight, where the size of a file is given
CPU_BUDGET = 1e13  # floating-point operations of training: about a minute on two cores with AMX
MOST_EPOCHS = 100
FEWEST_STEPS = 2000
LARGEST_BATCH = (
    8192,
    32768,
)  # voxels, on CPUs and others: more steps teach more, until they cost more


def network_for(
    options: EncodeOptions, values: int, outputs: int, box: Box, most_bytes: int | None
) -> tuple[FourierConfig, WeightQuantisation | None]:
    """The network for `values` active values in `outputs` components within `box`, and how its weights are rounded.

    With `most_bytes` it is one of so many bytes. Raises OptionError where there is none so small.
    """
    x, y, z = map(float, box.lower)
    scale = 1.0 / max(box.shape)
    if options.preset == "paper":
        return FourierConfig(1280, 8, 512, outputs, (x, y, z), scale, "relu"), None
    if most_bytes is None:
        shape, rounding = (
            proportions(values / (options.values_per_weight or VALUES_PER_WEIGHT), outputs),
            WeightQuantisation(),
        )
    else:
        shape, rounding = within_bytes(most_bytes, outputs)
    return FourierConfig(*shape, outputs, (x, y, z), scale, "silu"), rounding


def proportions(weights: float, outputs: int) -> tuple[int, int, int]:
    """k, m, n of the network with the most neurons within `weights`: k = n, and at least 4 layers and 16 neurons."""
    found = [shape for shape in SHAPES if network_weights(*shape, outputs) <= weights]
    return found[-1] if found else SHAPES[0]


def within_bytes(most: int, outputs: int) -> tuple[tuple[int, int, int], WeightQuantisation]:
    """The largest network whose weights have BITS each when all of it takes `most` bytes, and the rounding that does it."""
    for shape in reversed(SHAPES):
        if _bytes_of(shape, outputs) <= most:
            return shape, WeightQuantisation(bytes=most)
    smallest = _bytes_of(SHAPES[0], outputs)
    raise OptionError(
        f"{max(most, 0):,} bytes are left for a network, and the smallest takes about {smallest:,}: ask for more"
    )


def _bytes_of(shape: tuple[int, int, int], outputs: int) -> int:
    """About what a network takes with BITS a weight, with B, multipliers, biases and the last layer as they are."""
    frequencies, layers, neurons = shape
    whole = 10 * frequencies + 4 * (layers * neurons + (neurons + 1) * outputs)
    return (
        whole + math.ceil(BITS / 8 * (2 * frequencies * neurons + (layers - 1) * neurons**2)) + 300
    )


def multipliers_for(options: EncodeOptions, config: FourierConfig) -> Tensor:
    """Initial Gauss multipliers (k,): Table 1's 2.5, or bands from 2 cycles a box edge up to a quarter of the voxels'."""
    if options.preset == "paper":
        return torch.full((config.frequencies,), 2.5, dtype=torch.float32)
    highest = min(30.0, max(4.0, 0.25 / config.scale))
    return torch.logspace(
        math.log10(2.0), math.log10(highest), config.frequencies, dtype=torch.float32
    )


def plan_for(
    options: EncodeOptions,
    config: FourierConfig,
    rounding: WeightQuantisation | None,
    voxels: int,
    device: torch.device,
) -> TrainingPlan:
    """How long and how fast to train. The paper's "batch size 24" is read as 24 x 1024 voxels."""
    if options.preset == "paper":
        epochs = options.epochs or float(MOST_EPOCHS)
        return TrainingPlan(epochs, 24 * 1024, 3e-4, options.max_time, options.psnr, options.seed)
    batch = min(LARGEST_BATCH[device.type != "cpu"], max(256, voxels // 64))
    epochs = options.epochs or default_epochs(config, voxels, batch, device)
    larger = (batch / 8192) ** 0.25  # batches bear higher rates
    return TrainingPlan(
        epochs,
        batch,
        5e-3 * larger,
        options.max_time,
        options.psnr,
        options.seed,
        optimiser="muon",
        muon_rate=0.05 * larger,
        rounding=rounding,
    )


def default_epochs(config: FourierConfig, voxels: int, batch: int, device: torch.device) -> float:
    """The paper's 100; fewer where a CPU would need more than CPU_BUDGET, more where that is under FEWEST_STEPS.

    Forward and backward together are 6 floating-point operations a weight and voxel.
    """
    weights = network_weights(config.frequencies, config.layers, config.neurons, config.outputs)
    affordable = (
        MOST_EPOCHS
        if device.type != "cpu"
        else max(1, math.floor(CPU_BUDGET / (6 * weights * voxels)))
    )
    if affordable < MOST_EPOCHS:
        return affordable
    return max(MOST_EPOCHS, math.ceil(FEWEST_STEPS * batch / voxels))
