"""Selections of voxels to train on.

There are the paper's BBX, AVM and dilated AVM, and the active voxels of the stored topology. A
selection is a sparse set of voxels, held as a `Topology` without tiles, so that memory follows the
voxels selected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError, SelectionError
from inrv.grids import (
    LEAF_EDGE,
    LEAF_VOXELS,
    Box,
    Grid,
    Topology,
    block_coordinates,
    leaf_keys,
    pack_masks,
    unpack_masks,
)
from inrv.options import CHOICES

LARGEST_SELECTION = 1 << 29  # voxels
PART = 1 << 13  # leaves at a time


def joint_box(grids: Sequence[Grid]) -> Box | None:
    """Return the smallest box in index space that holds the active voxels of every grid."""
    boxes = [grid.topology.box for grid in grids]
    found: Box | None = None
    for box in boxes:
        found = box if found is None else found if box is None else found.union(box)
    return found


def select_voxels(grids: Sequence[Grid], selection: str, dilation: float) -> Topology:
    """Select the voxels to train on.

    grids: grids to be coded together
    selection: 'topology' selects the active leaf voxels of any grid, 'avm' the voxels where any
        normalised value is > 0, eq. (2)
    dilation: voxels by which the selection grows, eq. (3), within the joint active box; math.inf
        selects the whole box (BBX)

    Raises OptionError for an unknown selection or a negative or fractional dilation, and
    SelectionError where too many voxels would be selected.
    """
    if dilation < 0 or (math.isfinite(dilation) and dilation != int(dilation)):
        raise OptionError(
            f"`dilation={dilation}` must be a whole number of voxels >= 0, or inf for the whole box"
        )
    box = joint_box(grids)
    if box is None:
        return Topology.empty()
    if selection not in CHOICES["selection"]:
        raise OptionError(f"`selection={selection!r}` is not 'topology' or 'avm'")
    if math.isinf(dilation):
        return whole_box(box)
    mask = (
        union([leaf_mask(grid) for grid in grids])
        if selection == "topology"
        else positive_voxels(grids, box)
    )
    return dilate(mask, int(dilation), box)


def leaf_mask(grid: Grid) -> Topology:
    """Return the active leaf voxels of a grid.

    Its tiles are stored exactly and need no training.
    """
    return Topology.from_leaves(grid.topology.leaf_origins, grid.topology.leaf_masks)


def union(masks: Sequence[Topology]) -> Topology:
    """Return the voxels in any of the masks."""
    origins = np.concatenate([mask.leaf_origins for mask in masks])
    if not len(origins):
        return Topology.empty()
    keys, first, inverse = np.unique(leaf_keys(origins), return_index=True, return_inverse=True)
    merged = np.zeros((len(keys), LEAF_VOXELS // 8), dtype=np.uint8)
    ends = np.cumsum([mask.leaf_count for mask in masks])
    for mask, part in zip(masks, np.split(inverse, ends[:-1]), strict=True):
        merged[part] |= mask.leaf_masks
    return Topology.from_leaves(origins[first], merged)


def whole_box(box: Box) -> Topology:
    """Return every voxel of a box. Raises SelectionError where they are too many."""
    _check_size(box.volume, box)
    origins = box.leaf_origins()
    full = np.full((len(origins), LEAF_VOXELS // 8), 255, dtype=np.uint8)
    return clip(Topology.from_leaves(origins, full), box)


def positive_voxels(grids: Sequence[Grid], box: Box) -> Topology:
    """Return the voxels where any grid's value exceeds its minimum over the box, eq. (2).

    One component that does so is enough.
    """
    masks = []
    for grid in grids:
        minimum = minimum_over(grid, box)
        if bool((grid.background > minimum).any()):
            return whole_box(box)
        masks.append(_above(grid, minimum, box))
    return clip(union(masks), box)


def minimum_over(grid: Grid, box: Box) -> NDArray[np.float32]:
    """Return the smallest value of each component over a box, float32 (C,).

    The background counts where a voxel of the box holds it.
    """
    parts = [grid.values, grid.tile_values, grid.inactive.values]
    if grid.topology.active_voxel_count + len(grid.inactive.places) < box.volume:
        parts.append(grid.background[None])
    minimum: NDArray[np.float32] = np.concatenate(parts).min(axis=0)
    return minimum


def _above(grid: Grid, minimum: NDArray[np.float32], box: Box) -> Topology:
    """Return the voxels of leaves and tiles with a component above its minimum (C,)."""
    origins = [grid.topology.leaf_origins]
    for origin, edge in zip(
        grid.topology.tile_origins, grid.topology.tile_edges.tolist(), strict=True
    ):
        low_x, low_y, low_z = origin.tolist()
        inside = box.intersection(
            Box((low_x, low_y, low_z), (low_x + edge - 1, low_y + edge - 1, low_z + edge - 1))
        )
        if inside is not None:
            _check_size(inside.volume, box)
            origins.append(inside.leaf_origins().astype(np.int32))
    joined = np.concatenate(origins)
    masks = [pack_masks((grid.blocks(part) > minimum).any(axis=2)) for part in _parts(joined)]
    return Topology.from_leaves(joined, np.concatenate(masks)) if masks else Topology.empty()


def _parts(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield PART rows at a time."""
    for first in range(0, len(rows), PART):
        yield rows[first : first + PART]


def clip(mask: Topology, box: Box) -> Topology:
    """Return the voxels of a mask inside a box, without leaves that are left empty."""
    if not mask.leaf_count:
        return mask
    masks = []
    for origins, packed in zip(_parts(mask.leaf_origins), _parts(mask.leaf_masks), strict=True):
        inside = box.contains(block_coordinates(origins)).reshape(-1, LEAF_VOXELS)
        masks.append(pack_masks(unpack_masks(packed) & inside))
    joined = np.concatenate(masks)
    keep = (joined != 0).any(axis=1)
    return Topology.from_leaves(mask.leaf_origins[keep], joined[keep])


def dilate(mask: Topology, radius: int, box: Box) -> Topology:
    """Grow a mask to a cube of side 2 radius + 1 around each voxel, within a box.

    The cube is separable: eq. (3) applied `radius` times equals one dilation along each axis.
    """
    for axis in range(3):
        remaining = min(radius, box.shape[axis])
        while remaining > 0 and mask.leaf_count:
            width = min(remaining, LEAF_EDGE)
            mask = _dilate_along(mask, width, axis, box)
            remaining -= width
    return clip(mask, box)


def _dilate_along(mask: Topology, width: int, axis: int, box: Box) -> Topology:
    """Grow a mask by `width` <= 8 voxels along an axis.

    Only the next leaf on either side can be reached.
    """
    move = np.zeros(3, dtype=np.int32)
    move[axis] = LEAF_EDGE
    reached = np.concatenate(
        [mask.leaf_origins - move, mask.leaf_origins, mask.leaf_origins + move]
    )
    reached = np.unique(box.leaves_within(reached), axis=0)
    _check_size(len(reached) * LEAF_VOXELS, box)
    parts = [_grown(mask, origins, move, width, axis) for origins in _parts(reached)]
    return Topology.from_leaves(reached, np.concatenate(parts) if parts else mask.leaf_masks[:0])


def _grown(
    mask: Topology, origins: NDArray[np.int32], move: NDArray[np.int32], width: int, axis: int
) -> NDArray[np.uint8]:
    """Return the packed masks uint8 (n, 64) of the leaves at `origins` of a mask that grows."""
    line = [
        mask.masks_of(mask.find_leaves(origins + shift * move)).reshape(-1, 8, 8, 8)
        for shift in (-1, 0, 1)
    ]
    wide = np.moveaxis(np.concatenate(line, axis=axis + 1), axis + 1, 3)
    total = np.pad(wide.cumsum(axis=3, dtype=np.int8), ((0, 0), (0, 0), (0, 0), (1, 0)))
    first = np.arange(LEAF_EDGE, 2 * LEAF_EDGE)
    grown = total[..., first + width + 1] > total[..., first - width]
    return pack_masks(np.moveaxis(grown, 3, axis + 1).reshape(-1, LEAF_VOXELS))


def _check_size(voxels: int, box: Box) -> None:
    """Raise SelectionError where a selection in a box would hold too many voxels."""
    if voxels > LARGEST_SELECTION:
        raise SelectionError(
            f"the selection in box {box.lower} to {box.upper} would hold {voxels:,} voxels, "
            f"more than {LARGEST_SELECTION:,}: "
            "use the stored topology (selection 'topology') or a smaller dilation"
        )
