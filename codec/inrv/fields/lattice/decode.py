"""Where values come from: regions that are decoded when they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import numpy as np
from numpy.typing import NDArray

from inrv.container import Container, Part, unpack_tensors
from inrv.core.lattice import LatticeChannel, Scaling
from inrv.core.sample import fill_blocks, put_values
from inrv.fields.lattice import config
from inrv.fields.lattice.codec import AnyReference, Reference, Setting, decode_region
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.fields.lattice.model import default_model
from inrv.fields.lattice.motion import MeanReference, Motion, MovedReference
from inrv.fields.lattice.regions import Regions
from inrv.fields.lattice.store import StoredChannel, restore_channel
from inrv.grids import (
    Grid,
    LeafValues,
    Topology,
    byte_counts,
    unpack_masks,
)
from inrv.grids.blocks import CELL_BITS
from inrv.storage import StoredGrids, unread_masks, without
from inrv.support.forks import renew_in_children
from inrv.support.parallel import in_threads

NETWORKS = 3  # of which a voxel passes one, about; and the restoration filter
KEPT_BYTES = 1 << 28  # of decoded regions that others are predicted from

Ints = NDArray[np.int32]
Values = NDArray[np.float32]
MakeOutputs = Callable[..., "LatticeOutputs"]


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


def open_lattice(
    container: Container, grids: StoredGrids, make: MakeOutputs | None = None
) -> LatticeOutputs:
    """The outputs of a file's lattice, whose config has been checked.

    make: makes them; None: `LatticeOutputs`
    """
    assert container.manifest.field is not None
    channels = container.manifest.field.config["channels"]
    owners = config.owners(container.manifest)

    @cache
    def coded(number: int) -> Topology:
        """The voxels of a grid that are coded: one topology for all its components."""
        return without(grids[number].grid.topology, grids[number].exact)

    def target(number: int) -> ChannelTarget:
        grid, component = owners[number]
        part, restored = container.manifest.grids[grid].components[component], grids[grid]
        ends = part.minimum, part.maximum
        return ChannelTarget(restored.grid, restored.exact, component, *ends, coded(grid))

    @cache
    def motion(chunk: int | None) -> Motion | None:
        if chunk is None:
            return None
        arrays = unpack_tensors(container.chunk(chunk))
        return Motion.unpack(arrays, default_model(True, False).prior, grids.topology)

    def stored(number: int, regions: Regions) -> StoredChannel:
        return restore_channel(container, channels[number], regions, motion)

    referring = any(channel["reference"] is not None for channel in channels)
    weights = default_model(referring, True).weight_count // NETWORKS
    return (make or LatticeOutputs)(weights, target, stored)


class RegionCache:
    """Decoded regions, the least recently used ones dropped beyond a number of bytes.

    Threads may share it; two that ask for the same region at once both decode it.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, int], Ints] = OrderedDict()
        renew_in_children(self)

    def new_locks(self) -> None:
        """Begin with a lock that no thread holds."""
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
    channel_of: a channel as stored, given its number and its regions
    """

    module = None

    def __init__(
        self,
        weights: int,
        target_of: Callable[[int], ChannelTarget],
        channel_of: Callable[[int, Regions], StoredChannel],
    ) -> None:
        self.weights = weights
        self.target_of = target_of
        self.channel_of = channel_of
        self.kept = RegionCache(KEPT_BYTES)
        self._channels: dict[int, OpenChannel] = {}
        renew_in_children(self)

    def new_locks(self) -> None:
        """Begin with a lock that no thread holds."""
        self._lock = threading.RLock()

    @property
    def device(self) -> str:
        """Where regions are decoded."""
        return "cpu"

    def decoded(self, channel: OpenChannel, number: int, level: int) -> Ints:
        """The units int32 (n,) of the voxels of a region at multiples of 2^level."""
        return channel.decoded_by_core(number, level)

    def channel(self, number: int) -> OpenChannel:
        """A channel, of which nothing may be decoded yet."""
        with self._lock:
            if number not in self._channels:
                target = self.target_of(number)
                regions = Regions(target.topology)
                stored = self.channel_of(number, regions)
                references = [
                    None if own is None else self.channel(own)
                    for own in (stored.reference, stored.second_reference)
                ]
                self._channels[number] = OpenChannel(
                    number, target, regions, stored, references, self.kept, self.decoded
                )
            return self._channels[number]

    def region_values(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> Values:
        """See `Outputs`. Raises FormatError.

        At a level above 0 only what is stored of its voxels is read and decoded, and the channels
        that others are predicted from. The values then are those before the filter that restores
        level 0.
        """
        masks = topology.masks_at_multiples(leaves, level)
        voxels = int(byte_counts(masks).sum(dtype=np.int64))
        result = np.zeros((voxels, len(columns)), dtype=np.float32)
        for place, channel in enumerate([self.channel(column) for column in columns]):
            if level:
                channel.fill_level(topology, leaves, masks, level, result[:, place])
            else:
                channel.fill(topology, leaves, result[:, place])
        return result

    def decode_ahead(
        self, topology: Topology, runs: Sequence[slice], columns: Sequence[int], level: int = 0
    ) -> None:
        """Nothing: the core decodes one region after the other."""

    def unread(
        self, topology: Topology, leaves: slice, columns: Sequence[int], level: int = 0
    ) -> list[Part]:
        """See `Outputs`. Raises FormatError."""
        channels = [self.channel(column) for column in columns]
        return [part for own in channels for part in own.unread(topology, leaves, level)]

    def values(
        self,
        topologies: Sequence[Callable[[], Topology]],
        columns: Sequence[Sequence[int]],
        clamp: bool = True,
    ) -> list[Values]:
        """See `Outputs`. Raises FormatError.

        A small volume is few regions, of which one may hold most voxels: the masks of the other
        grids are decoded beside the first one's codes.
        """
        pairs = zip(topologies, columns, strict=True)
        fillings = [Filling(own, [self.channel(each) for each in held]) for own, held in pairs]
        if not fillings:
            return []
        fillings[0].begin()  # here, where its regions are shared out
        channels = [channel for filling in fillings for channel in filling.channels]
        nodes = [np.zeros(0, dtype=np.int64)]
        nodes += [channel.regions.topology.keys >> CELL_BITS for channel in channels]
        keys, leaves = np.unique(np.concatenate(nodes), return_counts=True)

        def decoded(key: int) -> None:
            """Fill a region of all grids, whose channels may be predicted from each other."""
            for filling in fillings:
                filling.fill(key, clamp)

        jobs: list[Callable[[], object]] = [filling.begin for filling in fillings]
        # The largest ones come first, so that none is left alone at the end.
        jobs += [partial(decoded, key) for key in keys[(-leaves).argsort(kind="stable")].tolist()]
        in_threads(lambda job: job(), jobs)
        return [filling.begin()[1] for filling in fillings]


class Filling:
    """Values of a grid, filled region by region. Threads may share it.

    topology_of: gives its topology
    channels: of its values
    """

    def __init__(
        self, topology_of: Callable[[], Topology], channels: Sequence[OpenChannel]
    ) -> None:
        self.topology_of, self.channels = topology_of, channels
        self._lock = threading.Lock()
        self._begun: tuple[Regions, Values] | None = None

    def begin(self) -> tuple[Regions, Values]:
        """The grid's regions, and the values float32 (voxels, channels), 0 where none is filled."""
        with self._lock:
            if self._begun is None:
                topology = self.topology_of()
                shape = topology.leaf_voxel_count, len(self.channels)
                self._begun = Regions(topology), np.zeros(shape, dtype=np.float32)
            return self._begun

    def fill(self, key: int, clamp: bool) -> None:
        """Fill the region of a key, if the grid has it."""
        regions, values = self.begin()
        number = regions.number(key)
        if number < 0:
            return
        rows, leaves = regions.rows(number), regions.leaf_range(number)
        for place, channel in enumerate(self.channels):
            channel.fill(regions.topology, leaves, values[rows, place], clamp)


class OpenChannel:
    """A channel of an open file, decoded region by region.

    number: of the channel
    target: what it is decoded into
    regions: of the voxels that are coded
    stored: the channel as the file holds it
    references: the two channels that it is predicted from, None for one that there is not
    kept: decoded regions of channels that others are predicted from
    decode: gives the units of a region of the channel, by number and level
    """

    def __init__(
        self,
        number: int,
        target: ChannelTarget,
        regions: Regions,
        stored: StoredChannel,
        references: Sequence[OpenChannel | None],
        kept: RegionCache,
        decode: Callable[[OpenChannel, int, int], Ints],
    ) -> None:
        self.number, self.regions, self.stored = number, regions, stored
        self.references, self.kept, self._decode = references, kept, decode
        self.referenced = False
        for reference in references:
            if reference is not None:
                reference.referenced = True
        offsets = None if stored.offsets is None else stored.offsets.knots.astype(np.float64)
        self.scaling = Scaling(
            stored.scale, target.minimum, target.maximum, stored.channel.top, offsets
        )
        linear = linear_units(target.minimum, target.maximum, stored.scale)
        units = linear if stored.lossless is None else stored.lossless.palette.units
        self.exterior = Exterior(target.grid, target.exact, target.component, units)
        self.grid = Regions(target.grid.topology) if len(target.exact.places) else regions

    def fill(self, topology: Topology, leaves: slice, result: Values, clamp: bool = True) -> None:
        """Fill values float32 (n,) of the leaf voxels of a region of a grid's topology.

        Voxels that are not coded keep what `result` holds.

        leaves: all of the topology in that region
        """
        own, number = self.regions.topology, self._number(topology, leaves)
        if number < 0:
            return
        units = self.units(number)
        if topology is own:
            self._values(units, number, clamp, result)
            return
        values = self._values(units, number, clamp)
        held, masks = self.regions.leaf_range(number), topology.masks_at(leaves)
        if topology is self.grid.topology:
            put_values(own.masks_at(held), masks, values, result)
            return
        at = np.searchsorted(own.keys[held], topology.keys[leaves])
        at = np.minimum(at, held.stop - held.start - 1)
        there = own.keys[held][at] == topology.keys[leaves]
        nothing = np.zeros(1, dtype=np.float32)
        blocks = fill_blocks(own.masks_at(held), values[:, None], nothing)[at, :, 0]
        blocks[~there] = 0
        result[:] = blocks[unpack_masks(masks)]

    def fill_level(
        self,
        topology: Topology,
        leaves: slice,
        masks: NDArray[np.uint8],
        level: int,
        result: Values,
    ) -> None:
        """Fill values float32 (n,) of the voxels of a region at multiples of 2^level.

        masks: uint8 (L, 64) of these, of all leaves of the topology in that region
        """
        all_masks = topology.masks_at(leaves)
        if topology not in (self.regions.topology, self.grid.topology):
            whole = np.zeros(topology.voxels_in(leaves), dtype=np.float32)
            self.fill(topology, leaves, whole)
            result[:] = whole[_among(masks, all_masks)]
            return
        number = self._number(topology, leaves)
        if number < 0:
            return
        coded = self.regions.topology.masks_at(self.regions.leaf_range(number))
        units, known = self._decoded(number, level), _among(masks, coded)
        put_values(coded & masks, masks, self._values(units, number, True, among=known), result)

    def unread(self, topology: Topology, leaves: slice, level: int) -> list[Part]:
        """What will be read of the file for the voxels of a region of a grid's topology."""
        number = self._number(topology, leaves)
        if number < 0:
            return []
        parts = self.stored.regions.parts(number, level)
        if topology is not self.regions.topology:
            parts += unread_masks(self.regions.topology, self.regions.leaf_range(number))
        for reference in self.references:
            if reference is None:
                continue
            other = reference.grid
            there = other.number(int(self.regions.keys[number]))
            if there >= 0:
                own = other.leaf_range(there)
                parts += unread_masks(other.topology, own)
                parts += reference.unread(other.topology, own, 0)
        return parts

    def job(self, topology: Topology, leaves: slice, level: int) -> tuple[OpenChannel, int, int]:
        """What is decoded for the voxels of a region at a level: region -1 for nothing."""
        exact = topology in (self.regions.topology, self.grid.topology)
        return self, self._number(topology, leaves), level if exact else 0

    def _number(self, topology: Topology, leaves: slice) -> int:
        """The number of the region that holds a run of leaves, or -1."""
        if leaves.start == leaves.stop:
            return -1
        return self.regions.number(int(topology.keys[leaves.start]) >> CELL_BITS)

    def _values(
        self,
        units: Ints,
        number: int,
        clamp: bool,
        result: Values | None = None,
        among: NDArray[np.bool_] | slice = slice(None),
    ) -> Values:
        """Values float32 (n,) of units int32 (n,), in `result` if given.

        number: of the region that they are of
        among: which of its voxels they are
        """
        values = np.empty(len(units), dtype=np.float32) if result is None else result
        lossless = self.stored.lossless
        if lossless is None:
            self.scaling.values(units, values, clamp)
        else:
            rest = lossless.rest[self.regions.rows(number)][among]
            values[:] = lossless.palette.values(units, rest)
        return values

    def units(self, number: int) -> Ints:
        """The values int32 (n,) of a region's voxels, in units."""
        if not self.referenced:
            return self._decoded(number)
        return self.kept.get((self.number, number), lambda: self._decoded(number))

    def _decoded(self, number: int, level: int = 0) -> Ints:
        """The same of the voxels at multiples of 2^level, decoded."""
        return self._decode(self, number, level)

    def decoded_by_core(self, number: int, level: int = 0) -> Ints:
        """The same, decoded on the CPU."""
        stored = self.stored.regions(number, level)
        return decode_region(self._setting, self._channel, number, stored, level)

    @cached_property
    def _setting(self) -> Setting:
        """What is known before the codes."""
        exterior = self.exterior if self.stored.knows_exterior else None
        return Setting(self.regions, self._reference, exterior)

    @property
    def _reference(self) -> AnyReference | None:
        """What it is predicted from."""
        other, second = self.references
        if other is None:
            return None
        if self.stored.motion is None:
            return Reference(other.grid, other.known, other.stored.channel.top)
        moved = self._moved(other, self.stored.motion)
        if second is None or self.stored.second_motion is None:
            return moved
        return MeanReference(moved, self._moved(second, self.stored.second_motion))

    def _moved(self, other: OpenChannel, motion: Motion) -> MovedReference:
        """Another channel, fetched along vectors, in units of this one."""
        units = self.exterior.units

        def values(number: int) -> Ints:
            return units(other._values(other.units(number), number, clamp=True))

        exterior = replace(other.exterior, units=units)
        return MovedReference(other.regions, values, exterior, motion, self.stored.channel.top)

    @cached_property
    def _channel(self) -> LatticeChannel:
        """The channel as the core takes it."""
        return self._setting.channel(self.stored.channel, self.stored.model)

    def known(self, number: int) -> Ints:
        """The units int32 (n,) of all voxels of a region of the grid, exact values among them."""
        if self.grid is self.regions:
            return self.units(number)
        values = self.exterior.exact_units[self.grid.rows(number)].copy()
        leaves = self.grid.leaf_range(number)
        own = self._number(self.grid.topology, leaves)
        masks = self.regions.topology.leaf_masks[leaves], self.grid.topology.leaf_masks[leaves]
        put_values(*masks, self.units(own), values)
        return values


def _among(some: NDArray[np.uint8], all_of_them: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which active voxels of masks uint8 (L, 64) are active in `some` of these: bool (n,)."""
    return unpack_masks(some)[unpack_masks(all_of_them)]
