import numpy as np
import pytest
from numpy.typing import NDArray

from inrv.errors import OptionError, SelectionError
from inrv.grids import (
    Box,
    Grid,
    LeafValues,
    Normalisation,
    PassthroughGrid,
    SparseVolume,
    Topology,
    block_coordinates,
    denormalise,
    sparse_grid,
)


def level_set_like() -> tuple[Grid, NDArray[np.float32]]:
    """A band of active voxels, -background inside; with the dense values it stands for."""
    axis = np.arange(24, dtype=np.float32) - np.float32(11.5)
    squares = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    dense = np.clip(np.sqrt(squares) - 8, -3, 3)
    grid = sparse_grid(dense, background=3.0, active=np.abs(dense) < 3)
    blocks = dense.reshape(3, 8, 3, 8, 3, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512)
    origins = block_coordinates(np.argwhere(np.ones((3, 3, 3))) * 8)[::512]
    leaf = grid.topology.find_leaves(origins)
    inside = np.argwhere(blocks == -3)
    inside = inside[leaf[inside[:, 0]] >= 0]
    places = leaf[inside[:, 0]] * 512 + inside[:, 1]
    order = places.argsort()
    return Grid(
        **{
            **vars(grid),
            "inactive": LeafValues(places[order], np.full((len(order), 1), -3, dtype=np.float32)),
        }
    ), dense


def test_dense_and_lookup_give_inactive_values_tiles_and_background() -> None:
    grid, dense = level_set_like()
    box = Box((0, 0, 0), (23, 23, 23))
    missing = grid.topology.find_leaves(np.array([[8, 8, 8]])).item()
    expected = dense.copy()
    if missing < 0:  # the middle leaf holds no active voxel: it is a tile in a real level set
        expected[8:16, 8:16, 8:16] = 3.0
    assert np.array_equal(grid.dense(box)[..., 0], expected)
    points = np.argwhere(np.ones((24, 24, 24)))
    assert np.array_equal(grid.lookup(points)[:, 0], expected.reshape(-1))


def test_a_tile_fills_its_voxels() -> None:
    topology = Topology(*vars(Topology.empty()).values())
    tiles = Topology(
        topology.leaf_origins, topology.leaf_masks, np.array([[8, 0, 0]], dtype=np.int32),
        np.array([8], dtype=np.int32), np.array([True]),
    )  # fmt: skip
    none, five = np.empty((0, 1), dtype=np.float32), np.array([[5]], dtype=np.float32)
    grid = Grid("t", "float", np.zeros(1, dtype=np.float32), tiles, none, five, LeafValues.none(1))
    dense = grid.dense(Box((6, 0, 0), (17, 1, 1)))[:, 0, 0, 0]
    assert dense.tolist() == [0, 0] + [5.0] * 8 + [0, 0]
    assert grid.lookup(np.array([[15, 7, 7], [16, 0, 0]])).tolist() == [[5.0], [0.0]]


def test_dense_box_may_lie_anywhere() -> None:
    array = np.random.default_rng(0).random((9, 17, 5), dtype=np.float32)
    grid = sparse_grid(array)
    assert np.array_equal(grid.dense(Box((0, 0, 0), (8, 16, 4)))[..., 0], array)
    assert np.array_equal(grid.dense(Box((3, 2, 1), (4, 4, 3)))[..., 0], array[3:5, 2:5, 1:4])
    assert not grid.dense(Box((100, 0, 0), (103, 3, 3))).any()


def test_vector_arrays_become_vec3s() -> None:
    array = np.random.default_rng(0).random((8, 8, 9, 3), dtype=np.float32)
    grid = sparse_grid(array, name="velocity")
    assert grid.value_type == "vec3s" and grid.components == 3
    assert np.array_equal(grid.dense(Box((0, 0, 0), (7, 7, 8))), array)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2), (0, 4, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="shape"):
        sparse_grid(np.zeros(shape))


def test_what_is_shown_of_a_grid_is_a_line() -> None:
    values = np.zeros((9, 20, 20), np.float32)
    values[2:, 3:5, 4] = 1
    grid = sparse_grid(values, "fog", metadata={"frame": 7})
    line = "<inrv.Grid 'fog': float, fog volume, 14 active voxels, box (2, 3, 4) to (8, 4, 4)>"
    assert repr(grid) == line
    assert repr(grid.topology) == "<Topology of 2 leaves and 0 tiles>"
    assert repr(grid.inactive) == "<LeafValues of 0 voxels>"
    empty = sparse_grid(np.zeros((1, 1, 1, 3)), "wind")
    assert repr(empty) == "<inrv.Grid 'wind': vec3s, unknown, 0 active voxels>"
    passed = PassthroughGrid(1, "ids", "Tree_int32_5_4_3", False, None, 0, bytes(1234), "integers")
    shown = "<inrv.PassthroughGrid 'ids': Tree_int32_5_4_3, 1,234 bytes (integers)>"
    assert repr(passed) == shown
    assert repr(SparseVolume((grid, empty), passthrough=(passed,))).splitlines() == [
        "<inrv.SparseVolume of 3 grids>",
        f"  {line}",
        f"  {empty!r}",
        f"  {shown}",
    ]


def test_normalisation_is_exact_at_both_ends() -> None:
    values = np.array([[0.1, 7.0], [1e6, 7.0], [-3.3, 7.0]], dtype=np.float32)
    normalisation = Normalisation.fit(values)
    assert normalisation.varying.tolist() == [True, False]
    outputs = normalisation.apply(values)
    low, high = normalisation.minimum[0].item(), normalisation.maximum[0].item()
    assert denormalise(outputs[:, 0], low, high)[1:].tolist() == values[1:, 0].tolist()
    assert denormalise(np.array([-9.0, 9.0]), low, high).tolist() == values[[2, 1], 0].tolist()


def test_box_arithmetic() -> None:
    box = Box((-3, 0, 5), (12, 7, 9))
    assert box.shape == (16, 8, 5) and box.volume == 640
    assert box.intersection(Box((13, 0, 0), (20, 20, 20))) is None
    assert len(box.leaf_origins()) == 3 * 1 * 2
    with pytest.raises(OptionError, match="empty"):
        Box((0, 0, 0), (1, -1, 1))


@pytest.mark.parametrize("origin", [(-3, 5, 130), np.array([4096, -4096, 7]), [8.0, 0, 0]])
def test_an_array_may_be_a_part_of_a_larger_one(origin: object) -> None:
    array = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32) - 0.5
    active = np.abs(array) < 0.4
    grid = sparse_grid(array, background=0.5, active=active, grid_class="level set", origin=origin)
    corner = np.array(origin, dtype=int)
    assert np.array_equal(
        np.unique(grid.topology.coordinates(), axis=0), np.argwhere(active) + corner
    )
    place = tuple((grid.topology.coordinates() - corner).T)
    assert np.array_equal(grid.values[:, 0], array[place])
    inside = grid.topology.coordinates_of(grid.inactive.places) - corner
    assert np.array_equal(np.unique(inside, axis=0), np.argwhere(~active & (array < 0)))


def test_an_array_lies_within_index_space() -> None:
    array = np.ones((9, 9, 9), dtype=np.float32)
    with pytest.raises(SelectionError, match=r"voxel coordinate 1099511627784 is beyond"):
        sparse_grid(array, origin=(1 << 40, 0, 0))
    with pytest.raises(OptionError, match=r"the origin \[0.5, 0.0, 0.0\] is not three whole"):
        sparse_grid(array, origin=(0.5, 0, 0))
