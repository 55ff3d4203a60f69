"""An estimate, and no codec: a DCT of 16^3 with a dead zone and adaptive tables for the volume.

The values that come back are real, so the PSNR is. The bytes are an ideal length: of adaptive
binary tables that begin empty (the estimator of Krichevsky and Trofimov), which all blocks share,
and of one bit a sign. A decoder could have every context: coefficients are coded in the order of
their frequency, each of all blocks, so that a context looks at lower frequencies of the same block
and at the same frequency of blocks before it.
"""

from __future__ import annotations

import math
import time

import numpy as np

from benchmarks.peers.peer import Array, Frame, Peer, Point, Sample, Setting, quality

EDGE = 16
STEPS = tuple(4 * 2 ** (-rung / 4) for rung in range(64))  # of the quantiser, shares of the range
ROUNDINGS = (0.25, 0.35, 0.45)  # 1/2 would be no dead zone
UNARY = 14  # magnitudes above are completed by an Elias gamma code
CENTROIDS = 3  # magnitudes 1, 2 and all others have a mean of their own
HEADER = 32  # bytes: shape, range, step and centroids
BANDS = np.array([1, 2, 3, 4, 6, 8, 11, 15, 20, 27])
SUMS = np.array([1, 2, 3, 5, 8, 12, 18, 28, 50])
TOTALS = np.array([1, 3, 9])


class DCT(Peer):
    """The estimate; its encoder and decoder are one function."""

    name = "DCT 16^3 (estimate)"
    estimate = True

    def settings(self, frame: Frame) -> list[Setting]:
        """Return the widths of the dead zone."""
        return [Setting(f"rounding {share}", STEPS, False, share) for share in ROUNDINGS]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Raise: there is no stream."""
        raise NotImplementedError("the DCT is an estimate without a stream")

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Raise: there is no stream."""
        raise NotImplementedError("the DCT is an estimate without a stream")

    def measure(self, sample: Sample, setting: Setting, parameter: float) -> Point:
        """Quantise, add up the ideal length, and transform back."""
        started = time.perf_counter()
        step = parameter * sample.frame.span
        scaled = transformed(_blocks(sample.dense - np.float32(sample.frame.low))) / step
        codes = np.floor(np.abs(scaled) + setting.choice).astype(np.int32)
        codes = np.where(scaled < 0, -codes, codes)
        size = HEADER + ideal_bits(codes) / 8
        encoded = time.perf_counter()
        back = transformed(_restored(codes, np.abs(scaled)) * step, inverse=True)
        dense = _joined(back, sample.dense.shape).clip(0, sample.frame.span) + sample.frame.low
        seconds = encoded - started, time.perf_counter() - encoded
        return Point(parameter, size, *quality(dense, sample.dense), *seconds)


def transformed(blocks: Array, inverse: bool = False) -> Array:
    """Apply the orthonormal DCT to the first three axes, or its inverse."""
    place = np.arange(EDGE)
    matrix = np.sqrt(2 / EDGE) * np.cos(np.pi / EDGE * (place + 0.5) * place[:, None])
    matrix[0] /= math.sqrt(2)
    matrix = (matrix.T if inverse else matrix).astype(np.float32)
    for axis in range(3):
        blocks = np.moveaxis(np.tensordot(matrix, blocks, (1, axis)), 0, axis)
    return blocks


def ideal_bits(codes: Array) -> float:
    """Return the length of the codes in bits.

    codes: int (16, 16, 16, blocks of X, of Y, of Z)
    """
    codes = codes.copy()
    codes[0, 0, 0] -= _predicted(codes[0, 0, 0])
    sizes = np.abs(codes)
    local, total = _neighbours(sizes)
    frequency = np.indices((EDGE,) * 3).sum(axis=0)[..., None, None, None]
    band = np.broadcast_to(np.digitize(frequency, BANDS), codes.shape)
    local, total = np.digitize(local, SUMS), np.digitize(total, TOTALS)
    contexts = (band * (len(SUMS) + 1) + local) * (len(TOTALS) + 1) + total
    bits = _adaptive(contexts, sizes > 0) + float(np.count_nonzero(sizes))
    left = sizes[sizes > 0]
    contexts = np.minimum(local[sizes > 0], 9)
    for size in range(1, UNARY):
        bits += _adaptive(contexts, left > size)
        contexts, left = contexts[left > size], left[left > size]
    return bits + float(np.sum(2 * np.floor(np.log2(left - UNARY + 1)) + 1))


def _predicted(means: Array) -> Array:
    """Predict the mean of a block by those of the blocks before it."""
    total, count = np.zeros_like(means), np.zeros_like(means)
    for axis in range(3):
        total += _before(means, axis)
        count += _before(np.ones_like(means), axis)
    return np.rint(total / np.maximum(count, 1)).astype(means.dtype)


def _neighbours(sizes: Array) -> tuple[Array, Array]:
    """Return sums of magnitudes: those next to a coefficient, and those of all before its band."""
    capped = np.minimum(sizes, 100)
    local = np.zeros_like(capped)
    for axis in range(3):
        one = _before(capped, axis)
        local += 2 * one + _before(one, axis) + 2 * _before(capped, axis + 3)
    frequency = np.indices((EDGE,) * 3).sum(axis=0)
    total, below = np.empty_like(capped), np.zeros(sizes.shape[3:], capped.dtype)
    for band in range(3 * EDGE - 2):
        total[frequency == band] = below
        # The first coefficient is a residual of another kind, and says nothing of the others.
        below = below + (capped[frequency == band] > 0).sum(axis=0) * (band > 0)
    return local, total


def _before(values: Array, axis: int) -> Array:
    """Return at each place what lies one before it along an axis, and 0 at the first."""
    shifted = np.zeros_like(values)
    first = [slice(None)] * values.ndim
    second = list(first)
    first[axis], second[axis] = slice(1, None), slice(None, -1)
    shifted[tuple(first)] = values[tuple(second)]
    return shifted


def _adaptive(contexts: Array, flags: Array) -> float:
    """Return the bits of flags by adaptive tables, which depend on the counts alone."""
    ones = np.bincount(contexts[flags].ravel(), minlength=int(contexts.max(initial=0)) + 1)
    both = np.bincount(contexts.ravel(), minlength=len(ones))
    return sum(
        (
            math.lgamma(count + 1)
            - math.lgamma(one + 0.5)
            - math.lgamma(count - one + 0.5)
            + math.log(math.pi)
        )
        / math.log(2)
        for one, count in zip(ones.tolist(), both.tolist(), strict=True)
        if count
    )


def _restored(codes: Array, scaled: Array) -> Array:
    """Return the mean of what each magnitude stood for, the sign kept."""
    sizes = np.abs(codes)
    back = sizes.astype(np.float32)
    for size in range(1, CENTROIDS + 1):
        chosen = sizes == size if size < CENTROIDS else sizes >= size
        if chosen.any():
            back[chosen] += float(np.mean(scaled[chosen] - sizes[chosen]))
    return np.where(codes < 0, -back, back)


def _blocks(dense: Array) -> Array:
    """Cut into blocks, padded by the last values: (16, 16, 16, blocks of X, of Y, of Z)."""
    padded = np.pad(dense, [(0, -size % EDGE) for size in dense.shape], mode="edge")
    counts = [size // EDGE for size in padded.shape]
    cut = padded.reshape(counts[0], EDGE, counts[1], EDGE, counts[2], EDGE)
    return np.ascontiguousarray(cut.transpose(1, 3, 5, 0, 2, 4))


def _joined(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Undo `_blocks`."""
    whole = blocks.transpose(3, 0, 4, 1, 5, 2)
    whole = whole.reshape([EDGE * count for count in blocks.shape[3:]])
    return whole[tuple(slice(size) for size in shape)]
