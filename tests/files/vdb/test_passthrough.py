"""Grids that are not coded come back as the bytes they were, and OpenVDB finds them."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inrv import Grid, OptionError, SparseVolume, VdbError
from inrv.files.vdb import list_grids, read_volume, write_volume
from inrv.files.vdb.header import pack_string
from inrv.grids import PassthroughGrid, sparse_grid
from testing.vdb.referee import HandGrid, HandTree, assert_same_bits, load_openvdb, vdb_file

FRUSTUM = pack_string("NonlinearFrustumMap") + bytes(range(200))
INTEGERS = HandTree("i", background=0, leaf={1: 7}, tile=-3)
POINTS = HandGrid("points", "Tree_ptdataidx32_5_4_3", b"unknown " * 9, b"to us" * 9)


def save(path: Path, *grids: HandGrid, **more: Any) -> Path:
    path.write_bytes(vdb_file(*grids, **more))
    return path


def again(path: Path, volume: SparseVolume) -> SparseVolume:
    write_volume(path, volume)
    return read_volume(path)


def assert_same_volume(found: SparseVolume, expected: SparseVolume) -> None:
    assert [vars(grid) for grid in found.passthrough] == [
        vars(grid) for grid in expected.passthrough
    ]
    assert found.vdb_version == expected.vdb_version and found.metadata == expected.metadata
    for one, other in zip(found.grids, expected.grids, strict=True):
        assert_same_bits(one, other, but=["metadata"])


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        (INTEGERS.grid(), "int32 values"),
        (HandTree("q", background=0, leaf={1: 7}, tile=-3).grid(), "int64 values"),
        (HandTree("d").grid(), "double values"),
        (HandTree("d", 3, half=True).grid(), "vec3d values"),
        (POINTS, "points"),
        (HandGrid("text", "Tree_string_5_4_3", b"abc", b"def"), "string values"),
        (HandGrid("deep", "Tree_float_6_5_4_3", b"abc", b"def"), "Tree_float_6_5_4_3"),
        (HandTree().grid(transform=FRUSTUM), "NonlinearFrustumMap transform"),
        (
            HandTree().grid(transform=pack_string("ScaleMap") + bytes(120)),
            "not finite and invertible",
        ),
        (HandTree(background=float("nan")).grid(), "background nan"),
        (HandTree(components=3, background=float("inf")).grid(), "background inf, inf, inf"),
    ],
)
def test_what_is_not_coded_is_passed_through(tmp_path: Path, grid: HandGrid, reason: str) -> None:
    path = save(
        tmp_path / "file.vdb", HandTree().grid("a"), grid, HandTree().grid("b"), version=223
    )
    volume = read_volume(path)
    (passthrough,) = volume.passthrough
    assert (passthrough.position, passthrough.name, passthrough.parent) == (
        1,
        grid.unique_name,
        None,
    ) and reason in passthrough.reason
    assert passthrough.tree_type + "_HalfFloat" * passthrough.half == grid.tree_type
    assert passthrough.data == grid.frame + grid.topology + grid.buffers
    assert passthrough.data[passthrough.blocks :] == grid.buffers
    assert [other.name for other in volume.grids] == ["a", "b"] and volume.vdb_version == (
        223,
        10,
        0,
    )
    assert_same_volume(again(tmp_path / "again.vdb", volume), volume)
    assert [g.unique_name for g in list_grids(tmp_path / "again.vdb")] == [
        "a",
        grid.unique_name,
        "b",
    ]


def test_voxels_beyond_the_range_are_passed_through(tmp_path: Path) -> None:
    tree = load_openvdb().FloatGrid()
    tree.getAccessor().setValueOn((1 << 24, 0, 0), 1.0)
    load_openvdb().write(str(tmp_path / "beyond.vdb"), grids=[tree])
    volume = read_volume(tmp_path / "beyond.vdb")
    assert not volume.grids and "voxel coordinate 16777216" in volume.passthrough[0].reason
    write_volume(tmp_path / "again.vdb", volume)
    seen = load_openvdb().readAll(str(tmp_path / "again.vdb"))[0][0]
    assert (
        seen.getConstAccessor().probeValue((1 << 24, 0, 0)) == (1.0, True)
        and seen.activeVoxelCount() == 1
    )


def test_doubles_are_coded_only_when_told(tmp_path: Path) -> None:
    tree = HandTree(
        "d", leaf={1: 0.1, 2: float("inf")}, inactive={3: 0.5 + 1e-12, 4: -0.0}, tile=0.5 - 1e-12
    )
    path = save(tmp_path / "double.vdb", tree.grid())
    assert not read_volume(path).grids
    volume = read_volume(path, doubles="float")
    (grid,) = volume.grids
    assert (
        not volume.passthrough
        and grid.value_type == "float"
        and grid.name == "density"
        and "note" in grid.metadata
    )
    assert np.array_equal(grid.values[:, 0], np.array([0.1, np.inf], dtype=np.float32))
    assert (
        grid.inactive.places.tolist() == [4] and np.signbit(grid.inactive.values).all()
    )  # 3 is now the background
    assert grid.topology.tile_edges.tolist() == [4096]
    assert_same_volume(again(tmp_path / "again.vdb", volume), volume)
    assert grid.rounded is not None and grid.rounded.dtype == "float64"
    assert grid.rounding == abs(0.1 - float(np.float32(0.1)))


def test_a_double_beyond_float_is_never_made_infinite_but_passed_through(tmp_path: Path) -> None:
    path = save(tmp_path / "double.vdb", HandTree("d", leaf={1: 0.1, 2: 1e300}).grid())
    volume = read_volume(path, doubles="float")
    assert not volume.grids and "1e+300 is beyond float32" in volume.passthrough[0].reason


@pytest.mark.parametrize("offsets", [True, False])
def test_a_stream_with_one_grid_is_passed_through(tmp_path: Path, offsets: bool) -> None:
    volume = read_volume(save(tmp_path / "stream.vdb", INTEGERS.grid(), offsets=offsets))
    assert (
        volume.passthrough[0].data
        == INTEGERS.grid().frame + INTEGERS.topology() + INTEGERS.buffers()
    )


def test_truncated_grids_are_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "cut.vdb", POINTS)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(VdbError, match=r"cut\.vdb: grid 0 'points' should end at byte"):
        read_volume(path)
    tree = HandTree("d", compression=1)
    data = bytearray(vdb_file(tree.grid()))
    data[-len(tree.buffers()) + 65] ^= 0xFF  # the size of the leaf's values
    path.write_bytes(data)
    with pytest.raises(VdbError, match=r"cut\.vdb: grid 0 'density'.*damaged"):
        read_volume(path)


def shared(
    parent: HandTree, first: dict[str, Any], second: dict[str, Any]
) -> tuple[HandGrid, HandGrid]:
    owner = parent.grid("density", **first)
    return owner, replace(
        owner, unique_name="shared", topology=b"", buffers=b"", parent="density", **second
    )


@pytest.mark.parametrize(
    ("grids", "reasons"),
    [
        (shared(INTEGERS, {}, {}), ["int32 values", "int32 values"]),
        (
            shared(HandTree(), {}, {"transform": FRUSTUM}),
            ["grid 1 shares its tree", "NonlinearFrustumMap transform"],
        ),
        (
            shared(HandTree(), {"transform": FRUSTUM}, {"transform": HandTree().grid().transform}),
            [
                "NonlinearFrustumMap transform",
                "shares the tree of grid 0, with NonlinearFrustumMap transform",
            ],
        ),
    ],
)
def test_grids_that_share_a_tree_are_passed_through_together(
    tmp_path: Path, grids: Any, reasons: list[str]
) -> None:
    volume = read_volume(save(tmp_path / "pair.vdb", *grids))
    assert [(grid.parent, grid.reason) for grid in volume.passthrough] == list(
        zip([None, 0], reasons, strict=True)
    )
    assert volume.passthrough[1].data == grids[1].frame and volume.passthrough[1].blocks == len(
        grids[1].frame
    )
    assert_same_volume(again(tmp_path / "again.vdb", volume), volume)
    assert list_grids(tmp_path / "again.vdb")[1].parent == "density"


def test_of_three_that_share_a_tree_one_is_coded(tmp_path: Path) -> None:
    """Each that can be coded is a grid of its own.

    However many others of the same tree are passed through.
    """
    owner, turned = shared(HandTree(), {}, {"transform": FRUSTUM})
    plain = replace(turned, unique_name="plain", transform=owner.transform)
    volume = read_volume(save(tmp_path / "three.vdb", owner, turned, plain))
    assert [grid.name for grid in volume.passthrough] == ["density", "shared"]
    assert [grid.name for grid in volume.grids] == ["plain"] and volume.grids[
        0
    ].values.tolist() == [[9.0]]
    assert_same_volume(again(tmp_path / "again.vdb", volume), volume)


def test_choices_bring_their_own_places_and_names(tmp_path: Path) -> None:
    owner, child = shared(INTEGERS, {}, {})
    path = save(
        tmp_path / "all.vdb",
        HandTree().grid("x\x1e0"),
        owner,
        HandTree().grid("x\x1e1"),
        child,
        POINTS,
    )
    volume = read_volume(path, ["shared", "x[1]", "density"])
    assert [(grid.position, grid.name, grid.parent) for grid in volume.passthrough] == [
        (0, "shared", 2),
        (2, "density", None),
    ]
    write_volume(tmp_path / "some.vdb", volume)
    listed = [(grid.unique_name, grid.parent) for grid in list_grids(tmp_path / "some.vdb")]
    assert listed == [("shared", "density"), ("x", ""), ("density", "")]
    assert_same_volume(read_volume(tmp_path / "some.vdb"), volume)
    with pytest.raises(
        OptionError,
        match=r"all\.vdb: grid 3 'shared' shares the tree of grid 1: choose that one too",
    ):
        read_volume(path, ["shared"])


def test_parents_follow_their_new_names(tmp_path: Path) -> None:
    owner, child = shared(INTEGERS, {}, {})
    volume = read_volume(save(tmp_path / "pair.vdb", owner, child))
    twin = replace(sparse_grid(np.ones((4, 4, 4))), name="density")
    write_volume(tmp_path / "three.vdb", SparseVolume((twin,), {}, tuple(volume.passthrough)))
    assert [(grid.unique_name, grid.parent) for grid in list_grids(tmp_path / "three.vdb")] == [
        ("density\x1e0", ""),
        ("shared", "density\x1e0"),
        ("density\x1e1", ""),
    ]


@pytest.mark.parametrize(
    "change", [{"parent": "nobody"}, {"parent": "shared"}, {"tree_type": "Tree_float_5_4_3"}]
)
def test_grids_whose_parent_is_not_there_are_an_error(
    tmp_path: Path, change: dict[str, str]
) -> None:
    owner, child = shared(INTEGERS, {}, {})
    path = save(tmp_path / "orphan.vdb", owner, replace(child, **change))
    with pytest.raises(VdbError, match=r"orphan\.vdb: grid 1 'shared' shares the tree of"):
        read_volume(path)


def passthrough(position: int, parent: int | None = None) -> PassthroughGrid:
    return PassthroughGrid(position, "c", "Tree_int32_5_4_3", False, parent, 1, b"12", "a test")


@pytest.mark.parametrize(
    "grids",
    [
        [passthrough(2)],
        [passthrough(-1)],
        [passthrough(0), passthrough(0)],
        [passthrough(0, 1)],
        [passthrough(0, 7)],
    ],
)
def test_positions_that_do_not_fit_are_refused(
    tmp_path: Path, grids: list[PassthroughGrid]
) -> None:
    plain: Grid = sparse_grid(np.ones((4, 4, 4)))
    with pytest.raises(VdbError, match=r"out\.vdb: .*passthrough"):
        write_volume(tmp_path / "out.vdb", SparseVolume((plain,), {}, tuple(grids)))
    assert not list(tmp_path.iterdir())


def test_versions(tmp_path: Path) -> None:
    plain = sparse_grid(np.ones((4, 4, 4)))
    for version, written in (((225, 12, 1), (225, 12, 1)), ((0, 3, 3), (222, 3, 3))):
        assert (
            again(tmp_path / "version.vdb", SparseVolume((plain,), vdb_version=version)).vdb_version
            == written
        )
    with pytest.raises(VdbError, match=r"out\.vdb: VDB file version 226 is not known"):
        write_volume(tmp_path / "out.vdb", SparseVolume((plain,), vdb_version=(226, 0, 0)))


def test_openvdb_reads_passthrough_grids_as_before(tmp_path: Path) -> None:
    """Bool grids, two of which share a tree, among float grids that are coded."""
    module, source, copy = load_openvdb(), tmp_path / "source.vdb", tmp_path / "copy.vdb"
    inside, heat = module.BoolGrid(), module.FloatGrid()
    inside.name, heat.name = "inside", "heat"
    inside.fill((-3, 0, 5), (40, 9, 300), True)
    heat.fill((0, 0, 0), (9, 9, 9), 2.5)
    shared = inside.copy()
    shared.name, shared.transform = "shared", module.createLinearTransform(0.25)
    module.write(str(source), grids=[inside, heat, shared], metadata={"scene": "test"})
    volume = read_volume(source)
    assert [(grid.name, grid.parent) for grid in volume.passthrough] == [
        ("inside", None),
        ("shared", 0),
    ]
    write_volume(copy, volume)
    grids, metadata = module.readAll(str(copy))
    assert metadata == {"scene": "test"}
    for grid, expected in zip(
        sorted(grids, key=lambda g: g.name), (heat, inside, shared), strict=True
    ):
        assert (grid.name, grid.transform.voxelSize()) == (
            expected.name,
            expected.transform.voxelSize(),
        )
        assert (grid.leafCount(), grid.activeVoxelCount()) == (
            expected.leafCount(),
            expected.activeVoxelCount(),
        )
        values = [
            {tuple(item["min"]): item["value"] for item in tree.iterOnValues()}
            for tree in (grid, expected)
        ]
        assert values[0] == values[1]


def test_the_position_of_the_values_is_rewritten(tmp_path: Path) -> None:
    path = save(tmp_path / "file.vdb", HandTree().grid("first"), POINTS)
    write_volume(tmp_path / "again.vdb", read_volume(path))
    data, listed = (tmp_path / "again.vdb").read_bytes(), list_grids(tmp_path / "again.vdb")[1]
    assert data[listed.blocks : listed.end] == POINTS.buffers and listed.end == len(data)
    assert struct.unpack("<qqq", data[listed.start - 24 : listed.start]) == (
        listed.start,
        listed.blocks,
        listed.end,
    )
