from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrv.errors import SelectionError
from inrv.grids import Box, Topology, leaf_keys, pack_masks, unpack_masks


def random_topology(seed: int, leaves: int, density: float = 0.3, spread: int = 40) -> Topology:
    random = np.random.default_rng(seed)
    origins = np.unique(random.integers(-spread, spread, (leaves, 3)), axis=0) * 8
    return Topology.from_leaves(origins, random.random((len(origins), 512)) < density)


def with_tiles(
    topology: Topology, origins: list[list[int]], edges: list[int], active: list[bool]
) -> Topology:
    return Topology(
        topology.leaf_origins,
        topology.leaf_masks,
        np.array(origins, dtype=np.int32),
        np.array(edges, dtype=np.int32),
        np.array(active),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.floats(0.0, 1.0))
def test_coordinates_and_rows_are_inverse(seed: int, leaves: int, density: float) -> None:
    topology = random_topology(seed, leaves, density)
    coordinates = topology.coordinates()
    assert len(coordinates) == topology.leaf_voxel_count == topology.active_voxel_count
    assert np.array_equal(topology.voxel_rows(coordinates), np.arange(len(coordinates)))
    assert topology.active(coordinates).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_lookup_agrees_with_a_set_of_voxels(seed: int) -> None:
    topology = random_topology(seed, 12, spread=3)
    active = {tuple(c) for c in topology.coordinates().tolist()}
    asked = np.random.default_rng(seed).integers(-40, 40, (500, 3))
    expected = [tuple(c) in active for c in asked.tolist()]
    assert topology.active(asked).tolist() == expected
    assert (topology.voxel_rows(asked) >= 0).tolist() == expected


def test_box_is_the_extent_of_the_active_voxels() -> None:
    topology = random_topology(3, 30, density=0.01)
    coordinates = topology.coordinates()
    assert topology.box == Box(
        tuple(coordinates.min(axis=0).tolist()), tuple(coordinates.max(axis=0).tolist())
    )
    assert Topology.empty().box is None


def test_box_counts_active_tiles_and_ignores_inactive_ones() -> None:
    topology = with_tiles(
        Topology.empty(), [[128, 0, -128], [4096, 0, 0]], [128, 4096], [True, False]
    )
    assert topology.box == Box((128, 0, -128), (255, 127, -1))
    assert topology.active_voxel_count == 128**3


def test_tiles_are_found_by_the_voxels_they_cover() -> None:
    origins, edges = [[-8, 0, 8], [-128, 128, 0], [-4096, 4096, 0]], [8, 128, 4096]
    topology = with_tiles(Topology.empty(), origins, edges, [True, True, False])
    asked = np.array([[-1, 7, 15], [-1, 255, 127], [-4096, 8191, 4095], [0, 0, 8], [-1, 8, 8]])
    assert topology.find_tiles(asked).tolist() == [0, 1, 2, -1, -1]
    assert topology.active(asked).tolist() == [True, True, False, False, False]


def test_leaf_order_is_node_by_node() -> None:
    origins = np.array([[0, 0, 128], [120, 120, 120], [0, 8, 0], [-8, 0, 0], [8, 0, 0]])
    ordered = origins[leaf_keys(origins).argsort()]
    assert ordered.tolist() == [[-8, 0, 0], [0, 8, 0], [8, 0, 0], [120, 120, 120], [0, 0, 128]]


def test_masks_survive_packing() -> None:
    masks = np.random.default_rng(1).random((7, 512)) < 0.5
    assert np.array_equal(unpack_masks(pack_masks(masks)), masks)


def test_chunks_cover_every_leaf_once() -> None:
    topology = random_topology(5, 40)
    spans = list(topology.chunks(700))
    assert spans[0][0] == 0 and spans[-1][1] == topology.leaf_count
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert all(int(topology.starts[b] - topology.starts[a]) <= 700 or b == a + 1 for a, b in spans)


def test_equality_sees_one_voxel() -> None:
    topology = random_topology(7, 10)
    masks = topology.leaf_masks.copy()
    masks[4, 9] ^= 1
    assert topology.equal(random_topology(7, 10))
    assert not topology.equal(Topology.from_leaves(topology.leaf_origins, masks))


def test_coordinates_beyond_the_range_are_refused() -> None:
    with pytest.raises(SelectionError, match="8388608"):
        Topology.from_leaves(np.array([[8388608, 0, 0]]), np.ones((1, 512), dtype=bool))
