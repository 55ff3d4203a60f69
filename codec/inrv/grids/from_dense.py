"""Dense arrays to sparse grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.errors import OptionError
from inrv.grids.blocks import LEAF_EDGE, LEAF_VOXELS
from inrv.grids.grid import Grid, LeafValues
from inrv.grids.metadata import check_text, metadata_of
from inrv.grids.rounding import BeyondFloat32, Rounding, round_numbers
from inrv.grids.topology import Topology
from inrv.grids.transform import Transform
from inrv.support.arrays import as_array, as_triple
from inrv.support.undisturbed import undisturbed

CLASSES = ("unknown", "fog volume", "level set", "staggered")
VECTOR_TYPES = (
    "invariant",
    "covariant",
    "covariant normalize",
    "contravariant relative",
    "contravariant absolute",
)


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
    origin: Any = (0, 0, 0),
) -> Grid:
    """Make the grid of a dense array.

    array: (X, Y, Z) or (X, Y, Z, 3) real numbers in anything that turns into a NumPy array; see
        `inrv.support.arrays.as_array`
    name: of the grid
    transform: from index space to world space
    background: the value of all inactive voxels, one number, or one a component; inside a level
        set, where the array is below 0, they have its negative
    active: bool (X, Y, Z) which voxels are active. By default those that are not masked or, of an
        array without a mask, those that differ from `background`. Masked voxels are inactive,
        whatever lies beneath.
    grid_class: 'fog volume' (the default of scalars), 'level set', 'staggered' or 'unknown' (the
        default of vectors)
    vector_type: how vectors transform, in OpenVDB's words
    metadata: by name, values of Python or `MetaValue`
    origin: where voxel [0, 0, 0] lies, three whole numbers in index space; a part of a larger array
        has its place there

    Raises OptionError for other shapes, arrays and names, and for numbers beyond float32;
    SelectionError where voxels lie too far from (0, 0, 0).
    """
    if not isinstance(transform, Transform):
        raise OptionError(f"grid {name!r}: transform {transform!r} is not an inrv.Transform")
    name = check_text(name, "the name of a grid")
    entries = metadata_of({} if metadata is None else metadata, f"grid {name!r}")
    source = as_array(array, f"grid {name!r}: the array")
    numbers = source[..., None] if source.ndim == 3 else source
    if numbers.ndim != 4 or numbers.shape[3] not in (1, 3) or 0 in numbers.shape:
        raise OptionError(
            f"grid {name!r}: array shape {source.shape} is not (X, Y, Z) or (X, Y, Z, 3)"
        )
    corner = np.array(as_triple(origin, f"grid {name!r}: the origin"))
    outside = _background(numbers, background, name)
    mask = _active(numbers, active, outside, name)
    values, rounded = _rounded(numbers, mask, name)
    around, _ = _rounded(outside.reshape(1, 1, 1, -1), None, name)
    background_value = around.reshape(-1)
    kind = _one_of(
        CLASSES, grid_class or ("fog volume" if numbers.shape[3] == 1 else "unknown"), "grid class"
    )
    inside = (
        ~mask & (np.ma.filled(numbers, 0)[..., 0] < 0)
        if kind == "level set"
        else np.zeros_like(mask)
    )
    topology, kept, within = _cut(values, mask, inside, corner)
    return Grid(
        name=name,
        value_type="float" if numbers.shape[3] == 1 else "vec3s",
        background=background_value,
        topology=topology,
        values=kept,
        tile_values=np.empty((0, numbers.shape[3]), dtype=np.float32),
        inactive=LeafValues(within, np.tile(-background_value, (len(within), 1))),
        transform=transform,
        grid_class=kind,
        vector_type=_one_of(VECTOR_TYPES, vector_type, "vector type"),
        metadata=entries,
        rounded=rounded,
    )


def _one_of(choices: tuple[str, ...], chosen: str, what: str) -> str:
    if chosen not in choices:
        raise OptionError(f"{what} {chosen!r} is not one of {', '.join(choices)}")
    return str(chosen)


def _background(numbers: NDArray[Any], background: Any, name: str) -> NDArray[Any]:
    """Give the background (C,) in the caller's numbers.

    Raises OptionError where it is not one finite number, or one a component.
    """
    found = as_array(background, f"grid {name!r}: the background")
    if found.shape not in ((), (1,), (numbers.shape[3],)):
        raise OptionError(
            f"grid {name!r}: background {found.tolist()} is not one number, nor {numbers.shape[3]}"
        )
    if not bool((np.abs(found.astype(np.longdouble)) <= np.finfo(np.float32).max).all()):
        raise OptionError(
            f"grid {name!r}: background {found.tolist()} is not finite, "
            "or beyond float32, which grids hold"
        )
    return np.broadcast_to(found, (numbers.shape[3],))


def _active(
    numbers: NDArray[Any], active: Any, outside: NDArray[Any], name: str
) -> NDArray[np.bool_]:
    """Give the voxels (X, Y, Z) that are active.

    They are as the caller says, or those that are not masked, or those that differ from the
    background. The caller's numbers decide: what rounding takes for the background is active all
    the same.
    """
    seen = ~_masked(numbers, name) if isinstance(numbers, np.ma.MaskedArray) else None
    if active is None:
        return np.asarray((numbers != outside).any(axis=3)) if seen is None else seen
    found = as_array(active, f"grid {name!r}: the active mask")
    if found.shape != numbers.shape[:3]:
        raise OptionError(
            f"grid {name!r}: active mask shape {found.shape} is not the array's {numbers.shape[:3]}"
        )
    wanted = np.asarray(np.ma.filled(found, 0) != 0)
    return wanted if seen is None else wanted & seen


def _masked(numbers: np.ma.MaskedArray[Any, Any], name: str) -> NDArray[np.bool_]:
    """Give the voxels (X, Y, Z) all of whose components are masked."""
    mask = np.ma.getmaskarray(numbers)
    partly = np.argwhere(mask.any(axis=3) & ~mask.all(axis=3))
    if len(partly):
        raise OptionError(
            f"grid {name!r}: voxel {tuple(partly[0].tolist())}, the first of {len(partly):,}, "
            "has some components masked and others not: mask all three, or none"
        )
    return np.asarray(mask.all(axis=3))


def _rounded(
    numbers: NDArray[Any], active: NDArray[np.bool_] | None, name: str
) -> tuple[NDArray[np.float32], Rounding | None]:
    """Give the values (X, Y, Z, C), and how the active ones were rounded.

    Raises OptionError for numbers beyond float32.
    """
    try:
        return round_numbers(np.ma.getdata(numbers), active)
    except BeyondFloat32 as error:
        raise OptionError(
            f"grid {name!r}: the {numbers.dtype} {error.number} at voxel {error.index} is beyond "
            "float32, which grids hold, whose largest number is 3.4e38: "
            "scale the array, or mask the voxel"
        ) from error


def _cut(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    corner: NDArray[np.int64],
) -> tuple[Topology, NDArray[np.float32], NDArray[np.int64]]:
    """Cut an array into leaves.

    values: float32 (X, Y, Z, C)
    mask: bool (X, Y, Z) the active voxels
    inside: bool (X, Y, Z) the inactive voxels that have a value of their own
    corner: place int64 (3,) of the first voxel

    Gives the topology, the values (N, C) of the active voxels, and the places of those `inside`.
    """
    before = corner % LEAF_EDGE
    masks, insides = _blocks(mask, before), _blocks(inside, before)
    kept = np.flatnonzero(masks.any(axis=1) | insides.any(axis=1))
    cells = -(-(before + mask.shape) // LEAF_EDGE)
    origins = np.stack(np.unravel_index(kept, cells), axis=1) * LEAF_EDGE + corner - before
    order = Topology.order_of(origins)
    kept = kept[order]
    masks = masks[kept]
    blocks = _blocks(values, before).reshape(len(insides), -1)[kept].reshape(-1, values.shape[3])
    chosen = blocks.take(np.flatnonzero(masks), axis=0)
    topology = Topology.from_leaves(origins[order], masks)
    return topology, chosen, np.flatnonzero(insides[kept])


def _blocks(array: NDArray[Any], before: NDArray[np.int64]) -> NDArray[Any]:
    """Cut the array (X, Y, Z, ...) into leaves (n, 512, ...), padded with zeros to whole ones.

    before: int64 (3,) voxels of the first leaf that lie before the array
    """
    x, y, z = (-(-(before + array.shape[:3]) // LEAF_EDGE)).tolist()
    edges = (x * LEAF_EDGE, y * LEAF_EDGE, z * LEAF_EDGE)
    wide = array
    if edges != array.shape[:3]:
        wide = np.zeros((*edges, *array.shape[3:]), dtype=array.dtype)
        first, second, third = map(slice, before, before + array.shape[:3])
        wide[first, second, third] = array
    cubes = wide.reshape(x, LEAF_EDGE, y, LEAF_EDGE, z, LEAF_EDGE, -1)
    return cubes.transpose(0, 2, 4, 1, 3, 5, 6).reshape(x * y * z, LEAF_VOXELS, *array.shape[3:])
