"""Whole numbers that the coding of masks is made of."""

from __future__ import annotations

VOXELS = 512  # of a leaf
REACH = 2  # voxels along z, to either side, that a byte tells of
SIDES = 6  # leaves whose bytes are read for the voxels of one
PREDICTION_BITS = 7
UNIT = 1 << 8  # 1.0 of a logit
LARGEST_LOGIT = 11 * UNIT
COUNT_BITS, PROBABILITY_BITS, WEIGHT_BITS = 16, 20, 16
