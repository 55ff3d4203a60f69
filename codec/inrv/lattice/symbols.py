"""Codes to bytes and back: tokens under adaptive tables, by a range coder; signs and low bits as they are."""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import NDArray

from inrv.errors import FormatError
from inrv.lattice.context import TABLES

Ints = NDArray[np.int32]
Words = NDArray[np.uint32]
Bytes = NDArray[np.uint8]

DIRECT = 16  # magnitudes that are tokens themselves
DIRECT_BITS = 4
LARGEST_BITS = 19
TOKENS = DIRECT + 2 * (LARGEST_BITS - DIRECT_BITS)
TOTAL = (1 << 24) - TOKENS  # the coder gives each token one more part of 2^24 than is asked


def tokens_of(magnitudes: Ints) -> Ints:
    """Magnitudes below 16 are their own tokens; others share one by bit length and second bit."""
    exponent = np.frexp(magnitudes.astype(np.float64))[1] - 1
    second = (magnitudes >> np.maximum(exponent - 1, 0)) & 1
    return np.where(magnitudes < DIRECT, magnitudes, DIRECT + 2 * (exponent - DIRECT_BITS) + second).astype(np.int32)


def low_bits(tokens: Ints) -> Ints:
    """How many bits of the magnitude follow a token as they are."""
    return np.where(tokens < DIRECT, 0, DIRECT_BITS - 1 + (tokens - DIRECT) // 2).astype(np.int32)


def lowest_of(tokens: Ints) -> Ints:
    """The smallest magnitude of each token."""
    return np.where(tokens < DIRECT, tokens, (2 + (tokens - DIRECT) % 2) << low_bits(tokens)).astype(np.int32)


class Tables:
    """Counts int64 (64, tokens) of a region's tokens, from which each table's frequencies follow; they grow step by step."""

    def __init__(self, prior: NDArray[np.int64]) -> None:
        self.counts = prior.copy()

    def model(self, table: int) -> constriction.stream.model.Categorical:
        """The coder's model of a table: parts of 2^24 in proportion to the counts, rounded down, the rest to token 0."""
        counts = self.counts[table]
        parts = counts * TOTAL // counts.sum()
        parts[0] += TOTAL - parts.sum()
        return constriction.stream.model.Categorical(parts.astype(np.float64), perfect=False)

    def learn(self, tables: Ints, tokens: Ints, weight: int) -> None:
        """Count the tokens of a step."""
        found = np.bincount(tables * TOKENS + tokens, minlength=TABLES * TOKENS)
        self.counts += weight * found.reshape(TABLES, TOKENS)


LEARNED = 8  # weight of one token seen against the prior's counts


def _runs(tables: Ints) -> tuple[NDArray[np.int64], list[tuple[int, slice]]]:
    """The order of voxels by table, and the part of it that each table has."""
    order = np.argsort(tables.astype(np.uint8), kind="stable")
    counts = np.bincount(tables, minlength=TABLES)
    ends = counts.cumsum()
    return order, [(int(table), slice(int(ends[table] - counts[table]), int(ends[table]))) for table in np.flatnonzero(counts)]


class RegionWriter:
    """The codes of one region, a step at a time."""

    def __init__(self, prior: NDArray[np.int64]) -> None:
        self.tables = Tables(prior)
        self.encoder = constriction.stream.queue.RangeEncoder()
        self.bits: list[NDArray[np.bool_]] = []

    def step(self, tables: Ints, codes: Ints) -> None:
        """Write the codes (n,) of a step under their tables (n,)."""
        magnitudes = np.abs(codes)
        tokens = tokens_of(magnitudes)
        order, runs = _runs(tables)
        sorted_tokens = tokens[order]
        for table, part in runs:
            self.encoder.encode(sorted_tokens[part], self.tables.model(table))
        self.tables.learn(tables, tokens, LEARNED)
        self.bits.append((codes < 0)[magnitudes > 0])
        wide = low_bits(tokens)
        for bit in range(int(wide.max(initial=0))):
            self.bits.append(((magnitudes >> bit) & 1)[wide > bit].astype(bool))

    def words(self) -> Words:
        """The range coder's words uint32."""
        words: Words = self.encoder.get_compressed()
        return words

    def packed_bits(self) -> Bytes:
        """Signs and low bits, lowest bit of a byte first."""
        return np.packbits(np.concatenate([*self.bits, np.zeros(0, dtype=bool)]), bitorder="little")


class RegionReader:
    """The codes of one region, back, a step at a time. Raises FormatError where words or bits end early."""

    def __init__(self, prior: NDArray[np.int64], words: Words, bits: Bytes) -> None:
        self.tables = Tables(prior)
        self.decoder = constriction.stream.queue.RangeDecoder(np.ascontiguousarray(words, dtype=np.uint32))
        self.bits = np.unpackbits(bits, bitorder="little").astype(bool)
        self.at = 0

    def step(self, tables: Ints) -> Ints:
        """The codes (n,) of a step whose voxels have these tables (n,)."""
        order, runs = _runs(tables)
        tokens = np.empty(len(tables), dtype=np.int32)
        try:
            parts = [self.decoder.decode(self.tables.model(table), part.stop - part.start) for table, part in runs]
        except (ValueError, AssertionError) as error:
            raise FormatError(f"the words of a region are damaged: {error}") from error
        tokens[order] = np.concatenate([*parts, np.zeros(0, dtype=np.int32)])
        self.tables.learn(tables, tokens, LEARNED)
        codes = lowest_of(tokens)
        negative = self._take(codes > 0)
        wide = low_bits(tokens)
        for bit in range(int(wide.max(initial=0))):
            codes[wide > bit] += self._take(wide > bit)[wide > bit].astype(np.int32) << bit
        return np.where(negative, -codes, codes)

    def _take(self, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The next bits, one for each voxel of `where`."""
        count = int(where.sum())
        if self.at + count > len(self.bits):
            raise FormatError("the signs and low bits of a region end early")
        result = np.zeros(len(where), dtype=bool)
        result[where] = self.bits[self.at : self.at + count]
        self.at += count
        return result

    def check_end(self) -> None:
        """Raise FormatError where words or bits are left over."""
        if not self.decoder.maybe_exhausted() or len(self.bits) - self.at >= 8:
            raise FormatError("a region holds more words or bits than its codes take")
