"""Quantisation-aware training: its end runs on rounded weights, so that little is lost when they are stored on few bits."""

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

SHARE = 0.25  # of a run that rounds
FINENESS = tuple(
    2 ** (eighth / 8) for eighth in range(8, 57)
)  # steps in a matrix's standard deviation: 2 to 128


class QuantisationAware:
    """Keeps the matrices of a field at multiples of a step each, and what they would be without in `exact`.

    The gradient is taken at the rounded weights and moves the exact ones (a straight-through estimate).
    """

    def __init__(self, matrices: dict[str, nn.Parameter], steps: dict[str, Tensor]) -> None:
        self.matrices, self.steps = matrices, steps
        self.exact = {name: weight.detach().clone() for name, weight in matrices.items()}
        self.round()

    @staticmethod
    def begin(
        field: FourierNetwork, rounding: WeightQuantisation, mean_square: Callable[[], float]
    ) -> QuantisationAware:
        """With steps in proportion to the standard deviations, as coarse as `rounding` says.

        `mean_square` gives the error of the field as its weights are.
        """
        before = psnr_of(mean_square())
        deviations = {name: weight.detach().std() for name, weight in field.hidden().items()}
        aware = QuantisationAware(field.hidden(), deviations)

        def tried(fineness: float) -> QuantisationAware:
            aware.steps = {name: deviation / fineness for name, deviation in deviations.items()}
            aware.round()
            return aware

        def too_large(fineness: float) -> bool:
            return stored_bytes(field, tried(fineness).steps) > (rounding.bytes or math.inf)

        def fine_enough(fineness: float) -> bool:
            tried(fineness)
            return before - psnr_of(mean_square()) <= rounding.loss

        if rounding.bytes is not None:
            return tried(FINENESS[max(0, _first(too_large) - 1)])
        return tried(FINENESS[min(_first(fine_enough), len(FINENESS) - 1)])

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Whatever moves the rounded weights meanwhile moves the exact ones as far, and they are rounded again."""
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
    """What the tensors of a network take in a file, its matrices on `steps`."""
    stored = on_steps(
        network.arrays(), network.fixed(), {name: float(step) for name, step in steps.items()}
    )
    return stored_size(pack_tensors(stored.tensors))


def _first(holds: Callable[[float], bool]) -> int:
    """The number of the first of FINENESS for which `holds`, as it does from there on; their count where there is none."""
    low, high = 0, len(FINENESS)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(FINENESS[middle]) else (middle + 1, high)
    return low
