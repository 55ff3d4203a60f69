"""Masks that a kernel of a GPU decodes: the same bits as those of the core."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("triton")

import torch

from inrv.core.masks import MaskLeaves, decode_region_masks, encode_region_masks
from inrv.entropy.masks import kinds_of
from inrv.entropy.masks.coding import prior
from inrv.entropy.masks.kinds import EMPTY, FULL, MIXED
from inrv.errors import FormatError
from inrv.fields.lattice.gpu import mask_kernels as kernels
from inrv.fields.lattice.gpu import masks as gpu
from inrv.fields.lattice.gpu.masks import CodedRegion, decode_regions
from spec.reference import masks as reference_masks
from testing.gpu import DEVICE

Masks = NDArray[np.uint8]

# Beside each other along each axis, at both ends of the region, and where a row ends and the next
# one begins.
CELLS = np.array([0, 1, 2, 15, 16, 257, 4079, 4080, 4095], dtype=np.uint16)


def noise(count: int, seed: int = 0) -> Masks:
    """Masks whose voxels resemble their neighbours a little."""
    cells = np.random.default_rng(seed).random((count, 8, 8, 8))
    cells[:, 1:] += cells[:, :-1]
    return np.packbits(cells.reshape(count, 512) < 0.8, axis=1, bitorder="little")


@cache
def some_masks() -> Masks:
    """Masks of CELLS: four are mixed, of which two share words; the others are full or empty."""
    masks = noise(len(CELLS))
    masks[[0, 5, 7]] = 255
    masks[[4, 6]] = 0
    return masks


def bits(masks: Masks) -> NDArray[np.bool_]:
    return np.unpackbits(masks, axis=1, bitorder="little").view(bool)


def coded(
    masks: Masks,
    log_lanes: int,
    rate: int,
    predicted: Masks | None = None,
    cells: NDArray[np.uint16] = CELLS,
) -> CodedRegion:
    """A region as the specification codes it, with any lanes and rate."""
    kinds, there = kinds_of(masks), None if predicted is None else bits(predicted)
    own = cells.tolist(), kinds.tolist(), bits(masks), there
    data = reference_masks.encode(*own, log_lanes, rate)
    reference = None if predicted is None else torch.from_numpy(predicted)
    return CodedRegion(cells, kinds, data, reference)


def decoded(regions: list[CodedRegion]) -> list[Masks]:
    return [masks.cpu().numpy() for masks in decode_regions(regions, DEVICE)]


def test_regions_of_a_batch_have_lanes_rates_and_predicted_masks_of_their_own() -> None:
    masks, last = some_masks(), some_masks()[5:]
    only = np.flatnonzero(kinds_of(masks) != MIXED)
    regions = [
        coded(masks, 5, 2),
        coded(last, 3, 1, np.roll(last, 1, axis=1), CELLS[5:]),
        coded(masks[only], 0, 0, cells=CELLS[only]),  # no bytes
        coded(last, 0, 0, cells=CELLS[5:]),
        coded(masks[:0], 0, 0, cells=CELLS[:0]),  # no leaves
        coded(masks, 4, 0, noise(len(masks), 7)),
    ]
    assert {MIXED, FULL, EMPTY} == set(regions[0].kinds.tolist())
    expected = [masks, last, masks[only], last, masks[:0], masks]
    for own, other in zip(decoded(regions), expected, strict=True):
        assert own.dtype == np.uint8 and np.array_equal(own, other)


def test_a_front_may_take_several_blocks() -> None:
    """Of which the last has fewer voxels than there are lanes."""
    cells = np.array([y << 4 | 14 - 2 * y for y in range(8)], dtype=np.uint16)
    masks = noise(len(cells), 3)
    region = coded(masks, 5, 1, cells=cells)
    sizes = np.diff(gpu._order([region]).begins[:-1])
    assert sizes.max() == 64 and (sizes < 32).any() and len(sizes) > 70
    assert np.array_equal(decoded([region])[0], masks)


def test_voxels_stand_in_coding_order() -> None:
    masks = noise(len(CELLS))
    masks[2], masks[5] = 255, 0
    regions = [CodedRegion(own, kinds_of(masks[: len(own)]), b"") for own in (CELLS, CELLS[:4])]
    order = gpu._order(regions)
    expected, begins, blocks = list[int](), list[int](), [0]
    for region in regions:
        for front in reference_masks.fronts(region.cells.tolist(), region.kinds.tolist()):
            begins += range(len(expected), len(expected) + len(front), 64)
            for _, _, (x, y, z) in front:
                word = x * kernels.PLANE.value + (z >> 4) * kernels.ROW.value + y
                expected.append(word << 4 | (z & 15))
        blocks.append(len(begins))
    places = gpu._places(order, torch.device("cpu"))
    assert places[:-64].tolist() == expected
    assert order.begins.tolist() == [*begins, len(expected), len(expected)]
    assert order.blocks.tolist() == blocks


def test_logits_leave_their_16_bits_at_one_end_and_come_in_at_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Contexts that disagree begin so near to both ends that they soon do."""
    extreme = np.full_like(prior(), 127)
    extreme[8192:16384] = extreme[32768:40960] = -128
    masks, cells = noise(2, 5), CELLS[:2]
    leaves = MaskLeaves(cells, kinds_of(masks))
    data = encode_region_masks(extreme, leaves, masks)
    monkeypatch.setattr(gpu, "prior", lambda: extreme)
    assert np.array_equal(decoded([CodedRegion(cells, leaves.kinds, data)])[0], masks)


def test_batches_are_cut_where_they_become_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, cells = some_masks()[-1:], CELLS[-1:]
    monkeypatch.setattr(gpu, "BATCH_REGIONS", 2)
    monkeypatch.setattr(gpu, "BATCH_VOXELS", 1000)
    mixed = CodedRegion(cells, kinds_of(masks), b"")
    assert mixed.kinds.tolist() == [MIXED]
    predicted = CodedRegion(cells, kinds_of(masks), b"", torch.from_numpy(masks))
    none = CodedRegion(cells[:0], kinds_of(masks[:0]), b"")
    regions = [mixed, predicted, mixed, none, none, predicted, none]
    assert list(gpu._batches(regions)) == [[0], [2, 3], [4, 6], [1], [5]]


def both_fail(region: CodedRegion) -> None:
    with pytest.raises(FormatError) as error:
        decode_region_masks(prior(), MaskLeaves(region.cells, region.kinds), region.data)
    assert error.value.id == "S11"
    with pytest.raises(FormatError, match="coded masks are damaged") as error:
        decode_regions([region], DEVICE)
    assert error.value.id == "S11"


def test_damage_that_the_first_bytes_tell_is_found() -> None:
    masks, cells = some_masks()[-1:], CELLS[-1:]
    kinds = kinds_of(masks)
    data = coded(masks, 2, 1, cells=cells).data
    wrong = [b"", data[:1], data[:3], data[:16], data[:-1], data + b"\0", b"\x06" + data[1:]]
    wrong += [b"\x18" + data[1:], data[:5] + b"\xff\xff\0\0" + data[9:]]
    for own in wrong:
        both_fail(CodedRegion(cells, kinds, own))
    both_fail(CodedRegion(cells, np.full_like(kinds, FULL), b"\0"))


def test_damage_behind_them_is_found() -> None:
    masks, cells = some_masks()[-1:], CELLS[-1:]
    data = coded(masks, 5, 1, cells=cells).data
    assert len(data) > 1 + 128 + 8
    flipped = bytearray(data)
    flipped[140] ^= 0x10
    wrong = [data[:-2], data[:129], data + b"\0\0", bytes(flipped)]
    wrong += [b"\x05" + data[1:], b"\x0c" + data[1:]]  # another rate, and fewer lanes
    wrong += [data[:-2] + bytes([data[-2] ^ 1, data[-1]])]  # all words are read
    for own in wrong:
        both_fail(CodedRegion(cells, kinds_of(masks), own))


def test_leaves_that_are_none_are_the_callers_mistake() -> None:
    for cells in ([3, 3], [4, 3], [0, 4096]):
        with pytest.raises(ValueError, match="out of its range"):
            CodedRegion(np.array(cells, np.uint16), np.zeros(2, np.uint8), b"")
    with pytest.raises(ValueError, match="out of their range"):
        CodedRegion(CELLS[:2], np.array([0, 3], np.uint8), b"")
    with pytest.raises(ValueError, match="to predict from"):
        CodedRegion(CELLS[:1], np.zeros(1, np.uint8), b"", torch.zeros(2, 64, dtype=torch.uint8))
