"""Which grids get exact topology, and which whole leaves: whatever makes them cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inrv.encoding.job import EncodeJob
from inrv.encoding.thresholds import of_one_topology, rule_of, with_whole_leaves
from inrv.entropy.masks import encode_masks
from inrv.fields.seam import Goal
from inrv.grids.thresholds import ABOVE
from inrv.storage import PreparedGrid


@dataclass(frozen=True, eq=False)
class Form:
    """A form of a grid.

    grid: in this form
    bits: that its values take, about
    steps: quantiser steps by component
    """

    grid: PreparedGrid
    bits: float
    steps: dict[int, float]


def cheapest_forms(
    job: EncodeJob, grids: Sequence[PreparedGrid], psnr: float
) -> tuple[tuple[PreparedGrid, ...], dict[tuple[int, int], float]]:
    """Find the cheapest form of every grid.

    Returns the grids, and the quantiser steps found, by number of the grid and component.

    A form has exact or whole-leaf topology, and frequent values set apart or not. Grids of one
    topology go together: their masks are stored once. Where the field cannot tell what a form
    takes, grids have whole leaves if their active values all lie above the background.
    """
    chosen, steps = list(grids), dict[tuple[int, int], float]()
    for group in of_one_topology(grids, range(len(grids))):
        rules = [
            None if grids[number].lossless else rule_of(grids[number].coded) for number in group
        ]
        if None in rules:
            continue
        topology = grids[group[0]].grid.topology
        masks = sum(map(len, encode_masks(topology.leaf_origins, topology.leaf_masks)))
        whole, exact = list[Form](), list[Form]()
        for number, rule in zip(group, rules, strict=True):
            assert rule is not None
            grid = grids[number]
            kinds = (grid, grid.without_frequent_values()) if len(grid.frequent.values) else (grid,)
            whole_kinds = [with_whole_leaves(kind, rule) for kind in kinds]
            cheapest = _cheapest(job, whole_kinds, psnr, {}, grid)
            if cheapest is None:
                break
            found = _cheapest(job, kinds, psnr, cheapest.steps, grid)
            assert found is not None
            whole.append(cheapest)
            exact.append(found)
        if len(whole) < len(group):
            for number, rule in zip(group, rules, strict=True):
                chosen[number] = (
                    with_whole_leaves(grids[number], ABOVE) if rule == ABOVE else grids[number]
                )
            continue
        cheaper = (
            whole
            if sum(form.bits for form in whole) < sum(form.bits for form in exact) + 8 * masks
            else exact
        )
        for number, form in zip(group, cheaper, strict=True):
            chosen[number] = form.grid
            steps |= {(number, component): step for component, step in form.steps.items()}
    return tuple(chosen), steps


def _cheapest(
    job: EncodeJob,
    forms: Sequence[PreparedGrid],
    psnr: float,
    steps: dict[int, float],
    like: PreparedGrid,
) -> Form | None:
    """Find the form that takes the fewest bits at the quality that is asked.

    steps: quantiser steps by component to begin the search with
    like: one of all the forms of the grid

    Returns None where the field cannot tell.
    """
    found = list[Form]()
    for form in forms:
        estimate = job.encoder.estimate(form, Goal(psnr), steps, like)
        if estimate is not None:
            found.append(Form(form, estimate.bits + form.bits_apart, estimate.steps))
    return min(found, key=lambda form: form.bits, default=None)
