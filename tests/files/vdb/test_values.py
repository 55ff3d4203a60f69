"""Values to the bit: odd floats, half floats, and buffers that lie about what they hold."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numcodecs import blosc
from numpy.typing import NDArray

from inrv import Grid, SparseVolume, Topology
from inrv.files.buffers import unpack_blosc
from inrv.files.vdb import read_volume, write_volume
from inrv.files.vdb.values import narrow, pack_buffer, unzip_buffer, widen
from inrv.grids import LeafValues
from testing.lattice import bits
from testing.vdb.referee import HandTree, assert_same_bits, load_openvdb, vdb_file

NAN, MINUS_NAN = 0x7FC00000, 0xFFC00000
ODD = [
    0x00000000,
    0x80000000,
    NAN,
    MINUS_NAN,
    0x7F800001,
    0xFFABCDEF,
    0x7F800000,
    0xFF800000,
    0x00000001,
    0x7F7FFFFF,
    0x3F800000,
]


def floats(patterns: Sequence[int]) -> NDArray[np.float32]:
    return np.array(patterns, dtype=np.uint32).view(np.float32)


def odd_grid(seed: int, components: int, background: int, kinds: int) -> Grid:
    """Leaves and tiles of every size whose active and inactive values are odd.

    There are few kinds of inactive values in a leaf.
    """
    random = np.random.default_rng(seed)
    origins = np.unique(random.integers(-600, 600, (int(random.integers(1, 20)), 3)) * 8, axis=0)
    topology = Topology.from_leaves(origins, random.random((len(origins), 512)) < random.random())
    tiles = np.array(
        [[5000 * 8, 0, 0], [9 << 12, 128, -128], [-9 << 12, -(5 << 12), 0]], dtype=np.int32
    )
    state = random.random(3) < 0.5
    topology = replace(
        topology,
        tile_origins=tiles,
        tile_edges=np.array([8, 128, 4096], dtype=np.int32),
        tile_active=state,
    )

    def choose(count: int, patterns: Sequence[int]) -> NDArray[np.float32]:
        return floats(random.choice(patterns, count * components)).reshape(-1, components)

    few = [background, background ^ 1 << 31, *random.choice(ODD, 3)][:kinds]
    inactive = np.flatnonzero(np.unpackbits(topology.leaf_masks, bitorder="little") == 0)
    if seed % 2:
        inactive = inactive[random.random(len(inactive)) < 0.5]
    ground, values = floats([background] * components), choose(len(inactive), few)
    off = (bits(values) != bits(ground)).any(axis=1)
    kind = "float" if components == 1 else "vec3s"
    tile_values = choose(3, [pattern for pattern in ODD if pattern != background])
    stored = choose(topology.leaf_voxel_count, ODD)
    return Grid(
        "odd", kind, ground, topology, stored, tile_values, LeafValues(inactive[off], values[off])
    )


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.integers(0, 1 << 30),
    st.sampled_from([1, 3]),
    st.sampled_from([0x00000000, 0x80000000, 0x3E800000, 0x00000001]),
    st.integers(1, 5),
)
def test_odd_values_survive(
    tmp_path: Path, seed: int, components: int, background: int, kinds: int
) -> None:
    grid = odd_grid(seed, components, background, kinds)
    write_volume(tmp_path / "odd.vdb", SparseVolume((grid,)))
    (found,) = read_volume(tmp_path / "odd.vdb").grids
    assert_same_bits(found, grid, but=["metadata"])


@pytest.mark.parametrize("components", [1, 3])
def test_openvdb_reads_odd_values(tmp_path: Path, components: int) -> None:
    grid = odd_grid(1, components, 0, 5)
    write_volume(tmp_path / "odd.vdb", SparseVolume((grid,)))
    tree = load_openvdb().read(str(tmp_path / "odd.vdb"), "odd")
    assert (tree.leafCount(), tree.activeVoxelCount()) == (
        grid.topology.leaf_count,
        grid.topology.active_voxel_count,
    )
    accessor = tree.getConstAccessor()
    places = np.concatenate([grid.topology.places()[::37], grid.inactive.places[::41]])
    coordinates = np.concatenate([grid.topology.coordinates_of(places), grid.topology.tile_origins])
    seen = np.array(
        [accessor.getValue(tuple(place)) for place in coordinates.tolist()], dtype=np.float32
    )
    seen = seen.reshape(-1, components)
    assert np.array_equal(seen, grid.lookup(coordinates), equal_nan=True)
    assert np.array_equal(np.signbit(seen), np.signbit(grid.lookup(coordinates)))


def test_equal_is_not_the_same(tmp_path: Path) -> None:
    """-0.0 == 0.0, and NaN != NaN: only the bits tell what is the background."""
    path, tree = (
        tmp_path / "zero.vdb",
        HandTree(background=0.0, inactive={3: -0.0, 4: 0.0}, tile=-0.0),
    )
    path.write_bytes(vdb_file(tree.grid()))
    (grid,) = read_volume(path).grids
    assert grid.inactive.places.tolist() == [3] and bits(grid.inactive.values).tolist() == [
        [-(1 << 31)]
    ]
    assert np.signbit(grid.tile_values[1]).all()


def test_half_floats_are_exact() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    single = widen(halves)
    number = halves.view(np.float16)
    finite = ~np.isnan(number)
    assert np.array_equal(single[finite], number[finite].astype(np.float32).view(np.uint32))
    assert np.isnan(single.view(np.float32)[~finite]).all()
    assert np.array_equal(narrow(single), halves)
    assert np.array_equal(
        widen(halves, double=True).view(np.float64)[finite], number[finite].astype(np.float64)
    )


def test_halves_round_to_even_and_overflow_to_infinity() -> None:
    given = np.array(
        [1.0 + 2**-11, 1.0 + 3 * 2**-11, 70000.0, -70000.0, 2**-26, np.nan], dtype=np.float32
    ).view(np.uint32)
    assert [hex(half) for half in narrow(given)] == [
        "0x3c00",
        "0x3c02",
        "0x7c00",
        "0xfc00",
        "0x0",
        "0x7e00",
    ]
    assert narrow(np.array([0x7F800001], dtype=np.uint32)).tolist() == [
        0x7C01
    ]  # a NaN does not become infinite


def test_half_grids_are_written_as_halves(tmp_path: Path) -> None:
    grid = replace(odd_grid(3, 3, 0x3E800000, 3), saved_as_half=True)
    write_volume(tmp_path / "half.vdb", SparseVolume((grid,)))
    (once,) = read_volume(tmp_path / "half.vdb").grids
    rounded = widen(narrow(bits(grid.values).view(np.uint32)))
    assert np.array_equal(bits(once.values).view(np.uint32), rounded)
    write_volume(tmp_path / "again.vdb", SparseVolume((once,)))
    assert_same_bits(read_volume(tmp_path / "again.vdb").grids[0], once)


def test_packed_buffers_come_back() -> None:
    values = np.arange(1536, dtype=np.uint32).reshape(512, 3)
    data = pack_buffer(values)
    assert struct.unpack_from("<q", data) == (len(data) - 8,) and len(data) < values.nbytes
    out = np.zeros_like(values)
    unpack_blosc(memoryview(data)[8:], out)
    assert np.array_equal(out, values)


@pytest.mark.parametrize(
    "data", [b"", bytes(16), b"\2\1\x33\4" + struct.pack("<III", 2048, 2048, 1 << 30), bytes(2064)]
)
def test_blosc_buffers_that_lie(data: bytes) -> None:
    with pytest.raises(ValueError, match="BLOSC buffer"):
        unpack_blosc(memoryview(data), np.zeros(512, dtype=np.uint32))
    good = bytearray(blosc.compress(np.zeros(512, dtype=np.uint32), b"lz4", 9, 1, 2048))
    good[2] = 0xFF
    with pytest.raises(ValueError, match="BLOSC buffer is damaged"):
        unpack_blosc(memoryview(bytes(good)), np.zeros(512, dtype=np.uint32))


def test_zip_buffers_that_lie() -> None:
    for data in (
        b"",
        b"no zip",
        zlib.compress(bytes(2047)),
        zlib.compress(bytes(2049)),
        zlib.compress(bytes(1 << 24)),
    ):
        with pytest.raises(ValueError, match="ZIP buffer"):
            unzip_buffer(memoryview(data), np.zeros(512, dtype=np.uint32))
