"""Masks of single regions are read alone, wherever their bytes lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inrv.container import Chunk, Container, Manifest, container_bytes, read_container
from inrv.container.layout import BITS, TOPOLOGY
from inrv.errors import FormatError
from inrv.grids import Topology
from inrv.storage.topology import StoredTopologies, store_topologies


def rough(edge: int) -> Topology:
    """Noise in cubes of leaves in two regions: masks that take about as many bytes as bits."""
    corners = np.argwhere(np.ones((edge,) * 3)) * 8
    origins = np.concatenate([corners, corners + np.array([0, 0, 128])])
    voxels = np.random.default_rng(edge).random((len(origins), 512)) < 0.5
    return Topology.from_leaves(origins, voxels)


def stored(topologies: list[Topology]) -> tuple[Container, list[int], list[Chunk]]:
    chunks: list[Chunk] = []
    numbers = store_topologies(topologies, chunks)
    data = container_bytes(Manifest("inrv", {}, (), None, {}), chunks)
    return read_container(data), numbers, chunks


@pytest.mark.parametrize("edge", [2, 6])
def test_masks_of_a_region_are_read_alone(edge: int, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = rough(edge)
    container, (number,), chunks = stored([topology])
    apart = edge == 6
    assert [chunk.type for chunk in chunks] == ([TOPOLOGY, BITS] if apart else [TOPOLOGY])
    parts: list[int] = []
    part = container.part

    def noted(chunk: int, offset: int, size: int, checksum: int) -> bytes:
        parts.append(offset)
        return part(chunk, offset, size, checksum)

    monkeypatch.setattr(container, "part", noted)
    masks = StoredTopologies(container).masks(number)
    assert parts == [] and len(masks.regions) == 2
    assert np.array_equal(masks.masks_of(1), topology.leaf_masks[masks.regions[1]])
    assert parts == ([masks.starts[1]] if apart else [])
    assert StoredTopologies(container)[number].identical(topology)


def test_a_predicted_topology_is_read_by_regions() -> None:
    root = rough(6)
    other = replace(root, leaf_masks=root.leaf_masks ^ (np.arange(64) % 32 == 0).astype(np.uint8))
    container, numbers, _ = stored([root, other])
    masks = StoredTopologies(container).masks(numbers[1])
    assert masks.reference is not None
    assert np.array_equal(masks.masks_of(0), other.leaf_masks[masks.regions[0]])


def test_a_damaged_region_is_told() -> None:
    container, (number,), _ = stored([rough(6)])
    masks = StoredTopologies(container).masks(number)
    wrong = replace(masks, checksums=[masks.checksums[0] ^ 1, masks.checksums[1]])
    with pytest.raises(FormatError, match=r"the part of .* bytes at 0") as caught:
        wrong.masks_of(0)
    assert caught.value.id == "S15"
    assert len(wrong.masks_of(1)) == 216
