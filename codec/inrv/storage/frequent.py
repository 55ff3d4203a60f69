"""Values that many voxels have, bit for bit, as FREQ chunks, and back: each value once, and a coded mask of its voxels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container.tensors import Arrays, bytes_of_words, take, take_words
from inrv.entropy.masks import KINDS, decode_masks, encode_masks, kinds_of
from inrv.errors import FormatError
from inrv.grids import FrequentValues, Topology
from inrv.grids.topology import LEAF_VOXELS, PART_LEAVES, pack_masks, unpack_masks

MOST_VALUES = 1 << 8


def frequent_arrays(frequent: FrequentValues, topology: Topology) -> Arrays:
    """Tensors of a FREQ chunk. Empty where no value is frequent.

    Masks are coded one after the other, each predicted from the voxels that are still open. Where the values account for all
    active voxels, the last one has no mask: it is what the others leave.
    """
    if not len(frequent.values):
        return {}
    origins, left = topology.leaf_origins.numpy(), topology.leaf_masks.numpy().copy()
    whole = len(frequent.places) == topology.leaf_voxel_count
    kinds, words = [], []
    for number in range(len(frequent.values) - whole):
        mask = masks_of(frequent.places[frequent.which == number], topology)
        kinds.append(kinds_of(mask))
        words.append(encode_masks(origins, mask, left))
        left &= ~mask
    return {
        "values": frequent.values.numpy(),
        "kinds": np.stack(kinds) if kinds else np.zeros((0, len(origins)), dtype=np.uint8),
        "word_counts": np.array([len(part) for part in words], dtype=np.int32),
        "coded_masks": bytes_of_words(np.concatenate([np.zeros(0, dtype=np.uint32), *words])),
    }


def restore_frequent(arrays: Arrays, topology: Topology, components: int) -> FrequentValues:
    """The values of a FREQ chunk's tensors. Raises FormatError."""
    values = take(arrays, "values", np.float32, (None, components))
    kinds = take(arrays, "kinds", np.uint8, (None, topology.leaf_count))
    counts = take(arrays, "word_counts", np.int32, (len(kinds),))
    if not 1 <= len(values) <= MOST_VALUES or len(values) - len(kinds) not in (0, 1):
        raise FormatError(
            "S14",
            f"the frequent values are {len(values):,}, with {len(kinds):,} masks: they must be 1 to {MOST_VALUES}, and all "
            "but the last must have one",
        )
    if (kinds > max(KINDS)).any():
        raise FormatError("S14", f"kinds of frequent values hold one that is not of {KINDS}")
    numbers = torch.full((topology.leaf_count, LEAF_VOXELS), -1, dtype=torch.int16, device="cpu")
    masks = _decode(kinds, counts, take_words(arrays, "coded_masks"), topology)
    for number, mask in zip(range(len(values)), masks, strict=False):
        held = mask.any(dim=1).nonzero()[:, 0]
        for leaves in held.split(PART_LEAVES):
            numbers[leaves] = torch.where(unpack_masks(mask[leaves]), number, numbers[leaves])
    numbers = numbers.reshape(-1)
    places = (numbers >= 0).nonzero()[:, 0]
    return FrequentValues(places, numbers[places], torch.from_numpy(values.copy()))


def _decode(
    kinds: NDArray[np.uint8], counts: NDArray[np.int32], words: NDArray[np.uint32], topology: Topology
) -> Iterator[Tensor]:
    """Each mask uint8 (L, 64), and that of all voxels that are left: one at a time, they may be many."""
    if (counts < 0).any() or counts.sum(dtype=np.int64) != len(words):
        raise FormatError(
            "S14", f"frequent values have {len(words):,} words, their word_counts say {counts.sum(dtype=np.int64):,}"
        )
    origins, left, first = topology.leaf_origins.numpy(), topology.leaf_masks.numpy().copy(), 0
    for own, count in zip(kinds, counts.tolist(), strict=True):
        mask = decode_masks(origins, own, words[first : first + count], left)
        if (mask & ~left).any():
            raise FormatError("S14", "a frequent value's mask marks a voxel that is not active, or has another frequent value")
        yield torch.from_numpy(mask)
        left &= ~mask
        first += count
    yield torch.from_numpy(left)


def masks_of(places: Tensor, topology: Topology) -> NDArray[np.uint8]:
    """Packed masks uint8 (L, 64) of voxels at `places` int64 (n,), leaf index * 512 + offset."""
    masks = torch.zeros(topology.leaf_count * LEAF_VOXELS, dtype=torch.bool)
    masks[places] = True
    packed: NDArray[np.uint8] = pack_masks(masks.reshape(-1, LEAF_VOXELS)).numpy()
    return packed
