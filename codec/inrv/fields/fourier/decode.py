"""The outputs of a fourier field, evaluated where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inrv.fields.fourier.evaluation import decode_active, evaluate
from inrv.fields.fourier.field import Field
from inrv.grids import Topology


class FieldOutputs:
    """Of a field, evaluated where asked; without gradients with matrices multiplied in `precision`."""

    def __init__(self, field: Field, precision: torch.dtype) -> None:
        self.field, self.precision = field, precision
        self.weights = field.weight_count

    def at(self, coordinates: Tensor, columns: Sequence[int]) -> Tensor:
        """The field's outputs, differentiable."""
        return evaluate(self.field, coordinates, columns, precision=self.precision)

    def active(self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]) -> list[Tensor]:
        """The field's outputs; leaves that grids share are evaluated once."""
        return decode_active(self.field, topologies, columns, self.precision)
