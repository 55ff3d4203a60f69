"""From sparse grids to a .vdb file with the same leaves, tiles, values, metadata and transforms.

Passthrough grids are written as the bytes they were.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any, BinaryIO

from inrv.errors import VdbError
from inrv.files.file_types import write
from inrv.files.vdb.header import (
    FLAGS_PER_GRID,
    HALF_SUFFIX,
    MAGIC,
    NEWEST,
    SEPARATOR,
    STATISTICS,
    encode_metadata,
    encode_transform,
    pack_string,
)
from inrv.files.vdb.trees import COMPRESSION, TreeWriter
from inrv.grids import Grid, Metadata, MetaValue, PassthroughGrid, SparseVolume
from inrv.support.streams import Writable
from inrv.support.undisturbed import undisturbed

_UUID_AT = len(MAGIC) + 13  # behind versions and the flag for positions
_NO_UUID = b"00000000-0000-0000-0000-000000000000"
_POSITIONS = struct.Struct("<qqq")
_PART_BYTES = 1 << 22
_NOTHING = (2**31 - 1,) * 3, (-(2**31),) * 3  # the box OpenVDB writes where no voxel is active


def write_volume(target: Writable, volume: SparseVolume) -> None:
    """Write a volume as a .vdb file, whatever the name of `target`; see `inrv.files.write`.

    The same volume gives the same bytes. Values are exact to the bit, in grids saved as half floats
    rounded to these. Raises VdbError where a .vdb file cannot hold the volume.
    """
    write(target, volume, ".vdb")


@undisturbed()
def write_stream(target: BinaryIO, volume: SparseVolume) -> None:
    """Write a volume as a .vdb file.

    target: an empty file that can be read and sought in too
    Raises VdbError where a .vdb file cannot hold the volume.
    """
    grids = _in_order(volume)
    target.write(_file_header(volume, len(grids)))
    _write_grids(target, grids)
    _write_uuid(target)


def _write_grids(target: BinaryIO, grids: Sequence[Grid | PassthroughGrid]) -> None:
    names = unique_names([grid.name for grid in grids])
    for position, grid in enumerate(grids):
        try:
            if isinstance(grid, PassthroughGrid):
                _write_passthrough(target, grid, names)
            else:
                _write_grid(target, grid, names[position])
        except VdbError as error:
            raise VdbError(f"grid {position} {grid.name!r}: {error}") from error


def _in_order(volume: SparseVolume) -> list[Grid | PassthroughGrid]:
    """Give all grids by position. Raises VdbError where the positions do not fit."""
    held: dict[int, Grid | PassthroughGrid] = {grid.position: grid for grid in volume.passthrough}
    held |= dict(zip(volume.positions, volume.grids, strict=False))
    count = len(volume.grids) + len(volume.passthrough)
    if sorted(held) != list(range(count)):
        raise VdbError(
            f"positions {sorted(grid.position for grid in volume.passthrough)} "
            f"of passthrough grids among {count} grids"
        )
    if any(
        grid.parent is not None and not isinstance(held.get(grid.parent), PassthroughGrid)
        for grid in volume.passthrough
    ):
        raise VdbError("a passthrough grid shares the tree of one that is coded")
    return [held[position] for position in range(count)]


def unique_names(names: Sequence[str]) -> list[str]:
    """Give names as OpenVDB lists them.

    A separator and a number stand behind those that occur more than once, or are empty.
    """
    counts, seen, result = Counter(names), Counter[str](), []
    for name in names:
        result.append(f"{name}{SEPARATOR}{seen[name]}" if counts[name] > 1 or not name else name)
        seen[name] += 1
    return result


def _file_header(volume: SparseVolume, count: int) -> bytes:
    version, *library = volume.vdb_version
    if version > NEWEST:
        raise VdbError(f"VDB file version {version} is not known; the newest is {NEWEST}")
    versions = struct.pack("<IIIB", max(version, FLAGS_PER_GRID), *library, 1)
    return MAGIC + versions + _NO_UUID + encode_metadata(volume.metadata) + struct.pack("<i", count)


def _write_uuid(target: BinaryIO) -> None:
    """Write a UUID made of what follows it, so that the same volume gives the same file."""
    digest = hashlib.sha256()
    target.seek(_UUID_AT + len(_NO_UUID))
    while part := target.read(_PART_BYTES):
        digest.update(part)
    text = digest.hexdigest()
    target.seek(_UUID_AT)
    target.write(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}".encode())
    target.seek(0, os.SEEK_END)


def _listing(name: str, tree_type: str, half: bool, parent: str) -> bytes:
    return (
        pack_string(name)
        + pack_string(tree_type + (HALF_SUFFIX if half else ""))
        + pack_string(parent)
    )


def _write_passthrough(target: BinaryIO, grid: PassthroughGrid, names: Sequence[str]) -> None:
    parent = "" if grid.parent is None else names[grid.parent]
    target.write(_listing(names[grid.position], grid.tree_type, grid.half, parent))
    start = target.tell() + _POSITIONS.size
    blocks = (
        start + grid.blocks if grid.parent is None else 0
    )  # a grid that shares another's tree has none
    target.write(_POSITIONS.pack(start, blocks, start + len(grid.data)))
    target.write(grid.data)


def _write_grid(target: BinaryIO, grid: Grid, name: str) -> None:
    tree = TreeWriter(grid)
    target.write(_listing(name, f"Tree_{grid.value_type}_5_4_3", grid.saved_as_half, ""))
    positions = target.tell()
    start = positions + _POSITIONS.size
    target.write(bytes(_POSITIONS.size) + struct.pack("<I", COMPRESSION))
    target.write(encode_metadata(_metadata(grid, tree)) + encode_transform(grid.transform))
    target.writelines(tree.topology())
    blocks = target.tell()
    target.writelines(tree.buffers())
    end = target.tell()
    target.seek(positions)
    target.write(_POSITIONS.pack(start, blocks, end))
    target.seek(end)


def _metadata(grid: Grid, tree: TreeWriter) -> Metadata:
    """Give the metadata of a grid in the file.

    They are its own, what OpenVDB says of the file, and the grid's properties where they are not
    the default.
    """
    metadata = {key: value for key, value in grid.metadata.items() if key not in STATISTICS}
    metadata |= _statistics(grid, tree)
    properties: list[tuple[str, str, Any, Any]] = [
        ("name", "string", grid.name, ""),
        ("class", "string", grid.grid_class, "unknown"),
        ("vector_type", "string", grid.vector_type, "invariant"),
        ("is_saved_as_half_float", "bool", grid.saved_as_half, False),
    ]
    for key, kind, value, default in properties:
        if key in metadata or value != default:
            metadata[key] = MetaValue(kind, value)
    return metadata


def _statistics(grid: Grid, tree: TreeWriter) -> Metadata:
    box = grid.topology.box
    lower, upper = _NOTHING if box is None else (box.lower, box.upper)
    return {
        "file_bbox_min": MetaValue("vec3i", lower),
        "file_bbox_max": MetaValue("vec3i", upper),
        "file_compression": MetaValue("string", "blosc + active values"),
        "file_mem_bytes": MetaValue("int64", tree.memory),
        "file_voxel_count": MetaValue("int64", grid.topology.active_voxel_count),
    }
