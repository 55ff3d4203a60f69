"""What a caller has set in torch and NumPy, put aside during a call: the same bytes and values come out as without.

torch's default dtype holds for all threads and cannot be put aside: whatever makes numbers of its own names its dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

AUTOCAST = ("cpu", "cuda", "mps")  # devices


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without the caller's default device, autocast, inference mode and NumPy error state; also a decorator.

    Whether gradients are enabled is left as it is, so that `no_grad` holds; inference mode becomes `no_grad`.
    """
    with_gradients = torch.is_grad_enabled()
    with ExitStack() as aside:
        aside.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if torch.is_inference_mode_enabled():
            aside.enter_context(torch.inference_mode(False))
            aside.enter_context(torch.set_grad_enabled(with_gradients))
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                aside.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device() != torch.device("cpu"):
            aside.enter_context(torch.device("cpu"))
        yield
