"""Fitting: from grids to a trained network, and the precision of its stored weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inrv.container import ACCURACY
from inrv.fields.fourier.defaults import multipliers_for, network_for, plan_for, time_axis
from inrv.fields.fourier.evaluation import evaluate
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.quantisation import PRECISIONS, StoredTensors, on_steps, quantise
from inrv.fields.fourier.selection import (
    Samples,
    gather_samples,
    join_in_time,
    joint_box,
    select_voxels,
)
from inrv.fields.fourier.shape import TimeAxis
from inrv.fields.fourier.store import deviation
from inrv.fields.fourier.training import Checkpoint, TrainingResult, train
from inrv.fields.seam import ProgressCallback
from inrv.metrics.psnr import psnr_of
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid

# DB that storing the weights on fewer bits may cost.
# measured: docs/lab-notes.md#precision-of-the-weights
LARGEST_LOSS = 0.1
LOWER_LOSS = 0.02  # dB that decoding with products in bfloat16 may cost
ROOM = 4  # times the largest difference found: the tolerance, for voxels that were not probed
PROBE_VOXELS = 1 << 18  # voxels that quality is measured on, at most


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """Holds a trained network on the CPU, with its weights at storage precision.

    network: network with the weights that are stored
    stored: its tensors as they go into the file
    losses: dB that each precision tried would cost the output it harms most
    training: what training did
    psnrs: dB of each output, over its grid's active leaf voxels among `probe`, peak 1
    probe: voxels that quality was measured on
    tolerance: float how far a decoder's outputs may be from those in float32, where products in
        bfloat16 lose next to nothing; None: as far as the accuracy class says
    """

    network: FourierNetwork
    stored: StoredTensors
    losses: dict[str, float]
    training: TrainingResult
    psnrs: tuple[float, ...]
    probe: Samples
    tolerance: float | None

    def rescaled(self, factor: float) -> FittedNetwork:
        """Return the same network with quantiser steps of its weights `factor` times as wide.

        Training must have rounded them.
        """
        steps = {
            name: replace(weight, step=weight.step * factor)
            for name, weight in self.training.rounded.items()
        }
        return as_stored(self.network, replace(self.training, rounded=steps), self.probe)


def fit_network(
    grids: Sequence[PreparedGrid],
    options: EncodeOptions,
    device: torch.device,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
    most_bytes: int | None = None,
) -> FittedNetwork | None:
    """Train one network for all varying components of the grids.

    grids: grids to be coded together. Where they are of several frames, the network knows time
    options: what the user chose
    device: device to train on
    progress: callback for where training stands, or None
    checkpoint: where training is saved, or None
    most_bytes: int bytes that the network may take in the file, about; None: as follows from the
        values

    Return None where no component varies. The weights become as coarse as training left them, or
    else as costs no more than LARGEST_LOSS. Raises OptionError where no network is as small as
    `most_bytes` asks.
    """
    varying = [int(grid.normalisation.varying.sum()) for grid in grids]
    box = joint_box([grid.coded for grid in grids])
    if not any(varying) or box is None:
        return None
    time = time_axis(grids)
    only_active = options.selection == "topology" and options.dilation == 0
    samples = _samples(grids, time, options.selection, options.dilation, only_active)
    active = samples if only_active else _samples(grids, time, "topology", 0, True)
    probe = _probe(active, options.seed).to(device)
    values = sum(
        own * grid.coded.topology.leaf_voxel_count for own, grid in zip(varying, grids, strict=True)
    )
    outputs = sum(varying) if time is None else max(time.columns) + 1
    config, rounding = network_for(options, values, outputs, box, most_bytes, time)
    generator = torch.Generator().manual_seed(options.seed)
    network = FourierNetwork(config, multipliers_for(options, config), generator).to(device)
    plan = plan_for(options, config, rounding, len(samples), device)
    training = train(network, samples.to(device), plan, progress, checkpoint)
    return as_stored(network, training, probe)


def _samples(
    grids: Sequence[PreparedGrid],
    time: TimeAxis | None,
    selection: str,
    dilation: float,
    active_only: bool,
) -> Samples:
    """Gather the samples of a selection, in each frame by itself where the network knows time."""

    def of(part: Sequence[PreparedGrid]) -> Samples:
        coded = [grid.coded for grid in part]
        chosen = select_voxels(coded, selection, dilation)
        return gather_samples(coded, chosen, [grid.normalisation for grid in part], active_only)

    if time is None:
        return of(grids)
    parts = []
    for place in sorted(set(time.places)):
        pairs = zip(time.places, time.columns, strict=True)
        columns = [column for own, column in pairs if own == place]
        parts.append((place, columns, of([grid for grid in grids if grid.frame == place])))
    return join_in_time(parts, max(time.columns) + 1)


@torch.no_grad()
def as_stored(network: FourierNetwork, training: TrainingResult, probe: Samples) -> FittedNetwork:
    """Bring a trained network to the precision that it is stored at.

    Its weights lie on the quantiser steps that training ended with, where there are such.
    """
    network = network.to(probe.coordinates.device)
    time = network.shape.time
    before = _psnrs(evaluate(network, probe.coordinates), probe, time)
    losses: dict[str, float] = {}
    for stored in _ways_to_store(network, training):
        rounded = FourierNetwork.restore(network.shape, stored.tensors).to(probe.coordinates.device)
        outputs = evaluate(rounded, probe.coordinates)
        psnrs = _psnrs(outputs, probe, time)
        losses[stored.precision] = _loss(before, psnrs)
        if losses[stored.precision] < LARGEST_LOSS:
            break
    tolerance = _tolerance(
        outputs, evaluate(rounded, probe.coordinates, precision=torch.bfloat16), probe, time
    )
    return FittedNetwork(rounded.cpu(), stored, losses, training, psnrs, probe, tolerance)


def _ways_to_store(network: FourierNetwork, training: TrainingResult) -> Iterator[StoredTensors]:
    """Yield the tensors of a network at the precisions to be tried, from the coarsest on.

    Where training ended on rounded weights, these are the only ones.
    """
    if training.rounded:
        exact = {name: weight.exact.cpu().numpy() for name, weight in training.rounded.items()}
        steps = {name: weight.step for name, weight in training.rounded.items()}
        yield on_steps(network.arrays() | exact, network.fixed(), steps)
        return
    for precision in PRECISIONS:
        yield quantise(network.arrays(), network.fixed(), precision)


def _probe(samples: Samples, seed: int) -> Samples:
    """Draw at most PROBE_VOXELS of the active voxels.

    Quality is measured on them, whatever voxels the network is trained on.
    """
    if len(samples) <= PROBE_VOXELS:
        return samples
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(samples), generator=generator)[:PROBE_VOXELS]
    return Samples(
        samples.coordinates[rows],
        samples.targets[rows],
        None if samples.counted is None else samples.counted[rows],
    )


def _tolerance(exact: Tensor, lower: Tensor, probe: Samples, time: TimeAxis | None) -> float | None:
    """Return the tolerance that lets a decoder multiply in bfloat16.

    exact: float32 (N, outputs) outputs of the network
    lower: float32 (N, outputs) outputs with products in bfloat16
    probe: the samples of these outputs
    time: how frames lie in time, if the network knows it

    Return None where an output would lose more than LOWER_LOSS dB.
    """
    if _loss(_psnrs(exact, probe, time), _psnrs(lower, probe, time)) > LOWER_LOSS:
        return None
    room = ROOM * deviation(lower.cpu().numpy(), exact.cpu().numpy())
    return max(ACCURACY, float(f"{room:.1e}")) if room <= 1 else None


def _loss(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the dB that the output loses that loses most."""
    return max(b - a for b, a in zip(before, after, strict=True))


def _psnrs(outputs: Tensor, probe: Samples, time: TimeAxis | None) -> tuple[float, ...]:
    """Return the PSNR of each output of the field in dB.

    It is over the values of `probe` that count, those at its place in time, peak 1.
    """
    missed = outputs.clamp(0, 1) - probe.targets
    if missed.device.type == "mps":  # which has no float64
        missed = missed.cpu()
    squared = missed.double().square()
    counted = torch.ones_like(squared) if probe.counted is None else probe.counted.to(squared)
    if time is None:
        return tuple(map(psnr_of, _means(squared, counted)))
    at = probe.coordinates[:, 3].to(squared.device)
    means = {
        place: _means(squared[at == place], counted[at == place]) for place in set(time.places)
    }
    pairs = zip(time.places, time.columns, strict=True)
    return tuple(psnr_of(means[place][column]) for place, column in pairs)


def _means(squared: Tensor, counted: Tensor) -> list[float]:
    """Return the mean of each column over the rows that count in it."""
    found: list[float] = ((squared * counted).sum(dim=0) / counted.sum(dim=0).clamp_min(1)).tolist()
    return found
