"""The core and the reference decoder give the same bits for the same wavelets."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, SparseVolume
from inrv.container import Chunk, container_bytes, pack_tensors
from inrv.core.lattice import KnownRegion, LatticeChannel, Leaves, RegionCodes
from inrv.errors import FormatError
from inrv.fields.lattice.codec import RATE_WEIGHT, code_bits
from inrv.fields.lattice.constants import INPUTS
from inrv.fields.lattice.model import Differences, Model, default_model
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.search import ChannelEncoder, Trial
from inrv.grids import sparse_grid
from spec.reference import lattice, read, wavelet
from testing.regions import EDGE, at_multiples, by_cell, known_voxels, of_cells

Flags = NDArray[np.bool_]
Ints = NDArray[np.int32]
Size = tuple[int, int, int]
HEADER = 131, 7  # mean and spread


@dataclass(frozen=True, eq=False)
class Known:
    """A region, as the core and the reference decoder know it before its bits.

    leaves: some may have no voxels
    exterior: int32 (128, 128, 128), or None
    """

    leaves: Leaves
    steps: tuple[int, ...]
    top: int
    model: Model
    exterior: Ints | None = None
    background: int = 300

    def channel(self) -> LatticeChannel:
        restoration = self.model.restoration
        return LatticeChannel(
            self.steps, self.top, self.background, 0, False, self.exterior is not None, False, True,
            [self.model.networks[odd].tensors for odd in INPUTS],
            None if restoration is None else restoration.tensors,
            self.model.prior, self.model.wavelet_prior,
        )  # fmt: skip

    def region(self) -> KnownRegion:
        exterior = None if self.exterior is None else known_voxels(self.exterior)
        return KnownRegion(self.leaves, None, exterior, *HEADER)

    def encoded(self, values: Ints) -> tuple[bytes, Ints]:
        """The segment that the core finds for values (n,), and what it decodes to."""
        bits = code_bits(self.model.prior)
        codes, decoded, _ = self.channel().encode(self.region(), values, values, RATE_WEIGHT, bits)
        assert (codes.lanes, codes.cut) == (0, False)
        return codes.segments[0], decoded

    def by_core(self, segment: bytes, level: int = 0) -> Ints:
        count = int(at_multiples(self.leaves, level).sum())
        codes = RegionCodes(0, (segment,), False)
        return self.channel().decode(self.region(), codes, count, level)

    def by_reference(self, segment: bytes, level: int = 0) -> NDArray[np.int64]:
        restoration, active = self.model.restoration, self.active()
        config = {
            "steps": list(self.steps), "top": self.top, "background": self.background,
            "restoration": restoration is not None,
        }  # fmt: skip
        networks = {} if restoration is None else {"restoration": whole(restoration)}
        exterior = None if self.exterior is None else self.exterior.astype(np.int64)
        region = lattice.Region(
            config, networks, lattice.Codes(self.model.prior, 1), [segment], HEADER,
            active.astype(np.int64), None, exterior,
        )  # fmt: skip
        found = region.decode_wavelet(self.box(), self.model.wavelet_prior, level)
        assert np.all((found == lattice.ABSENT)[~active])
        values: NDArray[np.int64] = by_cell(found)[by_cell(active)]
        assert np.all((values == lattice.ABSENT) == ~at_multiples(self.leaves, level))
        return values[values != lattice.ABSENT]

    def active(self) -> Flags:
        cells = np.zeros((4096, 512), dtype=np.bool_)
        cells[self.leaves.cells] = np.unpackbits(self.leaves.masks, axis=1, bitorder="little")
        return of_cells(cells)

    def box(self) -> tuple[slice, ...]:
        places = self.leaves.cells.astype(np.int64)
        return wavelet.box_of(8 * np.stack([places >> 8, places >> 4 & 15, places & 15], axis=1))


def whole(network: IntegerNetwork) -> dict[str, NDArray[np.int64]]:
    return {name: tensor.astype(np.int64) for name, tensor in network.tensors.items()}


def some_leaves(generator: np.random.Generator, size: Size, leaf: float, voxel: float) -> Leaves:
    """Leaves of a box somewhere in a region, of which two corners are leaves without voxels.

    leaf, voxel: the share of leaves, and of their voxels
    """
    cells = np.zeros(
        (16, 16, 16), dtype=np.int64
    )  # 0: no leaf, 1: an empty one, 2: one with voxels
    low = [int(generator.integers(0, 17 - n // 8)) for n in size]
    box = cells[tuple(slice(begin, begin + n // 8) for begin, n in zip(low, size, strict=True))]
    box[:] = 2 * (generator.random(box.shape) < leaf)
    box[0, 0, 0] = box[-1, -1, -1] = 1 if box.size > 2 else 2
    own = np.flatnonzero(cells)
    masks = generator.random((len(own), 512)) < voxel
    masks[cells.reshape(-1)[own] == 1] = False
    return Leaves(own.astype(np.uint16), np.packbits(masks, axis=1, bitorder="little"))


def values_of(known: Known, generator: np.random.Generator, noise: float) -> Ints:
    """A smooth function of the voxels with noise, in units."""
    active = known.active()
    x, y, z = np.argwhere(of_cells(np.ones((4096, 512), dtype=np.bool_))).T.reshape(
        3, *active.shape
    )
    dense = 0.5 + 0.4 * np.sin(x / 9 + y / 14) * np.cos(z / 11)
    values = by_cell(dense)[by_cell(active)]
    values = (values + noise * generator.standard_normal(len(values))) * known.top
    found: Ints = np.clip(np.rint(values), 0, known.top).astype(np.int32)
    return found


class Watched(wavelet.Coder):
    """Notes which decisions by shares it has given."""

    given: set[tuple[int, int]]

    def alone(self, n: int) -> int:
        decision = super().alone(n)
        Watched.given.add((n, decision))
        return decision


# The size of the box, shares of leaves and voxels, noise, step, top.
CASES: dict[str, tuple[Size, float, float, float, int, int]] = {
    "a leaf": ((8, 8, 8), 1.0, 1.0, 0.0, 64, 6400),
    "a noisy leaf": ((8, 8, 8), 1.0, 0.5, 0.3, 32, 32768),
    "odd leaves": ((24, 8, 32), 0.5, 0.6, 0.02, 150, 6400),
    "noise": ((16, 8, 24), 0.8, 0.9, 0.3, 32, 32768),
    "coarse steps": ((8, 40, 24), 0.8, 0.9, 0.01, 512, 900),
    "a rod": ((8, 8, 128), 1.0, 0.9, 0.0, 512, 1500),
    "a large box": ((64, 48, 40), 0.4, 0.9, 0.001, 512, 2000),
}
QUIET = "coarse steps", "a rod", "a large box"  # where groups are


@pytest.mark.parametrize(
    ("name", "filtered"),
    [
        *((name, "restored") for name in CASES),
        *((name, "plain") for name in ("a leaf", "odd leaves", "a rod")),
        *((name, "exterior") for name in ("a noisy leaf", "odd leaves", "coarse steps")),
    ],
)
def test_both_decoders_give_the_same_values(name: str, filtered: str) -> None:
    size, leaf, voxel, noise, step, top = CASES[name]
    generator = np.random.default_rng([len(name), len(filtered)])
    leaves = some_leaves(generator, size, leaf, voxel)
    model = default_model(False, filtered != "plain", wavelet=True)
    known = Known(leaves, (step, *generator.integers(32, 513, 6).tolist()), top, model)
    if filtered == "exterior":
        limits = -(top >> 1), top + (top >> 1) + 1
        around = generator.integers(*limits, (EDGE,) * 3, dtype=np.int32)
        known = replace(known, exterior=around)
    segment, decoded = known.encoded(values_of(known, generator, noise))
    Watched.given = set()
    with patch.object(wavelet, "Coder", Watched):
        assert np.array_equal(known.by_reference(segment), decoded)
    assert np.array_equal(known.by_core(segment), decoded)
    exponents = {n for n, _ in Watched.given if n >= 128}
    assert len(exponents) > (6 if "nois" in name else 1)
    assert any(64 <= n < 128 and not decision for n, decision in Watched.given) == (name in QUIET)
    if filtered != "plain" and name != "a large box":
        assert np.array_equal(known.by_reference(segment, 2), known.by_core(segment, 2))


class Chosen:
    """Stands in for the bits of a segment: they are chosen, noted, and written at the end.

    choose: gives a bit for its chance
    """

    def __init__(self, choose: Callable[[int], bool]) -> None:
        self.choose = choose
        self.noted: list[tuple[int, bool]] = []

    def bit(self, prob: int) -> int:
        self.noted.append((prob, self.choose(prob)))
        return int(self.noted[-1][1])

    def end(self) -> None:
        pass

    def segment(self) -> bytes:
        state, words = 2**16, []
        for prob, bit in reversed(self.noted):
            part, start = (prob, 0) if bit else (2**15 - prob, prob)
            if state >= part << 17:
                words.append(state % 2**16)
                state >>= 16
            state = (state // part << 15) + state % part + start
        return state.to_bytes(4, "little") + np.array(words[::-1], dtype="<u2").tobytes()


def any_bits(generator: np.random.Generator, ones: float | None) -> Chosen:
    """Bits that have nothing to do with values: a share of ones, or None: as is expected."""
    return Chosen(lambda prob: bool(generator.random() < (prob / 2**15 if ones is None else ones)))


@pytest.mark.parametrize("size", [(8, 8, 8), (16, 8, 24)])
@pytest.mark.parametrize("ones", [None, 0.1, 0.5, 0.97, 1.0])
def test_both_decoders_give_the_same_values_for_any_bits(size: Size, ones: float | None) -> None:
    """Magnitudes as large as can be, sums beyond 2^32, and logits at their ends."""
    generator = np.random.default_rng([sum(size), 0 if ones is None else round(100 * ones)])
    leaves = some_leaves(generator, size, 0.7, 0.6 if size[0] > 8 else 1.0)
    model = default_model(False, True, wavelet=True)
    prior = generator.integers(-128, 128, len(model.wavelet_prior)).astype(np.int8)
    if ones == 0.5:
        model = replace(model, wavelet_prior=prior)
    known = Known(leaves, (512,) * 7, 32768, model)
    chosen = any_bits(generator, ones)
    with patch.object(wavelet, "Bits", lambda _: chosen):
        expected = known.by_reference(b"")
    assert np.array_equal(known.by_core(chosen.segment()), expected)


@pytest.mark.parametrize(
    ("amount", "fewer", "count"), [(82, 21, 6), (83, 21, 4), (242, 62, 4), (243, 62, 2)]
)
def test_shares_of_active_voxels_are_told_apart_at_their_ends(
    amount: int, fewer: int, count: int
) -> None:
    """A leaf, some of whose octants have so many voxels, and the others one more."""
    octants = np.zeros((8, 64), dtype=np.bool_)
    for number, octant in enumerate(octants):
        octant[: fewer + (number >= count)] = True
    dense = octants.reshape(2, 2, 2, 4, 4, 4).transpose(0, 3, 1, 4, 2, 5).reshape(8, 8, 8)
    amounts = 31 * wavelet.eights(dense)
    assert wavelet.eights(wavelet.eights(amounts) // 8) // 8 == amount
    masks = np.packbits(dense.reshape(1, 512), axis=1, bitorder="little")
    model = default_model(False, False, wavelet=True)
    known = Known(Leaves(np.array([77], dtype=np.uint16), masks), (512,) * 7, 32768, model)
    chosen = any_bits(np.random.default_rng(amount), 0.4)
    with patch.object(wavelet, "Bits", lambda _: chosen):
        expected = known.by_reference(b"")
    assert np.array_equal(known.by_core(chosen.segment()), expected)


def test_both_refuse_damaged_segments() -> None:
    generator = np.random.default_rng(3)
    model = default_model(False, False, wavelet=True)
    known = Known(some_leaves(generator, (8, 8, 8), 1.0, 1.0), (64,) * 7, 6400, model)
    segment, _ = known.encoded(values_of(known, generator, 0.05))
    damaged = [
        *(
            segment[:size]
            for size in (0, 3, 4, 5, 6, len(segment) // 2 & ~1, len(segment) // 2 | 1)
        ),
        *(segment[:-cut] for cut in (1, 2)),
        *(segment + bytes(more) for more in (1, 2, 8)),
        *(segment + b"\1\2" * more for more in (1, 5)),
        b"\xff\xff\0\0" + segment[4:],
        segment[:4] + bytes(2) + segment[4:],
    ]
    for own in damaged:
        with pytest.raises(ValueError, match="F6"):
            known.by_reference(own)
        with pytest.raises(FormatError) as refused:
            known.by_core(own)
        assert refused.value.id == "F6"


def gas(size: int = 24) -> NDArray[np.float32]:
    """Turbulence: random numbers whose spectrum falls by the 5th power of the wave number."""
    waves = np.fft.fftfreq(size) * size
    number = np.sqrt(waves[:, None, None] ** 2 + waves[:, None] ** 2 + waves**2)
    spectrum = np.fft.fftn(np.random.default_rng(5).standard_normal((size,) * 3))
    spectrum *= np.where(number > 1, np.maximum(number, 1) ** -2.5, 0)
    values = np.fft.ifftn(spectrum).real
    found: NDArray[np.float32] = (values / np.ptp(values)).astype(np.float32)
    return found


def encoded(*values: NDArray[np.float32], psnr: float = 32) -> bytes:
    """A file of channels whose voxels are all active."""
    grids = (
        sparse_grid(own, str(number), active=np.ones(own.shape, dtype=np.bool_))
        for number, own in enumerate(values)
    )
    options = EncodeOptions(exact_below=0, effort="instant", psnr=psnr, device="cpu")
    return inrv.encode_bytes(SparseVolume(tuple(grids)), options)[0]


def check_same_bits(data: bytes) -> None:
    theirs = read.decode(data)
    for ours, other in zip(inrv.load(data, device="cpu").grids, theirs, strict=True):
        assert len(np.unique(other.values)) > 50
        assert np.array_equal(ours.coordinates(), other.coordinates)
        assert ours.values().reshape(other.values.shape).tobytes() == other.values.tobytes()


def test_both_decoders_give_the_same_bits_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wavelet, and a channel that is predicted from its restored values."""
    chosen = ChannelEncoder._as_wavelet

    def first_alone(self: ChannelEncoder, found: Trial) -> Trial:
        return found if self.values.reference is not None else chosen(self, found)

    monkeypatch.setattr(ChannelEncoder, "_as_wavelet", first_alone)
    noise = np.random.default_rng(3).standard_normal((32,) * 3).astype(np.float32)
    data = encoded(gas(32), gas(32) + np.float32(0.01) * noise, psnr=30)
    first, second = read.File(data).manifest["field"]["config"]["channels"]
    assert first["wavelet"] and first["restoration"] and first["offsets"]
    assert second["reference"] == 0 and not second["wavelet"]
    check_same_bits(data)


def differing(model: Model, generator: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Tensors of what a model with another restoration network differs by."""
    assert model.restoration is not None
    tensors = {
        name: np.clip(tensor + generator.integers(-3, 4, tensor.shape), -127, 127)
        for name, tensor in whole(model.restoration).items()
    }
    other = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    found = Differences.of(replace(model, restoration=IntegerNetwork(other)), model)
    return {
        "network_tables": found.tables,
        "network_codes": np.frombuffer(found.codes, dtype=np.uint8),
    }


def with_any_bits(data: bytes, restoration: bool, fitted: bool, chunk: bool) -> bytes:
    """A file whose one channel is replaced by a wavelet that knows its exterior.

    chunk: whether its segments have a chunk of their own
    """
    generator, opened = np.random.default_rng(6), inrv.load(data, device="cpu")
    container, manifest = opened.container, opened.manifest
    assert manifest.field is not None
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    channel = read.channel_of(read.File(data), 0)
    config: dict[str, Any] = channel.config | {
        "steps": [100, 32, 32, 32, 32, 32, 512], "top": 6400, "scale": 6000, "trellis": False,
        "wavelet": True, "exterior": True, "restoration": restoration, "fitted": fitted, "set": 3,
        "offsets": True, "codes": len(chunks), "bits": len(chunks) + 1 if chunk else None,
    }  # fmt: skip
    segments = []
    for corner in channel.corners:
        active = np.zeros((EDGE,) * 3, dtype=np.bool_)
        inside = (channel.voxels // EDGE * EDGE == corner).all(axis=1)
        active[tuple((channel.voxels[inside] - corner).T)] = True
        box, chosen = wavelet.box_of(channel.leaves_in(corner)), any_bits(generator, 0.35)
        with patch.object(wavelet, "Bits", lambda _, own=chosen: own):
            wavelet.decode(b"", channel.wavelet_prior, config["steps"], 6400, 0, active[box])
        segments.append(chosen.segment())
    joined, regions = b"".join(segments), len(segments)
    sizes, checksums = np.zeros((2, regions, 4), dtype=np.int64)
    sizes[:, 0] = list(map(len, segments))
    checksums[:, 0] = list(map(zlib.crc32, segments))
    tensors: dict[str, NDArray[Any]] = {
        "means": generator.integers(0, 256, regions).astype(np.uint8),
        "spreads": generator.integers(0, 23, regions).astype(np.uint8),
        "lanes": np.zeros(regions, dtype=np.uint8),
        "segments": np.ones(regions, dtype=np.uint8),
        "lengths": sizes.astype(np.int32),
        "checksums": checksums[: regions if chunk else 0].astype(np.uint32).view(np.int32),
        "bits": np.frombuffer(b"" if chunk else joined, dtype=np.uint8),
        "offsets": (generator.random(17) * 400 - 200).astype(np.float16),
    }
    if fitted:
        own = default_model(False, restoration, config["set"], wavelet=True)
        tensors |= differing(own, generator)
    chunks.append(Chunk("CODE", pack_tensors(tensors)))
    chunks += [Chunk("BITS", joined)] if chunk else []
    field = replace(manifest.field, config={**manifest.field.config, "channels": [config]})
    return container_bytes(replace(manifest, field=field), chunks)


@pytest.mark.parametrize(
    ("restoration", "fitted", "chunk"),
    [(False, False, True), (True, False, False), (True, True, True)],
)
def test_both_decoders_give_the_same_bits_for_any_file(
    restoration: bool, fitted: bool, chunk: bool
) -> None:
    """The box has leaves all of whose voxels have a frequent value, which is known."""
    values = gas(16)
    values[:, :9] = 0
    data = with_any_bits(encoded(values), restoration, fitted, chunk)
    file = read.File(data)
    channel = read.channel_of(file, 0)
    assert file.manifest["grids"][0]["frequent_values"] is not None
    assert channel.leaves[:, 1].min() == 0 and channel.voxels[:, 1].min() == 9
    check_same_bits(data)


@pytest.mark.parametrize(("tensor", "number"), [("lanes", 1), ("segments", 4)])
def test_both_refuse_a_wavelet_with_other_lanes_or_segments(tensor: str, number: int) -> None:
    data = encoded(gas(16))
    opened = inrv.load(data, device="cpu")
    container, (config,) = opened.container, read.File(data).manifest["field"]["config"]["channels"]
    assert config["wavelet"]
    tensors = read.File(data).tensors(config["codes"], "CODE")
    tensors[tensor] = np.full_like(tensors[tensor], number)
    chunks = [
        Chunk(
            entry.type,
            pack_tensors(tensors) if entry.type == "CODE" else container.chunk(own),
        )
        for own, entry in enumerate(container.entries)
    ]
    damaged = container_bytes(opened.manifest, chunks)
    with pytest.raises(ValueError, match="F6"):
        read.decode(damaged)
    with pytest.raises(FormatError) as refused:
        inrv.load(damaged, device="cpu")[0].values()
    assert refused.value.id == "F6"
