"""Values that the field does not give, as tensors of INAC, EXAC and FREQ chunks, and back.

Each comes as masks of voxels and their values, in the order of the voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inrv.container import Arrays, take
from inrv.entropy.masks import EMPTY, KINDS, MIXED, decode_masks, encode_masks, kinds_of, regions_of
from inrv.errors import FormatError
from inrv.grids import (
    LEAF_VOXELS,
    PART_LEAVES,
    FrequentValues,
    Grid,
    LeafValues,
    Topology,
    mask_places,
    pack_masks,
    unpack_masks,
)
from inrv.grids.blocks import MASK_BYTES
from inrv.storage.coded_masks import pack_coded, starts_of, unpack_coded

MOST_FREQUENT = 1 << 8  # values of a FREQ chunk
FULL_BYTE = 255  # eight active voxels


def pack_inactive(grid: Grid) -> Arrays:
    """Return the tensors of an INAC chunk: values of tiles and inactive voxels.

    Nothing is returned where there are none.
    """
    topology, inactive = grid.topology, grid.inactive
    if not topology.tile_count and not len(inactive.places):
        return {}
    parts: list[bytes] = []
    if len(inactive.places):
        masks = masks_of(inactive.places, topology.leaf_count)
        active = topology.leaf_masks
        parts = encode_masks(topology.leaf_origins, masks, active, _inactive_kinds(active))
    return {
        "tile_values": grid.tile_values,
        **pack_coded("mask", parts),
        "inactive_values": inactive.values,
    }


def unpack_inactive(
    arrays: Arrays, topology: Topology, components: int
) -> tuple[NDArray[np.float32], LeafValues]:
    """Return the values float32 (T, C) of tiles, and those of inactive voxels."""
    shape = topology.tile_count, components
    tile_values: NDArray[np.float32] = take(arrays, "tile_values", np.float32, shape)
    if not has_inactive(arrays):
        values = take(arrays, "inactive_values", np.float32, (0, components))
        return tile_values, LeafValues(np.zeros(0, dtype=np.int64), values)
    active = topology.leaf_masks
    kinds = _inactive_kinds(active)
    masks = unpack_coded("mask", arrays, topology.leaf_origins, kinds, active)
    if (masks & active).any():
        marked = "a voxel that the topology says is active"
        raise FormatError("S8", f"the masks of inactive voxels mark {marked}")
    return tile_values, _take_values(arrays, "inactive_values", masks, components)


def has_inactive(arrays: Arrays) -> bool:
    """Return whether an INAC chunk has values of inactive voxels. Raises FormatError."""
    return len(take(arrays, "mask_lengths", np.int32, (None,))) > 0


def _inactive_kinds(active: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the kinds of masks of inactive voxels: none in leaves whose every voxel is active."""
    return np.where((active == FULL_BYTE).all(axis=1), EMPTY, MIXED).astype(np.uint8)


def pack_exact(exact: LeafValues, topology: Topology) -> Arrays:
    """Return the tensors of an EXAC chunk; nothing where there are no exact values."""
    if not len(exact.places):
        return {}
    return {
        "exact_masks": masks_of(exact.places, topology.leaf_count),
        "exact_values": exact.values,
    }


def unpack_exact(arrays: Arrays, topology: Topology, components: int) -> LeafValues:
    """Return the values of an EXAC chunk. Raises FormatError."""
    masks = take(arrays, "exact_masks", np.uint8, (topology.leaf_count, MASK_BYTES))
    if (masks & ~topology.leaf_masks).any():
        message = "exact_masks mark a voxel that the topology says is not active"
        raise FormatError("S10", message)
    return _take_values(arrays, "exact_values", masks, components)


def pack_frequent(frequent: FrequentValues, topology: Topology) -> Arrays:
    """Return the tensors of a FREQ chunk; nothing where no value is frequent.

    Masks are coded one after the other, each predicted from the voxels that are still open. Where
    the values account for all active voxels, the last one has no mask: it is what the others leave.
    """
    if not len(frequent.values):
        return {}
    origins, left = topology.leaf_origins, topology.leaf_masks.copy()
    whole = len(frequent.places) == topology.leaf_voxel_count
    kinds, parts, lengths = [], list[bytes](), list[list[int]]()
    for number in range(len(frequent.values) - whole):
        mask = masks_of(frequent.places[frequent.which == number], topology.leaf_count)
        kinds.append(kinds_of(mask))
        coded = encode_masks(origins, mask, left)
        lengths.append([len(part) for part in coded])
        parts += coded
        left &= ~mask
    return {
        "values": frequent.values,
        "kinds": np.stack(kinds) if kinds else np.zeros((0, len(origins)), dtype=np.uint8),
        "mask_lengths": np.array(lengths, dtype=np.int32).reshape(-1, len(regions_of(origins))),
        "mask_bytes": np.frombuffer(b"".join(parts), dtype=np.uint8),
    }


def unpack_frequent(arrays: Arrays, topology: Topology, components: int) -> FrequentValues:
    """Return the values of a FREQ chunk. Raises FormatError."""
    values = take(arrays, "values", np.float32, (None, components))
    kinds = take(arrays, "kinds", np.uint8, (None, topology.leaf_count))
    regions = len(regions_of(topology.leaf_origins))
    lengths = take(arrays, "mask_lengths", np.int32, (len(kinds), regions))
    if not 1 <= len(values) <= MOST_FREQUENT or len(values) - len(kinds) not in (0, 1):
        rule = f"they must be 1 to {MOST_FREQUENT}, and all but the last must have one"
        found = f"the frequent values are {len(values):,}, with {len(kinds):,} masks"
        raise FormatError("S14", f"{found}: {rule}")
    if (kinds > max(KINDS)).any():
        raise FormatError("S14", f"kinds of frequent values hold one that is not of {KINDS}")
    numbers = np.full((topology.leaf_count, LEAF_VOXELS), -1, dtype=np.int16)
    masks = _frequent_masks(kinds, lengths, arrays, topology)
    try:
        for number, mask in zip(range(len(values)), masks, strict=False):
            held = np.flatnonzero(mask.any(axis=1))
            for first in range(0, len(held), PART_LEAVES):
                leaves = held[first : first + PART_LEAVES]
                marked = unpack_masks(mask[leaves])
                numbers[leaves] = np.where(marked, np.int16(number), numbers[leaves])
    except FormatError as error:  # of the bytes, whatever masks they are of
        raise FormatError("S14", error.message) from error
    places = np.flatnonzero(numbers >= 0)
    return FrequentValues(places, numbers.reshape(-1)[places], values)


def _frequent_masks(
    kinds: NDArray[np.uint8], lengths: NDArray[np.int32], arrays: Arrays, topology: Topology
) -> Iterator[NDArray[np.uint8]]:
    """Yield each mask uint8 (L, 64), and that of all voxels that are left.

    They come one at a time, because they may be many.

    kinds: uint8 (J, L) kinds of the leaves in each mask
    lengths: int32 (J, R) bytes of each mask in each region
    """
    data = take(arrays, "mask_bytes", np.uint8, (None,)).tobytes()
    starts = starts_of(lengths.reshape(-1), len(data))
    regions = lengths.shape[1]
    origins, left = topology.leaf_origins, topology.leaf_masks.copy()
    for number, own in enumerate(kinds):
        bounds = starts[number * regions : (number + 1) * regions + 1]
        mask = decode_masks(origins, own, [data[a:b] for a, b in pairwise(bounds)], left)
        if (mask & ~left).any():
            marked = "a voxel that is not active, or has another frequent value"
            raise FormatError("S14", f"a frequent value's mask marks {marked}")
        yield mask
        left &= ~mask
    yield left


def masks_of(places: NDArray[np.int64], leaves: int) -> NDArray[np.uint8]:
    """Return packed masks uint8 (leaves, 64) of the voxels at `places` int64 (n,)."""
    masks = np.zeros(leaves * LEAF_VOXELS, dtype=np.bool_)
    masks[places] = True
    return pack_masks(masks)


def _take_values(
    arrays: Arrays, name: str, masks: NDArray[np.uint8], components: int
) -> LeafValues:
    """Return the values in the array `name` of the voxels that masks uint8 (L, 64) mark."""
    places = mask_places(masks)
    return LeafValues(places, take(arrays, name, np.float32, (len(places), components)))
