"""Weights on fewer bits: the smallest precision that costs next to nothing.

A tensor is stored whole (float32 or float16) or as integer codes on one step a row: weight = code * step[row].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.errors import FormatError

PRECISIONS = ("5 bit", "6 bit", "7 bit", "8 bit", "9 bit", "10 bit", "11 bit", "12 bit", "float16", "float32")

# The two ways to store a tensor in parts: as int8 codes, or as 16-bit codes in two bytes; see format_spec.md.
CODED = {"codes": torch.int8, "step": torch.float32}
CODED_WIDE = {"codes_high": torch.int8, "codes_low": torch.uint8, "step": torch.float32}
WHOLE = "whole"
LARGEST_CODE = (1 << 15) - 1
PARTS = CODED.keys() | CODED_WIDE.keys()


@dataclass(frozen=True)
class StoredTensors:
    """Tensors as they go into a file, under their stored names, and the precision they were brought to."""

    tensors: dict[str, Tensor]
    precision: str


def quantise(tensors: dict[str, Tensor], fixed: frozenset[str], precision: str) -> StoredTensors:
    """Bring matrices to `precision` (one of PRECISIONS) and vectors to float16; `fixed` ones only where that is exact."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().float().cpu()
        if name in fixed:
            stored[name] = value.half() if torch.equal(value.half().float(), value) else value
        elif precision == "float32":
            stored[name] = value
        elif precision == "float16" or value.ndim < 2:
            stored[name] = value.half()
        else:
            stored.update(_codes(name, value, int(precision.split()[0])))
    return StoredTensors(stored, precision)


def on_steps(tensors: dict[str, Tensor], fixed: frozenset[str], steps: dict[str, float]) -> StoredTensors:
    """Bring the matrices of `steps` to the nearest multiples of a step each, as far as 16 bits go; all others stay whole."""
    stored = quantise({name: tensor for name, tensor in tensors.items() if name not in steps}, fixed, "float32").tensors
    counts = []
    for name, step in steps.items():
        value = tensors[name].detach().float().cpu()
        codes = (value / step).round().clamp(-LARGEST_CODE, LARGEST_CODE).to(torch.int32)
        stored |= _parts(name, codes, value.new_full((len(value),), step))
        counts.append((codes - codes.min()).flatten().bincount().double())
    bits = sum(float((-count * (count / count.sum()).log2()).nan_to_num().sum()) for count in counts)
    return StoredTensors(stored, f"{bits / sum(float(count.sum()) for count in counts):.1f} bit")


def _codes(name: str, value: Tensor, bits: int) -> dict[str, Tensor]:
    largest = (1 << (bits - 1)) - 1
    step = value.abs().amax(dim=1).clamp_min(1e-30) / largest
    codes = (value / step[:, None]).round().clamp(-largest, largest).to(torch.int32)
    return _parts(name, codes, step)


def _parts(name: str, codes: Tensor, step: Tensor) -> dict[str, Tensor]:
    """What is stored of a matrix that is codes int32 (rows, columns) times a step a row."""
    if int(codes.abs().max()) <= 127:
        return {f"{name}.codes": codes.to(torch.int8), f"{name}.step": step}
    high = codes >> 8
    return {
        f"{name}.codes_high": high.to(torch.int8),
        f"{name}.codes_low": (codes - 256 * high).to(torch.uint8),
        f"{name}.step": step,
    }


def dequantise(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors a file stores, float32, by their own names.

    Raises FormatError where a tensor is stored in another way than format_spec.md says, in two ways, or is not finite.
    """
    tensors = {base: _restored(base, found) for base, found in _by_tensor(stored).items()}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise FormatError("F2", f"field tensor {name!r} holds a value that is not finite")
    return tensors


def stored_shapes(stored: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor a file stores, by its own name, before anything is computed."""
    ranks = (WHOLE, "codes", "codes_high", "codes_low", "step")
    parts = {base: min(found.items(), key=lambda part: ranks.index(part[0])) for base, found in _by_tensor(stored).items()}
    return {base: tuple(tensor.shape) for base, (_, tensor) in parts.items()}


def _by_tensor(stored: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What is stored of each tensor, by part."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in stored.items():
        base, _, part = name.rpartition(".")
        base, part = (base, part) if part in PARTS else (name, WHOLE)
        parts.setdefault(base, {})[part] = value
    return parts


def _restored(base: str, parts: dict[str, Tensor]) -> Tensor:
    """One tensor from what is stored of it, by part."""
    found = {part: tensor.dtype for part, tensor in parts.items()}
    if found in ({WHOLE: torch.float32}, {WHOLE: torch.float16}):
        return parts[WHOLE].to(torch.float32, copy=True)
    if found not in (CODED, CODED_WIDE):
        told = ", ".join(f"{part} {str(dtype).removeprefix('torch.')}" for part, dtype in sorted(found.items()))
        raise FormatError("F2", f"field tensor {base!r} is stored as {told}: neither whole nor as codes with a step for each row")
    codes = parts["codes" if "codes" in parts else "codes_high"].to(torch.float32)
    if "codes_low" in parts:
        if parts["codes_low"].shape != codes.shape:
            raise FormatError("F2", f"field tensor {base!r} has codes_high and codes_low of different shapes")
        codes = codes * 256 + parts["codes_low"].to(torch.float32)
    step = parts["step"]
    if codes.ndim < 1 or step.shape != codes.shape[:1]:
        raise FormatError("F2", f"field tensor {base!r} has codes of shape {tuple(codes.shape)} without a step for each row")
    return codes * step.reshape(-1, *[1] * (codes.ndim - 1))
