"""Dense arrays to sparse grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.arrays import as_array
from inrv.errors import OptionError
from inrv.grids.grid import Grid, LeafValues
from inrv.grids.metadata import MetaValue
from inrv.grids.rounding import BeyondFloat32, round_numbers
from inrv.grids.topology import LEAF_EDGE, LEAF_VOXELS, Topology
from inrv.grids.transform import Transform
from inrv.undisturbed import undisturbed

CLASSES = ("unknown", "fog volume", "level set", "staggered")
VECTOR_TYPES = ("invariant", "covariant", "covariant normalize", "contravariant relative", "contravariant absolute")


@undisturbed()
def sparse_grid(
    array: Any,
    name: str = "density",
    transform: Transform = Transform(),
    background: Any = 0.0,
    active: Any = None,
    *,
    grid_class: str | None = None,
    vector_type: str = "invariant",
    metadata: Mapping[str, Any] | None = None,
) -> Grid:
    """The grid of a dense array, (X, Y, Z) or (X, Y, Z, 3), whose voxel [0, 0, 0] is index-space (0, 0, 0).

    array        real numbers in anything that turns into a NumPy array; see `inrv.arrays.as_array`
    background   one number, or one a component, of all inactive voxels
    active       bool (X, Y, Z): which voxels are active. By default those that are not masked, or, of an array without a
                 mask, those that differ from `background`. Masked voxels are inactive, whatever lies beneath.
    grid_class   'fog volume' (the default of scalars), 'level set', 'staggered' or 'unknown' (the default of vectors)
    vector_type  how vectors transform, in OpenVDB's words
    metadata     by name, values of Python or `MetaValue`
    Raises OptionError for other shapes, arrays and names, and for numbers beyond float32.
    """
    source = as_array(array, f"grid {name!r}: the array")
    numbers = source[..., None] if source.ndim == 3 else source
    if numbers.ndim != 4 or numbers.shape[3] not in (1, 3) or 0 in numbers.shape:
        raise OptionError(f"grid {name!r}: array shape {source.shape} is not (X, Y, Z) or (X, Y, Z, 3)")
    chosen = _chosen(numbers, active, name)
    values, rounded, outside = _rounded(numbers, background, chosen, name)
    mask = (values != outside).any(axis=3) if chosen is None else chosen
    topology, kept = _cut(torch.from_numpy(values), torch.from_numpy(mask))
    return Grid(
        name=str(name),
        value_type="float" if numbers.shape[3] == 1 else "vec3s",
        background=torch.from_numpy(outside),
        topology=topology,
        values=kept,
        tile_values=kept.new_empty((0, numbers.shape[3])),
        inactive=LeafValues.none(numbers.shape[3]),
        transform=transform,
        grid_class=_one_of(CLASSES, grid_class or ("fog volume" if numbers.shape[3] == 1 else "unknown"), "grid class"),
        vector_type=_one_of(VECTOR_TYPES, vector_type, "vector type"),
        metadata={key: MetaValue.of(value) for key, value in (metadata or {}).items()},
        rounded=rounded,
    )


def _one_of(choices: tuple[str, ...], chosen: str, what: str) -> str:
    if chosen not in choices:
        raise OptionError(f"{what} {chosen!r} is not one of {', '.join(choices)}")
    return str(chosen)


def _chosen(numbers: NDArray[Any], active: Any, name: str) -> NDArray[np.bool_] | None:
    """The voxels (X, Y, Z) that the caller says are active, None where the values tell."""
    seen = ~_masked(numbers, name) if isinstance(numbers, np.ma.MaskedArray) else None
    if active is None:
        return seen
    found = as_array(active, f"grid {name!r}: the active mask")
    if found.shape != numbers.shape[:3]:
        raise OptionError(f"grid {name!r}: active mask shape {found.shape} is not the array's {numbers.shape[:3]}")
    wanted = np.asarray(np.ma.filled(found, 0) != 0)
    return wanted if seen is None else wanted & seen


def _masked(numbers: np.ma.MaskedArray[Any, Any], name: str) -> NDArray[np.bool_]:
    """The voxels (X, Y, Z) all of whose components are masked."""
    mask = np.ma.getmaskarray(numbers)
    partly = np.argwhere(mask.any(axis=3) & ~mask.all(axis=3))
    if len(partly):
        raise OptionError(
            f"grid {name!r}: {len(partly):,} voxels have some components masked and others not, the first is "
            f"{tuple(partly[0].tolist())}: mask all three, or none"
        )
    return np.asarray(mask.all(axis=3))


def _rounded(
    numbers: NDArray[Any], background: Any, chosen: NDArray[np.bool_] | None, name: str
) -> tuple[NDArray[np.float32], Any, NDArray[np.float32]]:
    """Values (X, Y, Z, C), how they were rounded, and the background (C,). Raises OptionError for numbers beyond float32."""
    outside = as_array(background, f"grid {name!r}: the background")
    if outside.shape not in ((), (1,), (numbers.shape[3],)):
        raise OptionError(f"grid {name!r}: background {outside.tolist()} is not one number, nor {numbers.shape[3]}")
    try:
        around, _ = round_numbers(np.broadcast_to(outside, (1, numbers.shape[3])))
        return *round_numbers(np.ma.getdata(numbers), chosen), around[0]
    except BeyondFloat32 as error:
        raise OptionError(
            f"grid {name!r}: the {numbers.dtype} {error.number} at voxel {error.index} is beyond float32, which grids hold, "
            "whose largest number is 3.4e38: scale the array, or mask the voxel"
        ) from error


def _cut(values: Tensor, mask: Tensor) -> tuple[Topology, Tensor]:
    """The active voxels of the array, and their values (N, C)."""
    x, y, z = (-(-size // LEAF_EDGE) for size in mask.shape)
    wide = values.new_zeros((x * LEAF_EDGE, y * LEAF_EDGE, z * LEAF_EDGE, 1 + values.shape[3]))
    wide[: mask.shape[0], : mask.shape[1], : mask.shape[2]] = torch.cat([mask[..., None].float(), values], dim=3)
    cubes = wide.reshape(x, LEAF_EDGE, y, LEAF_EDGE, z, LEAF_EDGE, -1).permute(0, 2, 4, 1, 3, 5, 6)
    blocks = cubes.reshape(x * y * z, LEAF_VOXELS, -1)
    cells = [torch.arange(count, device=mask.device) for count in (x, y, z)]
    origins = torch.cartesian_prod(*cells).reshape(-1, 3) * LEAF_EDGE
    masks = blocks[..., 0] != 0
    keep = masks.any(dim=1)
    origins, masks, blocks = origins[keep], masks[keep], blocks[keep]
    order = Topology.order_of(origins)
    return Topology.from_leaves(origins, masks), blocks[..., 1:][order][masks[order]]
