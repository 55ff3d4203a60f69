"""From a .vdb file to sparse grids: leaf by leaf, so that memory follows the leaves and not the bounding box."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrv.errors import InrvError, OptionError, SelectionError, UnsupportedGridError, VdbError
from inrv.grids import COMPONENTS, Grid, InactiveValues, Metadata, SparseVolume, Topology
from inrv.grids.topology import LEAF_VOXELS, check_range, unpack_masks
from inrv.vdb.bindings import load_bindings
from inrv.vdb.header import STATISTICS, GridDescriptor, GridHeader, decode_transform, read_grid_header, read_header
from inrv.vdb.nodes import TreeNodes, read_nodes

VALUE_TYPES = {"Tree_float_5_4_3": "float", "Tree_vec3s_5_4_3": "vec3s"}
Blocks = NDArray[np.float32]
_PART = 1 << 12  # leaves at a time


def list_grids(path: str | os.PathLike[str]) -> tuple[GridDescriptor, ...]:
    """Every grid of a .vdb file, of any type, as the file lists it. Raises VdbError."""
    return read_header(os.fspath(path)).grids


def read_volume(path: str | os.PathLike[str], grids: Sequence[str | int] | None = None) -> SparseVolume:
    """The float and vec3s grids of a .vdb file, in file order; `grids` chooses some by name or position, in that order.

    Raises VdbError where the file cannot be read, UnsupportedGridError for a grid of another type or with a transform
    that is not linear, OptionError where a chosen grid is not there, BindingsError.
    """
    name = os.fspath(path)
    header = read_header(name)
    chosen = header.grids if grids is None else tuple(dict.fromkeys(_choose(name, header.grids, wanted) for wanted in grids))
    for descriptor in chosen:
        _check_type(name, descriptor, header.grids)
        _check_address(name, descriptor, header.grids)
    module = load_bindings()
    return SparseVolume(tuple(_read_grid(module, name, descriptor, header.grids) for descriptor in chosen), header.metadata)


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


def _check_address(path: str, descriptor: GridDescriptor, grids: Sequence[GridDescriptor]) -> None:
    """The bindings find grids by name alone: refuse one whose address leads to another grid too."""
    for other in grids:
        if other is not descriptor and descriptor.address in (other.address, other.unique_name):
            raise VdbError(
                f"{path}: grids {descriptor.position} and {other.position} both answer to {descriptor.address!r}, "
                "and OpenVDB cannot tell them apart: rename one of them"
            )


def _read_grid(module: Any, path: str, descriptor: GridDescriptor, grids: Sequence[GridDescriptor]) -> Grid:
    where = f"{path}: grid {descriptor.position} {descriptor.name!r}"
    header = read_grid_header(path, descriptor)
    owner = next((read_grid_header(path, g) for g in grids if g.unique_name == descriptor.parent), header)
    components = COMPONENTS[VALUE_TYPES[descriptor.tree_type]]
    try:
        source = module.read(path, descriptor.address)
        nodes = read_nodes(path, owner.topology, components, descriptor.half, owner.compression)
        return _convert(source, descriptor, header, nodes)
    except (SelectionError, OptionError) as error:
        raise type(error)(f"{where}: {error}") from error
    except (InrvError, MemoryError):
        raise
    except Exception as error:  # the bindings raise KeyError, IoError, LookupError, RuntimeError and more for bad bytes
        raise VdbError(f"{where} cannot be read: {_reason(error)}; the file may be truncated or damaged") from error


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _convert(source: Any, descriptor: GridDescriptor, header: GridHeader, nodes: TreeNodes) -> Grid:
    value_type = VALUE_TYPES[descriptor.tree_type]
    background = np.float32(source.background).reshape(COMPONENTS[value_type])
    tile_values, tile_active = _read_tiles(source, nodes, len(background))
    kept = tile_active | (tile_values != background).any(axis=1)
    topology = _topology(nodes, tile_active, kept)
    if (topology.leaf_count, topology.active_voxel_count) != (source.leafCount(), source.activeVoxelCount()):
        raise VdbError(
            f"the file lists {topology.leaf_count:,} leaves with {topology.active_voxel_count:,} active voxels, OpenVDB finds "
            f"{source.leafCount():,} with {source.activeVoxelCount():,}"
        )
    values, inactive = _read_leaves(source, topology, background)
    metadata = {key: value for key, value in header.metadata.items() if key not in STATISTICS}
    return Grid(
        name=descriptor.name,
        value_type=value_type,
        background=torch.from_numpy(background),
        topology=topology,
        values=values,
        tile_values=torch.from_numpy(tile_values[kept]),
        inactive=inactive,
        transform=decode_transform(header.map_type, header.map_data),
        grid_class=_text(metadata, "class", "unknown"),
        vector_type=_text(metadata, "vector_type", "invariant"),
        saved_as_half=descriptor.half,
        metadata=metadata,
    )


def _text(metadata: Metadata, key: str, default: str) -> str:
    entry = metadata.get(key)
    return entry.value if entry is not None and isinstance(entry.value, str) else default


def _topology(nodes: TreeNodes, tile_active: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Topology:
    """All leaves and the `kept` tiles."""
    leaf_origins, tile_origins = torch.from_numpy(nodes.leaf_origins), torch.from_numpy(nodes.tile_origins[kept])
    check_range(tile_origins)
    return replace(
        Topology.from_leaves(leaf_origins, torch.from_numpy(nodes.leaf_masks)),
        tile_origins=tile_origins.to(torch.int32),
        tile_edges=torch.from_numpy(nodes.tile_edges[kept]),
        tile_active=torch.from_numpy(tile_active[kept]),
    )


def _read_tiles(source: Any, nodes: TreeNodes, components: int) -> tuple[Blocks, NDArray[np.bool_]]:
    """Values float32 (T, C) and states (T,) of the tiles."""
    probe = source.getConstAccessor().probeValue
    values = np.empty((len(nodes.tile_origins), components), dtype=np.float32)
    active = np.empty(len(values), dtype=bool)
    for index, origin in enumerate(nodes.tile_origins.tolist()):
        values[index], active[index] = probe(tuple(origin))
    return values, active


def _read_leaves(source: Any, topology: Topology, background: Blocks) -> tuple[torch.Tensor, InactiveValues]:
    """Values of the active leaf voxels and of the inactive ones off the background; a part of the leaves at a time."""
    values = np.empty((topology.leaf_voxel_count, len(background)), dtype=np.float32)
    places, inactive = [np.empty(0, dtype=np.int64)], [np.empty((0, len(background)), dtype=np.float32)]
    for first in range(0, topology.leaf_count, _PART):
        last = min(first + _PART, topology.leaf_count)
        blocks = _read_blocks(source, topology.leaf_origins[first:last].tolist(), len(background))
        masks = unpack_masks(topology.leaf_masks[first:last]).numpy()
        values[int(topology.starts[first]) : int(topology.starts[last])] = blocks[masks]
        inside = ~masks & (blocks != background).any(axis=2)
        places.append(np.flatnonzero(inside) + first * LEAF_VOXELS)
        inactive.append(blocks[inside])
    return torch.from_numpy(values), InactiveValues(
        torch.from_numpy(np.concatenate(places)), torch.from_numpy(np.concatenate(inactive))
    )


def _read_blocks(source: Any, origins: Sequence[Sequence[int]], components: int) -> Blocks:
    """All 512 values of the leaves at `origins`: float32 (L, 512, C)."""
    shape = (len(origins), 8, 8, 8) if components == 1 else (len(origins), 8, 8, 8, components)
    blocks = np.empty(shape, dtype=np.float32)
    for block, origin in zip(blocks, origins, strict=True):
        source.copyToArray(block, ijk=tuple(origin))
    return blocks.reshape(len(origins), LEAF_VOXELS, components)
