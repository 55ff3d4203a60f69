"""Values to [0, 1] and back, a component at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Normalisation:
    """minimum + (maximum - minimum) * y is the value of y in [0, 1]; constants are held in float64, (C,) each."""

    minimum: Tensor
    maximum: Tensor

    @staticmethod
    def fit(values: Tensor) -> Normalisation:
        """The range of each component of `values` (N, C); of no values, zero to zero."""
        if not len(values):
            nothing = values.new_zeros(values.shape[1], dtype=torch.float64)
            return Normalisation(nothing, nothing)
        low, high = values.aminmax(dim=0)
        return Normalisation(low.double(), high.double())

    @property
    def varying(self) -> Tensor:
        """Bool (C,): components with more than one value; the others are stored as their constant."""
        return self.maximum > self.minimum

    @property
    def spans(self) -> Tensor:
        """The range of each component, float64 (C,)."""
        return self.maximum - self.minimum

    def apply(self, values: Tensor) -> Tensor:
        """Normalised float32 values, in [0, 1] for values inside the range; constant components give 0."""
        span = torch.where(self.varying, self.maximum - self.minimum, torch.ones_like(self.minimum))
        return ((values.double() - self.minimum) / span).float()


def denormalise(outputs: Tensor, minimum: float, maximum: float, clamp: bool = True) -> Tensor:
    """Values float32 of normalised `outputs`: computed in float64, rounded once; with `clamp` within [minimum, maximum]."""
    values = minimum + (maximum - minimum) * in_double(outputs)
    return (values.clamp(minimum, maximum) if clamp else values).float().to(outputs.device)


def in_double(tensor: Tensor) -> Tensor:
    """The tensor in float64, on its device; on the CPU where the device (MPS) has no float64."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
