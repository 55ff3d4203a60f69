"""The loss, and one step's gradient of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inrv.fields import Field
from inrv.selection import Samples
from inrv.training.processes import Processes


class Objective(nn.Module):
    """Sum of the squared errors of a field over the values that count, divided by how many of them the whole batch has."""

    def __init__(self, field: Field, precision: torch.dtype) -> None:
        super().__init__()
        self.field = field
        self.precision = precision

    def forward(self, coordinates: Tensor, targets: Tensor, counted: Tensor | None, divisor: Tensor) -> Tensor:
        """A scalar float32."""
        lower = self.precision != torch.float32
        with torch.autocast(coordinates.device.type, dtype=self.precision if lower else torch.bfloat16, enabled=lower):
            outputs = self.field(coordinates)
        squared = (outputs - targets).square()
        return (squared if counted is None else squared * counted).sum() / divisor


class Gradient:
    """Computes gradients on this process's share of a batch, averaged over all processes."""

    def __init__(self, field: Field, samples: Samples, precision: torch.dtype, compiled: bool, processes: Processes) -> None:
        self.samples, self.processes = samples, processes
        self.loss: nn.Module = processes.averaging(Objective(field, precision), samples.coordinates.device)
        if compiled:
            self.loss.compile(mode="reduce-overhead")

    def __call__(self, rows: Tensor) -> Tensor:
        """This process's part of the mean squared error over the samples `rows`, detached; the gradients are those of all."""
        samples, count = self.samples, self.processes.count
        own = self.processes.share(rows)
        counted = None if samples.counted is None else samples.counted[own]
        loss: Tensor = self.loss(samples.coordinates[own], samples.targets[own], counted, values_in(samples, rows) / count)
        loss.backward()
        return loss.detach() / count


def values_in(samples: Samples, rows: Tensor) -> Tensor:
    """How many values of the samples `rows` count, at least 1: a scalar float32 on their device."""
    if samples.counted is None:
        return torch.full((), float(len(rows) * samples.targets.shape[1]), device=rows.device)
    return samples.counted[rows].sum().clamp_min(1).float()
