"""The processes that work on one file together; usually there is one.

torch.distributed brings them together.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inrv.errors import OptionError
from inrv.support.extras import needed_for


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


@contextmanager
def joined(device: str | None = None) -> Iterator[None]:
    """Join the processes that torchrun has started, for the length of a block.

    torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. Without these
    variables, or where a group is there already, nothing is done. On GPUs each process takes the
    one that LOCAL_RANK names, and they communicate by NCCL (RCCL on ROCm); on CPUs by gloo.

    device: name of the device to train on; None: the best there is

    Raises OptionError where the processes cannot find one another.
    """
    if not started_together() or _group() is not None:
        yield
        return
    with needed_for("work by several processes", "train"):
        import torch
        import torch.distributed as dist

    if not dist.is_available():
        yield
        return
    on_gpus = (device is None or device.startswith("cuda")) and torch.cuda.is_available()
    if on_gpus:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(local % torch.cuda.device_count())
    try:
        dist.init_process_group("nccl" if on_gpus else "gloo")
    except (RuntimeError, ValueError) as error:
        raise OptionError(
            f"the {os.environ['WORLD_SIZE']} processes cannot find together: {error}"
        ) from error
    try:
        yield
    finally:
        # A module that averages gradients lies in reference cycles: it would hold the group until
        # the interpreter ends.
        gc.collect()
        dist.destroy_process_group()
