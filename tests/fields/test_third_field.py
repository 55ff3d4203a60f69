"""A third field in one file: it stores the mean of every leaf. See docs/map.md.

It is made to be copied, and does only what the seam asks for. The pipeline knows of it by a line in
FIELDS alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv.container import Chunk, Container, Value, pack_tensors, take, unpack_tensors
from inrv.errors import OptionError
from inrv.fields import seam
from inrv.fields.seam import EncodedField, Floats, Goal, Outputs, Samples
from inrv.grids import Grid, Topology
from inrv.metrics.psnr import psnr_of
from inrv.options import CHOICES, EncodeOptions
from inrv.storage import PreparedGrid, StoredGrids


def leaf_means(grid: Grid, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means float32 (leaves,) of normalised values (N,) of the active leaf voxels of a grid."""
    leaves = np.repeat(np.arange(grid.topology.leaf_count), grid.topology.counts)
    sums = np.bincount(leaves, weights=values, minlength=grid.topology.leaf_count)
    return (sums / np.maximum(grid.topology.counts, 1)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A volume as means: what `EncodedField` asks for.

    means: by output, float32 (leaves,)
    """

    grids: tuple[PreparedGrid, ...]
    psnrs: tuple[float, ...]
    topologies: tuple[Topology, ...]
    means: tuple[NDArray[np.float32], ...]
    seconds: float = 0.0
    device: str = "cpu"
    measured_voxels: int = 0

    @property
    def errors(self) -> tuple[float | None, ...]:
        """They are not measured."""
        return (None,) * len(self.grids)

    drifts = errors

    def outputs(self, number: int, topology: Topology) -> Floats:
        """The mean of the leaf that each voxel lies in."""
        return means_at(self.topologies[number], self.means[number], topology.coordinates())

    def short_of(self, psnr: float) -> set[int]:
        """No grid is coded better by another choice: this field has none."""
        return set()

    def rescaled(self, octaves: float) -> EncodedField:
        """It has no quantiser steps."""
        raise OptionError("the field 'mean' has one size only")

    def store(self, chunks: list[Chunk], exact_topology: bool) -> dict[str, Any]:
        """One chunk with all means."""
        arrays = {f"means.{number}": means for number, means in enumerate(self.means)}
        chunks.append(Chunk("NETW", pack_tensors(arrays)))
        return {"tensors": len(chunks) - 1}

    def summary(self) -> dict[str, Any]:
        """The number of means."""
        return {"means": sum(map(len, self.means))}

    def description(self) -> list[tuple[str, str]]:
        """The same for people."""
        return [("means", f"{sum(map(len, self.means)):,}")]


class Encoder:
    """Codes the grids of one volume."""

    def estimate(self, grid: PreparedGrid, goal: Goal, steps: dict[int, float]) -> None:
        """What a grid takes is known afterwards only."""
        return

    def encode(self, grids: Sequence[PreparedGrid], goal: Goal) -> Encoded | None:
        """The means of every component that varies; None where none does."""
        psnrs, topologies, found = [], [], []
        for grid in grids:
            values = grid.normalisation.apply(grid.coded.values)
            for component in np.flatnonzero(grid.normalisation.varying):
                own = values[:, component]
                means = leaf_means(grid.coded, own)
                decoded = np.repeat(means, grid.coded.topology.counts)
                psnrs.append(psnr_of(float(np.mean((decoded - own) ** 2))))
                topologies.append(grid.coded.topology)
                found.append(means)
        return (
            Encoded(tuple(grids), tuple(psnrs), tuple(topologies), tuple(found)) if found else None
        )


def means_at(topology: Topology, means: NDArray[np.float32], coordinates: NDArray[Any]) -> Floats:
    """The means float32 (n,) of the leaves that hold voxels at coordinates (n, 3)."""
    return means[topology.find_leaves(coordinates)]


class Opened:
    """The open field of a file: what `Outputs` asks for."""

    weights = 1
    lossless: frozenset[int] = frozenset()
    device = "cpu"
    module = None

    def __init__(
        self, topologies: Sequence[Topology], means: Sequence[NDArray[np.float32]]
    ) -> None:
        self.topologies = topologies
        self.means = means

    def at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> Floats:
        """The means of the leaves of these voxels."""
        parts = [
            means_at(self.topologies[column], self.means[column], coordinates) for column in columns
        ]
        return np.stack(parts, axis=1) if parts else np.empty((len(coordinates), 0), np.float32)

    def active(
        self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]
    ) -> list[Floats]:
        """The same for all active leaf voxels."""
        return [
            self.at(topology.coordinates(), own)
            for topology, own in zip(topologies, columns, strict=True)
        ]


class MeanCodec:
    """The field at the seam."""

    kind = "mean"
    finest_step = 0.0

    def can_bound(self, bound: float, minimum: float, maximum: float) -> bool:
        """It makes no promise."""
        return False

    def encoder(self, options: EncodeOptions, progress: Any, checkpoint: Any) -> Encoder:
        """It has no options."""
        return Encoder()

    def check(self, config: Value, container: Container) -> None:
        """The config is the number of a chunk."""
        config.keys("tensors")
        container.check_reference(
            "manifest.field.config.tensors", config["tensors"].count(), "NETW"
        )

    def open(self, container: Container, grids: StoredGrids, device: str | None) -> Outputs:
        """The means, and the grid of each output."""
        assert container.manifest.field is not None
        arrays = unpack_tensors(container.chunk(container.manifest.field.config["tensors"]))
        topologies, means = [], []
        for number, entry in enumerate(container.manifest.grids):
            for component in entry.components:
                if component.output is not None:
                    topology = grids[number].grid.topology
                    topologies.append(topology)
                    name = f"means.{component.output}"
                    means.append(take(arrays, name, np.float32, (topology.leaf_count,)))
        return Opened(topologies, means)

    def verify(self, container: Container) -> Samples:
        """It stores no samples."""
        return Samples()

    def describe(self, container: Container) -> dict[str, Any]:
        """Nothing beside the config."""
        return {"text": "the mean of every leaf", "weights": 0}


CODEC = MeanCodec()


@pytest.fixture(autouse=True)
def _in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two lines that a third field takes outside of its folder."""
    monkeypatch.setitem(seam.FIELDS, "mean", __name__)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, sys))
    monkeypatch.setattr(sys.modules[__name__], "CODEC", CODEC, raising=False)
    monkeypatch.setitem(CHOICES, "field", (*CHOICES["field"], "mean"))


def test_a_third_field_is_a_line_in_the_table(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    smooth = np.cumsum(chance.random((24, 24, 24), dtype=np.float32), axis=0)
    smooth[0, 0, 0] = 1e6  # an extreme, which is stored exactly
    path = tmp_path / "mean.inrv"
    report = inrv.encode_array(smooth, path, EncodeOptions(field="mean", exact_below=0))
    assert report is not None
    decoded = inrv.load(path)["density"].dense()
    assert decoded[0, 0, 0] == 1e6
    block = (slice(8, 16),) * 3
    np.testing.assert_allclose(decoded[block], smooth[block].mean(), rtol=1e-5)
    assert inrv.verify(path, decode=True).voxels == smooth.size
