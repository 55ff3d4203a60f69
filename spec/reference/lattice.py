"""A second decoder of the lattice, written from section 9 of format_spec.md: it shares no line with the library.

Needs NumPy; the range decoder is that of spec/reference/masks.py. Every array holds 64-bit integers. To be read, not
to be fast. Raises ValueError for words that are damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spec.reference.masks import RangeDecoder

Array = np.ndarray
Tensors = dict[str, Array]
Corner = tuple[int, ...]

EDGE = 128
ABSENT = -(2**40)  # in an array of values: no voxel, or not yet known
TOKENS, TABLES = 46, 64
NAMES = ("first.bias", "first.weight", "last.bias", "last.weight", "second.bias", "second.weight", "skip.weight")


FACES = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
EDGES = [(0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0)]
CORNERS = [(1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1)]
# Pairs: n near ones, n far ones, the others.
PAIRS = {
    1: [(1, 0, 0), (3, 0, 0), (1, 2, 0), (1, -2, 0), (1, 0, 2), (1, 0, -2), (1, 2, 2), (1, 2, -2), (1, -2, 2), (1, -2, -2)],
    2: [
        (0, 1, 0),
        (0, 0, 1),
        (0, 3, 0),
        (0, 0, 3),
        (0, 1, 1),
        (0, 1, -1),
        *CORNERS,
        (2, 1, 0),
        (2, -1, 0),
        (2, 0, 1),
        (2, 0, -1),
    ],
    3: [*FACES, (3, 0, 0), (0, 3, 0), (0, 0, 3), *EDGES, *CORNERS],
}
# Odd axes of a parity, and its axes (a, b, c).
PARITIES = {
    1: [((1, 0, 0), (0, 1, 2)), ((0, 1, 0), (1, 0, 2)), ((0, 0, 1), (2, 0, 1))],
    2: [((0, 1, 1), (0, 1, 2)), ((1, 0, 1), (1, 0, 2)), ((1, 1, 0), (2, 0, 1))],
    3: [((1, 1, 1), (0, 1, 2))],
}
LOG = np.array([0] + [(n**64).bit_length() - 1 for n in range(1, 4096)])


@dataclass
class Spread:
    """Mantissa and shift of spreads (n,)."""

    m: Array
    h: Array

    def __init__(self, s: Array) -> None:
        bits = np.array([int(value).bit_length() for value in s], dtype=np.int64)
        self.h = np.maximum(0, bits - 12)
        self.m = s >> self.h

    def log(self) -> Array:
        return LOG[self.m] + 64 * self.h

    def bring(self, d: Array) -> Array:
        """IN of differences (n, k)."""
        m, h = self.m[:, None], self.h[:, None]
        return np.clip((np.clip(d >> h, -4 * m, 4 * m) * (2**19 // m) + 2**13) >> 14, -127, 127)


def output(network: Tensors, inputs: Array) -> Array:
    """Outputs (n, outputs) of a network."""
    x = np.clip(inputs, -127, 127)
    h = activate(x @ network["first.weight"] + network["first.bias"])
    h = activate(h @ network["second.weight"] + network["second.bias"])
    return h @ network["last.weight"] + network["last.bias"] + x @ network["skip.weight"]


def activate(sums: Array) -> Array:
    return np.clip((sums + 32) >> 6, 0, 127)


def table_of(t: Array) -> Array:
    return np.clip((t + 320) // 16, 0, TABLES - 1)


def look_up(array: Array, voxels: Array, outside: int) -> Array:
    """Entries (n, k) of a region's array at voxels (n, k, 3)."""
    inside = ((voxels >= 0) & (voxels < EDGE)).all(axis=-1)
    x, y, z = np.moveaxis(np.clip(voxels, 0, EDGE - 1), -1, 0)
    return np.where(inside, array[x, y, z], outside)


class Codes:
    """The codes that words hold, a step at a time."""

    def __init__(self, words: Array, prior: Array) -> None:
        self.words = words.view("<u4").tolist()
        self.decoder = RangeDecoder(self.words)
        self.counts = [[int(count) for count in row] for row in prior]

    def parts(self, table: int) -> list[int]:
        counts = self.counts[table]
        others = [1 + count * (2**24 - TOKENS) // sum(counts) for count in counts[1:]]
        return [2**24 - sum(others), *others]

    def step(self, tables: Array) -> Array:
        """The codes (n,) of voxels with these tables (n,)."""
        tokens = np.zeros(len(tables), dtype=np.int64)
        for table in sorted(set(tables.tolist())):
            parts = self.parts(table)
            for voxel in np.flatnonzero(tables == table):
                tokens[voxel] = self.decoder.symbol(parts)
        for table, token in zip(tables.tolist(), tokens.tolist(), strict=True):
            self.counts[table][token] += 32
        even = [2**23, 2**23]
        signs = [-1 if token and self.decoder.symbol(even) else 1 for token in tokens.tolist()]
        wide = np.where(tokens < 16, 0, 3 + (tokens - 16) // 2)
        magnitudes = np.where(tokens < 16, tokens, (2 + tokens % 2) << wide)
        for bit in range(int(wide.max(initial=0))):
            for voxel in np.flatnonzero(wide > bit):
                magnitudes[voxel] += self.decoder.symbol(even) << bit
        return magnitudes * np.array(signs, dtype=np.int64)

    def end(self) -> None:
        gap = (self.decoder.point - self.decoder.lower) % 2**64
        untouched = self.decoder.range == 2**64 - 1
        if self.decoder.read < len(self.words) or not (untouched or gap < 2**33 - 1):
            raise ValueError("words are left over")


def networks_of(config: dict[str, Any], tensors: Tensors, defaults: Tensors) -> dict[str, Tensors]:
    """The networks '1', '2', '3' and 'smoothing' of a channel."""
    kind = "alone" if config["given"] is None else "given"
    places = {n: f"{kind}.{n}" for n in ("1", "2", "3")} | ({"smoothing": "smoothing"} if config["smoothed"] else {})
    codes = Codes(tensors["network_words"], defaults["prior"]) if config["fitted"] else None
    networks = {}
    for network, place in places.items():
        networks[network] = {name: defaults[f"{place}.{name}"].astype(np.int64) for name in NAMES}
        for name, tensor in networks[network].items() if codes else ():
            weight = name.endswith("weight")
            tensor += codes.step(np.full(tensor.size, 20 if weight else 40)).reshape(tensor.shape)
            if (np.abs(tensor) > (127 if weight else 2**20)).any():
                raise ValueError("a weight or bias is out of bounds")
    if codes:
        codes.end()
    return networks


class Region:
    """One region of a channel while it is decoded."""

    def __init__(
        self,
        config: dict[str, Any],
        networks: dict[str, Tensors],
        codes: Codes,
        header: tuple[int, int],
        active: Array,
        given: Array | None,
        around: Array | None,
    ) -> None:
        self.config, self.networks, self.codes, self.active, self.given = config, networks, codes, active, given
        self.top = config["top"]
        self.mean, self.spread = header[0] * self.top // 255, 2 ** header[1]
        self.values = np.full((EDGE,) * 3, ABSENT, dtype=np.int64)
        if around is not None:
            self.values[active == 0] = around[active == 0]

    def decode(self) -> Array:
        """Final values (128, 128, 128), ABSENT where there is no voxel."""
        if self.active[0, 0, 0]:
            log = Spread(np.array([self.spread])).log() - LOG[self.config["steps"][6]]
            self.restore(np.zeros((1, 3), dtype=np.int64), self.allowed(np.array([self.mean])), table_of(log), 6)
        for level in range(6, -1, -1):
            for n in (1, 2, 3):
                self.step(level, n)
        self.codes.end()
        final = self.smoothed() if self.config["smoothed"] else self.values
        return np.where(self.active == 1, final, ABSENT)

    def allowed(self, predicted: Array) -> Array:
        """The p of predictions (m,)."""
        return np.clip((predicted + 64 >> 7) * 128 if self.config["lossless"] else predicted, 0, self.top)

    def restore(self, voxels: Array, predicted: Array, tables: Array, level: int) -> None:
        values = predicted + self.codes.step(tables) * self.config["steps"][level]
        self.values[tuple(voxels.T)] = np.clip(values, 0, self.top)

    def step(self, level: int, n: int) -> None:
        found = [(voxels, *self.predict(voxels, axes, level, n)) for voxels, axes in self.parities(level, n)]
        voxels, predicted, tables = (np.concatenate(column) for column in zip(*found, strict=True))
        self.restore(voxels, predicted, tables, level)

    def parities(self, level: int, n: int) -> Iterator[tuple[Array, tuple[int, int, int]]]:
        """Active voxels (m, 3) of each parity, and its axes."""
        for odd, axes in PARITIES[n]:
            first = [bit << level for bit in odd]
            part = self.active[tuple(slice(start, None, 2 << level) for start in first)]
            yield np.argwhere(part) * (2 << level) + first, axes

    def around(
        self, array: Array, voxels: Array, offsets: list[tuple[int, ...]], axes: tuple[int, ...], stride: int, outside: int
    ) -> tuple[Array, Array]:
        """Entries (n, k) ahead of voxels and behind them."""
        turned = np.zeros((len(offsets), 3), dtype=np.int64)
        turned[:, list(axes)] = np.array(offsets)
        return tuple(look_up(array, voxels[:, None] + sign * stride * turned, outside) for sign in (1, -1))

    def predict(self, voxels: Array, axes: tuple[int, ...], level: int, n: int) -> tuple[Array, Array]:
        """Predicted values and tables (m,)."""
        step, stride = self.config["steps"][level], 1 << level
        v = self.around(self.values, voxels, PAIRS[n], axes, stride, ABSENT)
        base = base_of(*v, n, np.full(len(voxels), self.mean))
        total, slope = departures(*v, base)
        a, b = (side != ABSENT for side in v)
        pairs = (a | b).sum(axis=1)
        s = np.where(pairs > 0, np.abs(total).sum(axis=1) // np.maximum(pairs, 1), 2 * self.spread)
        spread = Spread(np.clip(s, step >> 2, 2**23 - 1))
        steep = Spread(np.clip(np.abs(slope).sum(axis=1) // np.maximum(pairs, 1), step >> 2, 2**23 - 1))
        log = spread.log() - LOG[step]
        features = [
            log >> 3,
            (steep.log() - LOG[step]) >> 3,
            64 * np.clip(base, 0, 2**23) // self.top,
            8 * np.clip(base - self.config["background"], -16 * step, 16 * step) // step,
            np.full_like(base, 6 * level),
            32 * (a[:, :n].sum(axis=1) + b[:, :n].sum(axis=1)) // (2 * n),
            32 * (a & b)[:, : 2 * n].reshape(-1, 2, n).all(axis=1).sum(axis=1) // n,
        ]
        ahead, behind = self.around(self.active, voxels, FACES, axes, stride, 0)
        inputs = [spread.bring(total), steep.bring(slope), 32 * ahead, 32 * behind, np.stack(features, axis=1)]
        if self.given is not None:
            inputs += self.from_given(voxels, axes, level, n, log)
        y = output(self.networks[str(n)], np.concatenate(inputs, axis=1))
        move = ((spread.m * np.clip(y[:, 0], -8191, 8191) + 1024) >> 11) << spread.h
        move = np.where((pairs > 0) & (total == 0).all(axis=1) & (slope == 0).all(axis=1), 0, move)
        return self.allowed(base + move), table_of(log + (np.clip(y[:, 1], -(2**20), 2**20) >> 5))

    def from_given(self, voxels: Array, axes: tuple[int, ...], level: int, n: int, log: Array) -> list[Array]:
        step, stride = self.config["steps"][level], 1 << level
        g = self.given[tuple(voxels.T)]
        here = g != ABSENT
        base = base_of(*self.around(self.given, voxels, PAIRS[n][: 2 * n], axes, stride, ABSENT), n, np.where(here, g, 0))
        beside, _ = departures(*self.around(self.given, voxels, FACES, axes, stride, ABSENT), base)
        departed = np.concatenate([np.where(here, 2 * (g - base), 0)[:, None], beside], axis=1)
        spread = Spread(np.clip(np.abs(departed).sum(axis=1) // 4, step >> 2, 2**23 - 1))
        own = spread.log() - LOG[step]
        features = [32 * here, own >> 3, np.clip(own - log, -512, 511) >> 2]
        return [spread.bring(departed), np.stack(features, axis=1)]

    def smoothed(self) -> Array:
        voxels = np.argwhere(self.active)
        v = self.values[tuple(voxels.T)]
        around = self.around(self.values, voxels, FACES + EDGES + CORNERS, (0, 1, 2), 1, ABSENT)
        total, slope = (part >> 3 for part in departures(*around, v))
        there = [32 * (side[:, :3] != ABSENT) for side in around]
        odd = (voxels % 2).sum(axis=1)
        kinds = np.stack([odd == kind for kind in (1, 2, 3, 0)], axis=1)
        level = 8 * np.clip(v - self.config["background"], -2048, 2048) // 128
        inputs = np.concatenate([total, slope, *there, 32 * kinds, level[:, None]], axis=1)
        move = np.clip((output(self.networks["smoothing"], inputs)[:, 0] + 8) >> 4, -128, 128)
        result = self.values.copy()
        same = (total == 0).all(axis=1) & (slope == 0).all(axis=1)
        result[tuple(voxels.T)] = np.where(same, v, np.clip(v + move, 0, self.top))
        return result


def base_of(ahead: Array, behind: Array, n: int, rest: Array) -> Array:
    """Base (m,) from pairs (m, k), of which the first n are near and the next n far."""
    a, b = ahead != ABSENT, behind != ABSENT
    totals, counts = np.where(a, ahead, 0) + np.where(b, behind, 0), a.astype(np.int64) + b
    lines, curved = (a & b)[:, :n], (a & b)[:, : 2 * n].reshape(-1, 2, n).all(axis=1)
    near, far = totals[:, :n], totals[:, n : 2 * n]
    sixteenths = np.where(lines, np.where(curved, 9 * near - far, 8 * near), 0).sum(axis=1)
    found = [
        (lines.sum(axis=1) > 0, sixteenths, 16 * lines.sum(axis=1)),
        (counts[:, :n].sum(axis=1) > 0, near.sum(axis=1), counts[:, :n].sum(axis=1)),
        (counts.sum(axis=1) > 0, totals.sum(axis=1), counts.sum(axis=1)),
    ]
    return np.select([there for there, _, _ in found], [x // np.maximum(c, 1) for _, x, c in found], rest)


def departures(ahead: Array, behind: Array, base: Array) -> tuple[Array, Array]:
    """Sum and difference of what each pair (m, k) departs from base (m,) by."""
    a, b = (np.where(side != ABSENT, side - base[:, None], 0) for side in (ahead, behind))
    return a + b, a - b


def order(values: Array) -> Array:
    """Order int64 of values float32."""
    return turned(np.ascontiguousarray(values).view("<i4").astype(np.int64))


def turned(bits: Array) -> Array:
    return np.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)


def entries_of(tensors: Tensors) -> Array:
    """The entries int64 (P,) of a palette."""
    rises = tensors["palette"].astype(np.int64)
    return np.cumsum(np.concatenate([rises[:1], rises[1:] % 2**32]))


def units_of(config: dict[str, Any], tensors: Tensors, low: float, high: float) -> Callable[[Array], Array]:
    """What gives the units int64 of values float32 of one component that are known from the start."""
    scale = config["scale"]

    def linear(values: Array) -> Array:
        wide = np.where(np.isnan(values), low, values.astype(np.float64))
        return np.clip(np.round((wide - low) / (high - low) * scale), -(2**23), 2**23).astype(np.int64)

    def exact(values: Array) -> Array:
        numbers = order(np.where(np.isnan(values), np.float32(-np.inf), values)) >> len(tensors["low_bits"])
        below = np.searchsorted(entries_of(tensors), numbers, side="left")
        return np.minimum(128 * below, 2**23)

    return exact if config["lossless"] else linear


class Channel:
    """A channel, whose regions are decoded when they are asked for.

    leaves, voxels  origins (L, 3) of its leaves, and coordinates (N, 3) of its voxels
    around          gives units (128, 128, 128) of a region's inactive voxels; None where these are not known
    apart           coordinates (A, 3) and units (A,) of the voxels that have frequent and kept values
    """

    def __init__(
        self,
        config: dict[str, Any],
        tensors: Tensors,
        defaults: Tensors,
        leaves: Array,
        voxels: Array,
        given: Channel | None,
        around: Callable[[Corner], Array] | None,
        apart: tuple[Array, Array],
    ) -> None:
        self.config, self.tensors, self.given, self.around, self.apart = config, tensors, given, around, apart
        self.prior = defaults["prior"]
        self.networks = networks_of(config, tensors, defaults)
        self.corners = sorted({tuple(corner) for corner in (leaves // EDGE * EDGE).tolist()})
        self.voxels = voxels.astype(np.int64)
        self.numbers = {voxel: number for number, voxel in enumerate(map(tuple, self.voxels.tolist()))}
        if any(len(tensors[name]) != len(self.corners) for name in ("means", "spreads", "word_counts")):
            raise ValueError("a tensor of codes has not one row a region")
        if tensors["spreads"].max(initial=0) > 22:
            raise ValueError("a spread is above 22")
        self.ends = np.cumsum(tensors["word_counts"])
        if self.ends[-1:].sum() != len(tensors["words"]):
            raise ValueError("word_counts do not add up")
        if config["corrected"] and not (np.isfinite(tensors["offsets"]).all() and tensors["offsets"].shape == (17,)):
            raise ValueError("an offset is missing or not finite")
        if config["lossless"]:
            self.check_palette()
        self.decoded: dict[Corner, Array] = {}

    def check_palette(self) -> None:
        rises, entries, s = self.tensors["palette"], entries_of(self.tensors), len(self.tensors["low_bits"])
        if s > 31 or 128 * (len(rises) - 1) != self.config["top"] or (rises[1:] == 0).any():
            raise ValueError("a palette does not rise, or has another number of entries than top says")
        if entries[0] < -(2 ** (31 - s)) or entries[-1] >= 2 ** (31 - s):
            raise ValueError("a palette leaves its bounds")
        if self.tensors["low_bits"].shape != (s, -(-len(self.voxels) // 8)):
            raise ValueError("the low bits are not those of the channel's voxels")

    def of_region(self, corner: Corner) -> tuple[Array, Array]:
        """Places (n, 3) in the region at a corner, and units (n,), of frequent and kept values."""
        coordinates, units = self.apart
        inside = (coordinates // EDGE * EDGE == corner).all(axis=1)
        return coordinates[inside] - corner, units[inside]

    def known(self, corner: Corner) -> Array | None:
        """Units (128, 128, 128) that are known from the start, right but at the channel's voxels."""
        if self.around is None:
            return None
        units, (places, apart) = self.around(corner), self.of_region(corner)
        units[tuple(places.T)] = apart
        return units

    def to_give(self, corner: Corner) -> Array:
        """Final values (128, 128, 128) of the region at a corner, and units of frequent and kept values, else ABSENT."""
        values, (places, apart) = self.region(corner).copy(), self.of_region(corner)
        values[tuple(places.T)] = apart
        return values

    def region(self, corner: Corner) -> Array:
        """Final values (128, 128, 128) of the region at a corner, ABSENT where the channel has no voxel."""
        if corner not in self.corners:
            return np.full((EDGE,) * 3, ABSENT, dtype=np.int64)
        if corner not in self.decoded:
            number = self.corners.index(corner)
            inside = self.voxels[(self.voxels // EDGE * EDGE == corner).all(axis=1)] - corner
            active = np.zeros((EDGE,) * 3, dtype=np.int64)
            active[tuple(inside.T)] = 1
            words = self.tensors["words"][self.ends[number] - self.tensors["word_counts"][number] : self.ends[number]]
            header = int(self.tensors["means"][number]), int(self.tensors["spreads"][number])
            given = None if self.given is None else self.given.to_give(corner)
            region = Region(self.config, self.networks, Codes(words, self.prior), header, active, given, self.known(corner))
            self.decoded[corner] = region.decode()
        return self.decoded[corner]

    def outputs(self, coordinates: Array) -> Array:
        """Outputs float64 (n,) at voxels (n, 3); NaN where the channel has none."""
        found = np.full(len(coordinates), np.nan)
        corners = coordinates.astype(np.int64) // EDGE * EDGE
        for corner in {tuple(corner) for corner in corners.tolist()}:
            here = np.flatnonzero((corners == corner).all(axis=1))
            values = self.region(corner)[tuple((coordinates[here] - corner).T)]
            here, values = here[values != ABSENT], values[values != ABSENT]
            found[here] = self.exact(values, coordinates[here]) if self.config["lossless"] else self.scaled(values)
        return found

    def scaled(self, values: Array) -> Array:
        """Outputs float64 (n,) of final values (n,)."""
        v = values.astype(np.float64)
        if self.config["corrected"]:
            o, x = self.tensors["offsets"].astype(np.float64), v * 16 / self.config["top"]
            j = np.minimum(np.floor(x), 15).astype(np.int64)
            v = v + (o[j] + (x - j) * (o[j + 1] - o[j]))
        return v / self.config["scale"]

    def exact(self, values: Array, coordinates: Array) -> Array:
        """The values themselves, of a lossless channel's final values (n,) at coordinates (n, 3)."""
        entries, rows = entries_of(self.tensors), self.tensors["low_bits"]
        numbers = np.array([self.numbers[voxel] for voxel in map(tuple, coordinates.tolist())], dtype=np.int64)
        low = np.zeros(len(numbers), dtype=np.int64)
        for b, row in enumerate(rows):
            low |= (row[numbers // 8].astype(np.int64) >> numbers % 8 & 1) << b
        return turned((entries[values // 128] << len(rows)) + low).astype("<i4").view("<f4").astype(np.float64)
