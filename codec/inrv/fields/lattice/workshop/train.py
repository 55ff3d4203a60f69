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
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from inrv.fields.lattice.codec import Reference
from inrv.fields.lattice.constants import (
    INPUT_ONE,
    INPUTS,
    LOWEST_TABLE,
    REFERENCE_INPUTS,
    RESTORATION_INPUTS,
    SETS,
    STEP,
    TABLES_OCTAVE,
)
from inrv.fields.lattice.fitting import (
    RealNetwork,
    Samples,
    fit_prediction,
    fit_restoration,
    prediction_loss,
    restoration_tensors,
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
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.samples import ChannelSamples, Sampling
from inrv.fields.lattice.search import (
    ChannelValues,
    Quality,
    Settings,
    encode_channel,
)
from inrv.fields.lattice.tokens import tokens_of
from inrv.fields.lattice.workshop.volumes import TrainingVolume, training_volumes
from inrv.grids import Grid, LeafValues, Normalisation, Transform, mask_places, sparse_grid
from inrv.support.parallel import in_turns

QUALITIES = (20.0, 27.0, 34.0, 41.0, 48.0, 56.0)  # dB over the active voxels
SAMPLES = 6_000  # of each network from each coded channel
KNOWING = 0.6  # of the lessons know the values of inactive voxels
LEAST_BITS = 0.05  # a voxel
PRIOR_TOTAL = 1 << 14  # and one for every token
SEED = 20
# Rounds before there are several sets, and the families that each begins with; the last one begins
# with gas at a low quality.
TOGETHER = 1
SET_FAMILIES = (
    ("smoke", "fire"),
    ("level set",),
    ("fog", "colour"),
    ("velocity", "flow"),
    ("cloud", "scan", "field"),
)
GAS, COARSE = ("smoke", "fire", "velocity", "flow"), 32.0
LEAST_WITH_TRELLIS = 25.0  # dB, below which a trellis mostly does not pay
QUALITY_SPREAD = 4.0  # dB, up to which a lesson may be better
BATCH = 8192  # samples a step of the optimiser
MAGNITUDES = 1 << 19  # of codes
KINDS = (False, True)  # without and with a reference channel
VOXELS_OF = {1: 3, 2: 3, 3: 1}  # of eight, by number of odd axes


@dataclass(frozen=True)
class Steps:
    """Of the optimiser in a round: how many, and at which rate they begin."""

    count: int
    rate: float


@dataclass(eq=False)
class Lesson:
    """A channel at a quality.

    values: of the channel
    quality: dB that about come out
    reference: whether it has a reference channel
    family: of its volume
    set: number of the set of networks that predicts it best so far
    """

    values: ChannelValues
    quality: float
    reference: bool
    family: str
    set: int = 0

    @property
    def step(self) -> float:
        """Of the quantiser, as a share of the range."""
        return math.sqrt(12) * 10 ** (-self.quality / 20)


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8, help="in all (%(default)s)")
    parser.add_argument(
        "--steps", type=int, default=1500, help="of the optimiser in each round (%(default)s)"
    )
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the volumes of each family (%(default)s)"
    )
    parser.add_argument("--rate", type=float, default=4e-3, help="of the optimiser (%(default)s)")
    parser.add_argument("--begin", type=Path, help="networks to begin with, not fresh ones")
    parser.add_argument(
        "--families",
        nargs="*",
        metavar="NAME",
        help="train on these alone; sets that none of them takes, and counts, stay as they begin",
    )
    parser.add_argument("--output", type=Path, default=DEFAULTS)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(SEED)
    lessons = [
        lesson
        for lesson in lessons_of(training_volumes(SEED, arguments.share), generator)
        if arguments.families is None or lesson.family in arguments.families
    ]
    print(f"{len(lessons)} channels at a quality", flush=True)
    if arguments.begin:
        begun = load_file(arguments.begin)
        count = sum(name.endswith(f".{ALONE}.1.last.bias") for name in begun)
        sets = [NetworkSet.of(begun, number) for number in range(count)]
        prior = begun["prior"].astype(np.int64)
    else:
        sets, prior = [NetworkSet.fresh(generator)], _logistic_prior()
    for number in range(arguments.rounds):
        parting = len(sets) == 1 and number == TOGETHER
        if parting:
            sets = [deepcopy(sets[0]) for _ in range(SETS)]
            for lesson in lessons:
                lesson.set = _first_set(lesson)
        before = deepcopy(sets)
        steps = Steps(arguments.steps, arguments.rate)
        found = _round(lessons, sets, prior, not parting, steps, generator)
        prior = found if arguments.families is None else prior
        if arguments.begin or number > TOGETHER:
            _average(sets, before)
        _save(sets, prior, arguments.output)


@torch.no_grad()
def _average(sets: Sequence[NetworkSet], before: Sequence[NetworkSet]) -> None:
    """Move networks half of the way back to where they were before a round.

    Each round learns from what the networks of the one before saw. Without this they swing from
    round to round, and level sets at low rates take 10 % more bytes in every second one.
    """
    for one, other in zip(sets, before, strict=True):
        pairs = [(one.restoration, other.restoration)]
        for kind, networks in one.predictions.items():
            pairs += [(networks[odd], other.predictions[kind][odd]) for odd in networks]
        for network, old in pairs:
            for moved, begun in zip(network.parameters(), old.parameters(), strict=True):
                moved.lerp_(begun, 0.5)


def _first_set(lesson: Lesson) -> int:
    """The set that a lesson begins with; later it takes the one that predicts it best."""
    if lesson.quality < COARSE and lesson.family in GAS:
        return len(SET_FAMILIES)
    found = (number for number, own in enumerate(SET_FAMILIES) if lesson.family in own)
    return next(found, 0)


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
                for reference in KINDS
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
                for reference in KINDS
            },
            part(RESTORATION),
        )

    def model(self, reference: bool, prior: NDArray[np.int64]) -> Model:
        """The networks in whole numbers."""
        nets = {odd: real.whole() for odd, real in self.predictions[reference].items()}
        wavelet = default_model(False, False).wavelet_prior
        return Model(nets, self.restoration.whole(), prior, wavelet)


def _fresh(odd: int, reference: bool, generator: torch.Generator) -> RealNetwork:
    inputs = INPUTS[odd] + (REFERENCE_INPUTS if reference else 0)
    return RealNetwork(inputs, HIDDEN, OUTPUTS, generator)


def lessons_of(volumes: Iterable[TrainingVolume], generator: torch.Generator) -> Iterator[Lesson]:
    """Every component of every volume, at two qualities, alone and after the component before it.

    At the second quality whole leaves are active, as where the topology is to follow from a
    threshold.
    """
    nothing = LeafValues.none(1)
    for number, (volume, turn) in enumerate((v, turn) for v in volumes for turn in range(2)):
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
            quality = QUALITIES[number % len(QUALITIES)] + more
            lesson = Lesson(own, quality, False, volume.family)
            yield lesson
            if before is not None:
                known = _known(before, STEP / lesson.step)
                yield Lesson(replace(own, reference=known), quality, True, volume.family)
            before = own


def _known(values: ChannelValues, scale: float) -> Callable[[float], Reference]:
    """What makes a channel that others are predicted from, at so many units in its own range."""
    units, regions = np.rint(values.values * scale).astype(np.int32), values.regions
    known = Reference(regions, lambda number: units[regions.rows(number)], int(units.max()))
    return lambda _: known


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
    sets: Sequence[NetworkSet],
    prior: NDArray[np.int64],
    choosing: bool,
    steps: Steps,
    generator: torch.Generator,
) -> NDArray[np.int64]:
    """Code every lesson with its set, and fit the sets to what was seen.

    choosing: whether lessons may take another set

    Returns the tables that the codes would have liked.
    """
    started, sizes = time.perf_counter(), dict[str, int]()
    kept = {key: list[Samples]() for key in itertools.product(range(len(sets)), KINDS, INPUTS)}
    filtered = [list[ContextSamples]() for _ in sets]
    found = np.zeros(prior.shape, dtype=np.float64)
    models = [{kind: one.model(kind, prior) for kind in KINDS} for one in sets]
    for lesson in lessons:
        size, sampled = _code(lesson, models[lesson.set][lesson.reference], generator)
        samples = _samples_of(sampled, lesson, size)
        if choosing:
            lesson.set = _best(lesson, sets, samples)
        for odd, one in samples.items():
            kept[lesson.set, lesson.reference, odd].append(one)
        filtered[lesson.set] += sampled.parts
        seen = np.sum([part.tokens for part in sampled.parts], axis=0, dtype=np.float64)
        found += seen * ((1 << 20) / max(1.0, float(seen.sum())))
        sizes[lesson.family] = sizes.get(lesson.family, 0) + size
    members = [sum(lesson.set == number for lesson in lessons) for number in range(len(sets))]
    print(f"coded in {time.perf_counter() - started:.0f} s, by set {members}, bytes {sizes}")
    fits = []
    for (number, kind, odd), parts in kept.items():
        if parts:
            real, own = sets[number].predictions[kind][odd], _drawing(generator)
            fits.append(
                fit_prediction(real, Samples.join(parts), steps.count, steps.rate, BATCH, own)
            )
    for networks, contexts in zip(sets, filtered, strict=True):
        if contexts:
            inputs, errors = restoration_tensors(contexts)
            own = _drawing(generator)
            fit = fit_restoration(
                networks.restoration, inputs, errors, steps.count, steps.rate, BATCH, own
            )
            fits.append(fit)
    in_turns(fits)
    print(f"round: {time.perf_counter() - started:.0f} s", flush=True)
    return _prior(found)


def _drawing(generator: torch.Generator) -> torch.Generator:
    """A generator of its own for something that is computed beside others."""
    seed = int(torch.randint(1 << 31, (), generator=generator))
    return torch.Generator().manual_seed(seed)


def _samples_of(sampled: ChannelSamples, lesson: Lesson, size: int) -> dict[int, Samples]:
    """What the networks learn from a lesson, by number of odd axes.

    A share of the bytes saved counts alike in every lesson, be it smooth or noisy.

    size: bytes of its codes
    """
    result = dict[int, Samples]()
    for odd, inputs in INPUTS.items():
        own = sampled.prediction(odd, inputs + REFERENCE_INPUTS * lesson.reference)
        if own is not None:
            found = Samples.of(own, torch.device("cpu"))
            bits = max(LEAST_BITS, 8 * size / len(lesson.values.values))
            weight = found.weight / (found.weight.sum() * bits)
            result[odd] = replace(found, weight=weight)
    return result


@torch.no_grad()
def _best(lesson: Lesson, sets: Sequence[NetworkSet], samples: dict[int, Samples]) -> int:
    """The number of the set that predicts a lesson's voxels best."""
    losses = [0.0] * len(sets)
    for odd, found in samples.items():
        rows = torch.arange(len(found))
        voxels = VOXELS_OF[odd]
        for number, one in enumerate(sets):
            real = one.predictions[lesson.reference][odd]
            outputs = real(found.inputs.float() / INPUT_ONE)
            losses[number] += voxels * float(prediction_loss(outputs, found, rows))
    return losses.index(min(losses))


def _code(lesson: Lesson, model: Model, generator: torch.Generator) -> tuple[int, ChannelSamples]:
    """Bytes of the codes, and what the networks may learn from them."""
    values = lesson.values
    share = 3 * SAMPLES / len(values.values)
    shares = tuple(min(1.0, share * (1 + level)) for level in range(LEVELS))
    sampling = Sampling(shares, int(torch.randint(1 << 31, (), generator=generator)))
    known = values.exterior is not None
    trellis = lesson.quality > LEAST_WITH_TRELLIS
    settings = Settings(model, knows_exterior=known, trellis=trellis)
    numbers = tuple(range(len(values.regions)))
    quality = Quality(step=lesson.step)
    encoded = encode_channel(values, quality, settings, lesson.step, numbers, sampling)
    size = sum(region.stored.codes.size for region in encoded.regions)
    return size, ChannelSamples(encoded.samples, encoded.channel.steps, encoded.channel.top, shares)


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
    """Write all networks and the counts with which tables begin; what is of wavelets stays."""
    stored = load_file(path if path.exists() else DEFAULTS)
    tensors: dict[str, NDArray[Any]] = {
        name: tensor for name, tensor in stored.items() if name.startswith("wavelet.")
    }
    tensors["prior"] = prior.astype(np.int16)
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
