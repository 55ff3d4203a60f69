"""Channels of a lattice as CODE chunks and entries of the field's configuration, and back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Chunk, Container, Part, pack_tensors, stored_size, unpack_tensors
from inrv.container.layout import BITS, CODES, MOTION
from inrv.container.tensors import Arrays, take
from inrv.core.lattice import SEGMENTS, RegionCodes
from inrv.errors import FormatError
from inrv.fields.lattice.codec import ChannelParameters, StoredRegion
from inrv.fields.lattice.constants import STEP
from inrv.fields.lattice.model import Differences, Model, default_model
from inrv.fields.lattice.motion import Motion
from inrv.fields.lattice.offsets import KNOTS, Offsets
from inrv.fields.lattice.palette import Palette
from inrv.fields.lattice.regions import Regions

if TYPE_CHECKING:
    from inrv.fields.lattice.search import EncodedChannel

MOST_LOW_BITS = 31
MOST_LANES = 5  # log2
MOST_WITHIN = 1 << 14  # bytes of codes that lie in the CODE chunk itself: they are read at once


@dataclass(frozen=True, eq=False)
class StoredValues:
    """How a lossless channel's units stand for values.

    palette: the values without their low bits
    rest: int32 (N,) the low bits of each value, by row
    """

    palette: Palette
    rest: NDArray[np.int32]

    @staticmethod
    def of(palette: Palette, values: NDArray[np.float32]) -> StoredValues:
        """Those of values float32 (N,)."""
        return StoredValues(palette, palette.rest(values))

    @property
    def bits(self) -> int:
        """Bits that they take in a file, about."""
        stored = stored_size(_rises(self.palette).tobytes())
        return 8 * stored + self.palette.low_bits * len(self.rest)


@dataclass(frozen=True, eq=False)
class StoredChannel:
    """A channel as a file holds it.

    channel: what the decoder knows before its voxels
    scale: units in the range of values
    reference: number of the channel that it is predicted from, None where there is none
    motion: along which that one is fetched; None where it is not
    second_reference, second_motion: the same of another one; the mean of both is what counts
    knows_exterior: whether inactive voxels and exact values are known to the prediction
    model: the networks
    regions: gives what is stored of a region, by number; with the levels from one on
    offsets: added to decoded values, None where there are none
    lossless: what the units of a lossless channel stand for; else None
    """

    channel: ChannelParameters
    scale: float
    reference: int | None
    motion: Motion | None
    second_reference: int | None
    second_motion: Motion | None
    knows_exterior: bool
    model: Model
    regions: StoredRegions
    offsets: Offsets | None
    lossless: StoredValues | None


def store_motion(motion: Motion, grid: int, chunks: list[Chunk]) -> int:
    """Append the chunk of a motion, whose grid has a number in the manifest; return its number."""
    arrays = motion.pack(default_model(True, False).prior, grid)
    chunks.append(Chunk(MOTION, pack_tensors(arrays)))
    return len(chunks) - 1


def store_channel(
    encoded: EncodedChannel,
    references: Sequence[tuple[int, int | None]],
    lossless: StoredValues | None,
    chunks: list[Chunk],
) -> dict[str, Any]:
    """Append the chunk of a channel to `chunks`.

    encoded: the channel
    references: at most two channels that it is predicted from: the number of each, and the chunk
        of the motion along which it is fetched, or None
    lossless: what the units of a lossless channel stand for

    Returns its entry in the configuration.
    """
    held = [] if encoded.channel.wavelet else [*references]
    (reference, motion), (second, second_motion) = [*held, (None, None), (None, None)][:2]
    regions = [region.stored for region in encoded.regions]
    segments = _in_file_order([region.codes for region in regions])
    bits = b"".join(segment for _, _, segment in segments)
    lengths, checksums = np.zeros((2, len(regions), SEGMENTS), dtype=np.uint32)
    for region, place, segment in segments:
        lengths[region, place] = len(segment)
        checksums[region, place] = zlib.crc32(segment)
    apart = len(bits) > MOST_WITHIN
    arrays: Arrays = {
        "means": np.array([region.mean for region in regions], dtype=np.uint8),
        "spreads": np.array([region.spread for region in regions], dtype=np.uint8),
        "lanes": np.array([region.codes.lanes for region in regions], dtype=np.uint8),
        "segments": np.array([len(region.codes.segments) for region in regions], dtype=np.uint8),
        "lengths": lengths.view(np.int32),
        "checksums": checksums.view(np.int32) if apart else np.zeros((0, SEGMENTS), np.int32),
        "bits": np.frombuffer(b"" if apart else bits, dtype=np.uint8),
    }
    restoration = encoded.model.restoration is not None
    if encoded.fitted:
        arrays["network_tables"] = encoded.differences.tables
        arrays["network_codes"] = np.frombuffer(encoded.differences.codes, dtype=np.uint8)
    if encoded.offsets is not None:
        arrays["offsets"] = encoded.offsets.knots
    if lossless is not None:
        arrays["palette"] = _rises(lossless.palette)
        arrays["low_bits"] = _planes(lossless)
    number = len(chunks)
    chunks.append(Chunk(CODES, pack_tensors(arrays)))
    if apart:
        chunks.append(Chunk(BITS, bits))
    return {
        "steps": list(encoded.channel.steps),
        "top": encoded.channel.top,
        "background": encoded.channel.background,
        "scale": encoded.scale,
        "reference": reference,
        "motion": motion,
        "second_reference": second,
        "second_motion": second_motion,
        "exterior": encoded.knows_exterior,
        "restoration": restoration,
        "set": encoded.settings.set,
        "fitted": encoded.fitted,
        "trellis": encoded.channel.trellis,
        "wavelet": encoded.channel.wavelet,
        "offsets": encoded.offsets is not None,
        "lossless": encoded.channel.lossless,
        "codes": number,
        "bits": number + 1 if apart else None,
    }


def _in_file_order(codes: Sequence[RegionCodes]) -> list[tuple[int, int, bytes]]:
    """Region, place and bytes of each segment: those of coarse levels come first."""
    return [
        (region, place, own.segments[place])
        for place in range(SEGMENTS)
        for region, own in enumerate(codes)
        if place < len(own.segments)
    ]


def _rises(palette: Palette) -> NDArray[np.int32]:
    """The lowest entry of a palette, then by how much each entry exceeds the one before.

    int32 (K,), modulo 2^32.
    """
    return np.append(palette.entries[:1], np.diff(palette.entries))


def _planes(lossless: StoredValues) -> NDArray[np.uint8]:
    """The low bits of all values, the lowest bit of each first: uint8 (bits, bytes)."""
    planes = [(lossless.rest >> bit) & 1 for bit in range(lossless.palette.low_bits)]
    packed = [np.packbits(plane.astype(np.uint8), bitorder="little") for plane in planes]
    nothing = np.zeros((0, -(-len(lossless.rest) // 8)), dtype=np.uint8)
    return np.stack(packed) if packed else nothing


def restore_channel(
    container: Container,
    config: dict[str, Any],
    regions: Regions,
    motion_of: Callable[[int | None], Motion | None],
) -> StoredChannel:
    """The channel of an entry of the configuration. Raises FormatError.

    regions: of its voxels
    motion_of: gives the motion of a chunk by its number; None for None
    """
    arrays = unpack_tensors(container.chunk(config["codes"]))
    model = default_model(
        config["reference"] is not None, config["restoration"], config["set"], config["wavelet"]
    )
    if config["fitted"]:
        tables = take(arrays, "network_tables", np.uint8, (sum(1 for _ in model.tensors()),))
        codes = take(arrays, "network_codes", np.uint8, (None,))
        model = Differences(tables, codes.tobytes()).applied(model)
    channel = ChannelParameters(
        tuple(config["steps"]),
        config["top"],
        config["background"],
        config["lossless"],
        config["trellis"],
        config["wavelet"],
    )
    return StoredChannel(
        channel,
        config["scale"],
        config["reference"],
        motion_of(config["motion"]),
        config["second_reference"],
        motion_of(config["second_motion"]),
        config["exterior"],
        model,
        StoredRegions(container, config, arrays, len(regions)),
        _offsets(arrays, channel) if config["offsets"] else None,
        _stored_values(arrays, channel, regions) if channel.lossless else None,
    )


def _offsets(arrays: Arrays, channel: ChannelParameters) -> Offsets:
    knots = take(arrays, "offsets", np.float16, (KNOTS,))
    if not np.isfinite(knots).all():
        raise FormatError("F8", f"offsets of a channel are {knots.tolist()}: they must be finite")
    return Offsets(knots, channel.top)


def _stored_values(arrays: Arrays, channel: ChannelParameters, regions: Regions) -> StoredValues:
    """The palette and the low bits of a lossless channel. Raises FormatError."""
    voxels = regions.topology.leaf_voxel_count  # of all regions: low bits come by row
    rises = take(arrays, "palette", np.int32, (None,))
    planes = take(arrays, "low_bits", np.uint8, (None, -(-voxels // 8)))
    steps = np.concatenate([rises[:1], rises[1:].view(np.uint32)], dtype=np.int64)
    entries, bits = steps.cumsum(), len(planes)
    if len(entries) * STEP != channel.top + STEP:
        raise FormatError(
            "F8",
            f"a palette has {len(entries):,} entries; its channel's top, {channel.top:,}, asks for "
            "another number",
        )
    whole_bits = MOST_LOW_BITS - min(bits, MOST_LOW_BITS)
    highest = (1 << whole_bits) - 1
    falls = bool((steps[1:] < 1).any())
    if bits > MOST_LOW_BITS or falls or entries[0] < -highest - 1 or entries[-1] > highest:
        raise FormatError(
            "F8",
            f"a palette must rise from entry to entry, within +-2^{whole_bits}, beside low bits "
            f"that are {bits:,} and at most {MOST_LOW_BITS}",
        )
    rest = np.zeros(voxels, dtype=np.int32)
    for bit, plane in enumerate(planes):
        rest |= np.unpackbits(plane, count=voxels, bitorder="little").astype(np.int32) << bit
    return StoredValues(Palette(entries.astype(np.int32), bits), rest)


class StoredRegions:
    """What a file stores of a channel's regions, read when it is asked for. Raises FormatError.

    count: how many its topology has
    """

    def __init__(
        self, container: Container, config: dict[str, Any], arrays: Arrays, count: int
    ) -> None:
        self.container, self.chunk, self.bits = container, config["codes"], config["bits"]
        self.means = take(arrays, "means", np.uint8, (count,))
        self.spreads = take(arrays, "spreads", np.uint8, (count,))
        self.lanes = take(arrays, "lanes", np.uint8, (count,))
        self.segments = take(arrays, "segments", np.uint8, (count,))
        if not np.isin(self.segments, (1, SEGMENTS)).all() or (self.lanes > MOST_LANES).any():
            message = f"a region has 1 or {SEGMENTS} segments, and up to 2^{MOST_LANES} lanes"
            raise FormatError("F5", f"{message}: these have {self.segments}, 2^{self.lanes}")
        lengths = take(arrays, "lengths", np.int32, (count, SEGMENTS)).astype(np.int64)
        held = np.arange(SEGMENTS) < self.segments[:, None]
        apart = self.bits is not None
        checksums = take(arrays, "checksums", np.int32, (count if apart else 0, SEGMENTS))
        self.checksums = checksums.view(np.uint32)
        self.within = take(arrays, "bits", np.uint8, (0 if apart else None,)).tobytes()
        size = container.entries[self.bits].raw if apart else len(self.within)
        if (lengths < 0).any() or lengths[~held].any() or int(lengths.sum()) != size:
            message = f"lengths of segments add up to {int(lengths.sum()):,}"
            raise FormatError("F5", f"{message}, the bytes that hold them are {size:,}")
        self.lengths = lengths
        ends = lengths.T.reshape(-1).cumsum().reshape(SEGMENTS, count).T
        self.offsets = ends - lengths

    def __call__(self, number: int, level: int = 0) -> StoredRegion:
        """What is stored of a region for its voxels at multiples of 2^level."""
        if self.bits is None:
            places = self._places(number, level)
            segments = tuple(self.within[offset : offset + length] for offset, length in places)
        else:
            segments = tuple(self.container.parts(self.parts(number, level)))
        cut = bool(self.segments[number] == SEGMENTS)
        codes = RegionCodes(int(self.lanes[number]), segments, cut)
        return StoredRegion(int(self.means[number]), int(self.spreads[number]), codes)

    def parts(self, number: int, level: int = 0) -> list[Part]:
        """What of the file is read for that."""
        if self.bits is None:
            return []
        places = self._places(number, level)
        checksums = self.checksums[number, : len(places)].tolist()
        return [Part(self.bits, *place, own) for place, own in zip(places, checksums, strict=True)]

    def _places(self, number: int, level: int) -> list[tuple[int, int]]:
        """Where the segments lie that are needed, and their bytes."""
        cut = bool(self.segments[number] == SEGMENTS)
        needed = slice(max(1, SEGMENTS - level) if cut else 1)
        offsets, lengths = self.offsets[number, needed], self.lengths[number, needed]
        return list(zip(offsets.tolist(), lengths.tolist(), strict=True))
