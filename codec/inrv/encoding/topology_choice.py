"""Coarse topologies: grids that store their leaves alone, and find their active voxels by a threshold again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from inrv.grids import Grid, LeafValues, Normalisation, Topology, denormalise
from inrv.grids.thresholds import ABOVE, AWAY, WITHIN, scores
from inrv.grids.topology import unpack_masks
from inrv.storage import PreparedGrid

Decoded = Callable[[Topology, int], Tensor]


def rule_of(grid: Grid) -> str | None:
    """The rule by which a threshold can tell active from inactive voxels of a grid, if one can.

    Inactive voxels of its leaves have to hold the background, or for a narrow band plus and minus the background.
    """
    if not len(grid.values):
        return None
    background, beside = grid.background, grid.inactive.values
    if len(beside) or grid.grid_class == "level set":
        band = grid.components == 1 and bool((beside == -background).all()) and float(background) > 0
        return WITHIN if band and bool((grid.values.abs() <= background).all()) else None
    return ABOVE if grid.components == 1 and bool(grid.values.min() > background) else AWAY


def coarse(grid: Grid) -> Grid:
    """The grid with every voxel of its leaves active, with the values that they have."""
    masks = torch.full_like(grid.topology.leaf_masks, 255)
    values = grid.blocks(grid.topology.leaf_origins).reshape(-1, grid.components)
    topology = replace(grid.topology, leaf_masks=masks)
    return replace(grid, topology=topology, values=values, inactive=LeafValues.none(grid.components))


def coarsened(item: PreparedGrid, rule: str) -> PreparedGrid:
    """The same grid with a coarse topology."""
    whole = replace(item, grid=coarse(item.grid), threshold_rule=rule)
    return replace(whole, normalisation=Normalisation.fit(whole.coded.values))


def with_thresholds(
    coded: Sequence[PreparedGrid], originals: Sequence[Grid], decoded: Decoded
) -> tuple[tuple[PreparedGrid, ...], tuple[int | None, ...]]:
    """The grids, coarse ones with the threshold that is best for the decoded values, and the voxels each takes wrongly.

    Of grids whose topologies are the same one has a threshold, the one that takes the fewest voxels wrongly, and the others have
    the topology that it decodes to. `decoded` gives an output (N,) on the leaf voxels of a coarse topology that are not kept.
    """
    result, misclassified, output = list[PreparedGrid](), list[int | None](), 0
    for item, original in zip(coded, originals, strict=True):
        outputs = int(item.normalisation.varying.sum())
        if item.grid.topology is original.topology or not outputs:
            result.append(item)
            misclassified.append(None)
        else:
            topology = item.coded.topology
            values = _values(item, topology, decoded, output)
            active = unpack_masks(original.topology.leaf_masks).reshape(-1)[topology.places()]
            threshold, errors = best_threshold(scores(item.threshold_rule, values, item.grid.background), active)
            result.append(replace(item, threshold=threshold))
            misclassified.append(errors)
        output += outputs
    for group in _sharing(result):
        best = min(group, key=lambda number: misclassified[number] or 0)
        for number in group:
            if number != best:
                result[number] = replace(result[number], threshold=None, topology_of=best)
                misclassified[number] = misclassified[best]
    return tuple(result), tuple(misclassified)


def _sharing(items: Sequence[PreparedGrid]) -> list[list[int]]:
    """The numbers of coarse grids by topology; a narrow band, whose inside a threshold tells too, shares with none."""
    return of_one_topology(items, [n for n, i in enumerate(items) if i.threshold is not None and i.threshold_rule != WITHIN])


def of_one_topology(items: Sequence[PreparedGrid], numbers: Iterable[int]) -> list[list[int]]:
    """The `numbers` of grids among `items`, those with identical topologies together."""
    groups = list[list[int]]()
    for number in numbers:
        same = [group for group in groups if items[group[0]].grid.topology.identical(items[number].grid.topology)]
        if same:
            same[0].append(number)
        else:
            groups.append([number])
    return groups


def _values(item: PreparedGrid, topology: Topology, decoded: Decoded, output: int) -> Tensor:
    """Decoded values float32 (N, C), not clamped, of the leaf voxels of a topology; the grid's outputs begin at `output`."""
    scale = item.normalisation
    values = scale.minimum.float().expand(topology.leaf_voxel_count, -1).clone()
    for component in scale.varying.nonzero()[:, 0].tolist():
        low, high = float(scale.minimum[component]), float(scale.maximum[component])
        values[:, component] = denormalise(decoded(topology, output), low, high, clamp=False)
        output += 1
    return values


def best_threshold(values: Tensor, active: Tensor) -> tuple[float, int]:
    """The threshold float32 that tells `active`, bool (N,), from scores float32 (N,) best, and how many it misses."""
    order = values.argsort(descending=True)
    hits = active[order].to(torch.int64)
    # After the first n values: actives among the rest are missed, inactives among the n are taken for active.
    errors = torch.cat([hits.sum()[None], hits.sum() + torch.where(hits.bool(), -1, 1).cumsum(0)])
    ranked = values[order]
    end = hits.new_ones(1, dtype=torch.bool)
    distinct = torch.cat([end, ranked[1:] < ranked[:-1], end])
    errors[~distinct] = len(values) + 1  # equal values cannot be told apart
    taken = int(errors.argmin())
    below = ranked[taken] if taken < len(ranked) else torch.nextafter(ranked[-1], ranked.new_tensor(-math.inf))
    return float(below), int(errors[taken])
