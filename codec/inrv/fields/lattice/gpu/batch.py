"""A batch of regions in the memory of a GPU, and the passes that decode them.

All regions of a batch take each pass together; within a pass nothing comes back to the host. How a
network's inputs are placed, and where a pass's neighbours lie, is the same for every batch: both
are made here, once a device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.core.lattice import KnownRegion, Leaves, RegionCodes
from inrv.fields.lattice.codec import ChannelParameters
from inrv.fields.lattice.gpu import kernels
from inrv.fields.lattice.gpu.graphs import GRAPHED_REGIONS, GRAPHS
from inrv.fields.lattice.model import Model
from inrv.fields.lattice.network import IntegerNetwork

LEVELS = 7
EDGE, CELL_EDGE, CELL_VOXELS = 128, 8, 512
VOXELS = EDGE**3
PASSES = kernels.PASSES.value
MISSING = kernels.MISSING.value
TOKENS = kernels.TOKENS.value
COUNTS_SHAPE = 2, kernels.TABLES.value, kernels.TOKEN_ROOM.value
# What a region takes on the device, about: its values twice, those of its reference, places, and
# what these are made of.
REGION_BYTES = 64 << 20
BLOCK, PARTS = 64, 256  # voxels of a program at a time; programs of a region in a pass, at most
INTERPRETED_BLOCK = 512  # where Triton interprets, a program costs more than its voxels

# Pairs of neighbours by number of odd axes, along the (first, second, third) axis: the near ones,
# the far ones, the others. The last four of one and two odd axes lead to the parities that come
# before, two for each.
FACES = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
EDGES = [(0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0)]
CORNERS = [(1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1)]
SIBLINGS = [(1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1)]
BESIDE = [(1, a, b) for a, b in ((2, 0), (-2, 0), (0, 2), (0, -2))]
BESIDE += [(1, a, b) for a in (2, -2) for b in (2, -2)]
PAIRS = {
    1: [(1, 0, 0), (3, 0, 0), *BESIDE, *SIBLINGS],
    2: [
        (0, 1, 0), (0, 0, 1), (0, 3, 0), (0, 0, 3), (0, 1, 1), (0, 1, -1), *CORNERS,
        (2, 1, 0), (2, -1, 0), (2, 0, 1), (2, 0, -1), *SIBLINGS,
    ],
    3: [*FACES, (3, 0, 0), (0, 3, 0), (0, 0, 3), *EDGES, *CORNERS],
}  # fmt: skip


@dataclass(frozen=True)
class Parity:
    """The voxels of a level that are odd along the same axes.

    odd_axes: whether x, y and z are odd
    axes: which axes come first, second and third
    turn: how many parities with as many odd axes come before
    """

    odd_axes: tuple[int, int, int]
    axes: tuple[int, int, int]
    turn: int

    @property
    def odd(self) -> int:
        """How many axes are odd."""
        return sum(self.odd_axes)

    @property
    def pairs(self) -> int:
        """How many pairs of neighbours its voxels have."""
        pairs = len(PAIRS[self.odd])
        return pairs if self.odd == 3 else pairs - 4 + 2 * self.turn

    def turned(self, displacements: Sequence[tuple[int, ...]], room: int) -> NDArray[np.int32]:
        """Displacements along its axes as those along x, y and z: int32 (room, 3)."""
        found = np.zeros((room, 3), dtype=np.int32)
        found[: len(displacements), list(self.axes)] = displacements
        return found


PARITIES = (
    Parity((1, 0, 0), (0, 1, 2), 0),
    Parity((0, 1, 0), (1, 0, 2), 1),
    Parity((0, 0, 1), (2, 0, 1), 2),
    Parity((0, 1, 1), (0, 1, 2), 0),
    Parity((1, 0, 1), (1, 0, 2), 1),
    Parity((1, 1, 0), (2, 0, 1), 2),
    Parity((1, 1, 1), (0, 1, 2), 0),
)
# Where a token leads from each state of a chain: an even one, and an odd one.
TURNS = (0, 2, 5, 7, 1, 3, 6, 4, 2, 0, 4, 6, 3, 1, 7, 5)


@dataclass(frozen=True, eq=False)
class Item:
    """A region that is to be decoded.

    channel: what is known of its channel
    model: the networks of the channel
    region: what is known of it before its codes, but for the reference channel
    codes: these
    reference_top: largest value of the reference channel; 0 where there is none
    reference: leaves of that one's grid, and int32 (n,) the units of all their voxels, on the
        device; None where there is none
    """

    channel: ChannelParameters
    model: Model
    region: KnownRegion
    codes: RegionCodes
    reference_top: int
    reference: tuple[Leaves, Tensor] | None


@dataclass(frozen=True, eq=False)
class Constants:
    """What all batches on a device share.

    traversal: int32 (VOXELS,) places of all voxels in the order of passes
    ways, faces: of each parity, as `kernels.predict` takes them
    around: as `kernels.restore` takes it
    within: int32 (512,) places of a leaf's voxels from its first one's
    turns: as `kernels.read_codes` takes it
    """

    traversal: Tensor
    ways: Tensor
    faces: Tensor
    around: Tensor
    within: Tensor
    turns: Tensor


@cache
def _constants(device: torch.device) -> Constants:
    ways = [own.turned(PAIRS[own.odd], kernels.PAIRS.value) for own in PARITIES]
    negative = [tuple(-number for number in face) for face in FACES]
    faces = [own.turned([*FACES, *negative], 16) for own in PARITIES]
    around = np.zeros((16, 3), dtype=np.int32)
    around[: len(FACES + EDGES + CORNERS)] = FACES + EDGES + CORNERS
    turns = np.zeros(kernels.LANES.value, dtype=np.int32)
    turns[: len(TURNS)] = TURNS
    bit = np.arange(CELL_VOXELS)
    within = _places(bit >> 6, bit >> 3 & 7, bit & 7)
    arrays = _traversal(), np.stack(ways), np.stack(faces), around, within, turns
    return Constants(*(torch.from_numpy(array).to(device) for array in arrays))


def _places(x: NDArray[np.int64], y: NDArray[np.int64], z: NDArray[np.int64]) -> NDArray[np.int32]:
    return (x << 14 | y << 7 | z).astype(np.int32)


def _traversal() -> NDArray[np.int32]:
    """Places of all voxels of a region, pass after pass."""
    parts = [np.zeros(1, dtype=np.int32)]
    for level in range(LEVELS - 1, -1, -1):
        for parity in PARITIES:
            axes = [np.arange(odd << level, EDGE, 2 << level) for odd in parity.odd_axes]
            x, y, z = np.meshgrid(*axes, indexing="ij")
            parts.append(_places(x, y, z).reshape(-1))
    return np.concatenate(parts)


def _begins() -> NDArray[np.int64]:
    """Where each pass begins among the places of `_traversal`, and where the last one ends."""
    sizes = [1, *((EDGE >> level + 1) ** 3 for level in range(6, -1, -1) for _ in PARITIES)]
    return np.concatenate([[0], np.cumsum(sizes)])


# ---- Networks ----


def _packed(network: IntegerNetwork, rows: NDArray[np.int64], twice: bool) -> tuple[Tensor, Tensor]:
    """The weights float16 (WEIGHTS,) and biases int32 (BIASES,) of a network.

    rows: for each input the row of the first layer that it has on the GPU
    twice: whether inputs stand for 16ths: what they are multiplied by counts twice
    """
    own = network.tensors
    width, outputs = kernels.WIDTH.value, kernels.OUTPUT_ROOM.value

    def placed(
        name: str, shape: tuple[int, int], at: NDArray[np.int64] | slice
    ) -> NDArray[np.float32]:
        found, tensor = np.zeros(shape, dtype=np.float32), own[name]
        found[at, : tensor.shape[1]] = tensor
        return found

    first = placed("first.weight", (kernels.INPUT_ROOM.value, width), rows)
    skip = placed("skip.weight", (kernels.INPUT_ROOM.value, outputs), rows)
    if twice:
        first, skip = 2 * first, 2 * skip
    second = placed("second.weight", (width, width), slice(len(own["second.weight"])))
    last = placed("last.weight", (width, outputs), slice(len(own["last.weight"])))
    biases = np.zeros(kernels.BIASES.value, dtype=np.int32)
    for name, begin in (("first.bias", 0), ("second.bias", width), ("last.bias", 2 * width)):
        biases[begin : begin + len(own[name])] = own[name]
    weights = np.concatenate([part.reshape(-1) for part in (first, skip, second, last)])
    return torch.from_numpy(weights.astype(np.float16)), torch.from_numpy(biases)


def _prediction_rows(odd: int, reference: bool) -> NDArray[np.int64]:
    """The rows of a prediction network's inputs, in the order of the format."""
    slots = np.arange(len(PAIRS[odd]))
    sums, differences = kernels.OF_SUMS.value + slots, kernels.OF_DIFFERENCES.value + slots
    faces = kernels.OF_FACES.value + np.arange(6)
    numbers = kernels.OF_NUMBERS.value + np.arange(9)
    # See `kernels.predict`, which has these 13 in another order.
    order = np.array([3, 0, 1, 2, 4, 5, 6, 7, 11, 8, 9, 10, 12])[: 13 if reference else 0]
    return np.concatenate([sums, differences, faces, numbers, kernels.OF_REFERENCE.value + order])


def _filter_rows() -> NDArray[np.int64]:
    """The same of a restoration filter's inputs."""
    pairs, numbers = np.arange(13), np.arange(11)
    parts = (kernels.OF_SUMS.value, pairs), (kernels.OF_DIFFERENCES.value, pairs)
    return np.concatenate(
        [begin + own for begin, own in (*parts, (kernels.OF_NUMBERS.value, numbers))]
    )


# ---- Batches ----


class Batch:
    """Regions that are decoded together; all of them have a reference channel, or none has.

    items: the regions
    level: only voxels at multiples of 2^level are decoded
    device: where
    count: of the regions
    """

    def __init__(self, items: Sequence[Item], level: int, device: torch.device) -> None:
        self.items, self.level, self.device = items, level, device
        self.count = len(items)
        self.shared = _constants(device)
        self.referring = items[0].reference_top > 0
        models = list({id(item.model): item.model for item in items}.values())
        numbers = {id(model): number for number, model in enumerate(models)}
        self.networks = self._networks(
            [
                _packed(model.networks[odd], _prediction_rows(odd, model.reference), True)
                for model in models
                for odd in PAIRS
            ]
        )
        self.restores = level == 0 and any(model.restoration is not None for model in models)
        if self.restores:
            nothing = torch.zeros(kernels.WEIGHTS.value, dtype=torch.float16)
            no_biases = torch.zeros(kernels.BIASES.value, dtype=torch.int32)
            self.filters = self._networks(
                [
                    (nothing, no_biases)
                    if model.restoration is None
                    else _packed(model.restoration, _filter_rows(), False)
                    for model in models
                ]
            )
        self._take_codes(numbers)
        self._take_voxels()
        self._begin_coder(models[0].prior)

    def _networks(self, packed: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        weights, biases = zip(*packed, strict=True)
        return torch.stack(weights).to(self.device), torch.stack(biases).to(self.device)

    def _take_codes(self, numbers: dict[int, int]) -> None:
        """Put the bytes of all segments and what is known before them on the device."""
        about = np.zeros((len(self.items), kernels.ABOUT.value), dtype=np.int32)
        begin, segments = 0, []
        for row, item in zip(about, self.items, strict=True):
            channel, region, codes = item.channel, item.region, item.codes
            row[: len(channel.steps)] = channel.steps
            row[kernels.TOP.value], row[kernels.BACKGROUND.value] = channel.top, channel.background
            row[kernels.MEAN.value] = region.mean * channel.top // 255
            row[kernels.SPREAD.value] = 1 << region.spread
            row[kernels.LOSSLESS.value] = channel.lossless
            row[kernels.TRELLIS.value] = channel.trellis
            row[kernels.LOG_LANES.value] = codes.lanes
            row[kernels.SEGMENTS.value] = 4 if codes.cut else 1
            row[kernels.NETWORK.value] = numbers[id(item.model)]
            for number, segment in enumerate(codes.segments):
                row[kernels.SEGMENT_BEGINS.value + number] = begin
                row[kernels.SEGMENT_SIZES.value + number] = len(segment)
                begin += len(segment)
                segments.append(segment)
        self.about = torch.from_numpy(about).to(self.device)
        # Few sizes, so that batches come to be alike: see `PassGraphs`.
        room = 1 << 2 * math.ceil(math.log2(max(1, begin)) / 2)
        joined = np.frombuffer(b"".join(segments).ljust(room, b"\0"), dtype=np.uint8)
        self.bits = torch.from_numpy(joined.copy()).to(self.device)
        self._first = torch.from_numpy(_corner_predictions(about)).to(self.device)

    def _take_voxels(self) -> None:
        """Lay all regions out: which voxels are active, what is known, what is to be decoded."""
        count, device = self.count, self.device
        self.active = torch.zeros((count, VOXELS), dtype=torch.int8, device=device)
        leaves = [item.region.leaves for item in self.items]
        self.leaf_places, self.leaf_masks = leaf_places(leaves, self.device)
        self.active.view(-1)[self.leaf_places] = self.leaf_masks.to(torch.int8)
        around, exterior, values = list[int](), list[Leaves](), [np.zeros(0, dtype=np.int32)]
        for item in self.items:
            known, top = item.region.exterior, item.channel.top
            around.append(MISSING if known is None else int(limited(known.around, top)))
            exterior.append(NO_LEAVES if known is None else known.leaves)
            if known is not None:
                values.append(limited(known.values, top))
        begun = torch.tensor(around, dtype=torch.int32, device=device)
        self.values = begun[:, None].repeat(1, VOXELS)
        self._put(self.values, exterior, torch.from_numpy(np.concatenate(values)).to(device))
        self.values.masked_fill_(self.active != 0, MISSING)
        self.reference = self.values
        if self.referring:
            self.reference = torch.full_like(self.values, MISSING)
            held = [(item.reference, item.reference_top) for item in self.items]
            there = [(*own, top) for own, top in held if own is not None]
            assert len(there) == len(held)
            within = [own.clamp(-(top >> 1), top + (top >> 1)) for _, own, top in there]
            self._put(self.reference, [leaves for leaves, _, _ in there], torch.cat(within))
        self.room = (EDGE >> self.level) ** 3
        passes = 1 + 7 * (LEVELS - self.level)
        traversal = self.shared.traversal[: self.room]
        wanted = self.active[:, traversal]
        ranks = wanted.cumsum(1, dtype=torch.int32)
        self.places = torch.zeros((count, self.room + 1), dtype=torch.int32, device=device)
        # What is not wanted goes to a place behind all others.
        slots = torch.where(wanted != 0, ranks - 1, self.room).long()
        self.places.scatter_(1, slots, traversal.expand(count, -1))
        ends = torch.from_numpy(_begins()[1 : passes + 1] - 1).to(device)
        self.starts = torch.zeros((count, PASSES + 1), dtype=torch.int32, device=device)
        self.starts[:, 1 : passes + 1] = ranks[:, ends]
        self.starts[:, passes + 1 :] = ranks[:, -1:]

    def _begin_coder(self, prior: NDArray[np.int64]) -> None:
        count, device = self.count, self.device
        begun = np.zeros(COUNTS_SHAPE, dtype=np.int32)
        begun[..., :TOKENS] = prior
        self.counts = torch.from_numpy(begun).to(device).expand(count, *COUNTS_SHAPE).contiguous()
        self.tables = torch.empty_like(self.counts)
        lanes = kernels.LANES.value
        self.states = torch.zeros((count, lanes), dtype=torch.int32, device=device)
        self.chains = torch.zeros_like(self.states)
        self.cursor = torch.zeros((count, kernels.CURSOR.value), dtype=torch.int32, device=device)
        self.predictions = torch.empty(
            (count, kernels.IN_PASS.value), dtype=torch.int32, device=device
        )
        self.predictions[:, 0] = self._first

    def _put(self, arrays: Tensor, leaves: Sequence[Leaves], values: Tensor) -> None:
        """Put the values int32 (n,) of leaves' voxels into the arrays (regions, VOXELS)."""
        places, masks = leaf_places(leaves, self.device)
        arrays.view(-1)[places[masks]] = values

    def decode(self) -> Tensor:
        """The values int32 (n,), in units, of all regions' voxels at multiples of 2^level.

        They come region by region, in the order of leaves and of their bits. Codes that are damaged
        give any values: `faults` tells where they were.
        """
        if self.is_graphed:
            GRAPHS.run(self)
        else:
            self.take_passes()
        final = self._restored() if self.restores else self.values
        wanted = self.leaf_masks
        if self.level:
            wanted = wanted & (self.leaf_places % VOXELS & self._fine_bits == 0)
        return final.view(-1)[self.leaf_places[wanted]]

    @property
    def is_graphed(self) -> bool:
        """Whether its passes are launched as one graph."""
        return self.device.type == "cuda" and self.count <= GRAPHED_REGIONS

    def take_passes(self) -> None:
        """Decode `values`; nothing is waited for, and no memory taken."""
        number = 0
        self._pass(number, LEVELS - 1, None)
        for level in range(LEVELS - 1, self.level - 1, -1):
            for parity in range(len(PARITIES)):
                number += 1
                self._pass(number, level, parity)

    @property
    def _fine_bits(self) -> int:
        """Bits of a place that are 0 where all coordinates are multiples of 2^level."""
        fine = (1 << self.level) - 1
        return fine << 14 | fine << 7 | fine

    def _pass(self, number: int, level: int, parity: int | None) -> None:
        """A pass: the corner voxel, where there is no parity."""
        regions, shared = self.count, self.shared
        if parity is not None:
            own = PARITIES[parity]
            block, parts = self._shares((EDGE >> level + 1) ** 3)
            kernels.predict[(regions, parts)](
                self.values, self.active, self.reference, self.places, self.starts, self.about,
                shared.ways[parity], shared.faces[parity], *self.networks, self.predictions,
                number, level, own.pairs, self.room + 1, own.odd, self.referring, block,
            )  # fmt: skip
        rows = 16
        kernels.make_tables[(regions * COUNTS_SHAPE[0] * COUNTS_SHAPE[1] // rows,)](
            self.counts, self.tables, rows
        )
        # Segments begin at the corner voxel and at the first parities of levels 2, 1 and 0.
        segment = 0 if parity is None else 3 - level if parity == 0 and level < 3 else -1
        kernels.read_codes[(regions,)](
            self.values, self.places, self.starts, self.about, self.predictions, self.tables,
            self.counts, self.bits, self.states, self.chains, self.cursor, shared.turns,
            number, level, segment, self.room + 1, num_warps=1,
        )  # fmt: skip

    def _shares(self, most: int) -> tuple[int, int]:
        """How many of so many voxels a program takes at a time, and how many programs there are."""
        if self.device.type == "cpu":
            return INTERPRETED_BLOCK, 1
        return BLOCK, min(PARTS, -(-most // BLOCK))

    def _restored(self) -> Tensor:
        restored = self.values.clone()
        block, parts = self._shares(VOXELS)
        kernels.restore[(self.count, parts)](
            self.values, self.places, self.starts, self.about, self.shared.around, *self.filters,
            restored, self.room + 1, block,
        )  # fmt: skip
        keeps = [item.model.restoration is None for item in self.items]
        kept = torch.tensor(keeps, dtype=torch.bool, device=self.device)
        return torch.where(kept[:, None], self.values, restored) if any(keeps) else restored

    def faults(self) -> list[int]:
        """The numbers of the items whose codes are damaged, known once all of it is decoded."""
        cursor, about = self.cursor, self.about
        used = cursor[:, kernels.WORD.value] - cursor[:, kernels.BEGIN.value]
        used += (cursor[:, kernels.RAW.value] + 7) >> 3
        fault = cursor[:, kernels.FAULT.value] != 0
        apart = about[:, kernels.SEGMENTS.value] > 1
        unmet = used != cursor[:, kernels.SIZE.value]
        if self.level == 0:
            lanes = torch.arange(kernels.LANES.value, dtype=torch.int32, device=self.device)
            own = lanes < 1 << about[:, kernels.LOG_LANES.value, None]
            fault |= unmet | ((self.states != 1 << 16) & own).any(1)
        elif self.level <= 3:
            fault |= unmet & apart
        found: list[int] = fault.nonzero().flatten().tolist()
        return found


def leaf_places(leaves: Sequence[Leaves], device: torch.device) -> tuple[Tensor, Tensor]:
    """Places int64 (L, 512) of the voxels of regions' leaves in arrays of all, and bool masks."""
    counts = [len(own.cells) for own in leaves]
    region = torch.from_numpy(np.repeat(np.arange(len(leaves)), counts)).to(device)
    cells = torch.from_numpy(np.concatenate([own.cells for own in leaves]).astype(np.int64))
    masks = torch.from_numpy(np.concatenate([own.masks for own in leaves])).to(device)
    cells = cells.to(device)
    corners = cells >> 8 << 17 | (cells >> 4 & 15) << 10 | (cells & 15) << 3
    places = (region * VOXELS + corners)[:, None] + _constants(device).within
    bits = torch.arange(CELL_EDGE, dtype=torch.uint8, device=device)
    return places, (masks[:, :, None] >> bits & 1).view(-1, CELL_VOXELS).bool()


NO_LEAVES = Leaves(np.zeros(0, dtype=np.uint16), np.zeros((0, 64), dtype=np.uint8))


def limited(values: NDArray[np.int32] | int, top: int) -> NDArray[np.int32]:
    """The values within half a range beyond 0 and `top`: LIMIT of the specification."""
    return np.clip(values, -(top >> 1), top + (top >> 1)).astype(np.int32)


def _corner_predictions(about: NDArray[np.int32]) -> NDArray[np.int32]:
    """What the corner voxels of regions are predicted from: see `kernels.predict`."""
    top, mean = about[:, kernels.TOP.value], about[:, kernels.MEAN.value]
    predicted = np.where(about[:, kernels.LOSSLESS.value] > 0, ((mean + 64) >> 7) * 128, mean)
    step = about[:, LEVELS - 1]
    table = np.clip((_log(about[:, kernels.SPREAD.value]) - _log(step) + 320) >> 4, 0, 63)
    found: NDArray[np.int32] = (table << 24 | np.clip(predicted, 0, top)).astype(np.int32)
    return found


def _log(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """LOG of the specification, of numbers of at least 1."""
    exponent = np.frexp(numbers.astype(np.float64))[1] - 1
    return (64 * exponent + ((numbers.astype(np.int64) << 6) >> exponent) - 64).astype(np.int32)
