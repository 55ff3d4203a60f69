"""Networks fitted to the codes of a channel, with weights as they are stored.

The loss of a voxel is the bits of its code under a logistic distribution, and its squared error in
steps times what the choice of codes takes it to be worth in bits. A code is taken for noise within
half a step (Balle, Laparra and Simoncelli 2017), so that the loss is smooth in the networks'
outputs.

Of the lattice only this module and the workshop import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from inrv.core.lattice import ContextSamples
from inrv.fields.lattice.codec import TRELLIS_WEIGHT
from inrv.fields.lattice.constants import (
    FILTER_ONE,
    INPUT_ONE,
    LARGEST,
    LARGEST_FITTED_BIAS,
    ONE,
    SLOPE,
    STEP,
    SUM_ONE,
    WEIGHT_ONE,
)
from inrv.fields.lattice.network import LAYERS, IntegerNetwork, shapes
from inrv.fields.lattice.samples import (
    ChannelSamples,
    PredictionSamples,
    restoration_samples,
)
from inrv.support.graph import GraphedStep
from inrv.support.parallel import in_turns

if TYPE_CHECKING:
    from inrv.fields.lattice.search import Effort

# Slope of the absolute error beyond half a step, whose squared error the code takes away.
FAR = 0.02
FARTHEST = 8.0  # steps up to which errors are told apart by it
LEAST_LOG, MOST_LOG = -5.0, 14.0
HOLD = 0.2  # measured: docs/lab-notes.md#fitting-the-networks
RATE = 2e-3  # of the optimiser; see docs/lab-notes.md#fitting-the-networks
ABOUT = 1e-6  # less than any two sums are apart
BOUND = 1.4  # of the first weights, times the square root of the inputs


@dataclass(frozen=True, eq=False)
class Samples:
    """What of `PredictionSamples` the loss needs, as torch takes it."""

    inputs: Tensor
    difference: Tensor
    spread: Tensor
    reach: Tensor
    weight: Tensor

    @staticmethod
    def of(found: PredictionSamples, device: torch.device) -> Samples:
        """The same samples, on a device."""
        own = (getattr(found, field.name) for field in fields(Samples))
        return Samples(*(torch.from_numpy(column).to(device) for column in own))

    @staticmethod
    def join(parts: Iterable[Samples]) -> Samples:
        """All of them."""
        columns = zip(*((getattr(p, f.name) for f in fields(p)) for p in parts), strict=True)
        return Samples(*(torch.cat(column) for column in columns))

    def __len__(self) -> int:
        """How many voxels."""
        return len(self.inputs)


def restoration_tensors(parts: Sequence[ContextSamples]) -> tuple[Tensor, Tensor]:
    """Inputs int8 (n, 37) and errors float32 (n,), in steps, that the filter is fitted to."""
    found = restoration_samples(parts)
    return torch.from_numpy(found.inputs), torch.from_numpy(found.errors / np.float32(STEP))


class Fitter:
    """Fits the networks of channels, one after the other, with random numbers of its own.

    seed: of these
    device: CUDA or ROCm, or the CPU
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device

    def seed(self) -> int:
        """Draws the seed of something."""
        return int(torch.randint(1 << 31, (), generator=self.generator))

    def networks(
        self,
        networks: dict[int, IntegerNetwork],
        found: ChannelSamples,
        effort: Effort,
    ) -> dict[int, IntegerNetwork]:
        """Networks that predict better, by number of odd axes.

        networks: where they begin
        found: the contexts of the voxels that they are to predict
        effort: how long they are fitted
        """
        reals = {odd: self._real(network) for odd, network in networks.items()}
        fits = []
        for odd, real in reals.items():
            own = torch.Generator().manual_seed(self.seed())
            inputs = networks[odd].tensors["first.weight"].shape[0]
            own_samples = found.prediction(odd, inputs)
            if own_samples is not None:
                samples = Samples.of(own_samples, self.device)
                steps = effort.steps_for(len(samples))
                fits.append(fit_prediction(real, samples, steps, RATE, effort.batch, own, HOLD))
        self._bring_to_end(fits)
        return {odd: real.whole() for odd, real in reals.items()}

    def restoration(
        self,
        network: IntegerNetwork,
        found: ChannelSamples,
        effort: Effort,
    ) -> IntegerNetwork:
        """A restoration filter that gives the errors of some voxels better.

        network: where it begins
        found: the neighbourhoods of the voxels
        effort: how long it is fitted
        """
        real = self._real(network)
        inputs, errors = (own.to(self.device) for own in restoration_tensors(found.parts))
        if len(errors):
            steps, draws = effort.steps_for(len(errors)), self.generator
            fit = fit_restoration(real, inputs, errors, steps, RATE, effort.batch, draws, HOLD)
            self._bring_to_end([fit])
        return real.whole()

    def _real(self, network: IntegerNetwork) -> RealNetwork:
        return RealNetwork.of(network).to(self.device)

    def _bring_to_end(self, fits: Sequence[Iterator[None]]) -> None:
        """Take all steps of all fits; on a GPU one after the other, which has no more than one."""
        if self.device.type == "cpu":
            in_turns(fits)
            return
        for fit in fits:
            for _ in fit:
                continue


class RealNetwork(nn.Module):
    """An IntegerNetwork that learns.

    Its parameters are real, and rounded on the way forward as they will be stored.
    """

    def __init__(
        self, inputs: int, hidden: tuple[int, int], outputs: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        for name, shape in shapes(inputs, hidden, outputs).items():
            begins_at_zero = name.endswith("bias") or name in ("skip.weight", "last.weight")
            bound = 0.0 if begins_at_zero else BOUND / math.sqrt(shape[0])
            values = (torch.rand(shape, generator=generator, dtype=torch.float32) * 2 - 1) * bound
            self.register_parameter(name.replace(".", "_"), nn.Parameter(values))

    @staticmethod
    def of(network: IntegerNetwork) -> RealNetwork:
        """One that begins where `network` stands."""
        inputs, first = network.tensors["first.weight"].shape
        second, outputs = network.tensors["last.weight"].shape
        real = RealNetwork(inputs, (first, second), outputs, torch.Generator())
        with torch.no_grad():
            for name, tensor in network.tensors.items():
                parameter = real.get_parameter(name.replace(".", "_"))
                parameter.copy_(torch.from_numpy(tensor) / _unit(name))
        return real

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (n, outputs) of real inputs (n, inputs)."""
        rounded = {name: self._rounded(f"{name}_weight") for name in (*LAYERS, "skip")}
        hidden = _rectified(inputs @ rounded["first"] + self._rounded("first_bias"))
        hidden = _rectified(hidden @ rounded["second"] + self._rounded("second_bias"))
        outputs: Tensor = hidden @ rounded["last"] + inputs @ rounded["skip"]
        return outputs + self._rounded("last_bias")

    def _rounded(self, name: str) -> Tensor:
        most = LARGEST if name.endswith("weight") else LARGEST_FITTED_BIAS
        return _rounded(self.get_parameter(name), _unit(name), -most, most)

    def whole(self) -> IntegerNetwork:
        """The network in whole numbers."""
        names = [name.replace("_", ".") for name, _ in self.named_parameters()]
        with torch.no_grad():
            tensors = {}
            for name in names:
                whole = (self._rounded(name.replace(".", "_")) * _unit(name)).round()
                tensors[name] = whole.detach().cpu().numpy().copy()
            return IntegerNetwork(tensors)


def _unit(name: str) -> int:
    return WEIGHT_ONE if name.endswith("weight") else SUM_ONE


class _Rounded(torch.autograd.Function):
    """Values rounded to whole `unit`ths, and kept within limits, on the way forward.

    The gradient passes where they are within the limits. One operation each way takes half of the
    time of those that autograd would join.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, unit: int, least: int, most: int) -> Tensor:
        ctx.save_for_backward(value)
        # At a limit the gradient passes too: many weights begin there.
        ctx.limits = least / unit - ABOUT, most / unit + ABOUT
        return (value * unit).round_().clamp_(least, most).div_(unit)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (value,) = ctx.saved_tensors
        moved: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], value, *ctx.limits)
        return moved, None, None, None


def _rounded(value: Tensor, unit: int, least: int, most: int) -> Tensor:
    rounded: Tensor = _Rounded.apply(value, unit, least, most)  # type: ignore[no-untyped-call]
    return rounded


def _rectified(sums: Tensor) -> Tensor:
    return _rounded(sums, ONE, 0, LARGEST)


def bits_of(errors: Tensor, logs: Tensor) -> Tensor:
    """Bits of codes under logistic distributions.

    errors: float32 (n,) by how many steps the values miss their predictions
    logs: float32 (n,) log2 of the distributions' scales, in steps
    """
    scale = torch.exp2(logs.clamp(LEAST_LOG, MOST_LOG))
    distance = errors.abs()
    share = torch.sigmoid((0.5 - distance) / scale) - torch.sigmoid((-0.5 - distance) / scale)
    return -torch.log2(share.clamp_min(1e-7))


def prediction_loss(outputs: Tensor, samples: Samples, rows: Tensor) -> Tensor:
    """Mean loss of the voxels at `rows`, weighted."""
    difference, reach, spread, weight = (
        column.index_select(0, rows)
        for column in (samples.difference, samples.reach, samples.spread, samples.weight)
    )
    errors = difference - reach * outputs[:, 0]
    bits = bits_of(errors, spread.log2() + outputs[:, 1])
    distance = errors.abs()
    rounded = torch.full_like(distance, 1 / 12)
    lost = torch.where(distance < 0.5, distance.square(), rounded)
    lost = lost + FAR * distance.clamp_max(FARTHEST)
    return ((bits + SLOPE / TRELLIS_WEIGHT * lost) * weight).sum() / weight.sum()


def fit_prediction(
    real: RealNetwork,
    samples: Samples,
    steps: int,
    rate: float,
    batch: int,
    generator: torch.Generator,
    hold: float = 0.0,
) -> Iterator[None]:
    """Fit a network in place, step by step.

    hold: as of `_fit`
    """

    def loss_of(rows: Tensor) -> Tensor:
        return prediction_loss(
            real(samples.inputs.index_select(0, rows).float() / INPUT_ONE), samples, rows
        )

    return _fit(real, loss_of, len(samples), steps, rate, batch, generator, hold)


def fit_restoration(
    real: RealNetwork,
    inputs: Tensor,
    errors: Tensor,
    steps: int,
    rate: float,
    batch: int,
    generator: torch.Generator,
    hold: float = 0.0,
) -> Iterator[None]:
    """Fit a network in place, step by step.

    inputs: int8 (n, k) of voxels
    errors: float32 (n,) of the voxels, in steps, that the network is to give
    hold: as of `_fit`
    """

    def loss_of(rows: Tensor) -> Tensor:
        outputs: Tensor = real(inputs.index_select(0, rows).float() / FILTER_ONE)
        return (outputs[:, 0] - errors.index_select(0, rows)).square().mean()

    return _fit(real, loss_of, len(inputs), steps, rate, batch, generator, hold)


@torch.enable_grad()
def _fit(
    real: RealNetwork,
    loss_of: Callable[[Tensor], Tensor],
    samples: int,
    steps: int,
    rate: float,
    batch: int,
    generator: torch.Generator,
    hold: float,
) -> Iterator[None]:
    """`steps` steps down the gradient of `loss_of` rows of the samples.

    hold: by which share of a step of the optimiser each weight is drawn back to where it began:
        those whose gradients agree on nothing stay there, and are not stored
    """
    begun = [parameter.detach().clone() for parameter in real.parameters()]
    device = begun[0].device
    # A tensor, so that a step that a GPU has captured goes on to read it.
    now = torch.tensor(rate, dtype=torch.float32, device=device)
    capturable = device.type == "cuda"
    optimiser = torch.optim.Adam(real.parameters(), now, fused=True, capturable=capturable)

    def step(rows: Tensor) -> None:
        loss = loss_of(rows)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(real.parameters(), 1.0)
        optimiser.step()
        if hold:
            _draw_back(real, begun, hold * now)

    take = GraphedStep(step) if capturable else step
    for number in range(steps):
        now.fill_(rate * (1 + math.cos(math.pi * number / steps)) / 2)
        rows = torch.randint(samples, (min(batch, samples),), generator=generator)
        take(rows.to(device))
        yield


@torch.no_grad()
def _draw_back(real: RealNetwork, begun: Sequence[Tensor], most: Tensor) -> None:
    """Move every weight towards where it began, by `most` at most."""
    for parameter, start in zip(real.parameters(), begun, strict=True):
        parameter.sub_((parameter - start).clamp_(-most, most))
