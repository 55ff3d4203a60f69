"""Values of inactive voxels as INAC chunks: their masks coded, predicted from those of the active voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrv.container import Chunk, Component, Manifest, container_bytes, pack_tensors, read_container
from inrv.container.tensors import Arrays, bytes_of_words
from inrv.entropy.masks import encode_masks
from inrv.errors import FormatError
from inrv.grids import Grid, LeafValues, Topology
from inrv.grids.topology import LEAF_VOXELS
from inrv.storage.grids import inactive_arrays, plain_inactive_arrays, restore_grid
from inrv.storage.topology import StoredTopologies, store_topologies
from testing.examples import grid_entry


def grid_of(active: torch.Tensor, inactive: torch.Tensor, tiles: int = 0) -> Grid:
    """A grid whose leaves stand in a row, with these masks bool (L, 512), and some tiles."""
    origins = torch.tensor([[0, 0, 8 * leaf] for leaf in range(len(active))], dtype=torch.int32).reshape(-1, 3)
    topology = replace(
        Topology.from_leaves(origins, active),
        tile_origins=torch.tensor([[8, 0, 8 * tile] for tile in range(tiles)], dtype=torch.int32).reshape(-1, 3),
        tile_edges=torch.full((tiles,), 8, dtype=torch.int32),
        tile_active=torch.ones(tiles, dtype=torch.bool),
    )
    places = (inactive & ~active).reshape(-1).nonzero()[:, 0]
    values = LeafValues(places, torch.linspace(-3, 3, len(places))[:, None])
    unknown = torch.full((topology.leaf_voxel_count, 1), torch.nan)
    return Grid("g", "float", torch.zeros(1), topology, unknown, torch.linspace(1, 2, tiles)[:, None], values)


def file_of(grid: Grid, kind: str, arrays: Arrays) -> bytes:
    chunks: list[Chunk] = []
    store_topologies([grid.topology], chunks, trees=True)
    chunks.append(Chunk(kind, pack_tensors(arrays)))
    counts = {"active_voxels": grid.topology.active_voxel_count, "leaf_voxels": grid.topology.leaf_voxel_count}
    entry = grid_entry("g", (Component(0.0, 0.0, None),), inactive_values=1, **counts)
    return container_bytes(Manifest("inrv", {}, (entry,), None, None, {}), chunks)


def restored(data: bytes) -> Grid:
    container = read_container(data)
    return restore_grid(container, container.manifest.grids[0], StoredTopologies(container)).grid


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    leaves=st.integers(0, 5),
    seed=st.integers(0, 1 << 30),
    active=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    inactive=st.sampled_from([0.0, 0.05, 1.0]),
    tiles=st.integers(0, 3),
)
def test_any_inactive_values_come_back(leaves: int, seed: int, active: float, inactive: float, tiles: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand((2, leaves, LEAF_VOXELS), generator=generator) < torch.tensor([active, inactive])[:, None, None]
    original = grid_of(masks[0], masks[1], tiles)
    found = restored(file_of(original, "INAC", inactive_arrays(original)))
    assert torch.equal(found.inactive.places, original.inactive.places)
    assert torch.equal(found.inactive.values, original.inactive.values)
    assert torch.equal(found.tile_values, original.tile_values)


def test_masks_that_follow_from_the_active_ones_cost_little() -> None:
    """Everything below a surface is inactive and off the background, as in a narrow band."""
    x = torch.arange(64 * LEAF_VOXELS).reshape(64, LEAF_VOXELS)
    height = ((x >> 6) & 7) + torch.randint(0, 3, (64, 1), generator=torch.Generator().manual_seed(2))
    grid = grid_of((height > 3) & (height < 6), height <= 3)
    coded, plain = inactive_arrays(grid), plain_inactive_arrays(grid)
    assert len(coded["coded_masks"]) < 300 and plain["inactive_masks"].size == 64 * 64
    data = [file_of(grid, "INAC", coded), file_of(grid, "EXAC", plain)]
    assert all(torch.equal(restored(one).inactive.places, grid.inactive.places) for one in data)


def test_a_full_leaf_takes_no_words() -> None:
    grid = grid_of(torch.ones((2, LEAF_VOXELS), dtype=torch.bool), torch.ones((2, LEAF_VOXELS), dtype=torch.bool))
    arrays = inactive_arrays(grid)
    assert not arrays["coded_masks"].size and not len(restored(file_of(grid, "INAC", arrays)).inactive.places)


def test_what_contradicts_the_active_voxels_is_refused() -> None:
    active = torch.rand((2, LEAF_VOXELS), generator=torch.Generator().manual_seed(3)) < 0.5
    grid = grid_of(active, ~active)
    arrays, topology = inactive_arrays(grid), grid.topology
    all_of_it = np.full((2, 64), 255, dtype=np.uint8)
    words = encode_masks(topology.leaf_origins.numpy(), all_of_it, topology.leaf_masks.numpy(), np.zeros(2, dtype=np.uint8))
    with pytest.raises(FormatError, match="masks of inactive voxels mark a voxel that the topology says is active"):
        restored(file_of(grid, "INAC", {**arrays, "coded_masks": bytes_of_words(words)}))
    with pytest.raises(FormatError, match="end before their"):
        restored(file_of(grid, "INAC", {**arrays, "coded_masks": np.append(arrays["coded_masks"], arrays["coded_masks"])}))
    with pytest.raises(FormatError, match="not words of 4"):
        restored(file_of(grid, "INAC", {**arrays, "coded_masks": arrays["coded_masks"][:-1]}))
    with pytest.raises(FormatError, match="'inactive_values' is float32"):
        restored(file_of(grid, "INAC", {**arrays, "inactive_values": arrays["inactive_values"][1:]}))
