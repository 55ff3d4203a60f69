"""The default network and training of a fourier field, which follow from options and data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.fields.fourier.selection import joint_box
from inrv.fields.fourier.shape import FourierConfig, TimeAxis, network_weights
from inrv.fields.fourier.training import TrainingPlan, WeightQuantisation
from inrv.fields.fourier.training.plan import FLOPS_PER_WEIGHT
from inrv.grids import Box
from inrv.options import DEFAULT_VALUES_PER_WEIGHT, EncodeOptions
from inrv.storage import PreparedGrid

Shape = tuple[int, int, int]  # frequencies k, hidden layers m, neurons n

# The default networks, from the smallest on.
# measured: docs/lab-notes.md#network-and-schedule
NEURONS = (*range(16, 64, 8), *range(64, 4097, 16))
SHAPES: tuple[Shape, ...] = tuple((n, max(4, n // 64), n) for n in NEURONS)

# The range of the first multipliers, in cycles a box edge.
# measured: docs/lab-notes.md#bands-of-frequencies
LOWEST_BAND, HIGHEST_BAND = 2.0, 30.0

# How many voxels a frame is away from the next one, along the axis of time.
# measured: docs/lab-notes.md#one-network-over-time
FRAME_VOXELS = 1.0

# Bits for each weight where the size of a file is given.
# measured: docs/lab-notes.md#quantisation-aware-training
BITS = 6.0

# Voxels for each step on CPUs and on other devices, and the highest learning rates at the first.
# measured: docs/lab-notes.md#training
CPU_BATCH, GPU_BATCH = 8192, 32768
ADAM_RATE, MUON_RATE = 5e-3, 0.05

TENSOR_HEADERS = 300  # bytes of the names and shapes of a network's tensors, about
CPU_BUDGET = 1e13  # floating-point operations of training: about a minute on two cores with AMX
FEWEST_STEPS = 2000
MOST_EPOCHS = 100  # those of the paper

# The paper's Table 1. Its "batch size 24" is read as 24 x 1024 voxels.
PAPER_SHAPE: Shape = (1280, 8, 512)
PAPER_MULTIPLIER = 2.5
PAPER_BATCH = 24 * 1024
PAPER_RATE = 3e-4


def network_for(
    options: EncodeOptions,
    values: int,
    outputs: int,
    box: Box,
    most_bytes: int | None,
    time: TimeAxis | None = None,
) -> tuple[FourierConfig, WeightQuantisation | None]:
    """Choose the network, and how its weights are rounded.

    options: what the user chose
    values: int active values in all components
    outputs: int components
    time: how frames lie in time; None: there is one
    box: box of the active voxels
    most_bytes: int bytes that the network may take in the file; None: as follows from `values`

    Raises OptionError where no network is as small as `most_bytes` asks.
    """
    x, y, z = map(float, box.lower)
    scale = 1.0 / max(box.shape)
    if options.preset == "paper":
        return FourierConfig(*PAPER_SHAPE, outputs, (x, y, z), scale, "relu", time), None
    if most_bytes is None:
        weights = values / (options.values_per_weight or DEFAULT_VALUES_PER_WEIGHT)
        shape, rounding = proportions(weights, outputs), WeightQuantisation()
    else:
        shape, rounding = within_bytes(most_bytes, outputs)
    return FourierConfig(*shape, outputs, (x, y, z), scale, "silu", time), rounding


def time_axis(grids: Sequence[PreparedGrid]) -> TimeAxis | None:
    """Choose how the frames of grids lie in time; None where there is one frame.

    Components of grids of the same name are one output of the network, at different places.
    """
    if len({grid.frame for grid in grids}) < 2:
        return None
    box = joint_box([grid.coded for grid in grids])
    places, columns, seen = list[int](), list[int](), Counter[tuple[int, str]]()
    known: dict[tuple[str, int, int], int] = {}
    for grid in grids:
        own = grid.frame, grid.grid.name
        for component in np.flatnonzero(grid.normalisation.varying).tolist():
            name = grid.grid.name, seen[own], component
            places.append(grid.frame)
            columns.append(known.setdefault(name, len(known)))
        seen[own] += 1
    edge = 1 if box is None else max(box.shape)
    return TimeAxis(FRAME_VOXELS / edge, tuple(places), tuple(columns))


def proportions(weights: float, outputs: int) -> Shape:
    """Return the largest default network with at most so many weights, or the smallest there is."""
    found = [shape for shape in SHAPES if network_weights(*shape, outputs) <= weights]
    return found[-1] if found else SHAPES[0]


def within_bytes(most: int, outputs: int) -> tuple[Shape, WeightQuantisation]:
    """Return the largest default network that fits into `most` bytes, and the rounding for it.

    Its weights then have BITS each. Raises OptionError where no network is so small.
    """
    for shape in reversed(SHAPES):
        if _bytes_of(shape, outputs) <= most:
            return shape, WeightQuantisation(bytes=most)
    smallest = _bytes_of(SHAPES[0], outputs)
    raise OptionError(
        f"{max(most, 0):,} bytes are left for a network, and the smallest takes about "
        f"{smallest:,}: ask for more"
    )


def _bytes_of(shape: Shape, outputs: int) -> int:
    """Return about how many bytes a network takes with BITS for each weight of its matrices.

    B takes 6 bytes a frequency, multipliers 4, and biases and the last layer 4 a number.
    """
    frequencies, layers, neurons = shape
    whole = 10 * frequencies + 4 * (layers * neurons + (neurons + 1) * outputs)
    matrices = 2 * frequencies * neurons + (layers - 1) * neurons**2
    return whole + math.ceil(BITS / 8 * matrices) + TENSOR_HEADERS


def multipliers_for(options: EncodeOptions, config: FourierConfig) -> Tensor:
    """Return the multipliers float32 (k,) that training begins with, in cycles a box edge.

    They are 2.5 as in Table 1, or spaced evenly in their logarithm, from LOWEST_BAND to
    HIGHEST_BAND, where a cycle takes at least four voxels.
    """
    if options.preset == "paper":
        return torch.full((config.frequencies,), PAPER_MULTIPLIER, dtype=torch.float32)
    highest = min(HIGHEST_BAND, max(2 * LOWEST_BAND, 0.25 / config.scale))
    return torch.logspace(
        math.log10(LOWEST_BAND), math.log10(highest), config.frequencies, dtype=torch.float32
    )


def plan_for(
    options: EncodeOptions,
    config: FourierConfig,
    rounding: WeightQuantisation | None,
    voxels: int,
    device: torch.device,
) -> TrainingPlan:
    """Choose how long and how fast to train.

    options: what the user chose
    config: shape of the network
    rounding: how its weights are rounded; None: they are not
    voxels: int voxels to train on
    device: device to train on
    """
    if options.preset == "paper":
        return TrainingPlan(
            options.epochs or float(MOST_EPOCHS),
            PAPER_BATCH,
            PAPER_RATE,
            options.max_time,
            options.psnr,
            options.seed,
        )
    largest = CPU_BATCH if device.type == "cpu" else GPU_BATCH
    batch = min(largest, max(256, voxels // 64))
    larger = (batch / CPU_BATCH) ** 0.25  # larger batches bear higher rates
    return TrainingPlan(
        options.epochs or default_epochs(config, voxels, batch, device),
        batch,
        ADAM_RATE * larger,
        options.max_time,
        options.psnr,
        options.seed,
        optimiser="muon",
        muon_rate=MUON_RATE * larger,
        rounding=rounding,
    )


def default_epochs(config: FourierConfig, voxels: int, batch: int, device: torch.device) -> float:
    """Return how many epochs to train.

    They are the paper's 100, fewer where a CPU would need more than CPU_BUDGET, and more where 100
    epochs are fewer than FEWEST_STEPS steps.
    """
    weights = network_weights(config.frequencies, config.layers, config.neurons, config.outputs)
    affordable = (
        MOST_EPOCHS
        if device.type != "cpu"
        else max(1, math.floor(CPU_BUDGET / (FLOPS_PER_WEIGHT * weights * voxels)))
    )
    if affordable < MOST_EPOCHS:
        return affordable
    return max(MOST_EPOCHS, math.ceil(FEWEST_STEPS * batch / voxels))
