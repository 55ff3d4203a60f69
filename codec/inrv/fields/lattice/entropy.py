"""Codes to bytes and back by a range coder: tokens under adaptive tables, signs and low bits evenly."""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from inrv.errors import FormatError
from inrv.fields.lattice.constants import TABLES

Ints = NDArray[np.int32]
Words = NDArray[np.uint32]

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


LEARNED = 32  # weight of one token seen against the prior's counts


def _runs(tables: Ints) -> tuple[NDArray[np.int64], list[tuple[int, slice]]]:
    """The order of voxels by table, and the part of it that each table has."""
    order = np.argsort(tables.astype(np.uint8), kind="stable")
    counts = np.bincount(tables, minlength=TABLES)
    ends = counts.cumsum()
    return order, [(int(table), slice(int(ends[table] - counts[table]), int(ends[table]))) for table in np.flatnonzero(counts)]


_BIT = constriction.stream.model.Uniform(2)


class RegionWriter:
    """The codes of one region, a step at a time."""

    def __init__(self, prior: NDArray[np.int64]) -> None:
        self.tables = Tables(prior)
        self.encoder = constriction.stream.queue.RangeEncoder()

    def step(self, tables: Ints, codes: Ints) -> None:
        """Write the codes (n,) of a step under their tables (n,): tokens, then signs, then low bits from the lowest on."""
        magnitudes = np.abs(codes)
        tokens = tokens_of(magnitudes)
        order, runs = _runs(tables)
        sorted_tokens = tokens[order]
        for table, part in runs:
            self.encoder.encode(sorted_tokens[part], self.tables.model(table))
        self.tables.learn(tables, tokens, LEARNED)
        self._bits((codes < 0)[magnitudes > 0])
        wide = low_bits(tokens)
        for bit in range(int(wide.max(initial=0))):
            self._bits(((magnitudes >> bit) & 1)[wide > bit])

    def _bits(self, bits: NDArray[Any]) -> None:
        if len(bits):
            self.encoder.encode(bits.astype(np.int32), _BIT)

    def words(self) -> Words:
        """The range coder's words uint32."""
        words: Words = self.encoder.get_compressed()
        return words


class RegionReader:
    """The codes of one region, back, a step at a time. Raises FormatError where the words are damaged."""

    def __init__(self, prior: NDArray[np.int64], words: Words) -> None:
        self.tables = Tables(prior)
        self.decoder = constriction.stream.queue.RangeDecoder(np.ascontiguousarray(words, dtype=np.uint32))

    def step(self, tables: Ints) -> Ints:
        """The codes (n,) of a step whose voxels have these tables (n,)."""
        order, runs = _runs(tables)
        tokens = np.empty(len(tables), dtype=np.int32)
        parts = [self._decode(self.tables.model(table), part.stop - part.start) for table, part in runs]
        tokens[order] = np.concatenate([*parts, np.zeros(0, dtype=np.int32)])
        self.tables.learn(tables, tokens, LEARNED)
        codes = lowest_of(tokens)
        signed = codes > 0
        negative = np.zeros(len(tables), dtype=bool)
        negative[signed] = self._decode(_BIT, int(signed.sum()))
        wide = low_bits(tokens)
        for bit in range(int(wide.max(initial=0))):
            there = wide > bit
            codes[there] += self._decode(_BIT, int(there.sum())) << bit
        return np.where(negative, -codes, codes)

    def _decode(self, model: Any, count: int) -> Ints:
        if not count:
            return np.zeros(0, dtype=np.int32)
        try:
            symbols: Ints = self.decoder.decode(model, count)
        except (ValueError, AssertionError) as error:
            raise FormatError("F6", f"the words of a region are damaged: {error}") from error
        return symbols

    def check_end(self) -> None:
        """Raise FormatError where words are left over."""
        if not self.decoder.maybe_exhausted():
            raise FormatError("F6", "a region holds more words than its codes take")
