"""Where values come from: regions that are decoded when they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Container
from inrv.core.lattice import Scaling
from inrv.fields.lattice.codec import Reference, Setting, decode_region
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.fields.lattice.model import default_model
from inrv.fields.lattice.regions import Regions
from inrv.fields.lattice.store import StoredChannel, restore_channel
from inrv.grids import Grid, LeafValues, Topology
from inrv.storage import StoredGrids, without
from inrv.support.parallel import in_threads

NETWORKS = 3  # of which a voxel passes one, about; and the restoration filter
CACHE_BYTES = 1 << 28  # of decoded regions that are kept

Ints = NDArray[np.int32]
Values = NDArray[np.float32]


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
    return LatticeOutputs(weights, target, stored)


class RegionCache:
    """Decoded regions, the least recently used ones dropped beyond a number of bytes.

    Threads may share it; two that ask for the same region at once both decode it.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, int], Ints] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int], decode: Callable[[], Ints]) -> Ints:
        """The values of `key`, channel and region; decoded where they are not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        values = decode()
        with self._lock:
            if key not in self._kept and values.nbytes <= self.most_bytes:
                self._kept[key] = values
                self._bytes += values.nbytes
            while self._bytes > self.most_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.nbytes
        return values


class LatticeOutputs:
    """The values of a lattice: the regions that hold the voxels are decoded, and some kept.

    weights: products that one voxel takes, about
    target_of: what a channel is decoded into, by number
    channel_of: a channel as stored, given its number and how many regions and voxels it has
    """

    device = "cpu"
    module = None

    def __init__(
        self,
        weights: int,
        target_of: Callable[[int], ChannelTarget],
        channel_of: Callable[[int, int, int], StoredChannel],
    ) -> None:
        self.weights = weights
        self.target_of = target_of
        self.channel_of = channel_of
        self.kept = RegionCache(CACHE_BYTES)
        self._channels: dict[int, OpenChannel] = {}
        self._lock = threading.RLock()

    def channel(self, number: int) -> OpenChannel:
        """A channel, of which nothing may be decoded yet."""
        with self._lock:
            if number not in self._channels:
                target = self.target_of(number)
                regions = Regions(target.topology)
                voxels = target.topology.leaf_voxel_count
                stored = self.channel_of(number, len(regions), voxels)
                reference = None if stored.reference is None else self.channel(stored.reference)
                self._channels[number] = OpenChannel(
                    number, target, regions, stored, reference, self.kept
                )
            return self._channels[number]

    def values_at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> Values:
        """Values float32 (n, len(columns)) at integer coordinates (n, 3)."""
        result = np.empty((len(coordinates), len(columns)), dtype=np.float32)
        for place, column in enumerate(columns):
            self.channel(column).at(coordinates, result[:, place])
        return result

    def values(
        self,
        topologies: Sequence[Topology],
        columns: Sequence[Sequence[int]],
        clamp: bool = True,
    ) -> list[Values]:
        """Values float32 (voxels, len(columns[i])) on the active leaf voxels of each topology."""
        results, whole = list[Values](), list[tuple[OpenChannel, Values]]()
        for topology, chosen in zip(topologies, columns, strict=True):
            result = np.zeros((topology.leaf_voxel_count, len(chosen)), dtype=np.float32)
            results.append(result)
            for place, channel in enumerate(map(self.channel, chosen)):
                if topology in (channel.regions.topology, channel.grid.topology):
                    whole.append((channel, result[:, place]))
                else:
                    channel.at(topology.coordinates(), result[:, place], clamp)
        self._decode(whole, clamp)
        return results

    def _decode(self, wanted: Sequence[tuple[OpenChannel, Values]], clamp: bool) -> None:
        """Fill the values of whole channels, all channels of a region by one thread."""
        keys = [channel.regions.keys for channel, _ in wanted]
        regions = np.unique(np.concatenate(keys)).tolist() if keys else []

        def decoded(key: int) -> None:
            for channel, result in wanted:
                number = channel.regions.number(key)
                if number >= 0:
                    channel.fill(number, result, clamp)

        in_threads(decoded, regions)


class OpenChannel:
    """A channel of an open file, decoded region by region.

    number: of the channel
    target: what it is decoded into
    regions: of the voxels that are coded
    stored: the channel as the file holds it
    reference: the channel that it is predicted from, if any
    kept: decoded regions of all channels
    """

    def __init__(
        self,
        number: int,
        target: ChannelTarget,
        regions: Regions,
        stored: StoredChannel,
        reference: OpenChannel | None,
        kept: RegionCache,
    ) -> None:
        self.number, self.regions, self.stored = number, regions, stored
        self.reference, self.kept = reference, kept
        offsets = None if stored.offsets is None else stored.offsets.knots.astype(np.float64)
        self.scaling = Scaling(
            stored.scale, target.minimum, target.maximum, stored.channel.top, offsets
        )
        linear = linear_units(target.minimum, target.maximum, stored.scale)
        units = linear if stored.lossless is None else stored.lossless.palette.units
        self.exterior = Exterior(target.grid, target.exact, target.component, units)
        self.grid = Regions(target.grid.topology) if len(target.exact.places) else regions
        self.rows = None
        if self.grid is not regions:
            self.rows = self.grid.topology.place_rows(regions.topology.places())

    def at(self, coordinates: NDArray[Any], result: Values, clamp: bool = True) -> None:
        """Fill values float32 (n,) at integer coordinates (n, 3); 0 where there is no voxel."""
        rows = self.regions.topology.voxel_rows(coordinates)
        numbers = np.where(rows >= 0, self.regions.find(coordinates), -1)
        order = np.argsort(numbers, kind="stable")
        asked, firsts = np.unique(numbers[order], return_index=True)
        parts = dict(zip(asked.tolist(), np.split(order, firsts[1:]), strict=True))
        result[parts.pop(-1, [])] = 0

        def found(number: int) -> None:
            part = parts[number]
            own = rows[part]
            units = self.units(number)[own - self.regions.rows(number).start]
            result[part] = self._values(units, own, clamp)

        in_threads(found, list(parts))

    def fill(self, number: int, result: Values, clamp: bool = True) -> None:
        """Fill the values of a region: those of the channel's voxels, or of all of its grid."""
        rows = self.regions.rows(number)
        if self.rows is None or len(result) == self.regions.topology.leaf_voxel_count:
            self._values(self.units(number), rows, clamp, result[rows])
        else:
            result[self.rows[rows]] = self._values(self.units(number), rows, clamp)

    def _values(
        self,
        units: Ints,
        rows: NDArray[np.int64] | slice,
        clamp: bool,
        result: Values | None = None,
    ) -> Values:
        """Values float32 (n,) of units int32 (n,) of the voxels at `rows`, in `result` if given."""
        values = np.empty(len(units), dtype=np.float32) if result is None else result
        lossless = self.stored.lossless
        if lossless is None:
            self.scaling.values(units, values, clamp)
        else:
            values[:] = lossless.palette.values(units, lossless.rest[rows])
        return values

    def units(self, number: int) -> Ints:
        """The values int32 (n,) of a region's voxels, in units."""
        return self.kept.get((self.number, number), lambda: self._decoded(number))

    def _decoded(self, number: int) -> Ints:
        stored = self.stored
        reference = None
        if self.reference is not None:
            other = self.reference
            reference = Reference(other.grid, other.known, other.stored.channel.top)
        exterior = self.exterior if stored.knows_exterior else None
        setting = Setting(self.regions, reference, exterior)
        channel = setting.channel(stored.channel, stored.model)
        return decode_region(setting, channel, number, stored.regions(number))

    def known(self, number: int) -> Ints:
        """The units int32 (n,) of all voxels of a region of the grid, exact values among them."""
        if self.rows is None:
            return self.units(number)
        rows = self.grid.rows(number)
        values = self.exterior.exact_units[rows].copy()
        own = self.regions.number(int(self.grid.keys[number]))
        if own >= 0:
            values[self.rows[self.regions.rows(own)] - rows.start] = self.units(own)
        return values
