"""A small network in integers, whose sums are exact on any machine, in any order.

Inputs are whole numbers within +-63 that stand for n / 16, those of the restoration filter for
n / 32, activations whole numbers from 0 to 127
that stand for n / 32, weights whole numbers within +-127 that stand for n / 64, biases whole
numbers that stand for n / 2048.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LAYERS = ("first", "second", "last")

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Two hidden layers, rectified, and a linear one that also reads the inputs.

    tensors: whole numbers in float32, by name: first.weight (inputs, h), first.bias (h,),
        second.weight (h, g), second.bias (g,), last.weight (g, outputs), last.bias (outputs,),
        skip.weight (inputs, outputs)
    """

    tensors: dict[str, Floats]


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
