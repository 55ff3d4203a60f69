"""Leaves and tiles as tensors of a TOPO chunk: those of 8^3 voxels are cells of blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inrv.entropy.masks import MIXED, encode_masks
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.storage.coded_masks import pack_coded
from inrv.storage.skeleton import pack_skeleton, unpack_skeleton

MOST = 1 << 12
ONE_OF_EACH = np.zeros((1, 64), dtype=np.uint8)
ONE_OF_EACH[0, 0] = 1


def topology(leaves: list[list[int]], tiles: list[tuple[list[int], int]]) -> Topology:
    origins = np.array(leaves, dtype=np.int32).reshape(-1, 3)
    whole = Topology.from_leaves(origins, np.ones((len(leaves), 512), dtype=np.bool_))
    return replace(
        whole,
        tile_origins=np.array([origin for origin, _ in tiles], dtype=np.int32).reshape(-1, 3),
        tile_edges=np.array([edge for _, edge in tiles], dtype=np.int32),
        tile_active=np.arange(len(tiles)) % 2 == 0,
    )


def moved(original: Topology, x: int) -> Topology:
    return replace(original, leaf_origins=original.leaf_origins + np.int32([x, 0, 0]))


def same_skeleton(one: Topology, other: Topology) -> bool:
    names = ("leaf_origins", "tile_origins", "tile_edges", "tile_active")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    cells=st.sets(st.tuples(*[st.integers(-40, 40)] * 3), max_size=40),
    share=st.floats(0, 1),
    large=st.integers(0, 2),
    mixed=st.booleans(),
)
def test_leaves_and_tiles_come_back_in_order(
    cells: set[tuple[int, int, int]], share: float, large: int, mixed: bool
) -> None:
    ordered = sorted(cells)
    leaves = [[8 * at for at in cell] for cell in ordered[: int(share * len(ordered))]]
    tiles = [([8 * at for at in cell], 8) for cell in ordered[len(leaves) :]]
    far = [([4096 * (2 + number), 0, 0], 128 * 32 ** (number % 2)) for number in range(large)]
    original = topology(leaves, tiles + far if mixed else far + tiles)
    assert same_skeleton(unpack_skeleton(pack_skeleton(original), MOST), original)


def test_tiles_in_ascending_order_take_no_origins() -> None:
    cells = [([8, 0, 0], 8), ([8, 8, 0], 8), ([128, 0, 0], 8)]
    arrays = pack_skeleton(topology([[0, 0, 0]], [([4096, 0, 0], 4096), *cells]))
    assert arrays["tile_edges"].tolist() == [4096] and len(arrays["tile_active"]) == 4


@pytest.mark.parametrize(
    ("of_leaves", "of_tiles", "message"),
    [
        (ONE_OF_EACH, ONE_OF_EACH, "a cell of a block is a leaf and a tile"),
        (ONE_OF_EACH * 0, ONE_OF_EACH * 0, "a block holds neither a leaf nor a tile"),
    ],
)
def test_cells_that_contradict_are_refused(
    of_leaves: np.ndarray, of_tiles: np.ndarray, message: str
) -> None:
    arrays = pack_skeleton(topology([[0, 0, 0]], []))
    origins, kinds = np.zeros((1, 3), dtype=np.int32), np.array([MIXED], dtype=np.uint8)
    arrays |= pack_coded("leaf", encode_masks(origins, of_leaves, None, kinds))
    arrays |= pack_coded("tile", encode_masks(origins, of_tiles, of_leaves, kinds))
    arrays["tile_active"] = np.unpackbits(of_tiles)[:1] * 0
    with pytest.raises(FormatError, match=message) as caught:
        unpack_skeleton(arrays, MOST)
    assert caught.value.id == "S13"


def test_too_many_leaves_or_blocks_are_refused_before_they_are_listed() -> None:
    arrays = pack_skeleton(topology([[8 * x, 0, 0] for x in range(40)], []))
    for most in (4, 39):
        with pytest.raises(FormatError, match="exceed the limit of leaves and tiles") as caught:
            unpack_skeleton(arrays, most)
        assert caught.value.id == "L2"


def test_too_many_cells_are_refused_before_they_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """512 cells of a block take no more than its mask, and their masks hardly a byte."""
    cells = [[8 * x, 8 * y, 8 * z] for x in range(8) for y in range(8) for z in range(8)]
    arrays = pack_skeleton(topology(cells, []))
    monkeypatch.setattr("inrv.storage.skeleton._cell_origins", None)
    message = r"512 leaves and 0 tiles, .* exceed the limit of leaves and tiles by 1"
    with pytest.raises(FormatError, match=message):
        unpack_skeleton(arrays, 511)
    arrays = pack_skeleton(topology([], [([8 * x, 0, 0], 8) for x in range(8)]))
    with pytest.raises(FormatError, match=r"0 leaves and 8 tiles, .* by 1"):
        unpack_skeleton(arrays, 7)


def test_no_leaf_and_no_tile() -> None:
    arrays = pack_skeleton(topology([], []))
    assert same_skeleton(unpack_skeleton(arrays, 0), topology([], []))
    assert not any(array.size for array in arrays.values())


@pytest.mark.parametrize(
    "edges",
    [(8, 4096, 8), (8, 8, 128), (128, 8, 4096, 8), (4096, 128), (8,)],
    ids=lambda edges: "-".join(map(str, edges)),
)
def test_tiles_that_a_mask_cannot_order_keep_their_origins(edges: tuple[int, ...]) -> None:
    tiles = [([-8192 * (1 + number), 0, 0], edge) for number, edge in enumerate(edges)]
    original, ascending = topology([[8, 0, 0]], tiles), edges == (8,)
    arrays = pack_skeleton(original)
    assert len(arrays["tile_edges"]) == (0 if ascending else len(edges))
    assert (arrays["tile_bytes"].size > 0) == ascending
    assert same_skeleton(unpack_skeleton(arrays, MOST), original)


@pytest.mark.parametrize("at", [-8384512, 8384512, 8384512 + 120])
def test_leaves_at_the_ends_of_the_coordinates(at: int) -> None:
    """What counts is the node that holds a leaf."""
    original = moved(topology([[0, 0, 0]], []), at)
    assert same_skeleton(unpack_skeleton(pack_skeleton(original), MOST), original)


@pytest.mark.parametrize("at", [-8384512 - 8, 8384512 + 128])
def test_cells_beyond_the_range_of_coordinates_are_refused(at: int) -> None:
    with pytest.raises(FormatError, match="nodes of leaves hold a coordinate beyond"):
        unpack_skeleton(pack_skeleton(moved(topology([[0, 0, 0]], []), at)), MOST)
    with pytest.raises(FormatError, match="tile_origins hold a coordinate beyond"):
        unpack_skeleton(pack_skeleton(topology([], [([at, 0, 0], 8)])), MOST)
    arrays = pack_skeleton(topology([[0, 0, 0]], []))
    arrays["block_origins"] = np.array([[1 << 22, 0, 0]], dtype=np.int32)  # in cells of 8 voxels
    with pytest.raises(FormatError, match="nodes of leaves hold a coordinate beyond"):
        unpack_skeleton(arrays, MOST)
