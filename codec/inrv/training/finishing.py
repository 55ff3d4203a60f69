"""The end of training on rounded weights, so that little is lost when they are stored on few bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

FINISHING = 0.25  # of the run


class Finishing:
    """Keeps the matrices of a field at multiples of a step each, and what they would be without in `exact`.

    The gradient is taken at the rounded weights and moves the exact ones (a straight-through estimate).
    """

    def __init__(self, matrices: dict[str, nn.Parameter], steps: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
        self.matrices, self.steps, self.exact = matrices, steps, exact
        self.round()

    @staticmethod
    def begin(matrices: dict[str, nn.Parameter], coarsest: float) -> Finishing:
        """From the weights as they are, with steps of each matrix's standard deviation over `coarsest`."""
        steps = {name: weight.detach().std() / coarsest for name, weight in matrices.items()}
        return Finishing(matrices, steps, {name: weight.detach().clone() for name, weight in matrices.items()})

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
