"""Masks come back bit for bit, cost few bytes, and damaged bytes end in a mask or in one error."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.core.masks import (
    MASK_BYTES,
    MaskLeaves,
    decode_region_masks,
    encode_region_masks,
)
from inrv.entropy.masks import decode_masks, encode_masks, kinds_of, regions_of
from inrv.entropy.masks.coding import prior
from inrv.entropy.masks.kinds import EMPTY, FULL, MIXED
from inrv.errors import FormatError
from inrv.files.vdb import read_volume
from spec.reference import masks as reference_masks

Origins = NDArray[np.int32]
Masks = NDArray[np.uint8]

GOLDEN = [719283024, 387392829]  # CRC-32 of the bytes of `test_the_bytes_never_change`
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "codec" / "core" / "squash.c"


def leaves_of(
    inside: NDArray[np.bool_], corner: tuple[int, int, int] = (0, 0, 0), keep_empty: bool = False
) -> tuple[Origins, Masks]:
    """Leaves of a dense array whose edges are multiples of 8, its first voxel at `corner`."""
    x, y, z = (length // 8 for length in inside.shape)
    cells = inside.reshape(x, 8, y, 8, z, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512)
    origins = np.indices((x, y, z)).reshape(3, -1).T * 8 + np.array(corner)
    chosen = np.flatnonzero(cells.any(axis=1) | keep_empty)
    chosen = chosen[np.lexsort([*(origins[chosen] >> 3).T[::-1], *(origins[chosen] >> 7).T[::-1]])]
    return origins[chosen].astype(np.int32), np.packbits(cells[chosen], axis=1, bitorder="little")


def blob(edge: int, noise: float = 0.0, seed: int = 0) -> NDArray[np.bool_]:
    """A ball with a rough surface: what masks of smoke look like."""
    axis = np.arange(edge) - edge / 2 + 0.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    return radius + noise * np.random.default_rng(seed).standard_normal(radius.shape) < edge * 0.4


def round_trip(origins: Origins, masks: Masks, reference: Masks | None = None) -> int:
    """How many bytes masks take; those that they give must be the same."""
    parts = encode_masks(origins, masks, reference)
    assert np.array_equal(decode_masks(origins, kinds_of(masks), parts, reference), masks)
    return sum(map(len, parts))


def one_leaf(voxels: list[int]) -> Masks:
    cells = np.zeros((1, 512), dtype=bool)
    cells[0, voxels] = True
    return np.packbits(cells, axis=1, bitorder="little")


def test_kinds() -> None:
    masks = np.concatenate([one_leaf([511]), one_leaf(list(range(512))), one_leaf([])])
    assert kinds_of(masks).tolist() == [MIXED, FULL, EMPTY]


def test_no_leaf_and_leaves_without_a_bit_to_code_take_no_bytes() -> None:
    assert round_trip(np.zeros((0, 3), dtype=np.int32), np.zeros((0, 64), dtype=np.uint8)) == 0
    masks = np.concatenate([one_leaf(list(range(512))), one_leaf([])])
    assert round_trip(np.array([[0, 0, 0], [0, 0, 8]], dtype=np.int32), masks) == 0


@pytest.mark.parametrize(
    "voxels", [[0], [511], list(range(1, 512)), list(range(0, 512, 2)), list(range(256))]
)
@pytest.mark.parametrize("origin", [(0, 0, 0), (-8, 120, -128), (8384504, -8384512, 8384504)])
def test_one_leaf(voxels: list[int], origin: tuple[int, int, int]) -> None:
    assert round_trip(np.array([origin], dtype=np.int32), one_leaf(voxels)) <= 80


@pytest.mark.parametrize("corner", [(0, 0, 0), (-24, -24, -24), (104, -1024, 112)])
@pytest.mark.parametrize("keep_empty", [False, True])
def test_leaves_across_nodes(corner: tuple[int, int, int], keep_empty: bool) -> None:
    origins, masks = leaves_of(blob(48, 1.0), corner, keep_empty)
    assert {FULL, MIXED} <= set(kinds_of(masks).tolist())
    assert (EMPTY in kinds_of(masks)) == keep_empty
    assert round_trip(origins, masks) < len(zstandard.compress(masks.tobytes(), 19))


def test_leaves_come_in_key_order() -> None:
    origins, masks = leaves_of(blob(40, 1.0))
    with pytest.raises(ValueError, match="out of its range"):
        encode_masks(origins[::-1], masks[::-1])


def test_a_region_is_decoded_alone() -> None:
    origins, masks = leaves_of(blob(64, 1.0), (-32, 96, 0))
    parts, regions = encode_masks(origins, masks), regions_of(origins)
    assert len(regions) == len(parts) == 4
    for region, part in zip(regions, parts, strict=True):
        alone = decode_masks(origins[region], kinds_of(masks[region]), [part])
        assert np.array_equal(alone, masks[region])


def test_smooth_surfaces_cost_less_than_half_of_zstd() -> None:
    origins, masks = leaves_of(blob(96))
    assert round_trip(origins, masks) < 0.5 * len(zstandard.compress(masks.tobytes(), 19))


def test_noise_costs_hardly_more_than_its_bits() -> None:
    cells = np.random.default_rng(2).random((32, 32, 32)) < 0.5
    assert round_trip(*leaves_of(cells)) < 1.2 * cells.size / 8


def test_a_reference_saves_bytes() -> None:
    inside = blob(64, 1.0)
    origins, masks = leaves_of(inside)
    alone = round_trip(origins, masks)
    assert round_trip(origins, masks, masks) < 0.1 * alone
    other = inside ^ (np.random.default_rng(3).random(inside.shape) < 0.002)
    shifted = np.packbits(
        other.reshape(8, 8, 8, 8, 8, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512),
        axis=1,
        bitorder="little",
    )
    everywhere = np.indices((8, 8, 8)).reshape(3, -1).T * 8
    same = np.array([everywhere.tolist().index(origin) for origin in origins.tolist()])
    assert round_trip(origins, masks, shifted[same]) < 0.5 * alone


def test_a_reference_that_says_nothing_costs_little() -> None:
    origins, masks = leaves_of(blob(64, 1.0))
    assert round_trip(origins, masks, np.zeros_like(masks)) < 1.05 * round_trip(origins, masks)


some_blocks = st.lists(st.tuples(*[st.integers(-20, 20)] * 3), max_size=12, unique=True)


@settings(max_examples=40, deadline=None)
@given(
    blocks=some_blocks,
    seed=st.integers(0, 1 << 30),
    density=st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]),
    predicted=st.booleans(),
)
def test_any_leaves(
    blocks: list[tuple[int, int, int]], seed: int, density: float, predicted: bool
) -> None:
    generator = np.random.default_rng(seed)
    masks = np.packbits(generator.random((len(blocks), 512)) < density, axis=1, bitorder="little")
    reference = generator.integers(0, 256, masks.shape, dtype=np.uint8) if predicted else None
    origins = np.array(blocks, dtype=np.int32).reshape(-1, 3) * 8
    order = np.lexsort([*(origins >> 3).T[::-1], *(origins >> 7).T[::-1]])
    round_trip(origins[order], masks, reference)


def region_of(masks: Masks, reference: Masks | None = None) -> MaskLeaves:
    """Leaves with these masks in the first cells of a region."""
    return MaskLeaves(np.arange(len(masks), dtype=np.uint16), kinds_of(masks), reference)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=80), first=st.sampled_from([0, 1, 8, 17, 5]), full=st.booleans())
def test_any_bytes_give_masks_or_one_error(data: bytes, first: int, full: bool) -> None:
    kinds = np.array([MIXED, FULL if full else EMPTY, MIXED], dtype=np.uint8)
    leaves = MaskLeaves(np.array([0, 1, 4095], dtype=np.uint16), kinds)
    try:
        masks = decode_region_masks(prior(), leaves, bytes([first]) + data)
    except FormatError as error:
        assert error.id == "S11"
        return
    assert masks.shape == (3, MASK_BYTES) and kinds_of(masks)[1] == kinds[1]


def test_damage_is_an_error() -> None:
    _, masks = leaves_of(blob(32, 1.0))
    leaves = region_of(masks)
    data = encode_region_masks(prior(), leaves, masks)
    assert np.array_equal(decode_region_masks(prior(), leaves, data), masks)
    states = 1 + 4 * (1 << (data[0] & 7))
    damaged = [data[:-2], data[:-1], data + b"\0\0", data[:1], data[:3], b"", data[:states]]
    damaged += [bytes([data[0] ^ bit]) + data[1:] for bit in (1, 4, 32, 64, 128)]
    damaged += [data[:1] + bytes(4) + data[5:], data[:30] + b"\xff\xff" + data[32:]]
    for wrong in damaged:
        with pytest.raises(FormatError) as error:
            decode_region_masks(prior(), leaves, wrong)
        assert error.value.id == "S11"


def test_bytes_without_a_mixed_leaf_are_an_error() -> None:
    with pytest.raises(FormatError):
        decode_region_masks(prior(), region_of(one_leaf([])), b"\0")


@pytest.mark.parametrize(
    ("cells", "kinds"), [([3, 3], [0, 0]), ([4, 3], [0, 0]), ([0, 4096], [0, 0]), ([0, 1], [0, 3])]
)
def test_leaves_that_are_none_are_the_callers_mistake(cells: list[int], kinds: list[int]) -> None:
    leaves = MaskLeaves(np.array(cells, dtype=np.uint16), np.array(kinds, dtype=np.uint8))
    with pytest.raises(ValueError, match="out of its range"):
        decode_region_masks(prior(), leaves, bytes(100))


def test_threads_change_nothing() -> None:
    origins, masks = leaves_of(blob(96, 1.0), (-48, -48, -48))
    parts = encode_masks(origins, masks)
    regions = regions_of(origins)
    assert len(parts) == 8
    assert parts == [encode_masks(origins[one], masks[one])[0] for one in regions]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda _: decode_masks(origins, kinds_of(masks), parts), range(8))
        assert all(np.array_equal(one, masks) for one in found)


def test_a_large_region_has_many_lanes() -> None:
    cells = np.random.default_rng(6).random((128, 128, 16)) < 0.5
    parts = encode_masks(*leaves_of(cells))
    assert parts[0][0] & 7 == 5
    round_trip(*leaves_of(cells))


def test_the_bytes_never_change() -> None:
    """Files hold them: whatever machine or version, the same masks give the same bytes."""
    origins, masks = leaves_of(blob(64, 1.5, seed=4), (-32, 64, 0))
    parts = encode_masks(origins, masks)
    predicted = encode_masks(origins, masks, np.roll(masks, 1, axis=1))
    assert [zlib.crc32(b"".join(every)) for every in (parts, predicted)] == GOLDEN


def test_no_probability_is_rounded_near_a_half() -> None:
    """So every library's exponential gives the same table, which the core has as numbers."""
    chances = 32768 / (1 + np.exp(-(np.arange(-666, 666) + 0.5) / 64))
    assert np.abs(chances - np.floor(chances) - 0.5).min() > 1e-4
    table = np.clip(np.rint(chances), 1, 32767).astype(int)
    text = SOURCE.read_text()
    body = text[text.index("SQUASH[SQUASH_EDGE] = {") :].split("{")[1].split("}")[0]
    assert [int(number) for number in body.replace(",", " ").split()] == table[:666].tolist()
    assert (table + table[::-1] == 32768).all()


def test_the_specification_has_the_prior() -> None:
    assert (ROOT / "spec" / "data" / "prior-1.bin").read_bytes() == prior().tobytes()


@pytest.mark.parametrize(
    ("name", "position", "most"),
    [("fire/fire_0060.vdb", 0, 15_500), ("wdas_cloud_sixteenth.vdb", 0, 8_300)],
)
def test_corpus(corpus: Path, name: str, position: int, most: int) -> None:
    topology = read_volume(corpus / name).grids[position].topology
    assert round_trip(topology.leaf_origins, topology.leaf_masks) < most


def test_corpus_flames_are_predicted_from_temperature(corpus: Path) -> None:
    temperature, flames = (
        grid.topology for grid in read_volume(corpus / "fire/fire_0060.vdb").grids
    )
    leaf = temperature.find_leaves(flames.leaf_origins)
    reference = np.packbits(temperature.masks_of(leaf), axis=1, bitorder="little")
    origins, masks = flames.leaf_origins, flames.leaf_masks
    assert round_trip(origins, masks, reference) < round_trip(origins, masks)


def check_with_second_decoder(leaves: MaskLeaves, masks: Masks) -> None:
    """What another program finds in our bytes, with nothing but the specification."""

    def bits(packed: Masks) -> NDArray[np.bool_]:
        return np.unpackbits(packed, axis=1, bitorder="little").view(bool)

    data = encode_region_masks(prior(), leaves, masks)
    predicted = None if leaves.reference is None else bits(leaves.reference)
    cells, kinds = leaves.cells.tolist(), leaves.kinds.tolist()
    assert np.array_equal(reference_masks.decode(cells, kinds, data, predicted), bits(masks))
    for log_lanes, rate in ((0, 2), (5, 0)):
        theirs = reference_masks.encode(cells, kinds, bits(masks), predicted, log_lanes, rate)
        assert np.array_equal(decode_region_masks(prior(), leaves, theirs), masks)
    same = reference_masks.encode(cells, kinds, bits(masks), predicted, data[0] & 7, data[0] >> 3)
    assert same == data


@pytest.mark.parametrize("predicted", [False, True])
def test_the_specification_is_enough(predicted: bool) -> None:
    """With leaves at both ends of the region, some of them full or empty."""
    _, masks = leaves_of(blob(24, 1.0), keep_empty=True)
    masks[3] = 0
    reference = np.roll(masks, 1, axis=1) if predicted else None
    cells = np.concatenate([np.arange(13), np.arange(4096 - len(masks) + 13, 4096)])
    kinds = kinds_of(masks)
    assert set(kinds.tolist()) == {MIXED, FULL, EMPTY}
    check_with_second_decoder(MaskLeaves(cells.astype(np.uint16), kinds, reference), masks)


def test_full_and_empty_leaves_may_be_coded_as_mixed() -> None:
    """As masks of blocks are, and of inactive voxels."""
    _, masks = leaves_of(blob(16), keep_empty=True)
    masks[1], masks[2] = 255, 0
    kinds = np.full(len(masks), MIXED, dtype=np.uint8)
    reference = np.roll(masks, 1, axis=1)
    cells = np.array([0, 1, 16, 17, 256, 257, 272, 273], dtype=np.uint16)
    check_with_second_decoder(MaskLeaves(cells, kinds, reference), masks)
