"""Masks to the words of a range coder, and back."""

from __future__ import annotations

import itertools

import constriction
import numpy as np
from numpy.typing import NDArray

from inrv.entropy.masks.constants import PROBABILITY_BITS, VOXELS
from inrv.entropy.masks.kinds import FULL, MIXED, kinds_of
from inrv.entropy.masks.model import Model
from inrv.entropy.masks.wavefront import BlockFinder, Leaves
from inrv.errors import FormatError

Masks = NDArray[np.uint8]
Words = NDArray[np.uint32]
NOTHING = np.zeros(0, dtype=np.uint8)
_BERNOULLI = constriction.stream.model.Bernoulli(perfect=False)


def encode_masks(
    origins: NDArray[np.int32], masks: Masks, reference: Masks | None = None, kinds: NDArray[np.uint8] | None = None
) -> Words:
    """The words uint32 (W,) that hold the mixed ones among the leaf masks uint8 (L, 64) of the leaves at `origins` (L, 3).

    reference  uint8 (L, 64)  other masks of the same leaves, from which these are predicted
    kinds      uint8 (L,)     by default the masks' own; MIXED may stand for any
    """
    kinds = kinds_of(masks) if kinds is None else kinds
    leaves, model, prediction = _begin(origins, kinds, reference)
    voxels = np.unpackbits(masks[leaves.mixed], axis=1, bitorder="little").view(bool).reshape(-1)
    encoder = constriction.stream.queue.RangeEncoder()
    for batch in leaves.batches():
        expected = model.look(leaves, batch, prediction)
        active = voxels[batch]
        encoder.encode(active.astype(np.int32), _BERNOULLI, expected / (1 << PROBABILITY_BITS))
        model.learn(active)
        leaves.mark(batch, active)
    words: Words = encoder.get_compressed()
    return words


def decode_masks(origins: NDArray[np.int32], kinds: NDArray[np.uint8], words: Words, reference: Masks | None = None) -> Masks:
    """The masks uint8 (L, 64) of leaves of these `kinds` (L,). Raises FormatError where `words` do not fit them."""
    leaves, model, prediction = _begin(origins, kinds, reference)
    decoder = constriction.stream.queue.RangeDecoder(words)
    for batch in leaves.batches():
        expected = model.look(leaves, batch, prediction)
        try:
            found = decoder.decode(_BERNOULLI, expected / (1 << PROBABILITY_BITS))
        except (ValueError, AssertionError) as error:
            raise FormatError("S11", f"the words of the masks are damaged: {error}") from error
        active = found.astype(bool)
        model.learn(active)
        leaves.mark(batch, active)
    if not decoder.maybe_exhausted():
        raise FormatError("S11", f"the masks end before their {len(words):,} words do")
    masks = np.zeros((len(kinds), VOXELS // 8), dtype=np.uint8)
    masks[kinds == FULL] = 255
    masks[leaves.mixed] = leaves.masks()
    return masks


def _begin(origins: NDArray[np.int32], kinds: NDArray[np.uint8], reference: Masks | None) -> tuple[Leaves, Model, Masks]:
    leaves = Leaves(origins, kinds == FULL, np.flatnonzero(kinds == MIXED))
    prediction = NOTHING if reference is None else _prediction(origins, reference)[leaves.mixed].reshape(-1)
    return leaves, Model(predicted=reference is not None), prediction


def _prediction(origins: NDArray[np.int32], reference: Masks) -> Masks:
    """For each voxel uint8 (L, 512) seven bits of `reference`: the voxel and its neighbours at +x, +y, +z, -x, -y, -z."""
    blocks = origins.astype(np.int64) >> 3
    find = BlockFinder(blocks)
    cells = np.unpackbits(reference, axis=1, bitorder="little").reshape(-1, 8, 8, 8)
    cells = np.concatenate([cells, np.zeros((1, 8, 8, 8), dtype=np.uint8)])  # what lies outside every leaf
    result: Masks = cells[:-1].copy()
    for direction, axis in itertools.product((1, -1), range(3)):
        step = direction * np.eye(3, dtype=np.int64)[axis]
        beyond = cells[find(blocks + step, len(blocks))]
        moved = np.roll(cells[:-1], -direction, axis=axis + 1)
        edge: list[slice | int] = [slice(None)] * 4
        edge[axis + 1] = 7 if direction > 0 else 0
        moved[tuple(edge)] = np.roll(beyond, -direction, axis=axis + 1)[tuple(edge)]
        result = ((result << 1) | moved).astype(np.uint8)
    return result.reshape(-1, VOXELS)
