"""A small network in integers, whose sums are exact on any machine, in any order.

Inputs and activations are whole numbers within +-127 that stand for n / 32, weights within +-127 that stand for n / 64,
biases whole numbers that stand for n / 2048. Weights and biases are held in float32: every product and partial sum lies below
2^24, and factors keep their value in bfloat16 and TensorFloat32 too. CPUs that can multiply them as int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.fields.lattice.constants import LARGEST, WEIGHT_ONE
from inrv.fields.lattice.kernels import activate

LAYERS = ("first", "second", "last")


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Two hidden layers, rectified, and a linear one that also reads the inputs.

    Whole numbers in float32, by name: first.weight (inputs, h), first.bias (h,), second.weight (h, g), second.bias (g,),
    last.weight (g, outputs), last.bias (outputs,), skip.weight (inputs, outputs).
    """

    tensors: dict[str, Tensor]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs int32 (n, outputs), in units of 1 / 2048, of inputs int8 (n, inputs)."""
        return self._in_bytes(inputs) if inputs.device.type == "cpu" and bytes_are_exact() else self.in_floats(inputs)

    def in_floats(self, inputs: Tensor) -> Tensor:
        """The same by products of float32."""
        t, width, real = self.tensors, self.tensors["first.bias"].shape[0], inputs.float()
        sums = torch.addmm(self._biases, real, self._beside)
        hidden = _activate(torch.addmm(t["second.bias"], _activate(sums[:, :width]), t["second.weight"]))
        return torch.addmm(sums[:, width:], hidden, t["last.weight"]).to(torch.int32)

    def _in_bytes(self, inputs: Tensor) -> Tensor:
        """The same by products of int8."""
        width, outputs = self.tensors["last.weight"].shape
        first, second, last, biases, second_bias = self._whole
        sums = torch._int_mm(inputs, first)
        hidden = torch.empty(len(inputs), sums.shape[1] - outputs, dtype=torch.int8)
        activate(sums.numpy(), biases, hidden.numpy())
        between = torch._int_mm(hidden, second)
        hidden = torch.empty(len(inputs), width, dtype=torch.int8)
        activate(between.numpy(), second_bias, hidden.numpy())
        return torch._int_mm(hidden, last) + sums[:, -outputs:] + self.tensors["last.bias"].to(torch.int32)

    @cached_property
    def _beside(self) -> Tensor:
        """Weights of the first layer with the skip weights beside them: both read the inputs, in one product."""
        return torch.cat([self.tensors["first.weight"], self.tensors["skip.weight"]], dim=1)

    @cached_property
    def _biases(self) -> Tensor:
        return torch.cat([self.tensors["first.bias"], self.tensors["last.bias"]])

    @cached_property
    def _whole(self) -> tuple[Tensor, Tensor, Tensor, NDArray[np.int32], NDArray[np.int32]]:
        t = self.tensors
        weights = [tensor.to(torch.int8) for tensor in (self._beside, t["second.weight"], t["last.weight"])]
        biases = [t[f"{name}.bias"].to(torch.int32).numpy() for name in ("first", "second")]
        return weights[0], weights[1], weights[2], biases[0], biases[1]

    def to(self, device: torch.device | str) -> IntegerNetwork:
        """The same network on another device."""
        return IntegerNetwork({name: tensor.to(device) for name, tensor in self.tensors.items()})


@cache
def bytes_are_exact() -> bool:
    """Whether this CPU multiplies int8 fast and without saturation on the way: where it has no instruction for it, it may not."""
    if not getattr(torch.cpu, "_is_vnni_supported", bool)():
        return False
    largest = torch.full((64, 64), LARGEST, dtype=torch.int8)
    return all(bool((torch._int_mm(sign * largest, largest) == sign * 64 * LARGEST**2).all()) for sign in (1, -1))


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
