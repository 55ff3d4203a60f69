"""The arithmetic of contexts and of smoothing for CPUs, a voxel at a time and compiled: the same integers as context.py makes
with tensors, without their passes over memory."""

from __future__ import annotations

import numpy as np

from inrv.fields.lattice.constants import (
    FRACTION,
    HIGHEST,
    LARGEST,
    LOG_ONE,
    MISSING,
    ONE,
    SIXTEENTHS,
    SPAN,
    SPREAD_BITS,
    STEP,
    WEIGHT_ONE,
)
from inrv.support.compiled import compiled

MOST_PAIRS = 16


@compiled
def _gather(values, place, distances, count, ahead, behind):
    """Neighbours of a voxel on both sides, MISSING where there is none."""
    for i in range(count):
        ahead[i] = values[place + distances[i]]
        behind[i] = values[place - distances[i]]


@compiled
def _base(ahead, behind, count, axes, rest):
    """Base of a voxel and how much of the odd axes is there: base, neighbours at distance 1, axes with all four."""
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
                sixteenths += SIXTEENTHS[0] * near + SIXTEENTHS[1] * (ahead[axes + i] + behind[axes + i])
            else:
                sixteenths += 8 * near
    if lines:
        return sixteenths // (16 * lines), near_count, curves
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
def _bends(ahead, behind, count, base, sums, slopes):
    """What each pair departs from the base by; returns the total of the sums' sizes, of the differences', and the pairs there."""
    bend, lean, seen = 0, 0, 0
    for i in range(count):
        front = ahead[i] - base if ahead[i] != MISSING else 0
        back = behind[i] - base if behind[i] != MISSING else 0
        seen += int(ahead[i] != MISSING or behind[i] != MISSING)
        sums[i] = front + back
        slopes[i] = front - back
        bend += abs(front + back)
        lean += abs(front - back)
    return bend, lean, seen


@compiled
def _scale(spread, step, logs):
    """Mantissa, shift and log of a spread."""
    spread = min(max(spread, max(1, step >> 2)), HIGHEST - 1)
    shift = 0
    while (spread >> shift) >= (1 << SPREAD_BITS):
        shift += 1
    return spread >> shift, shift, logs[spread >> shift] + shift * LOG_ONE


@compiled
def _bring(differences, count, mantissa, shift, inputs, first):
    """Differences in units of a 32nd of the spread, as inputs."""
    limit, reciprocal = mantissa * SPAN, (ONE << FRACTION) // mantissa
    for i in range(count):
        small = min(max(differences[i] >> shift, -limit), limit)
        brought = (small * reciprocal + (1 << (FRACTION - 1))) >> FRACTION
        inputs[first + i] = min(max(brought, -LARGEST), LARGEST)


@compiled
def _clamped(value):
    return min(max(value, -LARGEST), LARGEST)


@compiled
def contexts(
    values, active, given, places, volume, distances, axes, faces, means, spreads, level, step, log_step, top, background,
    logs, inputs, base_of, mantissa_of, shift_of, flat,
):  # fmt: skip
    """Fill inputs int8 (n, k), base, mantissa and shift int32 (n,), flat bool (n,) of the voxels at `places` int64 (n,).

    values, active, given  as in `Known`, given empty where there is none        logs  of `log_table`
    distances, faces       int64, of the pairs and of the faces                  means, spreads  int32 (B,), of the regions
    """
    pairs, sides = len(distances), len(faces)
    ahead, behind, sums, slopes = (np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32),
                                   np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32))  # fmt: skip
    for n in range(len(places)):
        place, row = places[n], inputs[n]
        region = place // volume
        _gather(values, place, distances, pairs, ahead, behind)
        base, near_count, curves = _base(ahead, behind, pairs, axes, means[region])
        bend, lean, seen = _bends(ahead, behind, pairs, base, sums, slopes)
        spread = bend // seen if seen else 2 * spreads[region]
        mantissa, shift, log = _scale(spread, step, logs)
        slope, slope_shift, slope_log = _scale(lean // max(seen, 1), step, logs)
        _bring(sums, pairs, mantissa, shift, row, 0)
        _bring(slopes, pairs, slope, slope_shift, row, pairs)
        at = 2 * pairs
        for i in range(sides):
            row[at + i] = ONE if active[place + faces[i]] else 0
            row[at + sides + i] = ONE if active[place - faces[i]] else 0
        at += 2 * sides
        own_log = log - log_step
        row[at] = _clamped(own_log >> 3)
        row[at + 1] = _clamped((slope_log - log_step) >> 3)
        row[at + 2] = _clamped((min(max(base, 0), HIGHEST) << 6) // top)
        row[at + 3] = _clamped((min(max(base - background, -16 * step), 16 * step) * 8) // step)
        row[at + 4] = 6 * level
        row[at + 5] = (near_count * ONE) // (2 * axes)
        row[at + 6] = (curves * ONE) // axes
        base_of[n], mantissa_of[n], shift_of[n] = base, mantissa, shift
        flat[n] = seen > 0 and bend == 0 and lean == 0
        if len(given):
            here = given[place]
            _gather(given, place, distances, 2 * axes, ahead, behind)
            base, _, _ = _base(ahead, behind, 2 * axes, axes, here if here != MISSING else 0)
            sums[0] = 2 * (here - base) if here != MISSING else 0
            _gather(given, place, faces, sides, ahead, behind)
            total = abs(sums[0])
            bend, _, _ = _bends(ahead, behind, sides, base, sums[1:], slopes)
            mantissa, shift, log = _scale((total + bend) // (1 + sides), step, logs)
            _bring(sums, 1 + sides, mantissa, shift, row, at + 7)
            at += 8 + sides
            row[at] = ONE if here != MISSING else 0
            row[at + 1] = _clamped((log - log_step) >> 3)
            row[at + 2] = _clamped(min(max(log - log_step - own_log, -512), 511) >> 2)


@compiled
def neighbourhoods(values, places, y_edge, z_edge, distances, sides, background, inputs, even):
    """Fill inputs int8 (n, k) of the smoothing network for the voxels at `places` int64 (n,), and bool (n,) where the neighbours
    say nothing."""
    pairs = len(distances)
    ahead, behind, sums, slopes = (np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32),
                                   np.empty(MOST_PAIRS, np.int32), np.empty(MOST_PAIRS, np.int32))  # fmt: skip
    for n in range(len(places)):
        place, row = places[n], inputs[n]
        own = values[place]
        _gather(values, place, distances, pairs, ahead, behind)
        _bends(ahead, behind, pairs, own, sums, slopes)
        says = 0
        for i in range(pairs):
            row[i] = _clamped(sums[i] >> 3)
            row[pairs + i] = _clamped(slopes[i] >> 3)
            says |= row[i] | row[pairs + i]
        even[n] = says == 0
        at = 2 * pairs
        for i in range(sides):
            row[at + i] = ONE if ahead[i] != MISSING else 0
            row[at + sides + i] = ONE if behind[i] != MISSING else 0
        at += 2 * sides
        odd = (place & 1) + ((place // z_edge) & 1) + ((place // (y_edge * z_edge)) & 1)  # edges are even
        for kind in range(4):
            row[at + kind] = 0
        row[at + (odd + 3) % 4] = ONE
        row[at + 4] = _clamped((min(max(own - background, -16 * STEP), 16 * STEP) * 8) // STEP)


@compiled
def activate(sums, biases, activations):
    """Sums int32 (n, at least h) and biases int32 (h,), in units of 1 / 2048, to activations int8 (n, h)."""
    for n in range(len(activations)):
        for i in range(activations.shape[1]):
            rounded = (sums[n, i] + biases[i] + np.int32(WEIGHT_ONE // 2)) // np.int32(WEIGHT_ONE)
            activations[n, i] = min(max(rounded, np.int32(0)), np.int32(LARGEST))
