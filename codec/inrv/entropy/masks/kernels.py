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
def gather_front(front, leaves, first_fronts, offsets, ends, voxels):
    """Fill voxels int64 (n,) with leaf * 512 + offset of the voxels of a front; returns n.

    They are in the order of the leaf's first front, leaf and offset.

    leaves: int64 (M,) mixed leaves by first front
    first_fronts: int64 (M,) of each of them
    offsets: int64 (512,) by their front in the leaf
    ends: int64, where the offsets of each front begin, and the end
    """
    count = 0
    for i in range(len(leaves)):
        inner = front - first_fronts[i]
        if 0 <= inner < len(ends) - 1:
            for j in range(ends[inner], ends[inner + 1]):
                voxels[count] = leaves[i] * VOXELS + offsets[j]
                count += 1
    return count


@compiled
def expect(
    voxels, known, sides, row_sides, row_offsets, parts, sizes, prefixes, prediction, firsts,
    counts, weights, stretch, squash, popcount, places, inputs, selectors, expected,
):  # fmt: skip
    """Fill expected int64 (n,): how likely each of voxels int64 (n,) is active, in 2^-20.

    known: uint8, bytes of all leaves
    sides: int64 (M * 6,) where the leaves beside each mixed one begin
    row_sides: int64 (rows, 512) which of those six a row's byte lies in
    row_offsets: int64 (rows, 512) the offset of a row's byte in its leaf
    parts: int64 (rows, 32) what a byte adds to the packed contexts
    sizes: int64 (k,) bits of each context
    prefixes: int64 (k,) bits of the prediction that each context begins with
    prediction: uint8 (M * 512,) bits of the mask that this one is predicted from; or empty
    firsts: int64 (k,) where the counts of each context begin
    counts: int64, pairs of inactive and active voxels seen
    weights: int64 (k + 1, selectors) of the contexts and the constant
    stretch: int64 (65536,) logits of probabilities
    squash: int64, probabilities of logits
    popcount: int64, selector of the first context's value
    places: int64 (n, k) filled for `learn`: which counts were read
    inputs: int64 (n, k + 1) filled for `learn`: logits
    selectors: int64 (n,) filled for `learn`: which weights were read
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
def learn(active, expected, places, inputs, selectors, counts, slopes, chosen):
    """Count which voxels are active, bool (n,), and gather how the weights are to move.

    expected, places, inputs, selectors: as `expect` filled them
    counts: int64, pairs of inactive and active voxels seen
    slopes: int64 (k + 1, selectors) filled: errors times inputs
    chosen: int64 (selectors,) filled: how often each selector was chosen
    """
    slopes[:] = 0
    chosen[:] = 0
    for n in range(len(active)):
        bit = int(active[n])
        error = (bit << PROBABILITY_BITS) - expected[n]
        chosen[selectors[n]] += 1
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
