"""The loss, and one step's gradient of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples
from inrv.fields.fourier.training.processes import Processes
from inrv.support.device import products_in
from inrv.support.parallel import in_threads

WORTH_PARTS, PART_WORK = (
    1.5e8,
    3e8,
)  # weights times samples, of a batch and of a part: smaller products get less done
MOST_PARTS = 16


class Objective(nn.Module):
    """Sum of the squared errors of a field over the values that count, divided by how many of them the whole batch has."""

    def __init__(self, field: FourierNetwork, precision: torch.dtype) -> None:
        super().__init__()
        self.field = field
        self.precision = precision

    def forward(
        self, coordinates: Tensor, targets: Tensor, counted: Tensor | None, divisor: Tensor
    ) -> Tensor:
        """A scalar float32."""
        with products_in(self.precision, coordinates.device):
            outputs = self.field(coordinates)
        squared = (outputs - targets).square()
        return (squared if counted is None else squared * counted).sum() / divisor


class Gradient:
    """Computes gradients on this process's share of a batch, averaged over all processes.

    With `in_parts`, as a single process on a CPU, workers get more done side by side, each with a part of the batch, than by
    sharing every operation. The parts follow from the work alone, and their gradients are added in order.
    """

    def __init__(
        self,
        field: FourierNetwork,
        samples: Samples,
        precision: torch.dtype,
        compiled: bool,
        processes: Processes,
        in_parts: bool,
    ) -> None:
        self.samples, self.processes, self.in_parts = samples, processes, in_parts
        self.weights, self.weight_count = list(field.parameters()), field.weight_count
        self.objective = Objective(field, precision)
        self.averaged = processes.averaging(self.objective, samples.coordinates.device)
        if compiled:  # and captured as a graph, but for the exchange of gradients
            self.averaged.compile(mode="reduce-overhead" if processes.count == 1 else None)

    def __call__(self, rows: Tensor) -> Tensor:
        """This process's part of the mean squared error over the samples `rows`, detached; the gradients are those of all."""
        work = len(rows) * self.weight_count
        if self.in_parts and work >= WORTH_PARTS:
            parts = min(MOST_PARTS, max(2, int(work / PART_WORK)))
            return self._by_workers(rows.tensor_split(parts), self._total(rows))
        count = self.processes.count
        loss: Tensor = self.averaged(
            *self._values(self.processes.share(rows)), self._total(rows) / count
        )
        loss.backward()
        return loss.detach() / count

    def _by_workers(self, parts: Sequence[Tensor], total: Tensor) -> Tensor:
        def part_of(part: Tensor) -> tuple[Tensor, ...]:
            loss: Tensor = self.objective(*self._values(part), total)
            return loss.detach(), *torch.autograd.grad(loss, self.weights)

        (loss, *gradients), *others = in_threads(part_of, parts, total.device)
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
