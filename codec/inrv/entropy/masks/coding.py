"""Masks to the words of a range coder, and back."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from inrv.entropy.masks.constants import PROBABILITY_BITS, VOXELS
from inrv.entropy.masks.kinds import FULL, MIXED, kinds_of
from inrv.entropy.masks.model import Model
from inrv.entropy.masks.wavefront import BlockFinder, Leaves
from inrv.entropy.range_coder import BIT, RangeReader, RangeWriter

Masks = NDArray[np.uint8]
Words = NDArray[np.uint32]
NOTHING = np.zeros(0, dtype=np.uint8)


def encode_masks(
    origins: NDArray[np.int32],
    masks: Masks,
    reference: Masks | None = None,
    kinds: NDArray[np.uint8] | None = None,
) -> Words:
    """The words uint32 (W,) that hold the mixed ones among some leaf masks.

    origins: int32 (L, 3) of the leaves
    masks: uint8 (L, 64) of the leaves
    reference: uint8 (L, 64) other masks of the same leaves, from which these are predicted
    kinds: uint8 (L,) by default the masks' own; MIXED may stand for any
    """
    kinds = kinds_of(masks) if kinds is None else kinds
    leaves, model, prediction = _begin(origins, kinds, reference)
    packed = masks[leaves.mixed]
    voxels = np.unpackbits(packed, axis=1, bitorder="little").view(np.bool_).reshape(-1)
    writer = RangeWriter()
    for batch in leaves.batches():
        expected = model.expect(leaves, batch, prediction)
        active = voxels[batch]
        writer.encode(active.astype(np.int32), BIT, expected / (1 << PROBABILITY_BITS))
        model.learn(active)
        leaves.mark(batch, active)
    return writer.words()


def decode_masks(
    origins: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    words: Words,
    reference: Masks | None = None,
) -> Masks:
    """The masks uint8 (L, 64) of some leaves.

    origins: int32 (L, 3) of the leaves
    kinds: uint8 (L,) of the leaves
    words: uint32 (W,) of `encode_masks`
    reference: uint8 (L, 64) the masks from which these are predicted, if any

    Raises FormatError (S11) where the words do not fit the leaves.
    """
    leaves, model, prediction = _begin(origins, kinds, reference)
    reader = RangeReader(words, "S11", "the words of the masks")
    for batch in leaves.batches():
        expected = model.expect(leaves, batch, prediction)
        active = reader.decode(BIT, expected / (1 << PROBABILITY_BITS)).astype(np.bool_)
        model.learn(active)
        leaves.mark(batch, active)
    reader.check_end(f"the masks end before their {len(words):,} words do")
    masks = np.zeros((len(kinds), VOXELS // 8), dtype=np.uint8)
    masks[kinds == FULL] = 255
    masks[leaves.mixed] = leaves.masks()
    return masks


def _begin(
    origins: NDArray[np.int32], kinds: NDArray[np.uint8], reference: Masks | None
) -> tuple[Leaves, Model, Masks]:
    """What is known of the leaves, the statistics, and the bits that predict the mixed leaves."""
    leaves = Leaves(origins, kinds == FULL, np.flatnonzero(kinds == MIXED))
    prediction = (
        NOTHING if reference is None else _prediction(origins, reference)[leaves.mixed].reshape(-1)
    )
    return leaves, Model(predicted=reference is not None), prediction


def _prediction(origins: NDArray[np.int32], reference: Masks) -> Masks:
    """For each voxel uint8 (L, 512) seven bits of `reference`, the voxel's own first.

    Those behind are of its neighbours at +x, +y, +z, -x, -y, -z.
    """
    blocks = origins.astype(np.int64) >> 3
    find = BlockFinder(blocks)
    cells = np.unpackbits(reference, axis=1, bitorder="little").reshape(-1, 8, 8, 8)
    cells = np.concatenate(
        [cells, np.zeros((1, 8, 8, 8), dtype=np.uint8)]
    )  # what lies outside every leaf
    result: Masks = cells[:-1].copy()
    for direction, axis in itertools.product((1, -1), range(3)):
        shift = direction * np.eye(3, dtype=np.int64)[axis]
        beyond = cells[find(blocks + shift, len(blocks))]
        moved = np.roll(cells[:-1], -direction, axis=axis + 1)
        edge: list[slice | int] = [slice(None)] * 4
        edge[axis + 1] = 7 if direction > 0 else 0
        moved[tuple(edge)] = np.roll(beyond, -direction, axis=axis + 1)[tuple(edge)]
        result = ((result << 1) | moved).astype(np.uint8)
    return result.reshape(-1, VOXELS)
