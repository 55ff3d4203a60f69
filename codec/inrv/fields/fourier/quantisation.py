"""Quantisation of weights, in NumPy alone.

A tensor is stored whole, in float32 or float16, or as integer codes with one quantiser step for
each row: weight = code * step[row].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import FormatError

Arrays = dict[str, NDArray[Any]]
# From the coarsest on.
# measured: docs/lab-notes.md#precision-of-the-weights
PRECISIONS = (
    "5 bit",
    "6 bit",
    "7 bit",
    "8 bit",
    "9 bit",
    "10 bit",
    "11 bit",
    "12 bit",
    "float16",
    "float32",
)

# The two ways to store a tensor in parts: as int8 codes, or as 16-bit codes in two bytes.
# See spec/fourier.md.
CODED = {"codes": "int8", "step": "float32"}
CODED_WIDE = {"codes_high": "int8", "codes_low": "uint8", "step": "float32"}
WHOLE = "whole"
LARGEST_CODE = (1 << 15) - 1
LEAST_STEP = np.float32(1e-30)
PARTS = CODED.keys() | CODED_WIDE.keys()


@dataclass(frozen=True)
class StoredTensors:
    """Holds tensors as they go into a file.

    tensors: arrays by the names that they have there
    precision: str precision that they were brought to, for people
    """

    tensors: Arrays
    precision: str


def quantise(
    tensors: Mapping[str, NDArray[np.float32]], fixed: frozenset[str], precision: str
) -> StoredTensors:
    """Bring matrices to a precision, and vectors to float16.

    tensors: float32 arrays by name
    fixed: names of tensors that become float16 only where that is exact
    precision: one of PRECISIONS
    """
    stored: Arrays = {}
    for name, value in tensors.items():
        if name in fixed:
            half = value.astype(np.float16)
            stored[name] = half if np.array_equal(half.astype(np.float32), value) else value
        elif precision == "float32":
            stored[name] = value
        elif precision == "float16" or value.ndim < 2:
            stored[name] = value.astype(np.float16)
        else:
            stored |= _codes(name, value, int(precision.split()[0]))
    return StoredTensors(stored, precision)


def on_steps(
    tensors: Mapping[str, NDArray[np.float32]], fixed: frozenset[str], steps: Mapping[str, float]
) -> StoredTensors:
    """Bring matrices to the nearest multiples of a quantiser step each, as far as 16 bits go.

    tensors: float32 arrays by name
    fixed: names of tensors that become float16 only where that is exact
    steps: quantiser step by name of the matrix; all other tensors stay whole
    """
    whole = {name: tensor for name, tensor in tensors.items() if name not in steps}
    stored = quantise(whole, fixed, "float32").tensors
    counts = []
    for name, step in steps.items():
        value = tensors[name]
        codes = np.rint(value / np.float32(step)).clip(-LARGEST_CODE, LARGEST_CODE).astype(np.int32)
        stored |= _parts(name, codes, np.full(len(value), step, dtype=np.float32))
        counts.append(np.unique(codes, return_counts=True)[1].astype(np.float64))
    bits = sum(float(-(count * np.log2(count / count.sum())).sum()) for count in counts)
    return StoredTensors(stored, f"{bits / sum(float(count.sum()) for count in counts):.1f} bit")


def _codes(name: str, value: NDArray[np.float32], bits: int) -> Arrays:
    """Return what is stored of a matrix in codes of so many bits."""
    largest = (1 << (bits - 1)) - 1
    step = np.maximum(np.abs(value).max(axis=1), LEAST_STEP) / np.float32(largest)
    codes = np.rint(value / step[:, None]).clip(-largest, largest).astype(np.int32)
    return _parts(name, codes, step)


def _parts(name: str, codes: NDArray[np.int32], step: NDArray[np.float32]) -> Arrays:
    """Return what is stored of a matrix of codes int32 (rows, columns) times a step (rows,)."""
    if int(np.abs(codes).max()) <= 127:
        return {f"{name}.codes": codes.astype(np.int8), f"{name}.step": step}
    high = codes >> 8
    return {
        f"{name}.codes_high": high.astype(np.int8),
        f"{name}.codes_low": (codes - 256 * high).astype(np.uint8),
        f"{name}.step": step,
    }


def dequantise(stored: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return the tensors that a file stores, float32, by their own names.

    Raises FormatError where a tensor is stored in another way than spec/fourier.md says, in two
    ways at once, or is not finite.
    """
    tensors = {base: _restored(base, found) for base, found in _by_tensor(stored).items()}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise FormatError("F2", f"field tensor {name!r} holds a value that is not finite")
    return tensors


def stored_shapes(stored: Arrays) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a file stores, before anything is computed."""
    ranks = (WHOLE, "codes", "codes_high", "codes_low", "step")
    parts = {
        base: min(found.items(), key=lambda part: ranks.index(part[0]))
        for base, found in _by_tensor(stored).items()
    }
    return {base: tuple(tensor.shape) for base, (_, tensor) in parts.items()}


def _by_tensor(stored: Arrays) -> dict[str, Arrays]:
    """Group what is stored by tensor and part."""
    parts: dict[str, Arrays] = {}
    for name, value in stored.items():
        base, _, part = name.rpartition(".")
        base, part = (base, part) if part in PARTS else (name, WHOLE)
        parts.setdefault(base, {})[part] = value
    return parts


def _restored(base: str, parts: Arrays) -> NDArray[np.float32]:
    """Restore one tensor, float32, from its parts. Raises FormatError."""
    found = {part: tensor.dtype.name for part, tensor in parts.items()}
    if found in ({WHOLE: "float32"}, {WHOLE: "float16"}):
        return parts[WHOLE].astype(np.float32)
    if found not in (CODED, CODED_WIDE):
        kinds = ", ".join(f"{part} {dtype}" for part, dtype in sorted(found.items()))
        raise FormatError(
            "F2",
            f"field tensor {base!r} is stored as {kinds}: "
            "neither whole nor as codes with a step for each row",
        )
    high = parts["codes" if "codes" in parts else "codes_high"]
    codes: NDArray[np.float32] = high.astype(np.float32)
    if "codes_low" in parts:
        if parts["codes_low"].shape != codes.shape:
            raise FormatError(
                "F2", f"field tensor {base!r} has codes_high and codes_low of different shapes"
            )
        codes = codes * np.float32(256) + parts["codes_low"].astype(np.float32)
    step = parts["step"]
    if codes.ndim < 1 or step.shape != codes.shape[:1]:
        raise FormatError(
            "F2",
            f"field tensor {base!r} has codes of shape {codes.shape} without a step for each row",
        )
    with np.errstate(over="ignore", invalid="ignore"):  # the caller finds what is not finite
        result: NDArray[np.float32] = codes * step.reshape(-1, *[1] * (codes.ndim - 1))
    return result
