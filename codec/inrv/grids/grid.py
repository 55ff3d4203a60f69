"""A sparse grid in memory, and the file's worth of grids it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.grids.blocks import (
    LEAF_EDGE,
    LEAF_VOXELS,
    leaf_offsets,
    ragged,
    unpack_masks,
)
from inrv.grids.box import Box
from inrv.grids.metadata import Metadata, check_text, metadata_of
from inrv.grids.passthrough import PassthroughGrid
from inrv.grids.rounding import Rounding
from inrv.grids.topology import Topology
from inrv.grids.transform import Transform
from inrv.support.arrays import as_triple

COMPONENTS = {"float": 1, "vec3s": 3}
SLAB_VOXELS = 1 << 22  # of a dense box filled at a time


@dataclass(frozen=True, eq=False)
class LeafValues:
    """Values of some leaf voxels: inactive ones that are not the background, or exact ones.

    places: int64 (M,) leaf index * 512 + offset, ascending
    values: float32 (M, C)
    """

    places: NDArray[np.int64]
    values: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"<LeafValues of {len(self.places):,} voxels>"

    @staticmethod
    def none(components: int) -> LeafValues:
        """Make a table of no voxel."""
        return LeafValues(np.empty(0, dtype=np.int64), np.empty((0, components), dtype=np.float32))

    def joined(self, other: LeafValues) -> LeafValues:
        """Join both; where they name the same voxel, the other's value stays."""
        if not len(other.places) or not len(self.places):
            return other if len(other.places) else self
        places = np.concatenate([other.places, self.places])
        order = places.argsort(kind="stable")
        places = places[order]
        first = np.diff(places, prepend=-1) > 0
        values = np.concatenate([other.values, self.values])
        return LeafValues(places[first], values.take(order[first], axis=0))

    def of_leaves(self, leaves: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the rows that lie in leaves (n,), and for each row which of the n it lies in."""
        first = np.searchsorted(self.places, leaves * LEAF_VOXELS)
        counts = np.searchsorted(self.places, (leaves + 1) * LEAF_VOXELS) - first
        return ragged(first, counts), np.repeat(np.arange(len(leaves)), counts)

    def within(self, leaves: slice) -> LeafValues:
        """Give the table of a range of leaves, whose first one is then leaf 0."""
        ends = leaves.start * LEAF_VOXELS, leaves.stop * LEAF_VOXELS
        rows = slice(*np.searchsorted(self.places, ends).tolist())
        return LeafValues(self.places[rows] - ends[0], self.values[rows])

    def subset(self, leaves: NDArray[np.int64]) -> LeafValues:
        """Give the table that belongs to the topology's `subset` of the same ascending leaves."""
        rows, leaf = self.of_leaves(leaves)
        places = leaf * LEAF_VOXELS + self.places.take(rows) % LEAF_VOXELS
        return LeafValues(places, self.values.take(rows, axis=0))


@dataclass(frozen=True, eq=False)
class Grid:
    """One grid of float (C = 1) or vec3s (C = 3) values.

    name: the name in the file, without the suffix that tells equal names apart
    value_type: 'float' or 'vec3s'
    background: float32 (C,) the value of every voxel outside leaves and tiles
    topology: leaves, active voxels and tiles
    values: float32 (N, C) active leaf voxels in the order of `topology`: by leaf, then by offset
    tile_values: float32 (T, C) one row a tile of `topology`
    inactive: the inactive leaf voxels whose value is not the background
    transform: from index space to world space
    grid_class: as OpenVDB names it: 'fog volume', 'level set', 'staggered' or 'unknown'
    vector_type: how vectors transform, as OpenVDB names it
    saved_as_half: whether a file is to hold the values as half floats
    metadata: by name
    rounded: how the values were rounded to float32 from the source's numbers; None where they
        are these

    Raises OptionError for a name that is no text, and for what is no metadata.
    """

    name: str
    value_type: str
    background: NDArray[np.float32]
    topology: Topology
    values: NDArray[np.float32]
    tile_values: NDArray[np.float32]
    inactive: LeafValues
    transform: Transform = field(default_factory=Transform)
    grid_class: str = "unknown"
    vector_type: str = "invariant"
    saved_as_half: bool = False
    metadata: Metadata = field(default_factory=dict)
    rounded: Rounding | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "the name of a grid")
        object.__setattr__(self, "metadata", metadata_of(self.metadata, f"grid {self.name!r}"))

    def __repr__(self) -> str:
        active, box = self.topology.active_voxel_count, self.topology.box
        shown = description_of(self.value_type, self.grid_class, active, box)
        return f"<inrv.Grid {self.name!r}: {shown}>"

    @property
    def components(self) -> int:
        """Values a voxel: 1 or 3."""
        return COMPONENTS[self.value_type]

    @property
    def rounding_errors(self) -> tuple[float, ...]:
        """For each component the largest error that rounding a source's number to float32 made."""
        return (0.0,) * self.components if self.rounded is None else self.rounded.errors

    @property
    def rounding(self) -> float:
        """The largest of `rounding_errors`."""
        return max(self.rounding_errors)

    def same_voxels(self, other: Grid) -> bool:
        """Tell whether another grid has the same values at the same voxels, bit for bit.

        It may have another name, other metadata, and lie elsewhere in world space.
        """
        return (
            (self.value_type, self.grid_class, self.saved_as_half, self.rounded)
            == (other.value_type, other.grid_class, other.saved_as_half, other.rounded)
            and all(
                np.array_equal(mine.view(np.int32), theirs.view(np.int32))
                for mine, theirs in (
                    (self.background, other.background),
                    (self.values, other.values),
                    (self.tile_values, other.tile_values),
                    (self.inactive.values, other.inactive.values),
                )
            )
            and np.array_equal(self.inactive.places, other.inactive.places)
            and self.topology.identical(other.topology)
        )

    def with_values(self, values: NDArray[np.float32]) -> Grid:
        """Give the same grid with other values (N, C) on its active leaf voxels."""
        return replace(self, values=values)

    def blocks(self, origins: NDArray[Any]) -> NDArray[np.float32]:
        """Give the values float32 (n, 512, C) of the blocks at `origins` (n, 3), voxel by voxel.

        Inactive voxels have their own value, that of their tile, or the background.
        """
        topology = self.topology
        result = self._background(len(origins), LEAF_VOXELS)
        if topology.tile_count:
            tile = topology.find_tiles(origins)
            result[tile >= 0] = self.tile_values[tile[tile >= 0], None, :]
        leaf = topology.find_leaves(origins)
        present = np.flatnonzero(leaf >= 0)
        leaf = leaf[present]
        result[present] = self.background
        rows, block = self.inactive.of_leaves(leaf)
        offsets = self.inactive.places[rows] % LEAF_VOXELS
        result[present[block], offsets] = self.inactive.values[rows]
        masks = unpack_masks(topology.leaf_masks[leaf])
        active = np.flatnonzero(masks)
        active += (present - np.arange(len(present))).take(active // LEAF_VOXELS) * LEAF_VOXELS
        rows = ragged(topology.starts[leaf], topology.counts[leaf])
        result.reshape(-1, self.components)[active] = self.values.take(rows, axis=0)
        return result

    def _background(self, *shape: int) -> NDArray[np.float32]:
        """Fill an array float32 (*shape, C) with the background."""
        return np.broadcast_to(self.background, (*shape, self.components)).copy()

    def lookup_outside(self, coordinates: NDArray[Any]) -> NDArray[np.float32]:
        """Give the values float32 (n, C) at coordinates that are no active leaf voxels.

        coordinates: integers (n, 3) in index space
        """
        topology = self.topology
        result = self._background(len(coordinates))
        if topology.tile_count:
            tile = topology.find_tiles(coordinates)
            result[tile >= 0] = self.tile_values[tile[tile >= 0]]
        leaf = topology.find_leaves(coordinates)
        result[leaf >= 0] = self.background
        if len(self.inactive.places):
            place = leaf * LEAF_VOXELS + leaf_offsets(coordinates)
            at = np.searchsorted(self.inactive.places, place)
            at = np.minimum(at, len(self.inactive.places) - 1)
            hit = (leaf >= 0) & (self.inactive.places[at] == place)
            result[hit] = self.inactive.values[at[hit]]
        return result

    def lookup(self, coordinates: NDArray[Any]) -> NDArray[np.float32]:
        """Give the exact values float32 (n, C) at coordinates: of voxel, tile or background.

        coordinates: integers (n, 3) in index space
        """
        result = self.lookup_outside(coordinates)
        rows = self.topology.voxel_rows(coordinates)
        result[rows >= 0] = self.values[rows[rows >= 0]]
        return result

    def dense(self, box: Box) -> NDArray[np.float32]:
        """Give the values float32 (X, Y, Z, C) of every voxel of `box`."""
        result = np.empty((*box.shape, self.components), dtype=np.float32)
        (low, *lower), (high, *upper) = box.lower, box.upper
        layer = LEAF_EDGE * box.shape[1] * box.shape[2]
        thickness = max(1, SLAB_VOXELS // layer) * LEAF_EDGE
        for start in range(low // LEAF_EDGE * LEAF_EDGE, high + 1, thickness):
            first, last = max(start, low), min(start + thickness - 1, high)
            slab = Box((first, lower[0], lower[1]), (last, upper[0], upper[1]))
            result[first - low : last - low + 1] = self._slab(slab)
        return result

    def _slab(self, box: Box) -> NDArray[np.float32]:
        """Do what `dense` does at once, from whole blocks."""
        corner = [low // LEAF_EDGE for low in box.lower]
        counts = [high // LEAF_EDGE - low + 1 for low, high in zip(corner, box.upper, strict=True)]
        cells = self.blocks(box.leaf_origins()).reshape(
            *counts, LEAF_EDGE, LEAF_EDGE, LEAF_EDGE, -1
        )
        edges = [LEAF_EDGE * count for count in counts]
        whole = cells.transpose(0, 3, 1, 4, 2, 5, 6).reshape(*edges, -1)
        x, y, z = (low % LEAF_EDGE for low in box.lower)
        return whole[x : x + box.shape[0], y : y + box.shape[1], z : z + box.shape[2]]


@dataclass(frozen=True, eq=False)
class SparseVolume:
    """The grids of one file, and the file's own metadata.

    grids: the grids that are coded
    metadata: of the file, by name
    passthrough: the grids that are not coded, each at its position; `grids` take the other places,
        in their order
    vdb_version: file version, and major and minor version of the library, that a .vdb file is
        written as

    Raises OptionError where one of them is of another kind.
    """

    grids: tuple[Grid, ...]
    metadata: Metadata = field(default_factory=dict)
    passthrough: tuple[PassthroughGrid, ...] = ()
    vdb_version: tuple[int, int, int] = (224, 10, 0)

    def __post_init__(self) -> None:
        for name, kind in (("grids", Grid), ("passthrough", PassthroughGrid)):
            object.__setattr__(self, name, _all_of(kind, getattr(self, name), name))
        object.__setattr__(self, "metadata", metadata_of(self.metadata, "the volume"))
        version = as_triple(self.vdb_version, "vdb_version")
        object.__setattr__(self, "vdb_version", version)

    def __repr__(self) -> str:
        grids = [f"  {grid!r}" for grid in (*self.grids, *self.passthrough)]
        return "\n".join([f"<inrv.SparseVolume of {len(grids)} grids>", *grids])

    @property
    def positions(self) -> tuple[int, ...]:
        """The place of each of `grids` among all grids of the file."""
        taken = {grid.position for grid in self.passthrough}
        count = len(self.grids) + len(self.passthrough)
        return tuple(place for place in range(count) if place not in taken)

    @property
    def active_voxel_count(self) -> int:
        """Active voxels of all grids together."""
        return sum(grid.topology.active_voxel_count for grid in self.grids)

    def choose(self, wanted: Sequence[str | int]) -> SparseVolume:
        """Give the volume of some of the grids, coded or passed through.

        wanted: names (the first grid of each) or positions, in the order that is wanted
        Raises OptionError where there is no such grid.
        """
        held: dict[int, Grid | PassthroughGrid] = dict(zip(self.positions, self.grids, strict=True))
        held |= {grid.position: grid for grid in self.passthrough}
        chosen = list(dict.fromkeys(_position(held, key) for key in wanted))
        moved = {position: place for place, position in enumerate(chosen)}
        grids = [held[position] for position in chosen]
        passed = [grid.moved(moved) for grid in grids if isinstance(grid, PassthroughGrid)]
        return replace(
            self,
            grids=tuple(grid for grid in grids if isinstance(grid, Grid)),
            passthrough=tuple(passed),
        )


def description_of(value_type: str, grid_class: str, active: int, box: Box | None) -> str:
    """Tell people of a grid: its type, its class, how many voxels are active, and where."""
    where = "" if box is None else f", box {box.lower} to {box.upper}"
    return f"{value_type}, {grid_class}, {active:,} active voxels{where}"


def _all_of(kind: type[Any], given: Any, name: str) -> tuple[Any, ...]:
    """Give some grids as a tuple. Raises OptionError where one is of another kind."""
    if not isinstance(given, (tuple, list)):
        raise OptionError(
            f"{name} of a volume is of type {type(given).__name__}: give a tuple of "
            f"inrv.{kind.__name__}"
        )
    for place, grid in enumerate(given):
        if not isinstance(grid, kind):
            raise OptionError(
                f"{name}[{place}] of a volume is of type {type(grid).__name__}, not "
                f"inrv.{kind.__name__}"
            )
    return tuple(given)


def _position(held: dict[int, Grid | PassthroughGrid], wanted: str | int) -> int:
    """Find the position of the grid of that name or position. Raises OptionError."""
    for position in sorted(held):
        if wanted in (position, held[position].name):
            return position
    names = ", ".join(repr(held[position].name) for position in sorted(held))
    raise OptionError(f"no grid {wanted!r}; the volume holds {names or 'none'}")
