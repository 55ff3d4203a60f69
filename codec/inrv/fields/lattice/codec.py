"""Channels of values to bytes and back, region by region."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.errors import FormatError
from inrv.fields.lattice.context import Channel
from inrv.fields.lattice.entropy import RegionReader, RegionWriter, low_bits, tokens_of
from inrv.fields.lattice.model import Model
from inrv.fields.lattice.prefilter import soften
from inrv.fields.lattice.restoration import smoothed
from inrv.fields.lattice.traversal import Batch, Setting, Step, walk
from inrv.support.parallel import in_threads

BATCH_REGIONS = {"cpu": 1, "cuda": 64}
MOST_SPREAD = 22
NO_WORDS = np.zeros(0, dtype=np.uint32)
RATE_WEIGHT = 2 * 0.6931 / 12  # of one bit against a squared step: the slope of a uniform quantiser at a high rate


@dataclass(frozen=True, eq=False)
class RegionCodes:
    """The codes of one region: what is stored of it.

    mean    of its values, in 255ths of the channel's top, and spread, their mean deviation, as 2^spread units: where no
            neighbour is known, a voxel is predicted from these
    words   of the range coder
    """

    mean: int
    spread: int
    words: NDArray[np.uint32]


Observer = Callable[[Step, Tensor], None]


def decode_regions(
    setting: Setting, corners: Tensor, codes: Sequence[RegionCodes], channel: Channel, model: Model
) -> tuple[Tensor, Tensor]:
    """Rows int64 (n,) and values int32 (n,) of the voxels of the regions at `corners` (R, 3). Raises FormatError."""

    def decoded(part: slice) -> tuple[Tensor, Tensor]:
        readers = [RegionReader(model.prior, code.words) for code in codes[part]]
        batch = Batch.of(setting, corners[part], *_headers(codes[part], channel, corners.device))
        found = _finish(*walk(batch, channel, model.networks, _Decoder(readers)), channel, model)
        for reader in readers:
            reader.check_end()
        return found

    rows, values = zip(*in_threads(decoded, _batches(corners), corners.device, small=True), strict=True)
    return torch.cat(rows), torch.cat(values)


def _headers(codes: Sequence[RegionCodes], channel: Channel, device: torch.device) -> tuple[Tensor, Tensor]:
    """Means and spreads of regions, int32 (B,), units. Raises FormatError for a spread that no value can have."""
    if any(code.spread > MOST_SPREAD for code in codes):
        raise FormatError("F5", f"a region's spread is 2^{max(code.spread for code in codes)}: it is at most 2^{MOST_SPREAD}")
    means = torch.tensor([code.mean * channel.top // 255 for code in codes], dtype=torch.int32, device=device)
    return means, torch.tensor([1 << code.spread for code in codes], dtype=torch.int32, device=device)


def _batches(corners: Tensor) -> list[slice]:
    size = BATCH_REGIONS.get(corners.device.type, 64)
    return [slice(first, first + size) for first in range(0, len(corners), size)]


def _finish(values: Tensor, rows: Tensor, channel: Channel, model: Model) -> tuple[Tensor, Tensor]:
    flat = rows.reshape(-1)
    places = (flat >= 0).nonzero()[:, 0]
    final = values.reshape(-1)[places] if model.smoothing is None else smoothed(values, places, channel, model.smoothing)
    return flat[places].long(), final


class _Decoder:
    """Codes read from the regions' streams."""

    def __init__(self, readers: Sequence[RegionReader]) -> None:
        self.readers = readers

    def codes(self, step: Step) -> Tensor:
        order, ends = _by_region(step.regions, len(self.readers))
        tables = step.tables.cpu().numpy()[order]
        codes = np.empty(len(tables), dtype=np.int32)
        first = 0
        for reader, last in zip(self.readers, ends, strict=True):
            if last > first:
                codes[order[first:last]] = reader.step(tables[first:last])
            first = last
        return torch.from_numpy(codes).to(step.tables.device)


def _by_region(regions: Tensor, count: int) -> tuple[NDArray[np.int64], list[int]]:
    """The stable order of voxels by region, and where each region's end."""
    numbers = regions.cpu().numpy().astype(np.uint16)
    return np.argsort(numbers, kind="stable"), np.bincount(numbers, minlength=count).cumsum().tolist()


class Encoder:
    """Codes chosen for target values int32 (N,), by row.

    aims      int32 (N,)  what the codes are chosen for: the targets, or softened ones
    thrift    how much a bit counts against the squared error: 0, the nearest code; 1, as at a high rate
    writers   of the regions of the batch
    """

    def __init__(
        self, targets: Tensor, prior: NDArray[np.int64], thrift: float, writers: Sequence[RegionWriter],
        observer: Observer | None = None,
    ) -> None:  # fmt: skip
        self.targets = targets
        self.aims = targets
        self.thrift = thrift
        self.observer = observer
        self.cost = code_bits(prior).to(targets.device)
        self.writers = writers

    def codes(self, step: Step) -> Tensor:
        """The codes of a step, written and shown to the observer."""
        targets = self.targets[step.rows]
        codes = self._chosen(self.aims[step.rows] - step.predicted, step)
        if self.observer is not None:
            self.observer(step, targets)
        order, ends = _by_region(step.regions, len(self.writers))
        tables, sorted_codes = step.tables.cpu().numpy()[order], codes.cpu().numpy()[order]
        first = 0
        for writer, last in zip(self.writers, ends, strict=True):
            if last > first:
                writer.step(tables[first:last], sorted_codes[first:last])
            first = last
        return codes

    def _chosen(self, differences: Tensor, step: Step) -> Tensor:
        nearest = (differences + step.step // 2).div(step.step, rounding_mode="floor")
        if not self.thrift:
            return nearest
        steps = differences.float() / step.step
        choices = torch.stack([nearest, nearest - nearest.sign(), torch.zeros_like(nearest)], dim=1)
        bits = self.cost[step.tables.long()[:, None], choices.abs().clamp_max(self.cost.shape[1] - 1).long()]
        costs = (steps[:, None] - choices).square() + self.thrift * RATE_WEIGHT * bits
        return choices.gather(1, costs.argmin(dim=1, keepdim=True))[:, 0]


LISTED = 1 << 10  # magnitudes whose bits are tabulated


def code_bits(prior: NDArray[np.int64]) -> Tensor:
    """Bits float32 (64, 1024) of each magnitude under each table, its sign included."""
    magnitudes = np.arange(LISTED, dtype=np.int32)
    tokens = tokens_of(magnitudes)
    share = prior / prior.sum(axis=1, keepdims=True)
    bits = -np.log2(share)[:, tokens] + low_bits(tokens) + (magnitudes > 0)
    return torch.from_numpy(bits.astype(np.float32))


def encode_regions(
    setting: Setting,
    corners: Tensor,
    targets: Tensor,
    channel: Channel,
    model: Model,
    thrift: float,
    soft: bool = False,
    observer: Observer | None = None,
) -> tuple[list[RegionCodes], Tensor, Tensor]:
    """The codes of the regions at `corners` (R, 3), and rows and values as `decode_regions` gives them.

    targets  int32 (N,), units, by row of the active leaf voxels
    soft     whether coarse voxels are coded as a smooth version of them: cheaper where most finer ones are left out
    """

    def encoded(part: slice) -> tuple[list[RegionCodes], Tensor, Tensor]:
        bare = Batch.of(setting, corners[part], targets[:0], targets[:0])
        headers = [_measured(region, targets, channel) for region in bare.rows]
        mean, spread = _headers(headers, channel, corners.device)
        batch = replace(bare, mean=mean, spread=spread)
        writers = [RegionWriter(model.prior) for _ in headers]
        encoder = Encoder(targets, model.prior, thrift, writers, observer)
        if soft:
            encoder.aims = targets.clone()
            soften(encoder.aims, batch, targets)
        rows, values = _finish(*walk(batch, channel, model.networks, encoder), channel, model)
        return [replace(header, words=writer.words()) for header, writer in zip(headers, writers, strict=True)], rows, values

    parts = _batches(corners)
    # An observer sees the regions in order.
    found = in_threads(encoded, parts, corners.device) if observer is None else [encoded(part) for part in parts]
    codes, rows, values = zip(*found, strict=True)
    return [code for part in codes for code in part], torch.cat(rows), torch.cat(values)


def _measured(rows: Tensor, targets: Tensor, channel: Channel) -> RegionCodes:
    """Mean and spread of the voxels at `rows` (X, Y, Z), -1 where there is none, and no words yet."""
    values = targets[rows[rows >= 0].long()].double()
    if not len(values):
        return RegionCodes(0, 0, NO_WORDS)
    mean = round(float(values.mean()) * 255 / channel.top)
    spread = float((values - mean * channel.top / 255).abs().mean())
    return RegionCodes(min(mean, 255), min(MOST_SPREAD, round(math.log2(max(1.0, spread)))), NO_WORDS)
