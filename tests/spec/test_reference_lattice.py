"""The library and the second decoder give the same bits for the same lattice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

import inrv
from inrv import EncodeOptions, SparseVolume, Topology
from inrv.container import Chunk, container_bytes, pack_tensors
from inrv.errors import FormatError
from inrv.fields.lattice import (
    Channel,
    Coding,
    Model,
    Offsets,
    Palette,
    Setting,
    Surroundings,
    default_model,
    linear_units,
    region_corners,
)
from inrv.fields.lattice.codec import Encoder, encode_regions
from inrv.fields.lattice.entropy import RegionReader, RegionWriter
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.palette import in_order
from inrv.fields.lattice.store import StoredValues, store_channel
from inrv.fields.lattice.traversal import Step
from inrv.grids import Grid, LeafValues, sparse_grid
from spec.reference import lattice as reference_lattice
from spec.reference import read as reference_reader
from testing.lattice import frayed, smooth

OPTIONS = EncodeOptions(exact_below=0, effort="instant", psnr=40, device="cpu")
Make = Callable[[], tuple[SparseVolume, EncodeOptions]]
LARGE = 1 << 19  # of a magnitude


def blob(shape: tuple[int, int, int], shift: float = 0.0) -> torch.Tensor:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    values = torch.exp(-2 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * torch.sin(9 * x + 4 * z))
    return torch.where(values > 0.15, values, torch.zeros(()))


def moved(grid: Grid, by: tuple[int, int, int]) -> Grid:
    """The grid elsewhere; `by` are multiples of 8."""
    origins, starts = grid.topology.leaf_origins + torch.tensor(by, dtype=torch.int32), grid.topology.starts.tolist()
    order = Topology.order_of(origins)
    topology = replace(grid.topology, leaf_origins=origins[order], leaf_masks=grid.topology.leaf_masks[order])
    values = torch.cat([grid.values[starts[leaf] : starts[leaf + 1]] for leaf in order.tolist()])
    return replace(grid, topology=topology, values=values)


def alone() -> tuple[SparseVolume, EncodeOptions]:
    """Fog on both sides of a border between regions, at negative coordinates too."""
    return SparseVolume((moved(sparse_grid(blob((12, 14, 30)), "density"), (0, 0, -16)),)), OPTIONS


def given() -> tuple[SparseVolume, EncodeOptions]:
    """A channel predicted from that of another grid, which has other voxels and another range, and lies in one region more."""
    generator = torch.Generator().manual_seed(4)
    first = blob((13, 14, 21)) * (1 + 0.1 * torch.rand((13, 14, 21), generator=generator))
    second = torch.where(first > 0.3, 20 + 900 * first**2, torch.zeros(()))
    grids = (moved(sparse_grid(first, "density"), (0, 0, -8)), moved(sparse_grid(second, "temperature"), (0, 0, -8)))
    return SparseVolume(grids), OPTIONS


def bounded() -> tuple[SparseVolume, EncodeOptions]:
    noise = torch.rand((9, 10, 11), generator=torch.Generator().manual_seed(3))
    return SparseVolume((sparse_grid(noise, "noise"),)), replace(OPTIONS, psnr=None, max_error=1e-5)


def vectors() -> tuple[SparseVolume, EncodeOptions]:
    """Vectors, of which one component is constant and one has values that are not finite."""
    shape = (12, 10, 14)
    values = torch.stack([blob(shape), torch.full(shape, 2.5), -blob(shape, 0.2)], dim=3)
    grid = sparse_grid(values, "velocity")
    grid.values[5:300:7, 2] = torch.nan
    return SparseVolume((grid,)), replace(OPTIONS, nonfinite="keep")


def threshold() -> tuple[SparseVolume, EncodeOptions]:
    values = smooth(40)
    active = frayed(values > 0.08, values > 0.01)
    return SparseVolume((sparse_grid(torch.where(active, values, 0.0), "density"),)), replace(
        OPTIONS, topology="threshold", psnr=30
    )


def velocity() -> tuple[SparseVolume, EncodeOptions]:
    """Vectors, one component constant, that are inactive where they are small."""
    values = smooth(40)
    values = torch.stack([values, torch.full_like(values, 1.5), -0.5 * values.flip(0)], dim=3)
    active = frayed(values[..., 0] > 0.08, values[..., 0] > 0.01)
    grid = sparse_grid(values, "velocity", background=(0.0, 1.5, 0.0), active=active)
    return SparseVolume((grid,)), replace(OPTIONS, topology="threshold", psnr=30)


def level_set() -> tuple[SparseVolume, EncodeOptions]:
    """A narrow band whose outermost voxels are active or not, with inactive voxels and tiles inside."""
    x, y, z = torch.meshgrid(*[torch.arange(40.0) - 19.3] * 3, indexing="ij")
    distance = ((x**2 + y**2 + z**2).sqrt() - 15).clamp(-3, 3)
    active = frayed(distance.abs() < 2.5, distance.abs() < 3)
    grid = sparse_grid(distance, "surface", background=(3.0,), active=active)
    places = torch.from_numpy((np.unpackbits(grid.topology.leaf_masks.numpy(), bitorder="little") == 0).nonzero()[0])
    inside = places[distance[tuple(grid.topology.coordinates_of(places).long().T)] < 0]
    tiles = torch.tensor([[128, 0, 0], [16, 16, 16]], dtype=torch.int32)
    topology = replace(
        grid.topology,
        tile_origins=tiles,
        tile_edges=torch.tensor([128, 8], dtype=torch.int32),
        tile_active=torch.tensor([True, False]),
    )
    inactive = LeafValues(inside, torch.full((len(inside), 1), -3.0))
    changed = replace(grid, topology=topology, tile_values=torch.tensor([[1.0], [-3.0]]), inactive=inactive)
    return SparseVolume((changed,)), replace(OPTIONS, topology="threshold", psnr=30)


def band() -> tuple[SparseVolume, EncodeOptions]:
    """A narrow band, negative inside where voxels and tiles are inactive; some tiles and inactive voxels are not finite."""
    x, y, z = torch.meshgrid(*[torch.arange(24.0) - 11.3] * 3, indexing="ij")
    distance = (x**2 + y**2 + z**2).sqrt() - 9
    grid = sparse_grid(distance.clamp(-3, 3), "surface", background=(3.0,), active=distance.abs() < 3)
    places = torch.from_numpy((np.unpackbits(grid.topology.leaf_masks.numpy(), bitorder="little") == 0).nonzero()[0][::2])
    values = torch.full((len(places), 1), -3.0)
    values[::9], values[4::9], values[5::9] = torch.nan, torch.inf, -torch.inf
    tiles = torch.tensor([[24, 0, 0], [0, 24, 0], [-8, 0, 0], [0, 128, 0]], dtype=torch.int32)
    edges, active = torch.tensor([8, 8, 8, 128], dtype=torch.int32), torch.tensor([True, False, True, False])
    topology = Topology(grid.topology.leaf_origins, grid.topology.leaf_masks, tiles, edges, active)
    inactive, tile_values = LeafValues(places, values), torch.tensor([[-2.5], [torch.nan], [1.0], [7.0]])
    odd = replace(grid, topology=topology, tile_values=tile_values, inactive=inactive, values=grid.values.clone())
    odd.values[3::50] = torch.nan
    return SparseVolume((odd,)), replace(OPTIONS, nonfinite="keep")


def holes() -> tuple[SparseVolume, EncodeOptions]:
    """Fog with values that are not finite, and nothing else that a prediction could know but the background."""
    grid = sparse_grid(blob((12, 14, 16)), "density", background=(0.07,))
    grid.values[5:900:7] = torch.nan
    return SparseVolume((grid,)), replace(OPTIONS, nonfinite="keep")


def haze() -> tuple[SparseVolume, EncodeOptions]:
    """A dense box, mostly 0, around a cloud whose core is 1, and what resembles it, another value frequent, some hot."""
    cloud = blob((20, 22, 24))
    cloud[cloud > 0.9] = 1.0
    heat = torch.where(cloud > 0, 300 + 900 * cloud**2, torch.full((), 293.0))
    heat[::9, ::11, ::12] = 1e6
    everywhere = torch.ones(cloud.shape)
    density = moved(sparse_grid(cloud, "density", active=everywhere), (-8, 0, 0))
    return SparseVolume((density, moved(sparse_grid(heat, "temperature", active=everywhere), (-8, 0, 0)))), OPTIONS


def palette() -> tuple[SparseVolume, EncodeOptions]:
    """A narrow band in halves, one quantity in whole numbers that is predicted from another, and values with low bits."""
    (surface,) = band()[0].grids
    values = surface.values.nan_to_num(0.5).half().float()
    values[values == 0] = -0.0
    counts = blob((13, 15, 17)).mul(40).floor()
    alike = torch.where(counts > 0, 500 - counts.square(), counts)
    whole = sparse_grid(counts, "counts"), sparse_grid(alike, "alike"), sparse_grid(100 + smooth(12), "fine")
    options = replace(OPTIONS, psnr=None, lossless=True, nonfinite="keep")
    return SparseVolume((surface.with_values(values), *whole)), options


def airy() -> tuple[SparseVolume, EncodeOptions]:
    """A threshold over values of which many are 1."""
    (volume, options), inside = threshold(), torch.zeros(40, 40, 40)
    inside[10:30, 8:33, 12:27] = 1.0
    cloud = smooth(40)
    active = frayed(cloud > 0.08, cloud > 0.01)
    values = torch.where(inside > 0, inside, torch.where(active, cloud.clamp_max(0.9), torch.zeros(())))
    return replace(volume, grids=(sparse_grid(values, "density", active=active | (inside > 0)),)), options


def shared() -> tuple[SparseVolume, EncodeOptions]:
    """Two grids of one topology, which a threshold of the first gives."""
    (volume, options) = threshold()
    (first,) = volume.grids
    second = replace(first.with_values(900 * first.values.square()), name="heat")
    return replace(volume, grids=(first, second)), options


class AnyCodes(Encoder):
    """Codes that have nothing to do with the values, from none to the largest."""

    generator = torch.Generator()

    def _chosen(self, differences: torch.Tensor, step: Step) -> torch.Tensor:
        sizes = torch.randint(0, 20, differences.shape, generator=self.generator)
        sizes *= torch.randint(0, 2, differences.shape, generator=self.generator)
        magnitudes = (torch.rand(differences.shape, generator=self.generator) * 2.0**sizes).to(torch.int32)
        return torch.where(torch.rand(differences.shape, generator=self.generator) < 0.5, -magnitudes, magnitudes)


def any_model(default: Model, generator: torch.Generator) -> Model:
    """Networks whose sums are as large as can be."""

    def network(like: IntegerNetwork) -> IntegerNetwork:
        limits = {name: 127 if name.endswith("weight") else 1 << 18 for name in like.tensors}
        whole = {
            name: torch.randint(-limits[name], limits[name] + 1, tensor.shape, generator=generator).float()
            for name, tensor in like.tensors.items()
        }
        return IntegerNetwork(whole)

    smoothing = None if default.smoothing is None else network(default.smoothing)
    return Model({odd: network(like) for odd, like in default.networks.items()}, smoothing, default.prior)


@lru_cache(maxsize=8)
def encoded(make: Make) -> bytes:
    return inrv.encode_bytes(*make())[0]


def strange(make: Make, seed: int, lossless: bool = False) -> bytes:
    """A file whose channels are replaced by others that no encoder would choose, some values corrected."""
    generator, fitted, corrected = AnyCodes.generator.manual_seed(seed), seed % 4 > 1, seed % 5 in (0, 3) and not lossless
    opened = inrv.load(encoded(make), device="cpu")
    container, field = opened.container, opened.manifest.field
    assert field is not None
    chunks = [Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)]
    channels, before, entries = [], None, []
    for grid in opened.grids:
        topology, whole, (component,) = grid.coded_topology, grid.restored, grid.entry.components
        channel, exact = any_channel(generator), any_palette(generator, topology.leaf_voxel_count)
        if lossless:
            channel = replace(channel, top=128 * (len(exact.palette.entries) - 1), lossless=True)
        default = default_model(before is not None, seed % 3 == 0)
        model = any_model(default, generator) if fitted else default
        targets = (torch.rand(topology.leaf_voxel_count, generator=generator) * channel.top).to(torch.int32)
        scale, surrounded = channel.top / 3, bool(seed & 1)
        units = exact.palette.units if lossless else linear_units(component.minimum, component.maximum, scale)
        around = Surroundings(whole.grid, whole.exact, 0, units)
        setting = Setting(topology, before, around if surrounded else None)
        codes, rows, decoded = encode_regions(setting, region_corners(topology.leaf_origins), targets, channel, model, 0.0)
        decoded = torch.empty_like(targets).index_put((rows,), decoded)
        before = around.whole(topology, decoded)
        offsets = Offsets((torch.rand(17, generator=generator) * 400 - 200).half(), channel.top) if corrected else None
        coding = Coding(channel, scale, surrounded, False, codes, decoded, offsets, model, fitted, 0.0, len(targets))
        given = len(channels) - 1 if channels else None
        channels.append(store_channel(coding, given, exact if lossless else None, chunks))
        masks = topology.leaf_masks.numpy() & (1 << seed % 8)
        values = np.linspace(-5, 5, int(np.unpackbits(masks).sum()), dtype=np.float32)[:, None]
        chunks.append(Chunk("KEEP", pack_tensors({"exact_masks": masks, "exact_values": values})))
        entries.append(replace(grid.entry, outliers=len(chunks) - 1))
    changed = replace(field, config={**field.config, "channels": channels})
    return container_bytes(replace(opened.manifest, field=changed, grids=tuple(entries)), chunks)


def any_palette(generator: torch.Generator, voxels: int) -> StoredValues:
    """A palette whose entries lie anywhere among finite values, and any low bits."""
    low_bits = int(torch.randint(0, 24, (), generator=generator))
    ends = [int(in_order(torch.tensor([end]))) >> low_bits for end in (-3e38, 3e38)]
    entries = torch.randint(*ends, (int(torch.randint(2, 300, (), generator=generator)),), generator=generator)
    rest = torch.randint(0, 1 << low_bits, (voxels,), generator=generator)
    return StoredValues(Palette(entries.unique().to(torch.int32), low_bits), rest.to(torch.int32))


def any_channel(generator: torch.Generator) -> Channel:
    low, high, size = (int(torch.randint(1, 24, (), generator=generator)) for _ in range(3))
    steps = torch.randint(32, 513, (7,), generator=generator).tolist()
    return Channel(tuple(steps), min(1 << 23, (1 << high) + low), (-1) ** low << size)


def check_same_bits(data: bytes, fewest: int = 20) -> None:
    theirs = reference_reader.decode(data)
    for ours, other in zip(inrv.load(data, device="cpu").grids, theirs, strict=True):
        assert len(other.values) > 500 and len(np.unique(other.values)) > fewest
        assert np.array_equal(ours.coordinates().numpy(), other.coordinates)
        assert ours.values().reshape(other.values.shape).numpy().tobytes() == other.values.tobytes()
        inactive = ours.to_grid().inactive
        assert np.array_equal(ours.topology.coordinates_of(inactive.places).numpy(), other.inactive_coordinates)
        assert inactive.values.numpy().tobytes() == other.inactive_values.tobytes()


@pytest.mark.parametrize("make", [alone, given, bounded, vectors, threshold, velocity, level_set, band, haze, airy, shared])
def test_both_decoders_give_the_same_bits(make: Make) -> None:
    data = encoded(make)
    check_same_bits(data)
    manifest, _ = reference_reader.open_file(data)
    entries, channels = manifest["grids"], manifest["field"]["config"]["channels"]
    assert any(channel["given"] is not None for channel in channels) == (make in (given, vectors, velocity, haze, shared))
    assert all(channel["smoothed"] and channel["corrected"] for channel in channels) == (make is not bounded)
    assert ("exact_values" in entries[0]) == (make in (vectors, band))
    assert ("frequent_values" in entries[-1]) == (make in (vectors, haze, airy))
    assert any("topology_of" in entry for entry in entries) == (make is shared)
    rules = {threshold: "above", velocity: "away", level_set: "within", airy: "above", shared: "above"}
    assert any("threshold" in entry for entry in entries) == (make in rules)
    kinds = {entry.type: entry for entry in inrv.load(data, device="cpu").container.entries}
    assert (
        "TREE" in kinds
        and "MASK" not in kinds
        and ("INAC" in kinds) == (make is band)
        and ("EXAC" in kinds) == (make is level_set)
    )
    assert entries[0].get("threshold_rule", "above") == rules.get(make, "above")


def test_both_decoders_give_the_very_values_of_lossless_channels() -> None:
    """Palettes with and without low bits, one channel predicted from another, among kept and inactive values."""
    data = encoded(palette)
    check_same_bits(data, fewest=12)
    manifest, chunks = reference_reader.open_file(data)
    channels = manifest["field"]["config"]["channels"]
    assert all(channel["lossless"] and not channel["smoothed"] for channel in channels)
    assert any(channel["given"] is not None for channel in channels) and any(channel["surrounded"] for channel in channels)
    tensors = [reference_reader.tensors_of(reference_reader.payload_of(chunks, channel["codes"], "CODE")) for channel in channels]
    assert {len(tensor["low_bits"]) > 0 for tensor in tensors} == {True, False}
    for grid, other in zip(palette()[0].grids, reference_reader.decode(data), strict=True):
        assert grid.values.numpy().tobytes() == other.values.tobytes()


def test_the_hazy_file_holds_what_it_should() -> None:
    """Frequent values in both grids, all but two at an end, values kept apart from them, and offsets."""
    manifest, chunks = reference_reader.open_file(encoded(haze))
    assert [kind for kind, _ in chunks].count("FREQ") == 2
    for grid, other in zip(haze()[0].grids, reference_reader.decode(encoded(haze)), strict=True):
        usual = grid.values[:, 0] == grid.values[:, 0].mode().values
        assert int(usual.sum()) > 2000 and np.array_equal(other.values[usual], grid.values[usual])
    assert "exact_values" in manifest["grids"][1]


@pytest.mark.parametrize(
    ("make", "seed"),
    [(given, 0), (given, 1), (given, 2), (given, 3), (band, 1), (band, 3), (holes, 1), (haze, 0), (haze, 1), (haze, 3)],
)
def test_both_decoders_give_the_same_bits_for_any_numbers(make: Make, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps, ranges, codes and fitted networks at the ends of what the format allows."""
    monkeypatch.setattr("inrv.fields.lattice.codec.Encoder", AnyCodes)
    check_same_bits(strange(make, seed))


@pytest.mark.parametrize(("make", "seed"), [(given, 0), (given, 3), (band, 1), (haze, 2), (haze, 3)])
def test_both_decoders_give_the_same_bits_for_any_palette(make: Make, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the steps, codes, entries and low bits, smoothed or not."""
    monkeypatch.setattr("inrv.fields.lattice.codec.Encoder", AnyCodes)
    check_same_bits(strange(make, seed, lossless=True))


def test_the_range_coder_is_the_specifications() -> None:
    """Constriction splits its range among tokens where the specification says, whatever the counts."""
    generator = np.random.default_rng(7)
    encoder, written = RegionWriter(counts := generator.integers(1, 1 << generator.integers(1, 15, (64, 46)))), []
    for _ in range(20):
        tables = generator.integers(0, 64, 50, dtype=np.int32)
        codes = (generator.integers(-LARGE + 1, LARGE, 50) >> generator.integers(0, 20, 50)).astype(np.int32)
        encoder.step(tables, codes)
        written.append((tables, codes))
    words = encoder.words()
    decoder = reference_lattice.Codes(words, counts)
    for tables, codes in written:
        assert decoder.step(tables).tolist() == codes.tolist()
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
            expected = ours.step(tables).tolist()
            ours.check_end()
        except FormatError:
            refused += 1
            with pytest.raises(ValueError, match=r"no encoder|left over"):
                end_of(theirs, tables)
        else:
            assert end_of(theirs, tables) == expected
    assert 50 < refused < 200


def end_of(decoder: reference_lattice.Codes, tables: np.ndarray[Any, Any]) -> list[int]:
    codes: list[int] = decoder.step(tables).tolist()
    decoder.end()
    return codes
