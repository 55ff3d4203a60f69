"""How likely each voxel is active: counts in several contexts, mixed in the logistic domain.

All of it is in integers.

Logistic mixing: M. Mahoney, "Adaptive weighing of context models for lossless data compression",
Florida Tech. CS-2005-16.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inrv.entropy.masks.constants import (
    COUNT_BITS,
    LARGEST_LOGIT,
    PROBABILITY_BITS,
    REACH,
    UNIT,
    WEIGHT_BITS,
)
from inrv.entropy.masks.kernels import expect, learn
from inrv.entropy.masks.wavefront import LARGEST_BATCH, ROW_OFFSET, ROW_SIDE, ROWS, Index, Leaves

Displacement = tuple[int, int, int]

# Displacements of the voxels that make a context, its most significant bit first.
NEAREST: tuple[Displacement, ...] = (
    (0, 0, -1), (0, -1, 0), (-1, 0, 0), (-1, 1, 1), (0, -1, 1), (-1, 1, 0), (-1, 0, 1),
    (0, -1, -1), (-1, 0, -1),
)  # fmt: skip
CONTEXTS: tuple[tuple[Displacement, ...], ...] = (
    NEAREST,
    (*NEAREST, (-1, -1, 0), (-1, -1, 1), (-1, 1, -1), (-1, -1, -1)),
    (*NEAREST[:6], (0, 0, -2), (0, -2, 0), (-2, 0, 0), (-1, 0, 2), (0, -2, 1), (-2, 0, 1)),
)
# With a mask that this one is predicted from: how many bits of that mask, the voxel's own first,
# and the displacements in this mask behind them.
PREDICTED_CONTEXTS: tuple[tuple[int, tuple[Displacement, ...]], ...] = (
    (1, NEAREST),
    (7, NEAREST[:6]),
)

BIAS = 77  # a constant beside the logits of the contexts
INITIAL_WEIGHT = 1 << WEIGHT_BITS  # of all contexts together: 1.0
RATE_SHIFT = 17
SELECTORS = len(NEAREST) + 1  # active voxels among the nearest choose a set of weights


def _stretch() -> Index:
    """round(256 ln(q / (65536 - q))) for q from 0 to 65535, within LARGEST_LOGIT."""
    q = np.arange(1 << COUNT_BITS, dtype=np.float64)
    q[0] = 0.5
    logits = np.rint(UNIT * np.log(q / ((1 << COUNT_BITS) - q)))
    table: Index = np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT).astype(np.int64)
    return table


def _squash() -> Index:
    """round(2^20 / (1 + exp(-x / 256))) for x from -LARGEST_LOGIT to LARGEST_LOGIT."""
    x = np.arange(-LARGEST_LOGIT, LARGEST_LOGIT + 1, dtype=np.float64)
    table: Index = np.rint((1 << PROBABILITY_BITS) / (1 + np.exp(-x / UNIT))).astype(np.int64)
    return table


STRETCH, SQUASH = _stretch(), _squash()


class Model:
    """Statistics of the voxels coded so far, and what they say of the next."""

    def __init__(self, predicted: bool) -> None:
        contexts = [(0, context) for context in CONTEXTS]
        contexts += PREDICTED_CONTEXTS if predicted else ()
        self.prefixes = np.array([prefix for prefix, _ in contexts])
        self.sizes = np.array([len(context) for _, context in contexts])
        entries = 1 << (self.prefixes + self.sizes)
        self.firsts = np.cumsum(entries) - entries
        self.counts = np.zeros(2 * int(entries.sum()), dtype=np.int64)
        inputs = len(contexts) + 1
        self.weights = np.full((inputs, SELECTORS), INITIAL_WEIGHT // (inputs - 1), dtype=np.int64)
        self.slopes, self.chosen = np.zeros_like(self.weights), np.zeros(SELECTORS, dtype=np.int64)
        self.parts = _row_tables([context for _, context in contexts])
        self.places = np.empty((LARGEST_BATCH, len(contexts)), dtype=np.int64)
        self.inputs = np.full((LARGEST_BATCH, inputs), BIAS, dtype=np.int64)
        self.selectors, self.expected = np.empty((2, LARGEST_BATCH), dtype=np.int64)

    def expect(self, leaves: Leaves, voxels: Index, prediction: NDArray[np.uint8]) -> Index:
        """How likely each of `voxels` int64 (n,) is active, in 2^-20: int64 (n,), 1 to 2^20 - 1.

        leaves: what is known of the masks
        prediction: uint8 (M * 512,) 7 bits of the mask that this one is predicted from; empty where
            there is none
        """
        expect(
            voxels, leaves.bytes, leaves.rows, ROW_SIDE, ROW_OFFSET, self.parts, self.sizes,
            self.prefixes, prediction, self.firsts, self.counts, self.weights, STRETCH, SQUASH,
            _POPCOUNT, self.places, self.inputs, self.selectors, self.expected,
        )  # fmt: skip
        expected: Index = self.expected[: len(voxels)]
        return expected

    def learn(self, active: NDArray[np.bool_]) -> None:
        """Take in which of the voxels that were asked about are active, bool (n,)."""
        learn(
            active, self.expected, self.places, self.inputs, self.selectors, self.counts,
            self.slopes, self.chosen,
        )  # fmt: skip
        roots = [max(1, math.isqrt(count)) for count in self.chosen.tolist()]
        divisors = np.array(roots) << RATE_SHIFT
        self.weights += self.slopes // divisors


_POPCOUNT = np.array([value.bit_count() for value in range(1 << len(NEAREST))], dtype=np.int64)


def _row_tables(contexts: list[tuple[Displacement, ...]]) -> NDArray[np.int64]:
    """What a byte of each row adds to all contexts: int64 (rows, 32).

    The contexts are packed one above the other, the first lowest.
    """
    tables = np.zeros((len(ROWS), 1 << (2 * REACH + 1)), dtype=np.int64)
    values = np.arange(tables.shape[1])
    place = 0
    for context in contexts:
        for dx, dy, dz in reversed(context):
            tables[ROWS.index((dx, dy))] |= ((values >> (dz + REACH)) & 1) << place
            place += 1
    return tables
