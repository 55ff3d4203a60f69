"""The library and the reference decoder give the same bits for the same lattice."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, SparseVolume, Topology
from inrv.container import Chunk, container_bytes, pack_tensors
from inrv.core import lattice as core_lattice
from inrv.core.library import INSTRUCTION_SETS, instruction_sets, library
from inrv.errors import FormatError
from inrv.fields.lattice.model import default_model
from inrv.grids import Grid, LeafValues, sparse_grid
from spec.reference import lattice, read
from testing.regions import known_voxels, nothing_but

OPTIONS = EncodeOptions(exact_below=0, effort="instant", psnr=40, device="cpu")
Make = Callable[[], tuple[SparseVolume, EncodeOptions]]
Floats = NDArray[np.float32]
LEVELS = 0, 1, 2, 3, 5


def axes(*shape: int, end: float = 1.0) -> list[Floats]:
    ends = [np.linspace(-end, end, edge, dtype=np.float32) for edge in shape]
    return list(np.meshgrid(*ends, indexing="ij"))


def blob(shape: tuple[int, int, int], shift: float = 0.0) -> Floats:
    x, y, z = axes(*shape)
    values = np.exp(-2 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * np.sin(9 * x + 4 * z))
    return np.where(values > 0.15, values, np.float32(0))


def smooth(edge: int) -> Floats:
    x, y, z = axes(edge, edge, edge)
    found: Floats = np.exp(-3 * (x**2 + y**2 + z**2)) * (1 + 0.2 * np.sin(9 * x + 4 * z))
    return found


def frayed(inner: NDArray[np.bool_], outer: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All of `inner` and half of `outer`, at random, so that masks cost more than values."""
    return inner | outer & (np.random.default_rng(6).random(inner.shape) < 0.5)


def moved(grid: Grid, by: tuple[int, int, int]) -> Grid:
    """The grid elsewhere; `by` are multiples of 8."""
    origins, starts = (
        grid.topology.leaf_origins + np.array(by, dtype=np.int32),
        grid.topology.starts.tolist(),
    )
    order = Topology.order_of(origins)
    topology = replace(
        grid.topology, leaf_origins=origins[order], leaf_masks=grid.topology.leaf_masks[order]
    )
    values = np.concatenate(
        [grid.values[starts[leaf] : starts[leaf + 1]] for leaf in order.tolist()]
    )
    return replace(grid, topology=topology, values=values)


def inactive_places(grid: Grid) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.flatnonzero(
        np.unpackbits(grid.topology.leaf_masks, bitorder="little") == 0
    )
    return found


def tiled(grid: Grid, *tiles: tuple[tuple[int, int, int], int, bool]) -> Topology:
    """The grid's topology with tiles: origin, edge, active."""
    origins, edges, active = zip(*tiles, strict=True)
    return replace(
        grid.topology,
        tile_origins=np.array(origins, dtype=np.int32),
        tile_edges=np.array(edges, dtype=np.int32),
        tile_active=np.array(active),
    )


def alone() -> tuple[SparseVolume, EncodeOptions]:
    """Fog on both sides of a border between regions, at negative coordinates too."""
    return SparseVolume((moved(sparse_grid(blob((12, 14, 30)), "density"), (0, 0, -16)),)), OPTIONS


def referring() -> tuple[SparseVolume, EncodeOptions]:
    """A channel with the reference channel of another grid, which has more voxels and regions."""
    generator = np.random.default_rng(4)
    first = blob((13, 14, 21)) * (1 + 0.1 * generator.random((13, 14, 21), dtype=np.float32))
    second = np.where(first > 0.3, 20 + 900 * first**2, np.float32(0))
    grids = (
        moved(sparse_grid(first, "density"), (0, 0, -8)),
        moved(sparse_grid(second, "temperature"), (0, 0, -8)),
    )
    return SparseVolume(grids), OPTIONS


def bounded() -> tuple[SparseVolume, EncodeOptions]:
    noise = np.random.default_rng(3).random((9, 10, 11), dtype=np.float32)
    return SparseVolume((sparse_grid(noise, "noise"),)), replace(OPTIONS, psnr=None, max_error=1e-5)


def vectors() -> tuple[SparseVolume, EncodeOptions]:
    """Vectors, of which one component is constant and one has values that are not finite."""
    shape = (12, 10, 14)
    values = np.stack(
        [blob(shape), np.full(shape, 2.5, dtype=np.float32), -blob(shape, 0.2)], axis=3
    )
    grid = sparse_grid(values, "velocity")
    changed = grid.values.copy()
    changed[5:300:7, 2] = np.nan
    return SparseVolume((replace(grid, values=changed),)), replace(OPTIONS, nonfinite="keep")


def threshold() -> tuple[SparseVolume, EncodeOptions]:
    values = smooth(40)
    active = frayed(values > 0.08, values > 0.01)
    grid = sparse_grid(np.where(active, values, np.float32(0)), "density")
    return SparseVolume((grid,)), replace(OPTIONS, topology="threshold", psnr=30)


def velocity() -> tuple[SparseVolume, EncodeOptions]:
    """Vectors, one component constant, that are inactive where they are small."""
    values = smooth(40)
    values = np.stack([values, np.full_like(values, 1.5), -0.5 * values[::-1]], axis=3)
    active = frayed(values[..., 0] > 0.08, values[..., 0] > 0.01)
    grid = sparse_grid(values, "velocity", background=(0.0, 1.5, 0.0), active=active)
    return SparseVolume((grid,)), replace(OPTIONS, topology="threshold", psnr=30)


def level_set() -> tuple[SparseVolume, EncodeOptions]:
    """A narrow band whose outermost voxels are active or not; inactive voxels and tiles inside."""
    x, y, z = axes(40, 40, 40, end=19.5)
    distance = np.clip(
        np.sqrt((x + 0.2) ** 2 + (y + 0.2) ** 2 + (z + 0.2) ** 2) - 15, -3, 3
    ).astype(np.float32)
    active = frayed(np.abs(distance) < 2.5, np.abs(distance) < 3)
    grid = sparse_grid(distance, "surface", background=(3.0,), active=active)
    places = inactive_places(grid)
    inside = places[distance[tuple(grid.topology.coordinates_of(places).T)] < 0]
    inactive = LeafValues(inside, np.full((len(inside), 1), -3.0, dtype=np.float32))
    topology = tiled(grid, ((128, 0, 0), 128, True), ((16, 16, 16), 8, False))
    changed = replace(
        grid,
        topology=topology,
        tile_values=np.array([[1.0], [-3.0]], dtype=np.float32),
        inactive=inactive,
    )
    return SparseVolume((changed,)), replace(OPTIONS, topology="threshold", psnr=30)


def band() -> tuple[SparseVolume, EncodeOptions]:
    """A narrow band; some tiles and inactive voxels inside are not finite."""
    x, y, z = axes(24, 24, 24, end=11.5)
    distance = (np.sqrt((x + 0.2) ** 2 + (y + 0.2) ** 2 + (z + 0.2) ** 2) - 9).astype(np.float32)
    grid = sparse_grid(
        np.clip(distance, -3, 3), "surface", background=(3.0,), active=np.abs(distance) < 3
    )
    places = inactive_places(grid)[::2]
    values = np.full((len(places), 1), -3.0, dtype=np.float32)
    values[::9], values[4::9], values[5::9] = np.nan, np.inf, -np.inf
    topology = tiled(
        grid,
        ((24, 0, 0), 8, True),
        ((0, 24, 0), 8, False),
        ((-8, 0, 0), 8, True),
        ((0, 128, 0), 128, False),
    )
    tile_values = np.array([[-2.5], [np.nan], [1.0], [7.0]], dtype=np.float32)
    own = grid.values.copy()
    own[3::50] = np.nan
    odd = replace(
        grid,
        topology=topology,
        tile_values=tile_values,
        inactive=LeafValues(places, values),
        values=own,
    )
    return SparseVolume((odd,)), replace(OPTIONS, nonfinite="keep")


def holes() -> tuple[SparseVolume, EncodeOptions]:
    """Fog with values that are not finite, and nothing else to know but the background."""
    grid = sparse_grid(blob((12, 14, 16)), "density", background=(0.07,))
    values = grid.values.copy()
    values[5:900:7] = np.nan
    return SparseVolume((replace(grid, values=values),)), replace(OPTIONS, nonfinite="keep")


def haze() -> tuple[SparseVolume, EncodeOptions]:
    """A dense box, mostly 0, around a cloud whose core is 1, and what resembles it, some hot."""
    cloud = blob((20, 22, 24))
    cloud[cloud > 0.9] = 1.0
    heat = np.where(cloud > 0, 300 + 900 * cloud**2, np.float32(293))
    heat[::9, ::11, ::12] = 1e6
    everywhere = np.ones(cloud.shape, dtype=bool)
    density = moved(sparse_grid(cloud, "density", active=everywhere), (-8, 0, 0))
    return SparseVolume(
        (density, moved(sparse_grid(heat, "temperature", active=everywhere), (-8, 0, 0)))
    ), OPTIONS


def palette() -> tuple[SparseVolume, EncodeOptions]:
    """A narrow band in halves, whole numbers that are predicted from others, and low bits."""
    (surface,) = band()[0].grids
    values = np.nan_to_num(surface.values, nan=0.5).astype(np.float16).astype(np.float32)
    values[values == 0] = -0.0
    counts = np.floor(blob((13, 15, 17)) * 40)
    alike = np.where(counts > 0, 500 - counts**2, counts)
    whole = (
        sparse_grid(counts, "counts"),
        sparse_grid(alike, "alike"),
        sparse_grid(100 + smooth(12), "fine"),
    )
    options = replace(OPTIONS, psnr=None, lossless=True, nonfinite="keep")
    return SparseVolume((surface.with_values(values), *whole)), options


def airy() -> tuple[SparseVolume, EncodeOptions]:
    """A threshold over values of which many are 1."""
    (volume, options), inside = threshold(), np.zeros((40, 40, 40), dtype=bool)
    inside[10:30, 8:33, 12:27] = True
    cloud = smooth(40)
    active = frayed(cloud > 0.08, cloud > 0.01)
    values = np.where(inside, 1, np.where(active, np.minimum(cloud, 0.9), 0)).astype(np.float32)
    return replace(volume, grids=(sparse_grid(values, "density", active=active | inside),)), options


def shared() -> tuple[SparseVolume, EncodeOptions]:
    """Two grids of one topology, which a threshold of the first gives."""
    (volume, options) = threshold()
    (first,) = volume.grids
    second = replace(first.with_values(900 * first.values**2), name="heat")
    return replace(volume, grids=(first, second)), options


ODD_SEEDS = (band, 1), (band, 3), (holes, 1)  # with exterior values


@lru_cache(maxsize=16)
def encoded(make: Make) -> bytes:
    return inrv.encode_bytes(*make())[0]


def any_codes(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Codes that have nothing to do with values, from none to the largest."""
    sizes = generator.integers(0, 20, count) * generator.integers(0, 2, count)
    magnitudes = (generator.random(count) * 2.0**sizes).astype(np.int64)
    signs: NDArray[np.int64] = generator.choice([-1, 1], count)
    return magnitudes * signs


def any_networks(defaults: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    """Networks whose sums are as large as can be."""
    limits = {part: 127 if part.endswith("weight") else 1 << 18 for part in lattice.NAMES}
    return {
        name: {
            part: generator.integers(-limits[part], limits[part] + 1, tensor.shape)
            for part, tensor in network.items()
        }
        for name, network in defaults.items()
    }


def differences_of(
    networks: dict[str, Any], defaults: dict[str, Any], generator: np.random.Generator
) -> dict[str, Any]:
    """Tensors of what networks differ by from the default ones, each under any table.

    Every fifth tensor or so becomes that of the default networks.
    """
    writer = lattice.Writer(lambda _: np.zeros(0))
    writer.begin(b"")
    tables = list[int]()
    for name, network in defaults.items():
        for part, tensor in network.items():
            tables.append(int(generator.integers(0, 80)))
            if tables[-1] < lattice.SAME:
                differences = (networks[name][part] - tensor).reshape(-1)
                columns = np.full(tensor.size, tables[-1]), differences, *nothing(tensor.size)
                writer.passes[0].append(columns)
    codes = writer.segments(read.default_networks()["prior"], 1)[0]
    return {
        "network_tables": np.minimum(tables, lattice.SAME).astype(np.uint8),
        "network_codes": np.frombuffer(codes, dtype=np.uint8),
    }


def any_channel(
    generator: np.random.Generator, like: lattice.Channel, seed: int, lossless: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and tensors of a channel without codes, at the ends of what may be."""
    low, high, size = generator.integers(1, 24, 3).tolist()
    regions, voxels = len(like.corners), len(like.voxels)
    config: dict[str, Any] = {
        "steps": generator.integers(32, 513, 7).tolist(),
        "top": min(1 << 23, (1 << high) + low),
        "background": (-1) ** low << size,
        "reference": like.config["reference"],
        "motion": None,
        "second_reference": None,
        "second_motion": None,
        "exterior": bool(seed & 1),
        "restoration": seed % 3 == 0,
        "set": seed % 6,
        "fitted": seed % 4 > 1,
        "trellis": seed % 3 != 1 and not lossless,
        "wavelet": False,
        "offsets": seed % 5 in (0, 3) and not lossless,
        "lossless": lossless,
        "bits": None,
    }
    tensors = {
        "means": generator.integers(0, 256, regions).astype(np.uint8),
        "spreads": generator.integers(0, 23, regions).astype(np.uint8),
        "lanes": generator.integers(0, 6, regions).astype(np.uint8),
        "segments": generator.choice([1, 4], regions).astype(np.uint8),
        "lengths": np.zeros((regions, 4), dtype=np.int32),
        "checksums": np.zeros((0, 4), dtype=np.int32),
        "bits": np.zeros(0, dtype=np.uint8),
    }
    if config["offsets"]:
        tensors["offsets"] = (generator.random(17) * 400 - 200).astype(np.float16)
    if config["fitted"]:
        defaults = lattice.networks_of(config | {"fitted": False}, {}, read.default_networks())
        tensors |= differences_of(any_networks(defaults, generator), defaults, generator)
    if lossless:
        rows = int(generator.integers(0, 24))
        low, high = (lattice.order(np.array([-3e38, 3e38], dtype=np.float32)) >> rows).tolist()
        entries = np.unique(generator.integers(low, high, int(generator.integers(2, 300))))
        tensors["palette"] = np.append(entries[:1], np.diff(entries)).astype(np.int32)
        planes = generator.integers(0, 256, (rows, -(-voxels // 8)))
        tensors["low_bits"] = planes.astype(np.uint8)
        config["top"] = 128 * (len(entries) - 1)
    return config | {"scale": config["top"] / 3}, tensors


def with_codes(
    channel: lattice.Channel, generator: np.random.Generator, tensors: dict[str, Any]
) -> bytes:
    """The segments of a channel, with any codes; their lengths are put into the tensors."""
    if channel.reference is not None:
        for corner in channel.corners:
            channel.reference(corner)  # by its own codes
    found = []
    for number, corner in enumerate(channel.corners):
        writer = lattice.Writer(lambda tables: any_codes(generator, len(tables)))
        with patch.object(lattice, "Codes", lambda *_, chosen=writer: chosen):
            channel.region(corner)
        segments = writer.segments(channel.prior, 1 << int(tensors["lanes"][number]))
        found.append([*segments, b"", b"", b""][:4])
        tensors["lengths"][number] = [len(segment) for segment in found[-1]]
    tensors["checksums"] = np.array(
        [[zlib.crc32(segment) for segment in segments] for segments in found], dtype=np.uint32
    ).view(np.int32)
    return b"".join(segments[place] for place in range(4) for segments in found)


def strange(make: Make, seed: int, lossless: bool = False) -> bytes:
    """A file whose channels are replaced by others that no encoder would choose; with outliers."""
    generator, opened = np.random.default_rng(seed), inrv.load(encoded(make), device="cpu")
    container, manifest = opened.container, opened.manifest
    file, field = read.File(encoded(make)), manifest.field
    assert field is not None
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    channels: list[dict[str, Any]] = list(field.config["channels"])

    def bytes_so_far() -> bytes:
        config = {**field.config, "channels": channels}
        return container_bytes(replace(manifest, field=replace(field, config=config)), chunks)

    for number, entry in enumerate(manifest.grids):
        config, tensors = any_channel(generator, read.channel_of(file, number), seed, lossless)
        channels[number] = config | {"codes": len(chunks)}
        chunks.append(Chunk("CODE", pack_tensors(tensors)))
        channel = read.channel_of(read.File(bytes_so_far()), number)
        segments = with_codes(channel, generator, tensors)
        if seed % 2:
            channels[number]["bits"] = len(chunks)
            chunks.append(Chunk("BITS", segments))
        else:
            tensors["checksums"] = np.zeros((0, 4), dtype=np.int32)
            tensors["bits"] = np.frombuffer(segments, dtype=np.uint8)
        chunks[channels[number]["codes"]] = Chunk("CODE", pack_tensors(tensors))
        topology = read.topology_of(file, file.manifest["grids"][number]["topology"])
        packed = np.packbits(topology.active, axis=1, bitorder="little")
        masks = packed & np.uint8(1 << seed % 8)
        outliers = np.linspace(-5, 5, int(np.unpackbits(masks).sum()), dtype=np.float32)[:, None]
        grids = list(manifest.grids)
        grids[number] = replace(entry, outliers=len(chunks))
        chunks.append(Chunk("EXAC", pack_tensors({"exact_masks": masks, "exact_values": outliers})))
        manifest = replace(manifest, grids=tuple(grids))
    return bytes_so_far()


def check_same_bits(data: bytes, fewest: int = 20) -> None:
    theirs = read.decode(data)
    for ours, other in zip(inrv.load(data, device="cpu").grids, theirs, strict=True):
        assert len(other.values) > 500 and len(np.unique(other.values)) > fewest
        assert np.array_equal(ours.coordinates(), other.coordinates)
        assert ours.values().reshape(other.values.shape).tobytes() == other.values.tobytes()
        inactive = ours.to_grid().inactive
        assert np.array_equal(
            ours.topology.coordinates_of(inactive.places), other.inactive_coordinates
        )
        assert inactive.values.tobytes() == other.inactive_values.tobytes()


@pytest.mark.parametrize(
    "make",
    [alone, referring, bounded, vectors, threshold, velocity, level_set, band, haze, airy, shared],
)
def test_both_decoders_give_the_same_bits(make: Make) -> None:
    data = encoded(make)
    check_same_bits(data)
    file = read.File(data)
    entries, channels = file.manifest["grids"], file.manifest["field"]["config"]["channels"]
    referred = any(channel["reference"] is not None for channel in channels)
    assert referred or make not in (referring, vectors, haze, shared)
    assert all(channel["offsets"] for channel in channels) == (make is not bounded)
    restored = [channel["restoration"] for channel in channels if not channel["wavelet"]]
    # At a low rate the filter may not pay.
    low = make in (shared, threshold, velocity)
    assert not any(restored) if make is bounded else low or all(restored)
    assert (entries[0]["exact_values"] is not None) == (make in (vectors, band))
    assert (entries[-1]["frequent_values"] is not None) == (make in (vectors, haze, airy))
    assert any(entry["topology_of"] is not None for entry in entries) == (make is shared)
    rules = {
        threshold: "above",
        velocity: "away",
        level_set: "within",
        airy: "above",
        shared: "above",
    }
    assert any(entry["threshold"] is not None for entry in entries) == (make in rules)
    assert any(entry["type"] == "INAC" for entry in file.table) == (make in (band, level_set))
    assert entries[0]["threshold_rule"] == rules.get(make, "above")


def test_both_decoders_give_the_very_values_of_lossless_channels() -> None:
    """Palettes with and without low bits, a reference channel, exact and inactive values."""
    data = encoded(palette)
    check_same_bits(data, fewest=12)
    file = read.File(data)
    channels = file.manifest["field"]["config"]["channels"]
    assert all(channel["lossless"] and not channel["restoration"] for channel in channels)
    assert any(channel["reference"] is not None for channel in channels) and any(
        channel["exterior"] for channel in channels
    )
    rows = {len(file.tensors(channel["codes"], "CODE")["low_bits"]) for channel in channels}
    assert 0 in rows and len(rows) > 1
    for grid, other in zip(palette()[0].grids, read.decode(data), strict=True):
        assert grid.values.tobytes() == other.values.tobytes()


def test_the_hazy_file_holds_what_it_should() -> None:
    """Frequent values in both grids, exact values beside them, and offsets."""
    file = read.File(encoded(haze))
    assert [entry["type"] for entry in file.table].count("FREQ") == 2
    for grid, other in zip(haze()[0].grids, read.decode(encoded(haze)), strict=True):
        values, counts = np.unique(grid.values, return_counts=True)
        usual = grid.values[:, 0] == values[counts.argmax()]
        assert int(usual.sum()) > 2000 and np.array_equal(other.values[usual], grid.values[usual])
    assert file.manifest["grids"][1]["exact_values"] is not None


@pytest.mark.parametrize(
    ("make", "seed"),
    [*zip([referring] * 4 + [haze] * 3, (0, 1, 2, 3, 0, 1, 3), strict=True), *ODD_SEEDS],
)
def test_both_decoders_give_the_same_bits_for_any_numbers(make: Make, seed: int) -> None:
    """Steps, ranges, codes and fitted networks at the ends of what the format allows."""
    check_same_bits(strange(make, seed))


@pytest.mark.parametrize(
    ("make", "seed"), [(referring, 0), (referring, 3), (band, 1), (haze, 2), (haze, 3)]
)
def test_both_decoders_give_the_same_bits_for_any_palette(make: Make, seed: int) -> None:
    """Whatever the steps, codes, entries and low bits, restored or not."""
    check_same_bits(strange(make, seed, lossless=True))


def any_passes(generator: np.random.Generator) -> tuple[list[int], list[NDArray[np.int32]]]:
    """Tables and numbers of some passes."""
    counts, largest = generator.integers(0, 300, 12).tolist(), (1 << 19) - 1
    passes = [
        generator.integers(-largest, largest + 1, count) >> generator.integers(0, 20, count)
        for count in counts
    ]
    tables: list[int] = generator.integers(0, 64, len(counts)).tolist()
    return tables, [numbers.astype(np.int32) for numbers in passes]


def nothing(count: int) -> NDArray[np.int64]:
    """Of numbers that no trellis couples: their quantisers, and whether a sign is implied."""
    return np.zeros((2, count), dtype=np.int64)


def decoded_numbers(
    prior: NDArray[np.int64], tables: list[int], counts: list[int], data: bytes
) -> list[list[int]]:
    """What the reference reader finds in a segment."""
    codes = lattice.Codes(prior, 1)
    codes.begin(data)
    found = [
        codes.read(np.full(count, table))[0].tolist()
        for table, count in zip(tables, counts, strict=True)
    ]
    codes.end()
    codes.end_lanes()
    return found


def test_the_coder_is_the_specifications() -> None:
    """The core and the reference reader write the same bytes, whatever counts and codes."""
    generator = np.random.default_rng(7)
    for _ in range(5):
        prior = generator.integers(1, 1 << generator.integers(1, 15, (2, 64, 46)))
        tables, passes = any_passes(generator)
        segment = core_lattice.encode_numbers(prior, tables, passes)
        counts = [len(numbers) for numbers in passes]
        expected = [numbers.tolist() for numbers in passes]
        assert decoded_numbers(prior, tables, counts, segment) == expected
        writer = lattice.Writer(lambda _: np.zeros(0))
        writer.passes = [
            [
                (np.full(len(numbers), table), numbers.astype(np.int64), *nothing(len(numbers)))
                for table, numbers in zip(tables, passes, strict=True)
            ]
        ]
        assert writer.segments(prior, 1) == [segment]


def test_both_refuse_damaged_codes() -> None:
    """Whatever the bytes: both decoders refuse them, or both give the same numbers."""
    generator, refused = np.random.default_rng(8), 0
    prior = read.default_networks()["prior"].astype(np.int64)
    for case in range(200):
        tables, counts = generator.integers(0, 64, 3).tolist(), [case % 3, 0, case % 5]
        given = [generator.integers(-9, 10, count).astype(np.int32) for count in counts]
        data = bytearray(core_lattice.encode_numbers(prior, tables, given))
        place, change = int(generator.integers(len(data))), case % 4
        if change == 1:
            data[place] ^= 1 << int(generator.integers(8))
        elif change:
            data = data[:place] if change == 2 else data + bytes(place)
        try:
            expected = core_lattice.decode_numbers(prior, tables, counts, bytes(data))
        except FormatError as error:
            refused += 1
            assert error.id == "F6"
            with pytest.raises(ValueError, match="F6"):
                decoded_numbers(prior, tables, counts, bytes(data))
        else:
            found = decoded_numbers(prior, tables, counts, bytes(data))
            assert found == [numbers.tolist() for numbers in expected]
    assert 50 < refused < 190


def any_region(generator: np.random.Generator, kind: str) -> NDArray[np.bool_]:
    """The active voxels of a region."""
    active = np.zeros((128, 128, 128), dtype=bool)
    if kind == "block":
        low = generator.integers(0, 104, 3)
        box = tuple(slice(start, start + 18) for start in low.tolist())
        active[box] = generator.random((18, 18, 18)) < 0.85
    elif kind == "scattered":
        active[:] = generator.random(active.shape) < 0.001
        active[0, 0, 0] = True
    elif kind == "leaf":
        active[64:72, 8:16, 120:128] = True
    return active


def blocks(dense: NDArray[Any]) -> NDArray[Any]:
    """A region (128, 128, 128) by leaves (4096, 512)."""
    parts = dense.reshape(16, 8, 16, 8, 16, 8).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(parts.reshape(4096, 512))


class OfLeaves:
    """Leaves of a region as the core has them, and what turns dense arrays to their order."""

    def __init__(self, active: NDArray[np.bool_]) -> None:
        self.masks = blocks(active)
        self.cells = np.flatnonzero(self.masks.any(axis=1))
        packed = np.packbits(self.masks[self.cells], axis=1, bitorder="little")
        self.leaves = core_lattice.Leaves(self.cells.astype(np.uint16), packed)

    def gathered(self, dense: NDArray[Any]) -> NDArray[np.int32]:
        found: NDArray[np.int32] = blocks(dense)[self.cells][self.masks[self.cells]].astype(
            np.int32
        )
        return found


@pytest.mark.parametrize("kind", ["block", "scattered", "leaf", "empty"])
@pytest.mark.parametrize("knows", ["nothing", "one value", "all"])
@pytest.mark.parametrize("trellis", [False, True], ids=["plain", "trellis"])
def test_every_set_of_instructions_gives_the_values_of_the_reference_reader(
    kind: str, knows: str, trellis: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole regions of any codes, and every 2nd to 32nd voxel of them.

    Where the range is a few steps, nearly every sign follows from its ends.
    """
    generator = np.random.default_rng([len(kind), len(knows), trellis])
    active, top = any_region(generator, kind), 1 << int(generator.integers(7, 24))
    if knows == "one value":
        top = int(generator.integers(1, 1000))
    other_top = 1 << int(generator.integers(24)) if knows != "one value" else 0
    config = {
        "steps": generator.integers(32, 513, 7).tolist(),
        "top": top,
        "background": int(generator.integers(-top, top)),
        "reference": 0 if other_top else None,
        "motion": None,
        "second_reference": None,
        "second_motion": None,
        "exterior": knows != "nothing",
        "restoration": kind != "scattered",
        "lossless": kind == "scattered" and not trellis,
        "set": int(generator.integers(6)),
        "fitted": False,
        "trellis": trellis,
        "wavelet": False,
    }
    defaults = read.default_networks()
    networks = lattice.networks_of(config, {}, defaults)
    limits = -(top >> 1), top + (top >> 1) + 1
    known: NDArray[np.int32] = generator.integers(*limits, (128, 128, 128), dtype=np.int32)
    if knows == "one value":
        known[:] = known[0, 0, 0]
    exterior = {
        "nothing": None,
        "one value": nothing_but(int(known[0, 0, 0])),
        "all": known_voxels(known),
    }[knows]
    there = generator.random((128, 128, 128)) < 0.5
    others = generator.integers(-(other_top >> 1), other_top + 1, there.shape)
    reference = np.where(there, others, lattice.ABSENT) if other_top else None
    writer = lattice.Writer(lambda tables: any_codes(generator, len(tables)))
    header, inside = (120, 9), active.astype(np.int64)

    def region(codes: Any, segments: list[bytes], level: int = 0) -> NDArray[np.int64]:
        found: NDArray[np.int64] = lattice.Region(
            config,
            networks,
            codes,
            segments,
            header,
            inside,
            reference,
            known.astype(np.int64) if config["exterior"] else None,
        ).decode(level)
        return found

    prior = defaults["prior"]
    expected, lanes = region(writer, [b""] * 4), int(generator.integers(6))
    segments = writer.segments(prior, 1 << lanes)
    implied = sum(int(columns[3].sum()) for passes in writer.passes for columns in passes)
    assert implied or kind == "empty"
    own, their = OfLeaves(active), OfLeaves(there)
    channel = core_lattice.LatticeChannel(
        config["steps"], top, config["background"], other_top, config["lossless"],
        config["exterior"], trellis, False, [networks[odd] for odd in "123"],
        networks.get("restoration"), prior, default_model(False, False).wavelet_prior,
    )  # fmt: skip
    given = (their.leaves, their.gathered(others)) if other_top else None
    region_of_core = core_lattice.KnownRegion(own.leaves, given, exterior, *header)
    codes = core_lattice.RegionCodes(lanes, tuple(segments), True)
    levels = {level: region(lattice.Codes(prior, 1 << lanes), segments, level) for level in LEVELS}
    for bit in INSTRUCTION_SETS.values():
        if not bit & instruction_sets():
            continue
        work = library().inrv_work_new(bit)
        monkeypatch.setattr(core_lattice, "_work", lambda chosen=work: nullcontext(chosen))
        for level, values in levels.items():
            taken = own.gathered(values != lattice.ABSENT) == 1
            found = channel.decode(region_of_core, codes, int(taken.sum()), level)
            assert np.array_equal(found, own.gathered(np.maximum(values, 0))[taken])
        assert np.array_equal(levels[0], expected)
        library().inrv_work_free(work)
