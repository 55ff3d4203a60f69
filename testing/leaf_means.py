"""A field in one file: every leaf has the mean of its voxels. It shows what a field must offer.

A CODE chunk holds, for each output, one float32 for each leaf of its grid's topology.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Chunk, Container, Value, pack_tensors, take, unpack_tensors
from inrv.errors import OptionError
from inrv.fields.seam import (
    Checkpoint,
    EncodedField,
    Estimate,
    Goal,
    NormalisedOutputs,
    OutputRange,
    Outputs,
    Progress,
    ProgressCallback,
    Samples,
    output_ranges,
)
from inrv.grids import LEAF_EDGE, Topology
from inrv.metrics.psnr import psnr_of
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid, StoredGrids

Means = NDArray[np.float32]
NUMBER_BITS = 32


def leaf_of(topology: Topology, coordinates: NDArray[Any]) -> NDArray[np.int64]:
    """The number of the leaf (n,) that each of some voxels (n, 3) of a topology is in."""
    return topology.find_leaves(coordinates // LEAF_EDGE * LEAF_EDGE)


def means_of(grid: PreparedGrid, component: int) -> Means:
    """The mean of the normalised values that are coded in each leaf of a grid."""
    leaves = leaf_of(grid.grid.topology, grid.coded.topology.coordinates())
    values = grid.normalisation.apply(grid.coded.values)[:, component]
    count = grid.grid.topology.leaf_count
    sums = np.bincount(leaves, values, count)
    return (sums / np.maximum(np.bincount(leaves, minlength=count), 1)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class EncodedMeans:
    """The grids of a volume as means of their leaves; see `inrv.fields.seam.EncodedField`.

    owners: of each output, the number of its grid and the component
    means: of each output
    """

    grids: tuple[PreparedGrid, ...]
    owners: tuple[tuple[int, int], ...]
    means: tuple[Means, ...]
    seconds: float

    device = "cpu"

    @property
    def psnrs(self) -> tuple[float, ...]:
        """DB by output."""
        found = []
        for output, (number, component) in enumerate(self.owners):
            grid = self.grids[number]
            values = grid.normalisation.apply(grid.coded.values)[:, component]
            errors = self.outputs(output, grid.coded.topology).astype(np.float64) - values
            found.append(psnr_of(float(np.square(errors).mean())) - grid.psnr_gain(component))
        return tuple(found)

    @property
    def errors(self) -> tuple[None, ...]:
        """Not measured."""
        return (None,) * len(self.grids)

    drifts = errors

    @property
    def measured_voxels(self) -> int:
        """All that are coded."""
        return sum(grid.coded.topology.leaf_voxel_count for grid in self.grids)

    def outputs(self, number: int, topology: Topology) -> Means:
        """The means at the voxels of a topology."""
        own = self.grids[self.owners[number][0]].grid.topology
        return self.means[number][leaf_of(own, topology.coordinates())]

    def short_of(self, psnr: float) -> set[int]:
        """The grids that miss so many dB: no mean is better."""
        rows = zip(self.owners, self.psnrs, strict=True)
        return {number for (number, _), reached in rows if reached < psnr}

    def rescaled(self, octaves: float) -> EncodedField:
        """A mean has no step."""
        raise OptionError("means of leaves take the bytes that they take: `size` is not for them")

    def store(
        self, chunks: list[Chunk], exact_topology: bool, numbers: Sequence[int]
    ) -> dict[str, Any]:
        """Append the means of all outputs as one chunk."""
        arrays = {f"means.{number}": means for number, means in enumerate(self.means)}
        chunks.append(Chunk("CODE", pack_tensors(arrays)))
        return {"means": len(chunks) - 1}

    def summary(self) -> dict[str, Any]:
        """How many means there are."""
        return {"means": sum(map(len, self.means))}

    def description(self) -> list[tuple[str, str]]:
        """The same for people."""
        return [("means", f"{self.summary()['means']:,} means of leaves")]


@dataclass(frozen=True)
class MeansEncoder:
    """Codes a volume; see `inrv.fields.seam.FieldEncoder`."""

    options: EncodeOptions
    progress: ProgressCallback | None

    def estimate(
        self,
        grid: PreparedGrid,
        goal: Goal,
        steps: dict[int, float],
        like: PreparedGrid | None = None,
    ) -> Estimate | None:
        """A number for each leaf and component; a mean is never without loss."""
        count = grid.grid.topology.leaf_count * int(grid.normalisation.varying.sum())
        return None if grid.lossless else Estimate(float(NUMBER_BITS * count), {})

    def coding_order(self, frames: Sequence[Sequence[PreparedGrid]]) -> list[int]:
        """The order of time: no frame is predicted from another."""
        return list(range(len(frames)))

    def encode(self, grids: Sequence[PreparedGrid], goal: Goal) -> EncodedMeans | None:
        """The means of all components that vary."""
        started = time.perf_counter()
        owners = tuple(
            (number, int(component))
            for number, grid in enumerate(grids)
            for component in np.flatnonzero(grid.normalisation.varying)
        )
        if not owners:
            return None
        means = tuple(means_of(grids[number], component) for number, component in owners)
        seconds = time.perf_counter() - started
        if self.progress is not None:
            self.progress(Progress(1.0, seconds, 0.0))
        return EncodedMeans(tuple(grids), owners, means, seconds)


@dataclass(frozen=True, eq=False)
class MeansOutputs(NormalisedOutputs):
    """The opened means of a file; see `inrv.fields.seam.Outputs`.

    topologies: of each output
    means: of each output
    ranges: of each output
    """

    topologies: tuple[Topology, ...]
    means: tuple[Means, ...]
    ranges: Sequence[OutputRange]

    weights = 1
    device = "cpu"
    module = None

    def at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> Means:
        """The means of the leaves that the voxels are in."""
        found = [
            self.means[number][leaf_of(self.topologies[number], coordinates)] for number in columns
        ]
        return np.stack(found, axis=1)

    def active(
        self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]
    ) -> list[Means]:
        """The means at the voxels of several topologies."""
        rows = zip(topologies, columns, strict=True)
        return [
            self.at(topology.coordinates(), chosen)
            if len(chosen)
            else np.empty((topology.leaf_voxel_count, 0), dtype=np.float32)
            for topology, chosen in rows
        ]


class MeansCodec:
    """See `inrv.fields.seam.FieldCodec`."""

    kind = "means"
    finest_step = 0.0
    estimates = True
    resumes = False

    def can_bound(self, bound: float, minimum: float, maximum: float) -> bool:
        """A mean bounds no error."""
        return False

    def encoder(
        self,
        options: EncodeOptions,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None,
    ) -> MeansEncoder:
        """What takes the means."""
        return MeansEncoder(options, progress)

    def check(self, config: Value, container: Container) -> None:
        """Check that `means` is the number of a CODE chunk."""
        config.only("means", what="field of means")
        container.check_reference(config["means"].path, config["means"].count(), "CODE")

    def open(self, container: Container, grids: StoredGrids, device: str | None) -> Outputs:
        """Read the means."""
        entry = container.manifest.field
        assert entry is not None
        arrays = unpack_tensors(container.chunk(entry.config["means"]))
        owners = {
            part.output: number
            for number, grid in enumerate(container.manifest.grids)
            for part in grid.components
        }
        topologies = tuple(grids[owners[output]].grid.topology for output in range(entry.outputs))
        means = tuple(
            np.array(take(arrays, f"means.{output}", np.float32, (topology.leaf_count,)))
            for output, topology in enumerate(topologies)
        )
        return MeansOutputs(topologies, means, output_ranges(container))

    def verify(self, container: Container) -> Samples:
        """There are no samples."""
        return Samples()

    def describe(self, container: Container) -> dict[str, Any]:
        """How many outputs there are."""
        entry = container.manifest.field
        assert entry is not None
        return {"text": f"means of leaves, {entry.outputs} outputs"}


CODEC = MeansCodec()
