"""What a caller has set in NumPy and torch, put aside during a call.

The same bytes and values come out with those settings as without. torch's are put aside where
torch is loaded; where it is not, the caller has set nothing in it. torch's default dtype holds for
all threads and cannot be put aside: whatever makes numbers of its own names its dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

AUTOCAST = ("cpu", "cuda", "mps")  # devices


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put aside NumPy's error state and torch's settings; also a decorator.

    Of torch: the default device, autocast and inference mode, which becomes `no_grad`. Whether
    gradients are enabled is left as it is, so that `no_grad` holds.
    """
    with ExitStack() as aside:
        aside.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        torch = sys.modules.get("torch")
        if torch is not None:
            _put_torch_aside(torch, aside)
        yield


def _put_torch_aside(torch: Any, aside: ExitStack) -> None:
    """Enter the contexts without the caller's settings, which leaving `aside` brings back."""
    with_gradients = torch.is_grad_enabled()
    if torch.is_inference_mode_enabled():
        aside.enter_context(torch.inference_mode(False))
        aside.enter_context(torch.set_grad_enabled(with_gradients))
    for device in AUTOCAST:
        if torch.is_autocast_enabled(device):
            aside.enter_context(torch.autocast(device, enabled=False))
    if torch.get_default_device() != torch.device("cpu"):
        aside.enter_context(torch.device("cpu"))
