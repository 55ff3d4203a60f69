"""Where a volume's normalised values come from: a function of the position, or codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.fields.lattice import Setting, Surroundings, decode_regions, linear_units, region_corners
from inrv.fields.lattice.store import StoredChannel
from inrv.grids import Grid, LeafValues, Topology, in_double
from inrv.grids.topology import leaf_keys

PART_VALUES = 1 << 22  # brought from units to outputs at a time


@dataclass(frozen=True, eq=False)
class CodedChannel:
    """Component `component` of a grid without its values but for the `kept` ones, of which the voxels of `topology` are coded."""

    grid: Grid
    exact: LeafValues
    component: int
    minimum: float
    maximum: float
    topology: Topology


class LatticeOutputs:
    """Of a lattice: the regions that hold the voxels are decoded, and kept.

    coded_of  what a channel is of             channel_of  a channel as stored, given the numbers of its regions and voxels
    """

    def __init__(
        self, weights: int, coded_of: Callable[[int], CodedChannel], channel_of: Callable[[int, int, int], StoredChannel]
    ) -> None:
        self.weights = weights
        self.coded_of = coded_of
        self.channel_of = channel_of
        self.decoded: dict[int, DecodedChannel] = {}

    def channel(self, number: int) -> DecodedChannel:
        """A channel, of which nothing may be decoded yet."""
        if number not in self.decoded:
            coded = self.coded_of(number)
            regions, voxels = len(region_corners(coded.topology.leaf_origins)), coded.topology.leaf_voxel_count
            stored = self.channel_of(number, regions, voxels)
            given = None if stored.given is None else self.channel(stored.given)
            self.decoded[number] = DecodedChannel(coded, stored, given)
        return self.decoded[number]

    def at(self, coordinates: Tensor, columns: Sequence[int]) -> Tensor:
        """Outputs float64 (n, len(columns)); of lossless channels, values."""
        found = [self.channel(column).at(coordinates.to(torch.int32)) for column in columns]
        nothing = torch.empty((len(coordinates), 0), dtype=torch.float64, device=coordinates.device)
        return torch.stack(found, dim=1) if found else nothing

    def active(self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]) -> list[Tensor]:
        """Outputs float64; of lossless channels, values."""
        return [self._active(topology, chosen) for topology, chosen in zip(topologies, columns, strict=True)]

    def _active(self, topology: Topology, columns: Sequence[int]) -> Tensor:
        if columns and all(self.channel(column).topology is topology for column in columns):
            return torch.stack([self.channel(column).all() for column in columns], dim=1)
        return self.at(topology.coordinates(), columns)


class DecodedChannel:
    """The values of a channel, region by region as they are asked for."""

    def __init__(self, coded: CodedChannel, stored: StoredChannel, given: DecodedChannel | None) -> None:
        self.topology = topology = coded.topology
        self.stored = stored
        self.lossless = None if stored.lossless is None else stored.lossless.to(topology.device)
        linear = linear_units(coded.minimum, coded.maximum, stored.scale)
        units = linear if self.lossless is None else self.lossless.palette.units
        self.surroundings = Surroundings(coded.grid, coded.exact, coded.component, units)
        self.given = given
        self.model = stored.model.to(topology.device)
        self.corners = region_corners(topology.leaf_origins)
        self.keys = leaf_keys(self.corners)
        self.done = torch.zeros(len(self.corners), dtype=torch.bool, device=topology.device)
        nothing = torch.zeros(topology.leaf_voxel_count, dtype=torch.int32, device=topology.device)
        self.whole, self.values = self.surroundings.whole(topology, nothing)
        self.rows = self.whole.place_rows(topology.places()) if len(coded.exact.places) else None

    def all(self) -> Tensor:
        """Normalised values float64 (N,), by row; of a lossless channel the values."""
        self.decode(self.corners)
        count = self.topology.leaf_voxel_count
        return torch.cat([self._values(slice(first, first + PART_VALUES)) for first in range(0, max(1, count), PART_VALUES)])

    def at(self, coordinates: Tensor) -> Tensor:
        """The same float64 (n,) at integer coordinates (n, 3); 0 where the channel has no voxel."""
        rows = self.topology.voxel_rows(coordinates)
        here = rows >= 0
        self.decode(region_corners(coordinates[here]))
        result = torch.zeros(len(coordinates), dtype=torch.float64, device=coordinates.device)
        result[here] = self._values(rows[here]).to(result.device)
        return result

    def _values(self, rows: Tensor | slice) -> Tensor:
        units = self.values[rows if self.rows is None else self.rows[rows]]
        if self.lossless is not None:
            return in_double(self.lossless.palette.values(units, self.lossless.rest[rows]))
        return (in_double(units) if self.stored.offsets is None else self.stored.offsets.add(units)) / self.stored.scale

    def decode(self, corners: Tensor) -> None:
        """Decode those of the regions at `corners` (R, 3) that the channel has and that are not decoded yet."""
        if not len(self.keys) or not len(corners):
            return
        keys = leaf_keys(corners)
        places = torch.searchsorted(self.keys, keys).clamp_max(len(self.keys) - 1)
        places = places[self.keys[places] == keys]
        places = places[~self.done[places]]
        if not len(places):
            return
        asked, given = self.corners[places], None
        if self.given is not None:
            self.given.decode(asked)
            given = (self.given.whole, self.given.values)
        codes = [self.stored.codes[place] for place in places.tolist()]
        setting = Setting(self.topology, given, self.surroundings if self.stored.surrounded else None)
        rows, values = decode_regions(setting, asked, codes, self.stored.channel, self.model)
        self.values[rows if self.rows is None else self.rows[rows]] = values
        self.done[places] = True
