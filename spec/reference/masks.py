"""Codes and decodes masks as spec/masks.md says.

It shares no line with the library, and is made to be read, not to be fast. It needs NumPy. A mask
is bool (512): which voxels of a leaf are set. Damaged words are a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Array = np.ndarray
Voxel = tuple[int, int, int]
BitOf = Callable[
    [int, int, int], int
]  # the bit of a voxel, from its probability, its leaf, its place in the leaf

MIXED, FULL, EMPTY = 0, 1, 2
BATCH = 65536
PLACES = [(i >> 6, i >> 3 & 7, i & 7) for i in range(512)]


# Range coder


class RangeDecoder:
    def __init__(self, words: Sequence[int]) -> None:
        self.words, self.read = words, 0
        self.lower, self.range = 0, 2**64 - 1
        self.point = self.next_word() << 32 | self.next_word()

    def next_word(self) -> int:
        self.read += 1
        return self.words[self.read - 1] if self.read <= len(self.words) else 0

    def symbol(self, parts: Sequence[int]) -> int:
        """The next symbol, where symbol i has parts[i] of 2^24."""
        share = self.range >> 24
        target = (self.point - self.lower) % 2**64 // share
        if target >= 2**24:
            raise ValueError("S11: no encoder makes these words")
        i, below = 0, 0
        while below + parts[i] <= target:
            i, below = i + 1, below + parts[i]
        self.lower, self.range = (self.lower + share * below) % 2**64, share * parts[i]
        if self.range < 2**32:
            self.lower, self.range = self.lower * 2**32 % 2**64, self.range * 2**32
            self.point = (self.point * 2**32 + self.next_word()) % 2**64
        return i


class RangeEncoder:
    """`lower` has all its bits here, so that no carry is left to be passed on."""

    def __init__(self) -> None:
        self.lower, self.range, self.count = 0, 2**64 - 1, 2

    def symbol(self, parts: Sequence[int], i: int) -> None:
        share = self.range >> 24
        self.lower, self.range = self.lower + share * sum(parts[:i]), share * parts[i]
        if self.range < 2**32:
            self.lower, self.range, self.count = self.lower << 32, self.range << 32, self.count + 1

    def words(self) -> list[int]:
        """The words of the least point whose last word is 0, without words of 0 at the end."""
        if self.range == 2**64 - 1:
            return []
        point = -(-self.lower // 2**32) << 32
        words = [point >> 32 * place & 0xFFFFFFFF for place in range(self.count - 1, -1, -1)]
        while words and not words[-1]:
            words.pop()
        return words


def parts_of_bit(prob: int) -> tuple[int, int]:
    """The parts of 2^24 of bits 0 and 1, where 1 has the probability `prob` in 2^-20."""
    zero = 2**20 - prob
    first = 16 * zero - (zero > 2**19)
    return first, 2**24 - first


# Order


def batches(origins: list[Voxel], kinds: Sequence[int]) -> Iterator[list[tuple[int, int, Voxel]]]:
    """Batches of (leaf, place in the leaf, voxel)."""
    fronts: dict[int, list[tuple[int, int, int, Voxel]]] = {}
    for leaf, origin in enumerate(origins):
        for place in range(512) if kinds[leaf] == MIXED else ():
            voxel = moved(origin, PLACES[place])
            fronts.setdefault(front(voxel), []).append((front(origin), leaf, place, voxel))
    for number in sorted(fronts):
        found = [voxel for _, *voxel in sorted(fronts[number])]
        for start in range(0, len(found), BATCH):
            yield found[start : start + BATCH]


def front(voxel: Voxel) -> int:
    return 4 * (voxel[0] % 128) + 2 * (voxel[1] % 128) + voxel[2] % 128


def moved(voxel: Voxel, by: Voxel) -> Voxel:
    return voxel[0] + by[0], voxel[1] + by[1], voxel[2] + by[2]


# Contexts

NEAR = [
    (0, 0, -1),
    (0, -1, 0),
    (-1, 0, 0),
    (-1, 1, 1),
    (0, -1, 1),
    (-1, 1, 0),
    (-1, 0, 1),
    (0, -1, -1),
    (-1, 0, -1),
]
WIDE = [*NEAR, (-1, -1, 0), (-1, -1, 1), (-1, 1, -1), (-1, -1, -1)]
FAR = [*NEAR[:6], (0, 0, -2), (0, -2, 0), (-2, 0, 0), (-1, 0, 2), (0, -2, 1), (-2, 0, 1)]
SIX = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 0, -1)]


def voxels_of(origins: list[Voxel], masks: Array) -> set[Voxel]:
    return {moved(origins[leaf], PLACES[place]) for leaf, place in np.argwhere(masks).tolist()}


def contexts(
    voxel: Voxel, known: set[Voxel], predicted: set[Voxel] | None
) -> list[tuple[int, ...]]:
    """The values of the contexts, as bits."""
    near, wide, far = (
        tuple(int(moved(voxel, by) in known) for by in group) for group in (NEAR, WIDE, FAR)
    )
    if predicted is None:
        return [near, wide, far]
    here, around = int(voxel in predicted), tuple(int(moved(voxel, by) in predicted) for by in SIX)
    return [near, wide, far, (here, *near), (here, *around, *near[:6])]


# Probability


def clip(logit: int) -> int:
    return max(-2816, min(2816, logit))


def stretch(share: int) -> int:
    return clip(round(256 * math.log(share / (65536 - share)))) if share else -2816


def squash(logit: int) -> int:
    return round(2**20 / (1 + math.exp(-logit / 256)))


class Model:
    def __init__(self, number: int) -> None:
        """`number` is that of the contexts, 3 or 5."""
        self.weights = [[65536 // number] * 10 for _ in range(number + 1)]
        self.counts: dict[tuple[int, tuple[int, ...]], list[int]] = {}

    def logits(self, values: list[tuple[int, ...]]) -> list[int]:
        found = []
        for context in enumerate(values):
            zeros, ones = self.counts.get(context, (0, 0))
            found.append(stretch(((2 * ones + 1) << 15) // (zeros + ones + 1)))
        return [*found, 77]

    def probability(self, logits: list[int], near: int) -> int:
        return squash(
            clip(
                sum(
                    weight[near] * logit for weight, logit in zip(self.weights, logits, strict=True)
                )
                >> 16
            )
        )

    def learn(self, coded: list[tuple[list[tuple[int, ...]], list[int], int, int]]) -> None:
        """From the contexts, logits, probabilities and bits of a batch."""
        for near in range(10):
            here = [
                (logits, 2**20 * bit - prob)
                for values, logits, prob, bit in coded
                if sum(values[0]) == near
            ]
            divisor = max(1, math.isqrt(len(here))) << 17
            for i, weight in enumerate(self.weights):
                weight[near] += sum(error * logits[i] for logits, error in here) // divisor
        for values, _, _, bit in coded:
            for context in enumerate(values):
                self.counts.setdefault(context, [0, 0])[bit] += 1


# A whole mask stream


def code(origins: Array, kinds: Sequence[int], predicted: Array | None, bit_of: BitOf) -> Array:
    """Masks bool (L, 512) of leaves at origins (L, 3), from the bits that `bit_of` gives.

    `predicted` is bool (L, 512), or None.
    """
    corners: list[Voxel] = [(x, y, z) for x, y, z in np.asarray(origins).tolist()]
    masks = np.repeat(np.array(kinds, dtype=np.uint8).reshape(-1, 1) == FULL, 512, axis=1)
    known = voxels_of(corners, masks)
    expected = None if predicted is None else voxels_of(corners, predicted)
    model = Model(3 if predicted is None else 5)
    for batch in batches(corners, kinds):
        coded = []
        for leaf, place, voxel in batch:
            values = contexts(voxel, known, expected)
            logits = model.logits(values)
            prob = model.probability(logits, sum(values[0]))
            masks[leaf, place] = bit = bit_of(prob, leaf, place)
            coded.append((values, logits, prob, bit))
        known |= {voxel for leaf, place, voxel in batch if masks[leaf, place]}
        model.learn(coded)
    return masks


def decode(
    origins: Array, kinds: Sequence[int], words: Sequence[int], predicted: Array | None = None
) -> Array:
    decoder = RangeDecoder(words)
    masks = code(
        origins, kinds, predicted, lambda prob, leaf, place: decoder.symbol(parts_of_bit(prob))
    )
    if (decoder.read if MIXED in kinds else 0) < len(words):
        raise ValueError("S11: words are left over")
    return masks


def encode(
    origins: Array, kinds: Sequence[int], masks: Array, predicted: Array | None = None
) -> list[int]:
    encoder = RangeEncoder()

    def bit_of(prob: int, leaf: int, place: int) -> int:
        encoder.symbol(parts_of_bit(prob), bit := int(masks[leaf, place]))
        return bit

    code(origins, kinds, predicted, bit_of)
    return encoder.words()
