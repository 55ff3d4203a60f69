"""Masks of leaves to the bytes of each region, and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inrv.core.masks import MASK_BYTES, MaskLeaves, decode_region_masks, encode_region_masks
from inrv.entropy.masks.kinds import kinds_of
from inrv.errors import FormatError
from inrv.support.parallel import in_threads

Masks = NDArray[np.uint8]
PRIOR = Path(__file__).with_name("prior-1.bin")
REGION_BITS, LEAF_BITS = 7, 3  # log2 of their edges


def regions_of(origins: NDArray[np.int32]) -> list[slice]:
    """Return which leaves each region of 128^3 holds, in the order of the regions.

    origins: int32 (L, 3) of the leaves, in key order
    """
    corners = origins >> REGION_BITS
    starts = np.flatnonzero((corners[1:] != corners[:-1]).any(axis=1)) + 1
    edges = [0, *starts.tolist(), len(origins)]
    return [slice(first, end) for first, end in pairwise(edges) if end]


def encode_masks(
    origins: NDArray[np.int32],
    masks: Masks,
    reference: Masks | None = None,
    kinds: NDArray[np.uint8] | None = None,
) -> list[bytes]:
    """Return the bytes of each region that hold the mixed ones among some leaf masks.

    origins: int32 (L, 3) of the leaves, in key order
    masks: uint8 (L, 64) of the leaves
    reference: uint8 (L, 64) other masks of the same leaves, from which these are predicted
    kinds: uint8 (L,) by default the masks' own; MIXED may stand for any
    """
    kinds = kinds_of(masks) if kinds is None else kinds

    def encode(region: slice) -> bytes:
        leaves = _leaves(origins, kinds, reference, region)
        return encode_region_masks(prior(), leaves, masks[region])

    return in_threads(encode, regions_of(origins))


def decode_masks(
    origins: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    parts: Sequence[bytes],
    reference: Masks | None = None,
) -> Masks:
    """Return the masks uint8 (L, 64) of some leaves.

    origins: int32 (L, 3) of the leaves, in key order
    kinds: uint8 (L,) of the leaves
    parts: of `encode_masks`, one for each region
    reference: uint8 (L, 64) the masks from which these are predicted, if any

    Raises FormatError (S11) where the bytes do not fit the leaves.
    """

    def decode(region: tuple[slice, bytes]) -> Masks:
        leaves, data = region
        try:
            return decode_region_masks(prior(), _leaves(origins, kinds, reference, leaves), data)
        except FormatError as error:
            message = "coded masks are damaged, or not those of their leaves"
            raise FormatError(error.id, message) from error

    regions = list(zip(regions_of(origins), parts, strict=True))
    none = np.zeros((0, MASK_BYTES), dtype=np.uint8)
    return np.concatenate([none, *in_threads(decode, regions)])


def _leaves(
    origins: NDArray[np.int32], kinds: NDArray[np.uint8], reference: Masks | None, region: slice
) -> MaskLeaves:
    """What the core has to know of the leaves of a region."""
    predicted = None if reference is None else reference[region]
    return MaskLeaves(cells_of(origins[region]), kinds[region], predicted)


def cells_of(origins: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Where leaves at origins int32 (n, 3) lie in their region: x << 8 | y << 4 | z, in leaves."""
    x, y, z = (origins >> LEAF_BITS & 15).T
    cells: NDArray[np.uint16] = (x << 8 | y << 4 | z).astype(np.uint16)
    return cells


@cache
def prior() -> NDArray[np.int8]:
    """What a decoder believes before the first voxel: int8, 16ths of logits."""
    return np.fromfile(PRIOR, dtype=np.int8)
