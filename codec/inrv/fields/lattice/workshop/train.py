"""Make the default networks of the lattice: `python -m inrv.fields.lattice.workshop.train`, from
the project's root.

They learn from made-up volumes (volumes.py beside it) coded at many qualities, in rounds: each
round codes the volumes with the networks of the one before, and fits them anew to what was seen.
Writes codec/inrv/lattice/default.safetensors.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from inrv.encoding.topology_choice import coarse
from inrv.fields.lattice.codec import encode_regions
from inrv.fields.lattice.constants import LOWEST_TABLE, STEP, TABLES, TABLES_OCTAVE
from inrv.fields.lattice.context import input_count
from inrv.fields.lattice.entropy import TOKENS, lowest_of, tokens_of
from inrv.fields.lattice.exterior import Surroundings
from inrv.fields.lattice.fitting import (
    Collector,
    RealNetwork,
    Samples,
    fit_prediction,
    fit_smoothing,
)
from inrv.fields.lattice.model import (
    DEFAULTS,
    HIDDEN,
    OUTPUTS,
    SMOOTHING_HIDDEN,
    SMOOTHING_OUTPUTS,
    Model,
    default_model,
)
from inrv.fields.lattice.order import PATTERNS
from inrv.fields.lattice.restoration import INPUTS, smoothing_samples
from inrv.fields.lattice.search import ChannelEncoder, Effort, Quality, Source
from inrv.fields.lattice.traversal import Step
from inrv.fields.lattice.workshop.volumes import TrainingVolume, training_volumes
from inrv.grids import Grid, LeafValues, Normalisation, Transform, mask_places, sparse_grid
from inrv.support.parallel import in_turns

QUALITIES = (20.0, 27.0, 34.0, 41.0, 48.0, 56.0)  # dB over the active voxels
SAMPLES = 16_000  # of each network from each coded channel
SURROUNDED = 0.6  # of the lessons know the values of inactive voxels
LEAST_BITS = 0.05  # a voxel
PRIOR_TOTAL = 1 << 14  # and one for every token
SEED = 20


@dataclass(frozen=True, eq=False)
class Lesson:
    """A channel at a quality; `given` says whether it has a channel before it."""

    source: Source
    step: float
    given: bool


class Tally:
    """Counts tokens by table, and hands each step on to a collector."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.found = np.zeros((TABLES, TOKENS), dtype=np.int64)

    def __call__(self, step: Step, targets: Tensor) -> None:
        """See one step."""
        self.collector(step, targets)
        codes = ((targets - step.predicted) / step.step).round().abs().to(torch.int32).numpy()
        tables = step.tables.numpy()
        self.found += np.bincount(
            tables * TOKENS + tokens_of(codes), minlength=TABLES * TOKENS
        ).reshape(TABLES, TOKENS)


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=800, help="of the optimiser in each round (%(default)s)"
    )
    parser.add_argument(
        "--begin",
        action="store_true",
        help="with the present default networks, not with fresh ones",
    )
    parser.add_argument("--output", type=Path, default=DEFAULTS)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(SEED)
    lessons = list(_lessons(list(training_volumes(SEED)), generator))
    print(f"{len(lessons)} channels at a quality", flush=True)
    reals = {
        given: {odd: _fresh(input_count(odd, given), generator) for odd in PATTERNS}
        for given in (False, True)
    }
    smoothing = RealNetwork(INPUTS, SMOOTHING_HIDDEN, SMOOTHING_OUTPUTS, generator)
    prior = _logistic_prior()
    if arguments.begin:
        models = {given: default_model(given, True) for given in reals}
        reals = {
            given: {odd: RealNetwork.of(net) for odd, net in model.networks.items()}
            for given, model in models.items()
        }
        assert models[False].smoothing is not None
        smoothing, prior = RealNetwork.of(models[False].smoothing), models[False].prior
    for _ in range(arguments.rounds):
        prior = _round(lessons, reals, smoothing, prior, arguments.steps, generator)
        _save(reals, smoothing, prior, arguments.output)


def _fresh(inputs: int, generator: torch.Generator) -> RealNetwork:
    return RealNetwork(inputs, HIDDEN, OUTPUTS, generator)


def _lessons(volumes: Sequence[TrainingVolume], generator: torch.Generator) -> Iterator[Lesson]:
    """Every component of every volume, at two qualities, alone and after the component before it.

    At the second quality whole leaves are active, as where the topology is to follow from a
    threshold.
    """
    for number, (volume, turn) in enumerate(itertools.product(volumes, range(2))):
        before = None
        for values, active in zip(volume.values, volume.active, strict=True):
            grid = _with_inside(
                sparse_grid(values, volume.name, Transform(), volume.background, active), values
            )
            scale = Normalisation.fit(grid.values)
            if not bool(scale.varying.all()):
                continue
            grid = coarse(grid) if turn else grid
            scale = Normalisation.fit(grid.values)
            low, high = float(scale.minimum), float(scale.maximum)
            around = (
                partial(Surroundings, grid, 0, low, high)
                if float(torch.rand((), generator=generator)) < SURROUNDED
                else None
            )
            background = float(scale.apply(torch.full((1, 1), volume.background)))
            own = Source(
                grid.topology,
                scale.apply(grid.values)[:, 0].double(),
                background,
                surroundings=around,
            )
            psnr = QUALITIES[number % len(QUALITIES)] + 4 * float(
                torch.rand((), generator=generator)
            )
            step = math.sqrt(12) * 10 ** (-psnr / 20)
            yield Lesson(own, step, False)
            if before is not None:
                units = (before.values * (STEP / step)).round().to(torch.int32)
                yield Lesson(replace(own, given=(before.topology, units)), step, True)
            before = own


def _with_inside(grid: Grid, values: Tensor) -> Grid:
    """The grid with its leaves' inactive voxels as in `values` (X, Y, Z), as inside a level set."""
    topology = grid.topology
    places = mask_places(~topology.leaf_masks)
    x, y, z = topology.coordinates_of(places).long().unbind(1)
    within = (x < values.shape[0]) & (y < values.shape[1]) & (z < values.shape[2])
    found = values[x[within], y[within], z[within]]
    off = found != grid.background
    return replace(grid, inactive=LeafValues(places[within][off], found[off][:, None]))


def _round(
    lessons: Sequence[Lesson],
    reals: dict[bool, dict[int, RealNetwork]],
    smoothing: RealNetwork,
    prior: NDArray[np.int64],
    steps: int,
    generator: torch.Generator,
) -> NDArray[np.int64]:
    """Code every lesson with the present networks, fit them to it, and return the tables that the
    codes would have liked.
    """
    started, total = time.perf_counter(), 0
    kept: dict[bool, dict[int, list[Samples]]] = {
        given: {odd: [] for odd in PATTERNS} for given in reals
    }
    found, smooth = np.zeros((TABLES, TOKENS), dtype=np.int64), list[tuple[Tensor, Tensor]]()
    models = {
        given: Model({odd: real.whole() for odd, real in nets.items()}, None, prior)
        for given, nets in reals.items()
    }
    for lesson in lessons:
        share = min(1.0, 3 * SAMPLES / len(lesson.source.values))
        tally = Tally(Collector(share, generator))
        size, sample = _code(lesson, models[lesson.given], tally, share, generator)
        total += size
        smooth.append(sample)
        found += tally.found * (1 << 20) // max(1, tally.found.sum())
        for odd in tally.collector.parts:
            samples = tally.collector.samples(odd)
            # A share of the bytes saved counts alike in every lesson, be it smooth or noisy.
            worth = samples.weight.sum() * max(LEAST_BITS, 8 * size / len(lesson.source.values))
            kept[lesson.given][odd].append(replace(samples, weight=samples.weight / worth))
    print(f"coded in {time.perf_counter() - started:.0f} s: {total:,} bytes", flush=True)
    for given, nets in reals.items():
        for odd, real in nets.items():
            losses = list(
                fit_prediction(real, Samples.join(kept[given][odd]), steps, 4e-3, 8192, generator)
            )
            loss = float(torch.stack(losses[-max(1, steps // 10) :]).mean())
            print(f"given {given}, {odd} odd: loss {loss:.4f}", flush=True)
    inputs, errors = (torch.cat(column) for column in zip(*smooth, strict=True))
    in_turns(
        [fit_smoothing(smoothing, inputs, errors, steps, 4e-3, 8192, generator)], inputs.device
    )
    print(f"round: {time.perf_counter() - started:.0f} s", flush=True)
    return _prior(found)


def _code(
    lesson: Lesson, model: Model, tally: Tally, share: float, generator: torch.Generator
) -> tuple[int, tuple[Tensor, Tensor]]:
    """Bytes of the codes, and what the smoothing network may learn from them."""
    source, scale = lesson.source, STEP / lesson.step
    encoder = ChannelEncoder(source, Quality(step=lesson.step), Effort(), generator, model)
    encoder.surrounded = source.surroundings is not None
    setting, targets = encoder.setting(scale), (source.values * scale).round().to(torch.int32)
    channel = encoder.channel(scale, int(targets.max()))
    codes, rows, values = encode_regions(
        setting, encoder.corners, targets, channel, model, 1.0, observer=tally
    )
    decoded = torch.empty_like(targets)
    decoded[rows] = values
    sample = smoothing_samples(
        setting, encoder.corners, decoded, targets, channel, share, generator
    )
    return sum(4 * len(code.words) for code in codes), sample


def _logistic_prior() -> NDArray[np.int64]:
    """Counts of tokens where the codes of a table have a logistic distribution of its deviation."""
    deviations = 2.0 ** ((np.arange(TABLES) + 0.5) / TABLES_OCTAVE - LOWEST_TABLE)
    edges = np.append(lowest_of(np.arange(TOKENS, dtype=np.int32)), 1 << 24) - 0.5
    below = np.tanh(np.maximum(edges, 0) / deviations[:, None] / 2)
    return np.round(np.diff(below, axis=1) * PRIOR_TOTAL).astype(np.int64) + 1


def _prior(found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts as they were found, begun with the logistic ones."""
    logistic = _logistic_prior()
    together = found + 64 * logistic / PRIOR_TOTAL
    return (
        np.round(together / together.sum(axis=1, keepdims=True) * PRIOR_TOTAL).astype(np.int64) + 1
    )


def _save(
    reals: dict[bool, dict[int, RealNetwork]],
    smoothing: RealNetwork,
    prior: NDArray[np.int64],
    path: Path,
) -> None:
    networks = {
        f"{'given' if given else 'alone'}.{odd}": real
        for given, nets in reals.items()
        for odd, real in nets.items()
    }
    tensors = {"prior": torch.from_numpy(prior.astype(np.int16))}
    for prefix, real in {**networks, "smoothing": smoothing}.items():
        for name, tensor in real.whole().tensors.items():
            tensors[f"{prefix}.{name}"] = tensor.to(
                torch.int8 if name.endswith("weight") else torch.int16
            )
    save_file(tensors, path)


if __name__ == "__main__":
    main()
