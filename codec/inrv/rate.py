"""Rate control: the grids as channels of a lattice, each coded so that the file is as good, or as small, as was asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from inrv.bounds import allowed_error
from inrv.grids import Grid, LeafValues, denormalise
from inrv.lattice import EFFORTS, ChannelEncoder, Coding, Quality, Source, Surroundings
from inrv.lattice.constants import STEP
from inrv.lattice.encoding import MOST_STEP
from inrv.masks import encode_masks
from inrv.options import EncodeOptions
from inrv.storage import CodedGrid
from inrv.thresholds import coarsened, rule_of

UNITS_A_BOUND = 64.5  # of the finest step, 128 units: half of it, and half a unit from rounding the value to units
SINGLE_ROUNDING = 2.0**-23  # of the largest value: decoding rounds once to float32, and computes in float64 before
RELATED = 0.15  # correlation of details from which on a channel is worth being given
COMPARED = 1 << 16  # voxels
FEWEST_COMPARED = 256
SIZE_SEARCHES = 8
SIZE_ENOUGH, SIZE_AIM = 0.98, 0.99  # of the asked size
OCTAVES_A_DOUBLING = 1.7  # a first guess of how much finer steps make a file twice as large
COARSEST_TO_FINEST = 16.0  # octaves


Guesses = dict[tuple[int, int], float]  # steps, in values, by number of the grid and of the component


@dataclass(frozen=True, eq=False)
class ChannelOf:
    """Component `component` of the coded grid number `grid`."""

    grid: int
    component: int
    minimum: float
    maximum: float
    source: Source


@dataclass(frozen=True, eq=False)
class CodedLattice:
    """All channels, coded.

    given    for each channel the number of the one it is predicted from
    items    the coded grids, with the values that stand in place of decoded ones
    psnrs    dB, by channel, over the active leaf voxels of its grid, peak = its range
    errors   by grid: the largest error of any of its active leaf voxels, as a .vdb file would hold it
    """

    codings: tuple[Coding, ...]
    given: tuple[int | None, ...]
    items: tuple[CodedGrid, ...]
    psnrs: tuple[float, ...]
    errors: tuple[float, ...]
    seconds: float


def _channels(items: Sequence[CodedGrid], device: torch.device) -> list[ChannelOf]:
    result = []
    for number, item in enumerate(items):
        grid, scale = item.trained, item.normalisation
        unknown = torch.full((1, grid.components), torch.nan, dtype=torch.float32).expand(item.grid.topology.leaf_voxel_count, -1)
        topology, template = grid.topology.to(device), item.grid.with_values(unknown).to(device)
        background = ((grid.background.double() - scale.minimum) / (scale.maximum - scale.minimum).clamp_min(1e-300)).tolist()
        for component in scale.varying.nonzero()[:, 0].tolist():
            low, high = scale.minimum[component].item(), scale.maximum[component].item()
            values = ((grid.values[:, component].double() - low) / (high - low)).to(device)
            around = partial(Surroundings, template, component, low, high)
            source = Source(topology, values, min(max(background[component], -2.0), 3.0), surroundings=around)
            result.append(ChannelOf(number, component, low, high, source))
    return result


class LatticeEncoder:
    """Codes the varying components of `items`, at `psnr` dB where no bound is asked.

    `tell` hears how far it is, from 0 to 1; `guesses` are steps to begin with.
    """

    def __init__(
        self, items: Sequence[CodedGrid], originals: Sequence[Grid], options: EncodeOptions, psnr: float, device: torch.device,
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
                source = replace(source, given=(self.channels[place].source.topology, codings[place].decoded))
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
                topology = self.channels[place].source.topology
                encoder.source = replace(encoder.source, given=(topology, codings[place].decoded))
            encoder.made.clear()
            codings.append(encoder.again(step * 2**-finer))
        return self._measured(codings)

    def _quality(self, channel: ChannelOf, psnr: float) -> Quality:
        bound, span = self.options.error_bound, channel.maximum - channel.minimum
        if bound is None:
            guess = self.guesses.get((channel.grid, channel.component))
            quality = _quality_of(self.items[channel.grid], self.originals[channel.grid], psnr)
            return replace(quality, guess=None if guess is None else guess / span)
        rounding = self.items[channel.grid].grid.rounding_errors[channel.component]
        step = error_step(bound, channel.minimum, channel.maximum, rounding)
        return Quality(step=min(MOST_STEP, step / span), bounded=True)

    def _measured(self, codings: Sequence[Coding]) -> CodedLattice:
        values = [item.trained.values.clone() for item in self.items]
        for channel, coding in zip(self.channels, codings, strict=True):
            shares = (coding.decoded.double() / coding.scale).cpu()
            values[channel.grid][:, channel.component] = denormalise(shares, channel.minimum, channel.maximum)
        items = []
        errors = []
        for item, decoded in zip(self.items, values, strict=True):
            corrected, error = self._corrected(item, decoded)
            items.append(replace(item, corrected=corrected))
            errors.append(error)
        psnrs = [
            coding.psnr - _gain(self.items[channel.grid], self.originals[channel.grid])
            for channel, coding in zip(self.channels, codings, strict=True)
        ]
        return CodedLattice(
            tuple(codings), self.given, tuple(items), tuple(psnrs), tuple(errors), time.perf_counter() - self.started
        )

    def _corrected(self, item: CodedGrid, decoded: Tensor) -> tuple[LeafValues | None, float]:
        """The values that miss the bound as a .vdb file would hold them, and the largest error that is left."""
        grid = item.trained
        if not len(decoded):
            return None, 0.0
        written = decoded.half().float() if grid.saved_as_half else decoded
        missed = torch.maximum((written.double() - grid.values.double()).abs(), (decoded.double() - grid.values.double()).abs())
        bound = self.options.error_bound
        if bound is None:
            return None, float(missed.max())
        span = item.normalisation.maximum - item.normalisation.minimum
        beyond = (missed > allowed_error(bound, span, span.new_tensor(grid.rounding_errors))).any(dim=1)
        left = missed[~beyond]
        corrected = LeafValues(grid.topology.places()[beyond], grid.values[beyond]) if bool(beyond.any()) else None
        return corrected, float(left.max()) if len(left) else 0.0


def _quality_of(item: CodedGrid, original: Grid, psnr: float) -> Quality:
    """The quality over all coded voxels that is `psnr` dB over the active ones."""
    return Quality(psnr=psnr + _gain(item, original))


def _gain(item: CodedGrid, original: Grid) -> float:
    """DB by which a PSNR over the coded voxels exceeds one over the active ones, the error of others counted with these."""
    voxels = max(1, original.topology.leaf_voxel_count)
    return 10 * math.log10(max(1.0, item.grid.topology.leaf_voxel_count / voxels))


def cheaper_topologies(
    items: Sequence[CodedGrid], originals: Sequence[Grid], psnr: float, device: torch.device
) -> tuple[tuple[CodedGrid, ...], Guesses]:
    """Every grid with the topology, exact or coarse, that makes it cheaper at the quality that is asked, and its steps."""
    chosen, guesses = list[CodedGrid](), Guesses()
    for number, (item, original) in enumerate(zip(items, originals, strict=True)):
        rule = rule_of(item.trained)
        if rule is None:
            chosen.append(item)
            continue
        stored = any(item.grid.topology.identical(other.grid.topology) for other in chosen)
        masks = (
            0 if stored else encode_masks(item.grid.topology.leaf_origins.numpy(), item.grid.topology.leaf_masks.numpy()).nbytes
        )
        whole = coarsened(item, rule)
        coarse_bits, steps = _bits_of(whole, _quality_of(whole, original, psnr), {}, device)
        exact_bits, exact_steps = _bits_of(item, _quality_of(item, original, psnr), steps, device)
        exact = exact_bits + 8 * masks < coarse_bits
        chosen.append(item if exact else whole)
        guesses |= {(number, component): step for component, step in (exact_steps if exact else steps).items()}
    return tuple(chosen), guesses


def _bits_of(
    item: CodedGrid, quality: Quality, guesses: dict[int, float], device: torch.device
) -> tuple[float, dict[int, float]]:
    """Bits of a grid's codes at a quality, about, and the steps, in values, by component; `guesses` of these."""
    bits, steps, generator = 0.0, dict[int, float](), torch.Generator().manual_seed(0)
    for channel in _channels([item], device):
        span, guess = channel.maximum - channel.minimum, guesses.get(channel.component)
        begun = replace(quality, guess=None if guess is None else guess / span)
        found = ChannelEncoder(channel.source, begun, EFFORTS["instant"], generator).begin()
        bits += found.coding.bits_a_voxel * len(channel.source.values)
        steps[channel.component] = found.step * span
    return bits, steps


def error_step(bound: tuple[float, bool], minimum: float, maximum: float, rounding: float) -> float:
    """The step of the finest level, in values, with which no value misses by more than the bound leaves beside rounding."""
    error = allowed_error(bound, maximum - minimum, rounding)
    return (error - SINGLE_ROUNDING * max(abs(minimum), abs(maximum))) * 128 / UNITS_A_BOUND


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
