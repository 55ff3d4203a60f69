"""Grids as manifest entries and chunks, and back."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container import Chunk, Component, Container, GridEntry, MetaEntry, pack_tensors, stored_size, unpack_tensors
from inrv.container.tensors import Arrays, bytes_of_words, take, take_words
from inrv.entropy.masks import EMPTY, MIXED, decode_masks, encode_masks
from inrv.errors import FormatError, OptionError
from inrv.grids import COMPONENTS, FrequentValues, Grid, LeafValues, Metadata, MetaValue, Normalisation, Topology, Transform
from inrv.grids.thresholds import ABOVE
from inrv.grids.topology import mask_places
from inrv.storage.frequent import frequent_arrays, masks_of, restore_frequent
from inrv.storage.topology import StoredTopologies, store_topologies


@dataclass(frozen=True, eq=False)
class PreparedGrid:
    """What is stored of a grid beside the field.

    frequent   active leaf voxels that the field does not give, because many of them share a value
    kept       others that it does not give: those that are not finite, or lie far from all others
    spans      float64 (C,), of each component: the range of its active values but for the kept ones, to which qualities relate
    lossless   whether the field gives every value exactly
    threshold  where the topology is coarse: voxels whose decoded value scores above it, by `threshold_rule`, are active
    topology_of  number of the grid whose decoded topology a coarse one has, in place of a threshold of its own
    corrected  values of active leaf voxels that stand in place of what the field gives
    """

    grid: Grid
    normalisation: Normalisation
    frequent: FrequentValues
    exact: LeafValues
    spans: Tensor
    lossless: bool = False
    threshold: float | None = None
    threshold_rule: str = ABOVE
    topology_of: int | None = None
    outliers: LeafValues | None = None

    @cached_property
    def apart(self) -> LeafValues:
        """The frequent and the kept values."""
        return self.exact.joined(self.frequent.leaf_values)

    @cached_property
    def bits_apart(self) -> int:
        """Bits that the frequent and the kept values take in a file."""
        stored = frequent_arrays(self.frequent, self.grid.topology), exact_arrays(self.exact, self.grid.topology)
        return 8 * sum(stored_size(pack_tensors(arrays)) for arrays in stored if arrays)

    def without_frequent_values(self) -> PreparedGrid:
        """The grid, its frequent values among those that the field gives."""
        bare = replace(self, frequent=FrequentValues.none(self.grid.components))
        return replace(bare, normalisation=Normalisation.fit(bare.coded.values))

    @cached_property
    def coded(self) -> Grid:
        """The grid without the voxels whose values are stored apart: what a field is fitted to."""
        if not len(self.apart.places):
            return self.grid
        topology = self.grid.topology
        left = torch.ones(len(self.grid.values), dtype=torch.bool)
        left[topology.place_rows(self.apart.places)] = False
        return replace(self.grid, topology=without(topology, self.apart), values=self.grid.values[left])


@dataclass(frozen=True, eq=False)
class RestoredGrid:
    """A grid whose active leaf values are not yet decoded (NaN).

    frequent  values that many voxels have, which the field does not code      kept  these, and others that it does not code
    corrected  values in place of what the field gives
    """

    grid: Grid
    frequent: FrequentValues
    exact: LeafValues
    outliers: LeafValues


def without(topology: Topology, values: LeafValues) -> Topology:
    """The topology with the voxels of `values` inactive; itself where there are none."""
    if not len(values.places):
        return topology
    gone = torch.from_numpy(masks_of(values.places.cpu(), topology)).to(topology.device)
    return replace(topology, leaf_masks=topology.leaf_masks & ~gone)


def store_grids(coded: Sequence[PreparedGrid], chunks: list[Chunk], code_masks: bool) -> tuple[GridEntry, ...]:
    """Append the chunks of every grid to `chunks` (equal ones share one) and return the manifest entries.

    Outputs of the field are numbered over the varying components of all grids, in order. `code_masks`: those of tiles
    and of inactive voxels too, which a reader of version 1.1 does not understand.
    """
    entries, stored, output = [], dict[bytes, int](), 0
    topologies = store_topologies([item.grid.topology for item in coded], chunks, code_masks)
    for item, topology in zip(coded, topologies, strict=True):
        normalisation = item.normalisation
        inactive = _store_inactive(chunks, item.grid, stored, code_masks)
        frequent = _store(chunks, "FREQ", frequent_arrays(item.frequent, item.grid.topology), stored)
        exact = _store(chunks, "KEEP", exact_arrays(item.exact, item.grid.topology), stored)
        outliers = None
        if item.outliers is not None:
            outliers = _store(chunks, "KEEP", exact_arrays(item.outliers, item.grid.topology), stored)
        components = []
        ranges = zip(normalisation.minimum.tolist(), normalisation.maximum.tolist(), normalisation.varying.tolist(), strict=True)
        for minimum, maximum, varying in ranges:
            components.append(Component(minimum, maximum, output if varying else None))
            output += varying
        entry = _entry(item, topology, inactive, exact, tuple(components))
        entries.append(replace(entry, frequent_values=frequent, outliers=outliers))
    return tuple(entries)


def _store(chunks: list[Chunk], kind: str, arrays: Arrays, stored: dict[bytes, int]) -> int | None:
    if not arrays:
        return None
    data = pack_tensors(arrays)
    key = kind.encode() + data
    if key not in stored:
        stored[key] = len(chunks)
        chunks.append(Chunk(kind, data))
    return stored[key]


def _entry(
    item: PreparedGrid, topology: int, inactive: int | None, exact: int | None, components: tuple[Component, ...]
) -> GridEntry:
    grid = item.grid
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
        inactive_values=inactive,
        components=components,
        exact_values=exact,
        threshold=item.threshold,
        threshold_rule=item.threshold_rule,
        topology_of=item.topology_of,
    )


def _store_inactive(chunks: list[Chunk], grid: Grid, stored: dict[bytes, int], code_masks: bool) -> int | None:
    if code_masks and len(grid.inactive.places):
        return _store(chunks, "INAC", inactive_arrays(grid), stored)
    return _store(chunks, "EXAC", plain_inactive_arrays(grid), stored)


def inactive_arrays(grid: Grid) -> Arrays:
    """Tensors of the INAC chunk: those of EXAC, the masks of inactive voxels coded."""
    topology = grid.topology
    masks, active = masks_of(grid.inactive.places, topology), topology.leaf_masks.numpy()
    words = encode_masks(topology.leaf_origins.numpy(), masks, active, _inactive_kinds(active))
    return {
        "tile_values": grid.tile_values.numpy(),
        "coded_masks": bytes_of_words(words),
        "inactive_values": grid.inactive.values.numpy(),
    }


def _inactive_kinds(active: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Kinds of the masks of inactive voxels: leaves whose every voxel is active have none."""
    return np.where((active == 255).all(axis=1), EMPTY, MIXED).astype(np.uint8)


def plain_inactive_arrays(grid: Grid) -> Arrays:
    """Tensors of the EXAC chunk: what the field does not code. Empty where there is nothing of the kind."""
    topology = grid.topology
    if not topology.tile_count and not len(grid.inactive.places):
        return {}
    return {
        "tile_values": grid.tile_values.numpy(),
        "inactive_masks": masks_of(grid.inactive.places, topology),
        "inactive_values": grid.inactive.values.numpy(),
    }


def exact_arrays(exact: LeafValues, topology: Topology) -> Arrays:
    """Tensors of a KEEP chunk. Empty where nothing is kept."""
    if not len(exact.places):
        return {}
    return {"exact_masks": masks_of(exact.places, topology), "exact_values": exact.values.numpy()}


def restore_grid(container: Container, entry: GridEntry, topologies: StoredTopologies) -> RestoredGrid:
    """The grid of a manifest entry. Raises FormatError."""
    try:
        grid = _restore(container, entry, topologies[entry.topology])
        frequent = _restore_frequent(container, entry.frequent_values, grid)
        exact, outliers = (_restore_exact(container, number, grid) for number in (entry.exact_values, entry.outliers))
        if bool(torch.isin(exact.places, frequent.places).any()):
            raise FormatError("S10", "kept_masks mark a voxel that has a frequent value")
        return RestoredGrid(grid, frequent, exact.joined(frequent.leaf_values), outliers)
    except FormatError as error:
        raise error.within(f"grid {entry.name!r}") from error
    except OptionError as error:  # of the transform
        raise FormatError("S9", f"grid {entry.name!r}: {error}") from error


def _restore(container: Container, entry: GridEntry, topology: Topology) -> Grid:
    _check_count("active_voxels", entry.active_voxels, topology.active_voxel_count)
    _check_count("leaf_voxels", entry.leaf_voxels, topology.leaf_voxel_count)
    components = COMPONENTS[entry.value_type]
    matrix = [tuple(entry.matrix[4 * row : 4 * row + 4]) for row in range(4)]
    tiles, inactive = _restore_inactive(container, entry, topology, components)
    return Grid(
        name=entry.name,
        value_type=entry.value_type,
        background=torch.tensor(entry.background, dtype=torch.float32),
        topology=topology,
        values=torch.full((1, components), torch.nan, dtype=torch.float32).expand(topology.leaf_voxel_count, -1),
        tile_values=tiles,
        inactive=inactive,
        transform=Transform(entry.map_type, tuple(matrix)),
        grid_class=entry.grid_class,
        vector_type=entry.vector_type,
        saved_as_half=entry.saved_as_half,
        metadata=restore_metadata(entry.metadata),
    )


def _restore_inactive(
    container: Container, entry: GridEntry, topology: Topology, components: int
) -> tuple[torch.Tensor, LeafValues]:
    if entry.inactive_values is None:
        _check_count("tiles without exact values", 0, topology.tile_count)
        return torch.empty((0, components), dtype=torch.float32), LeafValues.none(components)
    arrays = unpack_tensors(container.chunk(entry.inactive_values))
    tiles = take(arrays, "tile_values", np.float32, (topology.tile_count, components))
    if container.entries[entry.inactive_values].type == "INAC":
        packed = _decode_inactive(take_words(arrays, "coded_masks"), topology)
    else:
        packed = _take_masks(arrays, "inactive_masks", topology)
    if bool((packed & topology.leaf_masks).any()):
        raise FormatError("S8", "the masks of inactive voxels mark a voxel that the topology says is active")
    return torch.from_numpy(tiles.copy()), _take_values(arrays, "inactive_values", packed, components)


def _decode_inactive(words: NDArray[np.uint32], topology: Topology) -> torch.Tensor:
    active = topology.leaf_masks.numpy()
    return torch.from_numpy(decode_masks(topology.leaf_origins.numpy(), _inactive_kinds(active), words, active))


def _restore_frequent(container: Container, number: int | None, grid: Grid) -> FrequentValues:
    if number is None:
        return FrequentValues.none(grid.components)
    return restore_frequent(unpack_tensors(container.chunk(number)), grid.topology, grid.components)


def _restore_exact(container: Container, number: int | None, grid: Grid) -> LeafValues:
    if number is None:
        return LeafValues.none(grid.components)
    arrays = unpack_tensors(container.chunk(number))
    packed = _take_masks(arrays, "exact_masks", grid.topology)
    if bool((packed & ~grid.topology.leaf_masks).any()):
        raise FormatError("S10", "kept_masks mark a voxel that the topology says is not active")
    return _take_values(arrays, "exact_values", packed, grid.components)


def _take_masks(arrays: Arrays, name: str, topology: Topology) -> torch.Tensor:
    return torch.from_numpy(take(arrays, name, np.uint8, (topology.leaf_count, 64)).copy())


def _take_values(arrays: Arrays, name: str, packed: torch.Tensor, components: int) -> LeafValues:
    """The values float32 (M, C) of the voxels that `packed` masks uint8 (L, 64) mark."""
    places = mask_places(packed)
    values = take(arrays, name, np.float32, (len(places), components))
    return LeafValues(places, torch.from_numpy(values.copy()))


def _check_count(what: str, stated: int, found: int) -> None:
    if stated != found:
        raise FormatError(
            "S7" if what.startswith("tiles") else "S6", f"{what}: the manifest says {stated:,}, the chunks hold {found:,}"
        )


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
