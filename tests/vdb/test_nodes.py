"""Trees as OpenVDB builds them: our reading of their nodes against what OpenVDB itself says of every place."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inrv import Grid, MetaValue, SparseVolume, Transform, VdbError
from inrv.grids import InactiveValues, Topology, sparse_grid
from inrv.vdb import list_grids, load_bindings, read_volume, write_volume
from inrv.vdb.header import MAGIC, encode_metadata, encode_transform, pack_string, read_grid_header

Values = list[float] | list[tuple[float, float, float]]


def save(path: Path, *trees: Any) -> None:
    load_bindings().write(str(path), grids=list(trees))


def tree_with(*active: tuple[int, int, int]) -> Any:
    tree = load_bindings().FloatGrid()
    tree.name = "density"
    for place in active:
        tree.getAccessor().setValueOn(place, 1.0)
    return tree


def assert_openvdb_agrees(tree: Any, grid: Grid, places: Sequence[tuple[int, int, int]]) -> None:
    assert grid.topology.leaf_count == tree.leafCount()
    assert grid.topology.active_voxel_count == tree.activeVoxelCount()
    probe = tree.getConstAccessor().probeValue
    values, active = zip(*[probe(place) for place in places], strict=True)
    coordinates = torch.tensor(places)
    assert torch.equal(grid.lookup(coordinates), torch.tensor(values, dtype=torch.float32).reshape(len(places), -1))
    assert grid.topology.active(coordinates).tolist() == list(active)


def random_tree(
    random: np.random.Generator, components: int, values: Values, steps: int
) -> tuple[Any, list[tuple[int, int, int]]]:
    """A tree of random fills of whole nodes and of single voxels, and places in and around all of them."""
    module = load_bindings()
    tree = (module.FloatGrid if components == 1 else module.Vec3SGrid)(values[0])
    tree.name = "density"
    places = []
    for _ in range(steps):
        edge = int(random.choice([1, 8, 128, 4096]))
        x, y, z = (random.integers(-2, 2, 3) * 4096 + random.integers(0, 4096, 3)) // edge * edge
        value, active = values[random.integers(len(values))], bool(random.integers(2))
        low, high = (int(x), int(y), int(z)), (int(x) + edge - 1, int(y) + edge - 1, int(z) + edge - 1)
        tree.fill(low, high, value, active)
        places += [low, high, (low[0] - 1, low[1], low[2]), (high[0], high[1], high[2] + 1)]
    return tree, places


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 30), st.booleans(), st.integers(1, 40), st.booleans(), st.sampled_from([2, 3, 6]))
def test_random_trees(tmp_path: Path, seed: int, vectors: bool, steps: int, half: bool, kinds: int) -> None:
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
    again = load_bindings().read(str(tmp_path / "again.vdb"), "density")
    assert_openvdb_agrees(again, grid, places)


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
    assert_openvdb_agrees(tree, grid, [(9, -9000, 0), (-9000, 0, 0), (8192, 0, 0), (0, 0, 0), (12288, 0, 0)])


def test_strays_at_the_ends_of_the_world_are_read_at_once(tmp_path: Path) -> None:
    """Two voxels span a box of 10^9 blocks of 4096^3: only what is there may take time."""
    tree = tree_with((-4_000_000,) * 3, (4_000_000,) * 3)
    save(tmp_path / "strays.vdb", tree)
    grid = read_volume(tmp_path / "strays.vdb").grids[0]
    assert_openvdb_agrees(tree, grid, [(-4_000_000,) * 3, (4_000_000,) * 3, (0, 0, 0)])


def test_voxels_beyond_the_range_are_named(tmp_path: Path) -> None:
    save(tmp_path / "beyond.vdb", tree_with((1 << 24, 0, 0)))
    with pytest.raises(Exception, match=r"beyond\.vdb: grid 0 'density': voxel coordinate 16777216"):
        read_volume(tmp_path / "beyond.vdb")


def test_grids_that_share_a_tree(tmp_path: Path) -> None:
    tree = tree_with((1, 2, 3), (100, 0, 0))
    other = tree.copy()
    other.name = "shared"
    other.transform = load_bindings().createLinearTransform(0.25)
    save(tmp_path / "shared.vdb", tree, other)
    assert [grid.parent for grid in list_grids(tmp_path / "shared.vdb")] == ["", "density"]
    for chosen in (None, ["shared"]):
        grid = read_volume(tmp_path / "shared.vdb", chosen).grids[-1]
        assert grid.name == "shared" and grid.transform.voxel_size == (0.25,) * 3
        assert_openvdb_agrees(tree, grid, [(1, 2, 3), (100, 0, 0), (0, 0, 0)])


def test_a_file_that_was_written_as_a_stream(tmp_path: Path) -> None:
    """No byte positions in it: one grid is read all the same, two cannot be told apart."""
    tree, other, path = tree_with((1, 2, 3)), tree_with((4, 5, 6)), tmp_path / "stream.vdb"
    save(path, tree)
    data = bytearray(path.read_bytes())
    start = list_grids(path)[0].start
    data[20], data[start - 24 : start] = 0, bytes(24)
    path.write_bytes(data)
    assert_openvdb_agrees(tree, read_volume(path).grids[0], [(1, 2, 3), (0, 0, 0)])
    save(path, tree, other)
    data = bytearray(path.read_bytes())
    data[20] = 0
    path.write_bytes(data)
    with pytest.raises(VdbError, match="without the positions of its 2 grids"):
        read_volume(path)


def first_bit(bits: int) -> bytes:
    return b"\x01" + bytes(bits // 8 - 1)


def plain_file(values: bytes, half: bool = False) -> bytes:
    """A .vdb file by hand: nothing compressed, one active 4096^3 tile, one leaf at (0, 0, 0) with voxel (0, 0, 1) active."""
    number = "e" if half else "f"
    root = struct.pack("<ifII", 1, 0.5, 1, 1) + struct.pack("<iiif?", 4096, 0, 0, 3.0, True) + struct.pack("<iii", 0, 0, 0)
    upper = first_bit(1 << 15) + bytes(1 << 12) + b"\x06" + struct.pack(f"<{1 << 15}{number}", 0, 2, *[0.5] * (2**15 - 2))
    lower = first_bit(1 << 12) + bytes(1 << 9) + b"\x06" + struct.pack(f"<{1 << 12}{number}", *[0.5] * 2**12)
    leaf = b"\x02" + bytes(63)
    frame = struct.pack("<I", 0) + encode_metadata({"is_saved_as_half_float": MetaValue("bool", half)})
    frame += encode_transform(sparse_grid(torch.ones(1, 1, 1)).transform)
    listing = pack_string("density") + pack_string("Tree_float_5_4_3" + "_HalfFloat" * half) + pack_string("")
    head = (
        MAGIC
        + struct.pack("<IIIB", 224, 10, 0, 1)
        + b"00000000-0000-0000-0000-000000000000"
        + encode_metadata({})
        + struct.pack("<i", 1)
    )
    start = len(head) + len(listing) + 24
    topology = frame + root + upper + lower + leaf
    positions = struct.pack("<qqq", start, start + len(topology), start + len(topology) + len(leaf) + len(values))
    return head + listing + positions + topology + leaf + values


@pytest.mark.parametrize("half", [False, True])
def test_a_file_without_compression(tmp_path: Path, half: bool) -> None:
    path = tmp_path / "plain.vdb"
    path.write_bytes(plain_file(b"\x06" + struct.pack(f"<512{'e' if half else 'f'}", 0.5, 9.0, *[0.5] * 509, -1.0), half))
    grid = read_volume(path).grids[0]
    assert grid.values.tolist() == [[9.0]] and grid.inactive.places.tolist() == [511] and grid.saved_as_half is half
    assert grid.topology.tile_edges.tolist() == [4096, 128] and grid.tile_values.tolist() == [[3.0], [2.0]]
    tree = load_bindings().read(str(path), "density")
    assert_openvdb_agrees(tree, grid, [(0, 0, 0), (0, 0, 1), (7, 7, 7), (0, 0, 128), (4100, 0, 0), (-1, 0, 0)])


def test_damaged_nodes(tmp_path: Path) -> None:
    """Only our parser: OpenVDB itself can crash the process on damaged trees."""
    path = tmp_path / "damaged.vdb"
    save(path, random_tree(np.random.default_rng(0), 1, [0.5, -0.5, 2.0], 20)[0])
    header, data, refused = read_grid_header(str(path), list_grids(path)[0]), path.read_bytes(), 0
    for at in range(header.topology, list_grids(path)[0].blocks, 499):
        for damaged in (data[:at], data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]):
            path.write_bytes(damaged)
            try:
                read_volume(path)
            except VdbError as error:
                refused += 1
                assert "damaged.vdb" in str(error)
    assert refused > 20


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 2.0, -3.0])
@pytest.mark.parametrize("components", [1, 3])
def test_constant_leaves_stay_leaves(tmp_path: Path, value: float, components: int) -> None:
    shape = (8, 8, 8) if components == 1 else (8, 8, 8, 3)
    grid = sparse_grid(torch.full(shape, value), background=0.5, active=torch.ones(8, 8, 8, dtype=torch.bool))
    write_volume(tmp_path / "constant.vdb", SparseVolume((grid,)))
    found = read_volume(tmp_path / "constant.vdb").grids[0]
    assert found.topology.equal(grid.topology) and torch.equal(found.values, grid.values)


def damaged_grid(kind: str) -> Grid:
    grid = sparse_grid(torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0)) + 1)
    if kind == "tile over a leaf":
        tiles = torch.zeros((1, 3), dtype=torch.int32), torch.tensor([8], dtype=torch.int32), torch.tensor([True])
        topology = Topology(grid.topology.leaf_origins, grid.topology.leaf_masks, *tiles)
        return replace(grid, topology=topology, tile_values=torch.ones(1, 1))
    values = grid.values.clone()
    values[3] = {"NaN": float("nan"), "huge": 3e38}[kind]
    return grid.with_values(values)


@pytest.mark.parametrize("kind", ["NaN", "huge", "tile over a leaf"])
def test_what_a_tree_cannot_hold_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(VdbError, match=r"out\.vdb: grid 0 'density'"):
        write_volume(tmp_path / "out.vdb", SparseVolume((damaged_grid(kind),)))
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
    grid = replace(damaged_grid("huge").with_values(torch.ones(512, 1)), metadata={"key": entry})
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


def test_names_that_openvdb_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    """Asked for 'a[1]', OpenVDB gives the grid of that name, not the second 'a': silently the wrong values."""
    grid = sparse_grid(torch.ones(4, 4, 4))
    names = ["a[1]", "a", "a"]
    write_volume(tmp_path / "names.vdb", SparseVolume(tuple(replace(grid, name=name) for name in names)))
    with pytest.raises(VdbError, match=r"grids 0 and 2 both answer to 'a\[1\]'"):
        read_volume(tmp_path / "names.vdb")
    assert [found.name for found in read_volume(tmp_path / "names.vdb", [1]).grids] == ["a"]


def test_a_leaf_of_inactive_values_only(tmp_path: Path) -> None:
    topology = Topology.from_leaves(torch.tensor([[8, 16, -8]]), torch.zeros(1, 512, dtype=torch.bool))
    inactive = InactiveValues(torch.arange(512), torch.arange(512.0)[:, None] + 1)
    grid = replace(sparse_grid(torch.ones(1, 1, 1)), topology=topology, values=torch.empty(0, 1), inactive=inactive)
    write_volume(tmp_path / "inactive.vdb", SparseVolume((grid,)))
    found = read_volume(tmp_path / "inactive.vdb").grids[0]
    assert found.topology.equal(topology) and torch.equal(found.inactive.places, inactive.places)
    assert torch.equal(found.inactive.values, inactive.values)


def test_a_rotation_alone_stays_a_unitary_map(tmp_path: Path) -> None:
    rows = ((0.0, 1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    transform = Transform("UnitaryMap", rows)
    write_volume(tmp_path / "turned.vdb", SparseVolume((replace(sparse_grid(torch.ones(4, 4, 4)), transform=transform),)))
    assert read_volume(tmp_path / "turned.vdb").grids[0].transform == transform
    seen = load_bindings().read(str(tmp_path / "turned.vdb"), "density").transform
    assert seen.typeName == "UnitaryMap" and seen.indexToWorld((3, 5, 7)) == (-5, 3, 7)
