"""Channels of values to the words of their regions and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inrv.errors import FormatError
from inrv.fields.lattice.context import ChannelParameters
from inrv.fields.lattice.entropy import RegionReader, RegionWriter, low_bits, tokens_of
from inrv.fields.lattice.kernels import choose
from inrv.fields.lattice.model import Model
from inrv.fields.lattice.prefilter import prefilter
from inrv.fields.lattice.regions import LevelArray
from inrv.fields.lattice.restoration import restored
from inrv.fields.lattice.traversal import Pass, Region, Setting, traverse
from inrv.support.parallel import in_threads

MEANS = 255  # parts of the channel's top in which a region's mean is stored
MOST_SPREAD = 22
NO_WORDS = np.zeros(0, dtype=np.uint32)
# Of one bit against a squared step: the slope of a uniform quantiser at a high rate.
# measured: docs/lab-notes.md#steps-and-rate
RATE_WEIGHT = 2 * 0.6931 / 12
LISTED = 1 << 10  # magnitudes whose bits are tabulated

Ints = NDArray[np.int32]
Observer = Callable[[Pass, Ints], None]


@dataclass(frozen=True, eq=False)
class RegionCodes:
    """The codes of one region: what is stored of it.

    mean: of its values, in 255ths of the channel's top
    spread: log2 of their mean deviation in units; where no neighbour is known, mean and spread
        predict a voxel
    words: uint32 (W,) of the range coder
    """

    mean: int
    spread: int
    words: NDArray[np.uint32]

    def mean_in(self, channel: ChannelParameters) -> int:
        """The mean in units."""
        return self.mean * channel.top // MEANS


def decode_regions(
    setting: Setting,
    corners: Ints,
    codes: Sequence[RegionCodes],
    channel: ChannelParameters,
    model: Model,
) -> tuple[Ints, Ints]:
    """Rows int32 (n,) and values int32 (n,) of the voxels of some regions. Raises FormatError.

    corners: int32 (R, 3) of the regions
    """

    def decoded(number: int) -> tuple[Ints, Ints]:
        own = codes[number]
        if own.spread > MOST_SPREAD:
            raise FormatError(
                "F5", f"a region's spread is 2^{own.spread}: it is at most 2^{MOST_SPREAD}"
            )
        decoder = _Decoder(RegionReader(model.prior, own.words))
        region = Region.of(setting, corners[number])
        found = _traversed(region, own, channel, model, decoder)
        decoder.reader.check_end()
        return found

    rows, values = zip(*in_threads(decoded, range(len(corners))), strict=True)
    return np.concatenate(rows), np.concatenate(values)


class _Decoder:
    """Gives the codes that a region's words hold."""

    def __init__(self, reader: RegionReader) -> None:
        self.reader = reader

    def codes(self, pass_: Pass) -> Ints:
        return self.reader.decode(pass_.tables)


def _traversed(
    region: Region,
    codes: RegionCodes,
    channel: ChannelParameters,
    model: Model,
    coder: _Decoder | Encoder,
) -> tuple[Ints, Ints]:
    """Rows and values int32 (n,) of a region's voxels, after the restoration filter if any."""
    mean, spread = codes.mean_in(channel), 1 << codes.spread
    values, rows = traverse(region, mean, spread, channel, model.networks, coder)
    flat = rows.reshape(-1)
    places = np.flatnonzero(flat >= 0)
    if model.restoration is None:
        return flat[places], values.reshape(-1)[places]
    array: LevelArray = region.window.level(0)
    return flat[places], restored(values, places, array, channel, model.restoration)


class Encoder:
    """Chooses codes for target values, and writes them.

    values: int32 (N,) of the channel, in units, by row
    targets: int32 (N,) what the codes are chosen for: the values, or prefiltered ones
    writer: of the region
    bits: float32 (64, LISTED) of each magnitude under each table
    rate_weight: how much a bit counts against the squared error: 0, the nearest code is chosen;
        1, as at a high rate
    observer: sees each pass and its values, before its codes are restored to values
    """

    def __init__(
        self,
        values: Ints,
        targets: Ints,
        writer: RegionWriter,
        bits: NDArray[np.float32],
        rate_weight: float,
        observer: Observer | None = None,
    ) -> None:
        self.values = values
        self.targets = targets
        self.writer = writer
        self.bits = bits
        self.rate_weight = rate_weight
        self.observer = observer

    def codes(self, pass_: Pass) -> Ints:
        """The codes int32 (n,) of a pass, written and shown to the observer."""
        codes = self._chosen(self.targets[pass_.rows] - pass_.predicted, pass_)
        if self.observer is not None:
            self.observer(pass_, self.values[pass_.rows])
        self.writer.encode(pass_.tables, codes)
        return codes

    def _chosen(self, differences: Ints, pass_: Pass) -> Ints:
        if not self.rate_weight:
            return (differences + np.int32(pass_.step // 2)) // np.int32(pass_.step)
        codes = np.empty(len(differences), dtype=np.int32)
        weight = np.float32(self.rate_weight * RATE_WEIGHT)
        choose(differences, pass_.tables, pass_.step, weight, self.bits, codes)
        return codes


def code_bits(prior: NDArray[np.int64]) -> NDArray[np.float32]:
    """Bits float32 (64, LISTED) of each magnitude under each table, its sign included."""
    magnitudes = np.arange(LISTED, dtype=np.int32)
    tokens = tokens_of(magnitudes)
    share = prior / prior.sum(axis=1, keepdims=True)
    exact = -np.log2(share)[:, tokens] + low_bits(tokens) + (magnitudes > 0)
    bits: NDArray[np.float32] = exact.astype(np.float32)
    return bits


def encode_regions(
    setting: Setting,
    corners: Ints,
    values: Ints,
    channel: ChannelParameters,
    model: Model,
    rate_weight: float,
    prefiltered: bool = False,
    observer: Observer | None = None,
) -> tuple[list[RegionCodes], Ints, Ints]:
    """The codes of some regions, and rows and values as `decode_regions` gives them.

    corners: int32 (R, 3) of the regions
    values: int32 (N,) in units, by row of the active leaf voxels
    rate_weight: see `Encoder`
    prefiltered: whether coarse voxels are coded as a smooth version of them, which is cheaper
        where most finer ones are left out
    observer: sees every pass; regions then come one after the other
    """
    bits = code_bits(model.prior)
    targets = values.copy() if prefiltered else values

    def encoded(corner: Ints) -> tuple[RegionCodes, Ints, Ints]:
        region = Region.of(setting, corner)
        header = _measured(values[region.rows[region.rows >= 0]], channel)
        if prefiltered:  # regions have no row in common
            prefilter(targets, region, values)
        writer = RegionWriter(model.prior)
        encoder = Encoder(values, targets, writer, bits, rate_weight, observer)
        rows, found = _traversed(region, header, channel, model, encoder)
        return replace(header, words=writer.words()), rows, found

    parts = list(corners)
    found = in_threads(encoded, parts) if observer is None else [encoded(part) for part in parts]
    codes, rows, decoded = zip(*found, strict=True)
    return list(codes), np.concatenate(rows), np.concatenate(decoded)


def _measured(values: Ints, channel: ChannelParameters) -> RegionCodes:
    """Mean and spread of a region's values int32 (n,), and no words yet."""
    if not len(values):
        return RegionCodes(0, 0, NO_WORDS)
    exact = values.astype(np.float64)
    mean = round(float(exact.mean()) * MEANS / channel.top)
    spread = float(np.abs(exact - mean * channel.top / MEANS).mean())
    log = round(math.log2(max(1.0, spread)))
    return RegionCodes(min(mean, MEANS), min(MOST_SPREAD, log), NO_WORDS)
