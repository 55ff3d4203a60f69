"""Where to compute, and how precisely. torch is imported when it is needed."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from inrv.errors import OptionError

if TYPE_CHECKING:
    import torch

WORTH_LOWER = (
    0.8  # of the seconds of float32, below which products in bfloat16 are worth their rounding
)


def check_device(name: Any) -> None:
    """Raise OptionError where the device of that name cannot be used here; None and 'cpu' always can."""
    if name is not None and str(name) != "cpu":
        choose_device(name)


def choose_device(name: Any = None) -> torch.device:
    """The device of that name, or the best there is: CUDA or ROCm, then MPS, then CPU. Raises OptionError if absent."""
    import torch

    if name is None:
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        device = torch.device(name)
        torch.empty(1, dtype=torch.float32, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise OptionError(
            f"`device={str(name)!r}` cannot be used here: {str(error).splitlines()[0]}"
        ) from error
    return device


@lru_cache
def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies matrices of it faster than of float32, else float32.

    GPUs say so themselves. A CPU is asked to multiply: what it has (AMX, AVX-512 BF16, or neither, which
    is slower than float32) cannot be found out through torch.
    """
    import torch

    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    if device.type != "cpu":
        return torch.float32
    return (
        torch.bfloat16
        if _seconds(torch.bfloat16) < WORTH_LOWER * _seconds(torch.float32)
        else torch.float32
    )


def decoding_precision(device: torch.device) -> torch.dtype:
    """The dtype to multiply matrices in where a file allows less than float32; of the two halves GPUs take the finer one."""
    import torch

    return torch.float16 if device.type == "cuda" else fast_precision(device)


def products_in(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """A context in which matrices are multiplied in `precision`."""
    import torch

    lower = precision != torch.float32
    # No cache: within a caller's autocast torch would go on with rounded weights from before a step of the optimiser.
    return torch.autocast(
        device.type, dtype=precision if lower else None, enabled=lower, cache_enabled=False
    )


def _seconds(dtype: torch.dtype) -> float:
    """The shortest of some products of matrices of the size a field has."""
    import torch

    left, right = torch.ones(2048, 128, dtype=dtype), torch.ones(128, 128, dtype=dtype)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - started)
    return min(times)
