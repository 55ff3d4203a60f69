"""Topologies as TOPO chunks, and back: a skeleton, and the masks of its leaves.

The masks of a topology may be predicted from those of an earlier one. They are restored region by
region, when they are asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Arrays, Chunk, Container, Part, pack_tensors, take, unpack_tensors
from inrv.container.layout import BITS, TOPOLOGY
from inrv.entropy.masks import KINDS, decode_masks, encode_masks, kinds_of, regions_of
from inrv.errors import FormatError
from inrv.grids import MASK_BYTES, Topology
from inrv.storage.coded_masks import starts_of
from inrv.storage.skeleton import pack_skeleton, unpack_skeleton

MOST_WITHIN = 1 << 14  # bytes of masks that lie in the TOPO chunk itself: they are read at once
MOST_ROOTS = 4  # earlier topologies that one is tried to be predicted from: each try codes it once
MOST_PREDICTED = 64  # topologies, one predicted from the other
FULL_BYTE = 255  # eight active voxels
LONG_CHAIN = f"topology: more than {MOST_PREDICTED} are predicted, one from the other"


def store_topologies(
    topologies: Sequence[Topology], chunks: list[Chunk], alike: Sequence[int | None] = ()
) -> list[int]:
    """Append the chunks of each different topology and return the number of its TOPO chunk.

    A topology is predicted from the earlier one that makes it smallest, where one does.

    alike: for each the place of an earlier one that it may resemble beside the last few, or None
    """
    numbers: list[int] = []
    known_roots: dict[int, Topology] = {}
    predicted: dict[int, int] = {}  # topologies, one from the other
    for place, topology in enumerate(topologies):
        stored = zip(numbers, topologies, strict=False)
        known = (number for number, other in stored if topology.identical(other))
        number = next(known, len(chunks))
        if number == len(chunks):
            roots = dict(list(known_roots.items())[-MOST_ROOTS:])
            if alike and (other := alike[place]) is not None:
                roots[numbers[other]] = topologies[other]
            short = {own: held for own, held in roots.items() if predicted[own] < MOST_PREDICTED}
            root, parts = _smallest(topology, short)
            known_roots[number] = topology
            predicted[number] = 0 if root is None else predicted[root] + 1
            bits = b"".join(parts)
            apart = len(bits) > MOST_WITHIN
            arrays = pack_skeleton(topology) | _pack_masks(parts, number + 1 if apart else None)
            arrays["leaf_kinds"] = kinds_of(topology.leaf_masks)
            arrays["predicted_from"] = np.array([] if root is None else [root], dtype=np.int32)
            chunks.append(Chunk(TOPOLOGY, pack_tensors(arrays)))
            if apart:
                chunks.append(Chunk(BITS, bits))
        numbers.append(number)
    return numbers


def _smallest(topology: Topology, roots: dict[int, Topology]) -> tuple[int | None, list[bytes]]:
    """Return the root, if any, that makes the coded masks smallest, and the bytes of regions.

    roots: by the numbers of their chunks
    """
    origins, masks = topology.leaf_origins, topology.leaf_masks
    best: int | None = None
    parts = encode_masks(origins, masks)
    for number, root in roots.items():
        predicted = encode_masks(origins, masks, _same_leaves(root, origins))
        if sum(map(len, predicted)) < sum(map(len, parts)):
            best, parts = number, predicted
    return best, parts


def _same_leaves(root: Topology, origins: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the masks uint8 (n, 64) that `root` has at the leaves at `origins` int32 (n, 3).

    All bits are set within an active tile of `root`.

    origins: in key order
    """
    leaf = root.find_leaves(origins)
    masks = np.zeros((len(origins), MASK_BYTES), dtype=np.uint8)
    masks[leaf >= 0] = root.masks_at(leaf[leaf >= 0])
    if root.tile_count:
        tile = root.find_tiles(origins)
        masks[(leaf < 0) & (tile >= 0) & root.tile_active[np.maximum(tile, 0)]] = FULL_BYTE
    return masks


def _pack_masks(parts: Sequence[bytes], bits: int | None) -> Arrays:
    """Return the tensors of the leaf masks.

    parts: the bytes of each region
    bits: number of the BITS chunk that holds them; None where they lie in a tensor
    """
    checksums = [] if bits is None else [zlib.crc32(part) for part in parts]
    data = b"".join(parts) if bits is None else b""
    return {
        "mask_lengths": np.array([len(part) for part in parts], dtype=np.int32),
        "mask_checksums": np.array(checksums, dtype=np.uint32).view(np.int32),
        "mask_bytes": np.frombuffer(data, dtype=np.uint8),
        "bits": np.array([] if bits is None else [bits], dtype=np.int32),
    }


@dataclass(eq=False)
class MaskDecoder:
    """How the masks of a file are decoded, which a field may change that has a GPU.

    decode: does what `decode_masks` does
    """

    decode: Callable[..., NDArray[np.uint8]] = decode_masks


@dataclass(frozen=True, eq=False)
class StoredMasks:
    """The leaf masks of a topology, region by region.

    container: the file
    skeleton: the topology without its masks
    kinds: uint8 (L,) of the masks
    regions: which leaves each region holds, in order
    root: the topology from which the masks are predicted, if any
    within: the bytes of all regions; None where they lie in the chunk `bits`
    starts: where the bytes of each region begin, and the end
    bits: number of the BITS chunk
    checksums: of the bytes of each region in it
    decoder: of the file
    """

    container: Container
    skeleton: Topology
    kinds: NDArray[np.uint8]
    regions: list[slice]
    root: StoredTopology | None
    within: bytes | None
    starts: list[int]
    bits: int
    checksums: list[int]
    decoder: MaskDecoder

    def masks_of(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        """Return the masks uint8 (n, 64) of the leaves of some regions; no other is read.

        numbers: of the regions, ascending

        Raises FormatError.
        """
        chosen = [self.regions[number] for number in numbers]
        leaves = np.concatenate([np.arange(0), *(np.arange(own.start, own.stop) for own in chosen)])
        origins, kinds = self.skeleton.leaf_origins[leaves], self.kinds[leaves]
        reference = None if self.root is None else _same_leaves(self.root, origins)
        return self.decoder.decode(origins, kinds, self._bytes_of(numbers), reference)

    def parts_of(self, number: int) -> list[Part]:
        """Return what `masks_of` reads of the file for a region, but for its root."""
        start, end = self.starts[number], self.starts[number + 1]
        if self.within is not None:
            return []
        return [Part(self.bits, start, end - start, self.checksums[number])]

    def _bytes_of(self, numbers: Sequence[int]) -> list[bytes]:
        if self.within is not None:
            return [self.within[slice(*self.starts[number : number + 2])] for number in numbers]
        return self.container.parts([part for own in numbers for part in self.parts_of(own)])


class StoredTopology(Topology):
    """A topology of an open file: masks are decoded when they are asked for, region by region.

    Threads may share it: two that ask for the same region at once both decode it.
    """

    _stored: StoredMasks
    _decoded: dict[int, NDArray[np.uint8]]  # by region

    @staticmethod
    def of(stored: StoredMasks) -> StoredTopology:
        """Make one of which no mask is decoded yet."""
        made, known = object.__new__(StoredTopology), vars(stored.skeleton)
        vars(made).update({name: held for name, held in known.items() if name != "leaf_masks"})
        vars(made).update(_stored=stored, _decoded={})
        return made

    @property
    def predicted(self) -> int:
        """How many topologies its masks are predicted from, one from the other."""
        root = self._stored.root
        return 0 if root is None else root.predicted + 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Topology, tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @cached_property
    def leaf_masks(self) -> NDArray[np.uint8]:
        """The masks uint8 (L, 64) of all leaves. Raises FormatError."""
        masks = self._stored.masks_of(range(len(self._stored.regions)))
        self._decoded.clear()
        return masks

    def masks_at(self, leaves: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `Topology`. Raises FormatError."""
        numbers = self._regions_of(leaves)
        if "leaf_masks" in vars(self) or len(numbers) == len(self._stored.regions):
            return self.leaf_masks[leaves]
        if not numbers:
            return np.zeros((0, MASK_BYTES), dtype=np.uint8)
        held = self._masks_of(numbers)
        firsts = [self._stored.regions[number].start for number in numbers]
        if isinstance(leaves, slice) and len(numbers) == 1:
            return held[0][leaves.start - firsts[0] : leaves.stop - firsts[0]]
        chosen = np.arange(leaves.start, leaves.stop) if isinstance(leaves, slice) else leaves
        ends = np.searchsorted(chosen, [*firsts[1:], self.leaf_count]).tolist()
        parts, start = [], 0
        for masks, first, end in zip(held, firsts, ends, strict=True):
            parts.append(masks[chosen[start:end] - first])
            start = end
        return np.concatenate(parts)

    def unread(self, leaves: slice | NDArray[np.int64]) -> list[Part]:
        """Return what `masks_at` will read of the file."""
        if "leaf_masks" in vars(self):
            return []
        missing = [own for own in self._regions_of(leaves) if own not in self._decoded]
        parts = [part for own in missing for part in self._stored.parts_of(own)]
        if (root := self._stored.root) is not None:
            for own in missing:
                found = root.find_leaves(self.leaf_origins[self._stored.regions[own]])
                parts += unread_masks(root, found[found >= 0])
        return parts

    def _regions_of(self, leaves: slice | NDArray[np.int64]) -> list[int]:
        """Return the numbers of the regions that hold some leaves, ascending."""
        ends = self.region_ends[1:]
        if not isinstance(leaves, slice):
            found: list[int] = np.unique(np.searchsorted(ends, leaves, side="right")).tolist()
            return found
        if leaves.start >= leaves.stop:
            return []
        first, last = np.searchsorted(ends, (leaves.start, leaves.stop - 1), side="right").tolist()
        return list(range(first, last + 1))

    def _masks_of(self, numbers: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the masks of some regions, of which those that are not there are decoded."""
        kept = self._decoded.copy()  # which another thread may clear
        held = {own: kept[own] for own in numbers if own in kept}
        missing = [own for own in numbers if own not in held]
        if missing:
            found, start = self._stored.masks_of(missing), 0
            for own in missing:
                leaves = self._stored.regions[own]
                end = start + leaves.stop - leaves.start
                held[own] = self._decoded[own] = found[start:end]
                start = end
        return [held[own] for own in numbers]


def unread_masks(topology: Topology, leaves: slice | NDArray[np.int64]) -> list[Part]:
    """Return what `Topology.masks_at` will read of a file: nothing where it is of none."""
    return topology.unread(leaves) if isinstance(topology, StoredTopology) else []


class StoredTopologies:
    """The topologies of a file by chunk number.

    Each chunk is restored once, however many grids share it. Raises FormatError.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self.decoder = MaskDecoder()
        self._restored: dict[int, StoredTopology] = {}
        self._blocks = 0
        self._behind = 0  # topologies that wait for one that they are predicted from

    def __getitem__(self, chunk: int) -> StoredTopology:
        if chunk not in self._restored:
            topology = StoredTopology.of(self.masks(chunk))
            self._restored[chunk] = topology
            self._blocks += topology.leaf_count + topology.tile_count
        return self._restored[chunk]

    def masks(self, chunk: int) -> StoredMasks:
        """Return the masks of a topology, not decoded yet, with its skeleton."""
        arrays = unpack_tensors(self._container.chunk(chunk))
        skeleton = unpack_skeleton(arrays, self._container.limits.leaves - self._blocks)
        kinds = take(arrays, "leaf_kinds", np.uint8, (skeleton.leaf_count,))
        if (kinds > max(KINDS)).any():
            message = f"topology: leaf_kinds hold a value that is not one of {KINDS}"
            raise FormatError("S11", message)
        root = self._root(chunk, take(arrays, "predicted_from", np.int32, (None,)))
        regions = regions_of(skeleton.leaf_origins)
        lengths = take(arrays, "mask_lengths", np.int32, (len(regions),))
        within = take(arrays, "mask_bytes", np.uint8, (None,))
        bits = take(arrays, "bits", np.int32, (None,))
        checksums = take(arrays, "mask_checksums", np.int32, (len(regions) if len(bits) else 0,))
        size = self._bits_size(bits) if len(bits) else len(within)
        return StoredMasks(
            container=self._container,
            skeleton=skeleton,
            kinds=kinds,
            regions=regions,
            root=root,
            within=None if len(bits) else within.tobytes(),
            starts=starts_of(lengths, size),
            bits=int(bits[0]) if len(bits) else 0,
            checksums=checksums.view(np.uint32).tolist(),
            decoder=self.decoder,
        )

    def _bits_size(self, bits: NDArray[np.int32]) -> int:
        """Return the bytes of the BITS chunk with the masks. Raises FormatError."""
        number, entries = int(bits[0]), self._container.entries
        if len(bits) > 1 or not 0 <= number < len(entries) or entries[number].type != BITS:
            found = f"bits holds {bits[:4].tolist()}"
            raise FormatError("S11", f"topology: {found}, not the number of a {BITS} chunk")
        return entries[number].raw

    def _root(self, chunk: int, predicted_from: NDArray[np.int32]) -> StoredTopology | None:
        """Return the topology that this one is predicted from, if there is any."""
        if not len(predicted_from):
            return None
        number, entries = int(predicted_from[0]), self._container.entries
        known = len(predicted_from) == 1 and 0 <= number < chunk
        if not known or entries[number].type != TOPOLOGY:
            found = f"predicted_from holds {predicted_from[:4].tolist()}"
            message = f"topology: {found}, not the number of one {TOPOLOGY} chunk before it"
            raise FormatError("S12", message)
        if self._behind == MOST_PREDICTED:
            raise FormatError("S12", LONG_CHAIN)
        self._behind += 1
        try:
            root = self[number]
        finally:
            self._behind -= 1
        if root.predicted >= MOST_PREDICTED:
            raise FormatError("S12", LONG_CHAIN)
        return root
