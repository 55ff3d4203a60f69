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
    codes  of its regions, in their order   surrounded  whether inactive voxels are known to the prediction
    """

    channel: Channel
    scale: float
    given: int | None
    surrounded: bool
    model: Model
    codes: list[RegionCodes]


def store_channel(coding: Coding, given: int | None, chunks: list[Chunk]) -> dict[str, Any]:
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
        "codes": len(chunks) - 1,
    }


def restore_channel(container: Container, config: dict[str, Any], regions: int) -> StoredChannel:
    """The channel of an entry of the configuration, whose topology has so many regions. Raises FormatError."""
    arrays = unpack_tensors(container.chunk(config["codes"]))
    model = default_model(config["given"] is not None, config["smoothed"])
    if config["fitted"]:
        model = unpack_differences(model, take(arrays, "network_words", np.int32, (None,)).view(np.uint32))
    channel = Channel(tuple(config["steps"]), config["top"], config["background"])
    return StoredChannel(channel, config["scale"], config["given"], config["surrounded"], model, _codes(arrays, regions))


def _codes(arrays: Arrays, regions: int) -> list[RegionCodes]:
    means, spreads = (take(arrays, name, np.uint8, (regions,)).tolist() for name in ("means", "spreads"))
    words, counts = take(arrays, "words", np.int32, (None,)), take(arrays, "word_counts", np.int32, (regions,))
    if (counts < 0).any() or counts.sum(dtype=np.int64) != len(words):
        raise FormatError(f"there are {len(words):,} words, word_counts say {counts.sum(dtype=np.int64):,}")
    ends = counts.cumsum(dtype=np.int64)
    parts = np.split(words.view(np.uint32), ends[:-1]) if regions else []
    return [RegionCodes(*region) for region in zip(means, spreads, parts, strict=True)]
