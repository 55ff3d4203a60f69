"""Networks fitted to the codes of a channel, with weights as they are stored.

Loss of a voxel: bits of its code under a logistic distribution + slope * squared error, both in steps. A code is taken
for noise within half a step (Balle, Laparra and Simoncelli 2017), so that the loss is smooth in the networks' outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inrv.fields.lattice.constants import LARGEST, ONE, SUM_ONE, WEIGHT_ONE
from inrv.fields.lattice.network import LAYERS, IntegerNetwork, shapes
from inrv.fields.lattice.traversal import Step

MANY = ("first.weight", "second.weight")  # nine tenths of the parameters
SLOPE = 6 / math.log(2)  # bits a squared step: of a uniform quantiser at a high rate
FAR = 0.02  # slope of the absolute error beyond half a step, whose squared error the code takes away
LEAST_LOG, MOST_LOG = -5.0, 14.0


@dataclass(frozen=True, eq=False)
class Samples:
    """Voxels of one number of odd axes, to fit a network to.

    inputs  int8 (n, k)            difference  float32 (n,)  target - base, in steps
    spread  float32 (n,)  in steps reach       float32 (n,)  the same, 0 where the prediction cannot leave the base
    weight  float32 (n,)  how many voxels of the channel it stands for
    """

    inputs: Tensor
    difference: Tensor
    spread: Tensor
    reach: Tensor
    weight: Tensor

    @staticmethod
    def join(parts: Iterable[Samples]) -> Samples:
        """All of them."""
        columns = zip(*((part.inputs, part.difference, part.spread, part.reach, part.weight) for part in parts), strict=True)
        return Samples(*(torch.cat(column) for column in columns))

    def __len__(self) -> int:
        """How many voxels."""
        return len(self.inputs)


class Collector:
    """Keeps a share of the voxels that an encoder passes."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self.share = share
        self.generator = generator
        self.parts: dict[int, list[Samples]] = {}

    def __call__(self, step: Step, targets: Tensor) -> None:
        """See one step."""
        if not step.contexts:
            return
        share = min(1.0, self.share * (1 + step.level))
        chosen = torch.rand(len(targets), generator=self.generator, dtype=torch.float32) < share
        base = torch.cat([context.base for context in step.contexts])[chosen]
        spread = torch.cat([context.scale.mantissa << context.scale.shift for context in step.contexts])[chosen]
        spread = spread.float() / step.step
        reach = torch.where(torch.cat([context.flat for context in step.contexts])[chosen], 0.0, spread)
        inputs = torch.cat([context.inputs for context in step.contexts])[chosen]
        difference = (targets[chosen] - base).float() / step.step
        weight = torch.full_like(difference, 1 / share)
        self.parts.setdefault(step.odd, []).append(Samples(inputs, difference, spread, reach, weight))

    def samples(self, odd: int) -> Samples:
        """What was kept of the voxels with so many odd axes."""
        return Samples.join(self.parts[odd])


class RealNetwork(nn.Module):
    """An IntegerNetwork that learns: real parameters, rounded as they will be stored on the way forward."""

    def __init__(self, inputs: int, hidden: tuple[int, int], outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        for name, shape in shapes(inputs, hidden, outputs).items():
            bound = 0.0 if name.endswith("bias") or name in ("skip.weight", "last.weight") else 1.4 / math.sqrt(shape[0])
            values = (torch.rand(shape, generator=generator, dtype=torch.float32) * 2 - 1) * bound
            self.register_parameter(name.replace(".", "_"), nn.Parameter(values))

    @staticmethod
    def of(network: IntegerNetwork, movable: str = "all") -> RealNetwork:
        """One that begins where `network` stands; of 'few' parameters only biases, last layer and skip can move."""
        inputs, first = network.tensors["first.weight"].shape
        second, outputs = network.tensors["last.weight"].shape
        real = RealNetwork(inputs, (first, second), outputs, torch.Generator())
        with torch.no_grad():
            for name, tensor in network.tensors.items():
                parameter = real.get_parameter(name.replace(".", "_"))
                parameter.copy_(tensor / _unit(name))
                parameter.requires_grad_(movable == "all" or name not in MANY)
        return real

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (n, outputs) of real inputs (n, inputs)."""
        rounded = {name: self._rounded(f"{name}_weight") for name in (*LAYERS, "skip")}
        hidden = _rectified(inputs @ rounded["first"] + self._rounded("first_bias"))
        hidden = _rectified(hidden @ rounded["second"] + self._rounded("second_bias"))
        outputs: Tensor = hidden @ rounded["last"] + inputs @ rounded["skip"] + self._rounded("last_bias")
        return outputs

    def _rounded(self, name: str) -> Tensor:
        unit = _unit(name)
        value: Tensor = self.get_parameter(name)
        if name.endswith("weight"):
            value = value.clamp(-LARGEST / unit, LARGEST / unit)
        return _through(value, unit)

    def whole(self) -> IntegerNetwork:
        """The network in whole numbers."""
        names = [name.replace("_", ".") for name, _ in self.named_parameters()]
        with torch.no_grad():
            return IntegerNetwork({name: (self._rounded(name.replace(".", "_")) * _unit(name)).round() for name in names})


def _unit(name: str) -> int:
    return WEIGHT_ONE if name.endswith("weight") else SUM_ONE


def _through(value: Tensor, unit: int) -> Tensor:
    """`value` rounded to whole `unit`ths on the way forward, as it is for the gradient."""
    exact = value.detach()
    return value + (exact * unit).round_().div_(unit).sub_(exact)


def _rectified(sums: Tensor) -> Tensor:
    return _through(sums.clamp(0.0, LARGEST / ONE), ONE)


def bits_of(errors: Tensor, logs: Tensor) -> Tensor:
    """Bits of codes whose values miss their predictions by `errors` steps, under logistics of scale 2^`logs` steps."""
    scale = torch.exp2(logs.clamp(LEAST_LOG, MOST_LOG))
    distance = errors.abs()
    share = torch.sigmoid((0.5 - distance) / scale) - torch.sigmoid((-0.5 - distance) / scale)
    return -torch.log2(share.clamp_min(1e-7))


def prediction_loss(outputs: Tensor, samples: Samples, rows: Tensor) -> Tensor:
    """Mean loss of the voxels at `rows`, weighted."""
    errors = samples.difference[rows] - samples.reach[rows] * outputs[:, 0]
    bits = bits_of(errors, samples.spread[rows].log2() + outputs[:, 1])
    distance = errors.abs()
    lost = torch.where(distance < 0.5, distance.square(), torch.full_like(distance, 1 / 12)) + FAR * distance.clamp_max(8.0)
    weight = samples.weight[rows]
    return ((bits + SLOPE * lost) * weight).sum() / weight.sum()


def fit_prediction(
    real: RealNetwork, samples: Samples, steps: int, rate: float, batch: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Fit a network in place, step by step; gives the loss of each."""

    def loss_of(rows: Tensor) -> Tensor:
        return prediction_loss(real(samples.inputs[rows].float() / ONE), samples, rows)

    return _fit(real, loss_of, len(samples), steps, rate, batch, generator)


def fit_smoothing(
    real: RealNetwork, inputs: Tensor, errors: Tensor, steps: int, rate: float, batch: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Fit a network in place, step by step, to give `errors` (n,), in steps, from inputs int8 (n, k); gives the loss of each."""

    def loss_of(rows: Tensor) -> Tensor:
        outputs: Tensor = real(inputs[rows].float() / ONE)
        return (outputs[:, 0] - errors[rows]).square().mean()

    return _fit(real, loss_of, len(inputs), steps, rate, batch, generator)


@torch.enable_grad()
def _fit(
    real: RealNetwork, loss_of: Callable[[Tensor], Tensor], samples: int, steps: int, rate: float, batch: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:  # fmt: skip
    """`steps` steps down the gradient of `loss_of` rows of the samples."""
    optimiser = torch.optim.Adam(real.parameters(), rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    for _ in range(steps):
        loss = loss_of(torch.randint(samples, (min(batch, samples),), generator=generator))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(real.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        yield loss.detach()
