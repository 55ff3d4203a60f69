"""Training samples: coordinates, normalised values, and which of these count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inrv.grids import Grid, Normalisation, Topology, unpack_masks

PART = 1 << 13  # leaves at a time


@dataclass(frozen=True, eq=False)
class Samples:
    """Holds what a network is trained on, on one device.

    coordinates: int32 (N, axes) index space, and the place in time where there are four axes
    targets: float32 (N, D) normalised values, one column for each varying component
    counted: bool (N, D) False where the component's grid is not active and its value does not
        matter; None: all count
    """

    coordinates: Tensor
    targets: Tensor
    counted: Tensor | None

    def __len__(self) -> int:
        return len(self.coordinates)

    def to(self, device: torch.device) -> Samples:
        """Return the same samples on another device."""
        counted = None if self.counted is None else self.counted.to(device)
        return Samples(self.coordinates.to(device), self.targets.to(device), counted)


def join_in_time(parts: Sequence[tuple[int, Sequence[int], Samples]], columns: int) -> Samples:
    """Return the samples of several moments as those of one network that knows time.

    parts: of each moment its place in time, the columns that its targets become, and its samples
    columns: int outputs of the network
    """
    coordinates, targets, counted = [], [], []
    for place, own, samples in parts:
        count = len(samples)
        coordinates.append(
            torch.cat(
                [samples.coordinates, torch.full((count, 1), place, dtype=torch.int32)], dim=1
            )
        )
        wide = torch.zeros(count, columns, dtype=torch.float32)
        known = torch.zeros(count, columns, dtype=torch.bool)
        wide[:, list(own)] = samples.targets
        known[:, list(own)] = True if samples.counted is None else samples.counted
        targets.append(wide)
        counted.append(known)
    known = torch.cat(counted)
    return Samples(torch.cat(coordinates), torch.cat(targets), None if known.all() else known)


def gather_samples(
    grids: Sequence[Grid],
    chosen: Topology,
    normalisations: Sequence[Normalisation],
    active_only: bool,
) -> Samples:
    """Gather the samples at the voxels of a selection, on the CPU.

    grids: grids to be coded together
    chosen: the selection
    normalisations: normalisation of each grid
    active_only: whether a component counts only where its own grid is active
    """
    coordinates, targets, counted = [], [], []
    for first in range(0, chosen.leaf_count, PART):
        last = min(first + PART, chosen.leaf_count)
        origins, mask = chosen.leaf_origins[first:last], unpack_masks(chosen.leaf_masks[first:last])
        coordinates.append(chosen.coordinates(first, last))
        columns, active = [], []
        for grid, normalisation in zip(grids, normalisations, strict=True):
            varying = normalisation.varying
            columns.append(normalisation.apply(grid.blocks(origins)[mask])[:, varying])
            leaf_active = grid.topology.masks_of(grid.topology.find_leaves(origins))[mask]
            active.append(np.repeat(leaf_active[:, None], int(varying.sum()), axis=1))
        targets.append(np.concatenate(columns, axis=1))
        counted.append(np.concatenate(active, axis=1))
    joined = np.concatenate(counted)
    some = torch.from_numpy(joined) if active_only and not joined.all() else None
    return Samples(
        torch.from_numpy(np.concatenate(coordinates)),
        torch.from_numpy(np.concatenate(targets)),
        some,
    )
