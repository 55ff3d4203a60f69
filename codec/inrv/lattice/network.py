"""A small network in integers, whose sums are exact on any machine, in any order.

Inputs and activations are whole numbers within +-127 that stand for n / 32, weights within +-127 that stand for n / 64,
biases whole numbers that stand for n / 2048. They are held in float32: every product and partial sum lies below 2^24, and
factors keep their value in bfloat16 and TensorFloat32 too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LARGEST = 127.0
ONE = 32  # stands for 1 in inputs and activations
WEIGHT_ONE = 64
SUM_ONE = ONE * WEIGHT_ONE
LAYERS = ("first", "second", "last")


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Two hidden layers, rectified, and a linear one that also reads the inputs.

    Whole numbers in float32, by name: first.weight (inputs, h), first.bias (h,), second.weight (h, g), second.bias (g,),
    last.weight (g, outputs), last.bias (outputs,), skip.weight (inputs, outputs).
    """

    tensors: dict[str, Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs float32 (outputs, n), whole numbers in units of 1 / 2048, of inputs (inputs, n)."""
        t, width = self.tensors, self.tensors["first.bias"].shape[0]
        sums = torch.addmm(self._beside[1], inputs.T, self._beside[0])
        hidden = _activate(torch.addmm(t["second.bias"], _activate(sums[:, :width]), t["second.weight"]))
        return torch.addmm(sums[:, width:], hidden, t["last.weight"]).T

    @cached_property
    def _beside(self) -> tuple[Tensor, Tensor]:
        """Weights and biases of the first layer with those of the outputs beside them: both read the inputs, in one product."""
        t = self.tensors
        return torch.cat([t["first.weight"], t["skip.weight"]], dim=1), torch.cat([t["first.bias"], t["last.bias"]])

    def to(self, device: torch.device | str) -> IntegerNetwork:
        """The same network on another device."""
        return IntegerNetwork({name: tensor.to(device) for name, tensor in self.tensors.items()})


def _activate(sums: Tensor) -> Tensor:
    """Units of 1 / 2048 to units of 1 / 32, rounded half up, within 0 and 127."""
    return sums.add_(WEIGHT_ONE / 2).mul_(1 / WEIGHT_ONE).floor_().clamp_(0.0, LARGEST)


def shapes(inputs: int, hidden: tuple[int, int], outputs: int) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a network, by name."""
    first, second = hidden
    return {
        "first.weight": (inputs, first),
        "first.bias": (first,),
        "second.weight": (first, second),
        "second.bias": (second,),
        "last.weight": (second, outputs),
        "last.bias": (outputs,),
        "skip.weight": (inputs, outputs),
    }
