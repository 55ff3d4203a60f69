"""The whole numbers of the lattice's arithmetic that Python needs; the core has the others."""

from __future__ import annotations

import math

DEFAULT_NAME = "default-1"  # of the networks; later ones take another name, and these stay
SETS = 6  # of default networks

# Units and steps of the quantiser.
STEP = 128  # units of a step of the finest level
HIGHEST = 1 << 23  # the largest value in units: a code then has at most 19 bits
SMALLEST_STEP, LARGEST_STEP = 32, 512  # units of a step of any level

# The networks: activations and weights lie within +-LARGEST. What stands for 1 in inputs of the
# prediction and of the filter, in activations and in weights:
LARGEST = 127
INPUT_ONE, FILTER_ONE, ONE, WEIGHT_ONE = 16, 32, 32, 64
SUM_ONE = ONE * WEIGHT_ONE
LARGEST_BIAS = 1 << 20
# Of a bias that is fitted: it differs from an int16 by less than 2^19, the largest code.
LARGEST_FITTED_BIAS = (1 << 19) - (1 << 15) - 1

# Inputs of the networks by number of odd axes, without a reference channel; and of the filter.
INPUTS = {1: 43, 2: 51, 3: 47}
REFERENCE_INPUTS = 13
RESTORATION_INPUTS = 37

# The tables of the entropy coder: table 0 stands for a deviation so many octaves below one step.
TABLES_OCTAVE, LOWEST_TABLE = 4, 5

# What a bit is worth at a high rate, where a uniform quantiser gains 6.02 dB a bit.
SLOPE = 6 / math.log(2)  # bits that a squared step is worth
