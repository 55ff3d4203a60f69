"""Tokens, which stand for the magnitudes of codes, and the bits that they take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import LISTED, TABLES, decode_numbers, encode_numbers

SAME = TABLES  # in place of a table, where all numbers of a pass are 0
DIRECT, DIRECT_BITS = 16, 4  # magnitudes that are tokens themselves


def tokens_of(magnitudes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Magnitudes below 16 are their own tokens; others share one by bit length and second bit."""
    top = _highest_bits(magnitudes)
    second = (magnitudes >> np.maximum(top - 1, 0)) & 1
    shared = DIRECT + 2 * (top - DIRECT_BITS) + second
    return np.where(magnitudes < DIRECT, magnitudes, shared)


def _highest_bits(magnitudes: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(log2) of each magnitude; -1 of 0."""
    return np.frexp(magnitudes.astype(np.float64))[1].astype(np.int64) - 1


def code_bits(prior: NDArray[np.int64]) -> NDArray[np.float32]:
    """Bits float32 (2, 64, LISTED) of magnitudes under each table, their signs included."""
    magnitudes = np.arange(LISTED, dtype=np.int64)
    extra = np.where(magnitudes < DIRECT, 0, _highest_bits(magnitudes) - 1)
    share = prior / prior.sum(axis=-1, keepdims=True)
    exact = -np.log2(share)[..., tokens_of(magnitudes)] + extra + (magnitudes > 0)
    bits: NDArray[np.float32] = np.ascontiguousarray(exact, dtype=np.float32)
    return bits


def code_passes(
    prior: NDArray[np.int64], passes: Sequence[NDArray[np.int32]]
) -> tuple[NDArray[np.uint8], bytes]:
    """Code numbers in passes, each under the table that suits it.

    Returns the table of each pass, uint8 (n,), SAME where all of its numbers are 0, and codes of
    the others.
    """
    bits = -np.log2(prior[0] / prior[0].sum(axis=-1, keepdims=True))
    tables = np.array([_best_table(numbers, bits) for numbers in passes], dtype=np.uint8)
    coded = np.flatnonzero(tables < SAME).tolist()
    return tables, encode_numbers(
        prior, tables[coded].tolist(), [passes[number] for number in coded]
    )


def decode_passes(
    prior: NDArray[np.int64], tables: NDArray[np.uint8], counts: Sequence[int], codes: bytes
) -> list[NDArray[np.int32]]:
    """The passes that `code_passes` has coded. Raises FormatError (F6).

    counts: how many numbers each pass has
    """
    coded = np.flatnonzero(tables < SAME).tolist()
    sizes = [counts[number] for number in coded]
    found = dict(
        zip(coded, decode_numbers(prior, tables[coded].tolist(), sizes, codes), strict=True)
    )
    return [
        found.get(number, np.zeros(count, dtype=np.int32)) for number, count in enumerate(counts)
    ]


def _best_table(numbers: NDArray[np.int32], bits: NDArray[np.float64]) -> int:
    """The table under which numbers take the fewest bits, or SAME where all are 0.

    bits: float64 (tables, tokens) that each token takes under each table
    """
    if not numbers.any():
        return SAME
    return int(bits[:, tokens_of(np.abs(numbers.astype(np.int64)))].sum(axis=1).argmin())
