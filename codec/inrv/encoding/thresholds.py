"""Whole-leaf topology: leaves alone are stored, and a threshold finds the active voxels again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.grids import Grid, LeafValues, Normalisation, Topology, denormalise, unpack_masks
from inrv.grids.thresholds import ABOVE, AWAY, WITHIN, scores
from inrv.storage import PreparedGrid

OutputOf = Callable[
    [int, Topology], NDArray[Any]
]  # the decoded output of that number on a topology


def rule_of(grid: Grid) -> str | None:
    """The rule by which a threshold can tell active from inactive voxels of a grid, if one can.

    Inactive voxels of its leaves have to hold the background, or for a narrow band plus and minus
    the background.
    """
    if not len(grid.values):
        return None
    background, beside = grid.background, grid.inactive.values
    if len(beside) or grid.grid_class == "level set":
        band = (
            grid.components == 1
            and bool((beside == -background).all())
            and float(background[0]) > 0
        )
        return WITHIN if band and bool((np.abs(grid.values) <= background).all()) else None
    return ABOVE if grid.components == 1 and bool(grid.values.min() > background[0]) else AWAY


def whole_leaves(grid: Grid) -> Grid:
    """The grid with every voxel of its leaves active, with the values that they have."""
    values = grid.blocks(grid.topology.leaf_origins).reshape(-1, grid.components)
    topology = replace(grid.topology, leaf_masks=np.full_like(grid.topology.leaf_masks, 255))
    return replace(
        grid, topology=topology, values=values, inactive=LeafValues.none(grid.components)
    )


def with_whole_leaves(prepared: PreparedGrid, rule: str) -> PreparedGrid:
    """The same grid with whole-leaf topology."""
    whole = replace(prepared, grid=whole_leaves(prepared.grid), threshold_rule=rule)
    return replace(whole, normalisation=Normalisation.fit(whole.coded.values))


def of_one_topology(grids: Sequence[PreparedGrid], numbers: Iterable[int]) -> list[list[int]]:
    """The `numbers` of some of `grids`, those with identical topologies together."""
    groups = list[list[int]]()
    for number in numbers:
        same = [
            group
            for group in groups
            if grids[group[0]].grid.topology.identical(grids[number].grid.topology)
        ]
        if same:
            same[0].append(number)
        else:
            groups.append([number])
    return groups


def with_thresholds(
    grids: Sequence[PreparedGrid], originals: Sequence[Grid], output_of: OutputOf
) -> tuple[tuple[PreparedGrid, ...], tuple[int | None, ...]]:
    """Give each whole-leaf grid the threshold that is best for its decoded values.

    Returns all grids, and how many voxels each misclassifies.

    Of grids whose topologies are the same one has a threshold, the one that misclassifies the
    fewest voxels, and the others have the topology that it decodes to.
    """
    result, misclassified, output = list[PreparedGrid](), list[int | None](), 0
    for grid, original in zip(grids, originals, strict=True):
        outputs = int(grid.normalisation.varying.sum())
        if grid.grid.topology is original.topology or not outputs:
            result.append(grid)
            misclassified.append(None)
        else:
            topology = grid.coded.topology
            values = _decoded_values(grid, topology, output_of, output)
            active = unpack_masks(original.topology.leaf_masks).reshape(-1)[topology.places()]
            threshold, errors = best_threshold(
                scores(grid.threshold_rule, values, grid.grid.background), active
            )
            result.append(replace(grid, threshold=threshold))
            misclassified.append(errors)
        output += outputs
    for group in _sharing(result):
        best = min(group, key=lambda number: misclassified[number] or 0)
        for number in group:
            if number != best:
                result[number] = replace(result[number], threshold=None, topology_of=best)
                misclassified[number] = misclassified[best]
    return tuple(result), tuple(misclassified)


def _sharing(grids: Sequence[PreparedGrid]) -> list[list[int]]:
    """Group the numbers of whole-leaf grids by topology.

    A narrow band shares with none: its threshold tells the inside too.
    """
    return of_one_topology(
        grids,
        [
            n
            for n, grid in enumerate(grids)
            if grid.threshold is not None and grid.threshold_rule != WITHIN
        ],
    )


def _decoded_values(
    grid: PreparedGrid, topology: Topology, output_of: OutputOf, output: int
) -> NDArray[np.float32]:
    """Give decoded values float32 (N, C), not clamped, of the leaf voxels of a topology.

    output: number of the grid's first output
    """
    scale = grid.normalisation
    values = np.repeat(scale.minimum.astype(np.float32)[None], topology.leaf_voxel_count, axis=0)
    for component in np.flatnonzero(scale.varying):
        low, high = float(scale.minimum[component]), float(scale.maximum[component])
        values[:, component] = denormalise(output_of(output, topology), low, high, clamp=False)
        output += 1
    return values


def best_threshold(values: NDArray[np.float32], active: NDArray[np.bool_]) -> tuple[float, int]:
    """Find the threshold that tells active from inactive voxels best.

    values: float32 (N,) scores
    active: bool (N,)

    Returns the threshold float32, and how many voxels it misclassifies.
    """
    order = np.argsort(-values, kind="stable")
    hits = active[order].astype(np.int64)
    # After the first n values: actives among the rest are missed, inactives among the n are taken
    # for active.
    errors = np.concatenate([[hits.sum()], hits.sum() + np.where(hits > 0, -1, 1).cumsum()])
    ranked = values[order]
    distinct = np.concatenate([[True], ranked[1:] < ranked[:-1], [True]])
    errors[~distinct] = len(values) + 1  # equal values cannot be told apart
    taken = int(errors.argmin())
    below = ranked[taken] if taken < len(ranked) else np.nextafter(ranked[-1], np.float32(-np.inf))
    return float(below), int(errors[taken])
