"""Masks of single regions are read alone, wherever their bytes lie."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from inrv.container import Chunk, Container, Part, container_bytes, read_container
from inrv.container.layout import BITS, TOPOLOGY
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.storage.topology import StoredTopologies, store_topologies
from testing.examples import manifest_of


def rough(edge: int) -> Topology:
    """Noise in cubes of leaves in two regions: masks that take about as many bytes as bits."""
    corners = np.argwhere(np.ones((edge,) * 3)) * 8
    origins = np.concatenate([corners, corners + np.array([0, 0, 128])])
    voxels = np.random.default_rng(edge).random((len(origins), 512)) < 0.5
    return Topology.from_leaves(origins, voxels)


def stored(topologies: list[Topology]) -> tuple[Container, list[int], list[Chunk]]:
    chunks: list[Chunk] = []
    numbers = store_topologies(topologies, chunks)
    data = container_bytes(manifest_of(), chunks)
    return read_container(data), numbers, chunks


@pytest.mark.parametrize("edge", [2, 6])
def test_masks_of_a_region_are_read_alone(edge: int, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = rough(edge)
    container, (number,), chunks = stored([topology])
    apart = edge == 6
    assert [chunk.type for chunk in chunks] == ([TOPOLOGY, BITS] if apart else [TOPOLOGY])
    read: list[Part] = []
    parts = container.parts

    def noted(asked: Sequence[Part]) -> list[bytes]:
        read.extend(asked)
        return parts(asked)

    monkeypatch.setattr(container, "parts", noted)
    found = StoredTopologies(container)[number]
    second = slice(edge**3, 2 * edge**3)
    expected = found.unread(second)
    assert read == [] and len(expected) == apart
    assert np.array_equal(found.masks_at(second), topology.leaf_masks[second])
    assert read == expected and found.unread(second) == []
    some = np.array([edge**3 + 1, edge**3 + 5])
    assert np.array_equal(found.masks_at(some), topology.leaf_masks[some])
    assert np.array_equal(found.coordinates(edge**3 + 3), topology.coordinates(edge**3 + 3))
    assert read == expected and "leaf_masks" not in vars(found)
    assert found.identical(topology) and len(read) == 3 * apart
    assert pickle.loads(pickle.dumps(found)).identical(topology)


def test_any_leaves_come_with_their_masks() -> None:
    corners = 128 * np.argwhere(np.ones((3, 1, 2)))
    origins = np.concatenate([corners, corners + 8, corners + 120])
    masks = np.random.default_rng(3).integers(0, 256, (len(origins), 64), dtype=np.uint8)
    topology = Topology.from_leaves(origins, masks)
    container, (number,), _ = stored([topology])
    rng = np.random.default_rng(4)
    for _ in range(40):
        found, whole = StoredTopologies(container)[number], StoredTopologies(container)[number]
        assert whole.identical(topology)
        for _ in range(3):
            start, stop = sorted(rng.integers(0, len(origins) + 1, 2).tolist())
            run, some = slice(start, stop), np.flatnonzero(rng.random(len(origins)) < 0.2)
            for each in (found, whole):
                assert np.array_equal(each.masks_at(run), topology.leaf_masks[run])
                assert np.array_equal(each.masks_at(some), topology.leaf_masks[some])
                for level in range(5):
                    count = topology.at_multiples(level).counts[run].sum()
                    assert each.voxels_in(run, level) == count
    nothing, (number,), _ = stored([Topology.empty()])
    assert StoredTopologies(nothing)[number].masks_at(slice(0, 0)).shape == (0, 64)


def test_a_predicted_topology_is_read_by_regions() -> None:
    root = rough(6)
    other = replace(root, leaf_masks=root.leaf_masks ^ (np.arange(64) % 32 == 0).astype(np.uint8))
    container, numbers, chunks = stored([root, other])
    assert [chunk.type for chunk in chunks] == [TOPOLOGY, BITS, TOPOLOGY]  # the other is small
    predicted, first = StoredTopologies(container)[numbers[1]], slice(0, 216)
    assert predicted.unread(first) == StoredTopologies(container)[numbers[0]].unread(first)
    assert len(predicted.unread(first)) == 1
    assert np.array_equal(predicted.masks_at(first), other.leaf_masks[first])
    assert predicted.unread(first) == []
    assert predicted.identical(other)


def test_a_damaged_region_is_told() -> None:
    container, (number,), _ = stored([rough(6)])
    masks = StoredTopologies(container).masks(number)
    wrong = replace(masks, checksums=[masks.checksums[0] ^ 1, masks.checksums[1]])
    with pytest.raises(FormatError, match=r"the part of .* bytes at 0") as caught:
        wrong.masks_of([0])
    assert caught.value.id == "S15"
    assert len(wrong.masks_of([1])) == 216
