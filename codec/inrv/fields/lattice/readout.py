"""The readouts of a channel's networks, fitted to the channel.

A network's readout is what is linear in it: its last layer and its skip. What it should be is a
problem of weighted least squares, which is solved in some milliseconds. Of the solution those whole
numbers are kept that save more bits than they take, so that a fitted channel stores some hundred
bytes.

The numbers of a readout are the weights of its features in 64ths. The features are the activations
of the second layer, the inputs, and one that is always 1, for the bias: all of them in 32nds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import (
    FILTER_ONE,
    INPUT_ONE,
    LARGEST,
    LARGEST_FITTED_BIAS,
    ONE,
    STEP,
    SUM_ONE,
)
from inrv.fields.lattice.network import Floats, IntegerNetwork
from inrv.fields.lattice.samples import PredictionSamples, RestorationSamples

Doubles = NDArray[np.float64]

ITERATIONS = 2
# A voxel that lies so many steps from its prediction, or fewer, is left there, about: its squared
# error counts. See docs/lab-notes.md#readouts
LEFT = 0.3
# It counts less, the wider the distribution is: beyond so many steps many codes are in use, and a
# voxel's error follows from rounding.
WIDE = 0.4
FAR = 0.02  # slope of the absolute error of the other voxels, as fitting has it
OUTLYING = 16.0  # scales from the prediction, beyond which the bits of a voxel tell nothing
LEAST_LOG, MOST_LOG = -5.0, 14.0  # log2 of scales, in steps
LEAST_CURVATURE = 0.15  # of the bits over the log2 of the scale
OCTAVES = 0.1  # between two scales, to see how their bits curve
NEAR = 1e-3  # steps, below which two distances are alike
# Added to the curvature of each number, so that those of which nothing tells anything stay; the
# share is of the largest one, as sums in float32 are right to about a millionth.
RIDGE, RIDGE_SHARE = 0.02, 1e-6
# Bits that a number takes, about: of a 0, of any other one, and of each octave of that one.
ZERO_BITS, NUMBER_BITS, OCTAVE_BITS = 0.5, 2.5, 2.0
# Bits that a number which is fitted to some voxels seems to save, for each voxel that one of them
# stands for: chance gives as much. See docs/lab-notes.md#readouts
CHANCE = 3.0


def fitted_prediction(
    network: IntegerNetwork, default: IntegerNetwork, samples: PredictionSamples, slope: float
) -> IntegerNetwork:
    """A network whose readout predicts some voxels in fewer bits.

    network: where it begins
    default: from which it is stored by how much it differs
    samples: of voxels, whose weights count the channel's voxels
    slope: bits that a squared step is worth
    """
    features = _features(network, network.rows(samples.inputs, INPUT_ONE))
    begun = _readout(network)
    differs = begun - _readout(default)
    moves, logs = ((features @ column) / np.float32(SUM_ONE) for column in begun.T)
    logs = np.clip(np.log2(samples.spread) + logs, LEAST_LOG, MOST_LOG)
    moved = np.zeros_like(moves)
    for _ in range(ITERATIONS):
        errors = _errors(samples, moves + moved)
        curvatures = _curvatures_of_errors(errors, logs, slope) * samples.weight
        target = moved + np.divide(
            errors, samples.reach, out=np.zeros_like(errors), where=samples.reach > 0
        )
        fit = _LeastSquares(features, curvatures * samples.reach**2, target)
        moved = features @ (fit.solution / SUM_ONE).astype(np.float32)
    own = fit.whole(differs[:, 0])
    moved = features @ (own / SUM_ONE).astype(np.float32)
    rises, curvatures = _of_scales(_errors(samples, moves + moved), logs)
    fit = _LeastSquares(features, curvatures * samples.weight, -rises / curvatures)
    return _moved(network, np.stack([own, fit.whole(differs[:, 1])], axis=1))


def _errors(samples: PredictionSamples, outputs: Floats) -> Floats:
    """By how many steps voxels miss predictions, float32 (n,), for outputs of their network.

    It is 0 where a prediction is clipped to the very value.
    """
    moves = _held(samples.reach * outputs, samples.difference, samples.low, samples.high)
    return samples.difference - moves


def _held(moves: Floats, asked: Floats, low: Floats, high: Floats) -> Floats:
    """Moves float32 (n,), clipped at a limit only where what is asked lies at it or beyond it."""
    moves = np.where(asked <= low, np.maximum(moves, low), moves)
    return np.where(asked >= high, np.minimum(moves, high), moves)


def fitted_restoration(
    network: IntegerNetwork,
    default: IntegerNetwork,
    samples: RestorationSamples,
    top: int,
    worth: float,
    weight: float,
) -> IntegerNetwork:
    """A restoration filter whose readout gives the errors of some voxels better.

    network: where it begins
    default: from which it is stored by how much it differs
    samples: of the voxels
    top: the largest value, in units
    worth: bits, of a squared unit
    weight: how many voxels of the channel each of them stands for
    """
    live = samples.inputs[:, :26].any(axis=1)  # others are not moved
    inputs, decoded, errors = (column[live] for column in samples)
    features = _features(network, network.rows(inputs, FILTER_ONE))
    begun, unit = _readout(network), np.float32(STEP / SUM_ONE)
    outputs, moved = features @ begun[:, 0] * unit, np.zeros_like(errors)
    curvature = np.full(len(errors), 2 * worth * STEP**2 * weight, dtype=np.float32)
    for _ in range(ITERATIONS):
        left = errors - _held(outputs + moved, errors, -decoded, top - decoded)
        fit = _LeastSquares(features, curvature, (moved + left) / np.float32(STEP))
        moved = features @ fit.solution.astype(np.float32) * unit
    own = fit.whole((begun - _readout(default))[:, 0])
    return _moved(network, own[:, None])


class _LeastSquares:
    """Bits as a quadratic function of the numbers that a readout is moved by.

    features: float32 (n, k)
    curvatures: float32 (n,) of each voxel's bits over its output
    targets: float32 (n,) what is to be added to its output
    """

    def __init__(self, features: Floats, curvatures: Floats, targets: Floats) -> None:
        weighted = features * (curvatures / np.float32(SUM_ONE**2))[:, None]
        curvature = (features.T @ weighted).astype(np.float64)
        pull = (weighted.T @ (targets * np.float32(SUM_ONE))).astype(np.float64)
        ridge = RIDGE + RIDGE_SHARE * float(curvature.diagonal().max())
        self.curvature = curvature + ridge * np.eye(len(curvature))
        self.solution: Doubles = np.linalg.solve(self.curvature, pull)
        left = targets - features @ (self.solution / SUM_ONE).astype(np.float32)
        noise = np.square(curvatures * left / np.float32(SUM_ONE)) @ np.square(features)
        # What a number seems to save by chance, as in Takeuchi's criterion (1976).
        self.chance: Doubles = CHANCE * noise / np.diagonal(self.curvature)

    def whole(self, differs: Floats) -> Doubles:
        """Whole numbers near the solution, float64 (k,), that are worth the bits that they take.

        One number after the other is rounded, and those that are left make up for it, as in the
        optimal brain surgeon (Hassibi and Stork 1993).

        differs: float32 (k,) by how much the readout differs from the default one already
        """
        inverse, left = np.linalg.inv(self.curvature), self.solution.copy()
        around = np.arange(-1, 3)
        for number in np.argsort(-np.diagonal(self.curvature)):
            begun = float(differs[number])
            total = begun + left[number]
            tried = np.append(around + math.floor(total), 0.0)
            bits = np.where(
                tried == 0,
                ZERO_BITS,
                NUMBER_BITS + self.chance[number] + OCTAVE_BITS * np.log2(np.abs(tried) + 1),
            )
            lost = (tried - total) ** 2 / (2 * inverse[number, number])
            chosen = tried[(bits + lost).argmin()] - begun
            column = inverse[:, number] / inverse[number, number]
            left += column * (chosen - left[number])
            left[number] = chosen
            inverse -= np.outer(column, inverse[number])
        return left


def _features(network: IntegerNetwork, rows: Floats) -> Floats:
    """The features of its readout, in 32nds: float32 (n, k)."""
    always = np.full((len(rows), 1), ONE, dtype=np.float32)
    return np.concatenate([network.hidden(rows), rows, always], axis=1)


def _readout(network: IntegerNetwork) -> Floats:
    """The weights of its features, in 64ths: float32 (k, outputs)."""
    own = network.tensors
    bias = own["last.bias"][None] / np.float32(ONE)
    return np.concatenate([own["last.weight"], own["skip.weight"], bias])


def _moved(network: IntegerNetwork, numbers: Doubles) -> IntegerNetwork:
    """The network with float64 (k, outputs) added to its readout."""
    found = dict(network.tensors)
    hidden, moved = len(found["last.weight"]), numbers.astype(np.float32)
    for name, own in (("last.weight", moved[:hidden]), ("skip.weight", moved[hidden:-1])):
        found[name] = np.clip(found[name] + own, -LARGEST, LARGEST)
    bias = found["last.bias"] + moved[-1] * np.float32(ONE)
    found["last.bias"] = np.clip(bias, -LARGEST_FITTED_BIAS, LARGEST_FITTED_BIAS)
    return IntegerNetwork(found)


def _curvatures_of_errors(errors: Floats, logs: Floats, slope: float) -> Floats:
    """Curvatures of parabolas that bits and distortion over the errors lie below and touch.

    errors: float32 (n,) in steps
    logs: float32 (n,) log2 of the scales of their logistic distributions, in steps
    slope: bits that a squared step is worth
    """
    scales, distances = np.exp2(logs), np.maximum(np.abs(errors), np.float32(NEAR))
    rises, _ = _slopes(distances / scales, 0.5 / scales)
    bits = rises / (scales * distances * np.float32(math.log(2)))
    bits *= distances < OUTLYING * scales + 0.5
    lost = 2.0 * (distances < LEFT) + FAR / np.maximum(distances, 0.5)
    found: Floats = bits + np.float32(slope) * lost * np.exp(-((scales / WIDE) ** 2))
    return found.astype(np.float32)


def _of_scales(errors: Floats, logs: Floats) -> tuple[Floats, Floats]:
    """Slope and curvature of the bits of codes over the log2 of the scales: float32 (n,) each."""
    less, same, more = (_rise(errors, logs + shift) for shift in (-OCTAVES, 0.0, OCTAVES))
    curvatures = np.maximum((more - less) / np.float32(2 * OCTAVES), np.float32(LEAST_CURVATURE))
    return same, curvatures


def _rise(errors: Floats, logs: Floats) -> Floats:
    """Slope of the bits of codes over the log2 of the scales, float32 (n,)."""
    scales, distances = np.exp2(logs), np.abs(errors)
    far = distances / scales, 0.5 / scales
    of_distance, of_half = _slopes(*far)
    found: Floats = far[1] / np.tanh(far[1]) - far[1] * of_half - far[0] * of_distance
    return np.where(distances < OUTLYING * scales + 0.5, found, np.float32(0)).astype(np.float32)


def _slopes(distance: Floats, half: Floats) -> tuple[Floats, Floats]:
    """Slopes of ln(cosh(half) + cosh(distance)) over the distance and over half.

    A code within half a step of `distance`, both in scales of a logistic distribution, takes
    log2((cosh(half) + cosh(distance)) / sinh(half)) bits.
    """
    twice = np.exp(-2 * distance)
    nearer, farther = np.exp(np.minimum(half - distance, 60)), np.exp(-half - distance)
    whole = 1 + twice + nearer + farther
    return (1 - twice) / whole, (nearer - farther) / whole
