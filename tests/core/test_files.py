"""Files that C programs read: the core gives what Python gives, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref, c_void_p
from typing import Any

import numpy as np
import pytest

import inrv
from fixtures.make_golden import FOLDER
from inrv import EncodeOptions, FormatError, SparseVolume
from inrv.container import Limits
from inrv.grids import sparse_grid
from testing.core_files import (
    EDGE,
    HALF,
    NO_UNITS,
    UNITS,
    CoreDecoder,
    CoreFile,
    CorePoints,
    GridHeader,
    call,
)
from testing.rebuild import payload, take_apart
from testing.specification import ROOT

GOLDEN = sorted(path.stem for path in FOLDER.glob("*.inrv"))
COUNT = 500  # points


def file_of(name: str) -> bytes:
    return (FOLDER / f"{name}.inrv").read_bytes()


@pytest.fixture(scope="module")
def encoded() -> bytes:
    """A file with BITS chunks, one channel predicted from another, and tiles none."""
    options = EncodeOptions(effort="instant", exact_below=0)
    return inrv.encode_bytes(ROOT / "fixtures" / "fire.vdb", options)[0]


@pytest.fixture(scope="module")
def thresholds() -> bytes:
    """A file whose decoded values tell which voxels are active."""
    options = EncodeOptions(effort="instant", exact_below=0, topology="threshold")
    data = inrv.encode_bytes(ROOT / "fixtures" / "fire.vdb", options)[0]
    assert CoreFile(data).grids[0].whole_leaves
    return data


def grids_of(data: bytes, reading: bool = False) -> Iterator[tuple[Any, CoreDecoder]]:
    """Each coded grid that the core decodes, as Python has it and with its decoder."""
    frames, file = inrv.load(data, "cpu").frames, CoreFile(data, reading)
    places = {volume.place: volume for volume in frames.values()}
    for number, header in enumerate(file.grids):
        if not header.passthrough:
            yield places[header.frame][header.position], CoreDecoder(file, number)


def is_fourier(data: bytes) -> bool:
    field = inrv.load(data, "cpu").container.manifest.field
    return field is not None and field.kind == "fourier"


# ---- What a file says ----


def about(header: GridHeader) -> dict[str, Any]:
    """What the core says of a grid, under Python's names."""
    classes = ["unknown", "level set", "fog volume", "staggered"]
    box = (tuple(header.lower), tuple(header.upper)) if header.has_box else None
    return {
        "name": header.name.decode("utf-8", "surrogateescape"),
        "value_type": header.type.decode(),
        "grid_class": classes[header.grid_class],
        "background": tuple(header.background)[: header.components],
        "matrix": tuple(header.matrix),
        "active_voxels": header.active_voxels,
        "leaf_voxels": header.leaf_voxels,
        "box": box,
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_grids_are_listed(name: str) -> None:
    data = file_of(name)
    manifest, headers = inrv.load(data, "cpu").container.manifest, CoreFile(data).grids
    coded = headers[: len(manifest.grids)]
    for entry, header in zip(manifest.grids, coded, strict=True):
        found = about(header)
        assert found == {key: getattr(entry, key) for key in found}
        ranges = [(part.minimum, part.maximum) for part in entry.components]
        assert [(own.minimum, own.maximum) for own in header.component[: len(ranges)]] == ranges
    assert [header.position for header in coded] == list(manifest.positions)
    for entry, header in zip(manifest.passthrough, headers[len(coded) :], strict=True):
        assert header.passthrough and header.position == entry.position
        assert (header.name.decode(), header.type.decode()) == (entry.name, entry.tree_type)


@pytest.mark.parametrize("name", GOLDEN)
def test_tiles_and_leaves_are_listed(name: str) -> None:
    data = file_of(name)
    for grid, decoder in grids_of(data):
        topology, skeleton = grid.topology, decoder.skeleton
        if grid.entry.threshold is not None or grid.entry.topology_of is not None:
            assert skeleton.leaves >= topology.leaf_count
            continue
        assert skeleton.leaves == topology.leaf_count
        assert np.array_equal(
            decoder.corners, np.unique(topology.leaf_origins // EDGE * EDGE, axis=0)
        )
        for number in range(skeleton.tiles):
            tile = skeleton.tile[number]
            assert tuple(tile.corner) == tuple(topology.tile_origins[number])
            assert (tile.edge, tile.active) == (
                topology.tile_edges[number], topology.tile_active[number]
            )  # fmt: skip
            values = np.ctypeslib.as_array(tile.values, (decoder.components,))
            assert values.tobytes() == grid.template.tile_values[number].tobytes()


def test_opening_costs_two_reads() -> None:
    data = file_of("lattice")
    file = CoreFile(data, reading=True)
    assert [offset for offset, _ in file.reads] == [0, 48]


def test_a_region_reads_its_own_parts(encoded: bytes) -> None:
    file = CoreFile(encoded, reading=True)
    decoder = CoreDecoder(file, 1)
    read = sum(size for _, size in file.reads)
    decoder.region(decoder.corners[0], level=3)
    assert sum(size for _, size in file.reads) < read + len(encoded) // 2
    decoder.region(decoder.corners[0])
    assert sum(size for _, size in file.reads) > len(encoded) // 2


NUMBERS = """
    0 -0 1e22 1e23
    9007199254740993 9007199254740992.5 2.2250738585072011e-308 5e-324
    2.5e-324 2.4703282292062327e-324 2.4703282292062328e-324 1.7976931348623157e308
    1e-400 0.1 -12.5e-3 123456789012345678901234567890123456789012345678901234567890e-70
    0.000000000000000000001e21 8.5070591730234615865843651857942052864e37 4.35e0 1E+2
    100000000000000016777215 6.1e-5
"""


def with_matrix(numbers: list[str]) -> bytes:
    """A file whose matrix is written as these 16 numbers."""
    file = take_apart(file_of("one_leaf"))
    text = payload(file.manifest).decode()
    start = text.index('"matrix":[') + len('"matrix":[')
    file.set_manifest((text[:start] + ",".join(numbers) + text[text.index("]", start) :]).encode())
    return file.to_bytes()


def test_numbers_are_rounded_as_by_python() -> None:
    chance = np.random.default_rng(7)
    doubles = chance.integers(0, 0x7FF << 52, 1200).astype(np.uint64).view(np.float64)
    numbers = [
        *NUMBERS.split(),
        *(f"{double:.{places}e}" for double in doubles for places in (3, 16, 22)),
    ]
    for first in range(0, len(numbers) - 15, 16):
        part = numbers[first : first + 16]
        assert list(CoreFile(with_matrix(part)).grids[0].matrix) == list(map(float, part))


@pytest.mark.parametrize(
    "number", ["1e309", "-1.8e308", "NaN", "1" * 65, "1.797693134862315999e308"]
)
def test_numbers_that_are_too_large_are_refused(number: str) -> None:
    with pytest.raises(FormatError, match="M3"):
        CoreFile(with_matrix([number] * 16))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ('"caf\\u00e9 \\ud83d\\ude00 \\"/\\n"', 'café \U0001f600 "/\n'),
        ('"caf\u00e9 \U0001f600"', "café \U0001f600"),
        ('"\\udce9t\\udce9"', "\udce9t\udce9"),
    ],
)
def test_names_are_utf8_or_bytes(name: str, found: str) -> None:
    file = take_apart(file_of("one_leaf"))
    text = payload(file.manifest).decode()
    file.set_manifest(text.replace('"name":"density"', f'"name":{name}').encode())
    assert about(CoreFile(file.to_bytes()).grids[0])["name"] == found


# ---- Values ----


def check_values(grid: Any, decoder: CoreDecoder) -> None:
    """Every region at every level, leaves and blocks."""
    whole = grid.to_grid()
    leaves = [decoder.region(corner) for corner in decoder.corners]
    for name, expected in (
        ("values", whole.values),
        ("masks", whole.topology.leaf_masks),
        ("inactive_values", whole.inactive.values),
    ):
        found = b"".join(getattr(region, name).tobytes() for region in leaves)
        assert found == expected.tobytes()
    for corner in decoder.corners:
        for level in range(7):
            block, active = decoder.block(corner, level)
            box = corner, corner + EDGE - 1
            assert block.tobytes() == grid.dense(box, stride=1 << level).tobytes()
            tiles = decoder.skeleton.tiles > 0  # whose voxels are active too, or not
            assert tiles or len(decoder.region(corner, level).values) == active.sum()


@pytest.mark.parametrize("name", GOLDEN)
def test_values_are_those_of_python(name: str) -> None:
    data = file_of(name)
    for grid, decoder in grids_of(data):
        coded = any(part.output is not None for part in grid.entry.components)
        if is_fourier(data) and coded:
            with pytest.raises(FormatError, match="not computed"):
                decoder.region(decoder.corners[0])
        else:
            check_values(grid, decoder)


def test_parts_of_bits_are_read(encoded: bytes) -> None:
    for grid, decoder in grids_of(encoded, reading=True):
        check_values(grid, decoder)


def test_thresholds_are_applied(thresholds: bytes) -> None:
    for grid, decoder in grids_of(thresholds):
        check_values(grid, decoder)
        assert decoder.skeleton.leaves >= grid.topology.leaf_count


@pytest.mark.parametrize("name", ["tiles", "torus", "velocity"])
def test_tiles_fill_blocks(name: str) -> None:
    options = EncodeOptions(effort="instant", exact_below=0)
    data = inrv.encode_bytes(ROOT / "fixtures" / f"{name}.vdb", options)[0]
    for grid, decoder in grids_of(data):
        check_values(grid, decoder)
        skeleton, topology = decoder.skeleton, grid.topology
        corners = [np.array(skeleton.tile[i].corner) & -EDGE for i in range(skeleton.tiles)]
        for corner in (*corners[:3], np.array([1 << 22, 0, -(1 << 22)])):
            block, active = decoder.block(corner, 1)
            box = corner, corner + EDGE - 1
            assert block.tobytes() == grid.dense(box, stride=2).tobytes()
            tile = topology.find_tiles(corner[None])[0]
            if tile >= 0:
                assert active[0, 0, 0] == topology.tile_active[tile]


def test_halves_are_rounded_as_by_numpy() -> None:
    chance = np.random.default_rng(3)
    bits = chance.integers(0, 1 << 32, (16, 16, 16), dtype=np.uint32)
    near = chance.integers(0x32800000, 0x48000000, (8, 16, 16), dtype=np.uint32)
    bits[8:] = near & np.uint32(0xFFFFF000) | chance.integers(0, 2, near.shape, dtype=np.uint32)
    volume = SparseVolume((sparse_grid(bits.view(np.float32), "noise"),))
    data = inrv.encode_bytes(volume, EncodeOptions(exact_below=1 << 20, nonfinite="keep"))[0]
    for grid, decoder in grids_of(data):
        single, _ = decoder.block((0, 0, 0))
        assert single.tobytes() == grid.dense(((0,) * 3, (EDGE - 1,) * 3)).tobytes()
        half, _ = decoder.block((0, 0, 0), format=HALF)
        with np.errstate(over="ignore", invalid="ignore"):
            assert half.tobytes() == single.astype(np.float16).tobytes()


def test_active_voxels_need_no_values() -> None:
    """Even of a field whose values the core does not compute."""
    for grid, decoder in grids_of(file_of("velocity")):
        topology = grid.topology
        for corner in decoder.corners:
            active = decoder.active(corner)
            coordinates = topology.coordinates() - corner
            inside = ((coordinates >= 0) & (coordinates < EDGE)).all(axis=1)
            assert active[tuple(coordinates[inside].T)].all()
            assert active.sum() == inside.sum()


def test_units_are_whole_numbers_of_the_range(encoded: bytes) -> None:
    file = CoreFile(encoded)
    for number, header in enumerate(file.grids):
        decoder = CoreDecoder(file, number)
        units, active = decoder.block(decoder.corners[0], format=UNITS)
        values, _ = decoder.block(decoder.corners[0])
        assert np.array_equal(units[..., 0] != NO_UNITS, active)
        part = header.component[0]
        expected = part.minimum + (part.maximum - part.minimum) * (units[active] / part.scale)
        assert np.abs(expected - values[active]).max() < (part.maximum - part.minimum) / 50


def test_a_region_without_leaves_is_empty() -> None:
    for _, decoder in grids_of(file_of("lattice")):
        region = decoder.region((1 << 20, -(1 << 20), 0))
        assert len(region.cells) == 0 and len(region.values) == 0
        decoder.block((-(2**31), 2**31 - EDGE, 0))


def test_what_is_no_region_is_refused() -> None:
    _, decoder = next(grids_of(file_of("lattice")))
    for corner, level in (((1, 0, 0), 0), ((0, 0, 0), 7), ((0, 0, 0), -1)):
        with pytest.raises(ValueError, match="out of its range"):
            decoder.region(corner, level)
    with pytest.raises(ValueError, match="out of its range"):
        CoreDecoder(CoreFile(file_of("exact")), 3)  # a passthrough grid


def test_threads_share_a_file(encoded: bytes) -> None:
    file = CoreFile(encoded)

    def decoded(number: int) -> bytes:
        decoder = CoreDecoder(file, number % 2)
        return b"".join(decoder.region(corner).values.tobytes() for corner in decoder.corners)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(decoded, range(12)))) == 2


# ---- Points ----


def test_components_of_a_staggered_grid_live_on_faces() -> None:
    values = np.random.default_rng(1).normal(size=(20, 9, 30, 3)).astype(np.float32)
    grid = sparse_grid(values, "velocity", grid_class="staggered")
    data = inrv.encode_bytes(SparseVolume((grid,)), EncodeOptions(exact_below=1 << 20))[0]
    for found, decoder in grids_of(data):
        assert CoreFile(data).grids[0].grid_class == 3
        points = np.random.default_rng(0).uniform(-2, 32, (COUNT, 3))
        assert CorePoints(decoder)(points).tobytes() == found.sample(points).tobytes()


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("name", ["lattice", "no_field", "frequent", "one_leaf", "bounded"])
def test_points_have_the_values_of_python(name: str, nearest: bool) -> None:
    for grid, decoder in grids_of(file_of(name)):
        box = grid.box or inrv.Box((0, 0, 0), (9, 9, 9))
        lower, upper = np.array(box.lower) - 3.0, np.array(box.upper) + 3.0
        points = np.random.default_rng(0).uniform(lower, upper, (COUNT, 3))
        points[0], points[1] = 1e30, np.floor(points[1])
        asked = "nearest" if nearest else "trilinear"
        expected = grid.sample(points, interpolation=asked).reshape(COUNT, -1)
        for kept in (1 << 28, 0):
            found = CorePoints(decoder, kept)(points[: COUNT if kept else 40], nearest)
            assert found.tobytes() == expected[: len(found)].tobytes()


def test_points_that_are_not_finite_are_refused() -> None:
    _, decoder = next(grids_of(file_of("lattice")))
    with pytest.raises(ValueError, match="out of its range"):
        CorePoints(decoder)([[0, np.nan, 0]])


# ---- Limits and errors ----


def test_limits_are_those_of_the_library() -> None:
    limits, found = Limits(), CoreFile(file_of("empty")).limits
    for name, _ in found._fields_:
        if name == "memory":  # which is the core's alone
            continue
        assert getattr(found, name) == getattr(limits, name)


@pytest.mark.parametrize(
    ("rule", "limits"),
    [
        ("H6", {"chunks": 1}),
        ("C2", {"manifest_bytes": 100}),
        ("C2", {"chunk_bytes": 100}),
        ("M8", {"grids": 1}),
    ],
)
def test_limits_are_kept(rule: str, limits: dict[str, int]) -> None:
    with pytest.raises(FormatError, match=rule):
        CoreFile(file_of("lattice"), **limits)


def test_memory_is_bounded(encoded: bytes) -> None:
    for most in (1000, 100_000, 1_000_000):
        with pytest.raises(MemoryError):
            decoder = CoreDecoder(CoreFile(encoded, memory=most), 0)
            for corner in decoder.corners:
                decoder.region(corner)
    with pytest.raises(FormatError, match="L2"):
        CoreDecoder(CoreFile(encoded, leaves=5), 0)


def test_what_is_compressed_needs_a_host() -> None:
    data = file_of("lattice")
    with pytest.raises(ValueError, match="out of its range"):
        call("inrv_open_memory", data, len(data), None, None, byref(c_void_p()))


def test_a_file_that_cannot_be_read() -> None:
    file = CoreFile(file_of("lattice"), reading=True)
    file.data = b""
    with pytest.raises(FormatError, match="I1"):
        CoreDecoder(file, 0)


def test_a_channel_without_its_motion_stays_closed() -> None:
    data = bytearray(file_of("motion"))
    for entry in inrv.load(bytes(data)).container.entries:
        if entry.type == "MOVE":
            data[entry.offset + entry.stored - 1] ^= 1
    file = CoreFile(bytes(data))
    refused = 0
    for number, header in enumerate(file.grids):
        decoder = CoreDecoder(file, number) if not header.passthrough else None
        for corner in () if decoder is None else [*decoder.corners] * 2:
            try:
                decoder.region(corner)
            except FormatError as error:
                assert error.id == "C5"
                refused += 1
            else:
                assert refused == 0  # once refused, a grid is refused again
        refused, told = 0, refused
    assert told
