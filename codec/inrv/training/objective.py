"""The loss, and one step's gradient of it."""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from torch import Tensor, nn

from inrv.device import products_in
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
        with products_in(self.precision, coordinates.device):
            outputs = self.field(coordinates)
        squared = (outputs - targets).square()
        return (squared if counted is None else squared * counted).sum() / divisor


class Gradient:
    """Computes gradients on this process's share of a batch, averaged over all processes.

    With `pool`, the batch of a single process is shared out over `threads` of its workers: on a CPU they get more done side
    by side, each with its own operations, than by sharing every one of them.
    """

    def __init__(
        self,
        field: Field,
        samples: Samples,
        precision: torch.dtype,
        compiled: bool,
        processes: Processes,
        pool: Executor | None,
        threads: int,
    ) -> None:
        self.samples, self.processes, self.pool, self.threads = samples, processes, pool, threads
        self.weights = list(field.parameters())
        self.objective = Objective(field, precision)
        self.averaged = processes.averaging(self.objective, samples.coordinates.device)
        if compiled:  # and captured as a graph, but for the exchange of gradients
            self.averaged.compile(mode="reduce-overhead" if processes.count == 1 else None)

    def __call__(self, rows: Tensor) -> Tensor:
        """This process's part of the mean squared error over the samples `rows`, detached; the gradients are those of all."""
        if self.pool is not None:
            return self._by_workers(self.pool, rows)
        count = self.processes.count
        loss: Tensor = self.averaged(*self._values(self.processes.share(rows)), self._total(rows) / count)
        loss.backward()
        return loss.detach() / count

    def _by_workers(self, pool: Executor, rows: Tensor) -> Tensor:
        total = self._total(rows)

        def part_of(part: Tensor) -> tuple[Tensor, ...]:
            loss: Tensor = self.objective(*self._values(part), total)
            return loss.detach(), *torch.autograd.grad(loss, self.weights)

        (loss, *gradients), *others = pool.map(part_of, rows.tensor_split(self.threads))
        for other_loss, *other in others:
            loss += other_loss
            torch._foreach_add_(gradients, other)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return loss

    @torch.no_grad()
    def loss_on(self, rows: Tensor) -> Tensor:
        """The mean squared error over the samples `rows`, all of it computed by this process."""
        loss: Tensor = self.objective(*self._values(rows), self._total(rows))
        return loss

    def _values(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        samples = self.samples
        counted = None if samples.counted is None else samples.counted[rows]
        return samples.coordinates[rows], samples.targets[rows], counted

    def _total(self, rows: Tensor) -> Tensor:
        """How many values of the samples `rows` count, at least 1: a scalar float32."""
        samples = self.samples
        if samples.counted is None:
            return samples.targets.new_tensor(float(len(rows) * samples.targets.shape[1]))
        return samples.counted[rows].sum().clamp_min(1).float()
