"""The arithmetic of contexts, networks and codes, compiled.

All of it is in whole numbers: divisions round down and shifts are arithmetic. Those of a network
are held in float32, where every product and sum of them is exact (see network.py). Contexts of a
block of voxels go through a network while they are in the cache.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import (
    DEVIATION_SHIFT,
    FARTHEST_OUTPUT,
    FARTHEST_RESTORED,
    FRACTION,
    HIGHEST,
    LARGEST,
    LARGEST_OCTAVES,
    LEAST_SPREAD_SHIFT,
    LEVEL_ONE,
    LOG_ONE,
    LOG_SHIFT,
    LOWEST_TABLE,
    MISSING,
    NEAR_ONE,
    NEAR_STEPS,
    OCTAVES_SHIFT,
    ONE,
    REFERENCE_LOG_SHIFT,
    RESTORED_SHIFT,
    SIXTEENTHS,
    SIXTEENTHS_HALF,
    SIXTEENTHS_ONE,
    SPAN,
    SPREAD_BITS,
    STEP,
    SUM_BITS,
    SUM_ONE,
    TABLES,
    TABLES_OCTAVE,
    VALUE_SHIFT,
    WEIGHT_ONE,
)
from inrv.support.compiled import compiled

MOST_PAIRS = 16
BLOCK = 256  # voxels that go through a network together; see docs/lab-notes.md#decoding-speed


class Known(NamedTuple):
    """Flattened arrays of one level of a region.

    values: int32 (n,) known values, MISSING elsewhere
    active: bool (n,) which voxels the channel has
    reference: int32 (n,) values of the reference channel, MISSING elsewhere; (0,) where none is
    """

    values: NDArray[np.int32]
    active: NDArray[np.bool_]
    reference: NDArray[np.int32]


class Neighbours(NamedTuple):
    """Where the neighbours of the voxels of one parity lie in the flattened arrays.

    distances: int64 (k,) of one of each pair, in the order of the pattern
    faces: int64 (3,) of the face neighbours, one of each pair
    odd: number of odd axes
    """

    distances: NDArray[np.int64]
    faces: NDArray[np.int64]
    odd: int


class Scales(NamedTuple):
    """Numbers that the contexts of a level are measured by, in units.

    level: 6 for the coarsest stride, 0 for the finest
    step: units of a step of the quantiser
    log_step: floor(64 log2 step)
    top: largest value of the channel
    background: of the grid
    lossless: whether predictions are whole numbers of STEP
    mean: of the region's values, where no neighbour is known
    spread: mean deviation of the region's values, where no neighbour is known
    logs: int32 (4096,) floor(64 log2 n) at place n
    """

    level: int
    step: int
    log_step: int
    top: int
    background: int
    lossless: bool
    mean: int
    spread: int
    logs: NDArray[np.int32]


class Layers(NamedTuple):
    """A network as the kernels read it: float32 arrays, padded with zeros (see network.py).

    first: (inputs, hidden + outputs) weights of the first layer with those of the skip beside them
    first_bias: (hidden + outputs,) biases of the first layer and of the last
    second: (hidden, hidden) weights
    second_bias: (hidden,) biases
    last: (hidden, outputs) weights
    """

    first: NDArray[np.float32]
    first_bias: NDArray[np.float32]
    second: NDArray[np.float32]
    second_bias: NDArray[np.float32]
    last: NDArray[np.float32]


@compiled
def active_places(rows, odd, pad, places):
    """Fill places int64 with the flat places of the active voxels of a parity; returns how many.

    rows: int32 (X, Y, Z) rows of a level's voxels, with a border of `pad`, -1 where not active
    odd: for each axis 1 where the coordinate is odd, else 0
    """
    x_edge, y_edge, z_edge = rows.shape
    count = 0
    for x in range(pad + odd[0], x_edge - pad, 2):
        for y in range(pad + odd[1], y_edge - pad, 2):
            for z in range(pad + odd[2], z_edge - pad, 2):
                if rows[x, y, z] >= 0:
                    places[count] = (x * y_edge + y) * z_edge + z
                    count += 1
    return count


@compiled
def _gather(values, place, distances, count, ahead, behind):
    """Read the neighbours of a voxel on both sides, MISSING where there is none."""
    for i in range(count):
        ahead[i] = values[place + distances[i]]
        behind[i] = values[place - distances[i]]


@compiled
def _base(ahead, behind, count, axes, rest):
    """The base of a voxel; returns it, the neighbours at distance 1 and the axes with all four.

    It is the mean of interpolations along the odd axes, or of the neighbours there, or `rest`.
    """
    near_count, near_total, lines, curves, sixteenths = 0, 0, 0, 0, 0
    for i in range(axes):
        near = (ahead[i] if ahead[i] != MISSING else 0) + (behind[i] if behind[i] != MISSING else 0)
        there = int(ahead[i] != MISSING) + int(behind[i] != MISSING)
        near_count += there
        near_total += near
        if there == 2:
            lines += 1
            if ahead[axes + i] != MISSING and behind[axes + i] != MISSING:
                curves += 1
                far = ahead[axes + i] + behind[axes + i]
                sixteenths += SIXTEENTHS[0] * near + SIXTEENTHS[1] * far
            else:
                sixteenths += SIXTEENTHS_HALF * near
    if lines:
        return sixteenths // (SIXTEENTHS_ONE * lines), near_count, curves
    if near_count:
        return near_total // near_count, near_count, curves
    total, found = 0, 0
    for i in range(count):
        if ahead[i] != MISSING:
            total += ahead[i]
            found += 1
        if behind[i] != MISSING:
            total += behind[i]
            found += 1
    return (total // found if found else rest), near_count, curves


@compiled
def _deviations(ahead, behind, count, base, sums, slopes):
    """Sum and difference of each pair's deviations from the base, 0 for a neighbour not there.

    Returns the total of the sums' magnitudes, of the differences', and how many pairs are there.
    """
    bend, lean, pairs = 0, 0, 0
    for i in range(count):
        front = ahead[i] - base if ahead[i] != MISSING else 0
        back = behind[i] - base if behind[i] != MISSING else 0
        pairs += int(ahead[i] != MISSING or behind[i] != MISSING)
        sums[i] = front + back
        slopes[i] = front - back
        bend += abs(front + back)
        lean += abs(front - back)
    return bend, lean, pairs


@compiled
def _scale(spread, step, logs):
    """Mantissa, shift and logarithm of a spread."""
    spread = min(max(spread, max(1, step >> LEAST_SPREAD_SHIFT)), HIGHEST - 1)
    shift = 0
    while (spread >> shift) >= (1 << SPREAD_BITS):
        shift += 1
    return spread >> shift, shift, logs[spread >> shift] + shift * LOG_ONE


@compiled
def _clamped(value):
    return min(max(value, -LARGEST), LARGEST)


@compiled
def _quantise(deviations, count, mantissa, shift, inputs, first, n):
    """Deviations in units of a 32nd of the spread, as inputs from number `first` on of voxel n."""
    limit, reciprocal = mantissa * SPAN, (ONE << FRACTION) // mantissa
    for i in range(count):
        small = min(max(deviations[i] >> shift, -limit), limit)
        inputs[first + i, n] = _clamped((small * reciprocal + (1 << (FRACTION - 1))) >> FRACTION)


@compiled
def _near_background(value, background, step):
    """How far a value lies from the background, in steps, as an input."""
    reach = NEAR_STEPS * step
    return _clamped((min(max(value - background, -reach), reach) * NEAR_ONE) // step)


@compiled
def _contexts(known, places, neighbours, scales, inputs, base_of, spread_of, flat):
    """Fill the contexts of the voxels at `places` int64 (n,), n at most BLOCK.

    inputs: float32 (k, BLOCK) of the network
    base_of: int64 (BLOCK,) what the prediction starts from
    spread_of: int64 (3, BLOCK) mantissa, shift and logarithm of the spread
    flat: bool (BLOCK,) where all neighbours are equal, so that the prediction is the base
    """
    distances, faces, axes = neighbours.distances, neighbours.faces, neighbours.odd
    pairs, sides = len(distances), len(faces)
    step, logs = scales.step, scales.logs
    ahead, behind = np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32)
    sums, slopes = np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32)
    for n in range(len(places)):
        place = places[n]
        _gather(known.values, place, distances, pairs, ahead, behind)
        base, near_count, curves = _base(ahead, behind, pairs, axes, scales.mean)
        bend, lean, there = _deviations(ahead, behind, pairs, base, sums, slopes)
        spread = bend // there if there else 2 * scales.spread
        mantissa, shift, log = _scale(spread, step, logs)
        slope, slope_shift, slope_log = _scale(lean // max(there, 1), step, logs)
        _quantise(sums, pairs, mantissa, shift, inputs, 0, n)
        _quantise(slopes, pairs, slope, slope_shift, inputs, pairs, n)
        at = 2 * pairs
        for i in range(sides):
            inputs[at + i, n] = ONE if known.active[place + faces[i]] else 0
            inputs[at + sides + i, n] = ONE if known.active[place - faces[i]] else 0
        at += 2 * sides
        own_log = log - scales.log_step
        inputs[at, n] = _clamped(own_log >> LOG_SHIFT)
        inputs[at + 1, n] = _clamped((slope_log - scales.log_step) >> LOG_SHIFT)
        inputs[at + 2, n] = _clamped((min(max(base, 0), HIGHEST) << VALUE_SHIFT) // scales.top)
        inputs[at + 3, n] = _near_background(base, scales.background, step)
        inputs[at + 4, n] = LEVEL_ONE * scales.level
        inputs[at + 5, n] = (near_count * ONE) // (2 * axes)
        inputs[at + 6, n] = (curves * ONE) // axes
        base_of[n] = base
        spread_of[0, n], spread_of[1, n], spread_of[2, n] = mantissa, shift, log
        flat[n] = there > 0 and bend == 0 and lean == 0
        if len(known.reference):
            # Where the reference departs from what its own neighbours along the odd axes say.
            here = known.reference[place]
            _gather(known.reference, place, distances, 2 * axes, ahead, behind)
            base, _, _ = _base(ahead, behind, 2 * axes, axes, here if here != MISSING else 0)
            sums[0] = 2 * (here - base) if here != MISSING else 0
            _gather(known.reference, place, faces, sides, ahead, behind)
            bend, _, _ = _deviations(ahead, behind, sides, base, sums[1:], slopes)
            mantissa, shift, log = _scale((abs(sums[0]) + bend) // (1 + sides), step, logs)
            _quantise(sums, 1 + sides, mantissa, shift, inputs, at + 7, n)
            at += 8 + sides
            reference_log = log - scales.log_step
            inputs[at, n] = ONE if here != MISSING else 0
            inputs[at + 1, n] = _clamped(reference_log >> LOG_SHIFT)
            inputs[at + 2, n] = _clamped((reference_log - own_log) >> REFERENCE_LOG_SHIFT)


@partial(compiled, contract=True)  # sums are exact: a fused multiply-add rounds nothing
def _dense(inputs, weights, biases, outputs):
    """A layer: outputs float32 (m, BLOCK) of inputs float32 (k, BLOCK); k % 4 == 0, m % 2 == 0.

    Two outputs of four inputs at a time keep the processor's multipliers busy.
    """
    count, width = weights.shape
    for j in range(0, width, 2):
        one, other = outputs[j], outputs[j + 1]
        one_bias, other_bias = biases[j], biases[j + 1]
        for n in range(BLOCK):
            one[n] = one_bias
            other[n] = other_bias
        for i in range(0, count, 4):
            in_0, in_1, in_2, in_3 = inputs[i], inputs[i + 1], inputs[i + 2], inputs[i + 3]
            one_0, other_0 = weights[i, j], weights[i, j + 1]
            one_1, other_1 = weights[i + 1, j], weights[i + 1, j + 1]
            one_2, other_2 = weights[i + 2, j], weights[i + 2, j + 1]
            one_3, other_3 = weights[i + 3, j], weights[i + 3, j + 1]
            for n in range(BLOCK):
                one[n] += one_0 * in_0[n] + one_1 * in_1[n] + one_2 * in_2[n] + one_3 * in_3[n]
                other[n] += (
                    other_0 * in_0[n] + other_1 * in_1[n] + other_2 * in_2[n] + other_3 * in_3[n]
                )


@compiled
def _rectify(sums, count):
    """The first `count` rows of sums, units of 1 / 2048, to activations, units of 1 / 32."""
    half, least, most = np.float32(WEIGHT_ONE // 2), np.float32(0), np.float32(LARGEST)
    for j in range(count):
        row = sums[j]
        for n in range(BLOCK):
            row[n] = min(max(np.floor((row[n] + half) / np.float32(WEIGHT_ONE)), least), most)


@compiled
def _workspace(layers):
    """Arrays float32 for the inputs of a block, zero where padded, and for each layer's outputs."""
    return (
        np.zeros((layers.first.shape[0], BLOCK), np.float32),
        np.empty((layers.first.shape[1], BLOCK), np.float32),
        np.empty((layers.second.shape[1], BLOCK), np.float32),
        np.empty((layers.last.shape[1], BLOCK), np.float32),
    )


@compiled
def _network(inputs, layers, first, second, last):
    """Outputs of a network in the first rows of `last`, in units of 1 / 2048."""
    hidden = layers.second.shape[0]
    _dense(inputs, layers.first, layers.first_bias, first)
    _rectify(first, hidden)
    _dense(first[:hidden], layers.second, layers.second_bias, second)
    _rectify(second, second.shape[0])
    _dense(second, layers.last, np.zeros(last.shape[0], np.float32), last)
    for j in range(last.shape[0]):
        for n in range(BLOCK):
            last[j, n] += first[hidden + j, n]


@compiled
def evaluate(inputs, layers, outputs):
    """Fill outputs int32 (n, m), in units of 1 / 2048, of a network's inputs int8 (n, k)."""
    block, first, second, last = _workspace(layers)
    for start in range(0, len(inputs), BLOCK):
        count = min(BLOCK, len(inputs) - start)
        for n in range(count):
            for i in range(inputs.shape[1]):
                block[i, n] = inputs[start + n, i]
        _network(block, layers, first, second, last)
        for n in range(count):
            for j in range(outputs.shape[1]):
                outputs[start + n, j] = int(last[j, n])


@compiled
def table_of(log_deviation):
    """The table for a deviation of 2^(log / 64) steps."""
    table = (log_deviation + LOWEST_TABLE * LOG_ONE) // (LOG_ONE // TABLES_OCTAVE)
    return min(max(table, 0), TABLES - 1)


@compiled
def allowed(predicted, top, lossless):
    """The value nearest to a prediction that the channel can have."""
    if lossless:
        predicted = (predicted + STEP // 2) // STEP * STEP
    return min(max(predicted, 0), top)


@compiled
def predict(known, places, neighbours, scales, layers, predicted, tables):
    """Fill predictions, in units, and tables of codes, int32 (n,) each, of voxels at `places`.

    places: int64 (n,) flat places, all of one parity
    """
    inputs, first, second, last = _workspace(layers)
    base, spread = np.empty(BLOCK, np.int64), np.empty((3, BLOCK), np.int64)
    flat = np.empty(BLOCK, np.bool_)
    for start in range(0, len(places), BLOCK):
        count = min(BLOCK, len(places) - start)
        block = places[start : start + count]
        _contexts(known, block, neighbours, scales, inputs, base, spread, flat)
        _network(inputs, layers, first, second, last)
        for n in range(count):
            moved = 0
            if not flat[n]:
                near = min(max(int(last[0, n]), -FARTHEST_OUTPUT), FARTHEST_OUTPUT)
                moved = ((spread[0, n] * near + SUM_ONE // 2) >> SUM_BITS) << spread[1, n]
            octaves = min(max(int(last[1, n]), -LARGEST_OCTAVES), LARGEST_OCTAVES) >> OCTAVES_SHIFT
            predicted[start + n] = allowed(base[n] + moved, scales.top, scales.lossless)
            tables[start + n] = table_of(spread[2, n] - scales.log_step + octaves)


@compiled
def gather_contexts(known, places, neighbours, scales, inputs_of, base_of, spread_of, flat_of):
    """Fill the contexts of the voxels at `places` int64 (n,), for the fitting of networks.

    inputs_of: int8 (n, k) inputs of the network
    base_of: int32 (n,) what the prediction starts from, in units
    spread_of: int32 (n,) spread of the neighbours, in units
    flat_of: bool (n,) where all neighbours are equal
    """
    inputs = np.empty((inputs_of.shape[1], BLOCK), np.float32)
    base, spread = np.empty(BLOCK, np.int64), np.empty((3, BLOCK), np.int64)
    flat = np.empty(BLOCK, np.bool_)
    for start in range(0, len(places), BLOCK):
        count = min(BLOCK, len(places) - start)
        block = places[start : start + count]
        _contexts(known, block, neighbours, scales, inputs, base, spread, flat)
        for n in range(count):
            for i in range(inputs_of.shape[1]):
                inputs_of[start + n, i] = int(inputs[i, n])
            base_of[start + n] = base[n]
            spread_of[start + n] = spread[0, n] << spread[1, n]
            flat_of[start + n] = flat[n]


@compiled
def choose(differences, tables, step, weight, bits, codes):
    """Fill codes int32 (n,): of the nearest, the next nearer to 0, and 0 the one that costs least.

    differences: int32 (n,) target - prediction, in units
    weight: float32, of a bit against a squared step
    bits: float32 (64, m) of a magnitude under each table, of the last one where it is larger
    """
    largest = bits.shape[1] - 1
    for n in range(len(differences)):
        nearest = (differences[n] + step // 2) // step
        exact = np.float32(differences[n]) / np.float32(step)
        least = np.float32(np.inf)
        for number in range(3):
            choice = nearest if number == 0 else (nearest - np.sign(nearest) if number == 1 else 0)
            missed = exact - np.float32(choice)
            cost = missed * missed + weight * bits[tables[n], min(abs(choice), largest)]
            if cost < least:
                least = cost
                codes[n] = choice


@compiled
def _neighbourhoods(values, places, y_edge, z_edge, distances, sides, background, inputs, even):
    """Fill the inputs float32 (k, BLOCK) of the restoration filter, and where neighbours say
    nothing.

    values: int32, flattened array of the finest level, MISSING where there is no voxel
    places: int64 (n,) flat places of voxels, n at most BLOCK
    distances: int64 of one of each pair of neighbours, `sides` face neighbours first
    even: bool (BLOCK,) where all inputs from neighbours' values are 0
    """
    pairs = len(distances)
    ahead, behind = np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32)
    sums, slopes = np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32)
    for n in range(len(places)):
        place = places[n]
        own = values[place]
        _gather(values, place, distances, pairs, ahead, behind)
        _deviations(ahead, behind, pairs, own, sums, slopes)
        says = 0
        for i in range(pairs):
            total = _clamped(sums[i] >> DEVIATION_SHIFT)
            slope = _clamped(slopes[i] >> DEVIATION_SHIFT)
            inputs[i, n], inputs[pairs + i, n] = total, slope
            says |= total | slope
        even[n] = says == 0
        at = 2 * pairs
        for i in range(sides):
            inputs[at + i, n] = ONE if ahead[i] != MISSING else 0
            inputs[at + sides + i, n] = ONE if behind[i] != MISSING else 0
        at += 2 * sides
        # The edges of the array are even, so that the parity of a place is that of z.
        odd = (place & 1) + ((place // z_edge) & 1) + ((place // (y_edge * z_edge)) & 1)
        for kind in range(4):
            inputs[at + kind, n] = 0
        inputs[at + (odd + 3) % 4, n] = ONE
        inputs[at + 4, n] = _near_background(own, background, STEP)


@compiled
def restore(values, places, y_edge, z_edge, distances, sides, background, top, layers, restored):
    """Fill the values int32 (n,) after the restoration filter of the voxels at `places` int64 (n,).

    The other arguments are those of `_neighbourhoods`.
    """
    inputs, first, second, last = _workspace(layers)
    even = np.empty(BLOCK, np.bool_)
    for start in range(0, len(places), BLOCK):
        count = min(BLOCK, len(places) - start)
        block = places[start : start + count]
        _neighbourhoods(
            values, block, y_edge, z_edge, distances, sides, background, inputs, even
        )  # fmt: skip
        _network(inputs, layers, first, second, last)
        for n in range(count):
            moved = 0
            if not even[n]:
                half = 1 << (RESTORED_SHIFT - 1)
                moved = (int(last[0, n]) + half) >> RESTORED_SHIFT
                moved = min(max(moved, -FARTHEST_RESTORED), FARTHEST_RESTORED)
            restored[start + n] = min(max(values[block[n]] + moved, 0), top)


@compiled
def gather_neighbourhoods(
    values, places, y_edge, z_edge, distances, sides, background, inputs_of, even_of
):
    """Fill the inputs int8 (n, k) of the restoration filter, for its fitting; see
    `_neighbourhoods`.
    """
    inputs, even = np.empty((inputs_of.shape[1], BLOCK), np.float32), np.empty(BLOCK, np.bool_)
    for start in range(0, len(places), BLOCK):
        count = min(BLOCK, len(places) - start)
        block = places[start : start + count]
        _neighbourhoods(
            values, block, y_edge, z_edge, distances, sides, background, inputs, even
        )  # fmt: skip
        for n in range(count):
            for i in range(inputs_of.shape[1]):
                inputs_of[start + n, i] = int(inputs[i, n])
            even_of[start + n] = even[n]
