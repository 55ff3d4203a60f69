"""The whole numbers that the arithmetic of the lattice is made of."""

from __future__ import annotations

import math

DEFAULT_NAME = "default-1"  # of the networks; a later set takes another name, and this one stays
MISSING = -(1 << 30)  # in an array of known values: not active, outside the region or not yet known

# Units and steps of the quantiser.
STEP = 128  # units of a step of the finest level
HIGHEST = 1 << 23  # the largest value in units: a code then has at most 19 bits
SMALLEST_STEP, LARGEST_STEP = 32, 512  # units of a step of any level

# The base of a prediction.
SIXTEENTHS = 9, -1  # weights of the neighbours at distance 1 and 3: the cubic through all four
SIXTEENTHS_ONE = 16
SIXTEENTHS_HALF = 8  # the weight of each of two neighbours at distance 1

# The spread of the neighbours: mantissa * 2^shift.
SPREAD_BITS = 12  # of the mantissa
FRACTION = 14  # bits of the reciprocal of a mantissa
SPAN = 4  # spreads that fit in an input
# The least spread is a step >> 2: an eighth of a step for each of two values.
LEAST_SPREAD_SHIFT = 2
LOG_ONE = 64  # parts of an octave

# Tables of the entropy coder.
TABLES = 64
TABLES_OCTAVE = 4
LOWEST_TABLE = 5  # octaves below one step

# The networks: inputs, activations and weights lie within +-LARGEST.
LARGEST = 127
ONE = 32  # stands for 1 in inputs and activations
WEIGHT_ONE = 64
SUM_BITS = 11
SUM_ONE = 1 << SUM_BITS  # ONE * WEIGHT_ONE
LARGEST_BIAS = 1 << 20

# The inputs that are not deviations of neighbours.
LOG_SHIFT = 3  # of logarithms of spreads
VALUE_SHIFT = 6  # of the base, over the channel's top
NEAR_STEPS, NEAR_ONE = 16, 8  # the base less the background: within so many steps, so much a step
LEVEL_ONE = 6  # a level
REFERENCE_LOG_SHIFT = 2  # of the logarithm of the reference channel's spread over the channel's own

# The outputs.
FARTHEST_OUTPUT = SPAN * SUM_ONE - 1
OCTAVES_SHIFT = 5  # from SUM_ONE to LOG_ONE parts of an octave
LARGEST_OCTAVES = 1 << 20

# The restoration filter.
DEVIATION_SHIFT = 3  # a pair that deviates by a step on either side is ONE as an input
RESTORED_SHIFT = 4  # from SUM_ONE to STEP units
# Units by which a value is moved at most; measured: docs/lab-notes.md#restoration-filter
FARTHEST_RESTORED = STEP

# What a bit is worth at a high rate, where a uniform quantiser gains 6.02 dB a bit.
SLOPE = 6 / math.log(2)  # bits that a squared step is worth
