"""Two volumes side by side, grid by grid."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.errors import NonFiniteError
from inrv.grids import Box, Grid, Metadata, SparseVolume
from inrv.grids.topology import leaf_keys
from inrv.metrics.quality import GridMetrics, measure

# metadata entries that OpenVDB keeps for what a grid has a field for: one difference is told once
NAMED_BY_A_FIELD = {"class": "grid_class", "vector_type": "vector_type", "is_saved_as_half_float": "saved_as_half"}


@dataclass(frozen=True)
class GridComparison:
    """One grid of the original and the decoded grid of that name.

    box             every voxel of it was compared: the original's active box; where nothing is active, the decoded
                    grid's, or else one voxel of background
    metrics         None where the value types differ
    largest_error   largest absolute difference in the grid's own units, over all components
    topology_equal  same leaves, active voxels and tiles
    differences     what else is not equal, by name, as 'transform', 'tiles' or "metadata 'author'"; 'inactive values'
                    are those off the background, compared where the leaves are equal
    """

    name: str
    value_type: str
    active_voxels: int
    box: Box
    metrics: GridMetrics | None
    largest_error: float | None
    topology_equal: bool
    differences: tuple[str, ...]


@dataclass(frozen=True)
class VolumeComparison:
    """All grids of the original that the decoded volume has too.

    mean                     over the grids that are not exactly equal, None-s left out; of equal volumes: no loss;
                             NaN and None where no grid could be compared
    missing, unexpected      names of grids that only the original, only the decoded volume holds
    differences              entries of the file's own metadata that are not equal
    values                   values of the original's active boxes, components counted one by one
    theoretical_compression  `values` over the weights of the network: Zurkova et al. 2025, section 2.5
    """

    grids: tuple[GridComparison, ...]
    mean: GridMetrics
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    differences: tuple[str, ...]
    values: int
    theoretical_compression: float | None

    @property
    def topology_equal(self) -> bool:
        """The same grids, each with the same topology."""
        return not self.missing and not self.unexpected and all(grid.topology_equal for grid in self.grids)


def compare_volumes(original: SparseVolume, decoded: SparseVolume, weights: int | None = None) -> VolumeComparison:
    """Compare grids of equal name, the first with the first where a name repeats.

    `weights` are those of the network the decoded volume comes from. Raises NonFiniteError where a grid holds NaN or
    infinity, InrvError where scikit-image is missing.
    """
    pairs, missing, unexpected = pair_grids(original, decoded)
    grids = tuple(_compare_grids(a, b) for a, b in pairs)
    values = sum(box.volume * a.components for a, _ in pairs if (box := a.topology.box))
    return VolumeComparison(
        grids=grids,
        mean=_mean([grid.metrics for grid in grids if grid.metrics is not None]),
        missing=missing,
        unexpected=unexpected,
        differences=_metadata_differences(original.metadata, decoded.metadata),
        values=values,
        theoretical_compression=values / weights if weights and values else None,
    )


def pair_grids(original: SparseVolume, decoded: SparseVolume) -> tuple[list[tuple[Grid, Grid]], tuple[str, ...], tuple[str, ...]]:
    """Grids of equal name and occurrence in the original's order; names only in the original; only in the decoded."""
    theirs = dict(zip(_keys(decoded), decoded.grids, strict=True))
    mine = dict(zip(_keys(original), original.grids, strict=True))
    pairs = [(grid, theirs[key]) for key, grid in mine.items() if key in theirs]
    missing = tuple(name for name, count in mine if (name, count) not in theirs)
    return pairs, missing, tuple(name for name, count in theirs if (name, count) not in mine)


def _keys(volume: SparseVolume) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    keys = []
    for grid in volume.grids:
        keys.append((grid.name, seen[grid.name]))
        seen[grid.name] += 1
    return keys


def _compare_grids(original: Grid, decoded: Grid) -> GridComparison:
    box = original.topology.box or decoded.topology.box or Box((0, 0, 0), (0, 0, 0))
    for which, grid in (("original", original), ("decoded", decoded)):
        _check_finite(which, grid)
    comparable = original.value_type == decoded.value_type
    metrics, largest = measure(original, decoded, box) if comparable else (None, None)
    return GridComparison(
        name=original.name,
        value_type=original.value_type,
        active_voxels=original.topology.active_voxel_count,
        box=box,
        metrics=metrics,
        largest_error=largest,
        topology_equal=original.topology.equal(decoded.topology),
        differences=_header_differences(original, decoded),
    )


def _check_finite(which: str, grid: Grid) -> None:
    parts = (grid.background, grid.values, grid.tile_values, grid.inactive.values)
    if not all(bool(part.isfinite().all()) for part in parts):
        raise NonFiniteError(f"{which} grid {grid.name!r} holds NaN or infinity: there is no error to measure")


def _header_differences(a: Grid, b: Grid) -> tuple[str, ...]:
    fields = ("value_type", "transform", "grid_class", "vector_type", "saved_as_half")
    found = [name for name in fields if getattr(a, name) != getattr(b, name)]
    if not torch.equal(a.background, b.background):
        found.append("background")
    if not _all_equal(_tiles(a), _tiles(b)):
        found.append("tiles")
    leaves = [(grid.topology.leaf_origins, grid.topology.leaf_masks) for grid in (a, b)]
    inactive = [(grid.inactive.places, grid.inactive.values) for grid in (a, b)]
    if _all_equal(*leaves) and not _all_equal(*inactive):
        found.append("inactive values")
    told = {key for key, field in NAMED_BY_A_FIELD.items() if field in found}
    mine, theirs = ({key: entry for key, entry in grid.metadata.items() if key not in told} for grid in (a, b))
    return (*found, *_metadata_differences(mine, theirs))


def _tiles(grid: Grid) -> tuple[Tensor, ...]:
    """Origins, edges, states and values of the tiles, in an order that does not depend on how they are stored."""
    topology = grid.topology
    order = leaf_keys(topology.tile_origins).argsort()
    parts = (topology.tile_origins, topology.tile_edges, topology.tile_active, grid.tile_values)
    return tuple(part[order] for part in parts)


def _all_equal(mine: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def _metadata_differences(a: Metadata, b: Metadata) -> tuple[str, ...]:
    return tuple(f"metadata {key!r}" for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key))


def _mean(metrics: list[GridMetrics]) -> GridMetrics:
    if not metrics:
        return GridMetrics(math.nan, math.nan, None, None)
    differing = [grid for grid in metrics if not math.isinf(grid.psnr)]
    if not differing:
        return GridMetrics(math.inf, 0.0, 1.0, 1.0)
    return GridMetrics(
        psnr=sum(grid.psnr for grid in differing) / len(differing),
        nrmse=sum(grid.nrmse for grid in differing) / len(differing),
        ssim=_average([grid.ssim for grid in differing]),
        score=_average([grid.score for grid in differing]),
    )


def _average(figures: list[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else None
