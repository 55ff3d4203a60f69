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

from inrv.fields.lattice.constants import LARGEST, ONE

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

    def rows(self, inputs: NDArray[np.int8], one: int) -> Floats:
        """Its inputs in 32nds, float32 (n, k).

        inputs: int8 (n, k and more)
        one: what stands for 1 in them
        """
        own = len(self.tensors["first.weight"])
        found: Floats = inputs[:, :own].astype(np.float32) * np.float32(ONE // one)
        return found

    def hidden(self, rows: Floats) -> Floats:
        """The activations of its second layer, float32 (n, g), for rows in 32nds."""
        active = _active(rows @ self.tensors["first.weight"] + self.tensors["first.bias"])
        return _active(active @ self.tensors["second.weight"] + self.tensors["second.bias"])

    def outputs(self, rows: Floats) -> Floats:
        """Its outputs in 2048ths, float32 (n, outputs), for rows in 32nds."""
        own = self.tensors
        found: Floats = self.hidden(rows) @ own["last.weight"] + rows @ own["skip.weight"]
        return found + own["last.bias"]


def _active(sums: Floats) -> Floats:
    found: Floats = np.clip(np.floor((sums + np.float32(32)) / np.float32(64)), 0, LARGEST)
    return found


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
