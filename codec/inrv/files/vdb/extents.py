"""Where the tree of a grid ends, of every type that OpenVDB writes.

A file written to a stream does not say it. Layout: readBuffers of OpenVDB's LeafNode.h,
LeafNodeBool.h, LeafNodeMask.h, PointIndexGrid.h and PointDataGrid.h, and the pages of
StreamCompression.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inrv.files.vdb.nodes import (
    LEAF_SLOTS,
    Buffer,
    Encoding,
    PassLeaves,
    TreeReader,
    tree_positions,
)
from inrv.files.vdb.values import ValueType

Counts = NDArray[np.int64]
POINTS = "Tree_ptdataidx32_5_4_3"
MULTIPASS = 224  # file version from which on points are stored as here
_COUNTED = 6  # bytes of flags and number of points, which the size of an attribute counts too
_MASK_BYTES = LEAF_SLOTS // 8
_ORIGIN_BYTES = 12
_UNPACKED = 0xFFFF  # the size of a leaf's packed point counts that says: they are not packed
# Flags of a list of attributes: it holds for the leaves that follow, too; bytes of a later version
# follow it.
_SHARED, _LONGER = 1, 2
_STRIDED, _UNIFORM, _PAGED = 1, 2, 8  # flags of an attribute
_LEAST_UNKNOWN = 16  # the least flag of an attribute whose meaning is not known


class _Kind(NamedTuple):
    values: ValueType
    leaves: PassLeaves


class _Attribute(NamedTuple):
    """An attribute of the points of one leaf.

    size: in bytes
    uniform: whether all points have one value
    paged: whether the bytes lie in a page together with those of other leaves
    """

    size: int
    uniform: bool
    paged: bool


def known(tree_type: str) -> bool:
    """Tell whether the end of a tree of this type can be found."""
    return tree_type in _KINDS


def find_positions(
    data: Buffer, where: str, tree_type: str, half: bool, compression: int, old: bool = False
) -> tuple[int, int]:
    """Find where the buffers of the leaves begin, and where the tree ends.

    data: begins with the tree
    where: what errors begin with
    tree_type: one that is known()
    half, compression, old: see `inrv.files.vdb.nodes.Encoding`
    Gives two positions in `data`. Raises VdbError if the tree ends early or is damaged.
    """
    kind = _KINDS[tree_type]
    return tree_positions(data, where, Encoding(kind.values, half, compression, old), kind.leaves)


def _values(reader: TreeReader, counts: Counts) -> None:
    for count in counts.tolist():
        reader.take(_MASK_BYTES)
        reader.leaf_section(count)


def _bools(reader: TreeReader, counts: Counts) -> None:
    """Pass over leaves of two masks each, of the active voxels and of the values."""
    reader.take(len(counts) * (_MASK_BYTES + _ORIGIN_BYTES + _MASK_BYTES))


def _masks(reader: TreeReader, counts: Counts) -> None:
    reader.take(len(counts) * (_MASK_BYTES + _ORIGIN_BYTES))


def _indices(reader: TreeReader, counts: Counts) -> None:
    """Pass over leaves of point indices.

    Behind the values of a leaf stand the numbers of its points, and bytes of a later version.
    """
    for count in counts.tolist():
        reader.take(_MASK_BYTES)
        reader.leaf_section(count)
        reader.take(4 * reader.number("<Q"))
        reader.take(reader.number("<Q"))


def _points(reader: TreeReader, counts: Counts) -> None:
    """Pass over leaves of points.

    They are stored in several passes: one for each kind of bytes, and two for each attribute.
    """
    passes = reader.number("<H")
    reader.take(
        2 * len(counts)
    )  # the sizes of the packed point counts, which stand before these once more
    columns: list[list[_Attribute]] = [[] for _ in range(max(passes - 4, 0) // 2)]
    for row in _attributes(reader, len(counts)):
        for column, attribute in zip(columns, row, strict=False):
            column.append(attribute)
    pages = [_pages(reader, column) for column in columns]
    for _ in counts:
        reader.take(_MASK_BYTES)
        size = reader.number("<H")
        reader.take(4 * LEAF_SLOTS if size == _UNPACKED else size)
    for column, sizes in zip(columns, pages, strict=True):
        reader.take(
            sizes
            + sum(
                attribute.size + (not attribute.uniform)
                for attribute in column
                if not attribute.paged
            )
        )


def _attributes(reader: TreeReader, leaves: int) -> Iterator[list[_Attribute]]:
    """Give the attributes of each leaf.

    How many there are is said once, if it is the same for all.
    """
    count, shared = 0, False
    for _ in range(leaves):
        if not shared:
            flags = reader.number("<B")
            if flags > _SHARED | _LONGER:
                raise ValueError(f"a leaf of points has flags {flags}")
            count, shared = _descriptor(reader), bool(flags & _SHARED)
            reader.take(reader.number("<Q") if flags & _LONGER else 0)
        yield [_attribute(reader) for _ in range(count)]


def _descriptor(reader: TreeReader) -> int:
    """Pass over types, names, groups and metadata of attributes; give how many there are."""
    count = reader.number("<Q")
    _texts(reader, 2 * count)
    _numbered_texts(reader, count)
    _numbered_texts(reader, reader.number("<Q"))
    _texts(reader, 3 * reader.number("<I"))
    return count


def _texts(reader: TreeReader, count: int) -> None:
    for _ in range(count):
        reader.take(reader.number("<I"))


def _numbered_texts(reader: TreeReader, count: int) -> None:
    for _ in range(count):
        _texts(reader, 1)
        reader.take(8)


def _attribute(reader: TreeReader) -> _Attribute:
    """Pass over the description of an attribute, which stands before its values."""
    size = reader.number("<Q") - _COUNTED
    reader.take(1)
    flags = reader.number("<B")
    reader.take(8 if flags & _STRIDED else 4)
    if size < 0 or flags >= _LEAST_UNKNOWN:
        raise ValueError(f"an attribute of points has {size} bytes and flags {flags}")
    return _Attribute(size, bool(flags & _UNIFORM), bool(flags & _PAGED))


def _pages(reader: TreeReader, attributes: list[_Attribute]) -> int:
    """Pass over the heads of an attribute's pages, and give the bytes of all pages.

    A page holds the values of whole leaves.
    """
    total = left = 0
    for attribute in attributes:
        if not attribute.paged:
            continue
        if not left:
            packed = reader.number("<i")
            left = reader.number("<i") if packed > 0 else -packed
            total += abs(packed)
        left -= attribute.size
        if left < 0:
            raise ValueError("a page of points ends within the values of a leaf")
    return total


_KINDS = {
    f"Tree_{name}_5_4_3": _Kind(values, leaves)
    for name, values, leaves in (
        ("float", ValueType(1), _values),
        ("double", ValueType(1, 8), _values),
        ("vec3s", ValueType(3), _values),
        ("vec3d", ValueType(3, 8), _values),
        (
            "half",
            ValueType(1, 2, real=False),
            _values,
        ),  # never rounded: its numbers are half floats as they are
        ("int32", ValueType(1, 4, real=False), _values),
        ("int64", ValueType(1, 8, real=False), _values),
        ("vec3i", ValueType(3, 4, real=False), _values),
        ("bool", ValueType(1, 1, real=False), _bools),
        ("mask", ValueType(1, 1, real=False), _masks),
        ("ptidx32", ValueType(1, 4, real=False), _indices),
        ("ptdataidx32", ValueType(1, 4, real=False), _points),
    )
}
