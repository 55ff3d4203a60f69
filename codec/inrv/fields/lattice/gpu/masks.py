"""Masks of leaves, decoded on a GPU, all regions of a batch at once (torch, Triton).

The voxels of all mixed leaves of a batch are listed in coding order before the first of them is
decoded: where a voxel stands follows from the leaves alone. `mask_kernels.py` decodes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.entropy.masks.coding import cells_of, decode_masks, prior, regions_of
from inrv.entropy.masks.kinds import EMPTY, FULL, MIXED
from inrv.errors import FormatError
from inrv.fields.lattice.gpu import mask_kernels as kernels

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

CELLS, LEAF_VOXELS, MASK_BYTES = 4096, 512, 64
FRONTS = 890  # of a region: 7 * 127 + 1
INNER = 50  # fronts of a leaf: 7 * 7 + 1
LEAF_FRONTS = 106  # fronts in which a leaf may begin, all multiples of 8: 7 * 15 + 1
BLOCK, LANES = kernels.BLOCK.value, kernels.LANES.value
ROW, PLANE, WORDS = kernels.ROW.value, kernels.PLANE.value, kernels.WORDS.value
MOST_LOG_LANES, RATES, FIRST_SHIFT = 5, 3, 7
FEWEST_REGIONS = 4  # chosen, not measured: below, a core has done them before a GPU has begun
# A batch takes about 32 bytes of the device for each voxel of mixed leaves, and 1.5 MB a region.
BATCH_VOXELS, BATCH_REGIONS = 1 << 25, 1 << 10


@dataclass(frozen=True, eq=False)
class CodedRegion:
    """Leaves of a region, and what is known of their masks.

    cells: uint16 (L,) ascending, x << 8 | y << 4 | z of each leaf's place in the region
    kinds: uint8 (L,) of the masks
    data: of `encode_masks`
    predicted: uint8 (L, 64) the masks that these are predicted from, None where there are none
    """

    cells: NDArray[np.uint16]
    kinds: NDArray[np.uint8]
    data: bytes
    predicted: Tensor | None = None

    def __post_init__(self) -> None:
        cells, shape = self.cells.astype(np.int64), self.cells.shape
        if len(shape) != 1 or (np.diff(cells) <= 0).any() or (cells >= CELLS).any():
            raise ValueError("masks: the cells of a region do not ascend, or are out of its range")
        if self.kinds.shape != shape or (self.kinds > EMPTY).any():
            raise ValueError(f"masks: kinds {self.kinds.shape} are out of their range")
        mask = self.predicted
        if mask is not None and (mask.shape != (*shape, MASK_BYTES) or mask.dtype != torch.uint8):
            raise ValueError(f"masks: masks {mask.dtype} {tuple(mask.shape)} to predict from")


def decode_regions(regions: Sequence[CodedRegion], device: torch.device) -> list[Tensor]:
    """Return the masks uint8 (L, 64) of the leaves of each region, on the device.

    Raises FormatError (S11) where the bytes of a region do not fit its leaves.
    """
    found: list[Tensor] = [torch.empty(0, dtype=torch.uint8)] * len(regions)
    for numbers in _batches(regions):
        masks = _decode([regions[number] for number in numbers], device)
        counts = [len(regions[number].cells) for number in numbers]
        for number, own in zip(numbers, masks.split(counts), strict=True):
            found[number] = own
    return found


def decode_masks_on(
    device: torch.device,
    origins: Ints,
    kinds: NDArray[np.uint8],
    parts: Sequence[bytes],
    reference: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Do what `decode_masks` does, on a device; a few regions are decoded by the core.

    device: of torch
    others: as `decode_masks` takes them

    Raises FormatError (S11).
    """
    if len(parts) < FEWEST_REGIONS:
        return decode_masks(origins, kinds, parts, reference)
    regions = []
    for leaves, data in zip(regions_of(origins), parts, strict=True):
        predicted = None if reference is None else torch.from_numpy(reference[leaves])
        regions.append(CodedRegion(cells_of(origins[leaves]), kinds[leaves], data, predicted))
    return torch.cat(decode_regions(regions, device)).cpu().numpy()


def _batches(regions: Sequence[CodedRegion]) -> Iterator[list[int]]:
    """Numbers of regions that are decoded together: all with masks to predict from, or none."""
    for predicted in (False, True):
        batch, voxels = list[int](), 0
        for number, region in enumerate(regions):
            if (region.predicted is not None) != predicted:
                continue
            own = LEAF_VOXELS * int(np.count_nonzero(region.kinds == MIXED))
            if batch and (len(batch) == BATCH_REGIONS or voxels + own > BATCH_VOXELS):
                yield batch
                batch, voxels = [], 0
            batch.append(number)
            voxels += own
        if batch:
            yield batch


def _decode(regions: Sequence[CodedRegion], device: torch.device) -> Tensor:
    """The masks uint8 (L, 64) of all leaves of a batch."""
    coded = _read_bytes(regions)
    order = _order(regions)
    coded.about[:, kernels.BLOCKS.value] = order.blocks[:-1]
    coded.about[:, kernels.BLOCKS_END.value] = order.blocks[1:]
    arrays = coded.about, coded.states, coded.stream, order.begins
    about, states, stream, begins = (torch.from_numpy(array).to(device) for array in arrays)
    places = _places(order, device)
    at = _word_bytes(regions, device)
    kinds = torch.from_numpy(np.concatenate([region.kinds for region in regions])).to(device)
    full = (kinds == FULL).to(torch.uint8) * 255
    words = _words(len(regions), at, full[:, None].expand(-1, MASK_BYTES))
    predicted = words
    masks = [region.predicted for region in regions if region.predicted is not None]
    if masks:
        predicted = _words(len(regions), at, torch.cat([mask.to(device) for mask in masks]))
    logits = torch.from_numpy(prior()).to(device).to(torch.int32).mul(256).repeat(len(regions), 1)
    faults = torch.empty(len(regions), dtype=torch.int32, device=device)
    kernels.read_masks[(len(regions),)](
        words, predicted, places, begins, about, states, stream, logits, _squash(device), faults,
        bool(masks), num_warps=1,
    )  # fmt: skip
    if bool(faults.any()):
        raise _damage()
    return words.view(-1).view(torch.uint8)[at[0]]


# ---- Bytes ----


@dataclass(frozen=True, eq=False)
class _Coded:
    """The bytes of a batch, as `kernels.read_masks` takes them; blocks are yet missing."""

    about: Ints
    states: Ints
    stream: NDArray[np.int16]


def _read_bytes(regions: Sequence[CodedRegion]) -> _Coded:
    about = np.zeros((len(regions), kernels.ABOUT.value), dtype=np.int32)
    # A region without a mixed leaf ends as it begins.
    states = np.full((len(regions), LANES), 1 << 16, dtype=np.uint32)
    streams, begin = [np.zeros(0, dtype="<i2")], 0
    for row, own, region in zip(about, states, regions, strict=True):
        data, lanes, rate = region.data, 0, 0
        if (region.kinds == MIXED).any():
            lanes, rate = _head(data)
            size = 4 << lanes
            own[: 1 << lanes] = np.frombuffer(data, "<u4", 1 << lanes, 1)
            if (own >> 16 == 0).any():
                raise _damage()
            streams.append(np.frombuffer(data, "<i2", offset=1 + size))
        elif data:
            raise _damage()
        else:
            streams.append(streams[0])
        row[kernels.LOG_LANES.value] = lanes
        row[kernels.SHIFT.value] = FIRST_SHIFT - rate
        row[kernels.STREAM.value] = begin
        begin += len(streams[-1])
        row[kernels.STREAM_END.value] = begin
    stream = np.concatenate([*streams, np.zeros(1, "<i2")])
    return _Coded(about, states.view(np.int32), stream.astype(np.int16))


def _head(data: bytes) -> tuple[int, int]:
    """log2 of the number of lanes, and the rate."""
    first = data[0] if data else 255
    lanes, rate = first & 7, first >> 3
    if lanes > MOST_LOG_LANES or rate >= RATES or len(data) < 1 + (4 << lanes) or not len(data) % 2:
        raise _damage()
    return lanes, rate


def _damage() -> FormatError:
    return FormatError("S11", "coded masks are damaged, or not those of their leaves")


# ---- Order ----


@dataclass(frozen=True, eq=False)
class _Order:
    """Where the voxels of a batch stand in coding order, region after region.

    leaves: int64 (M,) words of the first voxels of all mixed leaves, in the memory of the batch's
        first region, times 16
    starts: int64 (G, INNER) where voxels stand by front in their leaf, if they are those of the
        first one of a group: leaves of a region that begin in one front
    groups: int64 (M,) of the leaves
    ranks: int64 (M,) of the leaves in their groups
    begins: int32 (blocks + 2,) as `kernels.read_masks` takes it
    blocks: int32 (regions + 1,) number of the first block of each region, and of all blocks
    """

    leaves: Longs
    starts: Longs
    groups: Longs
    ranks: Longs
    begins: Ints
    blocks: Ints


def _order(regions: Sequence[CodedRegion]) -> _Order:
    mixed = [region.cells[region.kinds == MIXED].astype(np.int64) for region in regions]
    cells = np.concatenate(mixed)
    numbers = np.repeat(np.arange(len(regions)), [len(own) for own in mixed])
    x, y, z = cells >> 8, cells >> 4 & 15, cells & 15
    keys, groups = np.unique(numbers * LEAF_FRONTS + 4 * x + 2 * y + z, return_inverse=True)
    by_group = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=len(keys))
    ranks = np.empty_like(groups)
    ranks[by_group] = np.arange(len(cells)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    leaves = np.zeros((len(regions), LEAF_FRONTS), dtype=np.int64)
    leaves.flat[keys] = sizes
    # `before` counts, for a leaf that begins in a front, the voxels of leaves from earlier fronts.
    in_front = np.bincount(_inner_fronts(), minlength=INNER)
    counts = np.zeros((len(regions), FRONTS), dtype=np.int64)
    before = np.zeros((len(regions), LEAF_FRONTS, INNER), dtype=np.int64)
    for front in range(LEAF_FRONTS):
        own = counts[:, 8 * front : 8 * front + INNER]
        before[:, front] = own
        own += leaves[:, front, None] * in_front
    ends = np.cumsum(counts).reshape(counts.shape)
    starts = ends - counts
    reached = 8 * np.arange(LEAF_FRONTS)[:, None] + np.arange(INNER)
    before += starts[:, reached]
    blocks = -(-counts // BLOCK)
    passed = np.cumsum(blocks).reshape(blocks.shape)
    total = int(passed[-1, -1])
    number = np.arange(total) - np.repeat((passed - blocks).reshape(-1), blocks.reshape(-1))
    begins = np.repeat(starts.reshape(-1), blocks.reshape(-1)) + BLOCK * number
    begins = np.append(begins, [ends[-1, -1]] * 2)
    return _Order(
        leaves=(8 * x * PLANE + (z >> 1) * ROW + 8 * y) << 4 | (z & 1) << 3,
        starts=before.reshape(-1, INNER)[keys],
        groups=groups,
        ranks=ranks,
        begins=begins.astype(np.int32),
        blocks=np.append(0, passed[:, -1]).astype(np.int32),
    )


def _inner_fronts() -> Longs:
    """The front of each voxel of a leaf that begins in front 0."""
    bit = np.arange(LEAF_VOXELS)
    fronts: Longs = 4 * (bit >> 6) + 2 * (bit >> 3 & 7) + (bit & 7)
    return fronts


def _places(order: _Order, device: torch.device) -> Tensor:
    """As `kernels.read_masks` takes them."""
    bit, inner = np.arange(LEAF_VOXELS), _inner_fronts()
    sizes = np.bincount(inner, minlength=INNER)
    sorted_bits = np.argsort(inner, kind="stable")
    within = np.empty_like(bit)
    within[sorted_bits] = bit - np.repeat(np.cumsum(sizes) - sizes, sizes)
    own = ((bit >> 6) * PLANE + (bit >> 3 & 7)) << 4 | (bit & 7)
    arrays = order.leaves, order.starts, order.groups, order.ranks, inner, sizes[inner], within, own
    leaves, starts, groups, ranks, fronts, size, place, voxel = (
        torch.from_numpy(array).to(device) for array in arrays
    )
    at = starts[groups][:, fronts] + ranks[:, None] * size + place
    found = torch.zeros(len(leaves) * LEAF_VOXELS + BLOCK, dtype=torch.int32, device=device)
    found[at] = (leaves[:, None] + voxel).to(torch.int32)
    return found


# ---- Words ----


def _word_bytes(regions: Sequence[CodedRegion], device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the bytes of masks lie among those of words: int64 (L, 64) each, as there are two.

    The first is the one among the inner 16 voxels of its word.
    """
    counts = [len(region.cells) for region in regions]
    cells = torch.from_numpy(np.concatenate([region.cells for region in regions]).astype(np.int64))
    numbers = torch.from_numpy(np.repeat(np.arange(len(regions)), counts))
    cells, numbers = cells.to(device), numbers.to(device)
    x, y, z = cells >> 8, cells >> 4 & 15, cells & 15
    first = numbers * WORDS + kernels.FIRST.value + 8 * x * PLANE + (z >> 1) * ROW + 8 * y
    byte = torch.arange(MASK_BYTES, device=device)
    within = (byte >> 3) * PLANE + (byte & 7)
    inner = 4 * (first[:, None] + within) + (1 + (z & 1))[:, None]
    # The other one is the highest byte of the word before, or the lowest of the word behind.
    odd = (z & 1)[:, None]
    return inner, inner + torch.where(odd > 0, 4 * ROW - 2, 2 - 4 * ROW)


def _words(count: int, at: tuple[Tensor, Tensor], masks: Tensor) -> Tensor:
    """The words int32 (regions, WORDS) in which the leaves of a batch have these masks."""
    words = torch.zeros((count, WORDS), dtype=torch.int32, device=masks.device)
    for place in at:
        words.view(-1).view(torch.uint8)[place] = masks
    return words


@cache
def _squash(device: torch.device) -> Tensor:
    """SQUASH"""
    edge = kernels.EDGE.value
    chances = 32768 / (1 + np.exp(-(np.arange(-edge, edge) + 0.5) / 64))
    return torch.from_numpy(np.clip(np.rint(chances), 1, 32767).astype(np.int32)).to(device)
