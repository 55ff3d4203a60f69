"""Masks to the words of a range coder, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrv.entropy.masks.constants import PROBABILITY_BITS, VOXELS
from inrv.entropy.masks.kinds import FULL, MIXED, kinds_of
from inrv.entropy.range_coder import BIT, RangeReader, RangeWriter

if TYPE_CHECKING:
    from inrv.entropy.masks.model import Model
    from inrv.entropy.masks.wavefront import Leaves

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
    """What is known of the leaves before the first voxel, the statistics, and the prediction.

    numba is imported here and not before: who only lists what a file holds need not wait for it.
    """
    from inrv.entropy.masks.model import Model
    from inrv.entropy.masks.wavefront import Leaves, predictions_of

    leaves = Leaves(origins, kinds == FULL, np.flatnonzero(kinds == MIXED))
    prediction = NOTHING
    if reference is not None:
        prediction = predictions_of(origins, reference)[leaves.mixed].reshape(-1)
    return leaves, Model(predicted=reference is not None), prediction
