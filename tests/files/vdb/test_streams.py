"""Files written to a stream: they do not say where their grids lie, and are read all the same."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inrv import SparseVolume, VdbError
from inrv.files.vdb import list_grids, read_volume, write_volume
from inrv.files.vdb.header import pack_string
from inrv.grids import sparse_grid
from testing.vdb.referee import (
    HAS_POSITIONS,
    HandGrid,
    HandTree,
    as_stream,
    assert_same_bits,
    load_openvdb,
    vdb_file,
)
from testing.vdb.streamed import FOG, FRUSTUM, INTEGERS, KINDS, OLD_FRUSTUM, attribute, points

UNKNOWN = pack_string("Affine Map") + bytes(128)
TEXT = HandGrid("text", "Tree_string_5_4_3", b"abc", b"def")


def save(path: Path, *grids: HandGrid, **more: Any) -> Path:
    path.write_bytes(vdb_file(*grids, **more))
    return path


@pytest.mark.parametrize("positions", [bytes(24), b"\xa5" * 24, struct.pack("<qqq", 1, 2, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_of_every_kind_is_passed_over(tmp_path: Path, kind: str, positions: bytes) -> None:
    """The positions found are those that the same file says where it has them.

    Nothing that stands in their place is believed.
    """
    path = save(tmp_path / "file.vdb", FOG.grid("a"), KINDS[kind], FOG.grid("b"))
    stream = tmp_path / "stream.vdb"
    stream.write_bytes(as_stream(path, positions))
    assert list_grids(stream) == list_grids(path)
    found, expected = read_volume(stream), read_volume(path)
    assert [vars(grid) for grid in found.passthrough] == [
        vars(grid) for grid in expected.passthrough
    ]
    for one, other in zip(found.grids, expected.grids, strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("number", ["f", "d", "i"])
@pytest.mark.parametrize("compression", [0, 1, 2, 3])
def test_values_stored_in_every_way_are_passed_over(
    tmp_path: Path, number: str, components: int, half: bool, compression: int
) -> None:
    tree = HandTree(
        number,
        components,
        half and number != "i",
        compression,
        background=2,
        inactive={3: -2},
        kind=3,
    )
    path = save(tmp_path / "file.vdb", tree.grid("a"), tree.grid("b"))
    expected = list_grids(path)
    path.write_bytes(as_stream(path))
    assert list_grids(path) == expected


def test_what_openvdb_packs_is_passed_over(tmp_path: Path) -> None:
    """Blosc, active values alone, several nodes of 4096^3, and trees that are shared."""
    module, path, stream = load_openvdb(), tmp_path / "file.vdb", tmp_path / "stream.vdb"
    grids = [module.FloatGrid(), module.BoolGrid(), module.Vec3SGrid()]
    for number, (grid, value) in enumerate(zip(grids, (1.5, True, (1.0, 2.0, 3.0)), strict=True)):
        grid.name = f"grid {number}"
        grid.fill((-20, 0, 5), (40, 9, 300), value)
        grid.fill((5000, 0, 0), (5003, 3, 3), value)
    shared = [grid.copy() for grid in grids]
    for grid in shared:
        grid.name += " again"
    module.write(str(path), grids=[*grids, *shared])
    stream.write_bytes(as_stream(path))
    assert list_grids(stream) == list_grids(path) and {grid.parent for grid in list_grids(path)} > {
        "grid 0",
        "grid 1",
    }
    seen, expected = module.readAll(str(stream))[0], module.readAll(str(path))[0]
    assert [grid.activeVoxelCount() for grid in seen] == [
        grid.activeVoxelCount() for grid in expected
    ]
    found = read_volume(stream)
    write_volume(tmp_path / "again.vdb", found)
    again = module.readAll(str(tmp_path / "again.vdb"))[0]
    assert sorted(grid.activeVoxelCount() for grid in again) == sorted(
        grid.activeVoxelCount() for grid in expected
    )


def test_instances_in_a_stream_find_their_trees(tmp_path: Path) -> None:
    owner = FOG.grid("owner")
    child = replace(owner, unique_name="child", topology=b"", buffers=b"", parent="owner")
    volume = read_volume(save(tmp_path / "shared.vdb", owner, child, FOG.grid("c"), offsets=False))
    assert [(grid.name, grid.values.tolist()) for grid in volume.grids] == [
        (n, [[9.0]]) for n in ("owner", "child", "c")
    ]


@pytest.mark.parametrize(("version", "compression"), [(219, 1), (220, 0), (221, 1)])
def test_streams_of_old_versions(tmp_path: Path, version: int, compression: int) -> None:
    tree = HandTree(
        "f", compression=compression, leaf={1: 9.0, 300: 4.0}, inactive={7: -1.0}, old=True
    )
    turned = tree.grid("turned", transform=FRUSTUM if version >= 221 else OLD_FRUSTUM)
    path = save(tmp_path / "old.vdb", turned, tree.grid(), version=version, offsets=False)
    (grid,) = read_volume(path, ["density"]).grids
    assert grid.values.tolist() == [[9.0], [4.0]]


@pytest.mark.parametrize(
    ("grid", "version", "reason"),
    [
        (TEXT, 224, "Tree_string_5_4_3"),
        (replace(KINDS["points"], unique_name="text"), 223, "Tree_ptdataidx32_5_4_3"),
        (FOG.grid("text", transform=UNKNOWN), 224, "Affine Map transform"),
    ],
)
def test_a_grid_whose_end_cannot_be_found_must_be_the_last(
    tmp_path: Path, grid: HandGrid, version: int, reason: str
) -> None:
    last = read_volume(
        save(tmp_path / "last.vdb", FOG.grid(), grid, version=version, offsets=False)
    )
    assert (
        last.passthrough[0].data == grid.frame + grid.topology + grid.buffers
        and len(last.grids) == 1
    )
    first = save(tmp_path / "first.vdb", grid, FOG.grid(), version=version, offsets=False)
    with pytest.raises(
        VdbError,
        match=rf"first\.vdb: .*where grid 0 'text' ends cannot be found.*{reason}.*save it anew",
    ):
        read_volume(first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_stream_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "cut.vdb", KINDS[kind], KINDS[kind], offsets=False)
    data = path.read_bytes()
    for length in [*range(90, len(data), len(data) // 40), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(VdbError, match=r"cut\.vdb: .*truncated or damaged"):
            read_volume(path)


def test_bytes_behind_the_last_grid_are_left_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "more.vdb", FOG.grid(), INTEGERS.grid(), offsets=False)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"more")
    assert list_grids(path)[-1].end == size and read_volume(path).passthrough[0].data.endswith(
        INTEGERS.buffers()
    )


@pytest.mark.parametrize("positions", [bytes(24), struct.pack("<qqq", 1, 2, 3), b"\xff" * 24])
def test_positions_that_a_file_says_are_there_are_believed(
    tmp_path: Path, positions: bytes
) -> None:
    path = save(tmp_path / "wrong.vdb", FOG.grid(), FOG.grid("b"))
    data = bytearray(as_stream(path, positions))
    data[HAS_POSITIONS] = 1
    path.write_bytes(data)
    with pytest.raises(VdbError, match=r"wrong\.vdb: grid 0 'density' claims bytes .*damaged"):
        list_grids(path)


@pytest.mark.parametrize(
    ("buffers", "words"),
    [
        (points(4), "flags 4"),
        (points().replace(attribute(60, 8), attribute(60, 16)), "60 bytes and flags 16"),
        (points().replace(attribute(60, 8), attribute(-6, 8)), "-6 bytes"),
        (points(page=struct.pack("<ii", 30, 59)), "a page of points ends within"),
    ],
)
def test_damaged_points_are_an_error(tmp_path: Path, buffers: bytes, words: str) -> None:
    path = save(
        tmp_path / "points.vdb",
        replace(KINDS["points"], buffers=buffers),
        FOG.grid(),
        offsets=False,
    )
    with pytest.raises(VdbError, match=rf"points\.vdb: grid 0 'points': .*{words}.*damaged"):
        read_volume(path)


def test_a_stream_of_our_own_grids_reads_back(tmp_path: Path) -> None:
    grids = [
        sparse_grid(np.random.default_rng(n).random((20, 30, 10)), f"grid {n}") for n in range(3)
    ]
    path = tmp_path / "ours.vdb"
    write_volume(path, SparseVolume(tuple(grids)))
    path.write_bytes(as_stream(path))
    for found, expected in zip(read_volume(path).grids, grids, strict=True):
        assert_same_bits(found, expected, but=["metadata"])
