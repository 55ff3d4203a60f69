"""The values of one grid: what a voxel has, from the field, exact values, tiles, background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from inrv.container import Container, GridEntry, Part
from inrv.core.sample import put_values
from inrv.decoding.bricks import BrickCache, Bricks
from inrv.errors import FormatError
from inrv.fields.seam import ContinuousOutputs, Outputs, RegionTensors
from inrv.grids import NODE_EDGE, Box, Grid, LeafValues, Topology
from inrv.grids.portions import at_level
from inrv.grids.thresholds import thresholded
from inrv.storage import StoredGrids, masks_of, unread_masks
from inrv.support.parallel import in_threads

if TYPE_CHECKING:
    from inrv.decoding.gpu_bricks import GpuBricks


class GridValues:
    """Brings the field's outputs to the values of one grid's voxels.

    entry: of the grid in the manifest
    outputs_of: opens the field; called when a value is first asked for
    others: all grids of the file, of which one may have the topology that this one takes over
    cache: where decoded regions are kept
    """

    def __init__(
        self,
        container: Container,
        stored: StoredGrids,
        number: int,
        outputs_of: Callable[[], Outputs],
        others: Sequence[GridValues],
        cache: BrickCache,
    ) -> None:
        self.container = container
        self.entry: GridEntry = container.manifest.grids[number]
        self.number = number
        self._stored = stored
        self._outputs_of = outputs_of
        self._others = others
        self._cache = cache

    @property
    def columns(self) -> list[int]:
        """The outputs of the field that are this grid's varying components, in order."""
        return [
            component.output for component in self.entry.components if component.output is not None
        ]

    @property
    def outputs(self) -> Outputs:
        """The field of the file, open."""
        return self._outputs_of()

    @cached_property
    def _decoded_topology(self) -> tuple[Grid, LeafValues]:
        """The grid without the values of its active leaf voxels, and the exact ones among those."""
        restored = self._stored[self.number]
        exact = restored.exact.joined(restored.outliers)
        if self.entry.threshold is not None or self.entry.topology_of is not None:
            self._stored.check_whole(self.number)
        if self.entry.topology_of is not None:
            return _in_topology(
                restored.grid, exact, self._others[self.entry.topology_of].template.topology
            )
        if self.entry.threshold is None:
            return restored.grid, exact
        check_limits(self.container, self.outputs, [self])
        values = self.leaf_values(restored.grid.topology, clamp=False)
        grid, leaves = thresholded(
            restored.grid, values, self.entry.threshold_rule, self.entry.threshold, exact
        )
        return grid, exact.subset(leaves)

    @property
    def outline(self) -> Grid:
        """The grid without the values of its active leaf voxels; its masks need not be decoded."""
        return self._decoded_topology[0]

    @property
    def template(self) -> Grid:
        """The same; all its masks are decoded and checked."""
        self._stored.check_whole(self.number)
        return self.outline

    def whole_topology(self) -> Topology:
        """The topology of the template."""
        return self.template.topology

    @cached_property
    def exact_rows(self) -> NDArray[np.int64]:
        """Rows int64 (K,), ascending, of the active leaf voxels with exact values."""
        return self.template.topology.place_rows(self._decoded_topology[1].places)

    @property
    def continuous(self) -> bool:
        """Whether the field gives values of single voxels, and has gradients."""
        return self.outputs.module is not None

    @cached_property
    def bricks(self) -> Bricks:
        """The decoded regions of the grid."""
        return Bricks(self.outline, self._of_leaves, self.read_ahead, self._cache)

    @cached_property
    def gpu_bricks(self) -> GpuBricks | None:
        """The same on the GPU on which the field decodes regions; None where it does not."""
        if not isinstance(self.outputs, RegionTensors):
            return None
        import torch

        from inrv.decoding.gpu_bricks import GpuBricks, table_of

        table = table_of(self)
        if table is None:
            return None
        kept_type = getattr(torch, self._cache.gpu_dtype)
        return GpuBricks(self, table, self.outputs, self._cache.most_bytes, kept_type)

    def read_ahead(self, runs: Sequence[slice], level: int = 0) -> None:
        """Have the file read, by as few requests as can be, what regions will be decoded from.

        A field that decodes many regions faster together does so now.

        runs: the leaves of each
        level: of detail
        """
        self.fetch(runs, level)
        if self.columns:
            self.outputs.decode_ahead(self.outline.topology, runs, self.columns, level)

    def fetch(self, runs: Sequence[slice], level: int = 0) -> None:
        """Have the file read for regions, of which nothing is decoded yet."""
        if not self.container.distant:
            return
        topology, parts = self.outline.topology, list[Part]()
        for leaves in runs:
            parts += unread_masks(topology, leaves)
            if self.columns:
                parts += self.outputs.unread(topology, leaves, self.columns, level)
        self.container.fetch(parts)

    def _of_leaves(self, leaves: slice) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Masks uint8 (L, 64) of the leaves of a region, and their voxels' values float32 (n, C).

        leaves: all of the region
        """
        topology = self.outline.topology
        with self.naming():
            masks = topology.masks_at(leaves)
            found = np.empty((topology.voxels_in(leaves), 0), dtype=np.float32)
            if self.columns:
                check_work(self.container, self.outputs, len(found))
                found = self.outputs.region_values(topology, leaves, self.columns)
        values = self.with_constants(found)
        exact = self.exact_within(leaves)
        if len(exact.places):
            put_values(masks_of(exact.places, len(masks)), masks, exact.values, values)
        return masks, values

    def naming(self) -> AbstractContextManager[None]:
        """Errors within name the grid."""
        return self._stored.naming(self.number)

    def exact_within(self, leaves: slice) -> LeafValues:
        """The exact values of some leaves, whose numbers count from the first of these."""
        return self._decoded_topology[1].within(leaves)

    def read_ahead_whole(self) -> None:
        """Have the file read for all regions; `Outputs.values` decodes them together."""
        ends = self.outline.topology.region_ends.tolist()
        self.fetch([slice(*run) for run in pairwise(ends)])

    def voxels(self, coordinates: NDArray[Any]) -> NDArray[np.float32]:
        """Give values float32 (n, C) of the voxels at integer coordinates (n, 3).

        They come from the field, a tile or the background.
        """
        if not self.continuous:
            whole = [((0.0, 0.0, 0.0), slice(0, len(self.entry.components)))]
            return self.bricks.sample(coordinates.astype(np.float64), True, whole)[0]
        result = self.template.lookup_outside(coordinates)
        rows = self.template.topology.voxel_rows(coordinates)
        active = np.flatnonzero(rows >= 0)
        if len(active):
            found = self._from_field(coordinates[active].astype(np.int32))
            result[active] = self.with_exact(found, rows[active])
        return result

    def _from_field(self, coordinates: NDArray[np.int32]) -> NDArray[np.float32]:
        """Give values float32 (n, C) of active leaf voxels (n, 3), but for exact ones."""
        if not self.columns:
            return self.with_constants(np.empty((len(coordinates), 0), dtype=np.float32))
        opened = cast(ContinuousOutputs, self.outputs)
        return self.with_constants(opened.values_at(coordinates, self.columns))

    def leaf_values(self, topology: Topology, clamp: bool = True) -> NDArray[np.float32]:
        """Values float32 (N, C) of the leaf voxels of a part of the grid, but for exact ones.

        clamp: whether they are kept within the range of their component
        """
        if not self.columns:
            nothing = np.empty((topology.leaf_voxel_count, 0), dtype=np.float32)
            return self.with_constants(nothing)
        return self.with_constants(
            self.outputs.values([lambda: topology], [self.columns], clamp)[0]
        )

    def with_constants(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values float32 (n, C), of which those of the varying components (n, c) were found."""
        components = self.entry.components
        if found.shape[1] == len(components):
            return found
        values = np.empty((len(found), len(components)), dtype=np.float32)
        varying = [part.output is not None for part in components]
        values[:, varying] = found
        values[:, np.invert(varying)] = [part.minimum for part in components if part.output is None]
        return values

    def with_exact(
        self, values: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Put exact values in place of the field's.

        values: float32 (n, C) of active leaf voxels
        rows: int64 (n,) of these
        """
        if len(self.exact_rows):
            at, hit = self.exact_among(rows)
            values[hit] = self._decoded_topology[1].values[at]
        return values

    def exact_among(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the exact values that belong to some rows (n,).

        Returns their numbers, and where in `rows` they stand.
        """
        at = np.searchsorted(self.exact_rows, rows).clip(max=len(self.exact_rows) - 1)
        hit = np.flatnonzero(self.exact_rows[at] == rows)
        return at[hit], hit

    @property
    def exact_values(self) -> NDArray[np.float32]:
        """The values float32 (K, C) of `exact_rows`."""
        return self._decoded_topology[1].values

    def filled(self, found: NDArray[np.float32]) -> Grid:
        """The grid with the values (N, c) of its varying components in its leaf voxels."""
        values = self.with_constants(found)
        topology, exact = self.template.topology, self._decoded_topology[1]
        if len(exact.places):
            some = masks_of(exact.places, topology.leaf_count)
            put_values(some, topology.leaf_masks, exact.values, values)
        return self.template.with_values(values)

    def within(self, box: Box) -> Grid:
        """The leaves of the grid that touch `box`, decoded, and all tiles."""
        template = self.template if self.continuous else self.outline
        leaves = template.topology.find_leaves(box.leaves_within(template.topology.leaf_origins))
        if not self.continuous:
            self.bricks.read_ahead(self.bricks.numbers_of(leaves))
        with self._stored.naming(self.number):
            topology = template.topology.subset(leaves)
        if self.continuous:
            if self.columns:
                check_work(self.container, self.outputs, topology.leaf_voxel_count)
            rows = template.topology.voxel_rows(topology.coordinates())
            values = self.with_exact(self.leaf_values(topology), rows)
        else:
            values = self.bricks.leaf_values(leaves)
        return replace(
            template, topology=topology, values=values, inactive=template.inactive.subset(leaves)
        )

    def at_level(self, level: int, box: Box | None = None) -> Grid:
        """The grid of every 2^level-th voxel, decoded.

        level: 1 to 6
        box: only regions of 128^3 that touch it are decoded; their other voxels come too
        """
        template, whole = self.outline, self.outline.topology
        ends = whole.region_ends
        corners = whole.leaf_origins[ends[:-1]] // NODE_EDGE * NODE_EDGE
        numbers = range(len(corners)) if box is None else box.touched(corners, NODE_EDGE).tolist()
        runs = [slice(*ends[number : number + 2].tolist()) for number in numbers]
        leaves = np.concatenate([np.arange(0), *(np.arange(run.start, run.stop) for run in runs)])
        self.read_ahead(runs, level)
        with self._stored.naming(self.number):
            topology = whole.subset(leaves)
        thinned, exact = topology.at_multiples(level), self._decoded_topology[1].subset(leaves)
        found = [np.empty((0, len(self.columns)), dtype=np.float32)]
        if self.columns:
            check_work(self.container, self.outputs, thinned.leaf_voxel_count)
            columns, outputs = self.columns, self.outputs
            found += in_threads(lambda run: outputs.region_values(whole, run, columns, level), runs)
        else:
            found.append(np.empty((thinned.leaf_voxel_count, 0), dtype=np.float32))
        values = self.with_constants(np.concatenate(found))
        rows = thinned.place_rows(exact.places)
        values[rows[rows >= 0]] = exact.values[rows >= 0]
        part = replace(template, topology=topology, inactive=template.inactive.subset(leaves))
        return at_level(part, values, level)

    def dense(self, box: Box) -> NDArray[np.float32]:
        """Values float32 (X, Y, Z, C) of every voxel of `box`."""
        return self.within(box).dense(box) if self.continuous else self.bricks.dense(box)


def _in_topology(whole: Grid, exact: LeafValues, topology: Topology) -> tuple[Grid, LeafValues]:
    """Bring a whole-leaf grid into the topology that another one is decoded to.

    Both have the same leaves. Returns the grid, and its exact values that are active there.
    """
    leaves = whole.topology.find_leaves(topology.leaf_origins)
    unknown = np.broadcast_to(whole.values[:1], (topology.leaf_voxel_count, whole.components))
    within = exact.subset(leaves)
    active = topology.place_rows(within.places) >= 0
    grid = replace(whole, topology=topology, values=unknown, inactive=whole.inactive.subset(leaves))
    return grid, LeafValues(within.places[active], within.values[active])


def check_limits(container: Container, outputs: Outputs, grids: Sequence[GridValues]) -> None:
    """Raise FormatError where what is to be decoded of `grids` exceeds the limits.

    No chunk is read for it.
    """
    limits = container.limits
    values = sum(grid.entry.leaf_voxels * len(grid.entry.components) for grid in grids)
    if values > limits.values:
        raise FormatError(
            "L4", f"{values:,} values are to be decoded, more than the limit of {limits.values:,}"
        )
    check_work(container, outputs, sum(grid.entry.leaf_voxels for grid in grids if grid.columns))


def check_work(container: Container, outputs: Outputs, voxels: int) -> None:
    """Raise FormatError where the field is too large for so many voxels."""
    work, most = voxels * outputs.weights, container.limits.work
    if work > most:
        raise FormatError(
            "L5",
            f"{container.name}: {voxels:,} voxels with {work // voxels:,} weights each are to be "
            f"decoded, {work:,} products, more than the limit of {most:,}",
        )
