"""Weights on fewer bits: the smallest precision that costs next to nothing.

A tensor is stored whole (float32 or float16) or as integer codes on one step a row: weight = code * step[row].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.errors import FormatError

PRECISIONS = ("5 bit", "6 bit", "7 bit", "8 bit", "9 bit", "10 bit", "11 bit", "12 bit", "float16", "float32")


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


def _codes(name: str, value: Tensor, bits: int) -> dict[str, Tensor]:
    largest = (1 << (bits - 1)) - 1
    step = value.abs().amax(dim=1).clamp_min(1e-30) / largest
    codes = (value / step[:, None]).round().clamp(-largest, largest).to(torch.int32)
    if bits <= 8:
        return {f"{name}.codes": codes.to(torch.int8), f"{name}.step": step}
    high = codes >> 8
    return {
        f"{name}.codes_high": high.to(torch.int8),
        f"{name}.codes_low": (codes - 256 * high).to(torch.uint8),
        f"{name}.step": step,
    }


def dequantise(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors a file stores, float32, by their own names.

    Raises FormatError where codes and steps disagree, or a value is not finite.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in stored.items():
        base, _, part = name.rpartition(".")
        if part == "codes":
            tensors[base] = _scaled(stored, base, value.to(torch.float32))
        elif part == "codes_high":
            low = stored.get(f"{base}.codes_low")
            if low is None or low.shape != value.shape:
                raise FormatError(f"field tensor {base!r} has codes_high without codes_low of the same shape")
            tensors[base] = _scaled(stored, base, value.to(torch.float32) * 256 + low.to(torch.float32))
        elif part not in ("codes_low", "step"):
            tensors[name] = value.to(torch.float32)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise FormatError(f"field tensor {name!r} holds a value that is not finite")
    return tensors


def _scaled(stored: dict[str, Tensor], base: str, codes: Tensor) -> Tensor:
    step = stored.get(f"{base}.step")
    if step is None or codes.ndim < 1 or step.shape != codes.shape[:1]:
        raise FormatError(f"field tensor {base!r} has codes of shape {tuple(codes.shape)} without a step for each row")
    return codes * step.to(torch.float32).reshape(-1, *[1] * (codes.ndim - 1))
