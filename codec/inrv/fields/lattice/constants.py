"""Whole numbers that the arithmetic of the lattice is made of."""

from __future__ import annotations

MISSING = -(1 << 30)  # in an array of known values: not active, outside the region, or not yet known
STEP = 128  # units a step of the finest level
HIGHEST = 1 << 23  # of a value in units: a code then has at most 19 bits
SMALLEST_STEP, LARGEST_STEP = 32, 512  # units a step of any level
SPREAD_BITS = 12
FRACTION = 14  # bits of the reciprocal of a spread
SPAN = 4  # spreads that fit in an input
LOG_ONE = 64  # parts of an octave
TABLES = 64
TABLES_OCTAVE = 4
LOWEST_TABLE = 5  # octaves below one step
SIXTEENTHS = 9, -1  # of the neighbours at distance 1 and 3: the cubic through all four, halfway

# Of the networks: inputs, activations and weights lie within +-LARGEST.
LARGEST = 127
ONE = 32  # stands for 1 in inputs and activations
WEIGHT_ONE = 64
SUM_ONE = ONE * WEIGHT_ONE
