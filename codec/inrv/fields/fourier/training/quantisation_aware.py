"""Quantisation-aware training.

The end of a run trains rounded weights, so that little is lost when they are stored on few bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inrv.container import stored_size
from inrv.container.tensors import pack_tensors
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.quantisation import on_steps
from inrv.fields.fourier.training.plan import WeightQuantisation
from inrv.metrics.psnr import psnr_of

# The share of a run that trains rounded weights, at its end.
# measured: docs/lab-notes.md#quantisation-aware-training
SHARE = 0.25
# Quantiser steps in a matrix's standard deviation, from coarse to fine: 2 to 128.
FINENESS = tuple(2 ** (eighth / 8) for eighth in range(8, 57))


class QuantisationAware:
    """Keeps the matrices of a network at multiples of a quantiser step each.

    The gradient is taken at the rounded weights and moves the exact ones: a straight-through
    estimate.

    matrices: the network's parameters by name, with rounded weights
    steps: float32 () quantiser step by name
    exact: the weights by name, as they would be without rounding
    """

    def __init__(self, matrices: dict[str, nn.Parameter], steps: dict[str, Tensor]) -> None:
        self.matrices, self.steps = matrices, steps
        self.exact = {name: weight.detach().clone() for name, weight in matrices.items()}
        self.round()

    @staticmethod
    def begin(
        network: FourierNetwork, rounding: WeightQuantisation, mean_square: Callable[[], float]
    ) -> QuantisationAware:
        """Round the weights on steps in proportion to the standard deviations of the matrices.

        network: the network that is trained
        rounding: how coarse the steps become
        mean_square: measures the error of the network with its present weights
        """
        before = psnr_of(mean_square())
        deviations = {name: weight.detach().std() for name, weight in network.hidden().items()}
        aware = QuantisationAware(network.hidden(), deviations)

        def tried(fineness: float) -> QuantisationAware:
            aware.steps = {name: deviation / fineness for name, deviation in deviations.items()}
            aware.round()
            return aware

        def too_large(fineness: float) -> bool:
            return stored_bytes(network, tried(fineness).steps) > (rounding.bytes or math.inf)

        def fine_enough(fineness: float) -> bool:
            tried(fineness)
            return before - psnr_of(mean_square()) <= rounding.loss

        if rounding.bytes is not None:
            return tried(FINENESS[max(0, _first(too_large) - 1)])
        return tried(FINENESS[min(_first(fine_enough), len(FINENESS) - 1)])

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Let a block move the rounded weights, then move the exact ones as far and round them."""
        before = [weight.detach().clone() for weight in self.matrices.values()]
        yield
        with torch.no_grad():
            for old, (name, weight) in zip(before, self.matrices.items(), strict=True):
                self.exact[name].add_(weight - old)
        self.round()

    @torch.no_grad()
    def round(self) -> None:
        """Put every weight on the nearest multiple of its step."""
        for name, weight in self.matrices.items():
            weight.copy_((self.exact[name] / self.steps[name]).round() * self.steps[name])


def stored_bytes(network: FourierNetwork, steps: dict[str, Tensor]) -> int:
    """Return the bytes that a network takes in a file, its matrices on quantiser steps by name."""
    stored = on_steps(
        network.arrays(), network.fixed(), {name: float(step) for name, step in steps.items()}
    )
    return stored_size(pack_tensors(stored.tensors))


def _first(holds: Callable[[float], bool]) -> int:
    """Return the number of the first of FINENESS for which `holds`, or their count.

    It must hold for all that follow too.
    """
    low, high = 0, len(FINENESS)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(FINENESS[middle]) else (middle + 1, high)
    return low
