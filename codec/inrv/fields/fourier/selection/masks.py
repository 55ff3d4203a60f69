"""Which voxels are trained on: the paper's BBX, AVM and dilated AVM, and the AVM of the stored topology.

A selection is a sparse set of voxels, held as a `Topology` without tiles: memory follows the voxels selected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from inrv.errors import OptionError, SelectionError
from inrv.grids import Box, Grid, Topology
from inrv.grids.grid import block_coordinates, leaves_within
from inrv.grids.topology import LEAF_EDGE, LEAF_VOXELS, leaf_keys, pack_masks, unpack_masks

LARGEST_SELECTION = 1 << 29
_PART = 1 << 13


def joint_box(grids: Sequence[Grid]) -> Box | None:
    """The smallest box that holds the active voxels of every grid, in index space."""
    boxes = [grid.topology.box for grid in grids]
    found: Box | None = None
    for box in boxes:
        found = box if found is None else found if box is None else found.union(box)
    return found


def select_voxels(grids: Sequence[Grid], selection: str, dilation: float) -> Topology:
    """The voxels to train on.

    selection  'topology': active leaf voxels of any grid; 'avm': voxels where any normalised value is > 0, eq. (2)
    dilation   l >= 0 voxels around them, eq. (3), within the joint active box; math.inf selects the whole box (BBX)

    Raises OptionError for an unknown selection or a negative or fractional l, SelectionError where too many voxels
    would be selected.
    """
    if dilation < 0 or (math.isfinite(dilation) and dilation != int(dilation)):
        raise OptionError(f"`dilation={dilation}` must be a whole number of voxels >= 0, or inf for the whole box")
    box = joint_box(grids)
    if box is None:
        return Topology.empty()
    if selection not in ("topology", "avm"):
        raise OptionError(f"`selection={selection!r}` is not 'topology' or 'avm'")
    if math.isinf(dilation):
        return whole_box(box)
    mask = union([leaf_mask(grid) for grid in grids]) if selection == "topology" else positive_voxels(grids, box)
    return dilate(mask, int(dilation), box)


def leaf_mask(grid: Grid) -> Topology:
    """The active leaf voxels of `grid`, without its tiles: those are stored exactly and need no training."""
    return Topology.from_leaves(grid.topology.leaf_origins, grid.topology.leaf_masks)


def union(masks: Sequence[Topology]) -> Topology:
    """Voxels in any of the masks."""
    origins = torch.cat([mask.leaf_origins for mask in masks])
    if not len(origins):
        return Topology.empty()
    keys, inverse = torch.unique(leaf_keys(origins), return_inverse=True)
    merged = torch.zeros((len(keys), 64), dtype=torch.uint8)
    placed = torch.zeros((len(keys), 3), dtype=torch.int32)
    placed[inverse] = origins
    for mask, part in zip(masks, inverse.split([m.leaf_count for m in masks]), strict=True):
        merged[part] |= mask.leaf_masks
    return Topology.from_leaves(placed, merged)


def whole_box(box: Box) -> Topology:
    """Every voxel of `box`."""
    _check_size(box.volume, box)
    origins = box.leaf_origins()
    return clip(Topology.from_leaves(origins, torch.full((len(origins), 64), 255, dtype=torch.uint8)), box)


def positive_voxels(grids: Sequence[Grid], box: Box) -> Topology:
    """Eq. (2): voxels of `box` where any grid's value exceeds that grid's minimum over the box, in any component."""
    masks = []
    for grid in grids:
        minimum = minimum_over(grid, box)
        if bool((grid.background > minimum).any()):
            return whole_box(box)
        masks.append(_above(grid, minimum, box))
    return clip(union(masks), box)


def minimum_over(grid: Grid, box: Box) -> Tensor:
    """The smallest value of each component over `box`, the background included where a voxel holds it: float32 (C,)."""
    parts = [grid.values, grid.tile_values, grid.inactive.values]
    if grid.topology.active_voxel_count + len(grid.inactive.places) < box.volume:
        parts.append(grid.background[None])
    return torch.cat(parts).amin(0)


def _above(grid: Grid, minimum: Tensor, box: Box) -> Topology:
    origins = [grid.topology.leaf_origins]
    for origin, edge in zip(grid.topology.tile_origins, grid.topology.tile_edges.tolist(), strict=True):
        low_x, low_y, low_z = origin.tolist()
        inside = box.intersection(Box((low_x, low_y, low_z), (low_x + edge - 1, low_y + edge - 1, low_z + edge - 1)))
        if inside is not None:
            _check_size(inside.volume, box)
            origins.append(inside.leaf_origins().to(torch.int32))
    joined = torch.cat(origins)
    masks = [pack_masks((grid.blocks(part) > minimum).any(dim=2)) for part in joined.split(_PART)]
    return Topology.from_leaves(joined, torch.cat(masks)) if masks else Topology.empty()


def clip(mask: Topology, box: Box) -> Topology:
    """The voxels of `mask` inside `box`; leaves left empty are dropped."""
    if not mask.leaf_count:
        return mask
    masks = []
    for origins, packed in zip(mask.leaf_origins.split(_PART), mask.leaf_masks.split(_PART), strict=True):
        inside = box.contains(block_coordinates(origins)).reshape(-1, LEAF_VOXELS)
        masks.append(pack_masks(unpack_masks(packed) & inside))
    joined = torch.cat(masks)
    keep = (joined != 0).any(dim=1)
    return Topology.from_leaves(mask.leaf_origins[keep], joined[keep])


def dilate(mask: Topology, radius: int, box: Box) -> Topology:
    """`mask` grown by `radius` voxels to a cube of side 2 radius + 1 around each voxel, within `box`.

    The cube is separable: eq. (3) applied `radius` times equals one dilation along each axis.
    """
    for axis in range(3):
        left = radius
        while left > 0 and mask.leaf_count:
            step = min(left, LEAF_EDGE)
            mask = _dilate_along(mask, step, axis, box)
            left -= step
    return clip(mask, box)


def _dilate_along(mask: Topology, step: int, axis: int, box: Box) -> Topology:
    """Grow by `step` <= 8 voxels along one axis; only the next leaf on either side can be reached."""
    move = torch.zeros(3, dtype=torch.int32)
    move[axis] = LEAF_EDGE
    reached = torch.cat([mask.leaf_origins - move, mask.leaf_origins, mask.leaf_origins + move])
    reached = leaves_within(reached, box).unique(dim=0)
    _check_size(len(reached) * LEAF_VOXELS, box)
    parts = [_grown(mask, origins, move, step, axis) for origins in reached.split(_PART)]
    return Topology.from_leaves(reached, torch.cat(parts))


def _grown(mask: Topology, origins: Tensor, move: Tensor, step: int, axis: int) -> Tensor:
    """Packed masks (n, 64) of the leaves at `origins` after growing `mask` along `axis`."""
    line = [mask.masks_of(mask.find_leaves(origins + shift * move)).reshape(-1, 8, 8, 8) for shift in (-1, 0, 1)]
    wide = torch.cat(line, dim=axis + 1).movedim(axis + 1, 3)
    total = torch.nn.functional.pad(wide.to(torch.int8).cumsum(3, dtype=torch.int8), (1, 0))
    first = torch.arange(LEAF_EDGE, 2 * LEAF_EDGE)
    grown = total[..., first + step + 1] > total[..., first - step]
    return pack_masks(grown.movedim(3, axis + 1).reshape(-1, LEAF_VOXELS))


def _check_size(voxels: int, box: Box) -> None:
    if voxels > LARGEST_SELECTION:
        raise SelectionError(
            f"the selection in box {box.lower} to {box.upper} would hold {voxels:,} voxels, more than {LARGEST_SELECTION:,}: "
            "use the stored topology (selection 'topology') or a smaller dilation"
        )
