"""Decodes regions as spec/wavelet.md says; its headings are repeated here.

It shares no line with the library, and is made to be read, not to be fast. It needs NumPy. Arrays
hold 64-bit integers where nothing else is said. Damaged codes are a ValueError.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
Size = tuple[int, ...]
Places = list[int]

SCALES = 5
LOGITS, SHARES = 11104, 148


def require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(rule)


# Box


def box_of(leaves: Array) -> tuple[slice, ...]:
    """The box of a region, in which the lowest corners of the channel's leaves are (L, 3)."""
    return tuple(map(slice, leaves.min(axis=0).tolist(), (leaves.max(axis=0) + 8).tolist()))


# Scales and bands

# The bands of a scale in their order; their numbers are 4 x + 2 y + z.
ORDER = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)]


def number_of(high: Size) -> int:
    x, y, z = high
    return 4 * x + 2 * y + z


def band_size(whole: Size, high: Size) -> Size:
    """The size of a band that is high along some axes, where `whole` is what the scale splits."""
    return tuple(
        n // 2 if is_high else (n + 1) // 2 for n, is_high in zip(whole, high, strict=True)
    )


def wholes(size: Size) -> list[Size]:
    """What each scale splits: for scale 0, which splits nothing, and scale 1 it is the box."""
    found = [size, size]
    while len(found) <= SCALES:
        found.append(band_size(found[-1], (0, 0, 0)))
    return found


# Coefficients

STEPS = {
    1: [0, 111, 143, 183],
    2: [0, 72, 99, 135],
    3: [0, 45, 60, 79],
    4: [0, 29, 38, 50],
    5: [10, 19, 25, 32],
}
MARGIN = 2  # contexts reach so far beyond a band


class Band:
    """A band of a scale: its codes, all 0 at first, and their magnitudes as contexts see them."""

    def __init__(self, scale: int, high: Size, size: Size) -> None:
        self.scale, self.number, self.highs = scale, number_of(high), sum(high)
        self.depth, self.size = min(scale - 1, 3), size
        self.codes = np.zeros(size, dtype=np.int64)
        # At most 15, and 0 beyond the ends.
        self.magnitudes = np.zeros([n + 2 * MARGIN for n in size], dtype=np.int64)

    def set(self, x: int, y: int, z: int, code: int) -> None:
        self.codes[x, y, z] = code
        self.magnitudes[x + MARGIN, y + MARGIN, z + MARGIN] = min(abs(code), 15)

    def coefficients(self, steps: list[int]) -> Array:
        return self.codes * (STEPS[self.scale][self.highs] * steps[0] + 64 >> 7)


def decode_band(coder: Coder, band: Band, above: Array, beside: Array, covers: Array) -> None:
    """Decode the codes of a band, from what its contexts take of other bands and of masks."""
    for x, y in np.ndindex(*band.size[:2]):
        known = before_of(band, x, y), above[x, y], beside[x, y], covers[x, y]
        earlier = row_at(band, x, y, (-1, 0, 0)), row_at(band, x, y, (0, -1, 0))
        row = Row(band, *(numbers.tolist() for numbers in (*known, *earlier)))
        z, last, last_but_one = 0, 0, 0  # the magnitudes at z - 1 and z - 2, at most 15
        while z < band.size[2]:
            eight = z % 8 == 0 and last == last_but_one == 0 and row.eight_quiet(z)
            if eight and coder.alone(64 + row.group(z)) == 0:
                z += 8
                continue
            code = coefficient(coder, row, z, row.before[z] + 4 * last + last_but_one, last)
            if code:
                band.set(x, y, z, code)
            z, last, last_but_one = z + 1, min(abs(code), 15), last


def coefficient(coder: Coder, row: Row, z: int, around: int, last: int) -> int:
    """The code at a place of a row, behind a magnitude `last`."""
    context = None
    if around == row.above[z] == row.beside[z] == 0 and row.band.number != 0:
        if coder.alone(row.place(z)) == 0:
            return 0
    else:
        context = row.context(z, around, last)
        if coder.mixed(context.places(0)) == 0:
            return 0
    context = context or row.context(z, around, last)
    negative = coder.half()
    magnitude = 1
    while magnitude < 15 and coder.mixed(context.places(min(magnitude, 3), magnitude)) == 1:
        magnitude += 1
    if magnitude == 15:
        e = 0
        while e < 19 and coder.alone(128 + e) == 1:
            e += 1
        rest = 1
        for _ in range(e):
            rest = 2 * rest + coder.half()
        magnitude = 14 + rest
    return -magnitude if negative else magnitude


@dataclass
class Row:
    """A row of a band along z, with what is known of its places before the first is decoded.

    across_x, across_y: the magnitudes at the displacements (-1, 0, 0) and (0, -1, 0)
    """

    band: Band
    before: list[int]
    above: list[int]
    beside: list[int]
    covers: list[int]
    across_x: list[int]
    across_y: list[int]

    def eight_quiet(self, z: int) -> bool:
        """Whether there are eight places from z on, which earlier rows and bands leave quiet."""
        eight = slice(z, z + 8)
        return z + 8 <= len(self.before) and not any(
            self.before[eight] + self.above[eight] + self.beside[eight]
        )

    def group(self, z: int) -> int:
        eight = set(self.covers[z : z + 8])
        return 16 * self.band.depth + 4 * (eight.pop() if len(eight) == 1 else 1) + self.band.highs

    def place(self, z: int) -> int:
        return 16 * self.band.depth + 4 * self.covers[z] + self.band.highs

    def context(self, z: int, around: int, last: int) -> Context:
        near = 9 * min(self.across_x[z], 2) + 3 * min(self.across_y[z], 2) + min(last, 2)
        r, u, v = rank(around), rank(self.above[z]), rank(self.beside[z])
        return Context(self.band, r, u, v, near, self.covers[z])


# Contexts

WEIGHTS = {
    4: [(-1, 0, 0), (0, -1, 0)],
    2: [(-1, 0, -1), (-1, 0, 1), (-1, -1, 0), (-1, 1, 0), (0, -1, -1), (0, -1, 1)],
    1: [(-1, -1, -1), (-1, -1, 1), (-1, 1, -1), (-1, 1, 1), (-2, 0, 0), (0, -2, 0)],
}
BEFORE = {by: weight for weight, displacements in WEIGHTS.items() for by in displacements}
SIX = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
RANKS = [1, 2, 3, 4, 5, 7, 9, 12, 16, 22, 30, 42, 60, 90, 140]


def rank(number: int) -> int:
    return bisect_right(RANKS, number)  # how many are at most the number


def row_at(band: Band, x: int, y: int, by: Size) -> Array:
    """Magnitudes (z,) at a displacement from the places of a row."""
    first = MARGIN + by[2]
    return band.magnitudes[x + MARGIN + by[0], y + MARGIN + by[1], first : first + band.size[2]]


def before_of(band: Band, x: int, y: int) -> Array:
    """`before` (z,) of the places of a row."""
    return np.sum([weight * row_at(band, x, y, by) for by, weight in BEFORE.items()], axis=0)


def at(band: Band, places: tuple[Array, ...], by: Size) -> Array:
    """Magnitudes at a displacement from places, of which each axis has a list of numbers."""
    return band.magnitudes[np.ix_(*(n + MARGIN + add for n, add in zip(places, by, strict=True)))]


def above_of(band: Band, coarser: Band | None) -> Array:
    """`above` of a band, from the band with the same number on the next scale."""
    if coarser is None:
        return np.zeros(band.size, dtype=np.int64)
    own = [np.arange(n) for n in band.size]
    halves = [places // 2 for places in own]
    total = 2 * at(coarser, tuple(halves), (0, 0, 0))
    for axis in range(3):
        moved = [*halves]
        moved[axis] = halves[axis] + np.where(own[axis] % 2 == 1, 1, -1)
        total = total + at(coarser, tuple(moved), (0, 0, 0))
    return total


def beside_of(band: Band, others: list[Band]) -> Array:
    """`beside` of a band, from those of its scale that were coded before, without band 0."""
    total = np.zeros(band.size, dtype=np.int64)
    for other in others:
        both = tuple(map(min, band.size, other.size))
        places = tuple(map(np.arange, both))
        found = 3 * at(other, places, (0, 0, 0)) + sum(at(other, places, by) for by in SIX)
        total[tuple(map(slice, both))] += found
    return total


def covers_of(active: Array) -> list[Array]:
    """`cover` at each place of the low size of scales 0 (none) to 5, of bool (x, y, z) of a box."""
    amounts, found = 31 * eights(active.astype(np.int64)), [np.zeros((0, 0, 0), dtype=np.int64)]
    for _ in range(SCALES):
        found.append(np.searchsorted([1, 83, 243], amounts, side="right"))
        amounts = eights(amounts) // 8
    return found


def eights(numbers: Array) -> Array:
    """The sums of all 2 x 2 x 2 numbers; those beyond an end count as 0."""
    x, y, z = (n + n % 2 for n in numbers.shape)
    padded = np.zeros((x, y, z), dtype=np.int64)
    padded[tuple(map(slice, numbers.shape))] = numbers
    return padded.reshape(x // 2, 2, y // 2, 2, z // 2, 2).sum(axis=(1, 3, 5))


@dataclass
class Context:
    """What a decision by logits knows: the ranks of `around`, `above`, `beside`, and more.

    near: the three nearest magnitudes, each at most 2, as one number
    """

    band: Band
    r: int
    u: int
    v: int
    near: int
    cover: int

    def places(self, d: int, magnitude: int = 0) -> Places:
        """The places of the logits of mixed(d)."""
        band, depth, r, u, v = self.band.number, self.band.depth, self.r, self.u, self.v
        last = 2776 * d + 1752 + 16 * (16 * self.band.highs + u) + v
        if d == 3:
            up = min(magnitude - 3, 11)
            return [
                8328 + 16 * up + r,
                8584 + 16 * up + v,
                8840 + 16 * up + u,
                9056 + 12 * (8 * depth + band) + up,
                last,
            ]
        return [
            2776 * d + 16 * r + u,
            2776 * d + 256 + 16 * r + v,
            2776 * d + 512 + 8 * self.near + band,
            2776 * d + 728 + 4 * (8 * (4 * min(r, 7) + depth) + band) + self.cover,
            last,
        ]


# Logits


def squash(number: int) -> int:
    """A chance in 2^-15 of a logit in 64ths."""
    chance = 2**15 / (1 + math.exp(-(max(-666, min(665, number)) + 0.5) / 64))
    return max(1, min(2**15 - 1, round(chance)))


def wrapped(number: Any) -> Any:
    """A number, or an array of them, modulo 2^32, from -2^31 to 2^31 - 1."""
    return (number + 2**31) % 2**32 - 2**31


class Coder:
    """Gives the decisions of a region, and learns from them."""

    def __init__(self, segment: bytes, prior: Array) -> None:
        numbers = [int(number) for number in prior]
        require(len(numbers) == LOGITS + SHARES, "wavelet.prior has another size")
        self.bits = Bits(segment)
        self.logits = [2**20 * number for number in numbers[:LOGITS]]
        self.visits = [0] * LOGITS
        self.shares = [2**15 * squash(8 * number) for number in numbers[LOGITS:]]
        self.seen = [12] * SHARES

    def mixed(self, places: Places) -> int:
        prob = squash(wrapped(sum(self.logits[place] for place in places)) >> 18)
        decision = self.bits.bit(prob)
        for place in places:
            rate = 10 + 256 // (self.visits[place] + 10)
            self.logits[place] = wrapped(self.logits[place] + (2**15 * decision - prob) * rate)
            self.visits[place] += 1
        return decision

    # Shares

    def alone(self, n: int) -> int:
        share, seen = self.shares[n], self.seen[n]
        decision = self.bits.bit(max(1, min(2**15 - 1, share >> 15)))
        self.shares[n] += ((2**30 * decision - share) * (2**17 // (2 * seen + 3))) >> 16
        self.seen[n] = min(seen + 1, 1023)
        return decision

    def half(self) -> int:
        return self.bits.bit(2**14)


# Bytes


class Bits:
    """A segment, from which decisions come."""

    def __init__(self, segment: bytes) -> None:
        require(len(segment) >= 4 and len(segment) % 2 == 0, "F6: a segment has no such size")
        self.state = int.from_bytes(segment[:4], "little")
        self.words = [int(word) for word in np.frombuffer(segment[4:], dtype="<u2")]
        self.read = 0
        require(self.state >= 2**16, "F6: a state is below 2^16")

    def bit(self, prob: int) -> int:
        """A bit that is 1 with the chance prob in 2^-15."""
        high, low = self.state >> 15, self.state % 2**15
        bit = int(low < prob)
        part, start = (prob, 0) if bit else (2**15 - prob, prob)
        self.state = part * high + low - start
        if self.state < 2**16:
            require(self.read < len(self.words), "F6: words are missing")
            self.state = self.state << 16 | self.words[self.read]
            self.read += 1
        return bit

    def end(self) -> None:
        require(self.state == 2**16, "F6: a lane does not end as it should")
        require(self.read == len(self.words), "F6: words are left")


# Joining


def joined(bands: dict[Size, Array]) -> Array:
    """The box of eight bands, by the axes along which they are high."""
    planes = {(x, y): line(bands[x, y, 0], bands[x, y, 1], 2) for x in (0, 1) for y in (0, 1)}
    slabs = {x: line(planes[x, 0], planes[x, 1], 1) for x in (0, 1)}
    return line(slabs[0], slabs[1], 0)


LIFTS = [(1817, 0), (3616, 1), (-217, 0), (-6497, 1)]


def line(low: Array, high: Array, axis: int) -> Array:
    """Low and high numbers, joined along an axis."""
    low, high = np.moveaxis(low, axis, 0), np.moveaxis(high, axis, 0)
    n = len(low) + len(high)
    a = np.zeros((n, *low.shape[1:]), dtype=np.int64)
    a[0::2], a[1::2] = low, high
    for factor, parity in LIFTS if n > 1 else ():
        places = np.arange(parity, n, 2)
        left, right = places - 1, places + 1
        left, right = np.where(left < 0, right, left), np.where(right >= n, left, right)
        a[places] -= wrapped(factor * (a[left] + a[right]) + 2048) >> 12
    return np.moveaxis(a, 0, axis)


# Values


def decode(
    segment: bytes, prior: Array, steps: list[int], top: int, centre: int, active: Array
) -> Array:
    """The decoded values (x, y, z) of a region's box.

    prior: the tensor `wavelet.prior`
    centre: what is added to all of them, from the region's mean
    active: bool (x, y, z) which voxels of the box are the channel's
    """
    coder, covers, whole = Coder(segment, prior), covers_of(active), wholes(active.shape)
    low = np.zeros(0, dtype=np.int64)
    coarser: dict[int, Band] = {}
    for scale in range(SCALES, 0, -1):
        bands: dict[int, Band] = {}
        coefficients: dict[Size, Array] = {(0, 0, 0): low}
        for high in ORDER if scale == SCALES else ORDER[1:]:
            band = Band(scale, high, band_size(whole[scale], high))
            above = above_of(band, coarser.get(band.number))
            beside = beside_of(band, [other for other in bands.values() if other.number != 0])
            decode_band(coder, band, above, beside, covers[scale])
            bands[band.number] = band
            coefficients[high] = band.coefficients(steps)
        low, coarser = joined(coefficients), bands
    coder.bits.end()
    return np.clip(low + centre, 0, top)
