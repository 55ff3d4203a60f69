"""From a .vdb file to sparse grids: leaf by leaf, so that memory follows the leaves and not the bounding box."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrv.errors import InrvError, OptionError, SelectionError, UnsupportedGridError, VdbError
from inrv.grids import Grid, InactiveValues, SparseVolume, Topology
from inrv.grids.topology import LEAF_VOXELS, check_range, pack_masks
from inrv.vdb.bindings import load_bindings
from inrv.vdb.header import STATISTICS, GridDescriptor, GridHeader, decode_transform, read_grid_header, read_header

VALUE_TYPES = {"Tree_float_5_4_3": "float", "Tree_vec3s_5_4_3": "vec3s"}
TILE_DEPTHS = {0: 4096, 1: 128, 2: 8}
LEAF_DEPTH = 3
Origin = tuple[int, int, int]
Tile = tuple[Origin, int]
Blocks = NDArray[np.float32]


def list_grids(path: str | os.PathLike[str]) -> tuple[GridDescriptor, ...]:
    """Every grid of a .vdb file, of any type, as the file lists it. Raises VdbError."""
    return read_header(os.fspath(path)).grids


def read_volume(path: str | os.PathLike[str], grids: Sequence[str | int] | None = None) -> SparseVolume:
    """The float and vec3s grids of a .vdb file, in file order; `grids` chooses some by name or position.

    Raises VdbError where the file cannot be read, UnsupportedGridError for a grid of another type or with a transform
    that is not linear, OptionError where a chosen grid is not there, BindingsError.
    """
    name = os.fspath(path)
    header = read_header(name)
    chosen = header.grids if grids is None else tuple(_choose(name, header.grids, wanted) for wanted in grids)
    for descriptor in chosen:
        _check_type(name, descriptor, header.grids)
    module = load_bindings()
    return SparseVolume(tuple(_read_grid(module, name, descriptor) for descriptor in chosen), header.metadata)


def _choose(path: str, grids: Sequence[GridDescriptor], wanted: str | int) -> GridDescriptor:
    for descriptor in grids:
        if wanted in (descriptor.position, descriptor.address) or wanted == descriptor.name:
            return descriptor
    raise OptionError(f"{path}: no grid {wanted!r}; it holds {', '.join(repr(g.address) for g in grids) or 'none'}")


def _check_type(path: str, descriptor: GridDescriptor, grids: Sequence[GridDescriptor]) -> None:
    if descriptor.tree_type in VALUE_TYPES:
        return
    others = [f"--grid {g.address!r}" for g in grids if g.tree_type in VALUE_TYPES]
    cure = f"choose the others with {' '.join(others)}" if others else "the file holds no other grid"
    raise UnsupportedGridError(
        f"{path}: grid {descriptor.position} {descriptor.name!r} is of type {descriptor.tree_type}; "
        f"inrv codes {' and '.join(VALUE_TYPES)}: {cure}"
    )


def _read_grid(module: Any, path: str, descriptor: GridDescriptor) -> Grid:
    where = f"{path}: grid {descriptor.position} {descriptor.name!r}"
    header = read_grid_header(path, descriptor)
    try:
        return _convert(module.read(path, descriptor.address), descriptor, header)
    except (SelectionError, OptionError) as error:
        raise type(error)(f"{where}: {error}") from error
    except InrvError:
        raise
    except Exception as error:  # the bindings raise KeyError, IoError, LookupError, RuntimeError and more for bad bytes
        raise VdbError(f"{where} cannot be read: {_reason(error)}; the file may be truncated or damaged") from error


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _convert(source: Any, descriptor: GridDescriptor, header: GridHeader) -> Grid:
    value_type = VALUE_TYPES[descriptor.tree_type]
    components = 1 if value_type == "float" else 3
    background = np.float32(source.background).reshape(components)
    leaf_origins, tiles = find_nodes(source)
    origins = torch.tensor(leaf_origins, dtype=torch.int64).reshape(-1, 3)
    check_range(origins)
    order = Topology.order_of(origins)
    origins = origins[order]
    blocks = read_blocks(source, origins.tolist(), components)
    tile_values, tile_active = _read_tiles(source, tiles, components)
    kept = tile_active | (tile_values != background).any(axis=1)
    tile_voxels = sum(edge**3 for (_, edge), active in zip(tiles, tile_active, strict=True) if active)
    masks = active_masks(source, origins.tolist(), blocks, background, int(source.activeVoxelCount()) - tile_voxels)
    edges = np.array([edge for _, edge in tiles], dtype=np.int32)[kept]
    tile_origins = np.array([origin for origin, _ in tiles], dtype=np.int64).reshape(-1, 3)[kept]
    check_range(torch.from_numpy(tile_origins))
    topology = Topology(
        origins.to(torch.int32),
        pack_masks(torch.from_numpy(masks)),
        torch.from_numpy(tile_origins.astype(np.int32)),
        torch.from_numpy(edges),
        torch.from_numpy(tile_active[kept]),
    )
    inside = ~masks & (blocks != background).any(axis=2)
    metadata = {key: value for key, value in header.metadata.items() if key not in STATISTICS}
    return Grid(
        name=descriptor.name,
        value_type=value_type,
        background=torch.from_numpy(background),
        topology=topology,
        values=torch.from_numpy(blocks[masks]),
        tile_values=torch.from_numpy(tile_values[kept]),
        inactive=InactiveValues(torch.from_numpy(np.flatnonzero(inside)), torch.from_numpy(blocks[inside])),
        transform=decode_transform(header.map_type, header.map_data),
        grid_class=_text(metadata, "class", "unknown"),
        vector_type=_text(metadata, "vector_type", "invariant"),
        saved_as_half=descriptor.half,
        metadata=metadata,
    )


def _text(metadata: dict[str, Any], key: str, default: str) -> str:
    entry = metadata.get(key)
    return entry.value if entry is not None and isinstance(entry.value, str) else default


def find_nodes(source: Any) -> tuple[list[Origin], list[Tile]]:
    """Origins of all leaves, and origin and edge of all tiles, those that hold the background among them.

    Asks at one voxel a node how deep its value lies: a value below a node's own level means that its child exists.
    Inactive nodes may also lie outside the active box; then the counts do not agree and every value is looked at.
    """
    leaves, tiles, internal = _probe_nodes(source)
    if len(leaves) == source.leafCount() and internal + 1 == source.nonLeafCount():
        return leaves, tiles
    return _iterate_nodes(source)


def _probe_nodes(source: Any) -> tuple[list[Origin], list[Tile], int]:
    """Leaves, tiles and the number of internal nodes within the 4096^3 blocks that the active box touches."""
    depth = source.getConstAccessor().getValueDepth
    leaves: list[Origin] = []
    tiles: list[Tile] = []
    internal = 0
    lower, upper = source.evalActiveVoxelBoundingBox()
    for root in _corners(lower, upper, 4096):
        if (level := depth(root)) < 1:
            tiles += [(root, 4096)] if level == 0 else []
            continue
        internal += 1
        for node in _corners(root, _far(root, 4096), 128):
            if depth(node) < 2:
                tiles.append((node, 128))
                continue
            internal += 1
            for leaf in _corners(node, _far(node, 128), 8):
                if depth(leaf) == LEAF_DEPTH:
                    leaves.append(leaf)
                else:
                    tiles.append((leaf, 8))
    return leaves, tiles, internal


def _iterate_nodes(source: Any) -> tuple[list[Origin], list[Tile]]:
    """The same by a walk over all values of the tree, voxel by voxel."""
    leaves: set[Origin] = set()
    tiles: list[Tile] = []
    for values in (source.citerOnValues(), source.citerOffValues()):
        for item in values:
            x, y, z = item.min
            if item.depth == LEAF_DEPTH:
                leaves.add((x // 8 * 8, y // 8 * 8, z // 8 * 8))
            else:
                tiles.append(((x, y, z), TILE_DEPTHS[item.depth]))
    return list(leaves), tiles


def _far(origin: Origin, edge: int) -> Origin:
    return origin[0] + edge - 1, origin[1] + edge - 1, origin[2] + edge - 1


def _corners(low: Sequence[int], high: Sequence[int], edge: int) -> Iterator[Origin]:
    """Origins of the nodes of that edge that touch the box from `low` to `high`."""
    return product(*(range(a // edge * edge, b + 1, edge) for a, b in zip(low, high, strict=True)))  # type: ignore[return-value]


def read_blocks(source: Any, origins: Sequence[Sequence[int]], components: int) -> Blocks:
    """All 512 values of the leaves at `origins`: float32 (L, 512, C)."""
    shape = (len(origins), 8, 8, 8) if components == 1 else (len(origins), 8, 8, 8, components)
    blocks = np.empty(shape, dtype=np.float32)
    for block, origin in zip(blocks, origins, strict=True):
        source.copyToArray(block, ijk=tuple(origin))
    return blocks.reshape(len(origins), LEAF_VOXELS, components)


def _read_tiles(source: Any, tiles: Sequence[tuple[Origin, int]], components: int) -> tuple[Blocks, NDArray[np.bool_]]:
    probe = source.getConstAccessor().probeValue
    found = [probe(origin) for origin, _ in tiles]
    values = np.array([value for value, _ in found], dtype=np.float32).reshape(len(tiles), components)
    return values, np.array([active for _, active in found], dtype=bool)


def active_masks(
    source: Any, origins: Sequence[Sequence[int]], blocks: Blocks, background: Blocks, expected: int
) -> NDArray[np.bool_]:
    """Which voxels of the leaves are active, bool (L, 512); `expected` of them are.

    A copy whose background is moved outside the data shows inactive voxels by it; where inactive voxels hold other
    values, a copy with its active values set to 1 and the others to 0 tells exactly, more slowly.
    """
    components = blocks.shape[2]
    beyond = 2 * float(
        np.nanmax(np.abs(np.append(blocks, background)), initial=1.0, where=np.isfinite(np.append(blocks, background)))
    )
    sentinel = np.float32(min(beyond, 3e38))
    copy = source.deepCopy()
    copy.background = _value(np.full(components, sentinel))
    masks: NDArray[np.bool_] = (np.abs(read_blocks(copy, origins, components)) != sentinel).any(axis=2)
    if int(masks.sum()) == expected:
        return masks
    copy = source.deepCopy()
    one, zero = _value(np.ones(components)), _value(np.zeros(components))
    copy.mapOn(lambda _: one)
    copy.mapOff(lambda _: zero)
    marked: NDArray[np.bool_] = (read_blocks(copy, origins, components) == 1).all(axis=2)
    return marked


def _value(values: NDArray[Any]) -> float | tuple[float, ...]:
    return float(values[0]) if len(values) == 1 else tuple(float(value) for value in values)
