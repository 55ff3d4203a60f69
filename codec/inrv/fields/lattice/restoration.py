"""The second network: it reads the decoded neighbourhood on all sides and moves each value by at most a step.

A voxel whose inputs from its neighbours are all 0, values as its own or none there, stays as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from inrv.fields.lattice.constants import ONE, STEP
from inrv.fields.lattice.context import Channel, Pairs, packed
from inrv.fields.lattice.kernels import neighbourhoods
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.order import AROUND, FACES
from inrv.fields.lattice.traversal import Batch, Setting

KINDS = 4  # voxels of the finest level with one, two, three odd axes; all others
INPUTS = 2 * len(AROUND) + 2 * len(FACES) + KINDS + 1
FARTHEST = STEP  # that a value is moved by
PART = 1 << 16  # voxels at a time
REGIONS = 2  # at a time


def smoothing_inputs(values: Tensor, places: Tensor, channel: Channel) -> tuple[Tensor, Tensor]:
    """Inputs int8 (n, INPUTS) for the voxels at flat `places` (n,) of `values` (B, x, y, z), MISSING outside; and bool
    (n,) where those from the neighbours are all 0."""
    make = _inputs_compiled if values.device.type == "cpu" else inputs_in_tensors
    return make(values, places, channel)


def _inputs_compiled(values: Tensor, places: Tensor, channel: Channel) -> tuple[Tensor, Tensor]:
    inputs = torch.empty(len(places), INPUTS, dtype=torch.int8)
    even = torch.empty(len(places), dtype=torch.bool)
    distances = np.array(_distances(values))  # the faces come first
    arrays = (values.reshape(-1).numpy(), places.numpy(), values.shape[2], values.shape[3], distances, len(FACES))
    neighbourhoods(*arrays, channel.background, inputs.numpy(), even.numpy())
    return inputs, even


def _distances(values: Tensor) -> list[int]:
    _, _, y_edge, z_edge = values.shape
    return [(x * y_edge + y) * z_edge + z for x, y, z in AROUND]


def inputs_in_tensors(values: Tensor, places: Tensor, channel: Channel) -> tuple[Tensor, Tensor]:
    """`smoothing_inputs` for devices other than CPUs."""
    flattened = values.reshape(-1)
    own = flattened[places]
    pairs = Pairs.at(flattened, places, _distances(values))
    sums, slopes = pairs.bends(own)
    faces = torch.cat([side[: len(FACES)] for side in pairs.there])
    _, _, y, z = values.shape
    odd = (places & 1) + ((places // z) & 1) + ((places // (y * z)) & 1)  # edges are even
    kinds = torch.stack([odd == kind for kind in (1, 2, 3, 0)])
    level = ((own - channel.background).clamp(-16 * STEP, 16 * STEP) * 8) // STEP
    # A pair that departs by a step of 128 units on either side is 32 as an input.
    inputs = [sums >> 3, slopes >> 3, faces * ONE, kinds * ONE, level[None]]
    found = packed(inputs)
    return found, ~found[:, : 2 * len(AROUND)].any(dim=1)


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
        frame = batch.window.frame(0)
        rows = frame.take(batch.rows, batch.window, -1)
        values = torch.where(rows >= 0, decoded[rows.clamp_min(0).long()], batch.begin(rows, frame))
        places = (rows.reshape(-1) >= 0).nonzero()[:, 0]
        places = places[torch.rand(len(places), generator=generator, dtype=torch.float32) < share]
        own = rows.reshape(-1)[places].long()
        inputs.append(smoothing_inputs(values, places, channel)[0])
        errors.append((targets[own] - decoded[own]).float() / STEP)
    return torch.cat(inputs), torch.cat(errors)


def smoothed(values: Tensor, places: Tensor, channel: Channel, network: IntegerNetwork) -> Tensor:
    """The moved values int32 (n,) of the voxels at flat `places` (n,)."""
    results = []
    for part in places.split(PART):
        inputs, even = smoothing_inputs(values, part, channel)
        moved = (network(inputs)[:, 0] + 8) >> 4  # * STEP / SUM_ONE, rounded half up
        correction = moved.clamp(-FARTHEST, FARTHEST).masked_fill(even, 0)
        results.append((values.reshape(-1)[part] + correction).clamp(0, channel.top))
    return torch.cat(results) if results else values.new_empty(0)
