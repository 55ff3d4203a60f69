"""Channels of a lattice as CODE chunks and entries of the field's configuration, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inrv.container import Chunk, Container, pack_tensors, unpack_tensors
from inrv.errors import FormatError
from inrv.lattice import Channel, Coding, Model, RegionCodes, default_model, pack_differences, unpack_differences
from inrv.storage.tensors import Arrays, take


@dataclass(frozen=True, eq=False)
class StoredChannel:
    """A channel as a file holds it.

    scale  units in the range of values     given  number of the channel that it is predicted from, None where there is none
    codes  of its regions, in their order
    """

    channel: Channel
    scale: float
    given: int | None
    model: Model
    codes: list[RegionCodes]


def store_channel(coding: Coding, given: int | None, chunks: list[Chunk]) -> dict[str, Any]:
    """Append the chunk of a channel to `chunks` and return its entry in the configuration."""
    smoothed = coding.model.smoothing is not None
    arrays: Arrays = {
        "means": np.array([code.mean for code in coding.codes], dtype=np.int32),
        "spreads": np.array([code.spread for code in coding.codes], dtype=np.int32),
        "word_counts": np.array([len(code.words) for code in coding.codes], dtype=np.int32),
        "bit_counts": np.array([len(code.bits) for code in coding.codes], dtype=np.int32),
        "words": np.concatenate([code.words for code in coding.codes]).view(np.int32),
        "bits": np.concatenate([code.bits for code in coding.codes]),
    }
    if coding.fitted:
        words, bits = pack_differences(coding.model, default_model(given is not None, smoothed))
        arrays |= {"network_words": words.view(np.int32), "network_bits": bits}
    chunks.append(Chunk("CODE", pack_tensors(arrays)))
    return {
        "steps": list(coding.channel.steps),
        "top": coding.channel.top,
        "background": coding.channel.background,
        "scale": coding.scale,
        "given": given,
        "smoothed": smoothed,
        "fitted": coding.fitted,
        "codes": len(chunks) - 1,
    }


def restore_channel(container: Container, config: dict[str, Any], regions: int) -> StoredChannel:
    """The channel of an entry of the configuration, whose topology has so many regions. Raises FormatError."""
    arrays = unpack_tensors(container.chunk(config["codes"]))
    model = default_model(config["given"] is not None, config["smoothed"])
    if config["fitted"]:
        words, bits = take(arrays, "network_words", np.int32, (None,)), take(arrays, "network_bits", np.uint8, (None,))
        model = unpack_differences(model, words.view(np.uint32), bits)
    channel = Channel(tuple(config["steps"]), config["top"], config["background"])
    return StoredChannel(channel, config["scale"], config["given"], model, _codes(arrays, regions))


def _codes(arrays: Arrays, regions: int) -> list[RegionCodes]:
    means, spreads = (take(arrays, name, np.int32, (regions,)).tolist() for name in ("means", "spreads"))
    words = [part.view(np.uint32) for part in _parts(arrays, "words", "word_counts", np.int32, regions)]
    bits = _parts(arrays, "bits", "bit_counts", np.uint8, regions)
    return [RegionCodes(*parts) for parts in zip(means, spreads, words, bits, strict=True)]


def _parts(arrays: Arrays, name: str, counts: str, kind: type[np.generic], regions: int) -> list[np.ndarray[Any, Any]]:
    """The array `name`, cut into the regions' parts."""
    whole = take(arrays, name, kind, (None,))
    sizes = take(arrays, counts, np.int32, (regions,)).astype(np.int64)
    ends = sizes.cumsum()
    if (sizes < 0).any() or sizes.sum() != len(whole):
        raise FormatError(f"tensor {name!r} has {len(whole):,} items, {counts} say {sizes.sum():,}")
    return np.split(whole, ends[:-1]) if regions else []
