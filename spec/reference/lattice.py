"""Decodes the channels of a lattice as spec/lattice.md says; its headings are repeated here.

It shares no line with the library, and is made to be read, not to be fast. It needs NumPy; wavelets
are decoded by wavelet.py. Arrays hold 64-bit integers where nothing else is said. Damaged codes are
a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from spec.reference import wavelet
except ImportError:  # run from this folder
    import wavelet  # type: ignore[no-redef]

Array = np.ndarray
Tensors = dict[str, Array]
Corner = tuple[int, ...]
Exterior = Callable[[Corner], Array]
Part = Callable[[int, int, int], bytes]  # from its first byte, its size, its CRC-32

EDGE = 128  # of a region, in voxels
ABSENT = -(2**40)  # in an array of values: no voxel, or not yet known
TOKENS, TABLES = 46, 64
CHAINS = 16
NEXT = [(0, 2), (5, 7), (1, 3), (6, 4), (2, 0), (4, 6), (3, 1), (7, 5)]
SAME = 64  # in place of a table, where a tensor does not differ
SEGMENTS = {1: [[6, 5, 4, 3, 2, 1, 0]], 4: [[6, 5, 4, 3], [2], [1], [0]]}  # levels of each


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
SIBLINGS = [(1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1)]
PAIRS = {
    1: [(1, 0, 0), (3, 0, 0), *BESIDE_1],
    2: [(0, 1, 0), (0, 0, 1), (0, 3, 0), (0, 0, 3), *BESIDE_2],
    3: [*FACES, (3, 0, 0), (0, 3, 0), (0, 0, 3), *EDGES, *CORNERS],
}


def pairs_of(odd: int, turn: int) -> list[tuple[int, ...]]:
    """The pairs of a parity that comes behind `turn` others with as many odd axes."""
    return PAIRS[odd] + (SIBLINGS[: 2 * turn] if odd < 3 else [])


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


def inner_base_of(
    ahead: Array, behind: Array, odd: int, base: Array, step: int, top: int
) -> tuple[Array, Array]:
    """Inner base (n,) from near and far pairs, and how many near neighbours are inner."""
    sides = np.stack([ahead[:, : 2 * odd], behind[:, : 2 * odd]])
    inner = (sides != ABSENT) & (2 * sides > step) & (2 * (top - sides) > step)
    near, far, is_near, is_far = (
        sides[..., :odd],
        sides[..., odd:],
        inner[..., :odd],
        inner[..., odd:],
    )
    lines = is_near.all(axis=0)
    cubic = np.where(
        is_far.all(axis=0), 9 * near.sum(axis=0) - far.sum(axis=0), 8 * near.sum(axis=0)
    )
    straight = is_near & is_far
    cases = [
        (np.where(lines, cubic, 0).sum(axis=1), 16 * lines.sum(axis=1)),
        (
            np.where(straight, 24 * near - 8 * far, 0).sum(axis=(0, 2)),
            16 * straight.sum(axis=(0, 2)),
        ),
    ]
    found = np.select(
        [number > 0 for _, number in cases],
        [sums // np.maximum(number, 1) for sums, number in cases],
        base,
    )
    return np.clip(found, 0, top), is_near.sum(axis=(0, 2))


def deviations(ahead: Array, behind: Array, base: Array) -> tuple[Array, Array]:
    """Sums and differences (n, k) of the deviations of pairs (n, k) from base (n,)."""
    first, second = (np.where(side != ABSENT, side - base[:, None], 0) for side in (ahead, behind))
    return first + second, first - second


# Quantised inputs


def log_of(numbers: Array) -> Array:
    """LOG of numbers (n,) of at least 1."""
    e = bits_of(numbers) - 1
    return 64 * e + ((numbers << 6) >> e) - 64


def bits_of(numbers: Array) -> Array:
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)


@dataclass
class Spread:
    """Spreads (n,), with their mantissas and shifts."""

    spread: Array

    def __post_init__(self) -> None:
        self.shift = np.maximum(0, bits_of(self.spread) - 12)
        self.mantissa = self.spread >> self.shift

    def log(self) -> Array:
        return log_of(self.spread)

    def quantise(self, numbers: Array) -> Array:
        """QUANT of numbers (n, k)."""
        mantissa, shift = self.mantissa[:, None], self.shift[:, None]
        return np.clip(((numbers >> shift) * (2**18 // mantissa) + 2**13) >> 14, -63, 63)


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


def outputs_of(network: Tensors, x: Array) -> Array:
    """Outputs (n, outputs) of a network, of rows of inputs in 32nds."""
    hidden = activation(x @ network["first.weight"] + network["first.bias"])
    hidden = activation(hidden @ network["second.weight"] + network["second.bias"])
    return hidden @ network["last.weight"] + network["last.bias"] + x @ network["skip.weight"]


def limited(inputs: Array) -> Array:
    return np.clip(inputs, -63, 63)


def activation(sums: Array) -> Array:
    return np.clip((sums + 32) >> 6, 0, 127)


def read_passes(prior: Array, tables: Array, sizes: list[int], data: bytes) -> list[Array]:
    """Passes of so many numbers, each under its table; numbers without a table are 0."""
    codes = Codes(prior, 1)
    codes.begin(data)
    found = [
        codes.read(np.full(size, table))[0] if table < SAME else np.zeros(size, dtype=np.int64)
        for table, size in zip(tables.tolist(), sizes, strict=True)
    ]
    codes.end()
    codes.end_lanes()
    return found


def networks_of(config: dict[str, Any], tensors: Tensors, defaults: Tensors) -> dict[str, Tensors]:
    """The networks '1', '2', '3' and 'restoration' of a channel."""
    kind = "alone" if config["reference"] is None else "reference"
    prefixes = {odd: f"{config['set']}.{kind}.{odd}" for odd in "123"}
    if config["restoration"]:
        of = "wavelet" if config["wavelet"] else config["set"]
        prefixes["restoration"] = f"{of}.restoration"
    networks = {
        name: {part: defaults[f"{prefix}.{part}"].astype(np.int64) for part in NAMES}
        for name, prefix in prefixes.items()
    }
    if not config["fitted"]:
        return networks
    tables = tensors["network_tables"]
    own = [(part, tensor) for network in networks.values() for part, tensor in network.items()]
    require(tables.shape == (len(own),), "S3: there is not one table for each tensor")
    require(bool((tables <= SAME).all()), "F7: there is no such table")
    sizes, data = [tensor.size for _, tensor in own], tensors["network_codes"].tobytes()
    for (_, tensor), found in zip(
        own, read_passes(defaults["prior"], tables, sizes, data), strict=True
    ):
        tensor += found.reshape(tensor.shape)
    for part, tensor in own:
        most = 127 if part.endswith("weight") else 2**20
        require(bool((np.abs(tensor) <= most).all()), "F7: a weight or bias is out of bounds")
    return networks


# Tables, codes and coder


def table_of(log: Array) -> Array:
    return np.clip((log + 320) // 16, 0, TABLES - 1)


class Segment:
    """Bytes with words, from the front, and raw bits, from the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.words, self.bits = data, 0, 0

    def word(self) -> int:
        """The next word."""
        self.words += 1
        require(2 * self.words <= len(self.data), "F6: words are missing")
        return int.from_bytes(self.data[2 * self.words - 2 : 2 * self.words], "little")

    def bit(self) -> int:
        """The next raw bit."""
        place, shift = len(self.data) - 1 - self.bits // 8, self.bits % 8
        self.bits += 1
        require(place >= 0, "F6: raw bits are missing")
        return self.data[place] >> shift & 1

    def end(self) -> None:
        used = 2 * self.words + -(-self.bits // 8)
        require(used == len(self.data), "F6: words and raw bits do not meet")


@dataclass
class Ends:
    """Where the values of a pass's voxels end: predictions (n,), the largest value, the step."""

    predicted: Array
    top: int
    step: int

    def sign(self, voxel: int, magnitude: int, quantiser: int) -> int:
        """The only sign that a code can have, 1 or -1; 0 where it can have both."""
        below = int(self.predicted[voxel])
        reach = (2 * magnitude - 1 - quantiser) * self.step
        return 1 if 2 * below < reach else -1 if 2 * (self.top - below) < reach else 0


class Chains:
    """The states of a trellis's chains, and the quantiser of each voxel of a pass."""

    def __init__(self) -> None:
        self.states = [0] * CHAINS

    def quantiser(self, voxel: int) -> int:
        return self.states[voxel % CHAINS] % 2

    def follow(self, voxel: int, token: int) -> None:
        self.states[voxel % CHAINS] = NEXT[self.states[voxel % CHAINS]][token % 2]


class Codes:
    """The codes that segments hold, a pass at a time."""

    def __init__(self, prior: Array, lanes: int) -> None:
        self.counts = [[[int(count) for count in row] for row in tables] for tables in prior]
        self.lanes = lanes
        self.states: list[int] = []
        self.chains = Chains()

    def begin(self, data: bytes) -> None:
        """Read on in the next segment."""
        self.segment = Segment(data)
        for _ in range(self.lanes - len(self.states)):  # none behind the first segment
            low, high = self.segment.word(), self.segment.word()
            require(high > 0, "F6: a state is below 2^16")
            self.states.append(low + (high << 16))

    def parts(self, quantiser: int, table: int) -> list[int]:
        counts = self.counts[quantiser][table]
        others = [1 + count * (2**15 - TOKENS) // sum(counts) for count in counts[1:]]
        return [2**15 - sum(others), *others]

    def token(self, lane: int, parts: list[int]) -> int:
        state = self.states[lane]
        slot = state % 2**15
        token, start = 0, 0
        while start + parts[token] <= slot:
            token, start = token + 1, start + parts[token]
        state = parts[token] * (state >> 15) + slot - start
        if state < 2**16:
            state = state << 16 | self.segment.word()
        self.states[lane] = state
        return token

    def magnitude(self, token: int) -> int:
        if token < 16:
            return token
        extra = 3 + (token - 16) // 2
        return (2 + token % 2 << extra) + sum(self.segment.bit() << j for j in range(extra))

    def read(
        self, tables: Array, ends: Ends | None = None, trellis: bool = False
    ) -> tuple[Array, Array]:
        """The codes (n,) of the voxels of a pass, whose tables are (n,), and their quantisers."""
        parts = self.all_parts(tables)
        codes, quantisers = [], []
        for voxel, table in enumerate(tables.tolist()):
            quantiser = self.chains.quantiser(voxel) if trellis else 0
            token = self.token(voxel % self.lanes, parts[quantiser, table])
            self.counts[quantiser][table][token] += 32
            self.chains.follow(voxel, token)
            magnitude = self.magnitude(token)
            sign = ends.sign(voxel, magnitude, quantiser) if ends else 0
            if magnitude and not sign:
                sign = -1 if self.segment.bit() else 1
            codes.append(sign * magnitude)
            quantisers.append(quantiser)
        return np.array(codes, dtype=np.int64), np.array(quantisers, dtype=np.int64)

    def all_parts(self, tables: Array) -> dict[tuple[int, int], list[int]]:
        """The parts of every table of a pass, of both quantisers."""
        return {(q, table): self.parts(q, table) for q in (0, 1) for table in set(tables.tolist())}

    def end(self) -> None:
        """End the segment."""
        self.segment.end()

    def end_lanes(self) -> None:
        """End the codes."""
        require(self.states == [2**16] * self.lanes, "F6: a lane does not end as it should")


class Writer:
    """Stands in for Codes where codes are made: they are chosen, noted, and written at the end.

    choose: gives the codes (n,) of the voxels of a pass, of their tables (n,)
    """

    def __init__(self, choose: Callable[[Array], Array]) -> None:
        self.choose = choose
        # Of each segment: the tables, codes and quantisers, and which signs are not stored.
        self.passes: list[list[tuple[Array, Array, Array, Array]]] = []
        self.chains = Chains()

    def begin(self, _: bytes) -> None:
        self.passes.append([])

    def read(
        self, tables: Array, ends: Ends | None = None, trellis: bool = False
    ) -> tuple[Array, Array]:
        codes = self.choose(tables).copy()
        quantisers, implied = np.zeros((2, len(codes)), dtype=np.int64)
        for voxel, code in enumerate(codes.tolist()):
            quantisers[voxel] = quantiser = self.chains.quantiser(voxel) if trellis else 0
            self.chains.follow(voxel, token_of(abs(code))[0])
            sign = ends.sign(voxel, abs(code), quantiser) if ends else 0
            implied[voxel] = sign != 0
            codes[voxel] = sign * abs(code) if sign else code
        self.passes[-1].append((tables, codes, quantisers, implied))
        return codes, quantisers

    def end(self) -> None:
        pass

    def end_lanes(self) -> None:
        pass

    def segments(self, prior: Array, lanes: int) -> list[bytes]:
        """The segments that hold these codes."""
        symbols, counts = [], Codes(prior, lanes)
        for segment, passes in enumerate(self.passes):
            for columns in passes:
                parts = counts.all_parts(columns[0])
                rows = zip(*(column.tolist() for column in columns), strict=True)
                for voxel, (table, code, quantiser, implied) in enumerate(rows):
                    token, bits = token_of(abs(code))
                    own = parts[quantiser, table]
                    part, start = own[token], sum(own[:token])
                    raw = [*bits, *([int(code < 0)] if code and not implied else [])]
                    symbols.append((segment, voxel % lanes, part, start, raw))
                    counts.counts[quantiser][table][token] += 32
        states, words = [2**16] * lanes, [b""] * len(self.passes)
        for segment, lane, part, start, _ in reversed(symbols):
            x = states[lane]
            if x >= part << 17:
                words[segment] = (x % 2**16).to_bytes(2, "little") + words[segment]
                x >>= 16
            states[lane] = (x // part << 15) + x % part + start
        words[0] = b"".join(x.to_bytes(4, "little") for x in states) + words[0]
        raw = [
            [bit for of, *_, bits in symbols if of == n for bit in bits] for n in range(len(words))
        ]
        return [
            own + np.packbits(np.array(bits, dtype=np.uint8), bitorder="little")[::-1].tobytes()
            for own, bits in zip(words, raw, strict=True)
        ]


def token_of(magnitude: int) -> tuple[int, list[int]]:
    """The token of a magnitude, and its extra bits, the lowest first."""
    if magnitude < 16:
        return magnitude, []
    extra = magnitude.bit_length() - 2
    token = 16 + 2 * (extra - 3) + (magnitude >> extra) % 2
    return token, [magnitude >> bit & 1 for bit in range(extra)]


class Region:
    """One region of a channel while it is decoded.

    codes: at their beginning, or what makes them
    segments: their bytes, 1 or 4; those of levels that are not decoded may be anything
    header: its mean and its spread
    active: (128, 128, 128) 1 where the channel has a voxel
    reference: (128, 128, 128) values of the reference channel, ABSENT where it has none; or None
    exterior: (128, 128, 128) values of all other voxels that are known from the start; or None
    """

    def __init__(
        self,
        config: dict[str, Any],
        networks: dict[str, Tensors],
        codes: Codes | Writer,
        segments: list[bytes],
        header: tuple[int, int],
        active: Array,
        reference: Array | None,
        exterior: Array | None,
    ) -> None:
        self.config, self.networks = config, networks
        self.codes, self.segments = codes, segments
        self.active, self.reference, self.top = active, reference, config["top"]
        self.mean, self.spread = header[0] * self.top // 255, 2 ** header[1]
        self.values = np.full((EDGE,) * 3, ABSENT, dtype=np.int64)
        if exterior is not None:
            self.values[active == 0] = exterior[active == 0]

    # Traversal

    def decode(self, last: int = 0) -> Array:
        """Values (128, 128, 128) of the voxels at multiples of 2^last, ABSENT elsewhere.

        Those of level 0 are final.
        """
        for levels, data in zip(SEGMENTS[len(self.segments)], self.segments, strict=True):
            if levels[0] < last:
                break
            self.codes.begin(data)
            for level in levels:
                if level >= last:
                    self.decode_level(level)
            if levels[-1] >= last:
                self.codes.end()
        if last == 0:
            self.codes.end_lanes()
        return self.final(last)

    def decode_wavelet(self, box: tuple[slice, ...], prior: Array, last: int = 0) -> Array:
        """The same of a region that is a wavelet, whose leaves are in a box."""
        values, active = np.zeros_like(self.values), self.active == 1
        values[box] = wavelet.decode(
            self.segments[0], prior, self.config["steps"], self.top, self.mean, active[box]
        )
        wanted = np.zeros_like(active)
        wanted[(slice(None, None, 2**last),) * 3] = True
        self.values[active & wanted] = values[active & wanted]
        return self.final(last)

    def final(self, last: int) -> Array:
        """The values of voxels that have one, restored on level 0."""
        final = self.restored() if self.config["restoration"] and last == 0 else self.values
        return np.where(self.active == 1, final, ABSENT)

    def decode_level(self, level: int) -> None:
        if level == 6 and self.active[0, 0, 0]:
            log = log_of(np.array([self.spread])) - log_of(np.array([self.config["steps"][6]]))
            corner = np.zeros((1, 3), dtype=np.int64)
            self.take(corner, self.allowed(np.array([self.mean])), table_of(log), level)
        for odd, parities in PARITIES.items():
            for turn, (odd_axes, axes) in enumerate(parities):
                voxels = self.voxels_of(level, odd_axes)
                predicted, tables = self.predict(voxels, axes, level, odd, turn)
                self.take(voxels, predicted, tables, level)

    def voxels_of(self, level: int, odd_axes: tuple[int, int, int]) -> Array:
        """The active voxels (n, 3) of a parity."""
        first = [bit << level for bit in odd_axes]
        part = self.active[tuple(slice(start, None, 2 << level) for start in first)]
        return np.argwhere(part) * (2 << level) + first

    def take(self, voxels: Array, predicted: Array, tables: Array, level: int) -> None:
        step = self.config["steps"][level]
        found = self.codes.read(tables, Ends(predicted, self.top, step), self.config["trellis"])
        codes, quantisers = found
        moves = (2 * codes - quantisers * np.sign(codes)) * step >> 1
        self.values[tuple(voxels.T)] = np.clip(predicted + moves, 0, self.top)

    # Prediction

    def predict(
        self, voxels: Array, axes: tuple[int, ...], level: int, odd: int, turn: int
    ) -> tuple[Array, Array]:
        """Predicted values and tables (n,)."""
        step, stride = self.config["steps"][level], 1 << level
        ahead, behind = neighbours(self.values, voxels, pairs_of(odd, turn), axes, stride, ABSENT)
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
        log_step = log_of(np.array([step]))
        log, log_slope = spread.log() - log_step, slope.log() - log_step
        near = known_ahead[:, :odd].sum(axis=1) + known_behind[:, :odd].sum(axis=1)
        whole = (known_ahead & known_behind)[:, : 2 * odd].reshape(-1, 2, odd)
        scalars = [
            (log + 8) >> 4,
            (log_slope + 8) >> 4,
            32 * np.clip(base, 0, 2**23) // self.top,
            4 * np.clip(base - self.config["background"], -16 * step, 16 * step) // step,
            np.full_like(base, 3 * level),
            16 * near // (2 * odd),
            16 * whole.all(axis=1).sum(axis=1) // odd,
        ]
        inner, inner_near = inner_base_of(ahead, behind, odd, base, step, self.top)
        there = [16 * side for side in neighbours(self.active, voxels, FACES, axes, stride, 0)]
        later = np.zeros((len(voxels), len(pairs_of(odd, 2)) - len(pairs_of(odd, turn))), dtype=int)
        inputs = [
            spread.quantise(sums),
            later,
            slope.quantise(differences),
            later,
            *there,
            np.stack(scalars, axis=1),
            spread.quantise((inner - base)[:, None]),
            (16 * inner_near // (2 * odd))[:, None],
        ]
        if self.reference is not None:
            known = spread, log, base, sums
            inputs += self.reference_inputs(voxels, axes, level, odd, turn, known)
        row = 2 * limited(np.concatenate(inputs, axis=1))
        outputs = outputs_of(self.networks[str(odd)], row)
        move = (
            (spread.mantissa * np.clip(outputs[:, 0], -8191, 8191) + 1024) >> 11
        ) << spread.shift
        flat = (known_pairs > 0) & (sums == 0).all(axis=1) & (differences == 0).all(axis=1)
        tables = table_of(log + (np.clip(outputs[:, 1], -(2**20), 2**20) >> 5))
        return self.allowed(base + np.where(flat, 0, move)), tables

    def reference_inputs(
        self,
        voxels: Array,
        axes: tuple[int, ...],
        level: int,
        odd: int,
        turn: int,
        known: tuple[Spread, Array, Array, Array],
    ) -> list[Array]:
        """known: of the voxels' own neighbours: the spread, log_spread, the base, the sums"""
        own_spread, log, own_base, own_sums = known
        step, stride = self.config["steps"][level], 1 << level
        own = self.reference[tuple(voxels.T)]
        there = own != ABSENT
        pairs = neighbours(self.reference, voxels, PAIRS[odd][: 2 * odd], axes, stride, ABSENT)
        base = base_of(*pairs, odd, np.where(there, own, 0))
        sums, _ = deviations(*neighbours(self.reference, voxels, FACES, axes, stride, ABSENT), base)
        all_sums = np.concatenate([np.where(there, 2 * (own - base), 0)[:, None], sums], axis=1)
        spread = Spread(np.clip(np.abs(all_sums).sum(axis=1) // 4, step >> 2, 2**23 - 1))
        log_other = spread.log() - log_of(np.array([step]))
        scalars = [16 * there, (log_other + 8) >> 4, (log_other - log + 4) >> 3]
        apart = np.where(there, 2 * (own - own_base), 0)[:, None]
        near = np.concatenate([all_sums[:, :1], apart, all_sums[:, 1:]], axis=1)
        others = neighbours(self.reference, voxels, pairs_of(odd, turn), axes, stride, ABSENT)
        amiss = np.abs(own_sums - deviations(*others, base)[0]).sum(axis=1) // own_sums.shape[1]
        log_amiss = log_of(np.clip(amiss, step >> 2, 2**23 - 1)) - log_of(np.array([step]))
        return [
            spread.quantise(all_sums),
            np.stack(scalars, axis=1),
            own_spread.quantise(near),
            ((log_amiss - log + 4) >> 3)[:, None],
        ]

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
        height = np.clip(values - self.config["background"], -2048, 2048) >> 4
        inputs = np.concatenate([sums, differences, *there, one_of_four, height[:, None]], axis=1)
        outputs = outputs_of(self.networks["restoration"], limited(inputs))[:, 0]
        move = np.clip((outputs + 8) >> 4, -128, 128)
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

    lowest, highest = -(config["top"] >> 1), config["top"] + (config["top"] >> 1)

    def linear(values: Array) -> Array:
        wide = np.where(np.isnan(values), minimum, values.astype(np.float64))
        units = np.round((wide - minimum) / (maximum - minimum) * config["scale"])
        return np.clip(units, lowest, highest).astype(np.int64)

    def of_palette(values: Array) -> Array:
        numbers = order(np.where(np.isnan(values), np.float32(-np.inf), values)) >> len(
            tensors["low_bits"]
        )
        return np.minimum(128 * np.searchsorted(entries_of(tensors), numbers, side="left"), highest)

    return of_palette if config["lossless"] else linear


class Channel:
    """A channel, whose regions are decoded when they are asked for.

    leaves: (L, 3) origins of the leaves of its topology
    voxels: (V, 3) coordinates of its voxels
    reference: gives for the corner of a region what it is predicted from, (128, 128, 128) with
        ABSENT where nothing is there; or None
    exterior: gives units (128, 128, 128) of a region's inactive voxels; None where the channel does
        not know them
    separate: coordinates (n, 3) and units (n,) of the voxels with frequent and exact values
    part, size: what reads parts of its segments' bytes, and the number of all these bytes
    """

    def __init__(
        self,
        config: dict[str, Any],
        tensors: Tensors,
        defaults: Tensors,
        leaves: Array,
        voxels: Array,
        reference: Exterior | None,
        exterior: Exterior | None,
        separate: tuple[Array, Array],
        part: Part,
        size: int,
    ) -> None:
        self.config, self.tensors = config, tensors
        self.prior, self.wavelet_prior = defaults["prior"], defaults["wavelet.prior"]
        self.reference, self.exterior, self.separate = reference, exterior, separate
        self.part = part
        self.networks = networks_of(config, tensors, defaults)
        self.leaves = leaves.astype(np.int64)
        self.corners = sorted({tuple(corner) for corner in (leaves // EDGE * EDGE).tolist()})
        self.voxels = voxels.astype(np.int64)
        self.numbers = {
            voxel: number for number, voxel in enumerate(map(tuple, self.voxels.tolist()))
        }
        self.decoded: dict[tuple[Corner, int], Array] = {}
        regions, checked = len(self.corners), config["bits"] is not None
        shapes: dict[str, tuple[int, ...]] = {"lengths": (regions, 4)}
        shapes |= {name: (regions,) for name in ("means", "spreads", "lanes", "segments")}
        shapes |= {"checksums": (regions if checked else 0, 4)}
        for name, shape in shapes.items():
            require(tensors[name].shape == shape, f"S3: {name} has another shape")
        segments, lengths = tensors["segments"], tensors["lengths"].astype(np.int64)
        require(int(tensors["spreads"].max(initial=0)) <= 22, "F5: a spread is above 22")
        require(int(tensors["lanes"].max(initial=0)) <= 5, "F5: lanes are above 5")
        require(bool(np.isin(segments, (1, 4)).all()), "F5: not 1 or 4 segments")
        require(bool((lengths >= 0).all()), "F5: a length is negative")
        require(not lengths[segments == 1, 1:].any(), "F5: a segment too many")
        require(int(lengths.sum()) == size, "F5: lengths do not add up")
        # All segments 0 come first, then all segments 1, and so on.
        self.begins = (np.cumsum(lengths.T) - lengths.T.ravel()).reshape(4, -1).T
        if config["offsets"]:
            require(tensors["offsets"].shape == (17,), "S3: offsets has another shape")
            require(bool(np.isfinite(tensors["offsets"]).all()), "F8: an offset is not finite")
        if config["lossless"]:
            check_palette(config, tensors, len(voxels))

    # Regions

    def region(self, corner: Corner, level: int = 0) -> Array:
        """Values (128, 128, 128) of a region, ABSENT where the channel has no voxel.

        They are those of the voxels at multiples of 2^level; those of level 0 are final.
        """
        if corner not in self.corners:
            return np.full((EDGE,) * 3, ABSENT, dtype=np.int64)
        if (corner, level) not in self.decoded:
            number = self.corners.index(corner)
            inside = self.voxels[(self.voxels // EDGE * EDGE == corner).all(axis=1)] - corner
            active = np.zeros((EDGE,) * 3, dtype=np.int64)
            active[tuple(inside.T)] = 1
            header = int(self.tensors["means"][number]), int(self.tensors["spreads"][number])
            lanes = 2 ** int(self.tensors["lanes"][number])
            segments = self.segments_of(number, level)
            reference = None if self.reference is None else self.reference(corner)
            exterior = self.known_exterior(corner)
            codes = Codes(self.prior, lanes)
            region = Region(
                self.config, self.networks, codes, segments, header, active, reference, exterior
            )
            if self.config["wavelet"]:
                require(len(segments) == lanes == 1, "F6: a wavelet has one segment and one lane")
                box = wavelet.box_of(self.leaves_in(corner))
                self.decoded[corner, level] = region.decode_wavelet(box, self.wavelet_prior, level)
            else:
                self.decoded[corner, level] = region.decode(level)
        return self.decoded[corner, level]

    def leaves_in(self, corner: Corner) -> Array:
        """Lowest corners (n, 3), in the region at a corner, of its leaves."""
        return self.leaves[(self.leaves // EDGE * EDGE == corner).all(axis=1)] - corner

    def segments_of(self, number: int, level: int) -> list[bytes]:
        """The segments of region `number`; none is read that lies below the level."""
        found, tensors = [], self.tensors
        for segment, levels in enumerate(SEGMENTS[int(tensors["segments"][number])]):
            at = number, segment
            checked = self.config["bits"] is not None
            checksum = int(tensors["checksums"][at]) % 2**32 if checked else 0
            about = int(self.begins[at]), int(tensors["lengths"][at]), checksum
            found.append(self.part(*about) if levels[0] >= level else b"")
        return found

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
