"""Where normalised values come from: regions that are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Container
from inrv.fields.lattice.codec import decode_regions
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.fields.lattice.model import default_model
from inrv.fields.lattice.regions import region_corners
from inrv.fields.lattice.store import StoredChannel, restore_channel
from inrv.fields.lattice.traversal import Setting
from inrv.grids import Grid, LeafValues, Topology, leaf_keys
from inrv.storage import StoredGrids, without

NETWORKS = 3  # of which a voxel passes one, about; and the restoration filter
PART_VALUES = 1 << 22  # brought from units to outputs at a time


@dataclass(frozen=True, eq=False)
class ChannelTarget:
    """What a channel is decoded into.

    grid: without its values but for the exact ones
    exact: the exact values
    component: number of the component
    minimum: lowest value
    maximum: highest value
    topology: of the voxels that are coded
    """

    grid: Grid
    exact: LeafValues
    component: int
    minimum: float
    maximum: float
    topology: Topology


def open_lattice(container: Container, grids: StoredGrids) -> LatticeOutputs:
    """The outputs of a file's lattice, whose config has been checked."""
    assert container.manifest.field is not None
    channels = container.manifest.field.config["channels"]
    owners = {
        part.output: (number, component)
        for number, entry in enumerate(container.manifest.grids)
        for component, part in enumerate(entry.components)
        if part.output is not None
    }

    @cache
    def coded(number: int) -> Topology:
        """The voxels of a grid that are coded: one topology for all its components."""
        return without(grids[number].grid.topology, grids[number].exact)

    def target(number: int) -> ChannelTarget:
        grid, component = owners[number]
        part, restored = container.manifest.grids[grid].components[component], grids[grid]
        ends = part.minimum, part.maximum
        return ChannelTarget(restored.grid, restored.exact, component, *ends, coded(grid))

    def stored(number: int, regions: int, voxels: int) -> StoredChannel:
        return restore_channel(container, channels[number], regions, voxels)

    referring = any(channel["reference"] is not None for channel in channels)
    weights = default_model(referring, True).weight_count // NETWORKS
    lossless = frozenset(n for n, channel in enumerate(channels) if channel["lossless"])
    return LatticeOutputs(weights, lossless, target, stored)


class LatticeOutputs:
    """The outputs of a lattice: the regions that hold the voxels are decoded, and kept.

    weights: products that one voxel takes, about
    lossless: outputs that are values as they were, not normalised
    target_of: what a channel is decoded into, by number
    channel_of: a channel as stored, given its number and how many regions and voxels it has
    """

    device = "cpu"
    module = None

    def __init__(
        self,
        weights: int,
        lossless: frozenset[int],
        target_of: Callable[[int], ChannelTarget],
        channel_of: Callable[[int, int, int], StoredChannel],
    ) -> None:
        self.weights = weights
        self.lossless = lossless
        self.target_of = target_of
        self.channel_of = channel_of
        self.decoded: dict[int, DecodedChannel] = {}

    def channel(self, number: int) -> DecodedChannel:
        """A channel, of which nothing may be decoded yet."""
        if number not in self.decoded:
            target = self.target_of(number)
            regions = len(region_corners(target.topology.leaf_origins))
            stored = self.channel_of(number, regions, target.topology.leaf_voxel_count)
            reference = None if stored.reference is None else self.channel(stored.reference)
            self.decoded[number] = DecodedChannel(target, stored, reference)
        return self.decoded[number]

    def at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float64]:
        """Outputs float64 (n, len(columns)) at integer coordinates (n, 3).

        Those of lossless channels are values.
        """
        result = np.empty((len(coordinates), len(columns)), dtype=np.float64)
        for place, column in enumerate(columns):
            result[:, place] = self.channel(column).at(coordinates)
        return result

    def active(
        self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float64]]:
        """Outputs float64 (voxels, len(columns[i])) on the active leaf voxels of each topology.

        Those of lossless channels are values.
        """
        pairs = zip(topologies, columns, strict=True)
        return [self._active(topology, chosen) for topology, chosen in pairs]

    def _active(self, topology: Topology, columns: Sequence[int]) -> NDArray[np.float64]:
        channels = [self.channel(column) for column in columns]
        if channels and all(channel.topology is topology for channel in channels):
            return np.stack([channel.all() for channel in channels], axis=1)
        if channels and all(channel.whole is topology for channel in channels):
            return np.stack([channel.all_of_grid() for channel in channels], axis=1)
        return self.at(topology.coordinates(), columns)


class DecodedChannel:
    """The values of a channel, region by region as they are asked for.

    target: what it is decoded into
    stored: the channel as the file holds it
    reference: the channel that it is predicted from, if any
    """

    def __init__(
        self, target: ChannelTarget, stored: StoredChannel, reference: DecodedChannel | None
    ) -> None:
        self.topology = topology = target.topology
        self.stored = stored
        linear = linear_units(target.minimum, target.maximum, stored.scale)
        units = linear if stored.lossless is None else stored.lossless.palette.units
        self.exterior = Exterior(target.grid, target.exact, target.component, units)
        self.reference = reference
        self.corners = region_corners(topology.leaf_origins)
        self.keys = leaf_keys(self.corners)
        self.done = np.zeros(len(self.corners), dtype=np.bool_)
        nothing = np.zeros(topology.leaf_voxel_count, dtype=np.int32)
        self.whole, self.values = self.exterior.whole(topology, nothing)
        apart = len(target.exact.places)
        self.rows = self.whole.place_rows(topology.places()) if apart else None

    def all(self) -> NDArray[np.float64]:
        """Normalised values float64 (N,), by row; of a lossless channel the values."""
        self.decode(self.corners)
        result = np.empty(self.topology.leaf_voxel_count, dtype=np.float64)
        for first in range(0, len(result), PART_VALUES):
            part = slice(first, first + PART_VALUES)
            result[part] = self._values(part)
        return result

    def all_of_grid(self) -> NDArray[np.float64]:
        """The same by row of the grid's topology, exact values among them; 0 for those."""
        assert self.rows is not None
        result = np.zeros(self.whole.leaf_voxel_count, dtype=np.float64)
        result[self.rows] = self.all()
        return result

    def at(self, coordinates: NDArray[Any]) -> NDArray[np.float64]:
        """The same float64 (n,) at integer coordinates (n, 3); 0 where the channel has no voxel."""
        rows = self.topology.voxel_rows(coordinates)
        here = rows >= 0
        self.decode(region_corners(coordinates[here]))
        result = np.zeros(len(coordinates), dtype=np.float64)
        result[here] = self._values(rows[here])
        return result

    def _values(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float64]:
        units = self.values[rows if self.rows is None else self.rows[rows]]
        lossless, offsets = self.stored.lossless, self.stored.offsets
        if lossless is not None:
            return lossless.palette.values(units, lossless.rest[rows]).astype(np.float64)
        moved = units.astype(np.float64) if offsets is None else offsets.add(units)
        return moved / self.stored.scale

    def decode(self, corners: NDArray[np.int32]) -> None:
        """Decode those regions of the channel at `corners` (R, 3) that are not decoded yet."""
        if not len(self.keys) or not len(corners):
            return
        keys = leaf_keys(corners)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        places = places[self.keys[places] == keys]
        places = places[~self.done[places]]
        if not len(places):
            return
        asked, reference = self.corners[places], None
        if self.reference is not None:
            self.reference.decode(asked)
            reference = (self.reference.whole, self.reference.values)
        codes = [self.stored.codes[place] for place in places.tolist()]
        exterior = self.exterior if self.stored.knows_exterior else None
        setting = Setting(self.topology, reference, exterior)
        stored = self.stored
        rows, values = decode_regions(setting, asked, codes, stored.channel, stored.model)
        self.values[rows if self.rows is None else self.rows[rows]] = values
        self.done[places] = True
