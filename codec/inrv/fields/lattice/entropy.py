"""Codes to bytes and back: tokens under adaptive tables, signs and low bits evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.entropy.range_coder import EVEN_BIT, RangeReader, RangeWriter, table_model
from inrv.fields.lattice.constants import TABLES

Ints = NDArray[np.int32]
Words = NDArray[np.uint32]

DIRECT = 16  # magnitudes that are tokens themselves
DIRECT_BITS = 4
LARGEST_BITS = 19
TOKENS = DIRECT + 2 * (LARGEST_BITS - DIRECT_BITS)
# The coder gives each token one more part of 2^24 than is asked.
TOTAL = (1 << 24) - TOKENS
LEARNED = 32  # weight of one token seen against the prior's counts


def tokens_of(magnitudes: Ints) -> Ints:
    """Magnitudes below 16 are their own tokens; others share one by bit length and second bit."""
    exponent = np.frexp(magnitudes.astype(np.float64))[1] - 1
    second = (magnitudes >> np.maximum(exponent - 1, 0)) & 1
    shared = DIRECT + 2 * (exponent - DIRECT_BITS) + second
    return np.where(magnitudes < DIRECT, magnitudes, shared).astype(np.int32)


def low_bits(tokens: Ints) -> Ints:
    """How many bits of the magnitude follow a token as they are."""
    bits = DIRECT_BITS - 1 + (tokens - DIRECT) // 2
    return np.where(tokens < DIRECT, 0, bits).astype(np.int32)


def lowest_of(tokens: Ints) -> Ints:
    """The smallest magnitude of each token."""
    shared = (2 + (tokens - DIRECT) % 2) << low_bits(tokens)
    return np.where(tokens < DIRECT, tokens, shared).astype(np.int32)


class Tables:
    """Counts int64 (64, tokens) of a region's tokens, which grow pass by pass.

    The frequencies of each table follow from them.
    """

    def __init__(self, prior: NDArray[np.int64]) -> None:
        self.counts = prior.copy()

    def model(self, table: int) -> Any:
        """The coder's model of a table.

        Each token has parts of 2^24 in proportion to its count, rounded down; token 0 has the rest.
        """
        counts = self.counts[table]
        parts = counts * TOTAL // counts.sum()
        parts[0] += TOTAL - parts.sum()
        return table_model(parts)

    def learn(self, tables: Ints, tokens: Ints, weight: int) -> None:
        """Count the tokens of a pass."""
        found = np.bincount(tables * TOKENS + tokens, minlength=TABLES * TOKENS)
        self.counts += weight * found.reshape(TABLES, TOKENS)


def _runs(tables: Ints) -> tuple[NDArray[np.int64], list[tuple[int, slice]]]:
    """The order of voxels by table, and the part of it that each table has."""
    order = np.argsort(tables.astype(np.uint8), kind="stable")
    counts = np.bincount(tables, minlength=TABLES)
    ends = counts.cumsum()
    found = np.flatnonzero(counts).tolist()
    return order, [(table, slice(ends[table] - counts[table], ends[table])) for table in found]


class RegionWriter:
    """The codes of one region, a pass at a time."""

    def __init__(self, prior: NDArray[np.int64]) -> None:
        self.tables = Tables(prior)
        self.writer = RangeWriter()

    def encode(self, tables: Ints, codes: Ints) -> None:
        """Write the codes of a pass: tokens, then signs, then low bits from the lowest on.

        tables: int32 (n,) of the voxels
        codes: int32 (n,) of the voxels
        """
        magnitudes = np.abs(codes)
        tokens = tokens_of(magnitudes)
        order, runs = _runs(tables)
        sorted_tokens = tokens[order]
        for table, part in runs:
            self.writer.encode(sorted_tokens[part], self.tables.model(table))
        self.tables.learn(tables, tokens, LEARNED)
        self._bits((codes < 0)[magnitudes > 0])
        wide = low_bits(tokens)
        for bit in range(int(wide.max(initial=0))):
            self._bits(((magnitudes >> bit) & 1)[wide > bit])

    def _bits(self, bits: NDArray[Any]) -> None:
        self.writer.encode(bits.astype(np.int32), EVEN_BIT)

    def words(self) -> Words:
        """The range coder's words uint32."""
        return self.writer.words()


class RegionReader:
    """The codes of one region, back, a pass at a time. Raises FormatError (F6) for bad words."""

    def __init__(self, prior: NDArray[np.int64], words: Words) -> None:
        self.tables = Tables(prior)
        self.reader = RangeReader(words, "F6", "the words of a region")

    def decode(self, tables: Ints) -> Ints:
        """The codes int32 (n,) of a pass whose voxels have these tables int32 (n,)."""
        order, runs = _runs(tables)
        tokens = np.empty(len(tables), dtype=np.int32)
        for table, part in runs:
            found = self.reader.decode(self.tables.model(table), part.stop - part.start)
            tokens[order[part]] = found
        self.tables.learn(tables, tokens, LEARNED)
        codes = lowest_of(tokens)
        signed = codes > 0
        negative = np.zeros(len(tables), dtype=np.bool_)
        negative[signed] = self.reader.decode(EVEN_BIT, int(signed.sum()))
        wide = low_bits(tokens)
        for bit in range(int(wide.max(initial=0))):
            there = wide > bit
            codes[there] += self.reader.decode(EVEN_BIT, int(there.sum())) << bit
        return np.where(negative, -codes, codes)

    def check_end(self) -> None:
        """Raise FormatError where words are left over."""
        self.reader.check_end("a region holds more words than its codes take")
