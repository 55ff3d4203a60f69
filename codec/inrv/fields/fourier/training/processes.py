"""The processes that train one network together, each on its share of every batch.

Usually there is one process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """Says which process this is among those that train together.

    rank: int number of this process, from 0; rank 0 alone decides, writes and prints
    count: int processes in all
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> Processes:
        """Return the processes of torch.distributed's default group.

        Where none has been set up, this process is alone.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return Processes()
        return Processes(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's part of a batch.

        rows: int64 (batch,) numbers of the samples, of all processes together
        """
        return rows.tensor_split(self.count)[self.rank] if self.count > 1 else rows

    def sum(self, numbers: Tensor) -> Tensor:
        """Return the sum of numbers over all processes, with the same bits on each."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def from_first(self, value: Any) -> Any:
        """Return the value that rank 0 has, on every process."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            dist.barrier()

    def averaging(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Return a module whose gradients become the mean over all processes.

        The module begins with the weights that rank 0 has.
        """
        if self.count == 1:
            return module
        ids: list[int] | None = None
        if device.type == "cuda":
            ids = [device.index if device.index is not None else torch.cuda.current_device()]
        return DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)
