"""Topologies as TREE chunks: leaves and small tiles coded as cells of blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inrv.container.tensors import bytes_of_words
from inrv.entropy.masks import MIXED, encode_masks
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.storage.tree import restore_tree, tree_arrays

MOST = 1 << 12
ONE_OF_EACH = np.zeros((1, 64), dtype=np.uint8)
ONE_OF_EACH[0, 0] = 1


def topology(leaves: list[list[int]], tiles: list[tuple[list[int], int]]) -> Topology:
    origins = torch.tensor(leaves, dtype=torch.int32).reshape(-1, 3)
    whole = Topology.from_leaves(origins, torch.ones((len(leaves), 512), dtype=torch.bool))
    return replace(
        whole,
        tile_origins=torch.tensor([origin for origin, _ in tiles], dtype=torch.int32).reshape(-1, 3),
        tile_edges=torch.tensor([edge for _, edge in tiles], dtype=torch.int32),
        tile_active=torch.arange(len(tiles)) % 2 == 0,
    )


def moved(original: Topology, x: int) -> Topology:
    return replace(original, leaf_origins=original.leaf_origins + torch.tensor([x, 0, 0], dtype=torch.int32))


def same_frame(one: Topology, other: Topology) -> bool:
    names = ("leaf_origins", "tile_origins", "tile_edges", "tile_active")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    cells=st.sets(st.tuples(*[st.integers(-40, 40)] * 3), max_size=40),
    share=st.floats(0, 1),
    large=st.integers(0, 2),
    mixed=st.booleans(),
)
def test_leaves_and_tiles_come_back_in_order(cells: set[tuple[int, int, int]], share: float, large: int, mixed: bool) -> None:
    ordered = sorted(cells)
    leaves = [[8 * at for at in cell] for cell in ordered[: int(share * len(ordered))]]
    tiles = [([8 * at for at in cell], 8) for cell in ordered[len(leaves) :]]
    far = [([4096 * (2 + number), 0, 0], 128 * 32 ** (number % 2)) for number in range(large)]
    original = topology(leaves, tiles + far if mixed else far + tiles)
    assert same_frame(restore_tree(tree_arrays(original), MOST), original)


def test_tiles_in_ascending_order_take_no_origins() -> None:
    arrays = tree_arrays(topology([[0, 0, 0]], [([4096, 0, 0], 4096), ([8, 0, 0], 8), ([8, 8, 0], 8), ([128, 0, 0], 8)]))
    assert arrays["tile_edges"].tolist() == [4096] and len(arrays["tile_active"]) == 4


@pytest.mark.parametrize(
    ("of_leaves", "of_tiles", "message"),
    [
        (ONE_OF_EACH, ONE_OF_EACH, "a cell of a block is a leaf and a tile"),
        (ONE_OF_EACH * 0, ONE_OF_EACH * 0, "a block holds neither a leaf nor a tile"),
    ],
)
def test_cells_that_contradict_are_refused(of_leaves: np.ndarray, of_tiles: np.ndarray, message: str) -> None:
    arrays = tree_arrays(topology([[0, 0, 0]], []))
    origins, kinds = np.zeros((1, 3), dtype=np.int32), np.array([MIXED], dtype=np.uint8)
    arrays["leaf_words"] = bytes_of_words(encode_masks(origins, of_leaves, None, kinds))
    arrays["tile_words"] = bytes_of_words(encode_masks(origins, of_tiles, of_leaves, kinds))
    arrays["tile_active"] = np.unpackbits(of_tiles)[:1] * 0
    with pytest.raises(FormatError, match=message):
        restore_tree(arrays, MOST)


def test_too_many_leaves_or_blocks_are_refused_before_they_are_listed() -> None:
    arrays = tree_arrays(topology([[8 * x, 0, 0] for x in range(40)], []))
    for most in (4, 39):
        with pytest.raises(FormatError, match="exceed the limit of leaves and tiles"):
            restore_tree(arrays, most)


def test_too_many_cells_are_refused_before_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 cells of a block take no more than its mask, and their masks hardly a word."""
    arrays = tree_arrays(topology([[8 * x, 8 * y, 8 * z] for x in range(8) for y in range(8) for z in range(8)], []))
    monkeypatch.setattr("inrv.storage.tree._cells", None)
    with pytest.raises(FormatError, match=r"512 leaves and 0 tiles, .* exceed the limit of leaves and tiles by 1"):
        restore_tree(arrays, 511)
    arrays = tree_arrays(topology([], [([8 * x, 0, 0], 8) for x in range(8)]))
    with pytest.raises(FormatError, match=r"0 leaves and 8 tiles, .* by 1"):
        restore_tree(arrays, 7)


def test_no_leaf_and_no_tile() -> None:
    arrays = tree_arrays(topology([], []))
    assert same_frame(restore_tree(arrays, 0), topology([], []))
    assert not any(array.size for array in arrays.values())


@pytest.mark.parametrize(
    "edges", [(8, 4096, 8), (8, 8, 128), (128, 8, 4096, 8), (4096, 128), (8,)], ids=lambda edges: "-".join(map(str, edges))
)
def test_tiles_that_a_mask_cannot_order_keep_their_origins(edges: tuple[int, ...]) -> None:
    tiles = [([-8192 * (1 + number), 0, 0], edge) for number, edge in enumerate(edges)]
    original, ascending = topology([[8, 0, 0]], tiles), edges == (8,)
    arrays = tree_arrays(original)
    assert len(arrays["tile_edges"]) == (0 if ascending else len(edges)) and (arrays["tile_words"].size > 0) == ascending
    assert same_frame(restore_tree(arrays, MOST), original)


@pytest.mark.parametrize("at", [-8384512, 8384512, 8384512 + 120])
def test_leaves_at_the_ends_of_the_coordinates(at: int) -> None:
    """As far as a chunk of another type may have them: what counts is the node."""
    original = moved(topology([[0, 0, 0]], []), at)
    assert same_frame(restore_tree(tree_arrays(original), MOST), original)


@pytest.mark.parametrize("at", [-8384512 - 8, 8384512 + 128])
def test_cells_beyond_the_range_of_coordinates_are_refused(at: int) -> None:
    with pytest.raises(FormatError, match="nodes of leaves hold a coordinate beyond"):
        restore_tree(tree_arrays(moved(topology([[0, 0, 0]], []), at)), MOST)
    with pytest.raises(FormatError, match="tile_origins hold a coordinate beyond"):
        restore_tree(tree_arrays(topology([], [([at, 0, 0], 8)])), MOST)
    arrays = tree_arrays(topology([[0, 0, 0]], []))
    arrays["block_origins"] = np.array([[1 << 22, 0, 0]], dtype=np.int32)  # times 8, beyond 32 bits' half
    with pytest.raises(FormatError, match="nodes of leaves hold a coordinate beyond"):
        restore_tree(arrays, MOST)
