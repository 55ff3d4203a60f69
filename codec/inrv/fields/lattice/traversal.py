"""The one traversal of the voxels of a region, by encoder, decoder and training alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import LOG_ONE, MISSING
from inrv.fields.lattice.context import (
    ChannelParameters,
    Contexts,
    gather_context,
    neighbours_of,
)
from inrv.fields.lattice.kernels import Known, Neighbours, Scales, allowed, predict, table_of
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.order import LEVELS, PARITIES, PATTERNS
from inrv.fields.lattice.regions import (
    WHOLE,
    LevelArray,
    Spans,
    Window,
    corner_place,
    places_of,
    region_rows,
)
from inrv.grids import Topology

Ints = NDArray[np.int32]
NO_REFERENCE = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Setting:
    """What encoder and decoder both know of a channel before its codes.

    topology: its voxels
    reference: topology, and values int32 (N,) in units, of the channel that it is predicted from;
        None where there is none
    exterior: gives for the corner int32 (3,) of a region values int32 (128, 128, 128), in units,
        of which those of inactive voxels are right; None where inactive voxels tell nothing
    """

    topology: Topology
    reference: tuple[Topology, Ints] | None = None
    exterior: Callable[[Ints], Ints] | None = None

    @cached_property
    def spans(self) -> tuple[Spans, Spans | None]:
        """Where the channel and the reference channel have leaves."""
        return Spans(self.topology), None if self.reference is None else Spans(self.reference[0])


@dataclass(frozen=True, eq=False)
class Region:
    """What is known of a region before its codes.

    window: where it has leaves
    rows: int32 (X, Y, Z) of the window's voxels, -1 where not active
    reference: window of the reference channel, and its values int32 (X, Y, Z), MISSING where it
        has none; None where there is no reference
    exterior: int32 (128, 128, 128) values of inactive voxels; None where they tell nothing
    """

    window: Window
    rows: Ints
    reference: tuple[Window, Ints] | None
    exterior: Ints | None

    @staticmethod
    def of(setting: Setting, corner: Ints) -> Region:
        """The region at `corner` int32 (3,)."""
        own, other = setting.spans
        window = own.window(corner)
        reference = None
        if setting.reference is not None and other is not None:
            topology, values = setting.reference
            there = other.window(corner)
            rows = region_rows(topology, corner, there)
            known = values if len(values) else np.zeros(1, dtype=np.int32)
            reference = there, np.where(rows >= 0, known[np.maximum(rows, 0)], np.int32(MISSING))
        exterior = None if setting.exterior is None else setting.exterior(corner)
        return Region(window, region_rows(setting.topology, corner, window), reference, exterior)

    def begin(self, rows: Ints, array: LevelArray) -> Ints:
        """What is known of a level before its voxels: int32, of the shape of its `rows`."""
        if self.exterior is None:
            return np.full(rows.shape, MISSING, dtype=np.int32)
        around = array.take(self.exterior, WHOLE, MISSING)
        around[rows >= 0] = MISSING
        return around

    def reference_at(self, array: LevelArray) -> Ints:
        """Values int32 of the reference channel at a level, flattened; empty where none is."""
        if self.reference is None:
            return NO_REFERENCE
        window, values = self.reference
        return array.take(values, window, MISSING).reshape(-1)


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of the traversal over a region: n voxels that are coded at once.

    rows: int32 (n,) of the voxels
    predicted: int32 (n,) predictions in units
    tables: int32 (n,) of their codes
    step: units a code
    odd: number of odd axes; 0 for the region's corner
    level: 6 for the coarsest stride, 0 for the finest
    parts: of each parity, where the neighbours of its voxels lie, and their flat places
    known: what the voxels are predicted from, None for the corner
    scales: what their contexts are measured by, None for the corner
    """

    rows: Ints
    predicted: Ints
    tables: Ints
    step: int
    odd: int
    level: int
    parts: Sequence[tuple[Neighbours, NDArray[np.int64]]] = ()
    known: Known | None = None
    scales: Scales | None = None

    def contexts(self, chosen: NDArray[np.bool_]) -> Contexts:
        """The contexts of chosen voxels, bool (n,); only while the pass is coded."""
        assert self.known is not None and self.scales is not None
        found, first = [], 0
        for neighbours, places in self.parts:
            part = places[chosen[first : first + len(places)]]
            found.append(gather_context(self.known, part, neighbours, self.scales))
            first += len(places)
        return Contexts(
            np.concatenate([part.inputs for part in found]),
            np.concatenate([part.base for part in found]),
            np.concatenate([part.spread for part in found]),
            np.concatenate([part.flat for part in found]),
        )


class Coder(Protocol):
    """What gives the codes of a pass."""

    def codes(self, pass_: Pass) -> Ints:
        """Codes int32 (n,) of the voxels."""


def traverse(
    region: Region,
    mean: int,
    spread: int,
    channel: ChannelParameters,
    networks: dict[int, IntegerNetwork],
    coder: Coder,
) -> tuple[Ints, Ints]:
    """Values int32 of all voxels of a region, pass by pass, with the codes that `coder` gives.

    mean: of the region's values, in units
    spread: mean deviation of the region's values, in units, a power of 2

    Returns the array of values (x, y, z) at the finest level, with its border, MISSING where there
    is no voxel, and the rows of the same shape.
    """
    coarse: tuple[Ints, LevelArray] | None = None
    for level in reversed(range(LEVELS)):
        array = region.window.level(level)
        rows = array.take(region.rows, region.window, -1)
        values = region.begin(rows, array)
        scales = channel.scales(level, mean, spread)
        known = Known(values.reshape(-1), (rows >= 0).reshape(-1), region.reference_at(array))
        if coarse is None:
            _corner(channel, coder, rows, known, scales)
        else:
            array.take_coarser(values, *coarse)
        for odd in PATTERNS:
            _pass(channel, networks[odd], coder, rows, known, scales, array, odd)
        coarse = values, array
    return values, rows


def _corner(
    channel: ChannelParameters, coder: Coder, rows: Ints, known: Known, scales: Scales
) -> None:
    """The region's corner voxel: predicted by the region's mean, its table by the spread."""
    place = corner_place(rows)
    if place is None:
        return
    log = LOG_ONE * (scales.spread.bit_length() - 1)
    predicted = allowed(scales.mean, channel.top, channel.lossless)
    pass_ = Pass(
        rows.reshape(-1)[place : place + 1],
        np.array([predicted], dtype=np.int32),
        np.array([table_of(log - scales.log_step)], dtype=np.int32),
        scales.step,
        odd=0,
        level=scales.level,
    )
    known.values[place] = _restored(pass_, coder.codes(pass_), channel)[0]


def _pass(
    channel: ChannelParameters,
    network: IntegerNetwork,
    coder: Coder,
    rows: Ints,
    known: Known,
    scales: Scales,
    array: LevelArray,
    odd: int,
) -> None:
    """Predict the voxels of one pass, a parity at a time, and write their values into `known`."""
    parts = [
        (neighbours_of(array, odd, parity), places_of(rows, parity)) for parity in PARITIES[odd]
    ]
    places = np.concatenate([part for _, part in parts])
    if not len(places):
        return
    predicted, tables = np.empty((2, len(places)), dtype=np.int32)
    first = 0
    for neighbours, part in parts:
        own = slice(first, first + len(part))
        predict(known, part, neighbours, scales, network.layers, predicted[own], tables[own])
        first += len(part)
    numbers = rows.reshape(-1)[places]
    pass_ = Pass(numbers, predicted, tables, scales.step, odd, scales.level, parts, known, scales)
    known.values[places] = _restored(pass_, coder.codes(pass_), channel)


def _restored(pass_: Pass, codes: Ints, channel: ChannelParameters) -> Ints:
    """Values int32 (n,) from codes."""
    return np.clip(pass_.predicted + codes * np.int32(pass_.step), 0, channel.top)
