"""The seam between a network and everything that trains, stores or evaluates one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Field(nn.Module, ABC):
    """A function from index space to normalised values, made of tensors.

    Calling a field with index-space coordinates, float32 (N, 3), gives float32 (N, outputs); on the voxels it was
    trained on the outputs lie about [0, 1]. Selection, training, container and decoding know no more than this class.
    """

    kind: str
    outputs: int

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """JSON-ready scalars and lists from which, with `tensors`, the field is built again."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything learned or drawn, by name, float32 on the field's device."""

    @abstractmethod
    def fixed(self) -> frozenset[str]:
        """Names of the tensors that are stored as they are and never quantised coarsely."""

    @abstractmethod
    def hidden(self) -> dict[str, nn.Parameter]:
        """The matrices of all layers but the last, by name: nearly all of the field's bytes."""

    @property
    @abstractmethod
    def floats_per_voxel(self) -> int:
        """About how many float32 values the evaluation of one voxel holds at a time, without gradients."""

    @abstractmethod
    def forward(self, coordinates: Tensor) -> Tensor:
        """Normalised values (N, outputs) at index-space coordinates (N, 3)."""

    def __call__(self, coordinates: Tensor) -> Tensor:
        """`forward`, with torch's hooks."""
        outputs: Tensor = super().__call__(coordinates)
        return outputs

    @property
    def weight_count(self) -> int:
        """Weights and biases of the network: the divisor of the paper's theoretical compression."""
        return sum(parameter.numel() for name, parameter in self.named_parameters() if name not in self.fixed())
