"""What a voxel's prediction is made from: its known neighbours, brought to small whole numbers.

Everything is int32 arithmetic: divisions round down, shifts are arithmetic, logarithms come from an integer table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from inrv.lattice.network import LARGEST, ONE, SUM_ONE
from inrv.lattice.steps import FACES, PATTERNS, Parity, flat

MISSING = -(1 << 30)  # in an array of known values: not active, outside the region, or not yet known
STEP = 128  # units a step of the finest level
HIGHEST = 1 << 23  # of a value in units: a code then has at most 19 bits
SMALLEST_STEP, LARGEST_STEP = 32, 512  # units a step of any level
SPREAD_BITS = 12
FRACTION = 14  # bits of the reciprocal of a spread
SPAN = 4  # spreads that fit in an input
LOG_ONE = 64  # parts of an octave
TABLES = 64
TABLES_OCTAVE = 4
LOWEST_TABLE = 5  # octaves below one step
FARTHEST_OUTPUT = SPAN * SUM_ONE - 1
OWN_FEATURES, GIVEN_FEATURES = 5, 3


def input_count(odd: int, given: bool) -> int:
    """Inputs of the network that predicts the voxels of a step."""
    own = len(PATTERNS[odd].near) + len(FACES) + OWN_FEATURES
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
        """Differences int32 (n, k) in units of a 32nd of the spread, within +-127."""
        limit = self.mantissa * SPAN
        reciprocal = ((ONE << FRACTION) // self.mantissa)[:, None]
        small = torch.minimum(torch.maximum(differences >> self.shift[:, None], -limit[:, None]), limit[:, None])
        return ((small * reciprocal + (1 << (FRACTION - 1))) >> FRACTION).clamp_(-int(LARGEST), int(LARGEST))


@dataclass(frozen=True, eq=False)
class Context:
    """Base and spread of the known neighbours of n voxels, and the inputs float32 (n, inputs) of their network.

    flat  bool (n,)  where all of them are equal: such a voxel is predicted to be so too, whatever the network says
    """

    base: Tensor
    scale: Scale
    inputs: Tensor
    flat: Tensor

    def predict(self, outputs: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Predicted values, not yet clamped, and tables of their codes, int32 (n,) each, from the network's outputs (n, 2)."""
        near = outputs[:, 0].clamp(-FARTHEST_OUTPUT, FARTHEST_OUTPUT).to(torch.int32)
        moved = ((self.scale.mantissa * near + SUM_ONE // 2) >> 11) << self.scale.shift
        octaves = (outputs[:, 1].clamp(-(1 << 20), 1 << 20) * (LOG_ONE / SUM_ONE)).floor().to(torch.int32)
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
    """

    steps: tuple[int, ...]
    top: int
    background: int


@dataclass(frozen=True, eq=False)
class Known:
    """Arrays of one level of a batch, flattened.

    values  int32  of the known voxels, else MISSING           active  bool  of all voxels
    given   int32  of the voxels of the channel that is given, else MISSING; None where none is
    """

    values: Tensor
    active: Tensor
    given: Tensor | None


def look(
    known: Known, places: Tensor, level: int, odd: int, parity: Parity, channel: Channel, rest: tuple[Tensor, Tensor]
) -> Context:
    """The context of the voxels at flat `places` (n,) of one parity.

    `rest`, int32 (n,) each: base and spread where no neighbour is known.
    """
    pattern, step = PATTERNS[odd], channel.steps[level]
    around = _distances(parity, pattern.near, level, places.device)
    faces = _distances(parity, FACES, level, places.device)
    values = known.values[places[:, None] + around]
    present = values != MISSING
    values = torch.where(present, values, 0)
    near, near_count = _total(values, pattern.nearest), _total(present, pattern.nearest)
    total, count = _total(values), _total(present)
    base = torch.where(near_count > 0, near // near_count.clamp_min(1), total // count.clamp_min(1))
    base = torch.where(count > 0, base, rest[0])
    differences = torch.where(present, values - base[:, None], 0)
    departure = _total(differences.abs())
    spread = torch.where(count > 0, departure // count.clamp_min(1), rest[1]).clamp(max(1, step >> 3), HIGHEST - 1)
    scale = Scale.of(spread)
    log = scale.log - log_of(step)
    features = [
        log >> 3,
        (base.clamp(0, HIGHEST) << 6) // channel.top,
        ((base - channel.background).clamp(-16 * step, 16 * step) * 8) // step,
        torch.full_like(base, 6 * level),
        (near_count * ONE) // pattern.nearest,
    ]
    inputs = [scale.bring(differences), known.active[places[:, None] + faces] * ONE, torch.stack(features, 1)]
    if known.given is not None:
        inputs += _given(known.given, places, around[: pattern.nearest], faces, log, step)
    packed = torch.cat([part.to(torch.float32) for part in inputs], dim=1)
    return Context(base, scale, packed.clamp_(-LARGEST, LARGEST), (count > 0) & (departure == 0))


def _given(values: Tensor, places: Tensor, nearest: Tensor, faces: Tensor, own_log: Tensor, step: int) -> list[Tensor]:
    """Inputs from the given channel: where it departs from what its own nearest neighbours say."""
    beside, known = values[places[:, None] + faces], values[places[:, None] + nearest]
    here = values[places]
    there = known != MISSING
    known = torch.where(there, known, 0)
    count = _total(there)
    base = torch.where(count > 0, _total(known) // count.clamp_min(1), torch.where(here != MISSING, here, 0))
    around = torch.cat([here[:, None], beside], dim=1)
    differences = torch.where(around != MISSING, around - base[:, None], 0)
    spread = (_total((known - base[:, None]).abs() * there) + differences[:, 0].abs()) // (count + 1)
    scale = Scale.of(spread.clamp(step >> 3 or 1, HIGHEST - 1))
    log = scale.log - log_of(step)
    features = [(here != MISSING) * ONE, log >> 3, (log - own_log).clamp(-512, 511) >> 2]
    return [scale.bring(differences), torch.stack(features, 1)]


def _total(values: Tensor, first: int | None = None) -> Tensor:
    """Sum int32 (n,) of the `first` columns, or of all."""
    return values[:, :first].sum(dim=1, dtype=torch.int32)


@lru_cache(maxsize=256)
def _distances(parity: Parity, offsets: tuple[tuple[int, int, int], ...], level: int, device: torch.device) -> Tensor:
    return torch.tensor(flat(parity.turned(offsets), level), device=device)
