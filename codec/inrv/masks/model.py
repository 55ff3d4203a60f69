"""How likely each voxel is active: counts in several contexts, mixed in the logistic domain. All in integers.

Logistic mixing: M. Mahoney, "Adaptive weighing of context models for lossless data compression", Florida Tech. CS-2005-16.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inrv.masks.wavefront import REACH, ROWS, Index

Displacement = tuple[int, int, int]

# Displacements of the voxels that make a context, its most significant bit first.
NEAREST: tuple[Displacement, ...] = (
    (0, 0, -1), (0, -1, 0), (-1, 0, 0), (-1, 1, 1), (0, -1, 1), (-1, 1, 0), (-1, 0, 1), (0, -1, -1), (-1, 0, -1),
)  # fmt: skip
CONTEXTS: tuple[tuple[Displacement, ...], ...] = (
    NEAREST,
    (*NEAREST, (-1, -1, 0), (-1, -1, 1), (-1, 1, -1), (-1, -1, -1)),
    (*NEAREST[:6], (0, 0, -2), (0, -2, 0), (-2, 0, 0), (-1, 0, 2), (0, -2, 1), (-2, 0, 1)),
)
# With a mask that this one is predicted from: bits of that mask, the voxel's own first, and of this one behind them.
PREDICTED_CONTEXTS: tuple[tuple[int, tuple[Displacement, ...]], ...] = ((1, NEAREST), (7, NEAREST[:6]))

PREDICTION_BITS = 7
UNIT = 1 << 8  # 1.0 of a logit
LARGEST_LOGIT = 11 * UNIT
COUNT_BITS, PROBABILITY_BITS, WEIGHT_BITS = 16, 20, 16
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
        self.contexts = [(0, context) for context in CONTEXTS] + (list(PREDICTED_CONTEXTS) if predicted else [])
        sizes = [1 << (prefix + len(context)) for prefix, context in self.contexts]
        self.firsts = np.cumsum([0, *sizes[:-1]])[:, None]
        self.counts = np.zeros(2 * sum(sizes), dtype=np.int64)
        inputs = len(self.contexts) + 1
        self.weights = np.full((inputs, SELECTORS), INITIAL_WEIGHT // (inputs - 1), dtype=np.int64)
        self.parts = _row_tables([context for _, context in self.contexts])

    def look(self, rows: NDArray[np.uint8], prediction: NDArray[np.uint8] | None) -> None:
        """Take in the neighbourhood of a batch and, where there is one, the 7 bits of the mask it is predicted from."""
        packed = self.parts[0][rows[0]]
        for part, row in zip(self.parts[1:], rows[1:], strict=True):
            packed = packed | part[row]
        self.places = np.empty((len(self.contexts), rows.shape[1]), dtype=np.int64)
        for number, (prefix, context) in enumerate(self.contexts):
            self.places[number] = packed & ((1 << len(context)) - 1)
            packed >>= len(context)
            if prefix and prediction is not None:
                self.places[number] |= (prediction >> (PREDICTION_BITS - prefix)).astype(np.int64) << len(context)
        self.selector = _POPCOUNT[self.places[0]]
        self.places = 2 * (self.places + self.firsts)
        self.inputs = np.full((len(self.weights), rows.shape[1]), BIAS, dtype=np.int64)
        inactive, active = self.counts[self.places], self.counts[self.places + 1]
        self.inputs[:-1] = STRETCH[((2 * active + 1) << (COUNT_BITS - 1)) // (inactive + active + 1)]

    def probabilities(self) -> Index:
        """How likely each voxel of the batch is active, in 2^-20: int64 (n,), from 1 to 2^20 - 1."""
        mixed = (self.weights[:, self.selector] * self.inputs).sum(axis=0) >> WEIGHT_BITS
        expected: Index = SQUASH[np.clip(mixed, -LARGEST_LOGIT, LARGEST_LOGIT) + LARGEST_LOGIT]
        self.expected = expected
        return expected

    def learn(self, active: NDArray[np.bool_]) -> None:
        """Take in which voxels of the batch are active."""
        errors = (active.astype(np.int64) << PROBABILITY_BITS) - self.expected
        seen = np.bincount(self.selector, minlength=SELECTORS)
        divisors = np.array([max(1, math.isqrt(count)) for count in seen.tolist()]) << RATE_SHIFT
        for weights, products in zip(self.weights, errors * self.inputs, strict=True):
            # Sums of whole numbers below 2^53: exact in float64, in whatever order.
            slopes = np.bincount(self.selector, weights=products, minlength=SELECTORS).astype(np.int64)
            weights += slopes // divisors
        self.counts += np.bincount((self.places + active).reshape(-1), minlength=len(self.counts))


_POPCOUNT = np.array([value.bit_count() for value in range(1 << len(NEAREST))], dtype=np.int64)


def _row_tables(contexts: list[tuple[Displacement, ...]]) -> NDArray[np.int64]:
    """What a byte of each row adds to all contexts, packed one above the other, the first lowest: int64 (rows, 32)."""
    tables = np.zeros((len(ROWS), 1 << (2 * REACH + 1)), dtype=np.int64)
    values = np.arange(tables.shape[1])
    place = 0
    for context in contexts:
        for dx, dy, dz in reversed(context):
            tables[ROWS.index((dx, dy))] |= ((values >> (dz + REACH)) & 1) << place
            place += 1
    return tables
