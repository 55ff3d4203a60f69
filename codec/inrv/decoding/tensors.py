"""What a caller who hands in torch tensors gets: tensors on their device, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.decoding.values import GridValues
from inrv.errors import FormatError, OptionError
from inrv.fields.seam import ContinuousOutputs
from inrv.files.nanovdb.layout import skeleton
from inrv.grids import LEAF_VOXELS

if TYPE_CHECKING:
    from inrv.decoding.grid import VolumeGrid


def voxels_on(values: GridValues, device: torch.device, coordinates: NDArray[np.int64]) -> Tensor:
    """Give values float32 (n, C) of voxels at integer coordinates (n, 3), as a tensor.

    It has gradients by the weights of a network.
    """
    if values.outputs.module is None or not torch.is_grad_enabled():
        return torch.from_numpy(values.voxels(coordinates)).to(device)
    template = values.template
    result = torch.from_numpy(template.lookup_outside(coordinates)).to(device)
    rows = template.topology.voxel_rows(coordinates)
    active = np.flatnonzero(rows >= 0)
    if not len(active) or not values.columns:
        return torch.from_numpy(values.voxels(coordinates)).to(device)
    decoded = continuous(
        values, torch.from_numpy(coordinates[active].astype(np.int32)), clamp=True
    ).to(device)
    if len(values.exact_rows):
        at, hit = values.exact_among(rows[active])
        exact = torch.from_numpy(values.exact_values[at]).to(device)
        decoded = decoded.index_put((torch.from_numpy(hit).to(device),), exact)
    return result.index_put((torch.from_numpy(active).to(device),), decoded)


def continuous(values: GridValues, points: Tensor, clamp: bool = False) -> Tensor:
    """Give values float32 (n, C) of a continuous field at points (n, 3), on its device.

    The points are in index space.
    """
    opened = cast(ContinuousOutputs, values.outputs)
    outputs = opened.differentiable(points.to(opened.device), values.columns)
    if clamp and not bool(outputs.isfinite().all()):
        name = f"{values.container.name}: grid {values.entry.name!r}"
        raise FormatError("F3", f"{name}: an output of the field is not finite")
    columns: list[Tensor] = []
    position = 0
    for component in values.entry.components:
        if component.output is None:
            columns.append(outputs.new_full((len(outputs),), component.minimum))
            continue
        columns.append(
            denormalised(outputs[:, position], component.minimum, component.maximum, clamp)
        )
        position += 1
    return torch.stack(columns, dim=1)


def denormalised(outputs: Tensor, minimum: float, maximum: float, clamp: bool) -> Tensor:
    """`inrv.grids.denormalise` of tensors."""
    wide = outputs.double() if outputs.device.type != "mps" else outputs  # which has no float64
    values = minimum + (maximum - minimum) * wide
    return (values.clamp(minimum, maximum) if clamp else values).float()


def interpolated(values: GridValues, points: Tensor, interpolation: Any) -> Tensor:
    """Interpolate values float32 (n, C) at index-space points (n, 3), on their device."""
    found: Tensor = interpolation(
        points, lambda coordinates: voxels_on(values, points.device, coordinates)
    )
    return found.float()


def nanovdb_of(values: GridValues, device: torch.device) -> Tensor:
    """Lay a grid out as NanoVDB does, on a device: uint8 (n,)."""
    bricks = values.gpu_bricks
    if bricks is not None and bricks.device == device:
        blocks = bricks.all_blocks()
    else:
        numbers = values.bricks.numbers_of(np.arange(values.outline.topology.leaf_count))
        held = [brick.blocks for brick in values.bricks.get(numbers)]
        shape = 0, LEAF_VOXELS, values.outline.components
        blocks = torch.from_numpy(np.concatenate([np.zeros(shape, np.float32), *held])).to(device)
    laid = skeleton(values.template)
    buffer = torch.from_numpy(laid.buffer).to(device)
    leaves = buffer[laid.first_leaf :].view(len(blocks), laid.leaf_size)
    ordered = blocks[torch.from_numpy(laid.order).to(device)].contiguous()
    voxels = ordered.flatten(1).view(torch.uint8)
    leaves[:, laid.first_voxel : laid.first_voxel + voxels.shape[1]] = voxels
    return buffer


def fvdb_of(grid: VolumeGrid, fvdb: Any) -> tuple[Any, Tensor]:
    """Make a grid of fVDB, and the values (N,) or (N, 3) of its voxels in its order."""
    matrix, where = grid.transform.array(), f"{grid.volume.container.name}: grid {grid.name!r}"
    edges = np.diag(matrix)[:3]
    if (matrix[:3, :3] != np.diag(edges)).any() or (edges <= 0).any():
        raise OptionError(f"{where}: its axes are not those of world space, as they are in fVDB")
    tiles = grid.active_voxel_count - grid.topology.leaf_voxel_count
    if tiles:
        raise OptionError(f"{where}: {tiles:,} voxels are active in tiles, and fVDB has no tiles")
    device = grid.volume.device
    places = torch.from_numpy(grid.coordinates()).to(device)
    values = torch.from_numpy(grid.values()).to(device)
    found = fvdb.Grid.from_ijk(places, voxel_size=edges.tolist(), origin=matrix[3, :3].tolist())
    ordered = torch.empty_like(values)
    ordered[found.ijk_to_index(places).long()] = values
    return found, ordered


ArrayValues = Callable[[NDArray[np.float64], bool], NDArray[np.float32]]
ArrayGradients = Callable[[NDArray[np.float64]], tuple[NDArray[np.float32], NDArray[np.float64]]]


def differentiable(points: Tensor, with_gradients: ArrayGradients, values: ArrayValues) -> Tensor:
    """Give values float32 (n, C) at points (n, 3), on their device, which have gradients by them.

    with_gradients: gives values (n, C) and their derivatives (n, C, 3)
    values: gives values alone
    """
    if points.requires_grad and torch.is_grad_enabled():
        found: Tensor = _Interpolation.apply(points, with_gradients)  # type: ignore[no-untyped-call]
        return found
    return torch.from_numpy(values(points.detach().cpu().double().numpy(), False)).to(points.device)


class _Interpolation(torch.autograd.Function):
    """Values of arrays as tensors whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, with_gradients: ArrayGradients) -> Tensor:
        values, gradients = with_gradients(points.detach().cpu().double().numpy())
        ctx.save_for_backward(torch.from_numpy(gradients).to(points))
        return torch.from_numpy(values).to(points.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (gradients,) = ctx.saved_tensors
        return (outputs[0][:, :, None].to(gradients) * gradients).sum(dim=1), None
