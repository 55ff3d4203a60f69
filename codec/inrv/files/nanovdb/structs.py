"""The structs of a NanoVDB grid: NanoVDB.h and PNanoVDB.h of OpenVDB 10 to 13, versions 32.x.

Everything is little-endian. A grid and its tree stand at the beginning, then the root with its
tiles, upper nodes of 4096^3 voxels, lower nodes of 128^3, leaves of 8^3. A child is named by the
distance in bytes from the node that has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"NanoVDB0"  # of grids and files; every reader of version 32 knows it
RAW_MAGIC, FILE_MAGIC = b"NanoVDB1", b"NanoVDB2"  # of grids and of files, from version 32.6 on
MAJOR = 32
# Newer grids have a checksum that older programs do not know.
VERSION = MAJOR << 21 | 6 << 10
NO_CRC = (1 << 32) - 1  # in place of either half of a checksum
NO_CHECKSUM = (1 << 64) - 1
CHECKED_FROM = 16  # of a grid: its magic number and its checksum are not checked
SKIPPED, HAS_BOX = 1 << 0, 1 << 1  # of the flags of nodes; HAS_BOX is of grids too
HAS_RANGE, HAS_AVERAGE, HAS_DEVIATION = 1 << 2, 1 << 3, 1 << 4  # of the flags of a grid
BREADTH_FIRST = 1 << 5
CLASSES = {"level set": 1, "fog volume": 2, "staggered": 3}  # 0 for every other one
MOST_NAME = 255  # bytes of the name in a grid
ALIGNED = 32  # bytes that nodes and their tables begin at multiples of
LEAF_VOXELS, MASK_BYTES = 512, 64
UPPER, LOWER = 32**3, 16**3  # entries of the tables
UPPER_BITS, LOWER_BITS = 12, 7  # log2 of the edge of a node, in voxels

GRID = np.dtype(
    [
        ("magic", "S8"), ("checksum", "<u8"), ("version", "<u4"), ("flags", "<u4"),
        ("index", "<u4"), ("count", "<u4"), ("size", "<u8"), ("name", "S256"),
        ("mat_f", "<f4", (3, 3)), ("inverse_f", "<f4", (3, 3)), ("vec_f", "<f4", 3),
        ("taper_f", "<f4"), ("mat_d", "<f8", (3, 3)), ("inverse_d", "<f8", (3, 3)),
        ("vec_d", "<f8", 3), ("taper_d", "<f8"), ("world_box", "<f8", (2, 3)),
        ("voxel_size", "<f8", 3), ("grid_class", "<u4"), ("grid_type", "<u4"),
        ("blind_offset", "<i8"), ("blind_count", "<u4"), ("data_0", "<u4"), ("data_1", "<u8"),
        ("data_2", "<u8"),
    ]
)  # fmt: skip
TREE = np.dtype(
    [("offsets", "<i8", 4), ("nodes", "<u4", 3), ("tiles", "<u4", 3), ("voxels", "<u8")]
)


@dataclass(frozen=True)
class ValueType:
    """A type of grids whose values can be read.

    number: of the format
    name: as NanoVDB names it
    components: numbers of a voxel
    real: dtype of the numbers, which those of nodes and tiles have too
    bits: of a number in a leaf, where it is coded between the least and the largest of the leaf;
        None where it is a number, 0 where each leaf tells it
    """

    number: int
    name: str
    components: int = 1
    real: str = "<f4"
    bits: int | None = None

    @property
    def types(self) -> Types:
        """The nodes of a tree with such values."""
        return Types(self.components, self.real, self.bits)


@dataclass(frozen=True)
class Types:
    """The nodes of a tree: see `ValueType`."""

    components: int
    real: str = "<f4"
    bits: int | None = None

    @property
    def _width(self) -> int:
        return np.dtype(self.real).itemsize

    @property
    def _value(self) -> tuple[str, tuple[int]]:
        return self.real, (self.components,)

    def _node(self, entries: int) -> np.dtype[np.void]:
        """A node whose table has so many entries."""
        value, size, mask = self._value, self._width * self.components, entries // 8
        entry = aligned(size, 8)
        names = ["box", "flags", "values", "children", "minimum", "maximum", "average", "deviation"]
        formats: list[Any] = [
            ("<i4", (2, 3)), "<u8", ("u1", mask), ("u1", mask), value, value, self.real, self.real,
        ]  # fmt: skip
        ends = np.cumsum([24, 8, mask, mask, size, size, self._width, self._width]).tolist()
        table = _struct(["child", "value"], ["<i8", value], [0, 0], entry)
        start = aligned(ends[-1])
        return _struct(
            [*names, "table"],
            [*formats, (table, (entries,))],
            [0, *ends[:-1], start],
            aligned(start + entries * entry),
        )

    @property
    def upper(self) -> np.dtype[np.void]:
        """An upper node."""
        return self._node(UPPER)

    @property
    def lower(self) -> np.dtype[np.void]:
        """A lower node."""
        return self._node(LOWER)

    @property
    def leaf(self) -> np.dtype[np.void]:
        """A leaf; where each leaf tells how many bits its numbers have, all but the numbers."""
        names = ["box", "extent", "flags", "values", "minimum"]
        formats: list[Any] = [("<i4", 3), ("u1", 3), "u1", ("u1", MASK_BYTES)]
        offsets = [0, 12, 15, 16, 80]
        if self.bits is not None:
            coded = LEAF_VOXELS * self.bits // 8
            return _struct(
                [*names, "quantum", "statistics", "codes"],
                [*formats, "<f4", "<f4", ("<u2", 4), ("u1", coded)],
                [*offsets, 84, 88, 96],
                96 + coded,
            )
        value, size = self._value, self._width * self.components
        start = aligned(80 + 2 * size + 2 * self._width)
        return _struct(
            [*names, "maximum", "average", "deviation", "voxels"],
            [*formats, value, value, self.real, self.real,
             (self.real, (LEAF_VOXELS, self.components))],
            [*offsets, 80 + size, 80 + 2 * size, 80 + 2 * size + self._width, start],
            aligned(start + LEAF_VOXELS * size),
        )  # fmt: skip

    @property
    def root(self) -> np.dtype[np.void]:
        """The root, without its tiles."""
        value, size = self._value, self._width * self.components
        first = aligned(28, self._width)
        places = [first + number * size for number in range(4)]
        return _struct(
            ["box", "size", "background", "minimum", "maximum", "average", "deviation"],
            [("<i4", (2, 3)), "<u4", value, value, value, self.real, self.real],
            [0, 24, *places, places[-1] + self._width],
            aligned(places[-1] + 2 * self._width),
        )

    @property
    def tile(self) -> np.dtype[np.void]:
        """An entry of the root."""
        first = aligned(20, self._width)
        return _struct(
            ["key", "child", "state", "value"],
            ["<u8", "<i8", "<u4", self._value],
            [0, 8, 16, first],
            aligned(first + self._width * self.components),
        )


FLOAT, VEC3F = ValueType(1, "Float"), ValueType(6, "Vec3f", 3)
FP16 = ValueType(15, "Fp16", bits=16)
READ = {
    kind.number: kind
    for kind in (
        FLOAT, VEC3F, FP16, ValueType(2, "Double", 1, "<f8"), ValueType(7, "Vec3d", 3, "<f8"),
        ValueType(13, "Fp4", bits=4), ValueType(14, "Fp8", bits=8), ValueType(16, "FpN", bits=0),
    )
}  # fmt: skip
OTHER_TYPES = {
    3: "Int16", 4: "Int32", 5: "Int64", 8: "Mask", 9: "Half", 10: "UInt32", 11: "Boolean",
    12: "RGBA8", 17: "Vec4f", 18: "Vec4d", 19: "Index", 20: "OnIndex", 21: "IndexMask",
    22: "OnIndexMask", 23: "PointIndex", 24: "Vec3u8", 25: "Vec3u16", 26: "UInt8",
}  # fmt: skip


def aligned(size: int, to: int = ALIGNED) -> int:
    """Give the first multiple of `to` that is not below a size."""
    return -(-size // to) * to


def view(
    buffer: NDArray[np.uint8], kind: np.dtype[np.void], start: int, count: int
) -> NDArray[np.void]:
    """Give so many structs of a buffer."""
    found: NDArray[np.void] = buffer[start : start + count * kind.itemsize].view(kind)
    return found


def root_keys(origins: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Give the keys (n,) by which the root finds nodes at origins (n, 3)."""
    x, y, z = (origins.astype(np.uint32).astype(np.uint64) >> np.uint64(UPPER_BITS)).T
    found: NDArray[np.uint64] = x << np.uint64(42) | y << np.uint64(21) | z
    return found


def root_origins(keys: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Give the lowest corners (n, 3) of the nodes that have keys (n,): see `root_keys`."""
    fields = [(keys >> np.uint64(shift)) & np.uint64((1 << 21) - 1) for shift in (42, 21, 0)]
    blocks = np.stack(fields, axis=1).astype(np.uint32) << np.uint32(UPPER_BITS)
    found: NDArray[np.int32] = blocks.view(np.int32)
    return found


def _struct(
    names: list[str], formats: list[Any], offsets: list[int], size: int
) -> np.dtype[np.void]:
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
