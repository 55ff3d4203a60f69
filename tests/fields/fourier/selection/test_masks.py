import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from inrv.errors import OptionError, SelectionError
from inrv.fields.fourier.selection import gather_samples, masks, select_voxels
from inrv.grids import Box, Normalisation, Topology, sparse_grid


def dense_mask(topology: Topology, box: Box) -> np.ndarray:
    out = np.zeros(box.shape, bool)
    out[tuple((topology.coordinates() - box.lower).T)] = True
    return out


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 19), st.tuples(*[st.integers(3, 40)] * 3))
def test_dilation_is_the_papers(seed: int, radius: int, shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    values[values < 0.98] = 0
    grid = sparse_grid(values)
    box = grid.topology.box
    if box is None:
        return
    inside = tuple(slice(low, high + 1) for low, high in zip(box.lower, box.upper, strict=True))
    expected = values[inside] > values[inside].min()  # a box of one voxel holds none
    if radius:
        expected = ndimage.binary_dilation(expected, np.ones((3, 3, 3)), iterations=radius)
    found = select_voxels([grid], "avm", radius)
    assert np.array_equal(dense_mask(found, box), expected)


def fog() -> np.ndarray:
    values = np.zeros((20, 20, 20), np.float32)
    values[4:12, 5:15, 6:9] = np.random.default_rng(0).random(
        (8, 10, 3), dtype=np.float32
    ) + np.float32(0.1)
    return values


@pytest.mark.parametrize("dilation", [10**12, math.inf])
def test_a_dilation_beyond_the_box_is_the_box(dilation: float) -> None:
    grid = sparse_grid(fog())
    assert select_voxels([grid], "avm", dilation).leaf_voxel_count == 8 * 10 * 3


def test_active_zero_voxels_are_in_the_topology_but_not_in_avm() -> None:
    values = fog()
    active = values > 0
    active[12:14, 5:15, 6:9] = True
    grid = sparse_grid(values, active=active)
    assert select_voxels([grid], "topology", 0).leaf_voxel_count == int(active.sum())
    assert select_voxels([grid], "avm", 0).leaf_voxel_count == int((values > 0).sum())


def test_avm_where_the_background_is_not_the_minimum_is_the_whole_box() -> None:
    values = fog()
    grid = sparse_grid(np.where(values > 0, values, np.float32(9)), background=9.0)
    assert select_voxels([grid], "avm", 0).leaf_voxel_count == grid.topology.box.volume


def test_avm_joins_grids() -> None:
    first, second = fog(), np.roll(fog(), 5, 0)
    found = select_voxels([sparse_grid(first), sparse_grid(second)], "avm", 0)
    assert found.leaf_voxel_count == int(((first > 0) | (second > 0)).sum())


def test_avm_takes_in_tiles_and_topology_does_not() -> None:
    grid = sparse_grid(fog())
    tiles = Topology(
        grid.topology.leaf_origins,
        grid.topology.leaf_masks,
        np.array([[24, 0, 0]], dtype=np.int32),
        np.array([8], dtype=np.int32),
        np.array([True]),
    )
    tiled = type(grid)(
        **{**vars(grid), "topology": tiles, "tile_values": np.array([[2.0]], dtype=np.float32)}
    )
    leaves = grid.topology.leaf_voxel_count
    assert select_voxels([tiled], "avm", 0).leaf_voxel_count == leaves + 512
    assert select_voxels([tiled], "topology", 0).leaf_voxel_count == leaves


def test_samples_hold_the_grids_values_in_order() -> None:
    first, second = fog(), np.roll(fog(), 5, 0)
    grids = [sparse_grid(first), sparse_grid(second)]
    normalisations = [Normalisation.fit(grid.values) for grid in grids]
    samples = gather_samples(
        grids, select_voxels(grids, "topology", 0), normalisations, active_only=True
    )
    places = tuple(samples.coordinates.numpy().T)
    span = float(first.max() - first[first > 0].min())
    expected = (first[places] - float(first[first > 0].min())) / span
    np.testing.assert_allclose(samples.targets[:, 0].numpy(), expected, rtol=1.3e-6, atol=1e-5)
    assert np.array_equal(samples.counted[:, 0].numpy(), first[places] > 0)
    assert np.array_equal(samples.counted[:, 1].numpy(), second[places] > 0)


@pytest.mark.parametrize(("selection", "dilation"), [("avm", -1), ("avm", 0.5), ("nothing", 0)])
def test_senseless_selections_are_refused(selection: str, dilation: float) -> None:
    with pytest.raises(OptionError):
        select_voxels([sparse_grid(fog())], selection, dilation)


def test_a_selection_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "LARGEST_SELECTION", 100)
    with pytest.raises(SelectionError, match="smaller dilation"):
        select_voxels([sparse_grid(fog())], "avm", math.inf)
