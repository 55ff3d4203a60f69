"""What a voxel's prediction is made from: its known neighbours, brought to small whole numbers.

Everything is int32 arithmetic: divisions round down, shifts are arithmetic, logarithms come from an integer table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from inrv.fields.lattice.constants import (
    FRACTION,
    HIGHEST,
    LARGEST,
    LOG_ONE,
    LOWEST_TABLE,
    MISSING,
    ONE,
    SIXTEENTHS,
    SPAN,
    SPREAD_BITS,
    SUM_ONE,
    TABLES,
    TABLES_OCTAVE,
)
from inrv.fields.lattice.kernels import contexts
from inrv.fields.lattice.order import FACES, PATTERNS, Parity
from inrv.fields.lattice.regions import Frame

FARTHEST_OUTPUT = SPAN * SUM_ONE - 1
OWN_FEATURES, GIVEN_FEATURES = 7, 3


def input_count(odd: int, given: bool) -> int:
    """Inputs of the network that predicts the voxels of a step."""
    own = 2 * len(PATTERNS[odd].pairs) + 2 * len(FACES) + OWN_FEATURES
    return own + (1 + len(FACES) + GIVEN_FEATURES if given else 0)


@lru_cache(maxsize=4)
def log_table(device: torch.device) -> Tensor:
    """floor(64 log2 n) of n = 1 to 2^12 - 1 at place n, int32; 0 at place 0."""
    logs = [0] + [(n**LOG_ONE).bit_length() - 1 for n in range(1, 1 << SPREAD_BITS)]
    return torch.tensor(logs, dtype=torch.int32, device=device)


def _shift_of(spread: Tensor) -> Tensor:
    """Bits by which `spread`, below 2^23, exceeds SPREAD_BITS."""
    return (torch.frexp(spread.float()).exponent - SPREAD_BITS).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Scale:
    """A spread as mantissa * 2^shift, mantissa below 2^12; int32 (n,) each."""

    mantissa: Tensor
    shift: Tensor

    @staticmethod
    def of(spread: Tensor) -> Scale:
        """The scale of spreads int32 (n,), 1 to 2^23 - 1."""
        shift = _shift_of(spread)
        return Scale(spread >> shift, shift)

    @property
    def log(self) -> Tensor:
        """64 log2 of the spread, int32."""
        return log_table(self.mantissa.device)[self.mantissa.long()] + self.shift * LOG_ONE

    def bring(self, differences: Tensor) -> Tensor:
        """Differences int32 (k, n) in units of a 32nd of the spread, within +-127."""
        limit = self.mantissa * SPAN
        reciprocal = (ONE << FRACTION) // self.mantissa
        small = torch.minimum(torch.maximum(differences >> self.shift, -limit), limit)
        return ((small * reciprocal + (1 << (FRACTION - 1))) >> FRACTION).clamp_(-LARGEST, LARGEST)


@dataclass(frozen=True, eq=False)
class Context:
    """Base and spread of the known neighbours of n voxels, and the inputs int8 (n, inputs) of their network.

    flat  bool (n,)  where all of them are equal: such a voxel is predicted to be so too, whatever the network says
    """

    base: Tensor
    scale: Scale
    inputs: Tensor
    flat: Tensor

    def predict(self, outputs: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Predicted values, not yet clamped, and tables of their codes, int32 (n,) each, from the network's outputs (n, 2)."""
        near = outputs[:, 0].clamp(-FARTHEST_OUTPUT, FARTHEST_OUTPUT)
        moved = ((self.scale.mantissa * near + SUM_ONE // 2) >> 11) << self.scale.shift
        octaves = outputs[:, 1].clamp(-(1 << 20), 1 << 20) >> 5  # * LOG_ONE / SUM_ONE
        return self.base + torch.where(self.flat, 0, moved), table_of(self.scale.log - log_of(step) + octaves)


def table_of(log_deviation: Tensor) -> Tensor:
    """The table for a deviation of 2^(log / 64) steps."""
    return ((log_deviation + LOWEST_TABLE * LOG_ONE) // (LOG_ONE // TABLES_OCTAVE)).clamp(0, TABLES - 1)


def log_of(step: int) -> int:
    """floor(64 log2 step)."""
    return int(step**LOG_ONE).bit_length() - 1


@dataclass(frozen=True, eq=False)
class Channel:
    """What the decoder knows of a channel before its voxels.

    steps       in units, by level         top         largest value in units
    background  of the grid, in units, within -HIGHEST and HIGHEST
    lossless    whether every value is a whole number of STEPs, and predictions are rounded to one, so that codes give it exactly
    """

    steps: tuple[int, ...]
    top: int
    background: int
    lossless: bool = False


@dataclass(frozen=True, eq=False)
class Known:
    """Arrays of one level of a batch, flattened.

    values  int32  of the known voxels, else MISSING           active  bool  of all voxels
    given   int32  of the voxels of the channel that is given, else MISSING; None where none is
    """

    values: Tensor
    active: Tensor
    given: Tensor | None


@dataclass(frozen=True, eq=False)
class Pairs:
    """Neighbours on both sides of n voxels: int32 (k, n) each, 0 where there is none; `there` bool (k, n) each.

    axes  how many odd axes there are: the first pairs are those at distance 1 along them, the next those at distance 3
    """

    ahead: Tensor
    behind: Tensor
    there: tuple[Tensor, Tensor]
    axes: int

    @staticmethod
    def at(values: Tensor, places: Tensor, distances: list[int], axes: int = 0) -> Pairs:
        """The pairs in flattened `values` at `distances` before and behind flat `places` (n,)."""
        sides, there = [], []
        for sign in (1, -1):
            side = gather(values, places, [sign * distance for distance in distances])
            there.append(side != MISSING)
            sides.append(side.masked_fill_(~there[-1], 0))
        return Pairs(sides[0], sides[1], (there[0], there[1]), axes)

    @cached_property
    def count(self) -> Tensor:
        """Neighbours int32 (n,)."""
        return _total(self.there[0]) + _total(self.there[1])

    @cached_property
    def near_count(self) -> Tensor:
        """Neighbours at distance 1 along the odd axes, int32 (n,)."""
        return _total(self.there[0][: self.axes]) + _total(self.there[1][: self.axes])

    @cached_property
    def whole(self) -> tuple[Tensor, Tensor]:
        """Along which odd axes both neighbours at distance 1 are there, and all four: bool (axes, n) each."""
        both = self.there[0][: 2 * self.axes] & self.there[1][: 2 * self.axes]
        return both[: self.axes], both[: self.axes] & both[self.axes :]

    def base(self, rest: Tensor) -> Tensor:
        """Base int32 (n,): the mean of interpolations along the odd axes, or of what neighbours there are, or `rest`."""
        totals = self.ahead + self.behind
        near, far = totals[: self.axes], totals[self.axes : 2 * self.axes]
        line, curve = self.whole
        sixteenths = torch.where(curve, SIXTEENTHS[0] * near + SIXTEENTHS[1] * far, 8 * near).masked_fill_(~line, 0)
        lines = _total(line)
        base = torch.where(self.near_count > 0, _total(near) // self.near_count.clamp_min(1), rest)
        base = torch.where((self.near_count == 0) & (self.count > 0), _total(totals) // self.count.clamp_min(1), base)
        return torch.where(lines > 0, _total(sixteenths) // (16 * lines).clamp_min(1), base)

    def bends(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and difference of what each pair departs from the base by, int32 (k, n) each: one that is missing, by 0."""
        ahead = torch.where(self.there[0], self.ahead - base, 0)
        behind = torch.where(self.there[1], self.behind - base, 0)
        return ahead + behind, ahead - behind


@dataclass(frozen=True)
class Stage:
    """The voxels of one parity at a level."""

    frame: Frame
    odd: int
    parity: Parity

    @cached_property
    def distances(self) -> list[int]:
        """Of the pattern's pairs, in the flattened array of the level."""
        return self.frame.distances(self.parity.turned(PATTERNS[self.odd].pairs))

    @cached_property
    def faces(self) -> list[int]:
        """The same of the face neighbours."""
        return self.frame.distances(self.parity.turned(FACES))

    @property
    def axes(self) -> int:
        """Along how many the voxels are odd."""
        return self.odd


def gather(values: Tensor, places: Tensor, distances: Sequence[int]) -> Tensor:
    """Flattened `values` at so many distances from flat `places` (n,): (k, n)."""
    found = values.new_empty((len(distances), len(places)))
    for row, distance in zip(found, distances, strict=True):
        torch.index_select(values, 0, places + distance, out=row)
    return found


def look(known: Known, places: Tensor, stage: Stage, channel: Channel, rest: tuple[Tensor, Tensor]) -> Context:
    """The context of the voxels at flat `places` (n,) of one stage.

    `rest`, int32 (B,) each: base and spread of every region, where no neighbour is known.
    """
    look_as = _look_compiled if places.device.type == "cpu" else look_in_tensors
    return look_as(known, places, stage, channel, rest)


def _look_compiled(known: Known, places: Tensor, stage: Stage, channel: Channel, rest: tuple[Tensor, Tensor]) -> Context:
    count, step = len(places), channel.steps[stage.frame.level]
    inputs = torch.empty(count, input_count(stage.odd, known.given is not None), dtype=torch.int8)
    base, mantissa, shift = torch.empty(3, count, dtype=torch.int32)
    even = torch.empty(count, dtype=torch.bool)
    given = known.values.new_empty(0) if known.given is None else known.given
    contexts(
        *(tensor.numpy() for tensor in (known.values, known.active, given, places)), stage.frame.volume,
        np.array(stage.distances), stage.axes, np.array(stage.faces), *(tensor.numpy() for tensor in rest),
        stage.frame.level, step, log_of(step), channel.top, channel.background, log_table(places.device).numpy(),
        *(tensor.numpy() for tensor in (inputs, base, mantissa, shift, even)),
    )  # fmt: skip
    return Context(base, Scale(mantissa, shift), inputs, even)


def look_in_tensors(known: Known, places: Tensor, stage: Stage, channel: Channel, rest: tuple[Tensor, Tensor]) -> Context:
    """`look` for devices other than CPUs."""
    region = places // stage.frame.volume
    distances, faces, level, step = stage.distances, stage.faces, stage.frame.level, channel.steps[stage.frame.level]
    pairs = Pairs.at(known.values, places, distances, stage.axes)
    base = pairs.base(rest[0][region])
    sums, slopes = pairs.bends(base)
    bend, lean, seen = _total(sums.abs()), _total(slopes.abs()), _total(pairs.there[0] | pairs.there[1])
    spread = torch.where(seen > 0, bend // seen.clamp_min(1), 2 * rest[1][region])
    scale, slope = _scale(spread, step), _scale(lean // seen.clamp_min(1), step)
    log = scale.log - log_of(step)
    features = [
        log >> 3,
        (slope.log - log_of(step)) >> 3,
        (base.clamp(0, HIGHEST) << 6) // channel.top,
        ((base - channel.background).clamp(-16 * step, 16 * step) * 8) // step,
        torch.full_like(base, 6 * level),
        (pairs.near_count * ONE) // (2 * pairs.axes),
        (_total(pairs.whole[1]) * ONE) // pairs.axes,
    ]
    beside = gather(known.active, places, [*faces, *(-distance for distance in faces)])
    inputs = [scale.bring(sums), slope.bring(slopes), beside * ONE, torch.stack(features)]
    if known.given is not None:
        inputs += _given(known.given, places, distances[: 2 * pairs.axes], faces, log, step)
    return Context(base, scale, packed(inputs), (seen > 0) & (bend == 0) & (lean == 0))


def packed(inputs: list[Tensor]) -> Tensor:
    """Inputs (k, n) of several kinds as int8 (n, inputs)."""
    return torch.cat([part.clamp(-LARGEST, LARGEST).to(torch.int8) for part in inputs]).T.contiguous()


def _given(values: Tensor, places: Tensor, distances: list[int], faces: list[int], own_log: Tensor, step: int) -> list[Tensor]:
    """Inputs from the given channel: where it departs from what its own neighbours along the odd axes say."""
    here = values[places]
    there = here != MISSING
    base = Pairs.at(values, places, distances, len(distances) // 2).base(torch.where(there, here, 0))
    departure = torch.where(there, 2 * (here - base), 0)
    sums, _ = Pairs.at(values, places, faces).bends(base)
    departures = torch.cat([departure[None], sums])
    scale = _scale(_total(departures.abs()) // len(departures), step)
    log = scale.log - log_of(step)
    features = [there * ONE, log >> 3, (log - own_log).clamp(-512, 511) >> 2]
    return [scale.bring(departures), torch.stack(features)]


def _scale(spread: Tensor, step: int) -> Scale:
    """The scale of spreads int32 (n,), of sums of two departures; not below an eighth of a step for each."""
    return Scale.of(spread.clamp(max(1, step >> 2), HIGHEST - 1))


def _total(values: Tensor) -> Tensor:
    """Sum int32 (n,) over rows."""
    return values.sum(dim=0, dtype=torch.int32)
