"""Two volumes side by side, grid by grid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from inrv.errors import NonFiniteError
from inrv.grids import Box, Grid, Metadata, PassthroughGrid, SparseVolume, frequent_values
from inrv.grids.topology import leaf_keys
from inrv.metrics.quality import GridMetrics, measure
from inrv.support.undisturbed import undisturbed

PART_VOXELS = 1 << 20  # looked up at a time
G = TypeVar("G", Grid, PassthroughGrid)

# metadata entries that OpenVDB keeps for what a grid has a field for: one difference is told once
NAMED_BY_A_FIELD = {"class": "grid_class", "vector_type": "vector_type", "is_saved_as_half_float": "saved_as_half"}


@dataclass(frozen=True)
class FrequentValue:
    """A value that a large share of the original's active leaf voxels has: how many, and how many of them are decoded to it."""

    value: tuple[float, ...]
    voxels: int
    kept: int


@dataclass(frozen=True)
class GridComparison:
    """One grid of the original and the decoded grid of that name.

    box             every voxel of it was compared: the original's active box; where nothing is active, the decoded
                    grid's, or else one voxel of background
    metrics         None where the value types differ
    largest_error   largest absolute difference in the grid's own units, over all components
    drift           the sum of the values decoded at the original's active leaf voxels less that of the original ones, over that
                    of the original magnitudes; None where the value types differ or all are 0
    frequent        the values that many of those voxels have, as 0 in empty air, and on how many they are kept
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
    drift: float | None
    frequent: tuple[FrequentValue, ...]
    topology_equal: bool
    differences: tuple[str, ...]


@dataclass(frozen=True)
class PassthroughComparison:
    """A grid of the original that is not decoded to values: `equal` where the other volume holds the same bytes of it."""

    name: str
    tree_type: str
    bytes: int
    equal: bool


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
    passthrough: tuple[PassthroughComparison, ...]
    mean: GridMetrics
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    differences: tuple[str, ...]
    values: int
    theoretical_compression: float | None

    @property
    def topology_equal(self) -> bool:
        """The same grids, each with the same topology."""
        all_equal = all(grid.topology_equal for grid in self.grids) and all(grid.equal for grid in self.passthrough)
        return all_equal and not self.missing and not self.unexpected


@undisturbed()
def compare_volumes(original: SparseVolume, decoded: SparseVolume, weights: int | None = None) -> VolumeComparison:
    """Compare grids of equal name, the first with the first where a name repeats.

    `weights` are those of the network the decoded volume comes from. NaN and infinity that both hold in the same places
    are left out of the figures. Raises NonFiniteError where only one holds them.
    """
    pairs, missing, unexpected = pair_grids(original, decoded)
    passthrough, lacking, added = _compare_carried(original, decoded)
    grids = tuple(_compare_grids(a, b) for a, b in pairs)
    values = sum(box.volume * a.components for a, _ in pairs if (box := a.topology.box))
    return VolumeComparison(
        grids=grids,
        passthrough=passthrough,
        mean=_mean([grid.metrics for grid in grids if grid.metrics is not None]),
        missing=missing + lacking,
        unexpected=unexpected + added,
        differences=_metadata_differences(original.metadata, decoded.metadata),
        values=values,
        theoretical_compression=values / weights if weights and values else None,
    )


def pair_grids(original: SparseVolume, decoded: SparseVolume) -> tuple[list[tuple[Grid, Grid]], tuple[str, ...], tuple[str, ...]]:
    """Grids of equal name and occurrence in the original's order; names only in the original; only in the decoded."""
    theirs = _by_name(decoded.grids)
    mine = _by_name(original.grids)
    pairs = [(grid, theirs[key]) for key, grid in mine.items() if key in theirs]
    missing = tuple(name for name, count in mine if (name, count) not in theirs)
    return pairs, missing, tuple(name for name, count in theirs if (name, count) not in mine)


def _by_name(grids: Sequence[G]) -> dict[tuple[str, int], G]:
    """Grids by name and occurrence."""
    seen: Counter[str] = Counter()
    found = {}
    for grid in grids:
        found[grid.name, seen[grid.name]] = grid
        seen[grid.name] += 1
    return found


def _compare_carried(
    original: SparseVolume, decoded: SparseVolume
) -> tuple[tuple[PassthroughComparison, ...], tuple[str, ...], tuple[str, ...]]:
    """Carried grids that both volumes hold; names only in the original; only in the decoded."""
    mine, theirs = _by_name(original.passthrough), _by_name(decoded.passthrough)
    compared = tuple(
        PassthroughComparison(a.name, a.tree_type, len(a.data), (a.tree_type, a.half, a.data) == (b.tree_type, b.half, b.data))
        for key, a in mine.items()
        if (b := theirs.get(key)) is not None
    )
    return compared, tuple(n for n, i in mine if (n, i) not in theirs), tuple(n for n, i in theirs if (n, i) not in mine)


def _compare_grids(original: Grid, decoded: Grid) -> GridComparison:
    box = original.topology.box or decoded.topology.box or Box((0, 0, 0), (0, 0, 0))
    comparable = original.value_type == decoded.value_type
    metrics, largest = measure(*_finite(original, decoded), box) if comparable else (None, None)
    drift, frequent = _sums_and_values(original, decoded) if comparable else (None, ())
    return GridComparison(
        name=original.name,
        value_type=original.value_type,
        active_voxels=original.topology.active_voxel_count,
        box=box,
        metrics=metrics,
        largest_error=largest,
        drift=drift,
        frequent=frequent,
        topology_equal=original.topology.equal(decoded.topology),
        differences=_header_differences(original, decoded),
    )


def _sums_and_values(original: Grid, decoded: Grid) -> tuple[float | None, tuple[FrequentValue, ...]]:
    """The drift of a grid, and what became of its frequent values."""
    topology, whole, moved = original.topology, 0.0, 0.0
    same = torch.empty(len(original.values), dtype=torch.bool)
    for part in torch.arange(len(same)).split(PART_VOXELS):
        mine, theirs = original.values[part], decoded.lookup(topology.coordinates_of(topology.places()[part]))
        same[part] = (mine.view(torch.int32) == theirs.view(torch.int32)).all(dim=1)
        finite = mine.isfinite() & theirs.isfinite()
        whole += float(mine[finite].double().abs().sum())
        moved += float((theirs[finite].double() - mine[finite].double()).sum())
    found = frequent_values(original, original.values.isfinite().all(dim=1))
    rows = topology.place_rows(found.places)
    kept = torch.bincount(found.which[same[rows]], minlength=len(found.values)).tolist()
    values = zip(map(tuple, found.values.tolist()), found.counts, kept, strict=True)
    return moved / whole if whole else None, tuple(FrequentValue(*value) for value in values)


def _finite(original: Grid, decoded: Grid) -> tuple[Grid, Grid]:
    """Both grids with finite values in place of the NaN and infinity that they have in common."""
    grids = (original, decoded)
    parts = [(grid.background[None], grid.values, grid.tile_values, grid.inactive.values) for grid in grids]
    bad = [[(~part.isfinite()).any(dim=1) for part in of_grid] for of_grid in parts]
    if not any(bool(rows.any()) for rows in bad[0] + bad[1]):
        return grids
    places = [grid.topology.coordinates()[rows[1]] for grid, rows in zip(grids, bad, strict=True)]
    mine, theirs = ([part[rows] for part, rows in zip(*pair, strict=True)] for pair in zip(parts, bad, strict=True))
    if not torch.equal(*places) or not all(_same_bits(a, b) for a, b in zip(mine, theirs, strict=True)):
        raise NonFiniteError(
            f"grid {original.name!r}: original and decoded do not hold the same NaN and infinity in the same places"
        )
    known = original.values[~bad[0][1]]
    filler = known.amin(dim=0) if len(known) else known.new_zeros(original.components)
    return _filled(original, filler), _filled(decoded, filler)


def _filled(grid: Grid, filler: Tensor) -> Grid:
    """The grid, `filler` (C,) in place of values that are not finite."""

    def fill(values: Tensor) -> Tensor:
        return torch.where(values.isfinite().all(dim=-1, keepdim=True), values, filler)

    inactive = replace(grid.inactive, values=fill(grid.inactive.values))
    return replace(
        grid, background=fill(grid.background), values=fill(grid.values), tile_values=fill(grid.tile_values), inactive=inactive
    )


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal, NaN with its payload and the sign of zero included."""
    if a.dtype == torch.float32 == b.dtype:
        return torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))
    return torch.equal(a, b)


def _header_differences(a: Grid, b: Grid) -> tuple[str, ...]:
    fields = ("value_type", "transform", "grid_class", "vector_type", "saved_as_half")
    found = [name for name in fields if getattr(a, name) != getattr(b, name)]
    if not _same_bits(a.background, b.background):
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
    return all(_same_bits(a, b) for a, b in zip(mine, theirs, strict=True))


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
