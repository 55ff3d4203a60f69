"""The varying components of grids as channels of a lattice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.codec import Reference
from inrv.fields.lattice.exterior import Exterior, linear_units
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

    frame: number of its frame
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


def references_of(channels: Sequence[Channel], number: int) -> list[int | None]:
    """The channels of which one may be the reference of a channel; None: it may have none.

    That is the one of its frame before it whose details resemble its own most, if any do, or else
    none. Where the frame before has a channel of its name, it may be that one, or any of these.
    """
    own = channels[number]
    frame = [place for place in range(number) if channels[place].frame == own.frame]
    alike = [(_resemblance(own.values, channels[place].values), place) for place in frame]
    best = max(alike, default=(0.0, 0))
    found: list[int | None] = [best[1]] if best[0] > RELATED else [None]
    before = own.frame - 1, own.name
    earlier = [
        place for place in range(number) if (channels[place].frame, channels[place].name) == before
    ]
    return [*dict.fromkeys([*found, None]), *earlier] if earlier else found


def with_reference(channel: Channel, reference: Channel, encoded: EncodedChannel) -> ChannelValues:
    """The values of a channel that is predicted from another one, which is encoded already.

    The decoder knows that one's topology, and its units with those of its exact values.
    """
    assert reference.values.exterior is not None
    exterior = reference.values.exterior(encoded.scale)
    topology, values = exterior.whole(reference.values.topology, encoded.decoded)
    regions = Regions(topology)
    known = Reference(regions, lambda number: values[regions.rows(number)], encoded.channel.top)
    return replace(channel.values, reference=known)


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
