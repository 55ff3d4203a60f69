"""Training samples: coordinates, normalised values and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.grids import Grid, Topology
from inrv.grids.normalisation import Normalisation
from inrv.grids.topology import unpack_masks

_PART = 1 << 13


@dataclass(frozen=True, eq=False)
class Samples:
    """What a field is trained on, on one device.

    coordinates  int32 (N, 3)    index space
    targets      float32 (N, D)  normalised values, one column a varying component
    counted      bool (N, D)     False where the component's grid is not active and nobody will ask; None: all count
    """

    coordinates: Tensor
    targets: Tensor
    counted: Tensor | None

    def __len__(self) -> int:
        return len(self.coordinates)

    def to(self, device: torch.device) -> Samples:
        """The same samples on another device."""
        counted = None if self.counted is None else self.counted.to(device)
        return Samples(self.coordinates.to(device), self.targets.to(device), counted)


def gather_samples(
    grids: Sequence[Grid], chosen: Topology, normalisations: Sequence[Normalisation], active_only: bool
) -> Samples:
    """The samples at the voxels of `chosen`; with `active_only` a component counts where its own grid is active."""
    coordinates, targets, counted = [], [], []
    for first in range(0, chosen.leaf_count, _PART):
        last = min(first + _PART, chosen.leaf_count)
        origins, mask = chosen.leaf_origins[first:last], unpack_masks(chosen.leaf_masks[first:last])
        coordinates.append(chosen.coordinates(first, last))
        columns, active = [], []
        for grid, normalisation in zip(grids, normalisations, strict=True):
            varying = normalisation.varying
            columns.append(normalisation.apply(grid.blocks(origins)[mask])[:, varying])
            leaf_active = grid.topology.masks_of(grid.topology.find_leaves(origins))[mask]
            active.append(leaf_active[:, None].expand(-1, int(varying.sum())))
        targets.append(torch.cat(columns, dim=1))
        counted.append(torch.cat(active, dim=1))
    joined = torch.cat(counted)
    keep_mask = active_only and not bool(joined.all())
    return Samples(torch.cat(coordinates), torch.cat(targets), joined if keep_mask else None)
