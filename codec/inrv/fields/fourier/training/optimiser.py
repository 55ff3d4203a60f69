"""What moves the weights: Adam, or Muon on matrices and Adam on the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.training.plan import TrainingPlan
from inrv.support.parallel import in_threads

BETAS = (0.9, 0.99)
MOMENTUM = 0.95
DECAY = 0.02  # of a matrix, a step, times the rate: large weights are worth little and lose more when they are rounded
# Newton-Schulz of degree 5, whose steps drive every singular value towards 1: Jordan et al. 2024, "Muon: an optimizer for
# hidden layers in neural networks".
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LARGE_MATRIX = 1 << 15  # weights: to make one orthogonal takes milliseconds
MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq"}  # Adam's, as torch names them


class Optimiser:
    """Moves the weights of a field by their gradients, in place."""

    def __init__(
        self,
        field: FourierNetwork,
        plan: TrainingPlan,
        precision: torch.dtype,
        compiled: bool,
        in_parts: bool,
    ) -> None:
        matrices = field.hidden() if plan.optimiser == "muon" else {}
        self.rest = {
            name: weight for name, weight in field.named_parameters() if name not in matrices
        }
        self.adam = Adam(list(self.rest.values()), plan.rate)
        self.muon = Muon(matrices, plan.muon_rate, precision, compiled, in_parts)

    def step(self, share: float) -> None:
        """One step at `share` of the highest learning rates; the gradients are used up."""
        self.adam.step(share)
        self.muon.step(share)

    def state(self) -> dict[str, Tensor]:
        """Everything that is remembered between two steps, by kind and name of the weight."""
        adam = {
            f"{kind}.{name}": m
            for kind, ms in self.adam.moments().items()
            for name, m in zip(self.rest, ms, strict=True)
        }
        return adam | {f"momentum.{name}": momentum for name, momentum in self.muon.momenta.items()}

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Remember what `state` gave after `steps` steps."""
        self.adam.load(
            {kind: [state[f"{kind}.{name}"] for name in self.rest] for kind in MOMENTS}, steps
        )
        for name, momentum in self.muon.momenta.items():
            momentum.copy_(state[f"momentum.{name}"])


class Adam:
    """torch's, fused where it can be."""

    def __init__(self, weights: Sequence[nn.Parameter], rate: float) -> None:
        self.rate, self.weights = rate, weights
        fused = weights[0].device.type in ("cpu", "cuda")
        self.adam = torch.optim.Adam(weights, lr=rate, betas=BETAS, fused=fused)

    def step(self, share: float) -> None:
        """One step; the gradients are used up."""
        for group in self.adam.param_groups:
            group["lr"] = self.rate * share
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def moments(self) -> dict[str, list[Tensor]]:
        """First and second moments of every weight, zero before the first step."""
        states = [self.adam.state[weight] for weight in self.weights]
        zeros = [torch.zeros_like(weight) for weight in self.weights]
        return {
            kind: [state.get(key, zero) for state, zero in zip(states, zeros, strict=True)]
            for kind, key in MOMENTS.items()
        }

    def load(self, moments: dict[str, list[Tensor]], steps: int) -> None:
        """The moments after `steps` steps."""
        state = {
            number: {
                "step": torch.tensor(float(steps), dtype=torch.float32),
                **{MOMENTS[kind]: tensors[number] for kind, tensors in moments.items()},
            }
            for number in range(len(self.weights))
        }
        self.adam.load_state_dict(
            {"state": state, "param_groups": self.adam.state_dict()["param_groups"]}
        )


class Muon:
    """Momentum, made orthogonal: matrices of one shape at once, or `in_parts` large ones each by a worker.

    torch's own, since 2.9, takes one matrix after another.
    """

    def __init__(
        self,
        matrices: dict[str, nn.Parameter],
        rate: float,
        precision: torch.dtype,
        compiled: bool,
        in_parts: bool,
    ) -> None:
        self.rate, self.precision, self.in_parts = rate, precision, in_parts
        self.matrices = matrices
        self.momenta = {name: torch.zeros_like(matrix) for name, matrix in matrices.items()}
        self.orthogonal: Callable[[Tensor], Tensor] = (
            torch.compile(orthogonal) if compiled else orthogonal
        )

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One step; the gradients are used up."""
        if not self.matrices:
            return
        weights: list[Tensor] = list(self.matrices.values())
        gradients = [self._gradient(matrix) for matrix in self.matrices.values()]
        momenta = list(self.momenta.values())
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        directions = self._directions(list(torch._foreach_lerp(gradients, momenta, MOMENTUM)))
        torch._foreach_mul_(weights, 1 - self.rate * share * DECAY)
        for weight, direction in zip(weights, directions, strict=True):
            weight.add_(
                direction,
                alpha=-self.rate * share * math.sqrt(max(1.0, len(weight) / weight.shape[1])),
            )

    def _directions(self, moves: list[Tensor]) -> list[Tensor]:
        lower = [move.to(self.precision) for move in moves]
        if self.in_parts and max(map(torch.numel, lower)) >= LARGE_MATRIX:
            return in_threads(orthogonal, lower, lower[0].device)
        found: dict[int, Tensor] = {}
        for shape in dict.fromkeys(move.shape for move in lower):
            alike = [place for place, move in enumerate(lower) if move.shape == shape]
            found |= zip(
                alike,
                self.orthogonal(torch.stack([lower[place] for place in alike])).unbind(),
                strict=True,
            )
        return [found[place] for place in range(len(lower))]

    @staticmethod
    def _gradient(matrix: nn.Parameter) -> Tensor:
        gradient, matrix.grad = matrix.grad, None
        assert gradient is not None
        return gradient


def orthogonal(moves: Tensor) -> Tensor:
    """About U V^T of every matrix U S V^T of `moves` (..., rows, columns), in its dtype."""
    a, b, c = COEFFICIENTS
    tall = moves.shape[-2] > moves.shape[-1]
    x: Tensor = moves.mT if tall else moves
    x = x / (torch.linalg.matrix_norm(x.float(), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
