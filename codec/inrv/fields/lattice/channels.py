"""Rate control: the grids as channels of a lattice, each coded so that the file is as good, or as small, as was asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from inrv.encoding.bounds import allowed_errors
from inrv.encoding.topology_choice import coarsened, of_one_topology, rule_of
from inrv.entropy.masks import encode_masks
from inrv.fields.lattice import EFFORTS, ChannelEncoder, Coding, Palette, Quality, Source, Surroundings, linear_units
from inrv.fields.lattice.constants import STEP
from inrv.fields.lattice.search import MOST_STEP
from inrv.fields.lattice.store import StoredValues
from inrv.grids import Grid, LeafValues, Topology, denormalise
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid

UNITS_A_BOUND = 64.5  # of the finest step, 128 units: half of it, and half a unit from rounding the value to units
SINGLE_ROUNDING = 2.0**-23  # of the largest value: decoding rounds once to float32, and computes in float64 before
RELATED = 0.15  # correlation of details from which on a channel is worth being given
COMPARED = 1 << 16  # voxels
FEWEST_COMPARED = 256
SIZE_SEARCHES = 8
SIZE_ENOUGH, SIZE_AIM = 0.98, 0.99  # of the asked size
OCTAVES_A_DOUBLING = 1.7  # a first guess of how much finer steps make a file twice as large
CHANNEL_BITS = 8 * 150  # of a channel beside its codes: its place in table and manifest, names of tensors, offsets
COARSEST_TO_FINEST = 16.0  # octaves


Guesses = dict[tuple[int, int], float]  # steps, in values, by number of the grid and of the component


@dataclass(frozen=True, eq=False)
class ChannelOf:
    """Component `component` of the coded grid number `grid`; `lossless` of a lossless one: what its units stand for."""

    grid: int
    component: int
    minimum: float
    maximum: float
    source: Source
    lossless: StoredValues | None


@dataclass(frozen=True, eq=False)
class CodedLattice:
    """All channels, coded.

    grids    for each channel the number of its grid
    given    for each channel the number of the one it is predicted from
    items    the coded grids, with the values that stand in place of decoded ones
    psnrs    dB, by channel, over the active leaf voxels of its grid, peak = its range
    lossless for each channel, where it is lossless, what its units stand for
    errors   by grid: the largest error of any of its active leaf voxels, as a .vdb file would hold it
    drifts   by grid: the sum of those values less that of the original ones, over the sum of the original magnitudes
    """

    codings: tuple[Coding, ...]
    grids: tuple[int, ...]
    given: tuple[int | None, ...]
    lossless: tuple[StoredValues | None, ...]
    items: tuple[PreparedGrid, ...]
    psnrs: tuple[float, ...]
    errors: tuple[float, ...]
    drifts: tuple[float, ...]
    seconds: float


def _channels(items: Sequence[PreparedGrid], device: torch.device) -> list[ChannelOf]:
    result = []
    for number, item in enumerate(items):
        grid, scale = item.coded, item.normalisation
        unknown = torch.full((1, grid.components), torch.nan, dtype=torch.float32).expand(item.grid.topology.leaf_voxel_count, -1)
        topology, template, exact = grid.topology.to(device), item.grid.with_values(unknown).to(device), item.apart.to(device)
        for component in scale.varying.nonzero()[:, 0].tolist():
            low, high = scale.minimum[component].item(), scale.maximum[component].item()
            own, background = grid.values[:, component], grid.background[component]
            if item.lossless:
                lossless = StoredValues.of(Palette.of(own), own)
                palette = lossless.palette.to(device)
                last = len(palette.entries) - 1
                shares, outside = (palette.places(part.to(device)).double() / last for part in (own, background[None]))
                around = partial(_around_lossless, template, exact, component, palette)
            else:
                lossless = None
                shares, outside = ((part.double() - low) / (high - low) for part in (own, background[None]))
                around = partial(_around, template, exact, component, low, high)
            beyond = min(max(float(outside), -2.0), 3.0)
            source = Source(topology, shares.to(device), beyond, surroundings=around)
            result.append(ChannelOf(number, component, low, high, source, lossless))
    return result


def _around(grid: Grid, exact: LeafValues, component: int, minimum: float, maximum: float, scale: float) -> Surroundings:
    return Surroundings(grid, exact, component, linear_units(minimum, maximum, scale))


def _around_lossless(grid: Grid, exact: LeafValues, component: int, palette: Palette, scale: float) -> Surroundings:
    return Surroundings(grid, exact, component, palette.units)


class LatticeEncoder:
    """Codes the varying components of `items`, at `psnr` dB where no bound is asked.

    `tell` hears how far it is, from 0 to 1; `guesses` are steps to begin with.
    """

    def __init__(
        self, items: Sequence[PreparedGrid], originals: Sequence[Grid], options: EncodeOptions, psnr: float, device: torch.device,
        tell: Callable[[float], None], guesses: Guesses,
    ) -> None:  # fmt: skip
        self.items = tuple(items)
        self.originals = originals
        self.options = options
        self.psnr = psnr
        self.device = device
        self.tell = tell
        self.guesses = guesses
        self.started = time.perf_counter()
        self.generator = torch.Generator().manual_seed(options.seed)
        self.encoders: list[ChannelEncoder] = []
        self.steps: list[float] = []

    @cached_property
    def channels(self) -> list[ChannelOf]:
        """Every component that varies, in the order of the field's outputs."""
        return _channels(self.items, self.device)

    @cached_property
    def given(self) -> tuple[int | None, ...]:
        """For each channel the earlier one whose details resemble its own most, if any do."""
        found: list[int | None] = []
        for number, channel in enumerate(self.channels):
            alike = [(_resemblance(channel.source, other.source), place) for place, other in enumerate(self.channels[:number])]
            best = max(alike, default=(0.0, 0))
            found.append(best[1] if best[0] > RELATED else None)
        return tuple(found)

    def run(self) -> CodedLattice:
        """The codings that reach what the options ask for."""
        effort = EFFORTS[self.options.effort]
        codings: list[Coding] = []
        for channel, place in zip(self.channels, self.given, strict=True):
            source = channel.source
            if place is not None:
                source = replace(source, given=_given(self.channels[place].source, codings[place]))
            quality = self._quality(channel, self.psnr)
            self.encoders.append(ChannelEncoder(source, quality, effort, self.generator))
            codings.append(self.encoders[-1].run())
            self.tell(len(codings) / len(self.channels))
        self.steps = [STEP / coding.scale for coding in codings]
        return self._measured(codings)

    def again(self, finer: float) -> CodedLattice:
        """Every channel in steps finer by so many octaves than `run` took, with the networks that it found."""
        codings: list[Coding] = []
        for encoder, place, step in zip(self.encoders, self.given, self.steps, strict=True):
            if place is not None:
                encoder.source = replace(encoder.source, given=_given(self.channels[place].source, codings[place]))
            encoder.made.clear()
            codings.append(encoder.again(step if encoder.quality.lossless else step * 2**-finer))
        return self._measured(codings)

    def _quality(self, channel: ChannelOf, psnr: float) -> Quality:
        number = channel.grid
        asked = quality_at(self.options, self.items[number], self.originals[number], psnr)
        return _quality_of(channel, asked, self.guesses.get((number, channel.component)))

    def _measured(self, codings: Sequence[Coding]) -> CodedLattice:
        values = [item.coded.values.clone() for item in self.items]
        for channel, coding in zip(self.channels, codings, strict=True):
            if channel.lossless is not None:
                continue
            outputs = coding.outputs.cpu()
            values[channel.grid][:, channel.component] = denormalise(outputs, channel.minimum, channel.maximum)
        items, errors, drifts = list[PreparedGrid](), list[float](), list[float]()
        for item, decoded in zip(self.items, values, strict=True):
            written = decoded.half().float() if item.grid.saved_as_half else decoded
            corrected, error = self._corrected(item, decoded, written)
            items.append(replace(item, outliers=corrected))
            errors.append(error)
            drifts.append(_drift(item, written))
        psnrs = [
            coding.psnr - gain(self.items[channel.grid], self.originals[channel.grid], channel.component)
            for channel, coding in zip(self.channels, codings, strict=True)
        ]
        lossless, seconds = tuple(channel.lossless for channel in self.channels), time.perf_counter() - self.started
        grids = tuple(channel.grid for channel in self.channels)
        return CodedLattice(
            tuple(codings), grids, self.given, lossless, tuple(items), tuple(psnrs), tuple(errors), tuple(drifts), seconds
        )

    def _corrected(self, item: PreparedGrid, decoded: Tensor, written: Tensor) -> tuple[LeafValues | None, float]:
        """The values that miss the bound as a .vdb file would hold them, `written`, and the largest error that is left."""
        grid = item.coded
        if not len(decoded):
            return None, 0.0
        missed = torch.maximum((written.double() - grid.values.double()).abs(), (decoded.double() - grid.values.double()).abs())
        bounds = allowed_errors(grid, item.spans, self.options)
        if not bounds:
            return None, float(missed.max())
        beyond = (missed > torch.tensor(bounds, dtype=torch.float64)).any(dim=1)
        left = missed[~beyond]
        corrected = LeafValues(grid.topology.places()[beyond], grid.values[beyond]) if bool(beyond.any()) else None
        return corrected, float(left.max()) if len(left) else 0.0


def _given(source: Source, coding: Coding) -> tuple[Topology, Tensor]:
    """Topology and units of a coded channel, those of values that are stored apart among them."""
    assert source.surroundings is not None
    return source.surroundings(coding.scale).whole(source.topology, coding.decoded)


def lossless_quality(palette: Palette) -> Quality:
    """The quality with which every place in a palette comes back."""
    return Quality(step=1 / (len(palette.entries) - 1), bounded=True, lossless=True)


def _drift(item: PreparedGrid, written: Tensor) -> float:
    """The sum of a grid's values `written` (N, C) less that of the original ones, over the sum of the original magnitudes."""
    whole = float(item.grid.values[item.grid.values.isfinite()].double().abs().sum())
    return float((written.double() - item.coded.values.double()).sum()) / whole if whole else 0.0


QualityOf = Callable[[int], Quality]  # that is asked of a component


def quality_at(options: EncodeOptions, item: PreparedGrid, original: Grid, psnr: float) -> QualityOf:
    """The quality over a grid's coded voxels that keeps the bound that is asked, or else is `psnr` dB over the active ones."""
    bounds = allowed_errors(item.grid, item.spans, options)

    def asked(component: int) -> Quality:
        if not bounds:
            return Quality(psnr=psnr + gain(item, original, component))
        low, high = (end[component].item() for end in (item.normalisation.minimum, item.normalisation.maximum))
        return Quality(step=min(MOST_STEP, error_step(bounds[component], low, high) / (high - low)), bounded=True)

    return asked


def _quality_of(channel: ChannelOf, asked: QualityOf, guess: float | None) -> Quality:
    """The quality of a channel, to be searched for from the step `guess` on, in values."""
    if channel.lossless is not None:
        return lossless_quality(channel.lossless.palette)
    quality = asked(channel.component)
    return quality if guess is None else replace(quality, guess=guess / (channel.maximum - channel.minimum))


def gain(item: PreparedGrid, original: Grid, component: int) -> float:
    """DB by which a PSNR over a component's coded voxels, peak = their range, exceeds one over the active ones, peak = its span.

    With a coarse topology inactive voxels are coded too; values that are stored apart have no error.
    """
    coded, active = item.coded.topology.leaf_voxel_count, original.topology.leaf_voxel_count
    narrower = float(item.normalisation.spans[component] / item.spans[component])
    return 10 * math.log10(coded / active) + 20 * math.log10(narrower)


def cheaper_topologies(
    items: Sequence[PreparedGrid], originals: Sequence[Grid], options: EncodeOptions, psnr: float, device: torch.device
) -> tuple[tuple[PreparedGrid, ...], Guesses]:
    """Every grid with the topology, exact or coarse, and with or without frequent values set apart, that makes it cheapest at the
    quality that is asked, and its steps. Grids of one topology go together: their masks are stored once."""
    chosen, guesses = list(items), Guesses()
    for group in of_one_topology(items, range(len(items))):
        rules = [None if items[number].lossless else rule_of(items[number].coded) for number in group]
        if None in rules:
            continue
        topology = items[group[0]].grid.topology
        masks = encode_masks(topology.leaf_origins.numpy(), topology.leaf_masks.numpy()).nbytes
        coarse, exact = list[Form](), list[Form]()
        for number, rule in zip(group, rules, strict=True):
            assert rule is not None
            item, original = items[number], originals[number]
            kinds = (item, item.without_frequent_values()) if len(item.frequent.values) else (item,)
            coarse.append(_cheapest([coarsened(kind, rule) for kind in kinds], original, options, psnr, {}, device))
            exact.append(_cheapest(kinds, original, options, psnr, coarse[-1].steps, device))
        cheaper = coarse if sum(form.bits for form in coarse) < sum(form.bits for form in exact) + 8 * masks else exact
        for number, form in zip(group, cheaper, strict=True):
            chosen[number] = form.item
            guesses |= {(number, component): step for component, step in form.steps.items()}
    return tuple(chosen), guesses


@dataclass(frozen=True, eq=False)
class Form:
    """A grid in a form, the bits that its values take in it, about, and the steps, in values, by component."""

    item: PreparedGrid
    bits: float
    steps: dict[int, float]


def _cheapest(
    items: Sequence[PreparedGrid],
    original: Grid,
    options: EncodeOptions,
    psnr: float,
    steps: dict[int, float],
    device: torch.device,
) -> Form:
    """That of the forms `items` of a grid that takes the fewest bits at the quality that is asked, searched for from `steps`."""
    forms = list[Form]()
    for item in items:
        bits, found = bits_of(item, quality_at(options, item, original, psnr), steps, device)
        forms.append(Form(item, bits + item.bits_apart, found))
    return min(forms, key=lambda form: form.bits)


def bits_of(
    item: PreparedGrid, asked: QualityOf, guesses: dict[int, float], device: torch.device
) -> tuple[float, dict[int, float]]:
    """Bits of a grid's codes at a quality, about, and the steps, in values, by component; `guesses` of these."""
    bits, steps, generator = 0.0, dict[int, float](), torch.Generator().manual_seed(0)
    for channel in _channels([item], device):
        quality = _quality_of(channel, asked, guesses.get(channel.component))
        found = ChannelEncoder(channel.source, quality, EFFORTS["instant"], generator).begin()
        bits += CHANNEL_BITS + found.coding.bits_a_voxel * len(channel.source.values)
        bits += 0 if channel.lossless is None else channel.lossless.bits
        steps[channel.component] = found.step * (channel.maximum - channel.minimum)
    return bits, steps


def error_step(bound: float, minimum: float, maximum: float) -> float:
    """The step of the finest level, in values, with which no value misses by more than the bound."""
    return (bound - SINGLE_ROUNDING * max(abs(minimum), abs(maximum))) * 128 / UNITS_A_BOUND


def _resemblance(mine: Source, other: Source) -> float:
    """Absolute correlation of details, value - mean of two neighbours along x, y or z, over some voxels of both channels."""
    topology = mine.topology
    stride = max(1, topology.leaf_voxel_count // COMPARED)
    coordinates = topology.coordinates_of(topology.places()[::stride])
    pairs = []
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.int32, device=topology.device)
        step[axis] = 1
        details = [_detail(source, coordinates, step) for source in (mine, other)]
        both = details[0].isfinite() & details[1].isfinite()
        pairs.append(torch.stack([detail[both] for detail in details]))
    found = torch.cat(pairs, dim=1)
    if found.shape[1] < FEWEST_COMPARED or bool((found.std(dim=1) == 0).any()):
        return 0.0
    return abs(float(torch.corrcoef(found)[0, 1]))


def _detail(source: Source, coordinates: Tensor, step: Tensor) -> Tensor:
    """Value - mean of the two neighbours at `step`, float64 (n,); NaN where one of the three is not active."""
    rows = [source.topology.voxel_rows(coordinates + shift * step) for shift in (-1, 0, 1)]
    before, here, after = (torch.where(row >= 0, source.values[row.clamp_min(0)], torch.nan) for row in rows)
    return here - (before + after) / 2


def search_size(first: int, most: int, bytes_at: Callable[[float], int]) -> tuple[float, int]:
    """The finest steps found whose file has at most `most` bytes, and its bytes; the coarsest tried where none has.

    first  bytes with steps as they are          bytes_at  encodes with steps finer by so many octaves and tells the bytes
    """
    tried = [(0.0, first)]
    for _ in range(SIZE_SEARCHES):
        fitting = [entry for entry in tried if entry[1] <= most]
        if fitting and max(fitting)[1] >= SIZE_ENOUGH * most:
            break
        finer = _next_finer(tried, SIZE_AIM * most)
        if any(abs(finer - other) < 1e-3 for other, _ in tried):
            break
        tried.append((finer, bytes_at(finer)))
    fitting = [entry for entry in tried if entry[1] <= most]
    return max(fitting) if fitting else min(tried)


def _next_finer(tried: Sequence[tuple[float, int]], wanted: float) -> float:
    """Where log bytes, on a line through the attempts on both sides or from the nearest one, meet `wanted`."""
    below = max((entry for entry in tried if entry[1] <= wanted), default=None)
    above = min((entry for entry in tried if entry[1] > wanted), default=None)
    if below and above and above[0] > below[0]:
        share = math.log(wanted / below[1]) / math.log(above[1] / below[1])
        return below[0] + min(0.95, max(0.05, share)) * (above[0] - below[0])
    finer, size = below or above or tried[0]
    moved = OCTAVES_A_DOUBLING * math.log2(wanted / size)
    if below is None:  # at low rates bytes barely fall
        moved = min(moved, -2.0)
    return min(COARSEST_TO_FINEST, max(-COARSEST_TO_FINEST, finer + moved))
