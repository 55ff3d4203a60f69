"""From sparse grids to a .vdb file with the same leaves, tiles, values, metadata and transforms.

The bindings write the trees; the frame around them (metadata with its types, transforms with their map types, names)
is then replaced by our own, exactly as it was read.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from inrv.errors import VdbError
from inrv.grids import Grid, Metadata, MetaValue, SparseVolume
from inrv.grids.topology import LEAF_VOXELS, offset_coordinates, unpack_masks
from inrv.vdb.bindings import load_bindings
from inrv.vdb.header import (
    HALF_SUFFIX,
    MAGIC,
    SEPARATOR,
    STATISTICS,
    GridDescriptor,
    GridHeader,
    VdbHeader,
    encode_metadata,
    encode_transform,
    pack_string,
    read_grid_header,
    read_header,
)

Values = NDArray[np.float32]
_LEAF_DEPTH = 3  # what an accessor says of a voxel whose value lies in a leaf
_PART = 1 << 12  # leaves at a time
_COPY_BYTES = 1 << 22


def write_volume(path: str | os.PathLike[str], volume: SparseVolume) -> None:
    """Write `volume` to `path` so that the file there is at any moment the old one or the whole new one.

    The same volume gives the same bytes. Raises VdbError where it cannot be written, BindingsError.
    """
    module, target = load_bindings(), Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            trees, framed = os.path.join(folder, "trees.vdb"), os.path.join(folder, "framed.vdb")
            _write_trees(module, trees, volume)
            _reframe(trees, framed, volume)
            os.replace(framed, target)
    except OSError as error:
        raise VdbError(f"{target} cannot be written: {error.strerror or error}") from error
    except VdbError as error:
        raise VdbError(f"{target}: {error}") from error


def _write_trees(module: Any, path: str, volume: SparseVolume) -> None:
    """Write the grids through the bindings, named by position."""
    grids = [_build(module, grid, position) for position, grid in enumerate(volume.grids)]
    try:
        module.write(path, grids=grids)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the bindings raise errors of many types
        raise VdbError(f"OpenVDB cannot write its {len(grids)} grids: {error}") from error


def _build(module: Any, grid: Grid, position: int) -> Any:
    kind = module.FloatGrid if grid.value_type == "float" else module.Vec3SGrid
    background = grid.background.numpy()
    sentinel = np.full(grid.components, _beyond(grid), dtype=np.float32)
    tree = kind(_value(sentinel))
    _write_leaves(tree, grid, sentinel)
    tree.background = _value(background)
    _write_tiles(tree, grid)
    _write_inactive(tree, grid)
    _check_built(tree, grid, position)
    tree.name = f"{position:06d}"
    tree.saveFloatAsHalf = grid.saved_as_half
    return tree


def _check_built(tree: Any, grid: Grid, position: int) -> None:
    """Every voxel that has to be active is, and no other."""
    wanted = grid.topology.leaf_count, grid.topology.active_voxel_count
    if (tree.leafCount(), tree.activeVoxelCount()) != wanted:
        raise VdbError(
            f"grid {position} {grid.name!r} has {wanted[0]:,} leaves with {wanted[1]:,} active voxels, OpenVDB keeps "
            f"{tree.leafCount():,} with {tree.activeVoxelCount():,}: NaN, values beyond 1.5e38 and overlapping tiles are lost"
        )


def _beyond(grid: Grid) -> float:
    """A finite value no active voxel has: the bindings take what equals the background for inactive."""
    largest = float(grid.values.abs().max()) if grid.values.numel() else 0.0
    return min(2.0 * max(largest, 1.0), 3e38)


def _write_leaves(tree: Any, grid: Grid, sentinel: Values) -> None:
    topology = grid.topology
    accessor = tree.getAccessor()
    shape = (8, 8, 8) if grid.components == 1 else (8, 8, 8, grid.components)
    for first in range(0, topology.leaf_count, _PART):
        origins = topology.leaf_origins[first : first + _PART]
        masks = unpack_masks(topology.leaf_masks[first : first + _PART])
        blocks = torch.from_numpy(sentinel).repeat(len(origins), LEAF_VOXELS, 1)
        blocks[masks] = grid.values[topology.starts[first] : topology.starts[first + len(origins)]]
        for origin, block in zip(origins.tolist(), blocks.numpy(), strict=True):
            tree.copyFromArray(block.reshape(shape), ijk=tuple(origin))
            if accessor.getValueDepth(tuple(origin)) != _LEAF_DEPTH:
                _force_leaf(accessor, tuple(origin), block[0], bool((block[0] != sentinel).any()))


def _force_leaf(accessor: Any, origin: tuple[int, int, int], value: Values, active: bool) -> None:
    """Make a leaf where a constant block became a tile or nothing: setting another value and back does."""
    accessor.setValueOn(origin, _value(np.full_like(value, 0.0 if value.any() else 1.0)))
    set_back = accessor.setValueOn if active else accessor.setValueOff
    set_back(origin, _value(value))


def _write_tiles(tree: Any, grid: Grid) -> None:
    topology = grid.topology
    order = topology.tile_edges.argsort(descending=True, stable=True)
    for index in order.tolist():
        origin, edge = topology.tile_origins[index].tolist(), int(topology.tile_edges[index])
        last = [coordinate + edge - 1 for coordinate in origin]
        tree.fill(tuple(origin), tuple(last), _value(grid.tile_values[index].numpy()), bool(topology.tile_active[index]))


def _write_inactive(tree: Any, grid: Grid) -> None:
    """Give the inactive leaf voxels that do not hold the background their values, one by one: the bindings have no other way."""
    set_off = tree.getAccessor().setValueOff
    for first in range(0, len(grid.inactive.places), _PART * LEAF_VOXELS):
        places = grid.inactive.places[first : first + _PART * LEAF_VOXELS]
        corners = grid.topology.leaf_origins[places // LEAF_VOXELS]
        coordinates = (corners + offset_coordinates()[places % LEAF_VOXELS]).tolist()
        values = grid.inactive.values[first : first + len(places)]
        for place, value in zip(coordinates, (values[:, 0] if grid.components == 1 else values).tolist(), strict=True):
            set_off(tuple(place), value if grid.components == 1 else tuple(value))


def _value(values: Any) -> float | tuple[float, ...]:
    return float(values[0]) if len(values) == 1 else tuple(float(value) for value in values)


def _reframe(trees: str, framed: str, volume: SparseVolume) -> None:
    """Copy the file the bindings wrote, with our header, descriptors, metadata and transforms around its trees."""
    written = read_header(trees)
    names = unique_names([grid.name for grid in volume.grids])
    headers = [read_grid_header(trees, descriptor) for descriptor in written.grids]
    with open(trees, "rb") as source, open(framed, "wb") as target:
        target.write(_file_header(written, volume, _digest(source)))
        for grid, name, descriptor, header in zip(volume.grids, names, written.grids, headers, strict=True):
            _copy_grid(source, target, grid, name, descriptor, header)
        target.flush()
        os.fsync(target.fileno())


def unique_names(names: Sequence[str]) -> list[str]:
    """Names as OpenVDB lists them: a separator and a number behind those that occur more than once, or are empty."""
    counts, seen, result = Counter(names), Counter[str](), []
    for name in names:
        result.append(f"{name}{SEPARATOR}{seen[name]}" if counts[name] > 1 or not name else name)
        seen[name] += 1
    return result


def _file_header(written: VdbHeader, volume: SparseVolume, digest: str) -> bytes:
    uuid = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
    versions = struct.pack("<IIIB", written.version, *written.library, 1)
    return MAGIC + versions + uuid.encode() + encode_metadata(volume.metadata) + struct.pack("<i", len(volume.grids))


def _digest(file: BinaryIO) -> str:
    """A digest of the file without its own random UUID, so that the same volume gives the same file."""
    digest = hashlib.sha256()
    file.seek(len(MAGIC) + 13 + 36)
    while part := file.read(_COPY_BYTES):
        digest.update(part)
    return digest.hexdigest()


def _copy_grid(source: BinaryIO, target: BinaryIO, grid: Grid, name: str, descriptor: GridDescriptor, header: GridHeader) -> None:
    listing = pack_string(name) + pack_string(descriptor.tree_type + (HALF_SUFFIX if descriptor.half else "")) + pack_string("")
    frame = (
        struct.pack("<I", header.compression) + encode_metadata(_grid_metadata(grid, header)) + encode_transform(grid.transform)
    )
    start = target.tell() + len(listing) + 24
    shift = start + len(frame) - header.topology
    target.write(listing + struct.pack("<qqq", start, descriptor.blocks + shift, descriptor.end + shift) + frame)
    source.seek(header.topology)
    left = descriptor.end - header.topology
    while left:
        part = source.read(min(left, _COPY_BYTES))
        if not part:
            raise VdbError(f"grid {grid.name!r}: the bindings wrote {left:,} bytes fewer than they listed")
        target.write(part)
        left -= len(part)


def _grid_metadata(grid: Grid, header: GridHeader) -> Metadata:
    """The grid's own metadata, what OpenVDB says of the file, and the grid's properties where they are not the default."""
    metadata = {key: value for key, value in grid.metadata.items() if key not in STATISTICS}
    metadata |= {key: value for key, value in header.metadata.items() if key in STATISTICS}
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
