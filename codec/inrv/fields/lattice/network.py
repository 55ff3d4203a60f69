"""A small network in integers, whose sums are exact on any machine, in any order.

Inputs and activations are whole numbers within +-127 that stand for n / 32, weights are whole
numbers within +-127 that stand for n / 64, biases are whole numbers that stand for n / 2048. All
are held in float32: every product and every partial sum lies below 2^24.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.kernels import Layers, evaluate

LAYERS = ("first", "second", "last")
PADDED_INPUTS, PADDED_OUTPUTS = 4, 2  # of a layer: the kernel takes so many at a time

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Two hidden layers, rectified, and a linear one that also reads the inputs.

    tensors: whole numbers in float32, by name: first.weight (inputs, h), first.bias (h,),
        second.weight (h, g), second.bias (g,), last.weight (g, outputs), last.bias (outputs,),
        skip.weight (inputs, outputs)
    """

    tensors: dict[str, Floats]

    def __call__(self, inputs: NDArray[np.int8]) -> NDArray[np.int32]:
        """Outputs int32 (n, outputs), in units of 1 / 2048, of inputs int8 (n, inputs)."""
        outputs = np.empty((len(inputs), self.tensors["last.bias"].shape[0]), dtype=np.int32)
        evaluate(inputs, self.layers, outputs)
        return outputs

    @cached_property
    def layers(self) -> Layers:
        """The network as the kernels read it.

        The skip's weights stand beside those of the first layer, as both read the inputs. The
        kernels read four inputs and write two outputs at a time: zeros fill up what lacks.
        """
        t = self.tensors
        first, skip = _padded(t["first.weight"]), _padded(t["skip.weight"], PADDED_OUTPUTS)
        biases = _padded(t["first.bias"][None])[0], _padded(t["last.bias"][None], PADDED_OUTPUTS)[0]
        return Layers(
            np.hstack([first, skip]),
            np.concatenate([biases[0], biases[1]]),
            _padded(t["second.weight"]),
            _padded(t["second.bias"][None])[0],
            _padded(t["last.weight"], PADDED_OUTPUTS),
        )


def _padded(array: Floats, columns: int = PADDED_INPUTS) -> Floats:
    """An array (k, m) with zeros behind, so that m is a multiple of `columns`, k one of 4."""
    below, beside = -array.shape[0] % PADDED_INPUTS, -array.shape[1] % columns
    return np.ascontiguousarray(np.pad(array, ((0, below), (0, beside))), dtype=np.float32)


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
