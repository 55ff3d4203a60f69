"""Dense arrays to sparse grids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inrv.errors import OptionError
from inrv.grids.grid import Grid, LeafValues
from inrv.grids.topology import LEAF_EDGE, LEAF_VOXELS, Topology
from inrv.grids.transform import Transform
from inrv.undisturbed import undisturbed


@undisturbed()
def sparse_grid(
    array: Tensor,
    name: str = "density",
    transform: Transform = Transform(),
    background: float | Sequence[float] = 0.0,
    active: Tensor | None = None,
) -> Grid:
    """The grid of a dense array, (X, Y, Z) or (X, Y, Z, 3), whose voxel [0, 0, 0] is index-space (0, 0, 0).

    `active`, bool (X, Y, Z), says which voxels are active; by default those that differ from `background`. Inactive
    voxels take the background. Raises OptionError for other shapes.
    """
    values = array.detach().to("cpu", torch.float32)
    values = values[..., None] if values.ndim == 3 else values
    if values.ndim != 4 or values.shape[3] not in (1, 3) or 0 in values.shape:
        raise OptionError(f"array shape {tuple(array.shape)} is not (X, Y, Z) or (X, Y, Z, 3)")
    components = values.shape[3]
    outside = values.new_tensor(background).reshape(-1).expand(components).clone()
    mask = (values != outside).any(dim=3) if active is None else active.detach().to("cpu", torch.bool)
    if mask.shape != values.shape[:3]:
        raise OptionError(f"active mask shape {tuple(mask.shape)} is not the array's {tuple(values.shape[:3])}")
    origins, blocks, masks = _cut(values, mask)
    keep = masks.any(dim=1)
    topology = Topology.from_leaves(origins[keep], masks[keep])
    order = Topology.order_of(origins[keep])
    return Grid(
        name=name,
        value_type="float" if components == 1 else "vec3s",
        background=outside,
        topology=topology,
        values=blocks[keep][order][masks[keep][order]],
        tile_values=values.new_empty((0, components)),
        inactive=LeafValues.none(components),
        transform=transform,
        grid_class="fog volume" if components == 1 else "unknown",
    )


def _cut(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Leaf origins (L, 3), values (L, 512, C) and masks (L, 512) of the whole array, padded to whole leaves."""
    x, y, z = (-(-size // LEAF_EDGE) for size in mask.shape)
    wide = values.new_zeros((x * LEAF_EDGE, y * LEAF_EDGE, z * LEAF_EDGE, 1 + values.shape[3]))
    wide[: mask.shape[0], : mask.shape[1], : mask.shape[2]] = torch.cat([mask[..., None].float(), values], dim=3)
    cubes = wide.reshape(x, LEAF_EDGE, y, LEAF_EDGE, z, LEAF_EDGE, -1).permute(0, 2, 4, 1, 3, 5, 6)
    blocks = cubes.reshape(x * y * z, LEAF_VOXELS, -1)
    cells = [torch.arange(count, device=mask.device) for count in (x, y, z)]
    origins = torch.cartesian_prod(*cells).reshape(-1, 3) * LEAF_EDGE
    return origins, blocks[..., 1:], blocks[..., 0] != 0
