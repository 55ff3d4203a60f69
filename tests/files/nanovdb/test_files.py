"""Files of NanoVDB: what is written is read again to the bit, and means what the format says."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import Grid, OptionError, SparseVolume, Topology, Transform, VdbError, files
from inrv.errors import UnsupportedGridError
from inrv.files.nanovdb.segments import name_key
from inrv.files.nanovdb.structs import GRID, READ, TREE, Types
from inrv.grids import LeafValues, MetaValue, PassthroughGrid, leaf_keys, sparse_grid
from testing.nvdb import grids_of, look_up, one_leaf, segment

SHAPE = (512, 1)


def written(volume: SparseVolume | Grid, **options: bool) -> bytes:
    stream = io.BytesIO()
    held = volume if isinstance(volume, SparseVolume) else SparseVolume((volume,))
    files.write(stream, held, ".nvdb", **options)
    return stream.getvalue()


def lost_of(volume: SparseVolume, **options: bool) -> str:
    return "\n".join(files.write(io.BytesIO(), volume, ".nvdb", **options))


def by_key(grid: Grid) -> Grid:
    """The same grid, whose tiles come in the order of their keys."""
    topology = grid.topology
    order = leaf_keys(topology.tile_origins).argsort(kind="stable")
    tiles = {name: getattr(topology, name)[order] for name in vars(topology) if "tile_" in name}
    return replace(grid, topology=replace(topology, **tiles), tile_values=grid.tile_values[order])


def same(one: Grid, other: Grid) -> bool:
    """Whether two grids agree in all that NanoVDB holds."""
    told = ("name", "grid_class")
    return (
        replace(by_key(one), saved_as_half=False).same_voxels(by_key(other))
        and all(getattr(one, name) == getattr(other, name) for name in told)
        and one.transform.matrix == other.transform.matrix
    )


def special() -> Grid:
    """Tiles of all sizes and states, numbers that compare badly, nodes far apart."""
    values = np.array([[np.nan], [-0.0], [np.inf], [1e-42], [7.0]], np.float32)
    masks = np.zeros((3, 512), bool)
    masks[0, [0, 5, 511]] = masks[2, [8, 9]] = True
    topology = replace(
        Topology.from_leaves(np.array([[-8, 0, 8], [16, 0, 0], [90000, -90000, 8]]), masks),
        tile_origins=np.array(
            [[0, 0, 4096], [-8192, 0, 0], [128, 0, 0], [0, 128, 256], [8, 0, 0], [32, 8, 0]],
            np.int32,
        ),
        tile_edges=np.array([4096, 4096, 128, 128, 8, 8], np.int32),
        tile_active=np.array([True, False] * 3),
    )
    rows = topology.voxel_rows(np.array([[-8, 0, 8]]))
    assert rows[0] >= 0
    return Grid(
        name="special",
        value_type="float",
        background=np.array([0.0], np.float32),
        topology=topology,
        values=values,
        tile_values=np.arange(1, 7, dtype=np.float32)[:, None],
        inactive=LeafValues(
            np.array([1, 600, 1023]), np.array([[-0.0], [np.nan], [3.0]], np.float32)
        ),
        transform=Transform("AffineMap", np.array(
            [[1, 0.5, 0, 0], [0, 2, 0, 0], [0, 0.25, -3, 0], [7, 8, 9, 1]])),
    )  # fmt: skip


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", ["fire", "tiles", "torus", "velocity", "empty"])
def test_a_volume_comes_back_to_the_bit(fixtures: Path, name: str, compress: bool) -> None:
    volume = files.read(fixtures / f"{name}.vdb")
    read = files.read(written(volume, compress=compress))
    assert len(read.grids) == len(volume.grids)
    for mine, theirs in zip(volume.grids, read.grids, strict=True):
        assert same(mine, theirs) and mine.transform.map_type == theirs.transform.map_type


def test_so_does_what_is_special_and_through_a_vdb_file(tmp_path: Path) -> None:
    grid = special()
    (found,) = files.read(written(grid)).grids
    assert same(grid, found) and found.transform.map_type == "AffineMap"
    files.write(tmp_path / "out.vdb", SparseVolume((found,)))
    files.write(tmp_path / "again.nvdb", files.read(tmp_path / "out.vdb"))
    assert same(grid, files.read(tmp_path / "again.nvdb").grids[0])
    assert (tmp_path / "again.nvdb").read_bytes() == written(grid)


def test_every_voxel_is_where_the_format_says(fixtures: Path) -> None:
    for grid in (special(), *files.read(fixtures / "velocity.vdb").grids):
        draws, topology = np.random.default_rng(2), grid.topology
        leaves = topology.leaf_origins[draws.integers(0, topology.leaf_count, 60)]
        corners = [topology.tile_origins + 3, leaves + draws.integers(0, 8, (60, 3)), leaves - 9]
        voxels = np.concatenate(corners)
        for options in ({}, {"compress": False}):
            ((name, buffer),) = grids_of(written(grid, **options))
            assert name == grid.name
            for voxel, wanted in zip(voxels.tolist(), grid.lookup(voxels), strict=True):
                value, active = look_up(buffer, tuple(voxel), grid.components)
                assert np.array_equal(value, wanted, equal_nan=True)
                assert active == topology.active(np.array([voxel]))[0]


def brute_force(numbers: NDArray[np.float32]) -> tuple[float, float, float, float]:
    wide = numbers.astype(np.float64)
    return wide.min(), wide.max(), wide.mean(), wide.std()


@pytest.mark.parametrize("name", ["fire", "torus", "tiles"])
def test_nodes_tell_of_the_active_voxels_in_them(fixtures: Path, name: str) -> None:
    grid = files.read(fixtures / f"{name}.vdb").grids[0]
    ((_, buffer),) = grids_of(written(grid))
    types, topology = Types(1), grid.topology
    head = np.frombuffer(buffer, GRID, 1)[0]
    tree = np.frombuffer(buffer, TREE, 1, GRID.itemsize)[0]
    assert head["flags"] & 0b111110 == 0b111110
    levels = [(types.leaf, 0, 8), (types.lower, 1, 128), (types.upper, 2, 4096)]
    coordinates, values = topology.coordinates(), grid.values[:, 0]
    checked = 0
    for kind, level, edge in levels:
        start = GRID.itemsize + int(tree["offsets"][level])
        nodes = np.frombuffer(buffer, kind, int(tree["nodes"][level]), start)
        for node in nodes[:: max(len(nodes) // 6, 1)]:
            low = node["box"] if level == 0 else node["box"][0]
            origin = low // edge * edge
            inside = ((coordinates >= origin) & (coordinates < origin + edge)).all(axis=1)
            tiles = topology.tile_active & (
                (topology.tile_origins >= origin) & (topology.tile_origins < origin + edge)
            ).all(axis=1) & (topology.tile_edges < edge)  # fmt: skip
            if tiles.any() or not inside.any():
                continue
            told = [node[key] for key in ("minimum", "maximum", "average", "deviation")]
            flat = [np.ravel(number)[0] for number in told]
            np.testing.assert_allclose(flat, brute_force(values[inside]), rtol=1e-5, atol=1e-7)
            high = low + node["extent"] if level == 0 else node["box"][1]
            assert np.array_equal(low, coordinates[inside].min(axis=0))
            assert np.array_equal(high, coordinates[inside].max(axis=0))
            checked += 1
    assert checked >= 3
    root = np.frombuffer(buffer, types.root, 1, GRID.itemsize + int(tree["offsets"][3]))[0]
    counts = topology.tile_edges[topology.tile_active].astype(np.float64) ** 3
    tiles = grid.tile_values[topology.tile_active, 0].astype(np.float64)
    total = counts.sum() + len(values)
    mean = ((tiles * counts).sum() + values.sum(dtype=np.float64)) / total
    square = (counts * (tiles - mean) ** 2).sum() + ((values - mean) ** 2).sum()
    told = [root["average"], root["deviation"], root["minimum"][0], root["maximum"][0]]
    both = np.concatenate([tiles, values])
    wanted = [mean, np.sqrt(square / total), both.min(), both.max()]
    np.testing.assert_allclose(told, wanted, rtol=1e-5)


def test_vectors_are_compared_by_the_squares_of_their_lengths() -> None:
    array = np.zeros((8, 8, 8, 3), np.float32)
    array[1, 2, 3], array[4, 5, 6] = (3, 0, 4), (0, -1, 0)
    ((_, buffer),) = grids_of(written(sparse_grid(array, "wind")))
    tree, types = np.frombuffer(buffer, TREE, 1, GRID.itemsize)[0], Types(3)
    leaf = np.frombuffer(buffer, types.leaf, 1, GRID.itemsize + int(tree["offsets"][0]))[0]
    root = np.frombuffer(buffer, types.root, 1, GRID.itemsize + int(tree["offsets"][3]))[0]
    for node in (leaf, root):
        assert node["minimum"].tolist() == [0, -1, 0] and node["maximum"].tolist() == [3, 0, 4]
        assert (node["average"], node["deviation"]) == (13, 12)


def test_heads_tell_readers_what_they_look_for(fixtures: Path) -> None:
    """The numbers are those of the file that nanovdb_convert 10.0.1 makes of the same fixture."""
    file = written(files.read(fixtures / "torus.vdb"))
    assert file[:8] == b"NanoVDB0" and file[12:16] == b"\1\0\1\0"  # one grid, zipped
    told = np.frombuffer(file, "<u8", 4, 16).tolist()
    assert told == [3277696, len(file) - 198, 2371434429, 76736]
    assert np.frombuffer(file, "<i4", 6, 16 + 88).tolist() == [-42, -42, -16, 42, 42, 16]
    assert np.frombuffer(file, "<u4", 8, 16 + 136).tolist() == [6, 393, 8, 8, 1, 0, 0, 0]
    ((_, buffer),) = grids_of(file)
    checksum, ends = int(np.frombuffer(buffer, "<u8", 1, 8)[0]), 672 + 64 + 64 + 8 * 32
    assert checksum == 0xFFFFFFFF << 32 | zlib.crc32(buffer[16:ends])
    assert (buffer[ends:] != 0).any()


def test_names_have_the_keys_of_the_format() -> None:
    """The numbers are what `nanovdb::io::stringHash` gives."""
    assert name_key(b"densitydensitydensity") == 12444474839200072146
    assert name_key("Dichte ä".encode()) == 28258074953320338


def test_names_survive_whatever_they_are() -> None:
    names = ["", "a", "a", "ä" * 200, b"\xff\xfe".decode("utf-8", "surrogateescape")]
    grid = sparse_grid(np.ones((3, 3, 3)), "x")
    data = written(SparseVolume(tuple(replace(grid, name=name) for name in names)))
    assert [found.name for found in files.read(data).grids] == names
    listed = files.list_grids(data)
    assert [found.address for found in listed] == ["", "a[0]", "a[1]", *names[3:]]
    assert [found.name for found in files.read(data, ["a[1]", 0]).grids] == ["a", ""]
    with pytest.raises(OptionError, match=r"no grid 'b'; it holds '', 'a\[0\]'"):
        files.read(data, ["b"])
    with pytest.raises(VdbError, match="names end at a NUL"):
        written(replace(grid, name="a\0b"))


def test_half_takes_16_bits_and_errs_by_half_a_step_of_each_leaf(fixtures: Path) -> None:
    (grid,) = files.read(fixtures / "torus.vdb").grids
    (found,) = files.read(data := written(grid, half=True)).grids
    assert len(data) < 0.7 * len(written(grid))
    assert found.topology.equal(grid.topology) and found.grid_class == "level set"
    blocks, again = (held.blocks(grid.topology.leaf_origins)[..., 0] for held in (grid, found))
    steps = np.ptp(blocks, axis=1, keepdims=True) / 65535
    worst = np.abs(blocks.astype(np.float64) - again)
    assert (worst <= 0.5 * steps + 1e-7).all() and 0 < worst.max() < 3e-6
    assert np.array_equal(grid.tile_values, found.tile_values)


def test_half_of_a_constant_leaf_is_exact() -> None:
    grid = sparse_grid(np.full((8, 8, 8), 0.1, np.float32), "flat")
    (found,) = files.read(written(grid, half=True)).grids
    assert same(grid, found)


def test_what_16_bits_cannot_hold_keeps_32_and_is_told(fixtures: Path) -> None:
    for grid in (special(), *files.read(fixtures / "velocity.vdb").grids):
        volume = SparseVolume((grid,))
        assert f"grid {grid.name!r} keeps 32 bits a value" in lost_of(volume, half=True)
        assert same(grid, files.read(written(grid, half=True)).grids[0])
        assert "32 bits" not in lost_of(volume)


def test_half_means_half_floats_in_a_vdb_file(fixtures: Path, tmp_path: Path) -> None:
    volume = files.read(fixtures / "torus.vdb")
    assert files.write(tmp_path / "half.vdb", volume, half=True) == []
    (found,) = files.read(tmp_path / "half.vdb").grids
    assert found.saved_as_half
    assert np.array_equal(found.values, volume.grids[0].values.astype(np.float16))


@pytest.mark.filterwarnings("error")
def test_a_transform_beyond_float32_is_kept_in_float64() -> None:
    grid = sparse_grid(np.ones((3, 3, 3)), "vast", Transform.from_voxel_size(1e90, (1e300, 0, 0)))
    assert same(grid, files.read(written(grid)).grids[0])


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    note = {"note": MetaValue("string", "x"), "class": MetaValue("string", "unknown")}
    grid = replace(sparse_grid(np.ones((3, 3, 3)), "fog", metadata=note), saved_as_half=True)
    passed = PassthroughGrid(0, "ids", "Tree_int32_5_4_3", False, None, 0, b"", "int32 values")
    volume = SparseVolume((grid,), {"author": MetaValue("string", "me")}, (passed,))
    assert files.write(tmp_path / "out.nvdb", volume) == [
        "grid 'ids' is left out: int32 values",
        "metadata of the file are left out: author",
        "metadata of grid 'fog' are left out: note",
        "grid 'fog' is no longer told to be saved as half floats",
    ]
    assert [found.name for found in files.read(tmp_path / "out.nvdb").grids] == ["fog"]
    with pytest.raises(UnsupportedGridError, match=r"none\.nvdb: .* there is none: grid 'ids' has"):
        files.write(tmp_path / "none.nvdb", SparseVolume((), {}, (passed,)))
    assert not (tmp_path / "none.nvdb").exists()


@pytest.mark.parametrize("number", sorted(READ))
def test_every_type_is_read(number: int) -> None:
    kind, draws = READ[number], np.random.default_rng(number)
    active = draws.random(512) < 0.5
    widths = {None: [None], 0: [1, 2, 4, 8, 16]}.get(kind.bits, [kind.bits])
    for bits in widths:
        told: dict[str, object] = {}
        if bits is None:
            values = draws.normal(size=(512, kind.components)).astype(kind.real)
            wanted = values.astype(np.float32)
        else:
            values = draws.integers(0, 1 << bits, 512)
            told = {"minimum": -0.75, "quantum": 0.3, "bits": bits}
            told |= {"flags": (bits.bit_length() - 1) << 5} if kind.bits == 0 else {}
            wanted = values.astype(np.float32) * np.float32(0.3) + np.float32(-0.75)
        raw = one_leaf(number, values, active, **told)
        for data in (raw, segment(("leaf", raw)), segment(("leaf", raw), zipped=True)):
            (grid,) = files.read(data).grids
            assert grid.topology.leaf_origins.tolist() == [[-8, 0, 8]]
            assert (grid.name, grid.grid_class) == ("leaf", "fog volume")
            assert np.array_equal(
                grid.blocks(grid.topology.leaf_origins)[0], wanted.reshape(512, -1)
            )
            assert np.array_equal(grid.values, wanted.reshape(512, -1)[active])
            assert (grid.rounded is not None) == (kind.real == "<f8")


def test_doubles_beyond_float_and_other_types_are_refused_by_name() -> None:
    raw = bytearray(one_leaf(2, np.full(SHAPE, 1e300), np.ones(512, bool)))
    with pytest.raises(UnsupportedGridError, match=r"grid 0 'leaf': 1e\+300 is beyond float32"):
        files.read(bytes(raw))
    np.frombuffer(raw, GRID, 1)["grid_type"] = 4
    with pytest.raises(UnsupportedGridError, match="grid 0 'leaf' is of NanoVDB's type Int32"):
        files.read(bytes(raw))
    fine = one_leaf(1, np.ones(SHAPE), np.ones(512, bool))
    assert len(files.read(segment(("ids", bytes(raw)), ("fog", fine)), ["fog"]).grids) == 1


def test_newer_grids_are_checked_as_a_whole() -> None:
    raw = bytearray(one_leaf(1, np.ones(SHAPE), np.ones(512, bool)))
    (head,) = np.frombuffer(raw, GRID, 1)
    head["magic"], head["version"] = b"NanoVDB1", 32 << 21 | 8 << 10
    tail, first = bytes(raw[736:]), 16
    ends = [*range(4096, len(tail) - 4095, 4096), len(tail)]
    crcs = [zlib.crc32(tail[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    of_tail = zlib.crc32(np.array(crcs, "<u4").tobytes())
    head["checksum"] = of_tail << 32 | zlib.crc32(raw[first:736])
    assert len(files.read(bytes(raw)).grids) == 1
    for place in (20, len(raw) - 3):
        damaged = bytearray(raw)
        damaged[place] ^= 4
        with pytest.raises(VdbError, match="does not fit its checksum: the file is damaged"):
            files.read(bytes(damaged))


def test_several_grids_and_segments_are_listed_in_their_order() -> None:
    raw = one_leaf(1, np.ones(SHAPE), np.ones(512, bool))
    data = segment(("a", raw), ("b", raw), zipped=True) + segment(("a", raw))
    assert [grid.address for grid in files.list_grids(data)] == ["a[0]", "b", "a[1]"]
    assert [grid.name for grid in files.read(data).grids] == ["a", "b", "a"]
    assert [grid.name for grid in files.read(raw + raw).grids] == ["leaf", "leaf"]


def test_a_file_at_a_url_is_read(fixtures: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    volume = files.read(fixtures / "fire.vdb")
    with fsspec.open("memory://fire.nvdb", "wb") as file:
        file.write(written(volume))
    read = files.read("memory://fire.nvdb")
    assert all(same(mine, theirs) for mine, theirs in zip(volume.grids, read.grids, strict=True))


def test_the_grid_of_an_open_volume_is_a_file_too(fixtures: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    volume = inrv.load(fixtures / "golden" / "level_set.inrv", "cpu")
    path = tmp_path / "raw.nvdb"
    path.write_bytes(volume.grids[0].nanovdb().numpy().tobytes())
    assert same(volume.grids[0].to_grid(), files.read(path).grids[0])
    volume.to_vdb(tmp_path / "torus.nvdb")
    assert same(volume.grids[0].to_grid(), files.read(tmp_path / "torus.nvdb").grids[0])
