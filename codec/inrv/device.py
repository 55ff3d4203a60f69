"""Where to compute."""

from __future__ import annotations

import torch

from inrv.errors import OptionError


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name, or the best there is: CUDA or ROCm, then MPS, then CPU. Raises OptionError if absent."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device {str(name)!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device
