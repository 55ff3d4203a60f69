"""The device to compute on, and the precision there. torch is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inrv.errors import OptionError
from inrv.support.extras import needed_for

if TYPE_CHECKING:
    import torch

FAST_CPUS = ("amx_bf16", "avx512_bf16")  # as torch names what multiplies bfloat16


def check_device(name: Any) -> None:
    """Check that the device of that name can be used here; None and 'cpu' always can.

    Raises OptionError where it cannot.
    """
    if name is not None and str(name) != "cpu":
        choose_device(name)


def choose_device(name: Any = None) -> torch.device:
    """Return the device of that name, or the best there is: CUDA or ROCm, then MPS, then CPU.

    Raises OptionError where it is not there.
    """
    with needed_for("a device other than the CPU", "train"):
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
        torch.zeros(1, dtype=torch.float32, device=device).item()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, TypeError) as error:
        raise OptionError(
            f"`device={str(name)!r}` cannot be used here: {str(error).splitlines()[0]}"
        ) from error
    return device


def with_index(device: Any) -> torch.device:
    """Return a device with its number, as tensors tell theirs: 'cuda' is cuda:0, or another."""
    import torch

    return torch.empty(0, dtype=torch.uint8, device=device).device


def fast_precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device multiplies matrices faster in it, else float32.

    A CPU is asked for AMX and AVX-512 BF16, with which products take half the time or less. It is
    not timed: a busy machine would say now one thing and now the other, and what comes out is
    rounded accordingly.
    """
    import torch

    if device.type == "cuda":
        lower = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older torch does not tell.
        told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        lower = device.type == "cpu" and any(map(told.get, FAST_CPUS))
    return torch.bfloat16 if lower else torch.float32


def decoding_precision(device: torch.device) -> torch.dtype:
    """Return the dtype to multiply matrices in where a file allows less than float32.

    GPUs take float16, which rounds less than bfloat16.
    """
    import torch

    return torch.float16 if device.type == "cuda" else fast_precision(device)


def products_in(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """Return a context in which matrices are multiplied in `precision`."""
    import torch

    lower = precision != torch.float32
    # No cache: within a caller's autocast torch would go on with the rounded weights from before a
    # step of the optimiser.
    return torch.autocast(
        device.type, dtype=precision if lower else None, enabled=lower, cache_enabled=False
    )
