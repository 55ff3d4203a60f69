"""Decodes the channels of a lattice as spec/lattice.md says; its headings are repeated here.

It shares no line with the library, and is made to be read, not to be fast. It needs NumPy; the
range decoder is that of masks.py. Arrays hold 64-bit integers where nothing else is said. Damaged
words are a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from spec.reference.range_coder import RangeDecoder
except ImportError:  # run from this folder
    from range_coder import RangeDecoder  # type: ignore[no-redef]

Array = np.ndarray
Tensors = dict[str, Array]
Corner = tuple[int, ...]
Exterior = Callable[[Corner], Array]

EDGE = 128  # of a region, in voxels
ABSENT = -(2**40)  # in an array of values: no voxel, or not yet known
TOKENS, TABLES = 46, 64
WEIGHT_TABLE, BIAS_TABLE = 20, 40


def require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(rule)


# Traversal: the odd axes of each parity, and its axes in the order first, second, third

PARITIES = {
    1: [((1, 0, 0), (0, 1, 2)), ((0, 1, 0), (1, 0, 2)), ((0, 0, 1), (2, 0, 1))],
    2: [((0, 1, 1), (0, 1, 2)), ((1, 0, 1), (1, 0, 2)), ((1, 1, 0), (2, 0, 1))],
    3: [((1, 1, 1), (0, 1, 2))],
}

# Neighbours: near pairs, far pairs, the others

FACES = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
EDGES = [(0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0)]
CORNERS = [(1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1)]
BESIDE_1 = [(1, y, z) for y, z in [(2, 0), (-2, 0), (0, 2), (0, -2)]]
BESIDE_1 += [(1, y, z) for y in (2, -2) for z in (2, -2)]
BESIDE_2 = [(0, 1, 1), (0, 1, -1), *CORNERS, (2, 1, 0), (2, -1, 0), (2, 0, 1), (2, 0, -1)]
PAIRS = {
    1: [(1, 0, 0), (3, 0, 0), *BESIDE_1],
    2: [(0, 1, 0), (0, 0, 1), (0, 3, 0), (0, 0, 3), *BESIDE_2],
    3: [*FACES, (3, 0, 0), (0, 3, 0), (0, 0, 3), *EDGES, *CORNERS],
}


def look_up(array: Array, voxels: Array, outside: int) -> Array:
    """Entries (n, k) of a region's array at voxels (n, k, 3)."""
    inside = ((voxels >= 0) & (voxels < EDGE)).all(axis=-1)
    x, y, z = np.moveaxis(np.clip(voxels, 0, EDGE - 1), -1, 0)
    return np.where(inside, array[x, y, z], outside)


def neighbours(
    array: Array,
    voxels: Array,
    pairs: list[tuple[int, ...]],
    axes: tuple[int, ...],
    stride: int,
    outside: int,
) -> tuple[Array, Array]:
    """Entries (n, k) of an array ahead of voxels (n, 3) and behind them."""
    turned = np.zeros((len(pairs), 3), dtype=np.int64)
    turned[:, list(axes)] = np.array(pairs)
    ahead, behind = (
        look_up(array, voxels[:, None] + sign * stride * turned, outside) for sign in (1, -1)
    )
    return ahead, behind


# Base and deviations


def base_of(ahead: Array, behind: Array, odd: int, rest: Array) -> Array:
    """Base (n,) from pairs (n, k), of which the first `odd` are near and the next `odd` far."""
    known_ahead, known_behind = ahead != ABSENT, behind != ABSENT
    total = np.where(known_ahead, ahead, 0) + np.where(known_behind, behind, 0)
    count, whole = known_ahead.astype(np.int64) + known_behind, known_ahead & known_behind
    near, far, lines = total[:, :odd], total[:, odd : 2 * odd], whole[:, :odd]
    cubic = np.where(whole[:, odd : 2 * odd], 9 * near - far, 8 * near)
    cases = [
        (np.where(lines, cubic, 0).sum(axis=1), 16 * lines.sum(axis=1)),
        (near.sum(axis=1), count[:, :odd].sum(axis=1)),
        (total.sum(axis=1), count.sum(axis=1)),
    ]
    return np.select(
        [number > 0 for _, number in cases],
        [sums // np.maximum(number, 1) for sums, number in cases],
        rest,
    )


def deviations(ahead: Array, behind: Array, base: Array) -> tuple[Array, Array]:
    """Sums and differences (n, k) of the deviations of pairs (n, k) from base (n,)."""
    first, second = (np.where(side != ABSENT, side - base[:, None], 0) for side in (ahead, behind))
    return first + second, first - second


# Quantised inputs

LOG = np.array([0] + [(n**64).bit_length() - 1 for n in range(1, 4096)])


@dataclass
class Spread:
    """Mantissas and shifts of spreads (n,)."""

    mantissa: Array
    shift: Array

    def __init__(self, spread: Array) -> None:
        bits = np.array([int(value).bit_length() for value in spread], dtype=np.int64)
        self.shift = np.maximum(0, bits - 12)
        self.mantissa = spread >> self.shift

    def log(self) -> Array:
        return LOG[self.mantissa] + 64 * self.shift

    def quantise(self, difference: Array) -> Array:
        """QUANT of differences (n, k)."""
        mantissa, shift = self.mantissa[:, None], self.shift[:, None]
        clipped = np.clip(difference >> shift, -4 * mantissa, 4 * mantissa)
        return np.clip((clipped * (2**19 // mantissa) + 2**13) >> 14, -127, 127)


# Networks

NAMES = (
    "first.bias",
    "first.weight",
    "last.bias",
    "last.weight",
    "second.bias",
    "second.weight",
    "skip.weight",
)


def outputs_of(network: Tensors, inputs: Array) -> Array:
    """Outputs (n, outputs) of a network."""
    x = np.clip(inputs, -127, 127)
    hidden = activation(x @ network["first.weight"] + network["first.bias"])
    hidden = activation(hidden @ network["second.weight"] + network["second.bias"])
    return hidden @ network["last.weight"] + network["last.bias"] + x @ network["skip.weight"]


def activation(sums: Array) -> Array:
    return np.clip((sums + 32) >> 6, 0, 127)


def networks_of(config: dict[str, Any], tensors: Tensors, defaults: Tensors) -> dict[str, Tensors]:
    """The networks '1', '2', '3' and 'restoration' of a channel."""
    kind = "alone" if config["reference"] is None else "reference"
    prefixes = {odd: f"{kind}.{odd}" for odd in "123"} | (
        {"restoration": "restoration"} if config["restoration"] else {}
    )
    codes = Codes(tensors["network_words"], defaults["prior"]) if config["fitted"] else None
    networks = {}
    for name, prefix in prefixes.items():
        networks[name] = {part: defaults[f"{prefix}.{part}"].astype(np.int64) for part in NAMES}
        for part, tensor in networks[name].items() if codes else ():
            weight = part.endswith("weight")
            tensor += codes.read(
                np.full(tensor.size, WEIGHT_TABLE if weight else BIAS_TABLE)
            ).reshape(tensor.shape)
            require(
                bool((np.abs(tensor) <= (127 if weight else 2**20)).all()),
                "F7: a weight or bias is out of bounds",
            )
    if codes:
        codes.end()
    return networks


# Tables and codes


def table_of(log: Array) -> Array:
    return np.clip((log + 320) // 16, 0, TABLES - 1)


class Codes:
    """The codes that words hold, a pass at a time."""

    def __init__(self, words: Array, prior: Array) -> None:
        self.words = words.view("<u4").tolist()
        self.decoder = RangeDecoder(self.words)
        self.counts = [[int(count) for count in row] for row in prior]

    def parts(self, table: int) -> list[int]:
        counts = self.counts[table]
        others = [1 + count * (2**24 - TOKENS) // sum(counts) for count in counts[1:]]
        return [2**24 - sum(others), *others]

    def read(self, tables: Array) -> Array:
        """The codes (n,) of the voxels of a pass, whose tables are (n,)."""
        tokens = np.zeros(len(tables), dtype=np.int64)
        for table in sorted(set(tables.tolist())):
            parts = self.parts(table)
            for voxel in np.flatnonzero(tables == table):
                tokens[voxel] = self.decoder.symbol(parts)
        for table, token in zip(tables.tolist(), tokens.tolist(), strict=True):
            self.counts[table][token] += 32
        even = [2**23, 2**23]
        signs = [-1 if token and self.decoder.symbol(even) else 1 for token in tokens.tolist()]
        extra = np.where(tokens < 16, 0, 3 + (tokens - 16) // 2)
        magnitudes = np.where(tokens < 16, tokens, (2 + tokens % 2) << extra)
        for bit in range(int(extra.max(initial=0))):
            for voxel in np.flatnonzero(extra > bit):
                magnitudes[voxel] += self.decoder.symbol(even) << bit
        return magnitudes * np.array(signs, dtype=np.int64)

    def end(self) -> None:
        gap = (self.decoder.point - self.decoder.lower) % 2**64
        nothing_read = self.decoder.range == 2**64 - 1
        require(
            self.decoder.read >= len(self.words) and (nothing_read or gap < 2**33 - 1),
            "F6: words are left over",
        )


class Region:
    """One region of a channel while it is decoded.

    active: (128, 128, 128) 1 where the channel has a voxel
    reference: (128, 128, 128) values of the reference channel, ABSENT where it has none; or None
    exterior: (128, 128, 128) values of all other voxels that are known from the start; or None
    """

    def __init__(
        self,
        config: dict[str, Any],
        networks: dict[str, Tensors],
        codes: Codes,
        header: tuple[int, int],
        active: Array,
        reference: Array | None,
        exterior: Array | None,
    ) -> None:
        self.config, self.networks, self.codes = config, networks, codes
        self.active, self.reference, self.top = active, reference, config["top"]
        self.mean, self.spread = header[0] * self.top // 255, 2 ** header[1]
        self.values = np.full((EDGE,) * 3, ABSENT, dtype=np.int64)
        if exterior is not None:
            self.values[active == 0] = exterior[active == 0]

    # Traversal

    def decode(self) -> Array:
        """Final values (128, 128, 128), ABSENT where there is no voxel."""
        if self.active[0, 0, 0]:
            log = Spread(np.array([self.spread])).log() - LOG[self.config["steps"][6]]
            self.take(
                np.zeros((1, 3), dtype=np.int64),
                self.allowed(np.array([self.mean])),
                table_of(log),
                6,
            )
        for level in range(6, -1, -1):
            for odd in (1, 2, 3):
                self.decode_pass(level, odd)
        self.codes.end()
        final = self.restored() if self.config["restoration"] else self.values
        return np.where(self.active == 1, final, ABSENT)

    def decode_pass(self, level: int, odd: int) -> None:
        found = [
            (voxels, *self.predict(voxels, axes, level, odd))
            for voxels, axes in self.parities(level, odd)
        ]
        voxels, predicted, tables = (np.concatenate(column) for column in zip(*found, strict=True))
        self.take(voxels, predicted, tables, level)

    def parities(self, level: int, odd: int) -> Iterator[tuple[Array, tuple[int, int, int]]]:
        """The active voxels (n, 3) of each parity, and its axes."""
        for odd_axes, axes in PARITIES[odd]:
            first = [bit << level for bit in odd_axes]
            part = self.active[tuple(slice(start, None, 2 << level) for start in first)]
            yield np.argwhere(part) * (2 << level) + first, axes

    def take(self, voxels: Array, predicted: Array, tables: Array, level: int) -> None:
        values = predicted + self.codes.read(tables) * self.config["steps"][level]
        self.values[tuple(voxels.T)] = np.clip(values, 0, self.top)

    # Prediction

    def predict(
        self, voxels: Array, axes: tuple[int, ...], level: int, odd: int
    ) -> tuple[Array, Array]:
        """Predicted values and tables (n,)."""
        step, stride = self.config["steps"][level], 1 << level
        ahead, behind = neighbours(self.values, voxels, PAIRS[odd], axes, stride, ABSENT)
        base = base_of(ahead, behind, odd, np.full(len(voxels), self.mean))
        sums, differences = deviations(ahead, behind, base)
        known_ahead, known_behind = ahead != ABSENT, behind != ABSENT
        known_pairs = (known_ahead | known_behind).sum(axis=1)
        of_sums = np.abs(sums).sum(axis=1) // np.maximum(known_pairs, 1)
        of_differences = np.abs(differences).sum(axis=1) // np.maximum(known_pairs, 1)
        spread = Spread(
            np.clip(np.where(known_pairs > 0, of_sums, 2 * self.spread), step >> 2, 2**23 - 1)
        )
        slope = Spread(np.clip(of_differences, step >> 2, 2**23 - 1))
        log = spread.log() - LOG[step]
        scalars = [
            log >> 3,
            (slope.log() - LOG[step]) >> 3,
            64 * np.clip(base, 0, 2**23) // self.top,
            8 * np.clip(base - self.config["background"], -16 * step, 16 * step) // step,
            np.full_like(base, 6 * level),
            32
            * (known_ahead[:, :odd].sum(axis=1) + known_behind[:, :odd].sum(axis=1))
            // (2 * odd),
            32
            * (known_ahead & known_behind)[:, : 2 * odd].reshape(-1, 2, odd).all(axis=1).sum(axis=1)
            // odd,
        ]
        there = [32 * side for side in neighbours(self.active, voxels, FACES, axes, stride, 0)]
        inputs = [
            spread.quantise(sums),
            slope.quantise(differences),
            *there,
            np.stack(scalars, axis=1),
        ]
        if self.reference is not None:
            inputs += self.reference_inputs(voxels, axes, level, odd, log)
        outputs = outputs_of(self.networks[str(odd)], np.concatenate(inputs, axis=1))
        move = (
            (spread.mantissa * np.clip(outputs[:, 0], -8191, 8191) + 1024) >> 11
        ) << spread.shift
        flat = (known_pairs > 0) & (sums == 0).all(axis=1) & (differences == 0).all(axis=1)
        tables = table_of(log + (np.clip(outputs[:, 1], -(2**20), 2**20) >> 5))
        return self.allowed(base + np.where(flat, 0, move)), tables

    def reference_inputs(
        self, voxels: Array, axes: tuple[int, ...], level: int, odd: int, log: Array
    ) -> list[Array]:
        step, stride = self.config["steps"][level], 1 << level
        own = self.reference[tuple(voxels.T)]
        there = own != ABSENT
        pairs = neighbours(self.reference, voxels, PAIRS[odd][: 2 * odd], axes, stride, ABSENT)
        base = base_of(*pairs, odd, np.where(there, own, 0))
        sums, _ = deviations(*neighbours(self.reference, voxels, FACES, axes, stride, ABSENT), base)
        all_sums = np.concatenate([np.where(there, 2 * (own - base), 0)[:, None], sums], axis=1)
        spread = Spread(np.clip(np.abs(all_sums).sum(axis=1) // 4, step >> 2, 2**23 - 1))
        of_reference = spread.log() - LOG[step]
        scalars = [32 * there, of_reference >> 3, np.clip(of_reference - log, -512, 511) >> 2]
        return [spread.quantise(all_sums), np.stack(scalars, axis=1)]

    def allowed(self, predicted: Array) -> Array:
        """Predictions (n,) as they are used: of a lossless channel rounded to entries."""
        return np.clip(
            (predicted + 64 >> 7) * 128 if self.config["lossless"] else predicted, 0, self.top
        )

    # Restoration

    def restored(self) -> Array:
        voxels = np.argwhere(self.active)
        values = self.values[tuple(voxels.T)]
        around = neighbours(self.values, voxels, FACES + EDGES + CORNERS, (0, 1, 2), 1, ABSENT)
        sums, differences = (part >> 3 for part in deviations(*around, values))
        there = [32 * (side[:, :3] != ABSENT) for side in around]
        odd = (voxels % 2).sum(axis=1)
        one_of_four = 32 * np.stack([odd == number for number in (1, 2, 3, 0)], axis=1)
        height = 8 * np.clip(values - self.config["background"], -2048, 2048) // 128
        inputs = np.concatenate([sums, differences, *there, one_of_four, height[:, None]], axis=1)
        move = np.clip((outputs_of(self.networks["restoration"], inputs)[:, 0] + 8) >> 4, -128, 128)
        flat = (sums == 0).all(axis=1) & (differences == 0).all(axis=1)
        result = self.values.copy()
        result[tuple(voxels.T)] = np.where(flat, values, np.clip(values + move, 0, self.top))
        return result


# Palette


def turned(bits: Array) -> Array:
    return np.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)


def order(values: Array) -> Array:
    """Whole numbers int64 in the order of values float32."""
    return turned(np.ascontiguousarray(values).view("<i4").astype(np.int64))


def entries_of(tensors: Tensors) -> Array:
    """The entries int64 (P,) of a palette."""
    rises = tensors["palette"].astype(np.int64)
    return np.cumsum(np.concatenate([rises[:1], rises[1:] % 2**32]))


def check_palette(config: dict[str, Any], tensors: Tensors, voxels: int) -> None:
    rises, entries, rows = tensors["palette"], entries_of(tensors), len(tensors["low_bits"])
    require(
        rows <= 31 and 128 * (len(rises) - 1) == config["top"],
        "F8: low_bits or palette have another size",
    )
    require(bool((rises[1:] != 0).all()), "F8: a palette does not ascend")
    require(
        entries[0] >= -(2 ** (31 - rows)) and entries[-1] < 2 ** (31 - rows),
        "F8: a palette leaves its bounds",
    )
    require(tensors["low_bits"].shape == (rows, -(-voxels // 8)), "S3: low_bits has another shape")


# Exterior


def units_of(
    config: dict[str, Any], tensors: Tensors, minimum: float, maximum: float
) -> Callable[[Array], Array]:
    """The function that turns values float32 of one component into units."""

    def linear(values: Array) -> Array:
        wide = np.where(np.isnan(values), minimum, values.astype(np.float64))
        units = np.round((wide - minimum) / (maximum - minimum) * config["scale"])
        return np.clip(units, -(2**23), 2**23).astype(np.int64)

    def of_palette(values: Array) -> Array:
        numbers = order(np.where(np.isnan(values), np.float32(-np.inf), values)) >> len(
            tensors["low_bits"]
        )
        return np.minimum(128 * np.searchsorted(entries_of(tensors), numbers, side="left"), 2**23)

    return of_palette if config["lossless"] else linear


class Channel:
    """A channel, whose regions are decoded when they are asked for.

    leaves: (L, 3) origins of the leaves of its topology
    voxels: (V, 3) coordinates of its voxels
    reference: its reference channel, or None
    exterior: gives units (128, 128, 128) of a region's inactive voxels; None where the channel does
        not know them
    separate: coordinates (n, 3) and units (n,) of the voxels with frequent and exact values
    """

    def __init__(
        self,
        config: dict[str, Any],
        tensors: Tensors,
        defaults: Tensors,
        leaves: Array,
        voxels: Array,
        reference: Channel | None,
        exterior: Exterior | None,
        separate: tuple[Array, Array],
    ) -> None:
        self.config, self.tensors, self.prior = config, tensors, defaults["prior"]
        self.reference, self.exterior, self.separate = reference, exterior, separate
        self.networks = networks_of(config, tensors, defaults)
        self.corners = sorted({tuple(corner) for corner in (leaves // EDGE * EDGE).tolist()})
        self.voxels = voxels.astype(np.int64)
        self.numbers = {
            voxel: number for number, voxel in enumerate(map(tuple, self.voxels.tolist()))
        }
        self.ends = np.cumsum(tensors["word_counts"])
        self.decoded: dict[Corner, Array] = {}
        for name in ("means", "spreads", "word_counts"):
            require(
                len(tensors[name]) == len(self.corners), f"S3: {name} has not one number a region"
            )
        require(int(tensors["spreads"].max(initial=0)) <= 22, "F5: a spread is above 22")
        require(int(self.ends[-1:].sum()) == len(tensors["words"]), "F5: word_counts do not add up")
        if config["offsets"]:
            require(tensors["offsets"].shape == (17,), "S3: offsets has another shape")
            require(bool(np.isfinite(tensors["offsets"]).all()), "F8: an offset is not finite")
        if config["lossless"]:
            check_palette(config, tensors, len(voxels))

    # Regions

    def region(self, corner: Corner) -> Array:
        """Final values (128, 128, 128) of a region, ABSENT where the channel has no voxel."""
        if corner not in self.corners:
            return np.full((EDGE,) * 3, ABSENT, dtype=np.int64)
        if corner not in self.decoded:
            number = self.corners.index(corner)
            inside = self.voxels[(self.voxels // EDGE * EDGE == corner).all(axis=1)] - corner
            active = np.zeros((EDGE,) * 3, dtype=np.int64)
            active[tuple(inside.T)] = 1
            words = self.tensors["words"][
                self.ends[number] - self.tensors["word_counts"][number] : self.ends[number]
            ]
            header = int(self.tensors["means"][number]), int(self.tensors["spreads"][number])
            reference = None if self.reference is None else self.reference.as_reference(corner)
            codes, exterior = Codes(words, self.prior), self.known_exterior(corner)
            self.decoded[corner] = Region(
                self.config, self.networks, codes, header, active, reference, exterior
            ).decode()
        return self.decoded[corner]

    def separate_in(self, corner: Corner) -> tuple[Array, Array]:
        """Places (n, 3) in the region at a corner, and units (n,), of frequent and exact values."""
        coordinates, units = self.separate
        inside = (coordinates // EDGE * EDGE == corner).all(axis=1)
        return coordinates[inside] - corner, units[inside]

    def known_exterior(self, corner: Corner) -> Array | None:
        """Units (128, 128, 128) known from the start, right but at the channel's voxels."""
        if self.exterior is None:
            return None
        units, (places, separate) = self.exterior(corner), self.separate_in(corner)
        units[tuple(places.T)] = separate
        return units

    def as_reference(self, corner: Corner) -> Array:
        """What another channel is predicted from: final values, and units of separate voxels."""
        values, (places, separate) = self.region(corner).copy(), self.separate_in(corner)
        values[tuple(places.T)] = separate
        return values

    # Outputs

    def outputs(self, coordinates: Array) -> Array:
        """Outputs float64 (n,) at voxels (n, 3); NaN where the channel has none."""
        found = np.full(len(coordinates), np.nan)
        corners = coordinates.astype(np.int64) // EDGE * EDGE
        for corner in {tuple(corner) for corner in corners.tolist()}:
            here = np.flatnonzero((corners == corner).all(axis=1))
            values = self.region(corner)[tuple((coordinates[here] - corner).T)]
            here, values = here[values != ABSENT], values[values != ABSENT]
            found[here] = (
                self.exact(values, coordinates[here])
                if self.config["lossless"]
                else self.scaled(values)
            )
        return found

    def scaled(self, values: Array) -> Array:
        """Outputs float64 (n,) of final values (n,), offsets added."""
        wide = values.astype(np.float64)
        if self.config["offsets"]:
            offsets, place = (
                self.tensors["offsets"].astype(np.float64),
                wide * 16 / self.config["top"],
            )
            j = np.minimum(np.floor(place), 15).astype(np.int64)
            wide = wide + (offsets[j] + (place - j) * (offsets[j + 1] - offsets[j]))
        return wide / self.config["scale"]

    def exact(self, values: Array, coordinates: Array) -> Array:
        """The values themselves, of final values (n,) at coordinates (n, 3)."""
        entries, rows = entries_of(self.tensors), self.tensors["low_bits"]
        numbers = np.array(
            [self.numbers[voxel] for voxel in map(tuple, coordinates.tolist())], dtype=np.int64
        )
        rest = np.zeros(len(numbers), dtype=np.int64)
        for bit, row in enumerate(rows):
            rest |= (row[numbers // 8].astype(np.int64) >> numbers % 8 & 1) << bit
        return (
            turned((entries[values // 128] << len(rows)) + rest)
            .astype("<i4")
            .view("<f4")
            .astype(np.float64)
        )
