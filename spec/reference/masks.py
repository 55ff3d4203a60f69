"""A second decoder of coded masks, written from section 8 of format_spec.md: it shares no line with the library.

Voxel by voxel, with whole numbers of Python: to be read, not to be fast. Raises ValueError for words that are damaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

Voxel = tuple[int, int, int]
Inside = Callable[[Voxel], int]

A = [(0, 0, -1), (0, -1, 0), (-1, 0, 0), (-1, 1, 1), (0, -1, 1), (-1, 1, 0), (-1, 0, 1), (0, -1, -1), (-1, 0, -1)]
B = [*A, (-1, -1, 0), (-1, -1, 1), (-1, 1, -1), (-1, -1, -1)]
C = [*A[:6], (0, 0, -2), (0, -2, 0), (-2, 0, 0), (-1, 0, 2), (0, -2, 1), (-2, 0, 1)]
SIX = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 0, -1)]
MIXED, FULL = 0, 1
BATCH = 65536


def at(v: Voxel, d: Voxel) -> Voxel:
    return v[0] + d[0], v[1] + d[1], v[2] + d[2]


def number(bits: list[int]) -> int:
    return int("".join(map(str, bits)), 2)


def clip(value: int) -> int:
    return max(-2816, min(2816, value))


def stretch(q: int) -> int:
    return clip(round(256 * math.log(q / (65536 - q)))) if q else -2816


def squash(x: int) -> int:
    return round(2**20 / (1 + math.exp(-x / 256)))


class RangeDecoder:
    def __init__(self, words: list[int]) -> None:
        self.words, self.read = words, 0
        self.lower, self.range = 0, 2**64 - 1
        self.point = self.next() << 32 | self.next()

    def next(self) -> int:
        self.read += 1
        return self.words[self.read - 1] if self.read <= len(self.words) else 0

    def bit(self, p: int) -> int:
        c = 16 * (2**20 - p) - (2**20 - p > 2**19)
        return self.symbol([c, 2**24 - c])

    def symbol(self, parts: Sequence[int]) -> int:
        """The next symbol, of which number i has parts[i] of 2^24."""
        scale = self.range >> 24
        q = (self.point - self.lower) % 2**64 // scale
        if q >= 2**24:
            raise ValueError("no encoder makes these words")
        i, c = 0, 0
        while c + parts[i] <= q:
            i, c = i + 1, c + parts[i]
        self.lower, self.range = (self.lower + scale * c) % 2**64, scale * parts[i]
        if self.range < 2**32:
            self.lower, self.range = self.lower * 2**32 % 2**64, self.range * 2**32
            self.point = (self.point * 2**32 + self.next()) % 2**64
        return i


def in_order(origins: list[Voxel], kinds: list[int]) -> Iterator[list[tuple[int, Voxel]]]:
    """Batches of (leaf number, voxel)."""
    steps: dict[int, list[tuple[int, int, int, Voxel]]] = {}
    for leaf, origin in enumerate(origins):
        for offset in range(512) if kinds[leaf] == MIXED else ():
            v = at(origin, (offset >> 6, offset >> 3 & 7, offset & 7))
            first, step = (4 * (x % 128) + 2 * (y % 128) + z % 128 for x, y, z in (origin, v))
            steps.setdefault(step, []).append((first, leaf, offset, v))
    for step in sorted(steps):
        voxels = [(leaf, v) for _, leaf, _, v in sorted(steps[step])]
        for start in range(0, len(voxels), BATCH):
            yield voxels[start : start + BATCH]


def decode(origins: list[Voxel], kinds: list[int], words: list[int], predicted_from: Inside | None = None) -> set[Voxel]:
    """The active voxels of all leaves. `predicted_from` tells whether a voxel is active in the other topology."""
    full = [origin for origin, kind in zip(origins, kinds, strict=True) if kind == FULL]
    active = {at(origin, (i >> 6, i >> 3 & 7, i & 7)) for origin in full for i in range(512)}
    leaves = set(origins)

    def r(v: Voxel) -> int:
        held = (v[0] & ~7, v[1] & ~7, v[2] & ~7) in leaves
        return int(held and predicted_from is not None and predicted_from(v))

    inputs = 3 if predicted_from is None else 5
    weights = [[65536 // inputs] * 10 for _ in range(inputs + 1)]
    counts: dict[tuple[int, int], list[int]] = {}
    decoder = RangeDecoder(words)
    for batch in in_order(origins, kinds):
        seen = []
        for _, v in batch:
            a, b, c = ([int(at(v, d) in active) for d in context] for context in (A, B, C))
            contexts = [a, b, c] if predicted_from is None else [a, b, c, [r(v), *a], [r(v), *(r(at(v, d)) for d in SIX), *a[:6]]]
            of_voxel = [counts.setdefault((i, number(bits)), [0, 0]) for i, bits in enumerate(contexts)]
            logits = [*(stretch(((2 * n1 + 1) << 15) // (n0 + n1 + 1)) for n0, n1 in of_voxel), 77]
            s = sum(a)
            p = squash(clip(sum(w[s] * logit for w, logit in zip(weights, logits, strict=True)) >> 16))
            seen.append((v, decoder.bit(p), p, s, logits, of_voxel))
        for s in range(10):
            mine = [(bit, p, logits) for _, bit, p, s_of_voxel, logits, _ in seen if s_of_voxel == s]
            divisor = max(1, math.isqrt(len(mine))) << 17
            for i, w in enumerate(weights):
                w[s] += sum((2**20 * bit - p) * logits[i] for bit, p, logits in mine) // divisor
        for v, bit, _, _, _, of_voxel in seen:
            active |= {v} if bit else set()
            for pair in of_voxel:
                pair[bit] += 1
    if decoder.read < len(words):
        raise ValueError("words are left over")
    return active
