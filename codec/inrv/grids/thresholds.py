"""Which voxels of a whole-leaf topology are active: those whose decoded value scores high.

A whole-leaf topology stores leaves without masks: all their voxels are coded, and those whose
value has a score above a threshold are active.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inrv.grids.blocks import LEAF_VOXELS, pack_masks
from inrv.grids.grid import Grid, LeafValues

ABOVE, AWAY, WITHIN = "above", "away", "within"


def scores(
    rule: str, values: NDArray[np.float32], background: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Score values float32 (N, C) by a rule; every operation rounds to float32: float32 (N,).

    rule: 'above': the value itself; C is 1
        'away': its distance from the background, as of a velocity
        'within': how far it lies inside a band around 0 that is as wide as the background, as of
        a level set; C is 1
    background: float32 (C,)
    """
    if rule == ABOVE:
        return values[:, 0]
    total: NDArray[np.float32]
    if rule == WITHIN:
        total = np.abs(background[0]) - np.abs(values[:, 0])
        return total
    with np.errstate(over="ignore"):  # what is infinitely far away is active
        total = np.square(values[:, 0] - background[0])
        for component in range(1, values.shape[1]):
            total += np.square(values[:, component] - background[component])
        np.sqrt(total, out=total)
    return total


def thresholded(
    coarse: Grid, values: NDArray[np.float32], rule: str, threshold: float, kept: LeafValues
) -> tuple[Grid, NDArray[np.int64]]:
    """Give the grid whose topology follows from decoded values, and the leaves that stay.

    coarse: the grid with the whole-leaf topology
    values: float32 (N, C) decoded values of its N voxels
    kept: exact values, whose voxels are active whatever they decode to

    Leaves without an active voxel are left out. By the rule 'within' an inactive voxel whose value
    is below 0 takes minus the background, and its leaf stays.
    """
    places = coarse.topology.places()
    active = np.zeros(coarse.topology.leaf_count * LEAF_VOXELS, dtype=np.bool_)
    active[places] = scores(rule, values, coarse.background) > np.float32(threshold)
    active[kept.places] = True
    masks = active.reshape(-1, LEAF_VOXELS)
    stay, inactive = masks.any(axis=1), coarse.inactive
    if rule == WITHIN:
        inside = places[~active[places] & (values[:, 0] < 0)]
        negative = np.broadcast_to(-coarse.background, (len(inside), 1))
        inactive = inactive.joined(LeafValues(inside, negative))
        stay[inside // LEAF_VOXELS] = True
    leaves = np.flatnonzero(stay)
    topology = replace(coarse.topology, leaf_masks=pack_masks(masks)).subset(leaves)
    unknown = np.broadcast_to(coarse.values[:1], (topology.leaf_voxel_count, coarse.components))
    grid = replace(coarse, topology=topology, values=unknown, inactive=inactive.subset(leaves))
    return grid, leaves
