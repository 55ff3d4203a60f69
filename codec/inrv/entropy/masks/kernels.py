"""The statistics of masks, a voxel at a time and compiled. All of it whole numbers."""

from __future__ import annotations

from inrv.entropy.masks.constants import (
    COUNT_BITS,
    LARGEST_LOGIT,
    PREDICTION_BITS,
    PROBABILITY_BITS,
    REACH,
    SIDES,
    VOXELS,
    WEIGHT_BITS,
)
from inrv.support.compiled import compiled


@compiled
def gather_step(step, leaves, first_steps, of_step, ends, voxels):
    """Fill int64 (n,) with leaf * 512 + offset of the voxels of a step, by the leaf's first step,
    leaf and offset; returns n.

    leaves      int64, mixed leaves by first step           first_steps  int64, of each of them
    of_step     int64, offsets by their step in the leaf    ends         int64, where each step's
    offsets begin, and the end
    """
    count = 0
    for i in range(len(leaves)):
        inner = step - first_steps[i]
        if 0 <= inner < len(ends) - 1:
            for j in range(ends[inner], ends[inner + 1]):
                voxels[count] = leaves[i] * VOXELS + of_step[j]
                count += 1
    return count


@compiled
def expect(voxels, known, sides, row_sides, row_offsets, parts, sizes, prefixes, prediction,
           firsts, counts, weights, stretch,
           squash, popcount, places, inputs, selectors, expected):  # fmt: skip
    """Look at the neighbourhood of voxels int64 (n,) and fill how likely each is active, 2^-20:
    expected int64 (n,).

    known       uint8, bytes of all leaves                      sides      int64 (M * 6,), where the
    leaves beside one begin parts       int64 (rows, 32), what a byte adds to the packed contexts;
    sizes and prefixes of those, int64 (k,) prediction  uint8 (M * 512,), empty where there is none
    firsts     int64 (k,), where each context's counts begin places, inputs  int64 (n, k) and (n, k
    + 1), selectors int64 (n,): kept for `learn`
    """
    contexts = len(sizes)
    for n in range(len(voxels)):
        leaf, offset = voxels[n] // VOXELS, voxels[n] % VOXELS
        packed = 0
        for row in range(len(row_sides)):
            byte = known[sides[leaf * SIDES + row_sides[row, offset]] + row_offsets[row, offset]]
            packed |= parts[row, byte]
        selectors[n] = popcount[packed & ((1 << sizes[0]) - 1)]
        mixed = weights[contexts, selectors[n]] * inputs[n, contexts]
        for i in range(contexts):
            place = packed & ((1 << sizes[i]) - 1)
            packed >>= sizes[i]
            if prefixes[i]:
                place |= (int(prediction[voxels[n]]) >> (PREDICTION_BITS - prefixes[i])) << sizes[i]
            place = 2 * (firsts[i] + place)
            inactive, active = counts[place], counts[place + 1]
            inputs[n, i] = stretch[
                ((2 * active + 1) << (COUNT_BITS - 1)) // (inactive + active + 1)
            ]
            places[n, i] = place
            mixed += weights[i, selectors[n]] * inputs[n, i]
        logit = min(max(mixed >> WEIGHT_BITS, -LARGEST_LOGIT), LARGEST_LOGIT)
        expected[n] = squash[logit + LARGEST_LOGIT]


@compiled
def learn(active, expected, places, inputs, selectors, counts, slopes, seen):
    """Count active bool (n,); fill slopes int64 (k + 1, selectors) and how often each selector was
    seen, int64.
    """
    slopes[:] = 0
    seen[:] = 0
    for n in range(len(active)):
        bit = int(active[n])
        error = (bit << PROBABILITY_BITS) - expected[n]
        seen[selectors[n]] += 1
        for i in range(inputs.shape[1]):
            slopes[i, selectors[n]] += error * inputs[n, i]
        for i in range(places.shape[1]):
            counts[places[n, i] + bit] += 1


@compiled
def mark(voxels, active, known, columns, reach_sides, reach_offsets):
    """Make it known which voxels int64 (n,) are active, in the bytes of all that tell of them."""
    for n in range(len(voxels)):
        if active[n]:
            leaf, offset = voxels[n] // VOXELS, voxels[n] % VOXELS
            for bit in range(2 * REACH + 1):
                known[
                    columns[leaf * 3 + reach_sides[bit, offset]] + reach_offsets[bit, offset]
                ] |= 1 << bit
