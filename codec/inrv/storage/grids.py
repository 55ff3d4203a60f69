"""Grids as manifest entries and chunks, and back."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from inrv.container import Chunk, Component, Container, GridEntry, MetaEntry, pack_tensors, unpack_tensors
from inrv.errors import FormatError, OptionError
from inrv.grids import COMPONENTS, Grid, InactiveValues, Metadata, MetaValue, Normalisation, Topology, Transform
from inrv.grids.topology import LEAF_VOXELS, pack_masks, unpack_masks
from inrv.storage.tensors import Arrays, take
from inrv.storage.topology import restore_topology, topology_arrays


def store_grids(grids: Sequence[Grid], normalisations: Sequence[Normalisation], chunks: list[Chunk]) -> tuple[GridEntry, ...]:
    """Append the chunks of every grid to `chunks` (equal topologies share one) and return the manifest entries.

    Outputs of the field are numbered over the varying components of all grids, in order.
    """
    entries, kept, output = [], dict[bytes, int](), 0
    for grid, normalisation in zip(grids, normalisations, strict=True):
        topology = _store(chunks, "TOPO", topology_arrays(grid.topology), kept)
        exact = exact_arrays(grid)
        exact_chunk = _store(chunks, "EXAC", exact, kept) if exact else None
        components = []
        ranges = zip(normalisation.minimum.tolist(), normalisation.maximum.tolist(), normalisation.varying.tolist(), strict=True)
        for minimum, maximum, varying in ranges:
            components.append(Component(minimum, maximum, output if varying else None))
            output += varying
        entries.append(_entry(grid, topology, exact_chunk, tuple(components)))
    return tuple(entries)


def _store(chunks: list[Chunk], kind: str, arrays: Arrays, kept: dict[bytes, int]) -> int:
    data = pack_tensors(arrays)
    key = kind.encode() + data
    if key not in kept:
        kept[key] = len(chunks)
        chunks.append(Chunk(kind, data))
    return kept[key]


def _entry(grid: Grid, topology: int, exact: int | None, components: tuple[Component, ...]) -> GridEntry:
    return GridEntry(
        name=grid.name,
        value_type=grid.value_type,
        background=tuple(grid.background.tolist()),
        grid_class=grid.grid_class,
        vector_type=grid.vector_type,
        saved_as_half=grid.saved_as_half,
        map_type=grid.transform.map_type,
        matrix=tuple(value for row in grid.transform.matrix for value in row),
        metadata=store_metadata(grid.metadata),
        active_voxels=grid.topology.active_voxel_count,
        leaf_voxels=grid.topology.leaf_voxel_count,
        topology=topology,
        exact_values=exact,
        components=components,
    )


def exact_arrays(grid: Grid) -> Arrays:
    """Tensors of the EXAC chunk: what the field does not code. Empty where there is nothing of the kind."""
    topology = grid.topology
    if not topology.tile_count and not len(grid.inactive.places):
        return {}
    masks = torch.zeros(topology.leaf_count * LEAF_VOXELS, dtype=torch.bool)
    masks[grid.inactive.places] = True
    return {
        "tile_values": grid.tile_values.numpy(),
        "inactive_masks": pack_masks(masks.reshape(-1, LEAF_VOXELS)).numpy(),
        "inactive_values": grid.inactive.values.numpy(),
    }


def restore_grid(container: Container, entry: GridEntry) -> Grid:
    """The grid of a manifest entry, its active leaf values not yet decoded (NaN). Raises FormatError."""
    try:
        return _restore(container, entry)
    except (FormatError, OptionError) as error:
        raise FormatError(f"grid {entry.name!r}: {error}") from error


def _restore(container: Container, entry: GridEntry) -> Grid:
    topology = restore_topology(unpack_tensors(container.chunk(entry.topology)))
    _check_count("active_voxels", entry.active_voxels, topology.active_voxel_count)
    _check_count("leaf_voxels", entry.leaf_voxels, topology.leaf_voxel_count)
    components = COMPONENTS[entry.value_type]
    matrix = [tuple(entry.matrix[4 * row : 4 * row + 4]) for row in range(4)]
    tiles, inactive = _restore_exact(container, entry, topology, components)
    return Grid(
        name=entry.name,
        value_type=entry.value_type,
        background=torch.tensor(entry.background, dtype=torch.float32),
        topology=topology,
        values=torch.full((1, components), torch.nan).expand(topology.leaf_voxel_count, -1),
        tile_values=tiles,
        inactive=inactive,
        transform=Transform(entry.map_type, tuple(matrix)),
        grid_class=entry.grid_class,
        vector_type=entry.vector_type,
        saved_as_half=entry.saved_as_half,
        metadata=restore_metadata(entry.metadata),
    )


def _restore_exact(
    container: Container, entry: GridEntry, topology: Topology, components: int
) -> tuple[torch.Tensor, InactiveValues]:
    if entry.exact_values is None:
        _check_count("tiles without exact values", 0, topology.tile_count)
        return torch.empty((0, components)), InactiveValues.none(components)
    arrays = unpack_tensors(container.chunk(entry.exact_values))
    tiles = take(arrays, "tile_values", np.float32, (topology.tile_count, components))
    masks = unpack_masks(torch.from_numpy(take(arrays, "inactive_masks", np.uint8, (topology.leaf_count, 64)).copy()))
    if bool((masks & unpack_masks(topology.leaf_masks)).any()):
        raise FormatError("inactive_masks mark a voxel that the topology says is active")
    places = masks.reshape(-1).nonzero()[:, 0]
    values = take(arrays, "inactive_values", np.float32, (len(places), components))
    return torch.from_numpy(tiles.copy()), InactiveValues(places, torch.from_numpy(values.copy()))


def _check_count(what: str, stated: int, found: int) -> None:
    if stated != found:
        raise FormatError(f"{what}: the manifest says {stated:,}, the chunks hold {found:,}")


def store_metadata(metadata: Metadata) -> dict[str, MetaEntry]:
    """Metadata as manifest entries; raw bytes in base64."""
    return {name: MetaEntry(value.type, _stored_value(value.value)) for name, value in metadata.items()}


def _stored_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    return list(value) if isinstance(value, tuple) else value


def restore_metadata(entries: dict[str, MetaEntry]) -> Metadata:
    """The metadata of manifest entries."""
    return {name: MetaValue(entry.type, _restored_value(entry.value)) for name, entry in entries.items()}


def _restored_value(value: Any) -> Any:
    if isinstance(value, dict) and "base64" in value:
        return base64.b64decode(value["base64"], validate=True)
    return tuple(value) if isinstance(value, (list, tuple)) else value
