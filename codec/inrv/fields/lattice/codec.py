"""Channels of values to the codes of their regions and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import (
    LEVELS,
    ContextSamples,
    KnownRegion,
    KnownVoxels,
    LatticeChannel,
    Leaves,
    RegionCodes,
    errors_by_unit,
    prefiltered,
)
from inrv.errors import FormatError
from inrv.fields.lattice.constants import INPUTS, STEP
from inrv.fields.lattice.model import Model
from inrv.fields.lattice.regions import Regions
from inrv.fields.lattice.samples import Sampling
from inrv.fields.lattice.tokens import code_bits

MEANS = 255  # parts of the channel's top in which a region's mean is stored
MOST_SPREAD = 22
# Of one bit against a squared step: the slope of a uniform quantiser at a high rate.
# measured: docs/lab-notes.md#steps-and-rate
RATE_WEIGHT = 2 * 0.6931 / 12
# What a trellis takes of this: its quantisers have steps twice as wide as both have together.
TRELLIS_WEIGHT = 0.6  # measured: docs/lab-notes.md#trellis
# Units by which smooth targets depart from the values, by level, at most.
# measured: docs/lab-notes.md#prefilter
FARTHEST_TARGETS = np.array([0, 1.0, *[1.5] * (LEVELS - 2)], dtype=np.float32) * np.float32(STEP)

Ints = NDArray[np.int32]
NOTHING = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class ChannelParameters:
    """What the decoder knows of a channel before its voxels.

    steps: of the quantiser, in units, by level, the finest first
    top: largest value, in units
    background: of the grid, in units, within -HIGHEST and HIGHEST
    lossless: whether every value is a whole number of STEPs, and predictions are rounded to one,
        so that codes give it exactly
    trellis: whether codes are of two quantisers in turn
    wavelet: whether regions are coded as wavelets
    """

    steps: tuple[int, ...]
    top: int
    background: int
    lossless: bool = False
    trellis: bool = False
    wavelet: bool = False


class AnyReference(Protocol):
    """What a channel is predicted from.

    top: its largest value
    """

    @property
    def top(self) -> int:
        """The largest value."""

    def region(self, key: int, corner: Ints, cells: NDArray[np.uint16]) -> tuple[Leaves, Ints]:
        """The leaves of a region and the values int32 (n,) of their voxels.

        key, corner: of the region
        cells: uint16 (n,) ascending, of the leaves that are to be predicted
        """


@dataclass(frozen=True, eq=False)
class Reference:
    """The channel that another one is predicted from, as it stands.

    regions: of its grid's topology
    values: gives the values int32 (n,) of a region's voxels in its units, by number
    top: its largest value
    """

    regions: Regions
    values: Callable[[int], Ints]
    top: int

    def region(self, key: int, corner: Ints, cells: NDArray[np.uint16]) -> tuple[Leaves, Ints]:
        """All of the region's leaves, wherever the cells are."""
        number = self.regions.number(key)
        return self.regions.leaves(number), self.values(number) if number >= 0 else NOTHING


@dataclass(frozen=True, eq=False)
class Setting:
    """What encoder and decoder both know of a channel before its codes.

    regions: of its voxels
    reference: None where there is none
    exterior: gives for the corner int32 (3,) of a region the voxels that are not coded; None where
        they tell nothing
    """

    regions: Regions
    reference: AnyReference | None = None
    exterior: Callable[[Ints], KnownVoxels] | None = None

    def channel(self, parameters: ChannelParameters, model: Model) -> LatticeChannel:
        """The channel as the core takes it."""
        restoration = model.restoration
        return LatticeChannel(
            parameters.steps,
            parameters.top,
            parameters.background,
            0 if self.reference is None else self.reference.top,
            parameters.lossless,
            self.exterior is not None,
            parameters.trellis,
            parameters.wavelet,
            [model.networks[odd].tensors for odd in INPUTS],
            None if restoration is None else restoration.tensors,
            model.prior,
            model.wavelet_prior,
        )

    def region(self, number: int, mean: int, spread: int) -> KnownRegion:
        """What is known of a region; `mean` and `spread` as stored."""
        corner, leaves = self.regions.corner(number), self.regions.leaves(number)
        reference = None
        if self.reference is not None:
            key = int(self.regions.keys[number])
            reference = self.reference.region(key, corner, leaves.cells)
        exterior = None if self.exterior is None else self.exterior(corner)
        return KnownRegion(leaves, reference, exterior, mean, spread)


@dataclass(frozen=True, eq=False)
class StoredRegion:
    """What is stored of a region.

    mean: of its values, in 255ths of the channel's top
    spread: log2 of their mean deviation in units; where no neighbour is known, mean and spread
        predict a voxel
    codes: of its voxels
    """

    mean: int
    spread: int
    codes: RegionCodes


def check_spread(stored: StoredRegion) -> StoredRegion:
    """The region, whose spread is checked. Raises FormatError."""
    if stored.spread > MOST_SPREAD:
        message = f"a region's spread is 2^{stored.spread}: it is at most 2^{MOST_SPREAD}"
        raise FormatError("F5", message)
    return stored


def damaged(corner: Ints, rule: str) -> FormatError:
    """The error that a region's codes are damaged.

    corner: int32 (3,) of the region
    rule: id of the rule that they violate
    """
    return FormatError(rule, f"the codes of the region at {tuple(corner.tolist())} are damaged")


def decode_region(
    setting: Setting, channel: LatticeChannel, number: int, stored: StoredRegion, level: int = 0
) -> Ints:
    """The values int32 (n,), in units, of a region's voxels at multiples of 2^level.

    Raises FormatError.
    """
    count = setting.regions.voxels(number, level)
    stored = check_spread(stored)
    region = setting.region(number, stored.mean, stored.spread)
    try:
        return channel.decode(region, stored.codes, count, level)
    except FormatError as error:
        raise damaged(setting.regions.corner(number), error.id) from error


@dataclass(frozen=True, eq=False)
class EncodedRegion:
    """A region, encoded.

    stored: what is stored of it
    decoded: int32 (n,) in units, by row
    errors: float64 (m, 4) of `errors_by_unit`; of a lossless channel there are none
    samples: contexts of some voxels, where they were asked for
    """

    stored: StoredRegion
    decoded: Ints
    errors: NDArray[np.float64]
    samples: ContextSamples | None


def in_units(values: NDArray[np.float64], scale: float) -> Ints:
    """Normalised values float64 (n,) in units, int32 (n,), of which `scale` make the range."""
    units: Ints = np.rint(values * scale).astype(np.int32)
    return units


def region_encoder(
    setting: Setting,
    values: NDArray[np.float64],
    scale: float,
    parameters: ChannelParameters,
    model: Model,
    rate_weight: float,
    smooth: bool = False,
    sampling: Sampling | None = None,
) -> Callable[[int], EncodedRegion]:
    """What encodes a region, by number; threads may share it.

    values: float64 (N,) of the channel, normalised, by row
    scale: units in the range
    rate_weight: how much a bit counts against the squared error: 0, the nearest code is chosen;
        1, as at a high rate
    smooth: whether coarse voxels are coded as a smooth version of them, which is cheaper
        where most finer ones are left out
    sampling: which contexts are asked for
    """
    bits, channel = code_bits(model.prior), setting.channel(parameters, model)

    def encoded(number: int) -> EncodedRegion:
        exact = values[setting.regions.rows(number)]
        own = in_units(exact, scale)
        mean, spread = _measured(own, parameters)
        region = setting.region(number, mean, spread)
        codes, decoded, samples = channel.encode(
            region,
            prefiltered(region.leaves, own, FARTHEST_TARGETS) if smooth else own,
            own,
            rate_weight * RATE_WEIGHT,
            bits,
            None if sampling is None else sampling.shares,
            0 if sampling is None else sampling.seed + number,
        )
        if parameters.lossless:  # whole numbers, of which a float64 is off by a rounding
            assert np.array_equal(decoded, own)
            errors = np.zeros((0, 4))
        else:
            errors = errors_by_unit(decoded, exact, scale, parameters.top)
        return EncodedRegion(StoredRegion(mean, spread, codes), decoded, errors, samples)

    return encoded


def _measured(values: Ints, parameters: ChannelParameters) -> tuple[int, int]:
    """Mean and spread of a region's values int32 (n,), as they are stored."""
    if not len(values):
        return 0, 0
    mean = round(float(values.mean(dtype=np.float64)) * MEANS / parameters.top)
    centre = np.float32(mean * parameters.top / MEANS)
    spread = float(np.abs(values.astype(np.float32) - centre).mean(dtype=np.float64))
    log = round(math.log2(max(1.0, spread)))
    return min(mean, MEANS), min(MOST_SPREAD, log)
