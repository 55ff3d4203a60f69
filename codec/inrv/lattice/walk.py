"""The one walk through the voxels of a batch of regions, by encoder, decoder and training alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from inrv.grids import Topology
from inrv.lattice.constants import MISSING
from inrv.lattice.context import Channel, Context, Known, Scale, log_of, look, table_of
from inrv.lattice.network import IntegerNetwork
from inrv.lattice.regions import at_level, corner_places, inner, places_of, region_rows
from inrv.lattice.steps import LEVELS, PARITIES, PATTERNS, Stage, padded_edge

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


@dataclass(frozen=True, eq=False)
class Batch:
    """Regions coded together; arrays are int32 (B, 128, 128, 128).

    rows   of the voxels, -1 where not active
    given  values of the given channel, MISSING where it has none; None where no channel is given
    around values of inactive voxels, where they are known to the prediction; else None
    mean   int32 (B,)  and spread int32 (B,)  of each region's values, where no neighbour is known
    """

    rows: Tensor
    given: Tensor | None
    around: Tensor | None
    mean: Tensor
    spread: Tensor

    @staticmethod
    def of(setting: Setting, corners: Tensor, mean: Tensor, spread: Tensor) -> Batch:
        """The batch of regions at `corners` int32 (B, 3)."""
        other = None
        if setting.given is not None:
            topology, values = setting.given
            rows = region_rows(topology, corners)
            other = torch.where(rows >= 0, values[rows.clamp_min(0)] if len(values) else MISSING, MISSING)
        around = None if setting.surroundings is None else setting.surroundings(corners)
        return Batch(region_rows(setting.topology, corners), other, around, mean, spread)

    def begin(self, rows: Tensor, level: int) -> Tensor:
        """What is known of a level before any of its voxels: int32, of the shape of its `rows`."""
        values = torch.full_like(rows, MISSING)
        if self.around is not None:
            stride = 1 << level
            known = torch.where(inner(rows) < 0, self.around[:, ::stride, ::stride, ::stride], MISSING)
            inner(values).copy_(known)
        return values


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

    Returns the array of values (B, edge, edge, edge) at the finest level, with border, MISSING where not active, and the
    rows of the same shape.
    """
    coarse: Tensor | None = None
    for level in reversed(range(LEVELS)):
        rows = at_level(batch.rows, level)
        values = batch.begin(rows, level)
        if coarse is None:
            _corners(batch, channel, coder, rows, values)
        else:
            inner(values, 2).copy_(inner(coarse))
        given = None if batch.given is None else _given_level(batch.given, rows, level)
        known = Known(values.reshape(-1), (rows >= 0).reshape(-1), given)
        for odd in PATTERNS:
            _step(batch, channel, networks[odd], coder, rows, known, level, odd)
        coarse = values
    assert coarse is not None
    return coarse, rows


def _given_level(given: Tensor, rows: Tensor, level: int) -> Tensor:
    values = torch.full_like(rows, MISSING)
    stride = 1 << level
    inner(values).copy_(given[:, ::stride, ::stride, ::stride])
    return values.reshape(-1)


def _corners(batch: Batch, channel: Channel, coder: Coder, rows: Tensor, values: Tensor) -> None:
    """The corner voxels: predicted by their region's mean."""
    level = LEVELS - 1
    places = corner_places(rows)
    regions = places // padded_edge(level) ** 3
    step = channel.steps[level]
    tables = table_of(Scale.of(batch.spread[regions]).log - log_of(step))
    told = Step(rows.reshape(-1)[places].long(), regions, batch.mean[regions], tables, step, 0, level, ())
    values.reshape(-1)[places] = _restore(told, coder.codes(told), channel)


def _step(
    batch: Batch, channel: Channel, network: IntegerNetwork, coder: Coder, rows: Tensor, known: Known, level: int, odd: int
) -> None:
    parts = [(parity, places_of(rows, parity)) for parity in PARITIES[odd]]
    places = torch.cat([part for _, part in parts])
    if not len(places):
        return
    step, volume = channel.steps[level], padded_edge(level) ** 3
    contexts, predictions = [], []
    for parity, part in ((parity, piece) for parity, whole in parts for piece in whole.split(PIECE)):
        context = look(known, part, Stage(level, odd, parity), channel, (batch.mean, batch.spread))
        contexts.append(context)
        predictions.append(context.predict(network(context.inputs), step))
    predicted, tables = (torch.cat(column) for column in zip(*predictions, strict=True))
    predicted = predicted.clamp(0, channel.top)
    told = Step(rows.reshape(-1)[places].long(), places // volume, predicted, tables, step, odd, level, contexts)
    known.values[places] = _restore(told, coder.codes(told), channel)


def _restore(step: Step, codes: Tensor, channel: Channel) -> Tensor:
    """Values int32 from codes."""
    return (step.predicted + codes * step.step).clamp(0, channel.top)
