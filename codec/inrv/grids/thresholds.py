"""Which voxels of a coarse topology are active: those whose decoded value has a score above a threshold."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from inrv.grids.grid import Grid, LeafValues
from inrv.grids.topology import LEAF_VOXELS, pack_masks

ABOVE, AWAY, WITHIN = "above", "away", "within"
RULES = (ABOVE, AWAY, WITHIN)


def scores(rule: str, values: Tensor, background: Tensor) -> Tensor:
    """Scores float32 (N,) of values float32 (N, C), for a background float32 (C,); every operation rounds to float32.

    above   the value; C is 1
    away    its distance from the background, as of a velocity
    within  how far it lies inside a band around 0 that is as wide as the background, as of a level set; C is 1
    """
    if rule == ABOVE:
        return values[:, 0]
    if rule == WITHIN:
        return background[0].abs() - values[:, 0].abs()
    squares = (values - background).square().unbind(dim=1)
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return total.sqrt()


def thresholded(coarse: Grid, values: Tensor, rule: str, threshold: float, kept: LeafValues) -> tuple[Grid, Tensor]:
    """The grid with the topology that follows from decoded `values` float32 (N, C) of its coarse one, and which leaves stay.

    Voxels of `kept` are active whatever they decode to. Leaves without an active voxel are left out, and by the rule 'within'
    an inactive voxel whose value is below 0 takes minus the background, and its leaf stays.
    """
    places = coarse.topology.places()
    active = torch.zeros(coarse.topology.leaf_count * LEAF_VOXELS, dtype=torch.bool, device=values.device)
    active[places] = scores(rule, values, coarse.background) > threshold
    active[kept.places] = True
    stay, inactive = active.reshape(-1, LEAF_VOXELS).any(dim=1), coarse.inactive
    if rule == WITHIN:
        inside = places[~active[places] & (values[:, 0] < 0)]
        inactive = inactive.joined(LeafValues(inside, (-coarse.background).expand(len(inside), 1)))
        stay[inside // LEAF_VOXELS] = True
    leaves = stay.nonzero()[:, 0]
    topology = replace(coarse.topology, leaf_masks=pack_masks(active.reshape(-1, LEAF_VOXELS))).subset(leaves)
    unknown = coarse.values[:1].expand(topology.leaf_voxel_count, -1)
    return replace(coarse, topology=topology, values=unknown, inactive=inactive.subset(leaves)), leaves
