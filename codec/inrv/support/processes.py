"""The processes that work on one file together; usually there is one.

torch.distributed brings them together.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def _group() -> Any:
    """Return torch.distributed where a group of processes has been set up, else None.

    torch is not imported for it.
    """
    distributed = sys.modules.get("torch.distributed")
    there = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return distributed if there else None


def process_count() -> int:
    """Return how many processes work together."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def is_first() -> bool:
    """Return whether this process is the one that decides, writes and prints."""
    group = _group()
    return group is None or group.get_rank() == 0


def ready_to_write() -> bool:
    """Wait for every process, and return whether this one is to write what all have."""
    group = _group()
    if group is not None and group.get_world_size() > 1:
        group.barrier()
    return is_first()


def started_together() -> bool:
    """Return whether torchrun's variables say that this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
