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
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from inrv.core.lattice import LEVELS, QUANTISERS, TABLES, ContextSamples
from inrv.encoding.thresholds import whole_leaves
from inrv.fields.lattice.channels import linear_exterior
from inrv.fields.lattice.codec import ChannelSamples, Reference, Sampling, tokens_of
from inrv.fields.lattice.constants import (
    INPUT_ONE,
    INPUTS,
    REFERENCE_INPUTS,
    RESTORATION_INPUTS,
    STEP,
)
from inrv.fields.lattice.fitting import (
    RealNetwork,
    Samples,
    fit_prediction,
    fit_restoration,
    prediction_loss,
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
)
from inrv.fields.lattice.network import IntegerNetwork
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
GROUPS = dict[str, int]()
QUALITY_SPREAD = 4.0  # dB, up to which a lesson may be better
RATE, BATCH = 4e-3, 8192  # of the optimiser
# The tables of the entropy coder: table 0 stands for a deviation so many octaves below one step.
TABLES_OCTAVE, LOWEST_TABLE = 4, 5
MAGNITUDES = 1 << 19  # of codes


@dataclass(eq=False)
class Lesson:
    """A channel at a quality.

    values: of the channel
    step: of the quantiser, as a share of the range
    reference: whether it has a reference channel
    family: of its volume
    choice: number of the set of networks that suits it best so far
    """

    values: ChannelValues
    step: float
    reference: bool
    family: str
    choice: int = 0


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
        "--sets", type=int, default=1, help="how many sets of networks there are (%(default)s)"
    )
    parser.add_argument("--alone", action="store_true", help="train nothing for reference channels")
    parser.add_argument("--begin", type=Path, help="networks to begin with, not fresh ones")
    parser.add_argument("--output", type=Path, default=DEFAULTS)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(SEED)
    lessons = list(_lessons(list(training_volumes(SEED)), generator))
    if arguments.alone:
        lessons = [lesson for lesson in lessons if not lesson.reference]
    print(f"{len(lessons)} channels at a quality", flush=True)
    if arguments.begin:
        begun = load_file(arguments.begin)
        count = sum(name.endswith(".alone.1.first.bias") for name in begun)
        sets = [NetworkSet.of(begun, number) for number in range(count)]
        prior = begun["prior"].astype(np.int64)
    else:
        sets, prior = [NetworkSet.fresh(generator)], _logistic_prior()
    for number in range(arguments.rounds):
        if (number and len(sets) < arguments.sets) or len(sets) > arguments.sets:
            sets = _split(lessons, sets, arguments.sets)
        prior = _round(lessons, sets, prior, arguments.steps, generator)
        _save(sets, prior, arguments.output)


@dataclass(eq=False)
class NetworkSet:
    """Networks that some lessons learn together.

    predictions: by number of odd axes, without and with a reference channel
    restoration: the filter
    """

    predictions: dict[bool, dict[int, RealNetwork]]
    restoration: RealNetwork

    @staticmethod
    def fresh(generator: torch.Generator) -> NetworkSet:
        """One that knows nothing."""
        return NetworkSet(
            {
                reference: {odd: _fresh(odd, reference, generator) for odd in INPUTS}
                for reference in (False, True)
            },
            RealNetwork(RESTORATION_INPUTS, RESTORATION_HIDDEN, RESTORATION_OUTPUTS, generator),
        )

    @staticmethod
    def of(stored: dict[str, NDArray[Any]], number: int) -> NetworkSet:
        """One that was stored."""

        def part(name: str) -> RealNetwork:
            start = f"{number}.{name}."
            return RealNetwork.of(
                IntegerNetwork(
                    {
                        key.removeprefix(start): tensor.astype(np.float32)
                        for key, tensor in stored.items()
                        if key.startswith(start)
                    }
                )
            )

        return NetworkSet(
            {
                reference: {
                    odd: part(f"{REFERENCE if reference else ALONE}.{odd}") for odd in INPUTS
                }
                for reference in (False, True)
            },
            part(RESTORATION),
        )

    def model(self, reference: bool, prior: NDArray[np.int64]) -> Model:
        """The networks in whole numbers."""
        nets = {odd: real.whole() for odd, real in self.predictions[reference].items()}
        return Model(nets, self.restoration.whole(), prior)


def _fresh(odd: int, reference: bool, generator: torch.Generator) -> RealNetwork:
    inputs = INPUTS[odd] + (REFERENCE_INPUTS if reference else 0)
    return RealNetwork(inputs, HIDDEN, OUTPUTS, generator)


def _split(lessons: list[Lesson], sets: list[NetworkSet], count: int) -> list[NetworkSet]:
    """As many copies of the first set, one a family; the rest share them."""
    families = sorted({lesson.family for lesson in lessons})
    for lesson in lessons:
        lesson.choice = families.index(lesson.family) % count
        if lesson.family in GROUPS:
            lesson.choice = GROUPS[lesson.family] % count
    return [deepcopy(sets[0]) for _ in range(count)]


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
            family = getattr(volume, "family", volume.name.rsplit(" ", 1)[0])
            yield Lesson(own, step, False, family)
            if before is not None:
                known = _known(before, STEP / step)
                yield Lesson(replace(own, reference=known), step, True, family)
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
    sets: list[NetworkSet],
    prior: NDArray[np.int64],
    steps: int,
    generator: torch.Generator,
) -> NDArray[np.int64]:
    """Code every lesson with the set that suits it, and fit the sets to what was seen.

    Returns the tables that the codes would have liked.
    """
    started, total = time.perf_counter(), 0
    kept = {
        (n, r, odd): list[Samples]()
        for n in range(len(sets))
        for r in (False, True)
        for odd in INPUTS
    }
    filtered = [list[ContextSamples]() for _ in sets]
    found = np.zeros(prior.shape, dtype=np.float64)
    models = [{r: one.model(r, prior) for r in (False, True)} for one in sets]
    sizes = dict[str, int]()
    for lesson in lessons:
        voxels = len(lesson.values.values)
        size, sampled = _code(lesson, models[lesson.choice][lesson.reference], generator)
        samples = {
            odd: prediction_samples(sampled, odd, INPUTS[odd] + REFERENCE_INPUTS * lesson.reference)
            for odd in INPUTS
        }
        if len(sets) > 1:
            lesson.choice = _best(lesson, sets, samples)
        total += size
        label = f"{lesson.family}{'*' if lesson.reference else ''}"
        sizes[label] = sizes.get(label, 0) + size
        filtered[lesson.choice] += sampled.parts
        seen = sum(part.tokens for part in sampled.parts).astype(np.float64)
        found += seen * ((1 << 20) / max(1.0, seen.sum()))
        for odd, one in samples.items():
            if one is not None:
                # A share of the bytes saved counts alike in every lesson, be it smooth or noisy.
                worth = one.weight.sum() * max(LEAST_BITS, 8 * size / voxels)
                place = lesson.choice, lesson.reference, odd
                kept[place].append(replace(one, weight=one.weight / worth))
    chosen = [sum(lesson.choice == n for lesson in lessons) for n in range(len(sets))]
    print(
        f"coded in {time.perf_counter() - started:.0f} s: {total:,} bytes; {chosen}; {sizes}",
        flush=True,
    )
    for (n, reference, odd), parts in kept.items():
        if not parts:
            continue
        samples = Samples.join(parts)
        real = sets[n].predictions[reference][odd]
        losses = list(fit_prediction(real, samples, steps, RATE, BATCH, generator))
        loss = float(torch.stack(losses[-max(1, steps // 10) :]).mean())
        print(f"set {n}, reference {reference}, {odd} odd: loss {loss:.4f}", flush=True)
    for one, parts in zip(sets, filtered, strict=True):
        if parts:
            neighbourhoods, errors = restoration_samples(parts)
            fit = fit_restoration(
                one.restoration, neighbourhoods, errors, steps, RATE, BATCH, generator
            )
            in_turns([fit])
    print(f"round: {time.perf_counter() - started:.0f} s", flush=True)
    return _prior(found)


@torch.no_grad()
def _best(lesson: Lesson, sets: list[NetworkSet], samples: dict[int, Samples | None]) -> int:
    """The number of the set that predicts a lesson's voxels best."""

    def loss(one: NetworkSet) -> float:
        total = 0.0
        for odd, part in samples.items():
            if part is not None:
                real = one.predictions[lesson.reference][odd]
                rows = torch.arange(len(part))
                outputs = real(part.inputs.float() / INPUT_ONE)
                total += float(prediction_loss(outputs, part, rows)) * float(part.weight.sum())
        return total

    losses = [loss(one) for one in sets]
    return losses.index(min(losses))


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


def _logistic_prior() -> NDArray[np.int64]:
    """Counts of tokens where the codes of a table have a logistic distribution of its deviation."""
    deviations = 2.0 ** ((np.arange(TABLES) + 0.5) / TABLES_OCTAVE - LOWEST_TABLE)
    magnitudes = np.arange(MAGNITUDES)
    first = np.flatnonzero(np.diff(tokens_of(magnitudes), prepend=-1))
    counts = []
    for half in range(QUANTISERS):
        values = magnitudes - np.minimum(magnitudes, 1) * half / 2
        edges = np.append(np.append(0, (values[1:] + values[:-1]) / 2)[first], 1 << 24)
        below = np.tanh(edges / deviations[:, None] / 2)
        counts.append(np.round(np.diff(below, axis=1) * PRIOR_TOTAL).astype(np.int64) + 1)
    return np.stack(counts)


def _prior(found: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts as they were found, begun with the logistic ones."""
    logistic = _logistic_prior()
    together = found + 64 * logistic / PRIOR_TOTAL
    shares = together / together.sum(axis=-1, keepdims=True)
    counts: NDArray[np.int64] = np.round(shares * PRIOR_TOTAL).astype(np.int64)
    return counts + 1


def _save(sets: list[NetworkSet], prior: NDArray[np.int64], path: Path) -> None:
    """Write all networks and the counts with which tables begin."""
    tensors: dict[str, NDArray[Any]] = {"prior": prior.astype(np.int16)}
    for number, one in enumerate(sets):
        networks = {RESTORATION: one.restoration}
        for reference, nets in one.predictions.items():
            for odd, real in nets.items():
                networks[f"{REFERENCE if reference else ALONE}.{odd}"] = real
        for prefix, real in networks.items():
            for name, tensor in real.whole().tensors.items():
                dtype = np.int8 if name.endswith("weight") else np.int16
                tensors[f"{number}.{prefix}.{name}"] = tensor.astype(dtype)
    save_file(tensors, path)


if __name__ == "__main__":
    main()
