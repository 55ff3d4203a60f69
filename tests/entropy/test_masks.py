"""Masks come back bit for bit, cost few bytes, and damaged words end in a mask or in one error."""

from __future__ import annotations

import zlib
from pathlib import Path

import constriction
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.entropy.masks import decode_masks, encode_masks, kinds_of
from inrv.entropy.masks.kinds import EMPTY, FULL, MIXED
from inrv.entropy.masks.model import STRETCH
from inrv.errors import FormatError
from inrv.files.vdb import read_volume
from spec.reference import masks as reference_masks

Origins = NDArray[np.int32]
Masks = NDArray[np.uint8]

GOLDEN = [3674304512, 4154580314]  # CRC-32 of the words of `test_the_words_never_change`


def leaves_of(
    inside: NDArray[np.bool_], corner: tuple[int, int, int] = (0, 0, 0), keep_empty: bool = False
) -> tuple[Origins, Masks]:
    """Leaves of a dense array whose edges are multiples of 8, its first voxel at `corner`."""
    x, y, z = (length // 8 for length in inside.shape)
    cells = inside.reshape(x, 8, y, 8, z, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512)
    origins = np.indices((x, y, z)).reshape(3, -1).T * 8 + np.array(corner)
    chosen = cells.any(axis=1) | keep_empty
    return origins[chosen].astype(np.int32), np.packbits(cells[chosen], axis=1, bitorder="little")


def blob(edge: int, noise: float = 0.0, seed: int = 0) -> NDArray[np.bool_]:
    """A ball with a rough surface: what masks of smoke look like."""
    axis = np.arange(edge) - edge / 2 + 0.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    return radius + noise * np.random.default_rng(seed).standard_normal(radius.shape) < edge * 0.4


def round_trip(origins: Origins, masks: Masks, reference: Masks | None = None) -> int:
    """Bytes of the words; the masks that they give must be the same."""
    words = encode_masks(origins, masks, reference)
    assert np.array_equal(decode_masks(origins, kinds_of(masks), words, reference), masks)
    return words.nbytes


def one_leaf(voxels: list[int]) -> Masks:
    cells = np.zeros((1, 512), dtype=bool)
    cells[0, voxels] = True
    return np.packbits(cells, axis=1, bitorder="little")


def test_kinds() -> None:
    masks = np.concatenate([one_leaf([511]), one_leaf(list(range(512))), one_leaf([])])
    assert kinds_of(masks).tolist() == [MIXED, FULL, EMPTY]


def test_no_leaf_and_leaves_without_a_bit_to_code_take_no_words() -> None:
    assert round_trip(np.zeros((0, 3), dtype=np.int32), np.zeros((0, 64), dtype=np.uint8)) == 0
    masks = np.concatenate([one_leaf(list(range(512))), one_leaf([])])
    assert round_trip(np.array([[0, 0, 0], [0, 0, 8]], dtype=np.int32), masks) == 0


@pytest.mark.parametrize(
    "voxels", [[0], [511], list(range(1, 512)), list(range(0, 512, 2)), list(range(256))]
)
@pytest.mark.parametrize("origin", [(0, 0, 0), (-8, 120, -128), (8384504, -8384512, 8384504)])
def test_one_leaf(voxels: list[int], origin: tuple[int, int, int]) -> None:
    assert round_trip(np.array([origin], dtype=np.int32), one_leaf(voxels)) <= 64


@pytest.mark.parametrize("corner", [(0, 0, 0), (-24, -24, -24), (104, -1024, 112)])
@pytest.mark.parametrize("keep_empty", [False, True])
def test_leaves_across_nodes(corner: tuple[int, int, int], keep_empty: bool) -> None:
    origins, masks = leaves_of(blob(48, 1.0), corner, keep_empty)
    assert {FULL, MIXED} <= set(kinds_of(masks).tolist())
    assert (EMPTY in kinds_of(masks)) == keep_empty
    assert round_trip(origins, masks) < len(zstandard.compress(masks.tobytes(), 19))


def test_order_of_leaves_is_free() -> None:
    """Numbers of leaves decide the order within a front alone: any order comes back as it was."""
    origins, masks = leaves_of(blob(40, 1.0))
    order = np.random.default_rng(1).permutation(len(origins))
    round_trip(origins[order], masks[order])


def test_smooth_surfaces_cost_less_than_half_of_zstd() -> None:
    origins, masks = leaves_of(blob(96))
    assert round_trip(origins, masks) < 0.5 * len(zstandard.compress(masks.tobytes(), 19))


def test_noise_costs_hardly_more_than_its_bits() -> None:
    cells = np.random.default_rng(2).random((32, 32, 32)) < 0.5
    assert round_trip(*leaves_of(cells)) < 1.05 * cells.size / 8


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
    round_trip(np.array(blocks, dtype=np.int32).reshape(-1, 3) * 8, masks, reference)


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.integers(0, (1 << 32) - 1), max_size=8), full=st.booleans())
def test_any_words_give_masks_or_one_error(words: list[int], full: bool) -> None:
    origins = np.array([[0, 0, 0], [0, 0, 8], [-8, 0, 0]], dtype=np.int32)
    kinds = np.array([MIXED, FULL if full else EMPTY, MIXED], dtype=np.uint8)
    try:
        masks = decode_masks(origins, kinds, np.array(words, dtype=np.uint32))
    except FormatError:
        return
    assert masks.shape == (3, 64) and kinds_of(masks)[1] == kinds[1]


def test_words_left_over_are_an_error() -> None:
    origins, masks = leaves_of(blob(32, 1.0))
    words = encode_masks(origins, masks)
    with pytest.raises(FormatError, match="before their"):
        decode_masks(
            origins, kinds_of(masks), np.append(words, np.full(4, 0x12345678, dtype=np.uint32))
        )


def test_words_that_no_encoder_makes_are_an_error() -> None:
    origins, masks = leaves_of(blob(32, 1.0))
    with pytest.raises(FormatError, match="damaged"):
        decode_masks(origins, kinds_of(masks), np.full(500, 0xFFFFFFFF, dtype=np.uint32))


def test_the_words_never_change() -> None:
    """Files hold them: whatever machine or version, the same masks give the same words."""
    origins, masks = leaves_of(blob(64, 1.5, seed=4), (-32, 64, 0))
    words = encode_masks(origins, masks)
    predicted = encode_masks(origins, masks, np.roll(masks, 1, axis=1))
    assert [zlib.crc32(part.astype("<u4").tobytes()) for part in (words, predicted)] == GOLDEN


def test_no_logit_is_rounded_near_a_half() -> None:
    """So every library's logarithm and exponential gives the same tables."""
    q = np.arange(1, 65536)
    logits = 256 * np.log(q / (65536 - q))
    assert np.abs(logits - np.floor(logits) - 0.5).min() > 1e-7
    chances = (1 << 20) / (1 + np.exp(-np.arange(-2816, 2817) / 256))
    assert np.abs(chances - np.floor(chances) - 0.5).min() > 1e-7
    assert np.array_equal(STRETCH[1:], np.clip(np.rint(logits), -2816, 2816))


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


def check_with_second_decoder(
    origins: Origins, masks: Masks, reference: Masks | None, kinds: NDArray[np.uint8] | None = None
) -> None:
    """What another program finds in our words, with nothing but the specification."""

    def bits(packed: Masks) -> NDArray[np.bool_]:
        return np.unpackbits(packed, axis=1, bitorder="little").view(bool)

    words = encode_masks(origins, masks, reference, kinds)
    predicted = None if reference is None else bits(reference)
    own = (kinds_of(masks) if kinds is None else kinds).tolist()
    assert np.array_equal(
        reference_masks.decode(origins, own, words.tolist(), predicted), bits(masks)
    )
    theirs = np.array(reference_masks.encode(origins, own, bits(masks), predicted), dtype=np.uint32)
    assert np.array_equal(
        decode_masks(origins, np.array(own, dtype=np.uint8), theirs, reference), masks
    )


@pytest.mark.parametrize("corner", [(0, 0, 0), (-16, 112, -120)])
@pytest.mark.parametrize("predicted", [False, True])
def test_the_specification_is_enough(corner: tuple[int, int, int], predicted: bool) -> None:
    origins, masks = leaves_of(blob(32, 1.0), corner, keep_empty=True)
    check_with_second_decoder(origins, masks, np.roll(masks, 1, axis=1) if predicted else None)


@pytest.mark.parametrize("predicted", [False, True])
def test_full_and_empty_leaves_may_be_coded_as_mixed(predicted: bool) -> None:
    """As masks of blocks are, and of inactive voxels."""
    origins, masks = leaves_of(blob(32), keep_empty=True)
    masks[21] = 255
    assert set(kinds_of(masks).tolist()) == {MIXED, FULL, EMPTY}
    kinds, reference = (
        np.full(len(masks), MIXED, dtype=np.uint8),
        np.roll(masks, 1, axis=1) if predicted else None,
    )
    words = encode_masks(origins, masks, reference, kinds)
    assert np.array_equal(decode_masks(origins, kinds, words, reference), masks)
    assert words.tolist() != encode_masks(origins, masks, reference).tolist()
    check_with_second_decoder(origins, masks, reference, kinds)


def test_the_range_coder_is_the_specifications() -> None:
    """Constriction splits its range where the specification says, whatever the probability."""
    generator = np.random.default_rng(5)
    one = 1 << 20
    chosen = np.r_[
        1:60, one - 60 : one, one // 2 - 60 : one // 2 + 60, generator.integers(1, one, 4000)
    ]
    chances = generator.permutation(chosen)
    for bits in (
        generator.random(len(chances)) < chances / one,
        generator.random(len(chances)) < 0.5,
    ):
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(
            bits.astype(np.int32), constriction.stream.model.Bernoulli(perfect=False), chances / one
        )
        decoder = reference_masks.RangeDecoder(encoder.get_compressed().tolist())
        assert [
            decoder.symbol(reference_masks.parts_of_bit(p)) for p in chances.tolist()
        ] == bits.tolist()
