"""The varying components of grids as channels of a lattice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.codec import AnyReference, Reference
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.fields.lattice.motion import MeanReference, Motion, MovedReference
from inrv.fields.lattice.palette import Palette
from inrv.fields.lattice.regions import Regions
from inrv.fields.lattice.search import ChannelValues, EncodedChannel, Quality
from inrv.fields.lattice.steps import MOST_STEP, error_step
from inrv.fields.lattice.store import StoredValues
from inrv.grids import Grid, LeafValues
from inrv.storage import PreparedGrid

# Correlation of details from which on a channel is worth being a reference.
RELATED = 0.15  # see docs/lab-notes.md#reference-channels
COMPARED = 1 << 13  # voxels; measured: docs/lab-notes.md#encoding-speed
FEWEST_COMPARED = 256
BACKGROUND_LIMITS = -2.0, 3.0  # of a background, on the scale of normalised values


@dataclass(frozen=True, eq=False)
class Channel:
    """A component of a grid, to be encoded.

    frame: place of its frame in time
    name: what tells it from the others of its frame: of its grid the name, and how many before have
        that name too; and the component
    grid: number of its grid
    component: number of the component
    minimum: lowest value that is coded
    maximum: highest value that is coded
    values: normalised
    lossless: of a lossless channel, what its units stand for; else None
    """

    frame: int
    name: tuple[str, int, int]
    grid: int
    component: int
    minimum: float
    maximum: float
    values: ChannelValues
    lossless: StoredValues | None

    @property
    def span(self) -> float:
        """The range of the values."""
        return self.maximum - self.minimum


def channels_of(grids: Sequence[PreparedGrid]) -> list[Channel]:
    """Every component that varies, in the order of the field's outputs."""
    result = []
    seen = Counter[tuple[int, str]]()
    for number, grid in enumerate(grids):
        template, own = _without_values(grid.grid), (grid.frame, grid.grid.name)
        for component in np.flatnonzero(grid.normalisation.varying).tolist():
            name = grid.grid.name, seen[own], component
            result.append(_channel(grid, number, name, template))
        seen[own] += 1
    return result


def _without_values(grid: Grid) -> Grid:
    """The grid as a decoder has it, its active leaf values unknown."""
    unknown = np.full((1, grid.components), np.nan, dtype=np.float32)
    return grid.with_values(np.broadcast_to(unknown, grid.values.shape))


def _channel(
    grid: PreparedGrid, number: int, name: tuple[str, int, int], template: Grid
) -> Channel:
    """One component as a channel."""
    coded, apart, component = grid.coded, grid.apart, name[-1]
    low, high = (
        float(end[component]) for end in (grid.normalisation.minimum, grid.normalisation.maximum)
    )
    own = np.ascontiguousarray(coded.values[:, component])
    outside = coded.background[component : component + 1]
    if grid.lossless:
        palette = Palette.of(own)
        lossless = StoredValues.of(palette, own)
        last = len(palette.entries) - 1
        shares, beyond = (palette.places(part) / last for part in (own, outside))
        exterior = partial(_lossless_exterior, template, apart, component, palette)
    else:
        lossless = None
        shares, beyond = ((part.astype(np.float64) - low) / (high - low) for part in (own, outside))
        exterior = partial(linear_exterior, template, apart, component, low, high)
    least, most = BACKGROUND_LIMITS
    background = min(max(float(beyond[0]), least), most)
    values = ChannelValues(coded.topology, shares, background, exterior=exterior)
    return Channel(grid.frame, name, number, component, low, high, values, lossless)


def linear_exterior(
    grid: Grid, exact: LeafValues, component: int, minimum: float, maximum: float, scale: float
) -> Exterior:
    """The exterior of a channel that is not lossless, at `scale` units in its range."""
    return Exterior(grid, exact, component, linear_units(minimum, maximum, scale))


def _lossless_exterior(
    grid: Grid, exact: LeafValues, component: int, palette: Palette, scale: float
) -> Exterior:
    return Exterior(grid, exact, component, palette.units)


def quality_of(channel: Channel, grid: PreparedGrid, psnr: float, step: float | None) -> Quality:
    """The quality over a channel's coded voxels that keeps what is asked.

    That is the bound of its grid, if it has one, or else `psnr` dB over the grid's active voxels.

    step: in values, to begin a search with; None where none is known
    """
    if channel.lossless is not None:
        entries = len(channel.lossless.palette.entries)
        return Quality(step=1 / (entries - 1), bounded=True, lossless=True)
    guess = None if step is None else step / channel.span
    if grid.bounds is None:
        return Quality(psnr=psnr + grid.psnr_gain(channel.component), guess=guess)
    finest = error_step(grid.bounds[channel.component], channel.minimum, channel.maximum)
    return Quality(step=min(MOST_STEP, finest / channel.span), guess=guess, bounded=True)


@dataclass(frozen=True, eq=False)
class Source:
    """A channel that another one is predicted from.

    channel: its number
    motion: along which it is fetched; None: it is taken as it stands, in its own units
    """

    channel: int
    motion: Motion | None = None


def predictions_of(
    channels: Sequence[Channel], number: int, motion_of: Callable[[int, int], Motion]
) -> list[tuple[Source, ...]]:
    """What a channel may be predicted from: nothing, one source, or the mean of two.

    That is the channel of its frame before it whose details resemble its own most, if any do, or
    else nothing. Where channels of its name in other frames come before it, it may be any of these,
    or the nearest of an earlier frame, of a later one, or both.

    motion_of: gives the motion along which a frame is fetched for another one, by their numbers,
        that of the channel's frame first
    """
    own = channels[number]
    frame = [place for place in range(number) if channels[place].frame == own.frame]
    alike = [(_resemblance(own.values, channels[place].values), place) for place in frame]
    best = max(alike, default=(0.0, 0))
    found: list[tuple[Source, ...]] = [(Source(best[1]),) if best[0] > RELATED else ()]
    same = {
        channels[place].frame: place for place in range(number) if channels[place].name == own.name
    }
    nearest = [
        max((other for other in same if other < own.frame), default=None),
        min((other for other in same if other > own.frame), default=None),
    ]
    moved = tuple(
        Source(same[other], motion_of(own.frame, other)) for other in nearest if other is not None
    )
    if not moved:
        return found
    found += [()] if found[0] else []
    found += [(source,) for source in moved]
    if len(moved) == 1:
        return found
    # Where little moves, the mean of both sides as they stand is often better.
    still = tuple(Source(own.channel, own.motion.still) for own in moved if own.motion is not None)
    return [*found, moved, still]


def values_of(channel: Channel, encoded: EncodedChannel) -> NDArray[np.float32]:
    """The values float32 (N,) of a channel as they are decoded."""
    if channel.lossless is not None:
        return channel.lossless.palette.values(encoded.decoded, channel.lossless.rest)
    values = np.empty(len(encoded.decoded), dtype=np.float32)
    encoded.scaling(channel.minimum, channel.maximum).values(encoded.decoded, values)
    return values


def with_prediction(
    channel: Channel,
    prediction: Sequence[Source],
    channels: Sequence[Channel],
    encoded: Sequence[EncodedChannel],
) -> ChannelValues:
    """The values of a channel that is predicted from others, which are encoded already."""
    if not prediction:
        return channel.values
    made = [
        _reference(channel, source, channels[source.channel], encoded[source.channel])
        for source in prediction
    ]
    if len(made) == 1:
        return replace(channel.values, reference=made[0])

    def mean(scale: float) -> AnyReference:
        first, second = (make(scale) for make in made)
        assert isinstance(first, MovedReference) and isinstance(second, MovedReference)
        return MeanReference(first, second)

    return replace(channel.values, reference=mean)


def _reference(
    channel: Channel, source: Source, other: Channel, encoded: EncodedChannel
) -> Callable[[float], AnyReference]:
    """What makes the reference of a channel, given how many units the range has."""
    exterior, motion = other.values.exterior, source.motion
    assert exterior is not None and channel.values.exterior is not None
    if motion is None:
        # The decoder knows that one's topology, and its units with those of its exact values.
        topology, units = exterior(encoded.scale).whole(other.values.topology, encoded.decoded)
        regions = Regions(topology)
        known = Reference(regions, lambda number: units[regions.rows(number)], encoded.channel.top)
        return lambda scale: known
    values, regions, own = values_of(other, encoded), other.values.regions, channel.values

    def moved(scale: float) -> AnyReference:
        assert own.exterior is not None and exterior is not None and motion is not None
        in_units = own.exterior(scale).units
        around = replace(exterior(encoded.scale), units=in_units)
        return MovedReference(
            regions,
            lambda number: in_units(values[regions.rows(number)]),
            around,
            motion,
            own.top(scale),
        )

    return moved


def _resemblance(mine: ChannelValues, other: ChannelValues) -> float:
    """Absolute correlation of details over some voxels of both channels.

    A detail is a value less the mean of its two neighbours along x, y or z.
    """
    topology = mine.topology
    stride = max(1, topology.leaf_voxel_count // COMPARED)
    coordinates = topology.coordinates_of(topology.places()[::stride])
    pairs = []
    for step in np.eye(3, dtype=np.int32):
        details = np.stack([_detail(values, coordinates, step) for values in (mine, other)])
        pairs.append(details[:, np.isfinite(details).all(axis=0)])
    found = np.concatenate(pairs, axis=1)
    if found.shape[1] < FEWEST_COMPARED:
        return 0.0
    found = found - found.mean(axis=1, keepdims=True)
    squares = (found * found).sum(axis=1)
    if (squares == 0).any():
        return 0.0
    return abs(float((found[0] * found[1]).sum() / np.sqrt(squares[0] * squares[1])))


def _detail(
    values: ChannelValues, coordinates: NDArray[np.int32], step: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Value less the mean of the two neighbours at `step`, float64 (n,).

    NaN where one of the three is not active.
    """
    known = np.append(values.values, np.nan)  # row -1
    rows = [values.topology.voxel_rows(coordinates + shift * step) for shift in (-1, 0, 1)]
    before, here, after = (known[row] for row in rows)
    detail: NDArray[np.float64] = here - (before + after) / 2
    return detail
