"""A sparse grid in memory, and the file's worth of grids it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from inrv.grids.box import Box
from inrv.grids.metadata import Metadata
from inrv.grids.topology import LEAF_VOXELS, Topology, leaf_offsets, unpack_masks
from inrv.grids.transform import Transform

COMPONENTS = {"float": 1, "vec3s": 3}


@dataclass(frozen=True, eq=False)
class InactiveValues:
    """Values of inactive leaf voxels that are not the background, as inside a level set.

    places  int64 (M,)      leaf index * 512 + offset, ascending
    values  float32 (M, C)
    """

    places: Tensor
    values: Tensor

    @staticmethod
    def none(components: int) -> InactiveValues:
        """All inactive leaf voxels hold the background."""
        return InactiveValues(torch.empty(0, dtype=torch.int64), torch.empty((0, components)))


@dataclass(frozen=True, eq=False)
class Grid:
    """One OpenVDB grid of float (C = 1) or vec3s (C = 3) values.

    values       float32 (N, C)  active leaf voxels, in the order of `topology`: leaf by leaf, then by offset
    tile_values  float32 (T, C)  one row a tile of `topology`
    background   float32 (C,)    the value of every voxel outside leaves and tiles
    """

    name: str
    value_type: str
    background: Tensor
    topology: Topology
    values: Tensor
    tile_values: Tensor
    inactive: InactiveValues
    transform: Transform = field(default_factory=Transform)
    grid_class: str = "unknown"
    vector_type: str = "invariant"
    saved_as_half: bool = False
    metadata: Metadata = field(default_factory=dict)

    @property
    def components(self) -> int:
        """Values a voxel: 1 or 3."""
        return COMPONENTS[self.value_type]

    def with_values(self, values: Tensor) -> Grid:
        """The same grid with other values (N, C) on its active leaf voxels."""
        return replace(self, values=values)

    def leaf_blocks(self, first: int, last: int) -> Tensor:
        """All 512 values of leaves first to last (excluded), inactive ones included: float32 (n, 512, C)."""
        topology = self.topology
        blocks = self.background.repeat(last - first, LEAF_VOXELS, 1)
        span = torch.searchsorted(self.inactive.places, torch.tensor([first, last]) * LEAF_VOXELS)
        inner = slice(int(span[0]), int(span[1]))
        blocks.view(-1, self.components)[self.inactive.places[inner] - first * LEAF_VOXELS] = self.inactive.values[inner]
        rows = slice(int(topology.starts[first]), int(topology.starts[last]))
        blocks[unpack_masks(topology.leaf_masks[first:last])] = self.values[rows]
        return blocks

    def lookup(self, coordinates: Tensor) -> Tensor:
        """Values float32 (n, C) at integer index-space coordinates (n, 3): voxel, tile or background, exactly."""
        topology = self.topology
        result = self.background.expand(len(coordinates), -1).clone()
        tiles = topology.find_tiles(coordinates)
        result[tiles >= 0] = self.tile_values[tiles[tiles >= 0]]
        result = self._lookup_inactive(coordinates, result)
        rows = topology.voxel_rows(coordinates)
        result[rows >= 0] = self.values[rows[rows >= 0]]
        return result

    def _lookup_inactive(self, coordinates: Tensor, result: Tensor) -> Tensor:
        leaf = self.topology.find_leaves(coordinates)
        result[leaf >= 0] = self.background
        if len(self.inactive.places):
            place = leaf * LEAF_VOXELS + leaf_offsets(coordinates)
            at = torch.searchsorted(self.inactive.places, place).clamp_max(len(self.inactive.places) - 1)
            hit = (leaf >= 0) & (self.inactive.places[at] == place)
            result[hit] = self.inactive.values[at[hit]]
        return result

    def dense(self, box: Box) -> Tensor:
        """Values float32 (X, Y, Z, C) of every voxel of `box`."""
        result = self.background.repeat(*box.shape, 1)
        lower = torch.tensor(box.lower)
        for index in range(self.topology.tile_count):
            origin, edge = self.topology.tile_origins[index].tolist(), int(self.topology.tile_edges[index])
            tile = box.intersection(Box(tuple(origin), tuple(o + edge - 1 for o in origin)))
            if tile is not None:
                result[_slices(tile, box)] = self.tile_values[index]
        touching = _leaves_in(self.topology, box)
        for part in touching.split(1 << 14):
            self._place_leaves(result, part, lower, box)
        return result

    def _place_leaves(self, result: Tensor, leaves: Tensor, lower: Tensor, box: Box) -> None:
        from inrv.grids.topology import offset_coordinates

        places = self.topology.leaf_origins[leaves].to(torch.int64)[:, None, :] + offset_coordinates()
        coordinates = places.reshape(-1, 3)
        coordinates = coordinates[box.contains(coordinates)]
        x, y, z = (coordinates - lower).unbind(1)
        result[x, y, z] = self.lookup(coordinates)


def _slices(inner: Box, outer: Box) -> tuple[slice, slice, slice]:
    x, y, z = (slice(i - o, j - o + 1) for i, j, o in zip(inner.lower, inner.upper, outer.lower, strict=True))
    return x, y, z


def _leaves_in(topology: Topology, box: Box) -> Tensor:
    upper, lower = torch.tensor(box.upper), torch.tensor(box.lower)
    origins = topology.leaf_origins
    return ((origins <= upper) & (origins + 7 >= lower)).all(dim=1).nonzero()[:, 0]


@dataclass(frozen=True, eq=False)
class SparseVolume:
    """The grids of one .vdb file, by position, and the file's own metadata."""

    grids: tuple[Grid, ...]
    metadata: Metadata = field(default_factory=dict)

    @property
    def active_voxel_count(self) -> int:
        """Active voxels of all grids together."""
        return sum(grid.topology.active_voxel_count for grid in self.grids)
