"""The one walk through the voxels of a batch of regions, by encoder, decoder and training alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from inrv.fields.lattice.constants import MISSING, STEP
from inrv.fields.lattice.context import Channel, Context, Known, Scale, Stage, log_of, look, table_of
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.order import LEVELS, PARITIES, PATTERNS
from inrv.fields.lattice.regions import WHOLE, Frame, Spans, Window, corner_places, places_of, region_rows
from inrv.grids import Topology

PIECE = 1 << 15  # voxels whose contexts are made at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class Setting:
    """What encoder and decoder both know of a channel before its codes.

    topology      its voxels
    given         topology and values int32 (N,), units, of the channel that it is predicted from; None where none is
    surroundings  gives values int32 (B, 128, 128, 128), units, of the regions at corners int32 (B, 3), those of inactive voxels
                  right; None where inactive voxels tell the prediction nothing
    """

    topology: Topology
    given: tuple[Topology, Tensor] | None = None
    surroundings: Callable[[Tensor], Tensor] | None = None

    @cached_property
    def spans(self) -> tuple[Spans, Spans | None]:
        """Where the channel and the given one have leaves."""
        return Spans(self.topology), None if self.given is None else Spans(self.given[0])


@dataclass(frozen=True, eq=False)
class Batch:
    """Regions coded together.

    window, rows   where they have leaves, and int32 (B, X, Y, Z) the rows of its voxels, -1 where not active
    given          the same of the given channel: its window and values, MISSING where it has none; None where none is given
    around         int32 (B, 128, 128, 128) values of inactive voxels, where they are known to the prediction; else None
    mean, spread   int32 (B,), of each region's values, where no neighbour is known
    """

    window: Window
    rows: Tensor
    given: tuple[Window, Tensor] | None
    around: Tensor | None
    mean: Tensor
    spread: Tensor

    @staticmethod
    def of(setting: Setting, corners: Tensor, mean: Tensor, spread: Tensor) -> Batch:
        """The batch of regions at `corners` int32 (B, 3)."""
        own, other = setting.spans
        window = own.window(corners)
        given = None
        if setting.given is not None and other is not None:
            topology, values = setting.given
            there = other.window(corners)
            rows = region_rows(topology, corners, there)
            given = there, torch.where(rows >= 0, values[rows.clamp_min(0)] if len(values) else MISSING, MISSING)
        around = None if setting.surroundings is None else setting.surroundings(corners)
        return Batch(window, region_rows(setting.topology, corners, window), given, around, mean, spread)

    def begin(self, rows: Tensor, frame: Frame) -> Tensor:
        """What is known of a level before any of its voxels: int32, of the shape of its `rows`."""
        if self.around is None:
            return torch.full_like(rows, MISSING)
        return torch.where(rows < 0, frame.take(self.around, WHOLE, MISSING), MISSING)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the walk: n voxels of all regions of the batch.

    rows       int64 (n,)  of the voxels           regions  int64 (n,)  of the batch, in which each lies
    predicted  int32 (n,)  in units                tables   int32 (n,)  of their codes
    step       units a code                        odd, level           which step it is; odd 0: the regions' corners
    contexts   of the voxels, a parity at a time
    """

    rows: Tensor
    regions: Tensor
    predicted: Tensor
    tables: Tensor
    step: int
    odd: int
    level: int
    contexts: Sequence[Context]


class Coder(Protocol):
    """What tells the codes of a step."""

    def codes(self, step: Step) -> Tensor:
        """Codes int32 (n,) of the voxels."""


def walk(batch: Batch, channel: Channel, networks: dict[int, IntegerNetwork], coder: Coder) -> tuple[Tensor, Tensor]:
    """Values int32 of all voxels, step by step, each step's codes told by `coder`.

    Returns the array of values (B, x, y, z) at the finest level, with border, MISSING where not active, and the
    rows of the same shape.
    """
    coarse: tuple[Tensor, Frame] | None = None
    for level in reversed(range(LEVELS)):
        frame = batch.window.frame(level)
        rows = frame.take(batch.rows, batch.window, -1)
        values = batch.begin(rows, frame)
        if coarse is None:
            _corners(batch, channel, coder, rows, values, frame)
        else:
            frame.take_coarser(values, *coarse)
        given = None if batch.given is None else frame.take(batch.given[1], batch.given[0], MISSING).reshape(-1)
        known = Known(values.reshape(-1), (rows >= 0).reshape(-1), given)
        for odd in PATTERNS:
            _step(batch, channel, networks[odd], coder, rows, known, frame, odd)
        coarse = values, frame
    return values, rows


def _corners(batch: Batch, channel: Channel, coder: Coder, rows: Tensor, values: Tensor, frame: Frame) -> None:
    """The corner voxels: predicted by their region's mean."""
    level = frame.level
    places = corner_places(rows)
    regions = places // frame.volume
    step = channel.steps[level]
    tables = table_of(Scale.of(batch.spread[regions]).log - log_of(step))
    predicted = _allowed(batch.mean[regions], channel)
    told = Step(rows.reshape(-1)[places].long(), regions, predicted, tables, step, 0, level, ())
    values.reshape(-1)[places] = _restore(told, coder.codes(told), channel)


def _step(
    batch: Batch, channel: Channel, network: IntegerNetwork, coder: Coder, rows: Tensor, known: Known, frame: Frame, odd: int
) -> None:
    parts = [(parity, places_of(rows, parity)) for parity in PARITIES[odd]]
    places = torch.cat([part for _, part in parts])
    if not len(places):
        return
    level = frame.level
    step = channel.steps[level]
    contexts, predictions = [], []
    for parity, part in ((parity, piece) for parity, whole in parts for piece in whole.split(PIECE)):
        context = look(known, part, Stage(frame, odd, parity), channel, (batch.mean, batch.spread))
        contexts.append(context)
        predictions.append(context.predict(network(context.inputs), step))
    predicted, tables = (torch.cat(column) for column in zip(*predictions, strict=True))
    predicted = _allowed(predicted, channel)
    told = Step(rows.reshape(-1)[places].long(), places // frame.volume, predicted, tables, step, odd, level, contexts)
    known.values[places] = _restore(told, coder.codes(told), channel)


def _allowed(predicted: Tensor, channel: Channel) -> Tensor:
    """The values nearest to predictions int32 (n,) that the channel can have."""
    rounded = (predicted + STEP // 2).div(STEP, rounding_mode="floor") * STEP if channel.lossless else predicted
    return rounded.clamp(0, channel.top)


def _restore(step: Step, codes: Tensor, channel: Channel) -> Tensor:
    """Values int32 from codes."""
    return (step.predicted + codes * step.step).clamp(0, channel.top)
