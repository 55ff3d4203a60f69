"""The loss, and its gradient over one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples
from inrv.fields.fourier.training.processes import Processes
from inrv.fields.fourier.training.torch_private import add_each_
from inrv.support.device import products_in
from inrv.support.parallel import in_threads

# Weights times samples of the smallest batch that is worth parts, and of a part: smaller ones get
# less done.
# measured: docs/lab-notes.md#training-speed
WORTH_PARTS, PART_WORK = 1.5e8, 3e8
MOST_PARTS = 16


class Objective(nn.Module):
    """Computes the loss of a network on samples.

    It is the sum of the squared errors over the values that count, divided by how many of them the
    whole batch has.

    network: the network that is trained
    precision: torch.dtype that matrices are multiplied in
    """

    def __init__(self, network: FourierNetwork, precision: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(
        self, coordinates: Tensor, targets: Tensor, counted: Tensor | None, divisor: Tensor
    ) -> Tensor:
        """Compute the loss, a scalar float32.

        coordinates: int32 (N, 3) index space
        targets: float32 (N, D) normalised values
        counted: bool (N, D) which of them count; None: all
        divisor: float32 () how many values of the batch count
        """
        with products_in(self.precision, coordinates.device):
            outputs = self.network(coordinates)
        squared = (outputs - targets).square()
        return (squared if counted is None else squared * counted).sum() / divisor


class Gradient:
    """Computes gradients on this process's share of a batch, averaged over all processes.

    A single process on a CPU may work `in_parts`: each worker then takes a part of the batch, which
    gets more done than sharing every operation. The parts follow from the work alone, and their
    gradients are added in order, so the sums do not depend on the number of workers.

    samples: the samples that batches are taken from
    processes: those that train together
    in_parts: whether workers take parts of a batch
    weights: the parameters of the network
    objective: the loss of the network
    averaged: the same, where gradients become the mean over all processes
    """

    def __init__(
        self,
        network: FourierNetwork,
        samples: Samples,
        precision: torch.dtype,
        compiled: bool,
        processes: Processes,
        in_parts: bool,
    ) -> None:
        self.samples, self.processes, self.in_parts = samples, processes, in_parts
        self.weights, self.weight_count = list(network.parameters()), network.weight_count
        self.objective = Objective(network, precision)
        self.averaged = processes.averaging(self.objective, samples.coordinates.device)
        if compiled:
            self.averaged.compile()

    def __call__(self, rows: Tensor) -> Tensor:
        """Set the gradients of a batch, and return this process's part of its mean squared error.

        rows: int64 (batch,) numbers of the samples, of all processes together
        """
        work = len(rows) * self.weight_count
        if self.in_parts and work >= WORTH_PARTS:
            parts = min(MOST_PARTS, max(2, int(work / PART_WORK)))
            return self._by_workers(rows.tensor_split(parts), self._total(rows))
        count = self.processes.count
        share = self.processes.share(rows)
        loss: Tensor = self.averaged(*self._values(share), self._total(rows) / count)
        loss.backward()
        return loss.detach() / count

    def _by_workers(self, parts: Sequence[Tensor], total: Tensor) -> Tensor:
        """Set the gradients of a batch, each part of which is computed by a worker."""

        def part_of(part: Tensor) -> tuple[Tensor, ...]:
            loss: Tensor = self.objective(*self._values(part), total)
            return loss.detach(), *torch.autograd.grad(loss, self.weights)

        (loss, *gradients), *others = in_threads(part_of, parts, total.device)
        for other_loss, *other in others:
            loss += other_loss
            add_each_(gradients, other)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return loss

    @torch.no_grad()
    def loss_on(self, rows: Tensor) -> Tensor:
        """Return the mean squared error over the samples `rows`, computed by this process alone."""
        loss: Tensor = self.objective(*self._values(rows), self._total(rows))
        return loss

    def _values(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return coordinates, targets and what counts of the samples `rows`."""
        samples = self.samples
        counted = None if samples.counted is None else samples.counted[rows]
        return samples.coordinates[rows], samples.targets[rows], counted

    def _total(self, rows: Tensor) -> Tensor:
        """Count the values of the samples `rows` that count, at least 1: a scalar float32."""
        samples = self.samples
        if samples.counted is None:
            values = float(len(rows) * samples.targets.shape[1])
            # Filled by the device: a copy from the host would wait for all that was asked before.
            return samples.targets.new_full((), values)
        return samples.counted[rows].sum().clamp_min(1).float()
