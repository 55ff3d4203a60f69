"""Make the default networks of the lattice: `python -m inrv.fields.lattice.workshop.train`.

They learn from made-up volumes (volumes.py beside it) coded at many qualities, in rounds: each
round codes the volumes with the networks of the one before, and fits them anew to what was seen.
Writes default.safetensors in the folder above.
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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from inrv.core.lattice import LEVELS, TABLES, TOKENS, ContextSamples
from inrv.encoding.thresholds import whole_leaves
from inrv.fields.lattice.channels import linear_exterior
from inrv.fields.lattice.codec import ChannelSamples, Reference, Sampling, tokens_of
from inrv.fields.lattice.constants import INPUTS, REFERENCE_INPUTS, RESTORATION_INPUTS, STEP
from inrv.fields.lattice.fitting import (
    RealNetwork,
    Samples,
    fit_prediction,
    fit_restoration,
    prediction_samples,
    restoration_samples,
)
from inrv.fields.lattice.model import (
    ALONE,
    DEFAULTS,
    HIDDEN,
    OUTPUTS,
    REFERENCE,
    RESTORATION,
    RESTORATION_HIDDEN,
    RESTORATION_OUTPUTS,
    Model,
    default_model,
)
from inrv.fields.lattice.search import (
    ChannelValues,
    Quality,
    Settings,
    encode_channel,
)
from inrv.fields.lattice.workshop.volumes import TrainingVolume, training_volumes
from inrv.grids import Grid, LeafValues, Normalisation, Transform, mask_places, sparse_grid
from inrv.support.parallel import in_turns

QUALITIES = (20.0, 27.0, 34.0, 41.0, 48.0, 56.0)  # dB over the active voxels
SAMPLES = 16_000  # of each network from each coded channel
KNOWING = 0.6  # of the lessons know the values of inactive voxels
LEAST_BITS = 0.05  # a voxel
PRIOR_TOTAL = 1 << 14  # and one for every token
SEED = 20
QUALITY_SPREAD = 4.0  # dB, up to which a lesson may be better
RATE, BATCH = 4e-3, 8192  # of the optimiser
# The tables of the entropy coder: table 0 stands for a deviation so many octaves below one step.
TABLES_OCTAVE, LOWEST_TABLE = 4, 5
MAGNITUDES = 1 << 19  # of codes


@dataclass(frozen=True, eq=False)
class Lesson:
    """A channel at a quality.

    values: of the channel
    step: of the quantiser, as a share of the range
    reference: whether it has a reference channel
    """

    values: ChannelValues
    step: float
    reference: bool


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
        reference: {odd: _fresh(odd, reference, generator) for odd in INPUTS}
        for reference in (False, True)
    }
    widths = RESTORATION_INPUTS, RESTORATION_HIDDEN, RESTORATION_OUTPUTS
    restoration = RealNetwork(*widths, generator)
    prior = _logistic_prior()
    if arguments.begin:
        models = {reference: default_model(reference, True) for reference in reals}
        reals = {
            reference: {odd: RealNetwork.of(net) for odd, net in model.networks.items()}
            for reference, model in models.items()
        }
        begun, prior = models[False].restoration, models[False].prior
        assert begun is not None
        restoration = RealNetwork.of(begun)
    for _ in range(arguments.rounds):
        prior = _round(lessons, reals, restoration, prior, arguments.steps, generator)
        _save(reals, restoration, prior, arguments.output)


def _fresh(odd: int, reference: bool, generator: torch.Generator) -> RealNetwork:
    inputs = INPUTS[odd] + (REFERENCE_INPUTS if reference else 0)
    return RealNetwork(inputs, HIDDEN, OUTPUTS, generator)


def _lessons(volumes: Sequence[TrainingVolume], generator: torch.Generator) -> Iterator[Lesson]:
    """Every component of every volume, at two qualities, alone and after the component before it.

    At the second quality whole leaves are active, as where the topology is to follow from a
    threshold.
    """
    nothing = LeafValues.none(1)
    for number, (volume, turn) in enumerate(itertools.product(volumes, range(2))):
        before = None
        for tensor, active in zip(volume.values, volume.active, strict=True):
            values = tensor.numpy()
            grid = sparse_grid(values, volume.name, Transform(), volume.background, active.numpy())
            grid = _with_inside(grid, values)
            if not Normalisation.fit(grid.values).varying.all():
                continue
            grid = whole_leaves(grid) if turn else grid
            scale = Normalisation.fit(grid.values)
            low, high = float(scale.minimum[0]), float(scale.maximum[0])
            exterior = None
            if float(torch.rand((), generator=generator)) < KNOWING:
                exterior = partial(linear_exterior, grid, nothing, 0, low, high)
            outside = np.full((1, 1), volume.background, dtype=np.float32)
            own = ChannelValues(
                grid.topology,
                scale.apply(grid.values)[:, 0].astype(np.float64),
                float(scale.apply(outside)[0, 0]),
                exterior=exterior,
            )
            more = QUALITY_SPREAD * float(torch.rand((), generator=generator))
            psnr = QUALITIES[number % len(QUALITIES)] + more
            step = math.sqrt(12) * 10 ** (-psnr / 20)
            yield Lesson(own, step, False)
            if before is not None:
                yield Lesson(replace(own, reference=_known(before, STEP / step)), step, True)
            before = own


def _known(values: ChannelValues, scale: float) -> Reference:
    """A channel that others are predicted from, at so many units in its range."""
    units, regions = np.rint(values.values * scale).astype(np.int32), values.regions
    return Reference(regions, lambda number: units[regions.rows(number)], int(units.max()))


def _with_inside(grid: Grid, values: NDArray[np.float32]) -> Grid:
    """The grid with its leaves' inactive voxels as in `values` (X, Y, Z), as inside a level set."""
    topology = grid.topology
    places = mask_places(~topology.leaf_masks)
    coordinates = topology.coordinates_of(places)
    within = (coordinates < np.array(values.shape)).all(axis=1)
    x, y, z = coordinates[within].T
    found = values[x, y, z]
    off = found != grid.background
    return replace(grid, inactive=LeafValues(places[within][off], found[off][:, None]))


def _round(
    lessons: Sequence[Lesson],
    reals: dict[bool, dict[int, RealNetwork]],
    restoration: RealNetwork,
    prior: NDArray[np.int64],
    steps: int,
    generator: torch.Generator,
) -> NDArray[np.int64]:
    """Code every lesson with the present networks, and fit them to it.

    Returns the tables that the codes would have liked.
    """
    started, total = time.perf_counter(), 0
    kept: dict[bool, dict[int, list[Samples]]] = {
        reference: {odd: [] for odd in INPUTS} for reference in reals
    }
    found, filtered = np.zeros((TABLES, TOKENS), dtype=np.float64), list[ContextSamples]()
    whole = restoration.whole()
    models = {
        reference: Model({odd: real.whole() for odd, real in nets.items()}, whole, prior)
        for reference, nets in reals.items()
    }
    for lesson in lessons:
        voxels = len(lesson.values.values)
        size, sampled = _code(lesson, models[lesson.reference], generator)
        total += size
        filtered += sampled.parts
        seen = _tokens_seen(sampled)
        found += seen * ((1 << 20) / max(1.0, seen.sum()))
        for odd, real in reals[lesson.reference].items():
            inputs = real.get_parameter("first_weight").shape[0]
            samples = prediction_samples(sampled, odd, inputs)
            if samples is None:
                continue
            # A share of the bytes saved counts alike in every lesson, be it smooth or noisy.
            worth = samples.weight.sum() * max(LEAST_BITS, 8 * size / voxels)
            kept[lesson.reference][odd].append(replace(samples, weight=samples.weight / worth))
    print(f"coded in {time.perf_counter() - started:.0f} s: {total:,} bytes", flush=True)
    for reference, nets in reals.items():
        for odd, real in nets.items():
            samples = Samples.join(kept[reference][odd])
            losses = list(fit_prediction(real, samples, steps, RATE, BATCH, generator))
            loss = float(torch.stack(losses[-max(1, steps // 10) :]).mean())
            print(f"reference {reference}, {odd} odd: loss {loss:.4f}", flush=True)
    neighbourhoods, errors = restoration_samples(filtered)
    fit = fit_restoration(restoration, neighbourhoods, errors, steps, RATE, BATCH, generator)
    in_turns([fit])
    print(f"round: {time.perf_counter() - started:.0f} s", flush=True)
    return _prior(found)


def _code(lesson: Lesson, model: Model, generator: torch.Generator) -> tuple[int, ChannelSamples]:
    """Bytes of the codes, and what the networks may learn from them."""
    values = lesson.values
    share = 3 * SAMPLES / len(values.values)
    shares = tuple(min(1.0, share * (1 + level)) for level in range(LEVELS))
    sampling = Sampling(shares, int(torch.randint(1 << 31, (), generator=generator)))
    settings = Settings(model, knows_exterior=values.exterior is not None)
    numbers = list(range(len(values.regions)))
    quality = Quality(step=lesson.step)
    encoded = encode_channel(values, quality, settings, lesson.step, numbers, sampling)
    size = sum(region.stored.codes.size for region in encoded.regions)
    return size, ChannelSamples(encoded.samples, encoded.channel.steps, shares)


def _tokens_seen(sampled: ChannelSamples) -> NDArray[np.float64]:
    """How many voxels have each token (TABLES, TOKENS) where the nearest code is chosen, about."""
    steps, shares = np.array(sampled.steps), np.array(sampled.shares)
    result = np.zeros(TABLES * TOKENS, dtype=np.float64)
    for part in sampled.parts:
        own = np.flatnonzero(part.odd)
        level = part.level[own]
        codes = np.rint((part.targets[own] - part.predicted[own]) / steps[level])
        tokens = tokens_of(np.abs(codes).astype(np.int64))
        seen = part.table[own].astype(np.int64) * TOKENS + tokens
        result += np.bincount(seen, weights=1 / shares[level], minlength=len(result))
    return result.reshape(TABLES, TOKENS)


def _logistic_prior() -> NDArray[np.int64]:
    """Counts of tokens where the codes of a table have a logistic distribution of its deviation."""
    deviations = 2.0 ** ((np.arange(TABLES) + 0.5) / TABLES_OCTAVE - LOWEST_TABLE)
    tokens = tokens_of(np.arange(MAGNITUDES))
    edges = np.append(np.flatnonzero(np.diff(tokens, prepend=-1)), 1 << 24) - 0.5
    below = np.tanh(np.maximum(edges, 0) / deviations[:, None] / 2)
    counts: NDArray[np.int64] = np.round(np.diff(below, axis=1) * PRIOR_TOTAL).astype(np.int64)
    return counts + 1


def _prior(found: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts as they were found, begun with the logistic ones."""
    logistic = _logistic_prior()
    together = found + 64 * logistic / PRIOR_TOTAL
    shares = together / together.sum(axis=1, keepdims=True)
    counts: NDArray[np.int64] = np.round(shares * PRIOR_TOTAL).astype(np.int64)
    return counts + 1


def _save(
    reals: dict[bool, dict[int, RealNetwork]],
    restoration: RealNetwork,
    prior: NDArray[np.int64],
    path: Path,
) -> None:
    """Write all networks and the counts with which tables begin."""
    networks = {RESTORATION: restoration}
    for reference, nets in reals.items():
        for odd, real in nets.items():
            networks[f"{REFERENCE if reference else ALONE}.{odd}"] = real
    tensors: dict[str, NDArray[Any]] = {"prior": prior.astype(np.int16)}
    for prefix, real in networks.items():
        for name, tensor in real.whole().tensors.items():
            dtype = np.int8 if name.endswith("weight") else np.int16
            tensors[f"{prefix}.{name}"] = tensor.astype(dtype)
    save_file(tensors, path)


if __name__ == "__main__":
    main()
