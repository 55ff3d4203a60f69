"""The library and the reference decoder give the same bits for the same lattice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from inrv.fields.lattice.context import ChannelParameters
from inrv.fields.lattice.entropy import RegionReader, RegionWriter
from inrv.fields.lattice.traversal import Pass, Setting
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, SparseVolume, Topology
from inrv.container import Chunk, container_bytes, pack_tensors
from inrv.errors import FormatError
from inrv.fields.lattice.codec import Encoder, encode_regions
from inrv.fields.lattice.exterior import Exterior, linear_units
from inrv.fields.lattice.model import Model, default_model
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.offsets import Offsets
from inrv.fields.lattice.palette import Palette, in_order
from inrv.fields.lattice.regions import region_corners
from inrv.fields.lattice.search import EncodedChannel, Settings
from inrv.fields.lattice.store import StoredValues, store_channel
from inrv.grids import Grid, LeafValues, sparse_grid
from spec.reference import lattice as reference_lattice
from spec.reference import read

OPTIONS = EncodeOptions(exact_below=0, effort="instant", psnr=40, device="cpu")
Make = Callable[[], tuple[SparseVolume, EncodeOptions]]
Floats = NDArray[np.float32]
LARGE = 1 << 19  # of a magnitude


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


class AnyCodes(Encoder):
    """Codes that have nothing to do with the values, from none to the largest."""

    generator = np.random.default_rng(0)

    def _chosen(self, differences: NDArray[np.int32], pass_: Pass) -> NDArray[np.int32]:
        sizes = self.generator.integers(0, 20, len(differences)) * self.generator.integers(
            0, 2, len(differences)
        )
        magnitudes = self.generator.random(len(differences)) * 2.0**sizes
        signs = self.generator.choice([-1, 1], len(differences))
        return (magnitudes.astype(np.int32) * signs).astype(np.int32)


def any_model(default: Model, generator: np.random.Generator) -> Model:
    """Networks whose sums are as large as can be."""

    def network(like: IntegerNetwork) -> IntegerNetwork:
        limits = {name: 127 if name.endswith("weight") else 1 << 18 for name in like.tensors}
        return IntegerNetwork(
            {
                name: generator.integers(-limits[name], limits[name] + 1, tensor.shape).astype(
                    np.float32
                )
                for name, tensor in like.tensors.items()
            }
        )

    restoration = None if default.restoration is None else network(default.restoration)
    return Model(
        {odd: network(like) for odd, like in default.networks.items()}, restoration, default.prior
    )


ODD_SEEDS = (band, 1), (band, 3), (holes, 1)  # with exterior values


@lru_cache(maxsize=16)
def encoded(make: Make) -> bytes:
    return inrv.encode_bytes(*make())[0]


def strange(make: Make, seed: int, lossless: bool = False) -> bytes:
    """A file whose channels are replaced by others that no encoder would choose; with outliers."""
    AnyCodes.generator = generator = np.random.default_rng(seed)
    fitted, with_offsets = seed % 4 > 1, seed % 5 in (0, 3) and not lossless
    opened = inrv.load(encoded(make), device="cpu")
    container, field, outputs = opened.container, opened.manifest.field, opened.outputs
    assert field is not None
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    channels: list[dict[str, Any]] = []
    before, entries = None, []
    for number, entry in enumerate(opened.manifest.grids):
        target = outputs.target_of(number)  # type: ignore[attr-defined]
        voxels = target.topology.leaf_voxel_count
        parameters, exact = any_parameters(generator), any_palette(generator, voxels)
        if lossless:
            parameters = replace(
                parameters, top=128 * (len(exact.palette.entries) - 1), lossless=True
            )
        default = default_model(before is not None, seed % 3 == 0)
        model = any_model(default, generator) if fitted else default
        values = (generator.random(voxels) * parameters.top).astype(np.int32)
        scale, knows_exterior = parameters.top / 3, bool(seed & 1)
        units = (
            exact.palette.units if lossless else linear_units(target.minimum, target.maximum, scale)
        )
        exterior = Exterior(target.grid, target.exact, 0, units)
        setting = Setting(target.topology, before, exterior if knows_exterior else None)
        corners = region_corners(target.topology.leaf_origins)
        codes, rows, found = encode_regions(setting, corners, values, parameters, model, 0.0)
        decoded = np.empty_like(values)
        decoded[rows] = found
        before = exterior.whole(target.topology, decoded)
        knots = (generator.random(17) * 400 - 200).astype(np.float16)
        offsets = Offsets(knots, parameters.top) if with_offsets else None
        settings = Settings(model, fitted, knows_exterior)
        channel = EncodedChannel(parameters, scale, settings, codes, decoded, offsets, 0.0, voxels)
        channels.append(
            store_channel(
                channel, number - 1 if number else None, exact if lossless else None, chunks
            )
        )
        masks = target.grid.topology.leaf_masks & np.uint8(1 << seed % 8)
        outliers = np.linspace(-5, 5, int(np.unpackbits(masks).sum()), dtype=np.float32)[:, None]
        chunks.append(Chunk("EXAC", pack_tensors({"exact_masks": masks, "exact_values": outliers})))
        entries.append(replace(entry, outliers=len(chunks) - 1))
    changed = replace(field, config={**field.config, "channels": channels})
    return container_bytes(replace(opened.manifest, field=changed, grids=tuple(entries)), chunks)


def any_palette(generator: np.random.Generator, voxels: int) -> StoredValues:
    """A palette whose entries lie anywhere among finite values, and any low bits."""
    low_bits = int(generator.integers(0, 24))
    ends = in_order(np.array([-3e38, 3e38], dtype=np.float32)) >> low_bits
    entries = np.unique(generator.integers(ends[0], ends[1], int(generator.integers(2, 300))))
    rest = generator.integers(0, 1 << low_bits, voxels)
    return StoredValues(Palette(entries.astype(np.int32), low_bits), rest.astype(np.int32))


def any_parameters(generator: np.random.Generator) -> ChannelParameters:
    low, high, size = generator.integers(1, 24, 3).tolist()
    steps = generator.integers(32, 513, 7).tolist()
    return ChannelParameters(tuple(steps), min(1 << 23, (1 << high) + low), (-1) ** low << size)


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
    assert any(channel["reference"] is not None for channel in channels) == (
        make in (referring, vectors, velocity, haze, shared)
    )
    assert all(channel["restoration"] and channel["offsets"] for channel in channels) == (
        make is not bounded
    )
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
def test_both_decoders_give_the_same_bits_for_any_numbers(
    make: Make, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, ranges, codes and fitted networks at the ends of what the format allows."""
    encoded(make)  # by the encoder, once
    monkeypatch.setattr("inrv.fields.lattice.codec.Encoder", AnyCodes)
    check_same_bits(strange(make, seed))


@pytest.mark.parametrize(
    ("make", "seed"), [(referring, 0), (referring, 3), (band, 1), (haze, 2), (haze, 3)]
)
def test_both_decoders_give_the_same_bits_for_any_palette(
    make: Make, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the steps, codes, entries and low bits, restored or not."""
    encoded(make)  # by the encoder, once
    monkeypatch.setattr("inrv.fields.lattice.codec.Encoder", AnyCodes)
    check_same_bits(strange(make, seed, lossless=True))


def test_the_range_coder_is_the_specifications() -> None:
    """Constriction splits its range where the specification says, whatever the counts."""
    generator = np.random.default_rng(7)
    encoder, written = (
        RegionWriter(counts := generator.integers(1, 1 << generator.integers(1, 15, (64, 46)))),
        [],
    )
    for _ in range(20):
        tables = generator.integers(0, 64, 50, dtype=np.int32)
        codes = (generator.integers(-LARGE + 1, LARGE, 50) >> generator.integers(0, 20, 50)).astype(
            np.int32
        )
        encoder.encode(tables, codes)
        written.append((tables, codes))
    words = encoder.words()
    decoder = reference_lattice.Codes(words, counts)
    for tables, codes in written:
        assert decoder.read(tables).tolist() == codes.tolist()
    decoder.end()
    longer = reference_lattice.Codes(np.append(words, words[:1]), counts)
    with pytest.raises(ValueError, match="left over"):
        longer.end()


def test_both_refuse_damaged_words() -> None:
    """Whatever the words: both decoders refuse them, or both give the same codes."""
    generator, refused = np.random.default_rng(8), 0
    prior = default_model(False, True).prior
    for length in range(200):
        words = generator.integers(0, 1 << 32, length % 5, dtype=np.uint32)
        words[: length % 3] = (1 << 32) - 1
        tables = generator.integers(0, 64, length % 7, dtype=np.int32)
        ours, theirs = RegionReader(prior, words), reference_lattice.Codes(words, prior)
        try:
            expected = ours.decode(tables).tolist()
            ours.check_end()
        except FormatError:
            refused += 1
            with pytest.raises(ValueError, match=r"no encoder|left over"):
                end_of(theirs, tables)
        else:
            assert end_of(theirs, tables) == expected
    assert 50 < refused < 200


def end_of(decoder: reference_lattice.Codes, tables: NDArray[Any]) -> list[int]:
    codes: list[int] = decoder.read(tables).tolist()
    decoder.end()
    return codes
