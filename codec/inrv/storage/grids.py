"""Grids as manifest entries and chunks, and back."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import (
    Arrays,
    Chunk,
    Component,
    Container,
    GridEntry,
    pack_tensors,
    stored_size,
    unpack_tensors,
)
from inrv.container.layout import GRID_CHUNKS
from inrv.container.manifest import Corner
from inrv.errors import FormatError, OptionError
from inrv.grids import (
    COMPONENTS,
    LEAF_VOXELS,
    FrequentValues,
    Grid,
    LeafValues,
    Normalisation,
    Topology,
    Transform,
)
from inrv.grids.thresholds import ABOVE
from inrv.storage.metadata import restore_metadata, store_metadata
from inrv.storage.topology import (
    MaskDecoder,
    StoredTopologies,
    StoredTopology,
    store_topologies,
)
from inrv.storage.values import (
    has_inactive,
    masks_of,
    pack_exact,
    pack_frequent,
    pack_inactive,
    unpack_exact,
    unpack_frequent,
    unpack_inactive,
)
from inrv.support.forks import renew_in_children

AXIS = 4  # rows and columns of a transform's matrix


@dataclass(frozen=True, eq=False)
class PreparedGrid:
    """A grid, and what a file stores of it beside the field.

    grid: all of the grid
    normalisation: range of each component over the voxels that the field codes
    frequent: active leaf voxels that the field does not code, because many of them share a value
    exact: others that it does not code: those that are not finite, and extremes
    spans: float64 (C,) of each component the range of its active values but for exact ones, to
        which qualities relate
    bounds: the largest error that codes of each component may make; None where no bound is asked
    active_voxels: active leaf voxels, over which the PSNR is: those of the grid as it is to come
        back, which a whole-leaf form has more of, without NaN and infinity
    frame: place of its frame in time, among those of the file
    lossless: whether the field gives every value exactly
    source: the grid before its values were rounded, for the field to code the rounded ones without
        loss; None where they were not
    threshold: of a whole-leaf topology: voxels whose decoded value scores above it are active
    threshold_rule: how values score, see inrv.grids.thresholds
    topology_of: number of the grid whose decoded topology a whole-leaf one has, in place of a
        threshold of its own
    outliers: values of active leaf voxels that replace those of the field
    """

    grid: Grid
    normalisation: Normalisation
    frequent: FrequentValues
    exact: LeafValues
    spans: NDArray[np.float64]
    bounds: tuple[float, ...] | None
    active_voxels: int
    frame: int = 0
    lossless: bool = False
    source: Grid | None = None
    threshold: float | None = None
    threshold_rule: str = ABOVE
    topology_of: int | None = None
    outliers: LeafValues | None = None

    @cached_property
    def apart(self) -> LeafValues:
        """The frequent and the exact values."""
        return self.exact.joined(self.frequent.leaf_values)

    @cached_property
    def changes(self) -> NDArray[np.float64]:
        """What rounding added to the active leaf voxels: (N, C), 0 where values are not finite."""
        if self.source is None:
            return np.zeros((0, self.grid.components))
        with np.errstate(invalid="ignore"):
            found = self.grid.values.astype(np.float64) - self.source.values
        return np.where(np.isfinite(found), found, 0.0)

    def psnr_of_changes(self, component: int) -> float:
        """The PSNR that rounding leaves to a component, in dB; peak = its span."""
        squared = float(np.square(self.changes[:, component]).sum()) / max(1, self.active_voxels)
        return 10 * math.log10(float(self.spans[component]) ** 2 / squared) if squared else math.inf

    @cached_property
    def bits_apart(self) -> int:
        """Bits that the frequent and the exact values take in a file."""
        topology = self.grid.topology
        stored = pack_frequent(self.frequent, topology), pack_exact(self.exact, topology)
        return 8 * sum(stored_size(pack_tensors(arrays)) for arrays in stored if arrays)

    def psnr_gain(self, component: int) -> float:
        """Return by how much a PSNR over the coded voxels exceeds one over the active ones, in dB.

        The peak is the range of the coded values there, and the span of the active ones here. With
        whole leaves inactive voxels are coded too; values that are stored apart have no error.
        Where all active ones are the same, the peak is the coded range in both.
        """
        voxels = self.coded.topology.leaf_voxel_count / self.active_voxels
        coded, active = self.normalisation.spans[component], self.spans[component]
        narrower = float(coded / active) if active else 1.0
        return 10 * math.log10(voxels) + 20 * math.log10(narrower)

    def without_frequent_values(self) -> PreparedGrid:
        """Return the grid, its frequent values among those that the field codes."""
        bare = replace(self, frequent=FrequentValues.none(self.grid.components))
        return replace(bare, normalisation=Normalisation.fit(bare.coded.values))

    @cached_property
    def coded(self) -> Grid:
        """The grid without the voxels whose values are stored apart: what a field is fitted to."""
        if not len(self.apart.places):
            return self.grid
        topology = self.grid.topology
        left = np.ones(len(self.grid.values), dtype=np.bool_)
        left[topology.place_rows(self.apart.places)] = False
        values = self.grid.values[left]
        return replace(self.grid, topology=without(topology, self.apart), values=values)


def without(topology: Topology, values: LeafValues) -> Topology:
    """Return the topology with the voxels of `values` inactive; itself where there are none."""
    if not len(values.places):
        return topology
    gone = masks_of(values.places, topology.leaf_count)
    return replace(topology, leaf_masks=topology.leaf_masks & ~gone)


def store_grids(grids: Sequence[PreparedGrid], chunks: list[Chunk]) -> tuple[GridEntry, ...]:
    """Append the chunks of every grid to `chunks` and return the manifest entries.

    Equal chunks are stored once. Outputs of the field are numbered over the varying components of
    all grids, in order.
    """
    entries, writer, output = [], _ChunkWriter(chunks), 0
    held = [item.grid.topology for item in grids]
    topologies = store_topologies(held, chunks, _nearest_in_time(grids))
    for item, topology in zip(grids, topologies, strict=True):
        values, components = item.normalisation, []
        ranges = zip(values.minimum.tolist(), values.maximum.tolist(), strict=True)
        for (minimum, maximum), varying in zip(ranges, values.varying.tolist(), strict=True):
            components.append(Component(minimum, maximum, output if varying else None))
            output += varying
        entries.append(_entry(item, topology, tuple(components), writer))
    return tuple(entries)


class _ChunkWriter:
    """Appends chunks of tensors, equal ones once.

    chunks: where they are appended
    """

    def __init__(self, chunks: list[Chunk]) -> None:
        self._chunks = chunks
        self._numbers: dict[Chunk, int] = {}

    def store(self, key: str, arrays: Arrays) -> int | None:
        """Return the number of the chunk that a grid's `key` refers to; None for no tensors."""
        if not arrays:
            return None
        chunk = Chunk(GRID_CHUNKS[key], pack_tensors(arrays))
        if chunk not in self._numbers:
            self._numbers[chunk] = len(self._chunks)
            self._chunks.append(chunk)
        return self._numbers[chunk]


def _entry(
    item: PreparedGrid, topology: int, components: tuple[Component, ...], writer: _ChunkWriter
) -> GridEntry:
    """Store the values of a grid beside the field and return its manifest entry.

    topology: number of its TOPO chunk
    """
    grid, held = item.grid, item.grid.topology
    outliers = LeafValues.none(grid.components) if item.outliers is None else item.outliers
    return GridEntry(
        **described(grid),
        value_type=grid.value_type,
        background=tuple(grid.background.tolist()),
        grid_class=grid.grid_class,
        saved_as_half=grid.saved_as_half,
        active_voxels=held.active_voxel_count,
        leaf_voxels=held.leaf_voxel_count,
        box=_corners(held),
        topology=topology,
        inactive_values=writer.store("inactive_values", pack_inactive(grid)),
        components=components,
        frequent_values=writer.store("frequent_values", pack_frequent(item.frequent, held)),
        exact_values=writer.store("exact_values", pack_exact(item.exact, held)),
        threshold=item.threshold,
        threshold_rule=item.threshold_rule,
        topology_of=item.topology_of,
        outliers=writer.store("outliers", pack_exact(outliers, held)),
    )


def described(grid: Grid) -> dict[str, Any]:
    """Return the keys of a manifest entry that say what a grid is called, and where it lies."""
    return {
        "name": grid.name,
        "vector_type": grid.vector_type,
        "map_type": grid.transform.map_type,
        "matrix": tuple(value for row in grid.transform.matrix for value in row),
        "metadata": store_metadata(grid.metadata),
    }


def _nearest_in_time(grids: Sequence[PreparedGrid]) -> list[int | None]:
    """Return for each grid the place of the one of its name, before it, that is nearest in time."""
    held: dict[str, list[int]] = {}
    found: list[int | None] = []
    for place, item in enumerate(grids):
        others = [
            other for other in held.get(item.grid.name, ()) if grids[other].frame != item.frame
        ]
        found.append(
            min(others, key=lambda other: abs(grids[other].frame - item.frame), default=None)
        )
        held.setdefault(item.grid.name, []).append(place)
    return found


def _corners(topology: Topology) -> tuple[Corner, Corner] | None:
    """Return the corners of the box that a topology fills."""
    return None if topology.box is None else (topology.box.lower, topology.box.upper)


@dataclass(frozen=True, eq=False)
class RestoredGrid:
    """A grid whose active leaf values are not yet decoded.

    grid: all of the grid; its values are NaN
    frequent: values that many voxels have, which the field does not code
    exact: all values that the field does not code, the frequent ones too
    outliers: values that replace those of the field
    """

    grid: Grid
    frequent: FrequentValues
    exact: LeafValues
    outliers: LeafValues


class StoredGrids:
    """The grids of a file by number, each restored once, when it is first asked for.

    The masks of a topology are decoded when they are asked for, region by region; values that the
    field does not code come with all masks. Threads may share it.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._topologies = StoredTopologies(container)
        self._restored: dict[int, RestoredGrid] = {}
        self._checked: set[int] = set()
        renew_in_children(self)

    def new_locks(self) -> None:
        """Begin with a lock that no thread holds."""
        self._lock = threading.RLock()

    @property
    def mask_decoder(self) -> MaskDecoder:
        """How masks are decoded."""
        return self._topologies.decoder

    def __len__(self) -> int:
        return len(self._container.manifest.grids)

    def __getitem__(self, number: int) -> RestoredGrid:
        """Return the grid. Raises FormatError that names it."""
        with self._lock:
            if number not in self._restored:
                entry = self._container.manifest.grids[number]
                with self.naming(number):
                    self._restored[number] = self._restore(entry)
            return self._restored[number]

    def topology(self, number: int) -> Topology | None:
        """Return the topology of a grid; None where there is no such grid. Raises FormatError."""
        if not 0 <= number < len(self):
            return None
        return self._topologies[self._container.manifest.grids[number].topology]

    @contextmanager
    def naming(self, number: int) -> Iterator[None]:
        """Make errors of the format in the block name a grid."""
        try:
            yield
        except FormatError as error:
            name = self._container.manifest.grids[number].name
            raise error.within(f"grid {name!r}") from error

    def check_whole(self, number: int) -> None:
        """Decode all masks of a grid, and check what the manifest says of them.

        Raises FormatError that names the grid.
        """
        if number in self._checked:
            return
        restored, entry = self[number], self._container.manifest.grids[number]
        with self.naming(number):
            _check_whole(entry, restored.grid.topology)
        self._checked.add(number)

    def _restore(self, entry: GridEntry) -> RestoredGrid:
        """Return the grid of a manifest entry."""
        topology, components = self._topologies[entry.topology], COMPONENTS[entry.value_type]
        beside = entry.frequent_values, entry.exact_values, entry.outliers
        too_many = entry.leaf_voxels > topology.leaf_count * LEAF_VOXELS
        if too_many or any(number is not None for number in beside):
            _check_whole(entry, topology)
        grid = self._grid(entry, topology)
        frequent = FrequentValues.none(components)
        if entry.frequent_values is not None:
            frequent = unpack_frequent(self._tensors(entry.frequent_values), topology, components)
        exact, outliers = LeafValues.none(components), LeafValues.none(components)
        if entry.exact_values is not None:
            exact = unpack_exact(self._tensors(entry.exact_values), topology, components)
        if entry.outliers is not None:
            outliers = unpack_exact(self._tensors(entry.outliers), topology, components)
        if np.isin(exact.places, frequent.places).any():
            raise FormatError("S10", "exact_masks mark a voxel that has a frequent value")
        return RestoredGrid(grid, frequent, exact.joined(frequent.leaf_values), outliers)

    def _grid(self, entry: GridEntry, topology: StoredTopology) -> Grid:
        """Return the grid with its tiles and inactive values, its active leaf values NaN."""
        components = COMPONENTS[entry.value_type]
        tile_values = np.empty((0, components), dtype=np.float32)
        inactive = LeafValues.none(components)
        if entry.inactive_values is not None:
            arrays = self._tensors(entry.inactive_values)
            if has_inactive(arrays):
                _check_whole(entry, topology)
            tile_values, inactive = unpack_inactive(arrays, topology, components)
        elif topology.tile_count:
            message = f"{topology.tile_count:,} tiles have no values: inactive_values is null"
            raise FormatError("S7", message)
        transform = restore_transform(entry)
        unknown = np.full((1, components), np.nan, dtype=np.float32)
        return Grid(
            name=entry.name,
            value_type=entry.value_type,
            background=np.array(entry.background, dtype=np.float32),
            topology=topology,
            values=np.broadcast_to(unknown, (entry.leaf_voxels, components)),
            tile_values=tile_values,
            inactive=inactive,
            transform=transform,
            grid_class=entry.grid_class,
            vector_type=entry.vector_type,
            saved_as_half=entry.saved_as_half,
            metadata=restore_metadata(entry.metadata),
        )

    def _tensors(self, number: int) -> Arrays:
        return unpack_tensors(self._container.chunk(number))


def restore_transform(entry: GridEntry) -> Transform:
    """Return the transform of a manifest entry. Raises FormatError."""
    rows = (entry.matrix[first : first + AXIS] for first in range(0, AXIS * AXIS, AXIS))
    try:
        return Transform(entry.map_type, tuple(rows))
    except OptionError as error:
        raise FormatError("S9", str(error)) from error


def _check_whole(entry: GridEntry, topology: Topology) -> None:
    """Check what the manifest says of all voxels of a grid. Raises FormatError."""
    _check_count("active_voxels", entry.active_voxels, topology.active_voxel_count)
    _check_count("leaf_voxels", entry.leaf_voxels, topology.leaf_voxel_count)
    if entry.box != _corners(topology):
        message = f"box: the manifest says {entry.box}, the chunks hold {_corners(topology)}"
        raise FormatError("S6", message)


def _check_count(name: str, stated: int, found: int) -> None:
    if stated != found:
        message = f"{name}: the manifest says {stated:,}, the chunks hold {found:,}"
        raise FormatError("S6", message)
