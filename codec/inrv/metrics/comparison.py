"""Two volumes side by side, grid by grid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inrv.errors import NonFiniteError
from inrv.grids import (
    Box,
    Grid,
    Metadata,
    PassthroughGrid,
    SparseVolume,
    every_component,
    frequent_values,
    leaf_keys,
)
from inrv.metrics.quality import GridMetrics, measure
from inrv.support.undisturbed import undisturbed

PART_VOXELS = 1 << 20  # voxels looked up at a time
G = TypeVar("G", Grid, PassthroughGrid)

# The metadata that OpenVDB keeps of what a grid has a field for: a difference is told once.
NAMED_BY_A_FIELD = {
    "class": "grid_class",
    "vector_type": "vector_type",
    "is_saved_as_half_float": "saved_as_half",
}


@dataclass(frozen=True)
class FrequentValue:
    """A value that a large share of the original's active leaf voxels has.

    value: one number a component
    voxels: how many voxels of the original have it
    kept: how many of those are decoded to it
    """

    value: tuple[float, ...]
    voxels: int
    kept: int


@dataclass(frozen=True)
class GridComparison:
    """One grid of the original and the decoded grid of that name.

    name: of both
    value_type: of the original
    active_voxels: of the original
    box: every voxel of it was compared: the original's active box; where nothing is active, the
        decoded grid's, or else one voxel of background
    metrics: None where the value types differ
    largest_error: largest absolute difference in the grid's own units, over all components
    drift: the sum of the values decoded at the original's active leaf voxels, less that of the
        original ones, over that of the original magnitudes; None where the value types differ or
        all are 0
    frequent: the values that many of those voxels have, as 0 in empty air
    topology_equal: whether leaves, active voxels and tiles are the same
    differences: what else is not equal, by name, as 'transform', 'tiles' or "metadata 'author'";
        'inactive values' are those that are not the background, compared where the leaves are equal
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
    """A grid of the original that is not decoded to values.

    name: of both
    tree_type: as OpenVDB names it
    bytes: length of the grid's data in the original
    equal: whether the other volume holds the same bytes
    """

    name: str
    tree_type: str
    bytes: int
    equal: bool


@dataclass(frozen=True)
class VolumeComparison:
    """All grids of the original that the decoded volume has too.

    grids: coded grids that both hold
    passthrough: passthrough grids that both hold
    mean: over the grids that are not exactly equal, leaving out what is None; of equal volumes: no
        loss; NaN and None where no grid could be compared
    missing: names of grids that only the original holds
    unexpected: names of grids that only the decoded volume holds
    differences: entries of the file's own metadata that are not equal
    values: values in the original's active boxes, components counted one by one
    theoretical_compression: `values` over the weights of the network: Zurkova et al. 2025,
        section 2.5
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
        """Whether both hold the same grids, each with the same topology."""
        if self.missing or self.unexpected:
            return False
        coded = all(grid.topology_equal for grid in self.grids)
        return coded and all(grid.equal for grid in self.passthrough)


@undisturbed()
def compare_volumes(
    original: SparseVolume, decoded: SparseVolume, weights: int | None = None
) -> VolumeComparison:
    """Compare grids of equal name, the first with the first where a name repeats.

    weights: how many the network has that the decoded volume comes from

    NaN and infinity that both hold in the same places are left out of the figures. Raises
    NonFiniteError where only one volume holds them.
    """
    pairs, missing, unexpected = pair_grids(original, decoded)
    passthrough, lacking, added = _compare_passthrough(original, decoded)
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


def pair_grids(
    original: SparseVolume, decoded: SparseVolume
) -> tuple[list[tuple[Grid, Grid]], tuple[str, ...], tuple[str, ...]]:
    """Pair grids of equal name and occurrence, in the original's order.

    Gives the pairs, the names that only the original holds, and those only the decoded one holds.
    """
    return _paired(original.grids, decoded.grids)


def _paired(
    original: Sequence[G], decoded: Sequence[G]
) -> tuple[list[tuple[G, G]], tuple[str, ...], tuple[str, ...]]:
    """Do what `pair_grids` does, of grids of either kind."""
    mine, theirs = _by_name(original), _by_name(decoded)
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


def _compare_passthrough(
    original: SparseVolume, decoded: SparseVolume
) -> tuple[tuple[PassthroughComparison, ...], tuple[str, ...], tuple[str, ...]]:
    """Compare the passthrough grids; give names only in the original, and only in the decoded."""
    pairs, missing, unexpected = _paired(original.passthrough, decoded.passthrough)
    compared = []
    for a, b in pairs:
        equal = (a.tree_type, a.half, a.data) == (b.tree_type, b.half, b.data)
        compared.append(PassthroughComparison(a.name, a.tree_type, len(a.data), equal))
    return tuple(compared), missing, unexpected


def _compare_grids(original: Grid, decoded: Grid) -> GridComparison:
    """Compare two grids of one name."""
    box = original.topology.box or decoded.topology.box or Box((0, 0, 0), (0, 0, 0))
    comparable = original.value_type == decoded.value_type
    if comparable:
        _check_nonfinite(original, decoded)
    metrics, largest = measure(original, decoded, box) if comparable else (None, None)
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


def _sums_and_values(
    original: Grid, decoded: Grid
) -> tuple[float | None, tuple[FrequentValue, ...]]:
    """Give the drift of a grid, and what became of its frequent values."""
    topology, whole, moved = original.topology, 0.0, 0.0
    alike = _all_equal(*map(_leaves, (original, decoded)))  # then rows name the same voxels
    same = np.empty(len(original.values), dtype=np.bool_)
    for first, last in topology.chunks(PART_VOXELS):
        rows = slice(topology.starts[first], topology.starts[last])
        mine = original.values[rows]
        theirs = (
            decoded.values[rows] if alike else decoded.lookup(topology.coordinates(first, last))
        )
        same[rows] = every_component(_bits(mine) == _bits(theirs))
        finite = np.isfinite(mine) & np.isfinite(theirs)
        wide = mine[finite].astype(np.float64)
        whole += float(np.abs(wide).sum())
        moved += float((theirs[finite] - wide).sum())
    found = frequent_values(original, every_component(np.isfinite(original.values)))
    kept = found.which[same[topology.place_rows(found.places)]]
    counts = np.bincount(kept, minlength=len(found.values)).tolist()
    values = zip(map(tuple, found.values.tolist()), found.counts, counts, strict=True)
    return moved / whole if whole else None, tuple(FrequentValue(*value) for value in values)


def _check_nonfinite(original: Grid, decoded: Grid) -> None:
    """Raise NonFiniteError where two grids do not have the same NaN and infinity in common."""
    parts = [
        (grid.background[None], grid.values, grid.tile_values, grid.inactive.values)
        for grid in (original, decoded)
    ]
    bad = [[~every_component(np.isfinite(part)) for part in of_grid] for of_grid in parts]
    if not any(rows.any() for rows in bad[0] + bad[1]):
        return
    places = [
        grid.topology.coordinates()[rows[1]]
        for grid, rows in zip((original, decoded), bad, strict=True)
    ]
    mine, theirs = (
        [part[rows] for part, rows in zip(*pair, strict=True)]
        for pair in zip(parts, bad, strict=True)
    )
    if not np.array_equal(places[0], places[1]) or not _all_equal(mine, theirs):
        raise NonFiniteError(
            f"grid {original.name!r}: original and decoded do not hold "
            "the same NaN and infinity in the same places"
        )


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    """Give the bits of floats, which tell NaNs and zeros apart; other arrays as they are."""
    values = np.ascontiguousarray(values)
    return values.view(np.int32) if values.dtype == np.float32 else values


def _header_differences(a: Grid, b: Grid) -> tuple[str, ...]:
    """Name what differs between two grids but topology and active values."""
    fields = ("value_type", "transform", "grid_class", "vector_type", "saved_as_half")
    found = [name for name in fields if getattr(a, name) != getattr(b, name)]
    if not _all_equal([a.background], [b.background]):
        found.append("background")
    if not _all_equal(_tiles(a), _tiles(b)):
        found.append("tiles")
    inactive = [(grid.inactive.places, grid.inactive.values) for grid in (a, b)]
    if _all_equal(*map(_leaves, (a, b))) and not _all_equal(*inactive):
        found.append("inactive values")
    named = {key for key, field in NAMED_BY_A_FIELD.items() if field in found}
    mine, theirs = (
        {key: entry for key, entry in grid.metadata.items() if key not in named} for grid in (a, b)
    )
    return (*found, *_metadata_differences(mine, theirs))


def _leaves(grid: Grid) -> tuple[NDArray[Any], ...]:
    return grid.topology.leaf_origins, grid.topology.leaf_masks


def _tiles(grid: Grid) -> tuple[NDArray[Any], ...]:
    """Give origins, edges, states and values of the tiles, in the order of their keys."""
    topology = grid.topology
    order = leaf_keys(topology.tile_origins).argsort(kind="stable")
    parts = (topology.tile_origins, topology.tile_edges, topology.tile_active, grid.tile_values)
    return tuple(part[order] for part in parts)


def _all_equal(mine: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> bool:
    """Tell whether arrays are equal to the bit."""
    return all(np.array_equal(_bits(a), _bits(b)) for a, b in zip(mine, theirs, strict=True))


def _metadata_differences(a: Metadata, b: Metadata) -> tuple[str, ...]:
    keys = sorted(a.keys() | b.keys())
    return tuple(f"metadata {key!r}" for key in keys if a.get(key) != b.get(key))


def _mean(metrics: list[GridMetrics]) -> GridMetrics:
    """Average the figures of the grids that differ."""
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
