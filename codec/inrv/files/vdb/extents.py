"""Where the tree of a grid ends, of every type that OpenVDB writes: a file written to a stream does not say it.

Layout: readBuffers of OpenVDB's LeafNode.h, LeafNodeBool.h, LeafNodeMask.h, PointIndexGrid.h and PointDataGrid.h, and the
pages of StreamCompression.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inrv.files.vdb.nodes import LEAF_SLOTS, Buffer, Encoding, PassLeaves, Walk, tree_positions
from inrv.files.vdb.values import ValueType

Counts = NDArray[np.int64]
POINTS = "Tree_ptdataidx32_5_4_3"
MULTIPASS = 224  # file version from which on points are stored as here
_COUNTED = 6  # bytes of flags and number of points, which the size of an attribute counts too
_MASK_BYTES = LEAF_SLOTS // 8
_ORIGIN_BYTES = 12
_UNPACKED = 0xFFFF  # the size of a leaf's packed point counts that says: they are not packed
_SHARED, _LONGER = (
    1,
    2,
)  # flags of a list of attributes: it holds for the leaves that follow; bytes of a later version follow
_STRIDED, _UNIFORM, _PAGED = 1, 2, 8  # flags of an attribute
_LEAST_UNKNOWN = 16  # the least flag of an attribute whose meaning is not known


class _Kind(NamedTuple):
    values: ValueType
    leaves: PassLeaves


class _Attribute(NamedTuple):
    """An attribute of the points of one leaf: its bytes, and whether they lie in a page together with those of other leaves."""

    size: int
    uniform: bool
    paged: bool


def known(tree_type: str) -> bool:
    """Whether the end of a tree of this type can be found."""
    return tree_type in _KINDS


def find_positions(
    data: Buffer, where: str, tree_type: str, half: bool, compression: int, old: bool = False
) -> tuple[int, int]:
    """Where in `data` the buffers of the leaves begin and where the tree ends that `data` begins with.

    tree_type  one that is known()
    The others are those of inrv.vdb.nodes.Encoding.
    Raises VdbError, which starts with `where`, if the tree ends early or is damaged.
    """
    kind = _KINDS[tree_type]
    return tree_positions(data, where, Encoding(kind.values, half, compression, old), kind.leaves)


def _values(walk: Walk, counts: Counts) -> None:
    for count in counts.tolist():
        walk.take(_MASK_BYTES)
        walk.leaf_section(count)


def _bools(walk: Walk, counts: Counts) -> None:
    """A leaf is two masks, of the active voxels and of the values."""
    walk.take(len(counts) * (_MASK_BYTES + _ORIGIN_BYTES + _MASK_BYTES))


def _masks(walk: Walk, counts: Counts) -> None:
    walk.take(len(counts) * (_MASK_BYTES + _ORIGIN_BYTES))


def _indices(walk: Walk, counts: Counts) -> None:
    """Behind the values of a leaf stand the numbers of its points, and bytes of a later version."""
    for count in counts.tolist():
        walk.take(_MASK_BYTES)
        walk.leaf_section(count)
        walk.take(4 * walk.number("<Q"))
        walk.take(walk.number("<Q"))


def _points(walk: Walk, counts: Counts) -> None:
    """The leaves are gone through several times: once for each kind of bytes, and twice for each attribute."""
    passes = walk.number("<H")
    walk.take(
        2 * len(counts)
    )  # the sizes of the packed point counts, which stand before these once more
    columns: list[list[_Attribute]] = [[] for _ in range(max(passes - 4, 0) // 2)]
    for row in _attributes(walk, len(counts)):
        for column, attribute in zip(columns, row, strict=False):
            column.append(attribute)
    pages = [_pages(walk, column) for column in columns]
    for _ in counts:
        walk.take(_MASK_BYTES)
        size = walk.number("<H")
        walk.take(4 * LEAF_SLOTS if size == _UNPACKED else size)
    for column, sizes in zip(columns, pages, strict=True):
        walk.take(
            sizes
            + sum(
                attribute.size + (not attribute.uniform)
                for attribute in column
                if not attribute.paged
            )
        )


def _attributes(walk: Walk, leaves: int) -> Iterator[list[_Attribute]]:
    """The attributes of each leaf; how many there are is said once, if it is the same for all."""
    count, shared = 0, False
    for _ in range(leaves):
        if not shared:
            flags = walk.number("<B")
            if flags > _SHARED | _LONGER:
                raise ValueError(f"a leaf of points has flags {flags}")
            count, shared = _descriptor(walk), bool(flags & _SHARED)
            walk.take(walk.number("<Q") if flags & _LONGER else 0)
        yield [_attribute(walk) for _ in range(count)]


def _descriptor(walk: Walk) -> int:
    """Pass over types, names, groups and metadata of attributes; how many there are."""
    count = walk.number("<Q")
    _texts(walk, 2 * count)
    _numbered_texts(walk, count)
    _numbered_texts(walk, walk.number("<Q"))
    _texts(walk, 3 * walk.number("<I"))
    return count


def _texts(walk: Walk, count: int) -> None:
    for _ in range(count):
        walk.take(walk.number("<I"))


def _numbered_texts(walk: Walk, count: int) -> None:
    for _ in range(count):
        _texts(walk, 1)
        walk.take(8)


def _attribute(walk: Walk) -> _Attribute:
    """Pass over what is said of an attribute before its values."""
    size = walk.number("<Q") - _COUNTED
    walk.take(1)
    flags = walk.number("<B")
    walk.take(8 if flags & _STRIDED else 4)
    if size < 0 or flags >= _LEAST_UNKNOWN:
        raise ValueError(f"an attribute of points has {size} bytes and flags {flags}")
    return _Attribute(size, bool(flags & _UNIFORM), bool(flags & _PAGED))


def _pages(walk: Walk, attributes: list[_Attribute]) -> int:
    """Pass over the heads of an attribute's pages; the bytes of all of them. A page holds the values of whole leaves."""
    total = left = 0
    for attribute in attributes:
        if not attribute.paged:
            continue
        if not left:
            packed = walk.number("<i")
            left = walk.number("<i") if packed > 0 else -packed
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
