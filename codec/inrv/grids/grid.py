"""A sparse grid in memory, and the file's worth of grids it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.grids.box import Box
from inrv.grids.metadata import Metadata
from inrv.grids.passthrough import PassthroughGrid
from inrv.grids.rounding import Rounding
from inrv.grids.topology import LEAF_EDGE, LEAF_VOXELS, Topology, leaf_offsets, offset_coordinates, unpack_masks
from inrv.grids.transform import Transform

COMPONENTS = {"float": 1, "vec3s": 3}
SLAB_VOXELS = 1 << 22  # of a dense box filled at a time


@dataclass(frozen=True, eq=False)
class LeafValues:
    """Values of some leaf voxels: of inactive ones that are not the background, as inside a level set, or of kept ones.

    places  int64 (M,)      leaf index * 512 + offset, ascending
    values  float32 (M, C)
    """

    places: Tensor
    values: Tensor

    @staticmethod
    def none(components: int) -> LeafValues:
        """No voxel."""
        places = torch.empty(0, dtype=torch.int64, device="cpu")
        return LeafValues(places, torch.empty((0, components), dtype=torch.float32, device="cpu"))

    def joined(self, other: LeafValues) -> LeafValues:
        """Both; where they name the same voxel, the other's value."""
        if not len(other.places) or not len(self.places):
            return other if len(other.places) else self
        places, order = torch.cat([other.places, self.places]).sort(stable=True)
        first = places.diff(prepend=places.new_tensor([-1])) > 0
        return LeafValues(places[first], torch.cat([other.values, self.values])[order[first]])

    def to(self, device: torch.device | str) -> LeafValues:
        """The same values on another device."""
        return LeafValues(self.places.to(device), self.values.to(device))

    def of_leaves(self, leaves: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of this table that lie in the leaves at indices `leaves` (n,), and for each which of the n it is."""
        places = self.places.contiguous()
        first = torch.searchsorted(places, leaves * LEAF_VOXELS)
        counts = torch.searchsorted(places, (leaves + 1) * LEAF_VOXELS) - first
        return ragged(first, counts), torch.repeat_interleave(torch.arange(len(leaves), device=leaves.device), counts)

    def subset(self, leaves: Tensor) -> LeafValues:
        """The table of the topology's `subset` with the same ascending `leaves`."""
        rows, leaf = self.of_leaves(leaves)
        return LeafValues(leaf * LEAF_VOXELS + self.places[rows] % LEAF_VOXELS, self.values[rows])


@dataclass(frozen=True, eq=False)
class Grid:
    """One OpenVDB grid of float (C = 1) or vec3s (C = 3) values.

    values       float32 (N, C)  active leaf voxels, in the order of `topology`: leaf by leaf, then by offset
    tile_values  float32 (T, C)  one row a tile of `topology`
    background   float32 (C,)    the value of every voxel outside leaves and tiles
    rounded      how the values were rounded to float32 from the source's numbers; None where they are these
    """

    name: str
    value_type: str
    background: Tensor
    topology: Topology
    values: Tensor
    tile_values: Tensor
    inactive: LeafValues
    transform: Transform = field(default_factory=Transform)
    grid_class: str = "unknown"
    vector_type: str = "invariant"
    saved_as_half: bool = False
    metadata: Metadata = field(default_factory=dict)
    rounded: Rounding | None = None

    @property
    def components(self) -> int:
        """Values a voxel: 1 or 3."""
        return COMPONENTS[self.value_type]

    @property
    def rounding_errors(self) -> tuple[float, ...]:
        """For each component the largest error of a value against the source's number, from rounding to float32."""
        return (0.0,) * self.components if self.rounded is None else self.rounded.errors

    @property
    def rounding(self) -> float:
        """The largest of `rounding_errors`."""
        return max(self.rounding_errors)

    def with_values(self, values: Tensor) -> Grid:
        """The same grid with other values (N, C) on its active leaf voxels."""
        return replace(self, values=values)

    def blocks(self, origins: Tensor) -> Tensor:
        """Values float32 (n, 512, C) of the 8^3 blocks at `origins` (n, 3), inactive voxels included."""
        topology = self.topology
        result = self.background.repeat(len(origins), LEAF_VOXELS, 1)
        if topology.tile_count:
            tile = topology.find_tiles(origins)
            result[tile >= 0] = self.tile_values[tile[tile >= 0], None, :]
        leaf = topology.find_leaves(origins)
        present = (leaf >= 0).nonzero()[:, 0]
        leaf = leaf[present]
        inside = self.background.repeat(len(present), LEAF_VOXELS, 1)
        self._fill_inactive(inside, leaf)
        inside[unpack_masks(topology.leaf_masks[leaf])] = self.values[ragged(topology.starts[leaf], topology.counts[leaf])]
        result[present] = inside
        return result

    def _fill_inactive(self, blocks: Tensor, leaf: Tensor) -> None:
        """Write the off-background inactive values of leaves `leaf` (n,) into `blocks` (n, 512, C)."""
        rows, block = self.inactive.of_leaves(leaf)
        blocks[block, self.inactive.places[rows] % LEAF_VOXELS] = self.inactive.values[rows]

    def lookup_outside(self, coordinates: Tensor) -> Tensor:
        """Values float32 (n, C) at integer coordinates (n, 3) that are not active leaf voxels: tile, inactive or background."""
        topology = self.topology
        result = self.background.repeat(len(coordinates), 1)
        if topology.tile_count:
            tile = topology.find_tiles(coordinates)
            result[tile >= 0] = self.tile_values[tile[tile >= 0]]
        leaf = topology.find_leaves(coordinates)
        result[leaf >= 0] = self.background
        if len(self.inactive.places):
            place = leaf * LEAF_VOXELS + leaf_offsets(coordinates)
            at = torch.searchsorted(self.inactive.places, place).clamp_max(len(self.inactive.places) - 1)
            hit = (leaf >= 0) & (self.inactive.places[at] == place)
            result[hit] = self.inactive.values[at[hit]]
        return result

    def lookup(self, coordinates: Tensor) -> Tensor:
        """Values float32 (n, C) at integer index-space coordinates (n, 3): voxel, tile or background, exactly."""
        result = self.lookup_outside(coordinates)
        rows = self.topology.voxel_rows(coordinates)
        result[rows >= 0] = self.values[rows[rows >= 0]]
        return result

    def dense(self, box: Box) -> Tensor:
        """Values float32 (X, Y, Z, C) of every voxel of `box`."""
        result = self.background.new_empty((*box.shape, self.components))
        (low, *lower), (high, *upper) = box.lower, box.upper
        thickness = max(1, SLAB_VOXELS // (LEAF_EDGE * box.shape[1] * box.shape[2])) * LEAF_EDGE
        for start in range(low // LEAF_EDGE * LEAF_EDGE, high + 1, thickness):
            first, last = max(start, low), min(start + thickness - 1, high)
            slab = Box((first, lower[0], lower[1]), (last, upper[0], upper[1]))
            result[first - low : last - low + 1] = self._slab(slab)
        return result

    def _slab(self, box: Box) -> Tensor:
        """`dense` at once, from whole blocks."""
        corner = [low // LEAF_EDGE for low in box.lower]
        counts = [high // LEAF_EDGE - low + 1 for low, high in zip(corner, box.upper, strict=True)]
        cells = self.blocks(box.leaf_origins(self.background.device)).reshape(*counts, LEAF_EDGE, LEAF_EDGE, LEAF_EDGE, -1)
        whole = cells.permute(0, 3, 1, 4, 2, 5, 6).reshape(*[LEAF_EDGE * count for count in counts], -1)
        x, y, z = (low % LEAF_EDGE for low in box.lower)
        return whole[x : x + box.shape[0], y : y + box.shape[1], z : z + box.shape[2]]

    def to(self, device: torch.device | str) -> Grid:
        """The same grid on another device."""
        return replace(
            self,
            background=self.background.to(device),
            topology=self.topology.to(device),
            values=self.values.to(device),
            tile_values=self.tile_values.to(device),
            inactive=self.inactive.to(device),
        )


def ragged(first: Tensor, counts: Tensor) -> Tensor:
    """Indices first[i], first[i] + 1, ... (counts[i] of them) for every i, joined: int64 (counts.sum(),)."""
    skipped = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=first.device) + torch.repeat_interleave(first - skipped, counts)


def block_coordinates(origins: Tensor) -> Tensor:
    """Coordinates int64 (n * 512, 3) of every voxel of the 8^3 blocks at `origins` (n, 3)."""
    return (origins.to(torch.int64)[:, None, :] + offset_coordinates(origins.device)).reshape(-1, 3)


def leaves_within(origins: Tensor, box: Box) -> Tensor:
    """Those of the leaf origins (n, 3) whose leaf touches `box`."""
    upper, lower = origins.new_tensor(box.upper), origins.new_tensor(box.lower)
    return origins[((origins <= upper) & (origins + LEAF_EDGE - 1 >= lower)).all(dim=1)]


@dataclass(frozen=True, eq=False)
class SparseVolume:
    """The grids of one .vdb file, and the file's own metadata.

    carried      the grids that are not coded, by position; `grids` take the other places, in order
    vdb_version  file version and library version, major and minor, that the file is written as
    """

    grids: tuple[Grid, ...]
    metadata: Metadata = field(default_factory=dict)
    passthrough: tuple[PassthroughGrid, ...] = ()
    vdb_version: tuple[int, int, int] = (224, 10, 0)

    @property
    def positions(self) -> tuple[int, ...]:
        """The place of each of `grids` among all grids of the file."""
        taken = {grid.position for grid in self.passthrough}
        return tuple(place for place in range(len(self.grids) + len(self.passthrough)) if place not in taken)

    @property
    def active_voxel_count(self) -> int:
        """Active voxels of all grids together."""
        return sum(grid.topology.active_voxel_count for grid in self.grids)

    def choose(self, wanted: Sequence[str | int]) -> SparseVolume:
        """The coded and carried grids of these names (the first of each) or positions, in that order.

        Raises OptionError where there is none.
        """
        held = dict(zip(self.positions, self.grids, strict=True)) | {grid.position: grid for grid in self.passthrough}
        chosen = list(dict.fromkeys(self._position(key) for key in wanted))
        moved = {position: place for place, position in enumerate(chosen)}
        grids = [held[position] for position in chosen]
        return replace(
            self,
            grids=tuple(grid for grid in grids if isinstance(grid, Grid)),
            passthrough=tuple(grid.moved(moved) for grid in grids if isinstance(grid, PassthroughGrid)),
        )

    def _position(self, wanted: str | int) -> int:
        names = dict(zip(self.positions, (grid.name for grid in self.grids), strict=True))
        names |= {grid.position: grid.name for grid in self.passthrough}
        for position in sorted(names):
            if wanted in (position, names[position]):
                return position
        raise OptionError(f"no grid {wanted!r}; the volume holds {', '.join(repr(names[n]) for n in sorted(names)) or 'none'}")
