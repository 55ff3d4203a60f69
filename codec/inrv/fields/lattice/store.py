"""Channels of a lattice as CODE chunks and entries of the field's configuration, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Chunk, Container, pack_tensors, stored_size, unpack_tensors
from inrv.container.tensors import Arrays, take
from inrv.errors import FormatError
from inrv.fields.lattice.codec import RegionCodes
from inrv.fields.lattice.constants import STEP
from inrv.fields.lattice.context import ChannelParameters
from inrv.fields.lattice.model import Model, default_model, pack_differences, unpack_differences
from inrv.fields.lattice.offsets import KNOTS, Offsets
from inrv.fields.lattice.palette import Palette
from inrv.fields.lattice.search import EncodedChannel

WORD_BITS = 32
MOST_LOW_BITS = WORD_BITS - 1


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
    knows_exterior: whether inactive voxels and exact values are known to the prediction
    model: the networks
    codes: of its regions, in their order
    offsets: added to decoded values, None where there are none
    lossless: what the units of a lossless channel stand for; else None
    """

    channel: ChannelParameters
    scale: float
    reference: int | None
    knows_exterior: bool
    model: Model
    codes: list[RegionCodes]
    offsets: Offsets | None
    lossless: StoredValues | None


def store_channel(
    encoded: EncodedChannel,
    reference: int | None,
    lossless: StoredValues | None,
    chunks: list[Chunk],
) -> dict[str, Any]:
    """Append the chunk of a channel to `chunks`.

    encoded: the channel
    reference: number of the channel that it is predicted from, None where there is none
    lossless: what the units of a lossless channel stand for

    Returns its entry in the configuration.
    """
    codes = encoded.codes
    arrays: Arrays = {
        "means": np.array([code.mean for code in codes], dtype=np.uint8),
        "spreads": np.array([code.spread for code in codes], dtype=np.uint8),
        "word_counts": np.array([len(code.words) for code in codes], dtype=np.int32),
        "words": np.concatenate([code.words for code in codes]).view(np.int32),
    }
    restoration = encoded.model.restoration is not None
    if encoded.fitted:
        default = default_model(reference is not None, restoration)
        arrays["network_words"] = pack_differences(encoded.model, default).view(np.int32)
    if encoded.offsets is not None:
        arrays["offsets"] = encoded.offsets.knots
    if lossless is not None:
        arrays["palette"] = _rises(lossless.palette)
        arrays["low_bits"] = _planes(lossless)
    chunks.append(Chunk("CODE", pack_tensors(arrays)))
    return {
        "steps": list(encoded.channel.steps),
        "top": encoded.channel.top,
        "background": encoded.channel.background,
        "scale": encoded.scale,
        "reference": reference,
        "exterior": encoded.knows_exterior,
        "restoration": restoration,
        "fitted": encoded.fitted,
        "offsets": encoded.offsets is not None,
        "lossless": encoded.channel.lossless,
        "codes": len(chunks) - 1,
    }


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
    container: Container, config: dict[str, Any], regions: int, voxels: int
) -> StoredChannel:
    """The channel of an entry of the configuration. Raises FormatError.

    regions: how many its topology has
    voxels: how many its topology has
    """
    arrays = unpack_tensors(container.chunk(config["codes"]))
    model = default_model(config["reference"] is not None, config["restoration"])
    if config["fitted"]:
        words = take(arrays, "network_words", np.int32, (None,)).view(np.uint32)
        model = unpack_differences(model, words)
    channel = ChannelParameters(
        tuple(config["steps"]), config["top"], config["background"], config["lossless"]
    )
    return StoredChannel(
        channel,
        config["scale"],
        config["reference"],
        config["exterior"],
        model,
        _codes(arrays, regions),
        _offsets(arrays, channel) if config["offsets"] else None,
        _stored_values(arrays, channel, voxels) if channel.lossless else None,
    )


def _offsets(arrays: Arrays, channel: ChannelParameters) -> Offsets:
    knots = take(arrays, "offsets", np.float16, (KNOTS,))
    if not np.isfinite(knots).all():
        raise FormatError("F8", f"offsets of a channel are {knots.tolist()}: they must be finite")
    return Offsets(knots, channel.top)


def _stored_values(arrays: Arrays, channel: ChannelParameters, voxels: int) -> StoredValues:
    """The palette and the low bits of a lossless channel. Raises FormatError."""
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


def _codes(arrays: Arrays, regions: int) -> list[RegionCodes]:
    """The codes of so many regions. Raises FormatError."""
    means = take(arrays, "means", np.uint8, (regions,)).tolist()
    spreads = take(arrays, "spreads", np.uint8, (regions,)).tolist()
    words = take(arrays, "words", np.int32, (None,))
    counts = take(arrays, "word_counts", np.int32, (regions,))
    total = int(counts.sum(dtype=np.int64))
    if (counts < 0).any() or total != len(words):
        raise FormatError("F5", f"there are {len(words):,} words, word_counts say {total:,}")
    ends = counts.cumsum(dtype=np.int64)
    parts = np.split(words.view(np.uint32), ends[:-1]) if regions else []
    return [RegionCodes(*region) for region in zip(means, spreads, parts, strict=True)]
