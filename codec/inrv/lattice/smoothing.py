"""The second network: it reads the decoded neighbourhood on all sides and moves each value by at most half a step.

A voxel whose inputs from its neighbours are all 0, values less than 4 units above its own or none there, stays as it is.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from inrv.lattice.context import MISSING, STEP, Channel
from inrv.lattice.network import LARGEST, ONE, SUM_ONE, IntegerNetwork
from inrv.lattice.regions import at_level
from inrv.lattice.steps import AROUND, FACES, Parity, flat
from inrv.lattice.walk import Batch, Setting

KINDS = 4  # voxels of the finest level with one, two, three odd axes; all others
INPUTS = len(AROUND) + len(FACES) + KINDS + 1
PART = 1 << 16  # voxels at a time
REGIONS = 2  # at a time
LEVEL = Parity((0, 0, 0), 0)


def smoothing_inputs(values: Tensor, places: Tensor, channel: Channel) -> Tensor:
    """Inputs float32 (n, INPUTS) for the voxels at flat `places` (n,) of `values` (B, edge, edge, edge), MISSING outside."""
    edge, flattened = values.shape[1], values.reshape(-1)
    own = flattened[places]
    around = flattened[places[:, None] + _distances(places.device)]
    present = around != MISSING
    differences = torch.where(present, (around - own[:, None]) >> 2, 0)  # a step is 128 units, and 32 as an input
    odd = sum((places // edge**axis) & 1 for axis in range(3))  # the border is even
    kinds = torch.stack([odd == kind for kind in (1, 2, 3, 0)], dim=1)
    level = ((own - channel.background).clamp(-16 * STEP, 16 * STEP) * 8) // STEP
    inputs = [differences, present[:, : len(FACES)] * ONE, kinds * ONE, level[:, None]]
    return torch.cat([part.to(torch.float32) for part in inputs], dim=1).clamp_(-LARGEST, LARGEST)


def smoothing_samples(
    setting: Setting,
    corners: Tensor,
    decoded: Tensor,
    targets: Tensor,
    channel: Channel,
    share: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Inputs int8 (n, INPUTS) and errors float32 (n,), in steps, of a share of the voxels of the regions at `corners`.

    decoded, targets  int32 (N,)  by row
    """
    inputs, errors = [], []
    for part in corners.split(REGIONS):
        batch = Batch.of(setting, part, targets[:0], targets[:0])
        rows = at_level(batch.rows, 0)
        values = torch.where(rows >= 0, decoded[rows.clamp_min(0).long()], batch.begin(rows, 0))
        places = (rows.reshape(-1) >= 0).nonzero()[:, 0]
        places = places[torch.rand(len(places), generator=generator) < share]
        own = rows.reshape(-1)[places].long()
        inputs.append(smoothing_inputs(values, places, channel).to(torch.int8))
        errors.append((targets[own] - decoded[own]).float() / STEP)
    return torch.cat(inputs), torch.cat(errors)


def smoothed(values: Tensor, places: Tensor, channel: Channel, network: IntegerNetwork) -> Tensor:
    """The moved values int32 (n,) of the voxels at flat `places` (n,)."""
    results = []
    for part in places.split(PART):
        inputs = smoothing_inputs(values, part, channel)
        flat = (inputs[:, : len(AROUND)] == 0).all(dim=1)
        moved = network(inputs)[:, 0] * (STEP / SUM_ONE) + 0.5
        correction = moved.floor().clamp(-STEP // 2, STEP // 2).to(torch.int32).masked_fill(flat, 0)
        results.append((values.reshape(-1)[part] + correction).clamp(0, channel.top))
    return torch.cat(results) if results else values.new_empty(0)


@lru_cache(maxsize=4)
def _distances(device: torch.device) -> Tensor:
    return torch.tensor(flat(LEVEL.turned(AROUND), 0), device=device)
