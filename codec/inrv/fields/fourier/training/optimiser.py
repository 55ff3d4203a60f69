"""The optimisers: Adam, or Muon on matrices and Adam on the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.training.plan import TrainingPlan
from inrv.fields.fourier.training.torch_private import blend_each_, blended, scale_each_
from inrv.support.parallel import in_threads

BETAS = (0.9, 0.99)
MOMENTUM = 0.95
# The share that a matrix loses in a step at a rate of 1: large weights are worth little, and lose
# more when they are rounded.
# measured: docs/lab-notes.md#training
DECAY = 0.02
# Newton-Schulz of degree 5, which drives every singular value towards 1: Jordan et al. 2024, "Muon:
# an optimizer for hidden layers in neural networks".
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# Weights of a matrix that is worth a worker of its own: its direction takes milliseconds.
# measured: docs/lab-notes.md#training
LARGE_MATRIX = 1 << 15
Number = float | Tensor  # a tensor is on a GPU, where a graph reads it
MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq"}  # Adam's, as torch names them


class Optimiser:
    """Moves the weights of a network by their gradients, in place.

    rest: the parameters that Adam moves, by name
    adam: the optimiser of the rest
    muon: the optimiser of the matrices, which may be none
    """

    def __init__(
        self,
        network: FourierNetwork,
        plan: TrainingPlan,
        precision: torch.dtype,
        compiled: bool,
        in_parts: bool,
    ) -> None:
        matrices = network.hidden() if plan.optimiser == "muon" else {}
        self.rest = {
            name: weight for name, weight in network.named_parameters() if name not in matrices
        }
        self.adam = Adam(list(self.rest.values()), plan.rate)
        self.muon = Muon(matrices, plan.muon_rate, precision, compiled, in_parts)

    def set_rates(self, share: float) -> None:
        """Set the learning rates to a share of the highest ones."""
        self.adam.set_rate(share)
        self.muon.set_rate(share)

    def step(self) -> None:
        """Make one step, and drop the gradients."""
        self.adam.step()
        self.muon.step()

    def state(self) -> dict[str, Tensor]:
        """Return all that is kept between two steps, by kind and name of the weight."""
        adam = {
            f"{kind}.{name}": moment
            for kind, moments in self.adam.moments().items()
            for name, moment in zip(self.rest, moments, strict=True)
        }
        return adam | {f"momentum.{name}": momentum for name, momentum in self.muon.momenta.items()}

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Take up a state that `state` returned after so many steps."""
        self.adam.load(
            {kind: [state[f"{kind}.{name}"] for name in self.rest] for kind in MOMENTS}, steps
        )
        for name, momentum in self.muon.momenta.items():
            momentum.copy_(state[f"momentum.{name}"])


class Adam:
    """Adam as torch has it, fused where it can be.

    On CUDA and ROCm its learning rate is in memory of the device, where a graph reads it.

    rate: float highest learning rate
    weights: the parameters that it moves
    """

    def __init__(self, weights: Sequence[nn.Parameter], rate: float) -> None:
        self.rate, self.weights = rate, weights
        fused = weights[0].device.type in ("cpu", "cuda")
        device = weights[0].device
        on_gpu = device.type == "cuda"
        self.adam = torch.optim.Adam(
            weights,
            lr=torch.full((), rate, dtype=torch.float32, device=device) if on_gpu else rate,
            betas=BETAS,
            fused=fused,
            capturable=on_gpu,
        )

    def set_rate(self, share: float) -> None:
        """Set the learning rate to a share of the highest one."""
        for group in self.adam.param_groups:
            group["lr"] = changed(group["lr"], self.rate * share)

    def step(self) -> None:
        """Make one step, and drop the gradients."""
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def moments(self) -> dict[str, list[Tensor]]:
        """Return first and second moments of every weight, zero before the first step."""
        states = [self.adam.state[weight] for weight in self.weights]
        zeros = [torch.zeros_like(weight) for weight in self.weights]
        return {
            kind: [state.get(key, zero) for state, zero in zip(states, zeros, strict=True)]
            for kind, key in MOMENTS.items()
        }

    def load(self, moments: dict[str, list[Tensor]], steps: int) -> None:
        """Take up the moments after so many steps."""
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
    """Moves matrices along their momentum, made orthogonal.

    It takes matrices of one shape at once, or, `in_parts`, each large one by a worker. The Muon of
    torch, since 2.9, takes one matrix after another.

    rate: float highest learning rate
    kept: what a matrix keeps of itself in a step; a number, or a tensor on a GPU
    moved: how far a matrix is moved along its direction; likewise
    precision: torch.dtype that momenta are made orthogonal in
    in_parts: whether workers take large matrices
    matrices: the parameters that it moves, by name
    momenta: momentum of each matrix, by name
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
        self.kept: Number = 1.0
        self.moved: Number = rate
        if any(matrix.device.type == "cuda" for matrix in matrices.values()):
            device = next(iter(matrices.values())).device
            self.kept, self.moved = torch.ones(2, dtype=torch.float32, device=device).unbind()
        self.momenta = {name: torch.zeros_like(matrix) for name, matrix in matrices.items()}
        self.orthogonal: Callable[[Tensor], Tensor] = (
            torch.compile(orthogonal) if compiled else orthogonal
        )

    def set_rate(self, share: float) -> None:
        """Set the learning rate to a share of the highest one."""
        self.kept = changed(self.kept, 1 - self.rate * share * DECAY)
        self.moved = changed(self.moved, self.rate * share)

    @torch.no_grad()
    def step(self) -> None:
        """Make one step, and drop the gradients."""
        if not self.matrices:
            return
        weights: list[Tensor] = list(self.matrices.values())
        gradients = [self._gradient(matrix) for matrix in self.matrices.values()]
        momenta = list(self.momenta.values())
        blend_each_(momenta, gradients, 1 - MOMENTUM)
        directions = self._directions(blended(gradients, momenta, MOMENTUM))
        scale_each_(weights, self.kept)
        for weight, direction in zip(weights, directions, strict=True):
            taller = math.sqrt(max(1.0, len(weight) / weight.shape[1]))
            if isinstance(self.moved, Tensor):
                weight.sub_(direction.float() * (taller * self.moved))
            else:
                weight.add_(direction, alpha=-self.moved * taller)

    def _directions(self, moves: list[Tensor]) -> list[Tensor]:
        """Make moves orthogonal."""
        lower = [move.to(self.precision) for move in moves]
        if self.in_parts and max(map(torch.numel, lower)) >= LARGE_MATRIX:
            return in_threads(orthogonal, lower, lower[0].device)
        found: dict[int, Tensor] = {}
        for shape in dict.fromkeys(move.shape for move in lower):
            alike = [place for place, move in enumerate(lower) if move.shape == shape]
            stack = self.orthogonal(torch.stack([lower[place] for place in alike]))
            found |= zip(alike, stack.unbind(), strict=True)
        return [found[place] for place in range(len(lower))]

    @staticmethod
    def _gradient(matrix: nn.Parameter) -> Tensor:
        gradient, matrix.grad = matrix.grad, None
        assert gradient is not None
        return gradient


def changed(number: Number, value: float) -> Number:
    """Return `value`; where `number` is a tensor, that tensor, which now has the value."""
    return number.fill_(value) if isinstance(number, Tensor) else value


def orthogonal(moves: Tensor) -> Tensor:
    """Return about U V^T of every matrix U S V^T.

    moves: (..., rows, columns) matrices, in any dtype, which the result has too
    """
    a, b, c = COEFFICIENTS
    tall = moves.shape[-2] > moves.shape[-1]
    x: Tensor = moves.mT if tall else moves
    x = x / (torch.linalg.matrix_norm(x.float(), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
