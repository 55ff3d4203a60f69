"""Channels of a lattice as CODE chunks and entries of the field's configuration, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrv.container import Chunk, Container, pack_tensors, stored_size, unpack_tensors
from inrv.container.tensors import Arrays, take
from inrv.errors import FormatError
from inrv.fields.lattice import (
    Channel,
    Coding,
    Model,
    Offsets,
    Palette,
    RegionCodes,
    default_model,
    pack_differences,
    unpack_differences,
)
from inrv.fields.lattice.constants import STEP
from inrv.fields.lattice.offsets import KNOTS


@dataclass(frozen=True, eq=False)
class StoredValues:
    """How a lossless channel's units stand for values: by a palette, and the low bits int32 (N,) of each, by row."""

    palette: Palette
    rest: Tensor

    @staticmethod
    def of(palette: Palette, values: Tensor) -> StoredValues:
        """Those of values float32 (N,)."""
        return StoredValues(palette, palette.rest(values))

    @property
    def bits(self) -> int:
        """Bits that they take in a file, about."""
        return 8 * stored_size(_rises(self.palette).tobytes()) + self.palette.low_bits * len(self.rest)

    def to(self, device: torch.device | str) -> StoredValues:
        """The same on another device."""
        return StoredValues(self.palette.to(device), self.rest.to(device))


@dataclass(frozen=True, eq=False)
class StoredChannel:
    """A channel as a file holds it.

    scale  units in the range of values     given  number of the channel that it is predicted from, None where there is none
    codes  of its regions, in their order   surrounded  whether inactive and kept voxels are known to the prediction
    offsets  that are added to decoded values     lossless  of a lossless channel: what its units stand for; else None
    """

    channel: Channel
    scale: float
    given: int | None
    surrounded: bool
    model: Model
    codes: list[RegionCodes]
    offsets: Offsets | None
    lossless: StoredValues | None


def store_channel(coding: Coding, given: int | None, lossless: StoredValues | None, chunks: list[Chunk]) -> dict[str, Any]:
    """Append the chunk of a channel to `chunks` and return its entry in the configuration."""
    smoothed = coding.model.smoothing is not None
    arrays: Arrays = {
        "means": np.array([code.mean for code in coding.codes], dtype=np.uint8),
        "spreads": np.array([code.spread for code in coding.codes], dtype=np.uint8),
        "word_counts": np.array([len(code.words) for code in coding.codes], dtype=np.int32),
        "words": np.concatenate([code.words for code in coding.codes]).view(np.int32),
    }
    if coding.fitted:
        differences = pack_differences(coding.model, default_model(given is not None, smoothed))
        arrays["network_words"] = differences.view(np.int32)
    if coding.offsets is not None:
        arrays["offsets"] = coding.offsets.knots.numpy()
    if lossless is not None:
        arrays["palette"] = _rises(lossless.palette)
        arrays["low_bits"] = _planes(lossless)
    chunks.append(Chunk("CODE", pack_tensors(arrays)))
    return {
        "steps": list(coding.channel.steps),
        "top": coding.channel.top,
        "background": coding.channel.background,
        "scale": coding.scale,
        "given": given,
        "surrounded": coding.surrounded,
        "smoothed": smoothed,
        "fitted": coding.fitted,
        "corrected": coding.offsets is not None,
        "lossless": coding.channel.lossless,
        "codes": len(chunks) - 1,
    }


def _rises(palette: Palette) -> np.ndarray[Any, np.dtype[np.int32]]:
    """The lowest entry of a palette, and by how much each other one exceeds the one before, modulo 2^32: int32 (K,)."""
    rises: np.ndarray[Any, np.dtype[np.int32]] = torch.cat([palette.entries[:1], palette.entries.diff()]).cpu().numpy()
    return rises


def _planes(lossless: StoredValues) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The low bits of all values, the lowest bit of each first: uint8 (bits, bytes), eight values a byte."""
    planes = [(lossless.rest.cpu().numpy() >> bit) & 1 for bit in range(lossless.palette.low_bits)]
    packed = [np.packbits(plane.astype(np.uint8), bitorder="little") for plane in planes]
    return np.stack(packed) if packed else np.zeros((0, -(-len(lossless.rest) // 8)), dtype=np.uint8)


def restore_channel(container: Container, config: dict[str, Any], regions: int, voxels: int) -> StoredChannel:
    """The channel of an entry of the configuration, whose topology has so many regions and voxels. Raises FormatError."""
    arrays = unpack_tensors(container.chunk(config["codes"]))
    model = default_model(config["given"] is not None, config["smoothed"])
    if config["fitted"]:
        model = unpack_differences(model, take(arrays, "network_words", np.int32, (None,)).view(np.uint32))
    channel = Channel(tuple(config["steps"]), config["top"], config["background"], config["lossless"])
    offsets = _offsets(arrays, channel) if config["corrected"] else None
    lossless = _exact(arrays, channel, voxels) if channel.lossless else None
    known = (config["scale"], config["given"], config["surrounded"])
    return StoredChannel(channel, *known, model, _codes(arrays, regions), offsets, lossless)


def _offsets(arrays: Arrays, channel: Channel) -> Offsets:
    knots = take(arrays, "offsets", np.float16, (KNOTS,))
    if not np.isfinite(knots).all():
        raise FormatError("F8", f"offsets of a channel are {knots.tolist()}: they must be finite")
    return Offsets(torch.from_numpy(knots.copy()), channel.top)


def _exact(arrays: Arrays, channel: Channel, voxels: int) -> StoredValues:
    rises, planes = take(arrays, "palette", np.int32, (None,)), take(arrays, "low_bits", np.uint8, (None, -(-voxels // 8)))
    steps = np.concatenate([rises[:1], rises[1:].view(np.uint32)], dtype=np.int64)
    entries, bits = steps.cumsum(), len(planes)
    if len(entries) * STEP != channel.top + STEP:
        raise FormatError(
            "F8", f"a palette has {len(entries):,} entries; its channel's top, {channel.top:,}, asks for another number"
        )
    highest = (1 << 31 >> min(bits, 31)) - 1
    if bits > 31 or (steps[1:] < 1).any() or entries[0] < -highest - 1 or entries[-1] > highest:
        raise FormatError(
            "F8",
            f"a palette must rise from entry to entry, within +-2^{31 - min(bits, 31)}, beside low bits that are {bits:,} and at "
            "most 31",
        )
    rest = np.zeros(voxels, dtype=np.int32)
    for bit, plane in enumerate(planes):
        rest |= np.unpackbits(plane, count=voxels, bitorder="little").astype(np.int32) << bit
    return StoredValues(Palette(torch.from_numpy(entries.astype(np.int32)), bits), torch.from_numpy(rest))


def _codes(arrays: Arrays, regions: int) -> list[RegionCodes]:
    means, spreads = (take(arrays, name, np.uint8, (regions,)).tolist() for name in ("means", "spreads"))
    words, counts = take(arrays, "words", np.int32, (None,)), take(arrays, "word_counts", np.int32, (regions,))
    if (counts < 0).any() or counts.sum(dtype=np.int64) != len(words):
        raise FormatError("F5", f"there are {len(words):,} words, word_counts say {counts.sum(dtype=np.int64):,}")
    ends = counts.cumsum(dtype=np.int64)
    parts = np.split(words.view(np.uint32), ends[:-1]) if regions else []
    return [RegionCodes(*region) for region in zip(means, spreads, parts, strict=True)]
