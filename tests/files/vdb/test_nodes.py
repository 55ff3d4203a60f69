"""Trees as OpenVDB builds them: our reading of them against what OpenVDB says of every place."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inrv import Grid, MetaValue, SparseVolume, Transform, VdbError
from inrv.files.vdb import list_grids, read_volume, write_volume
from inrv.files.vdb.header import read_grid_header
from inrv.grids import LeafValues, Topology, sparse_grid
from testing.vdb.referee import HandTree, load_openvdb, vdb_file

Values = list[float] | list[tuple[float, float, float]]


def save(path: Path, *trees: Any) -> None:
    load_openvdb().write(str(path), grids=list(trees))


def tree_with(*active: tuple[int, int, int]) -> Any:
    tree = load_openvdb().FloatGrid()
    tree.name = "density"
    for place in active:
        tree.getAccessor().setValueOn(place, 1.0)
    return tree


def assert_openvdb_agrees(tree: Any, grid: Grid, places: Sequence[tuple[int, int, int]]) -> None:
    assert grid.topology.leaf_count == tree.leafCount()
    assert grid.topology.active_voxel_count == tree.activeVoxelCount()
    probe = tree.getConstAccessor().probeValue
    values, active = zip(*[probe(place) for place in places], strict=True)
    coordinates = np.array(places)
    assert np.array_equal(
        grid.lookup(coordinates), np.array(values, dtype=np.float32).reshape(len(places), -1)
    )
    assert grid.topology.active(coordinates).tolist() == list(active)


def random_tree(
    random: np.random.Generator, components: int, values: Values, steps: int
) -> tuple[Any, list[tuple[int, int, int]]]:
    """A tree of random fills of whole nodes and single voxels, and places in and around them."""
    module = load_openvdb()
    tree = (module.FloatGrid if components == 1 else module.Vec3SGrid)(values[0])
    tree.name = "density"
    places = []
    for _ in range(steps):
        edge = int(random.choice([1, 8, 128, 4096]))
        x, y, z = (random.integers(-2, 2, 3) * 4096 + random.integers(0, 4096, 3)) // edge * edge
        value, active = values[random.integers(len(values))], bool(random.integers(2))
        low, high = (
            (int(x), int(y), int(z)),
            (int(x) + edge - 1, int(y) + edge - 1, int(z) + edge - 1),
        )
        tree.fill(low, high, value, active)
        places += [low, high, (low[0] - 1, low[1], low[2]), (high[0], high[1], high[2] + 1)]
    return tree, places


def tree_bytes(path: Path) -> bytes:
    (listed,) = list_grids(path)
    return path.read_bytes()[read_grid_header(str(path), listed).topology : listed.end]


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.integers(0, 1 << 30),
    st.booleans(),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([2, 3, 6]),
)
def test_random_trees(
    tmp_path: Path, seed: int, vectors: bool, steps: int, half: bool, kinds: int
) -> None:
    """Few kinds of values give nodes with selection masks, many give nodes with all values."""
    background = 0.5
    scalars = [background, -background, 0.25, 0.0, 3.0, -7.0][:kinds]
    values: Values = [(v, 2 * v, -v) for v in scalars] if vectors else scalars
    tree, places = random_tree(np.random.default_rng(seed), 3 if vectors else 1, values, steps)
    tree.saveFloatAsHalf = half
    save(tmp_path / "tree.vdb", tree)
    grid = read_volume(tmp_path / "tree.vdb").grids[0]
    assert_openvdb_agrees(tree, grid, places)
    write_volume(tmp_path / "again.vdb", SparseVolume((grid,)))
    again = load_openvdb().read(str(tmp_path / "again.vdb"), "density")
    assert_openvdb_agrees(again, grid, places)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kinds", [2, 3, 6])
@pytest.mark.parametrize("vectors", [False, True])
def test_the_bytes_are_those_openvdb_writes(
    tmp_path: Path, seed: int, kinds: int, vectors: bool
) -> None:
    """The trees have no nodes that say nothing.

    Of an odd number of half floats BLOSC would make other bytes here.
    """
    scalars = [0.5, -0.5, 0.25, 0.0, 3.0, -7.0][:kinds]
    values: Values = [(v, 2 * v, -v) for v in scalars] if vectors else scalars
    tree, _ = random_tree(np.random.default_rng(seed), 3 if vectors else 1, values, 1 + 2 * seed)
    tree.prune((0.0, 0.0, 0.0) if vectors else 0.0)
    save(tmp_path / "theirs.vdb", tree)
    write_volume(tmp_path / "ours.vdb", read_volume(tmp_path / "theirs.vdb"))
    assert tree_bytes(tmp_path / "ours.vdb") == tree_bytes(tmp_path / "theirs.vdb")
    theirs, ours = (
        read_grid_header(str(path), *list_grids(path))
        for path in (tmp_path / "theirs.vdb", tmp_path / "ours.vdb")
    )
    assert ours.metadata == {
        key: value for key, value in theirs.metadata.items() if key != "file_delayed_load"
    }


def test_nodes_outside_the_active_box(tmp_path: Path) -> None:
    tree = tree_with((0, 0, 0))
    tree.fill((8192, 0, 0), (8192 + 4095, 4095, 4095), 5.0, False)
    accessor = tree.getAccessor()
    for place, value in (((9, -9000, 0), 3.0), ((-9000, 0, 0), 0.0)):
        accessor.setValueOn(place, 1.0)
        accessor.setValueOff(place, value)
    save(tmp_path / "far.vdb", tree)
    grid = read_volume(tmp_path / "far.vdb").grids[0]
    assert (grid.topology.leaf_count, grid.topology.tile_count) == (3, 1)
    assert_openvdb_agrees(
        tree, grid, [(9, -9000, 0), (-9000, 0, 0), (8192, 0, 0), (0, 0, 0), (12288, 0, 0)]
    )


def test_strays_at_the_ends_of_the_world_are_read_at_once(tmp_path: Path) -> None:
    """Two voxels span a box of 10^9 blocks of 4096^3: only what is there may take time."""
    tree = tree_with((-4_000_000,) * 3, (4_000_000,) * 3)
    save(tmp_path / "strays.vdb", tree)
    grid = read_volume(tmp_path / "strays.vdb").grids[0]
    assert_openvdb_agrees(tree, grid, [(-4_000_000,) * 3, (4_000_000,) * 3, (0, 0, 0)])


def test_grids_that_share_a_tree(tmp_path: Path) -> None:
    tree = tree_with((1, 2, 3), (100, 0, 0))
    other = tree.copy()
    other.name = "shared"
    other.transform = load_openvdb().createLinearTransform(0.25)
    save(tmp_path / "shared.vdb", tree, other)
    assert [grid.parent for grid in list_grids(tmp_path / "shared.vdb")] == ["", "density"]
    for chosen in (None, ["shared"]):
        grid = read_volume(tmp_path / "shared.vdb", chosen).grids[-1]
        assert grid.name == "shared" and grid.transform.voxel_size == (0.25,) * 3
        assert_openvdb_agrees(tree, grid, [(1, 2, 3), (100, 0, 0), (0, 0, 0)])


@pytest.mark.parametrize("half", [False, True])
def test_a_file_without_compression(tmp_path: Path, half: bool) -> None:
    path, tree = tmp_path / "plain.vdb", HandTree(half=half, inactive={511: -1.0}, kind=6)
    path.write_bytes(vdb_file(tree.grid()))
    grid = read_volume(path).grids[0]
    assert (
        grid.values.tolist() == [[9.0]]
        and grid.inactive.places.tolist() == [511]
        and grid.saved_as_half is half
    )
    assert grid.topology.tile_edges.tolist() == [4096, 128] and grid.tile_values.tolist() == [
        [3.0],
        [2.0],
    ]
    seen = load_openvdb().read(str(path), "density")
    assert_openvdb_agrees(
        seen, grid, [(0, 0, 0), (0, 0, 1), (7, 7, 7), (0, 0, 128), (4100, 0, 0), (-1, 0, 0)]
    )


@pytest.mark.parametrize("number", ["f", "d"])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("compression", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", range(7))
def test_every_way_to_store_values(
    tmp_path: Path, number: str, components: int, half: bool, compression: int, kind: int
) -> None:
    inactive = {
        0: {},
        1: dict.fromkeys(range(1, 512), -0.5),
        2: dict.fromkeys(range(1, 512), 7.0),
    }.get(kind)
    if inactive is None:
        two = dict.fromkeys(range(1, 300), 7.0) | dict.fromkeys(range(300, 512), 8.0)
        inactive = {
            3: {7: -0.5, 9: -0.5},
            4: {7: 2.0, 8: 2.0},
            5: two,
            6: {7: 1.0, 9: 2.0, 300: 3.0},
        }[kind]
    tree = HandTree(
        number, components, half, compression, leaf={0: 9.0}, inactive=inactive, kind=kind
    )
    path = tmp_path / "kind.vdb"
    path.write_bytes(vdb_file(tree.grid(), version=222 + kind % 4))
    (grid,) = read_volume(path, doubles="float").grids
    assert (
        grid.values.tolist() == [[9.0] * components]
        and grid.background.tolist() == [0.5] * components
    )
    assert (
        dict(zip(grid.inactive.places.tolist(), grid.inactive.values[:, -1].tolist(), strict=True))
        == inactive
    )
    assert grid.value_type == ("float" if components == 1 else "vec3s") and grid.tile_values[
        :, -1
    ].tolist() == [3.0, 2.0]
    if number == "f" and (
        compression & 2 or kind == 6
    ):  # other kinds mean something only where active values are stored alone
        seen = load_openvdb().read(str(path), "density")
        assert_openvdb_agrees(
            seen, grid, [(0, 0, k) for k in range(8)] + [(7, 7, 7), (0, 0, 128), (4100, 0, 0)]
        )


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize(("version", "compression"), [(219, 1), (220, 0), (221, 1)])
def test_old_files(
    tmp_path: Path, version: int, compression: int, components: int, half: bool
) -> None:
    path = tmp_path / "old.vdb"
    tree = HandTree(
        "f", components, half, compression, leaf={1: 9.0, 300: 4.0}, inactive={7: -1.0}, old=True
    )
    path.write_bytes(vdb_file(tree.grid(), tree.grid("second"), version=version))
    volume = read_volume(path)
    for grid in volume.grids:
        assert grid.values.tolist() == [
            [9.0] * components,
            [4.0] * components,
        ] and grid.inactive.places.tolist() == [7]
        seen = load_openvdb().read(str(path), grid.name)
        assert_openvdb_agrees(
            seen,
            grid,
            [(0, 0, k) for k in range(8)] + [(4, 5, 4), (7, 7, 7), (0, 0, 128), (4100, 0, 0)],
        )
    write_volume(tmp_path / "new.vdb", volume)
    assert read_volume(tmp_path / "new.vdb").vdb_version == (222, 10, 0)
    assert_openvdb_agrees(
        load_openvdb().read(str(tmp_path / "new.vdb"), "density"),
        grid,
        [(0, 0, 0), (0, 0, 1), (0, 0, 128)],
    )


def test_old_files_whose_grids_would_be_passed_through_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.vdb"
    path.write_bytes(vdb_file(HandTree("i", background=0, old=True).grid("flags"), version=221))
    with pytest.raises(
        VdbError, match=r"old\.vdb: grid 0 'flags' cannot be coded \(int32 values\).*save it anew"
    ):
        read_volume(path)


def test_damaged_trees(tmp_path: Path) -> None:
    path, refused = tmp_path / "damaged.vdb", 0
    path.write_bytes(vdb_file(HandTree(compression=3, inactive={3: -0.5}, kind=3).grid()))
    header, data = read_grid_header(str(path), list_grids(path)[0]), path.read_bytes()
    for at in [*range(header.topology, len(data), 97), *range(len(data) - 90, len(data))]:
        for damaged in (data[:at], data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]):
            path.write_bytes(damaged)
            try:
                read_volume(path)
            except VdbError as error:
                refused += 1
                assert "damaged.vdb: grid 0 'density'" in str(error) or "ends at byte" in str(error)
    assert refused > 150


@pytest.mark.parametrize("size", [1 << 40, -(1 << 40), -(1 << 63)])
def test_sizes_that_are_not_there_are_not_believed(tmp_path: Path, size: int) -> None:
    tree, path = HandTree(compression=1), tmp_path / "size.vdb"
    data = vdb_file(tree.grid())
    path.write_bytes(
        data[: -len(tree.buffers())]
        + tree.buffers()[:65]
        + struct.pack("<q", size)
        + tree.buffers()[73:]
    )
    with pytest.raises(VdbError, match=r"size\.vdb: grid 0 'density'.*damaged"):
        read_volume(path)


def test_a_leaf_that_contradicts_its_node_is_refused(tmp_path: Path) -> None:
    tree, path = HandTree(), tmp_path / "masks.vdb"
    data = bytearray(vdb_file(tree.grid()))
    data[-len(tree.buffers())] ^= 4
    path.write_bytes(data)
    with pytest.raises(VdbError, match="other active voxels"):
        read_volume(path)


def test_nodes_of_a_root_that_overlap_are_refused(tmp_path: Path) -> None:
    path, data = tmp_path / "root.vdb", vdb_file(HandTree().grid())
    for corner in ((0, 0, 0), (4097, 0, 0)):
        path.write_bytes(
            data.replace(struct.pack("<iii", 4096, 0, 0), struct.pack("<iii", *corner))
        )
        with pytest.raises(VdbError, match="side by side"):
            read_volume(path)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 2.0, -3.0])
@pytest.mark.parametrize("components", [1, 3])
def test_constant_leaves_stay_leaves(tmp_path: Path, value: float, components: int) -> None:
    shape = (8, 8, 8) if components == 1 else (8, 8, 8, 3)
    grid = sparse_grid(np.full(shape, value), background=0.5, active=np.ones((8, 8, 8), dtype=bool))
    write_volume(tmp_path / "constant.vdb", SparseVolume((grid,)))
    found = read_volume(tmp_path / "constant.vdb").grids[0]
    assert found.topology.equal(grid.topology) and np.array_equal(found.values, grid.values)


TILES = {
    "tile over a leaf": [[0, 0, 0, 8]],
    "tile over a node": [[0, 0, 0, 128]],
    "root tile over a node": [[0, 0, 0, 4096]],
    "tile over a tile": [[128, 0, 0, 8], [128, 0, 0, 128]],
    "tile twice": [[128, 0, 0, 8], [128, 0, 0, 8]],
    "tile off its lattice": [[12, 0, 0, 8]],
    "tile too far": [[1 << 24, 0, 0, 8]],
}


@pytest.mark.parametrize("kind", TILES)
def test_what_a_tree_cannot_hold_is_refused(tmp_path: Path, kind: str) -> None:
    grid, table = (
        sparse_grid(np.random.default_rng(0).random((8, 8, 8))),
        np.array(TILES[kind], dtype=np.int32),
    )
    tiles = table[:, :3], table[:, 3], np.ones(len(table), dtype=bool)
    topology = Topology(grid.topology.leaf_origins, grid.topology.leaf_masks, *tiles)
    tiled = replace(grid, topology=topology, tile_values=np.ones((len(table), 1), dtype=np.float32))
    with pytest.raises(VdbError, match=r"out\.vdb: grid 0 'density'"):
        write_volume(tmp_path / "out.vdb", SparseVolume((tiled,)))
    with pytest.raises(VdbError, match=r"out\.vdb: grid 0 'density': 3 values for 512"):
        write_volume(
            tmp_path / "out.vdb",
            SparseVolume((grid.with_values(np.ones((3, 1), dtype=np.float32)),)),
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "entry",
    [
        MetaValue("int32", 1 << 40),
        MetaValue("int32", "text"),
        MetaValue("int32", b"\0"),
        MetaValue("float", 1e39),
        MetaValue("vec3i", (1, 2)),
        MetaValue("string", 5),
        MetaValue("string", "\ud800"),
        MetaValue("someones_type", 5),
    ],
)
def test_metadata_that_does_not_fit_its_type_is_refused(tmp_path: Path, entry: MetaValue) -> None:
    grid = replace(sparse_grid(np.ones((8, 8, 8))), metadata={"key": entry})
    with pytest.raises(VdbError, match=r"out\.vdb.*'key'"):
        write_volume(tmp_path / "out.vdb", SparseVolume((grid,)))
    assert not list(tmp_path.iterdir())


def test_a_grid_without_a_name_is_listed_as_openvdb_lists_it(tmp_path: Path) -> None:
    tree = tree_with((0, 0, 0))
    tree.name = ""
    save(tmp_path / "theirs.vdb", tree)
    write_volume(tmp_path / "ours.vdb", read_volume(tmp_path / "theirs.vdb"))
    theirs, ours = (list_grids(tmp_path / name)[0] for name in ("theirs.vdb", "ours.vdb"))
    assert ours.unique_name == theirs.unique_name and ours.address == "[0]"


def test_names_that_openvdb_cannot_tell_apart(tmp_path: Path) -> None:
    """Asked for 'a[1]', OpenVDB gives the grid of that name, not the second 'a'."""
    names = ["a[1]", "a", "a"]
    grids = [
        replace(sparse_grid(np.full((4, 4, 4), 1.0 + n)), name=name) for n, name in enumerate(names)
    ]
    write_volume(tmp_path / "names.vdb", SparseVolume(tuple(grids)))
    found = read_volume(tmp_path / "names.vdb").grids
    assert [(grid.name, grid.values[0].item()) for grid in found] == [
        ("a[1]", 1.0),
        ("a", 2.0),
        ("a", 3.0),
    ]
    assert read_volume(tmp_path / "names.vdb", [2]).grids[0].values[0].item() == 3.0


def test_a_leaf_of_inactive_values_only(tmp_path: Path) -> None:
    topology = Topology.from_leaves(np.array([[8, 16, -8]]), np.zeros((1, 512), dtype=bool))
    inactive = LeafValues(np.arange(512), np.arange(512, dtype=np.float32)[:, None] + 1)
    grid = replace(sparse_grid(np.ones((1, 1, 1))), topology=topology, inactive=inactive)
    grid = grid.with_values(np.empty((0, 1), dtype=np.float32))
    write_volume(tmp_path / "inactive.vdb", SparseVolume((grid,)))
    found = read_volume(tmp_path / "inactive.vdb").grids[0]
    assert found.topology.equal(topology) and np.array_equal(found.inactive.places, inactive.places)
    assert np.array_equal(found.inactive.values, inactive.values)


def test_a_rotation_alone_stays_a_unitary_map(tmp_path: Path) -> None:
    rows = ((0.0, 1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    transform = Transform("UnitaryMap", rows)
    write_volume(
        tmp_path / "turned.vdb",
        SparseVolume((replace(sparse_grid(np.ones((4, 4, 4))), transform=transform),)),
    )
    assert read_volume(tmp_path / "turned.vdb").grids[0].transform == transform
    seen = load_openvdb().read(str(tmp_path / "turned.vdb"), "density").transform
    assert seen.typeName == "UnitaryMap" and seen.indexToWorld((3, 5, 7)) == (-5, 3, 7)
