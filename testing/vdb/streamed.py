"""A grid of every kind that OpenVDB writes, by hand."""

from __future__ import annotations

import struct
from dataclasses import replace

from inrv.files.vdb.header import pack_string
from testing.vdb.referee import HandGrid, HandTree, mask

AFFINE = pack_string("AffineMap") + struct.pack("<16d", *range(16))
FRUSTUM = pack_string("NonlinearFrustumMap") + struct.pack("<8d", *range(8)) + AFFINE
OLD_FRUSTUM = pack_string("NonlinearFrustumMap") + struct.pack("<6i2d", *range(8)) + AFFINE
FOG, INTEGERS = (
    HandTree(compression=1),
    HandTree("i", compression=1, background=0, leaf={1: 7}, tile=-3),
)
BITS = HandTree("B", compression=1, background=0, leaf={1: 1, 511: 1}, tile=1)
NUMBERS = HandTree("I", compression=1, background=0, leaf={5: 1}, tile=0)
LEAF = mask(BITS.leaf, 512)


def attribute(size: int, flags: int) -> bytes:
    return struct.pack("<QBBI", size + 6, 0, flags, 1) + bytes(4 * (flags & 1))


def points(
    flags: int = 1,
    later: bytes = b"",
    unpacked: bool = False,
    page: bytes = struct.pack("<ii", 30, 60),
) -> bytes:
    """The buffers of one leaf of points with three attributes.

    They are in a page, constant, and on their own with a stride.
    """
    listed = struct.pack("<Q", 3) + b"".join(
        pack_string(text) for text in ("vec3s", "fxpt16", "float", "null", "int32", "null")
    )
    listed += b"".join(
        pack_string(name) + struct.pack("<Q", number)
        for number, name in enumerate(("P", "pscale", "id"))
    )
    listed += struct.pack("<Q", 1) + pack_string("group") + struct.pack("<Q", 0)
    listed += (
        struct.pack("<I", 1)
        + pack_string("default:id")
        + pack_string("int32")
        + pack_string("1234")
    )
    counts = struct.pack("<H", 0xFFFF if unpacked else 20) + b"c" * (2048 if unpacked else 20)
    told = bytes([flags]) + listed + later + attribute(60, 8) + attribute(4, 2) + attribute(40, 1)
    return (
        struct.pack("<H", 10)
        + b"##"
        + told
        + page
        + LEAF
        + counts
        + b"p" * 30
        + b"4444"
        + b"\0"
        + b"i" * 40
    )


def passthrough(name: str, kind: str, tree: HandTree, buffers: bytes) -> HandGrid:
    return HandGrid(name, f"Tree_{kind}_5_4_3", tree.topology(), buffers, compression=1)


def points_of_three_leaves() -> HandGrid:
    """One attribute: the values of two leaves lie in a page, those of the third in another."""
    root = (
        struct.pack("<iI2I3i", 1, 0, 0, 1, 0, 0, 0) + mask([0], 1 << 15) + mask([], 1 << 15) + b"\0"
    )
    topology = root + mask([0, 1, 9], 1 << 12) + mask([], 1 << 12) + b"\0" + 3 * LEAF
    listed = (
        b"\1"
        + struct.pack("<Q", 1)
        + pack_string("vec3s")
        + pack_string("null")
        + pack_string("P")
        + bytes(20)
    )
    told = listed + attribute(24, 8) + attribute(36, 8) + attribute(12, 8)
    counts = b"".join(LEAF + struct.pack("<H", size) + bytes(size) for size in (20, 0, 16))
    buffers = (
        struct.pack("<4H", 6, 20, 0, 16)
        + told
        + struct.pack("<3i", 50, 60, -12)
        + counts
        + b"p" * 50
        + b"q" * 12
    )
    return HandGrid("points", "Tree_ptdataidx32_5_4_3", topology, buffers, compression=2)


KINDS = {
    "float": FOG.grid(),
    "vec3s": replace(FOG, components=3).grid(),
    "half floats": replace(FOG, half=True, inactive={3: 2.0}).grid(),
    "double": replace(FOG, number="d").grid(),
    "half doubles": replace(FOG, number="d", half=True).grid(),
    "vec3d": replace(FOG, number="d", components=3).grid(),
    "int32": INTEGERS.grid(),
    "int32 in a grid said to be half": replace(
        INTEGERS.grid(), metadata=HandTree(half=True).grid().metadata
    ),
    "int64": replace(INTEGERS, number="q").grid(),
    "vec3i": replace(INTEGERS, components=3).grid(),
    "half": passthrough(
        "half", "half", replace(FOG, number="e"), replace(FOG, number="e").buffers()
    ),
    "bool": passthrough("flags", "bool", BITS, LEAF + bytes(12) + LEAF),
    "mask": passthrough("mask", "mask", BITS, LEAF + bytes(12)),
    "point index": passthrough(
        "index", "ptidx32", NUMBERS, NUMBERS.buffers() + struct.pack("<QIIQ", 2, 7, 8, 3) + b"new"
    ),
    "points": passthrough("points", "ptdataidx32", NUMBERS, points()),
    "points of a later version": passthrough(
        "points", "ptdataidx32", NUMBERS, points(2, struct.pack("<Q", 3) + b"new", unpacked=True)
    ),
    "points in a page that is not packed": passthrough(
        "points", "ptdataidx32", NUMBERS, points(page=struct.pack("<i", -60)) + b"p" * 30
    ),
    "points of several leaves": points_of_three_leaves(),
    "a frustum": FOG.grid(transform=FRUSTUM),
}
