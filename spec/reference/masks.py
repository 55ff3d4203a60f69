"""Codes and decodes masks as spec/masks.md says.

It shares no line with the library, and is made to be read, not to be fast. It needs NumPy. A mask
is bool (512): which voxels of a leaf are set. Damaged bytes are a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Array = np.ndarray
Voxel = tuple[int, int, int]
Leaf = tuple[int, int]  # number and front
BitOf = Callable[[int, int, int, int], int]  # of a voxel: number in its front, prob, leaf, place

MIXED, FULL, EMPTY = 0, 1, 2
BLOCK = 64
PLACES = [(i >> 6, i >> 3 & 7, i & 7) for i in range(512)]
EDGE, MARGIN = 128, 3  # of a region, in voxels; the farthest that a context looks
PRIOR = np.fromfile(Path(__file__).resolve().parents[1] / "data" / "prior-1.bin", dtype=np.int8)


# Lanes


def parts_of(bit: int, prob: int) -> tuple[int, int]:
    """The part and the start of a bit, where 1 has the probability `prob` in 2^-15."""
    return (prob, 0) if bit else (2**15 - prob, prob)


class Decoder:
    def __init__(self, data: bytes) -> None:
        if not data or data[0] & 7 > 5 or data[0] >> 3 > 2:
            raise ValueError("S11: the first byte of a region's masks is not one")
        lanes, self.rate = 2 ** (data[0] & 7), data[0] >> 3
        if len(data) < 1 + 4 * lanes or len(data) % 2 == 0:
            raise ValueError("S11: the masks of a region are cut short")
        self.states = [int(x) for x in np.frombuffer(data[1 : 1 + 4 * lanes], dtype="<u4")]
        self.words = [int(x) for x in np.frombuffer(data[1 + 4 * lanes :], dtype="<u2")]
        self.read = 0
        if min(self.states) < 2**16:
            raise ValueError("S11: the state of a lane is too small")

    def bit(self, number: int, prob: int, leaf: int, place: int) -> int:
        lane = number % len(self.states)
        x = self.states[lane]
        bit = int(x % 2**15 < prob)
        part, start = parts_of(bit, prob)
        x = part * (x // 2**15) + x % 2**15 - start
        if x < 2**16:
            if self.read == len(self.words):
                raise ValueError("S11: the words of a region's masks are too few")
            x, self.read = x << 16 | self.words[self.read], self.read + 1
        self.states[lane] = x
        return bit

    def end(self) -> None:
        if self.states != [2**16] * len(self.states) or self.read < len(self.words):
            raise ValueError("S11: the masks of a region do not end where their bytes do")


class Encoder:
    def __init__(self, masks: Array) -> None:
        self.masks = masks
        self.coded: list[tuple[int, int, int]] = []

    def bit(self, number: int, prob: int, leaf: int, place: int) -> int:
        bit = int(self.masks[leaf, place])
        self.coded.append((number, prob, bit))
        return bit

    def data(self, log_lanes: int, rate: int) -> bytes:
        states, words = [2**16] * 2**log_lanes, []
        for number, prob, bit in reversed(self.coded):
            lane, (part, start) = number % len(states), parts_of(bit, prob)
            x = states[lane]
            if x >= part * 2**17:
                words.append(x % 2**16)
                x //= 2**16
            states[lane] = x // part * 2**15 + x % part + start
        head = bytes([log_lanes | rate << 3]) + np.array(states, dtype="<u4").tobytes()
        return head + np.array(words[::-1], dtype="<u2").tobytes()


# Order


def front(voxel: Voxel) -> int:
    return 4 * voxel[0] + 2 * voxel[1] + voxel[2]


def corner(cell: int) -> Voxel:
    return 8 * (cell >> 8), 8 * (cell >> 4 & 15), 8 * (cell & 15)


def moved(voxel: Voxel, by: Voxel) -> Voxel:
    return voxel[0] + by[0], voxel[1] + by[1], voxel[2] + by[2]


def fronts(cells: Sequence[int], kinds: Sequence[int]) -> list[list[tuple[int, int, Voxel]]]:
    """The voxels of each front: leaf, place in the leaf, position in the region."""
    found: list[list[tuple[int, int, Voxel]]] = [[] for _ in range(890)]
    leaves = [leaf for leaf in range(len(cells)) if kinds[leaf] == MIXED]
    for leaf in sorted(leaves, key=lambda leaf: front(corner(cells[leaf]))):
        for place, offset in enumerate(PLACES):
            voxel = moved(corner(cells[leaf]), offset)
            found[front(voxel)].append((leaf, place, voxel))
    return found


# Contexts

NEAR = [(0, -1, -1), (0, -1, 0), (0, -1, 1), (0, 0, -1)]
NEAR += [(-1, 0, -1), (-1, 0, 0), (-1, 0, 1), (-1, 1, 0), (-1, 1, 1)]
OWN = [
    [*NEAR[:4], *((-1, y, z) for y in (-1, 0, 1) for z in (-1, 0, 1))],
    [
        *((0, -2, 0), (0, -2, 1), (0, -1, 0), (0, -1, 1), (0, 0, -2), (0, 0, -1), (-1, 0, 0)),
        *((-1, 0, 1), (-1, 0, 2), (-1, 1, 0), (-1, 1, 1), (-2, 0, 0), (-2, 0, 1)),
    ],
    [
        *((0, -2, 1), (0, -2, 2), (0, -2, 3), (0, -1, 0), (0, 0, -1), (-1, 0, 0), (-1, 2, -1)),
        *((-1, 0, 2), (-1, 0, 3), (-2, 1, 0), (-2, 1, 1), (-2, 2, 0), (-2, 2, 1), (-2, 3, 1)),
    ],
    [
        *((-2, 0, -1), (-2, 0, 0), (-2, 0, 1), (-2, 0, 2), (-2, 1, -1), (-2, 1, 0), (-2, 1, 1)),
        *((0, -3, 0), (0, -3, 1), (0, -2, -1), (0, -2, 0), (0, -2, 1), (0, -2, 2)),
    ],
]
AHEAD = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
BEHIND = [(0, 0, -1), (0, -1, 0), (-1, 0, 0)]
SIX = [(0, -1, 0), (0, -1, 1), (0, 0, -1), (-1, 0, 0), (-1, 1, 0), (-1, 1, 1)]
STARTS = [0, 8192, 16384, 32768, 40960, 49152]


def set_voxels(cells: Sequence[int], masks: Array) -> Array:
    """Bool (134, 134, 134): the voxels of a region that masks set, with a margin on all sides."""
    found = np.zeros((EDGE + 2 * MARGIN,) * 3, dtype=bool)
    for cell, mask in zip(cells, masks, strict=True):
        x, y, z = moved(corner(cell), (MARGIN,) * 3)
        found[x : x + 8, y : y + 8, z : z + 8] = mask.reshape(8, 8, 8)
    return found


def bits(displacements: Sequence[Voxel], voxels: Array, known: Array) -> Array:
    """Bool (n, k): whether the voxels at k displacements from voxels (n, 3) are set."""
    x, y, z = (voxels[:, None] + np.array(displacements) + MARGIN).transpose(2, 0, 1)
    return known[x, y, z]


def numbers_of(flags: Array) -> Array:
    """Numbers (n,) of flags (n, k), the least significant bit first."""
    return flags @ (1 << np.arange(flags.shape[1]))


def contexts(voxels: Array, known: Array, predicted: Array | None) -> list[list[int]]:
    """The numbers of the logits of voxels (n, 3)."""
    numbers = [numbers_of(bits(context, voxels, known)) for context in OWN]
    if predicted is not None:
        ahead, near = bits(AHEAD, voxels, predicted), bits(NEAR, voxels, predicted)
        beside = bits(BEHIND, voxels, predicted), bits(SIX, voxels, known)
        numbers.append(numbers_of(np.concatenate([ahead, *beside], axis=1)))
        differ = bits(NEAR, voxels, known) != near
        numbers.append(numbers_of(np.concatenate([ahead, differ], axis=1)))
    return (np.stack(numbers, axis=1) + STARTS[: len(numbers)]).tolist()


# Probability


def squash(logit: int) -> int:
    """A probability in 2^-15 for a logit in 4096ths."""
    x = (max(-666, min(665, logit >> 6)) + 0.5) / 64
    return max(1, min(32767, round(2**15 / (1 + math.exp(-x)))))


class Model:
    def __init__(self, rate: int) -> None:
        self.logits = [256 * int(logit) for logit in PRIOR]
        self.shift = 7 - rate

    def probability(self, numbers: list[int]) -> int:
        return squash(sum(self.logits[number] for number in numbers))

    def learn(self, coded: list[tuple[list[int], int, int]]) -> None:
        """From the contexts, probabilities and bits of a block."""
        for numbers, prob, bit in coded:
            step = (2**15 * bit - prob + (1 << self.shift - 1)) >> self.shift
            for number in numbers:
                self.logits[number] = (self.logits[number] + step + 2**15) % 2**16 - 2**15


# A whole region


def code(
    cells: Sequence[int], kinds: Sequence[int], predicted: Array | None, rate: int, bit_of: BitOf
) -> Array:
    """Masks bool (L, 512) of leaves in `cells`, from the bits that `bit_of` gives.

    `predicted` is bool (L, 512), or None.
    """
    masks = np.repeat(np.array(kinds, dtype=np.uint8).reshape(-1, 1) == FULL, 512, axis=1)
    known = set_voxels(cells, masks)
    expected = None if predicted is None else set_voxels(cells, predicted)
    model = Model(rate)
    for voxels in fronts(cells, kinds):
        for first in range(0, len(voxels), BLOCK):
            block = voxels[first : first + BLOCK]
            places = np.array([voxel for _, _, voxel in block])
            coded = []
            for i, numbers in enumerate(contexts(places, known, expected)):
                leaf, place, _ = block[i]
                prob = model.probability(numbers)
                masks[leaf, place] = bit = bit_of(i, prob, leaf, place)
                coded.append((numbers, prob, bit))
            known[tuple((places + MARGIN).T)] = [bit for _, _, bit in coded]
            model.learn(coded)
    return masks


def decode(
    cells: Sequence[int], kinds: Sequence[int], data: bytes, predicted: Array | None = None
) -> Array:
    if MIXED not in kinds:
        if data:
            raise ValueError("S11: a region without mixed leaves has bytes of masks")
        return code(cells, kinds, predicted, 0, lambda *_: 0)
    decoder = Decoder(data)
    masks = code(cells, kinds, predicted, decoder.rate, decoder.bit)
    decoder.end()
    return masks


def encode(
    cells: Sequence[int],
    kinds: Sequence[int],
    masks: Array,
    predicted: Array | None = None,
    log_lanes: int = 2,
    rate: int = 1,
) -> bytes:
    if MIXED not in kinds:
        return b""
    encoder = Encoder(masks)
    code(cells, kinds, predicted, rate, encoder.bit)
    return encoder.data(log_lanes, rate)
