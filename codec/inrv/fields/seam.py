"""All that encoding and decoding know of a field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from inrv.grids import Topology


class Outputs(Protocol):
    """Normalised outputs at voxels; a grid's varying components are some of its columns."""

    @property
    def weights(self) -> int:
        """Products that one voxel takes, about."""

    def at(self, coordinates: Tensor, columns: Sequence[int]) -> Tensor:
        """Outputs (n, len(columns)) at active leaf voxels int32 (n, 3); of a field also between them, at float32 (n, 3)."""

    def active(self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]) -> list[Tensor]:
        """Outputs on the active leaf voxels of several grids: for each, (voxels, len(columns[i]))."""


class NoOutputs:
    """Of a file without a field: no grid has a component that varies."""

    weights = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def at(self, coordinates: Tensor, columns: Sequence[int]) -> Tensor:
        """Nothing of every voxel."""
        return torch.empty((len(coordinates), 0), dtype=torch.float32, device=self.device)

    def active(self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]) -> list[Tensor]:
        """Nothing of every voxel."""
        return [torch.empty((topology.leaf_voxel_count, 0), dtype=torch.float32, device=self.device) for topology in topologies]
