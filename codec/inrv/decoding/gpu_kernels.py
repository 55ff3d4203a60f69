"""What a GPU looks up in decoded regions, in Triton: points, and the voxels of boxes.

`gpu_bricks.py` has the arrays. Where the environment variable TRITON_INTERPRET is 1 when this
module is imported, Triton runs the kernels on the CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

CELLS = tl.constexpr(4096)  # of a region
LEAF_BITS = tl.constexpr(3)  # of a leaf's edge


@triton.jit
def _voxel(
    x, y, z, here, component, components, level,
    numbers, slots, cells, blocks, constants, touched, lower, shape,
):  # fmt: skip
    """Values (n,) of a component of voxels, and whether their regions are loaded.

    x, y, z: int32 (n,) in index space
    here: bool (n,), which of them are asked for
    level: only voxels at multiples of 2^level are asked for, and in `blocks`
    others: as `look_up` takes them
    """
    region_x, region_y, region_z = x >> 7, y >> 7, z >> 7
    region_x -= tl.load(lower)
    region_y -= tl.load(lower + 1)
    region_z -= tl.load(lower + 2)
    size_x, size_y, size_z = tl.load(shape), tl.load(shape + 1), tl.load(shape + 2)
    inside = (region_x >= 0) & (region_y >= 0) & (region_z >= 0)
    inside = here & inside & (region_x < size_x) & (region_y < size_y) & (region_z < size_z)
    # ~0 is the background.
    number = tl.load(numbers + (region_x * size_y + region_y) * size_z + region_z, inside, -1)
    slot = tl.load(slots + number, number >= 0, 0)
    lacking = (number >= 0) & (slot < 0)
    tl.store(touched + number, 1, lacking)
    cell = ((x >> 3) & 15) << 8 | ((y >> 3) & 15) << 4 | ((z >> 3) & 15)
    known = (number >= 0) & (slot >= 0)
    block = tl.load(cells + slot.to(tl.int64) * CELLS + cell, known, 0)
    block = tl.where(known, block, number)
    left = LEAF_BITS - tl.minimum(level, LEAF_BITS)
    within_x, within_y, within_z = (x & 7) >> level, (y & 7) >> level, (z & 7) >> level
    voxel = (within_x << left | within_y) << left | within_z
    at = ((block.to(tl.int64) << 3 * left) + voxel) * components + component
    found = tl.load(blocks + at, here & ~lacking & (block >= 0), 0.0).to(tl.float32)
    constant = tl.load(constants + ~block * components + component, here & (block < 0), 0.0)
    return tl.where(block >= 0, found, constant), lacking


@triton.jit
def look_up(
    points, values, gradients, missing,
    numbers, slots, cells, blocks, constants, touched, lower, shape,
    count, first, last, components, shift_x, shift_y, shift_z,
    NEAREST: tl.constexpr, GRADIENTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Look points up: values, and derivatives along x, y and z.

    points: float32 or float64 (n, 3) in index space, within +-2^24
    values: float32 (n, components), filled
    gradients: the same type as points (n, components, 3), filled where GRADIENTS is true
    missing: int32 (1,), 1 is written where a region that is not loaded is asked for
    numbers: int32 (shape), of each region: its number, or ~number of a constant
    slots: int32 (regions,) which of the loaded regions each is, or -1
    cells: int32 (loaded, CELLS) number of a block, or ~number of a constant
    blocks: float32 or float16 (b, 512, components)
    constants: float32 (k, components); number 0 is the background
    touched: int8 (regions,), 1 is written for a region that is not loaded
    lower, shape: int32 (3,) of `numbers`, in regions
    count: n
    first, last: components that are looked up, the last excluded
    shift_x, shift_y, shift_z: what points are moved by
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = row < count
    at_x = tl.load(points + 3 * row, here, 0.0) + shift_x
    at_y = tl.load(points + 3 * row + 1, here, 0.0) + shift_y
    at_z = tl.load(points + 3 * row + 2, here, 0.0) + shift_z
    if NEAREST:
        at_x, at_y, at_z = at_x + 0.5, at_y + 0.5, at_z + 0.5
    low_x, low_y, low_z = tl.floor(at_x), tl.floor(at_y), tl.floor(at_z)
    x, y, z = low_x.to(tl.int32), low_y.to(tl.int32), low_z.to(tl.int32)
    share_x, share_y, share_z = at_x - low_x, at_y - low_y, at_z - low_z
    lacking = here != here
    for component in range(first, last):
        if NEAREST:
            found, lacks = _voxel(
                x, y, z, here, component, components, 0,
                numbers, slots, cells, blocks, constants, touched, lower, shape,
            )  # fmt: skip
            lacking |= lacks
            tl.store(values + row * components + component, found, here)
        else:
            total = share_x * 0.0
            slope_x, slope_y, slope_z = share_x * 0.0, share_x * 0.0, share_x * 0.0
            for corner in tl.static_range(8):
                weight_x = share_x if corner & 4 else 1 - share_x
                weight_y = share_y if corner & 2 else 1 - share_y
                weight_z = share_z if corner & 1 else 1 - share_z
                weight = weight_x * weight_y * weight_z
                found, lacks = _voxel(
                    x + (corner >> 2), y + (corner >> 1 & 1), z + (corner & 1), here,
                    component, components, 0,
                    numbers, slots, cells, blocks, constants, touched, lower, shape,
                )  # fmt: skip
                lacking |= lacks
                # A voxel without weight tells nothing, NaN and infinity no more than others.
                found = found.to(share_x.dtype)
                total += tl.where(weight == 0, 0.0, found * weight)
                if GRADIENTS:
                    slope_x += (found if corner & 4 else -found) * weight_y * weight_z
                    slope_y += (found if corner & 2 else -found) * weight_x * weight_z
                    slope_z += (found if corner & 1 else -found) * weight_x * weight_y
            tl.store(values + row * components + component, total.to(tl.float32), here)
            if GRADIENTS:
                to = gradients + (row * components + component) * 3
                tl.store(to, slope_x, here)
                tl.store(to + 1, slope_y, here)
                tl.store(to + 2, slope_z, here)
    tl.store(missing + row * 0, 1, lacking)


@triton.jit
def fill_box(
    values, missing,
    numbers, slots, cells, blocks, constants, touched, lower, shape,
    corner, size, count, components, level, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill values float32 (X, Y, Z, components) of the voxels of a box at multiples of 2^level.

    corner: int32 (3,) the lowest of these, over 2^level
    size: int32 (3,) X, Y, Z
    count: voxels
    blocks: (b, voxels of a leaf at multiples of 2^level, components)
    others: as `look_up` takes them
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = row < count
    size_y, size_z = tl.load(size + 1), tl.load(size + 2)
    z = (row % size_z).to(tl.int32) + tl.load(corner + 2)
    y = (row // size_z % size_y).to(tl.int32) + tl.load(corner + 1)
    x = (row // size_z // size_y).to(tl.int32) + tl.load(corner)
    x, y, z = x << level, y << level, z << level
    lacking = here != here
    for component in range(0, components):
        found, lacks = _voxel(
            x, y, z, here, component, components, level,
            numbers, slots, cells, blocks, constants, touched, lower, shape,
        )  # fmt: skip
        lacking |= lacks
        tl.store(values + row * components + component, found, here)
    tl.store(missing + row * 0, 1, lacking)
