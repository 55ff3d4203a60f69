"""Values of tiles and inactive voxels as INAC chunks.

Masks are coded, predicted from those of the active voxels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.container import (
    Arrays,
    Chunk,
    Component,
    container_bytes,
    pack_tensors,
    read_container,
)
from inrv.entropy.masks import encode_masks
from inrv.errors import FormatError
from inrv.grids import LEAF_VOXELS, Grid, LeafValues, Topology
from inrv.storage import StoredGrids
from inrv.storage.coded_masks import pack_coded
from inrv.storage.topology import store_topologies
from inrv.storage.values import pack_inactive
from testing.examples import grid_entry, keys_of_topology, manifest_of


def grid_of(active: NDArray[np.bool_], inactive: NDArray[np.bool_], tiles: int = 0) -> Grid:
    """A grid whose leaves stand in a row, with these masks bool (L, 512), and some tiles."""
    origins = np.array([[0, 0, 8 * leaf] for leaf in range(len(active))], np.int32).reshape(-1, 3)
    topology = replace(
        Topology.from_leaves(origins, active),
        tile_origins=np.array([[8, 0, 8 * tile] for tile in range(tiles)], np.int32).reshape(-1, 3),
        tile_edges=np.full(tiles, 8, dtype=np.int32),
        tile_active=np.ones(tiles, dtype=np.bool_),
    )
    places = np.flatnonzero(inactive & ~active)
    values = LeafValues(places, np.linspace(-3, 3, len(places), dtype=np.float32)[:, None])
    unknown = np.full((topology.leaf_voxel_count, 1), np.nan, dtype=np.float32)
    tile_values = np.linspace(1, 2, tiles, dtype=np.float32)[:, None]
    background = np.zeros(1, dtype=np.float32)
    return Grid("g", "float", background, topology, unknown, tile_values, values)


def file_of(grid: Grid, arrays: Arrays) -> bytes:
    chunks: list[Chunk] = []
    store_topologies([grid.topology], chunks)
    keys = keys_of_topology(grid.topology)
    if arrays:
        chunks.append(Chunk("INAC", pack_tensors(arrays)))
    stored = 1 if arrays else None
    entry = grid_entry("g", (Component(0.0, 0.0, None),), inactive_values=stored, **keys)
    return container_bytes(manifest_of([entry]), chunks)


def restored(data: bytes) -> Grid:
    return StoredGrids(read_container(data))[0].grid


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    leaves=st.integers(0, 5),
    seed=st.integers(0, 1 << 30),
    active=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    inactive=st.sampled_from([0.0, 0.05, 1.0]),
    tiles=st.integers(0, 3),
)
def test_any_inactive_values_come_back(
    leaves: int, seed: int, active: float, inactive: float, tiles: int
) -> None:
    random = np.random.default_rng(seed).random((2, leaves, LEAF_VOXELS))
    original = grid_of(random[0] < active, random[1] < inactive, tiles)
    found = restored(file_of(original, pack_inactive(original)))
    assert np.array_equal(found.inactive.places, original.inactive.places)
    assert np.array_equal(found.inactive.values, original.inactive.values)
    assert np.array_equal(found.tile_values, original.tile_values)


def test_tiles_without_inactive_voxels_take_no_bytes() -> None:
    masks = np.arange(2 * LEAF_VOXELS).reshape(2, -1) % 3 == 0
    grid = grid_of(masks, masks, 2)
    arrays = pack_inactive(grid)
    assert not arrays["mask_bytes"].size and len(arrays["tile_values"]) == 2
    assert not len(restored(file_of(grid, arrays)).inactive.places)


def test_neither_tiles_nor_inactive_voxels_are_no_chunk() -> None:
    masks = np.arange(LEAF_VOXELS)[None] % 3 == 0
    assert pack_inactive(grid_of(masks, masks)) == {}


def test_masks_that_follow_from_the_active_ones_cost_little() -> None:
    """Everything below a surface is inactive and off the background, as in a narrow band."""
    x = np.arange(64 * LEAF_VOXELS).reshape(64, LEAF_VOXELS)
    height = ((x >> 6) & 7) + np.random.default_rng(2).integers(0, 3, (64, 1))
    grid = grid_of((height > 3) & (height < 6), height <= 3)
    arrays = pack_inactive(grid)
    assert len(arrays["mask_bytes"]) < 300
    found = restored(file_of(grid, arrays))
    assert np.array_equal(found.inactive.places, grid.inactive.places)


def test_a_full_leaf_takes_no_words() -> None:
    half = np.ones((2, LEAF_VOXELS), dtype=np.bool_)
    half[1, 7] = False
    mixed = grid_of(half, ~half)
    full = mixed.topology.leaf_masks[:1]
    alone = replace(mixed.topology, leaf_origins=np.int32([[0, 0, 0]]), leaf_masks=full)
    assert encode_masks(alone.leaf_origins, full, full, np.full(1, 2, np.uint8)) == [b""]
    assert restored(file_of(mixed, pack_inactive(mixed))).inactive.places.tolist() == [512 + 7]


def test_what_contradicts_the_active_voxels_is_refused() -> None:
    active = np.random.default_rng(3).random((2, LEAF_VOXELS)) < 0.5
    grid = grid_of(active, ~active)
    arrays, topology = pack_inactive(grid), grid.topology
    every, kinds = np.full((2, 64), 255, dtype=np.uint8), np.zeros(2, dtype=np.uint8)
    parts = encode_masks(topology.leaf_origins, every, topology.leaf_masks, kinds)
    coded, lengths = arrays["mask_bytes"], arrays["mask_lengths"]
    marked = "masks of inactive voxels mark a voxel that the topology says is active"
    for id, message, changed in (
        ("S8", marked, pack_coded("mask", parts)),
        ("S11", "their lengths say", {"mask_bytes": np.append(coded, coded)}),
        ("S11", "their lengths say", {"mask_lengths": -lengths}),
        ("S11", "damaged", {"mask_bytes": coded[:-2], "mask_lengths": lengths - 2}),
        ("S3", "mask_lengths", {"mask_lengths": np.append(lengths, 0).astype(np.int32)}),
        ("S3", "'inactive_values' is float32", {"inactive_values": arrays["inactive_values"][1:]}),
    ):
        with pytest.raises(FormatError, match=message) as caught:
            restored(file_of(grid, {**arrays, **changed}))
        assert caught.value.id == id
