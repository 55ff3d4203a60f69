"""The processes that train one field together, each on its share of every batch; one process is the usual case."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from inrv.errors import OptionError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    rank   its number, from 0; rank 0 alone decides, writes and speaks     count  how many there are
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> Processes:
        """Those of torch.distributed's default group, where one has been set up; else this process alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return Processes()
        return Processes(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a batch; those of all processes make up the batch."""
        return rows.tensor_split(self.count)[self.rank] if self.count > 1 else rows

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, the same bits on each."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def from_first(self, thing: Any) -> Any:
        """What rank 0 gave; the others' is ignored."""
        if self.count == 1:
            return thing
        box = [thing]
        dist.broadcast_object_list(box)
        return box[0]

    def ready_to_write(self) -> bool:
        """Wait until every process has come so far; whether this one is to write what all have."""
        self.wait()
        return self.first

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()

    def averaging(self, module: nn.Module, device: torch.device) -> nn.Module:
        """`module`, whose gradients become the mean over all processes as they are computed; it begins as rank 0's."""
        if self.count == 1:
            return module
        ids = (
            [device.index if device.index is not None else torch.cuda.current_device()]
            if device.type == "cuda"
            else None
        )
        return DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)


@contextmanager
def joined(device: str | None = None) -> Iterator[Processes]:
    """Set up the processes that torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) tell of.

    On GPUs each process takes the one that LOCAL_RANK says, and they talk by NCCL (RCCL on ROCm); on CPUs by gloo. Without
    these variables, or where a group is there already, nothing is done. Raises OptionError where they cannot find together.
    """
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if alone or not dist.is_available() or dist.is_initialized():
        yield Processes.current()
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
        yield Processes.current()
    finally:
        gc.collect()  # a module that averaged gradients lies in cycles, and would hold the group until the interpreter ends
        dist.destroy_process_group()
