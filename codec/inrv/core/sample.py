"""Points and boxes looked up in bricks by the core: codec/core/sample.h in Python's terms."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import Structure, byref, c_double, c_int32
from ctypes import c_void_p as Address
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.core.library import library

Floats = NDArray[np.float32]
CELLS, LEAF_VOXELS = 1 << 12, 1 << 9
# Of a table of bricks: the addresses of their parts, 0 where a brick is not there.
ADDRESSES = np.dtype([("cells", np.uintp), ("blocks", np.uintp)])


class _Index(Structure):
    _fields_ = (("keys", Address), ("slots", Address), ("bits", c_int32))


class _Bricks(Structure):
    _fields_ = (
        ("components", c_int32),
        ("constants", Address),
        ("regions", _Index),
        ("bricks", Address),
        ("tiles", _Index),
        ("tile_values", Address),
    )


class _Lookup(Structure):
    _fields_ = (
        ("shift", c_double * 3),
        ("nearest", c_int32),
        ("first", c_int32),
        ("count", c_int32),
    )


@dataclass(frozen=True, eq=False)
class Brick:
    """Every voxel of a region of 128^3.

    cells: int32 (4096,) number of the block of each cell, x << 8 | y << 4 | z, or ~number of the
        constant that its voxels have
    blocks: float32 (L, 512, C)
    """

    cells: NDArray[np.int32]
    blocks: Floats

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.cells.nbytes + self.blocks.nbytes

    @property
    def addresses(self) -> tuple[int, int]:
        """Its line of a table of ADDRESSES."""
        return self.cells.ctypes.data, self.blocks.ctypes.data

    def copy(
        self, constants: Floats, corner: Sequence[int], lower: Any, upper: Any, target: Floats
    ) -> None:
        """Copy what lies in a box into the box's values.

        constants: float32 (K, C)
        corner: lowest of the region
        lower: corner of the box
        upper: its other corner, included
        target: float32 (X, Y, Z, C) of the box
        """
        places = (np.array(place, dtype=np.int32) for place in (corner, lower, upper))
        own = (Address * 2)(*self.addresses)
        library().inrv_copy_box(byref(own), constants, constants.shape[1], *places, target)


def fill_blocks(masks: NDArray[np.uint8], values: Floats, others: Floats) -> Floats:
    """Blocks float32 (L, 512, C) of some leaves.

    masks: uint8 (L, 64) of their active voxels
    values: float32 (n, C) of these
    others: float32 (C,) of all others
    """
    masks, values = np.ascontiguousarray(masks), np.ascontiguousarray(values)
    blocks = np.empty((len(masks), LEAF_VOXELS, len(others)), dtype=np.float32)
    library().inrv_fill_blocks(masks, len(masks), len(others), values, len(others), others, blocks)
    return blocks


def put_values(
    some: NDArray[np.uint8],
    all_of_them: NDArray[np.uint8],
    values: NDArray[Any],
    result: NDArray[Any],
) -> None:
    """Put values of some voxels in their places among those of all.

    some: uint8 (L, 64) the voxels that the values are of
    all_of_them: uint8 (L, 64) those that `result` is of
    values: numbers of 32 bits (n,) or (n, C)
    result: such numbers (N,) or (N, C); may be a column of an array
    """
    values = np.ascontiguousarray(values)
    components = values.size // max(1, len(values))
    library().inrv_put_values(
        np.ascontiguousarray(some), np.ascontiguousarray(all_of_them), len(some), components,
        values.ctypes.data, result.strides[0] // 4, result.ctypes.data,
    )  # fmt: skip


class KeyIndex:
    """Finds the number of a key.

    keys: int64 (n,), all different
    """

    def __init__(self, keys: NDArray[np.int64]) -> None:
        self.keys = np.ascontiguousarray(keys, dtype=np.int64)
        self.bits = max(1, (2 * len(keys)).bit_length())
        self.slots = np.empty(1 << self.bits, dtype=np.int32)
        library().inrv_index_keys(self.keys, len(keys), self.slots, self.bits)

    def own(self) -> _Index:
        """Itself, as the core takes it."""
        return _Index(self.keys.ctypes.data, self.slots.ctypes.data, self.bits)


class Sampler:
    """What is looked up in the bricks of a grid.

    constants: float32 (K, C); number 0 is the background
    regions: keys of the regions that have bricks
    tiles: keys of tiles of 4096^3
    tile_values: int32 (tiles,) their constants
    """

    def __init__(
        self,
        constants: Floats,
        regions: KeyIndex,
        tiles: KeyIndex,
        tile_values: NDArray[np.int32],
    ) -> None:
        self._kept = constants, regions, tiles, tile_values
        self._fixed = (
            constants.shape[1],
            constants.ctypes.data,
            regions.own(),
            tiles.own(),
            tile_values.ctypes.data if len(tile_values) else None,
        )

    def sample(
        self,
        bricks: NDArray[Any],
        points: NDArray[np.float64],
        shift: Sequence[float],
        nearest: bool,
        components: slice,
        touched: NDArray[np.uint8],
        values: Floats,
        gradients: NDArray[np.float64] | None,
    ) -> int:
        """Fill the values at points; return how many need a brick that is not there.

        bricks: ADDRESSES (R,) of all regions, whose arrays live meanwhile
        points: float64 (n, 3) in index space
        shift: added to each
        nearest: whether they get the value of the nearest voxel, instead of the trilinear one
        components: of the values
        touched: uint8 (R,) becomes 1 for every region that was asked for a voxel
        values: float32 (n, c)
        gradients: float64 (n, c, 3) derivatives of the trilinear interpolation; None: not wanted
        """
        components_of_grid, constants, regions, tiles, tile_values = self._fixed
        own = _Bricks(
            components_of_grid, constants, regions, bricks.ctypes.data, tiles, tile_values
        )
        count = components.stop - components.start
        lookup = _Lookup((c_double * 3)(*shift), nearest, components.start, count)
        missing: int = library().inrv_sample(
            byref(own),
            byref(lookup),
            points,
            len(points),
            touched,
            values,
            None if gradients is None else gradients.ctypes.data_as(ctypes.c_void_p),
        )
        return missing
