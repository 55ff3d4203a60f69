"""Good bytes for the targets of the core: small regions and numbers, coded under noise networks."""

from __future__ import annotations

import itertools
import struct

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import (
    LISTED,
    QUANTISERS,
    TABLES,
    TOKENS,
    WAVELET_PRIOR,
    KnownRegion,
    LatticeChannel,
    Leaves,
    encode_numbers,
)
from testing.regions import nothing_but

MOST_LEAVES = 8
STEPS = (128, 77, 46, 32, 32, 32, 32)
REFERENCE_TOP, REFERENCE_INPUTS = 1000, 13
PLAIN, LOSSLESS, TRELLIS, WAVELET = 0, 1, 2, 4
# The first one knows everything, the last one nothing.
# Exterior, what codes are like, restoration, reference.
KINDS = (
    *itertools.product((1, 0), (LOSSLESS, TRELLIS, PLAIN), (1, 0), (1, 0)),
    *itertools.product((1, 0), (WAVELET,), (1, 0), (0,)),
)


def region_seeds() -> list[bytes]:
    """A region of each of KINDS, as core/targets.c takes it."""
    return [_region(number, *kind) for number, kind in enumerate(KINDS)]


def number_seeds() -> list[bytes]:
    """Numbers under two tables."""
    chance = np.random.default_rng(0)
    passes = [chance.integers(-40, 40, count, dtype=np.int32) for count in (200, 100)]
    return [bytes([200]) + encode_numbers(_prior(), (20, 40), passes)]


def _region(number: int, exterior: int, kind: int, restoration: int, reference: int) -> bytes:
    lossless, trellis, wavelet = kind == LOSSLESS, kind == TRELLIS, kind == WAVELET
    chance = np.random.default_rng(number)
    places = np.sort(chance.permutation(8)[:6])
    patterns = chance.integers(0, 256, (6, 3), dtype=np.uint8) | np.uint8(number % 3)
    cells = (places >> 2 << 8 | (places >> 1 & 1) << 4 | (places & 1)).astype(np.uint16)
    leaves = Leaves(cells, np.ascontiguousarray(np.tile(patterns, (1, 22))[:, :64]))
    count = int(np.unpackbits(leaves.masks).sum())
    top = 1 << (8 + number % (8 if wavelet else 16))
    values = (chance.random(count) * top).astype(np.int32)
    values = values // 128 * 128 if lossless else values
    channel = LatticeChannel(
        STEPS,
        top,
        0,
        REFERENCE_TOP if reference else 0,
        lossless,
        bool(exterior),
        trellis,
        wavelet,
        [_noise(inputs + REFERENCE_INPUTS * reference, 32, 32, 2) for inputs in (43, 51, 47)],
        _noise(37, 24, 16, 1) if restoration else None,
        _prior(),
        np.zeros(WAVELET_PRIOR, dtype=np.int8),
    )
    known = (np.arange(count) % REFERENCE_TOP).astype(np.int32)
    around = nothing_but(0) if exterior else None
    region = KnownRegion(leaves, (leaves, known) if reference else None, around, 100, 7)
    bits = np.ones((QUANTISERS, TABLES, LISTED), dtype=np.float32)
    codes, _, _ = channel.encode(region, values, values, 0.0, bits)
    sizes = [len(segment) for segment in codes.segments]
    head = struct.pack(
        "<10B4H2xI", exterior, kind, restoration, reference, codes.cut, codes.lanes, 0,
        len(places), 100, 7, *sizes, *[0] * (4 - len(sizes)), top - 1,
    )  # fmt: skip
    listed = [bytes([place, *own]) for place, own in zip(places, patterns.tolist(), strict=True)]
    head += b"".join(listed) + bytes(4 * (MOST_LEAVES - len(places)))
    return head + b"".join(codes.segments)


def _noise(inputs: int, first: int, second: int, outputs: int) -> dict[str, NDArray[np.float32]]:
    """The noise networks of core/targets.c: all weights begin with the same numbers."""
    state, weights = 1, list[int]()
    for _ in range(inputs * 32):
        state = (state * 1664525 + 1013904223) % (1 << 32)
        weights.append((state >> 27) - 16)
    found = np.array(weights, dtype=np.float32)
    shapes = {"first": (inputs, first), "second": (first, second), "last": (second, outputs)}
    tensors = {f"{name}.weight": found[: n * m].reshape(n, m) for name, (n, m) in shapes.items()}
    tensors |= {f"{name}.bias": np.zeros(m, np.float32) for name, (_, m) in shapes.items()}
    return tensors | {"skip.weight": found[: inputs * outputs].reshape(inputs, outputs)}


def _prior() -> NDArray[np.int64]:
    row = [1 + 40 // (1 + token) for token in range(TOKENS)]
    return np.tile(np.array(row, dtype=np.int64), (QUANTISERS, TABLES, 1))
