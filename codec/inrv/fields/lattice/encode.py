"""The grids of a volume, coded as a lattice."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Chunk
from inrv.errors import OptionError
from inrv.fields.lattice.channels import (
    Channel,
    Source,
    channels_of,
    predictions_of,
    quality_of,
    values_of,
    with_prediction,
)
from inrv.fields.lattice.constants import DEFAULT_NAME
from inrv.fields.lattice.motion import Motion
from inrv.fields.lattice.motion_search import FrameValues, coding_order, find_motion
from inrv.fields.lattice.search import EFFORTS, ChannelEncoder, EncodedChannel
from inrv.fields.lattice.store import store_channel, store_motion
from inrv.fields.seam import Estimate, Goal, Progress, ProgressCallback
from inrv.grids import LeafValues, Topology
from inrv.options import DEFAULT_PSNR, EncodeOptions
from inrv.storage import PreparedGrid
from inrv.support.device import choose_device
from inrv.support.extras import needed_for
from inrv.support.parallel import in_threads
from inrv.support.processes import process_count

if TYPE_CHECKING:
    from inrv.fields.lattice.fitting import Fitter

log = logging.getLogger("inrv")
# Of a channel beside its codes: its place in table and manifest, names of tensors, offsets.
CHANNEL_BITS = 8 * 150
FARTHEST_SHARE = 1e4  # of a range, of values in which motion is sought
PART = 1 << 19  # voxels whose errors are measured at a time


@dataclass(frozen=True, eq=False)
class EncodedLattice:
    """All grids of a volume, coded; see `inrv.fields.seam.EncodedField`.

    encoder: what coded them
    channels: the components that vary
    predictions: for each channel what it is predicted from
    encoded: for each channel what came of it
    """

    encoder: VolumeEncoder
    channels: tuple[Channel, ...]
    predictions: tuple[tuple[Source, ...], ...]
    encoded: tuple[EncodedChannel, ...]
    grids: tuple[PreparedGrid, ...]
    psnrs: tuple[float, ...]
    errors: tuple[float, ...]
    drifts: tuple[float, ...]
    seconds: float

    device = "cpu"

    @property
    def measured_voxels(self) -> int:
        """Every voxel that is coded."""
        return sum(grid.coded.topology.leaf_voxel_count for grid in self.grids)

    def outputs(self, number: int, topology: Topology) -> NDArray[np.float64]:
        """The normalised output `number` on the voxels that its grid is coded with."""
        return self.encoded[number].outputs

    def short_of(self, psnr: float) -> set[int]:
        """The numbers of the grids that do not reach so many dB, though no step is finer."""
        rows = zip(self.channels, self.encoded, self.psnrs, strict=True)
        return {
            channel.grid for channel, encoded, reached in rows if encoded.finest and reached < psnr
        }

    def rescaled(self, octaves: float) -> EncodedLattice:
        """Every channel in steps finer by so many octaves, with the networks that it has."""
        return self.encoder.again(octaves)

    def store(
        self, chunks: list[Chunk], exact_topology: bool, numbers: Sequence[int]
    ) -> dict[str, Any]:
        """Append a chunk for each channel, and for each motion that any is predicted along."""
        motions: dict[Motion, int] = {}
        entries = []
        rows = zip(self.channels, self.predictions, self.encoded, strict=True)
        for channel, prediction, encoded in rows:
            references: list[tuple[int, int | None]] = []
            for source in () if encoded.channel.wavelet else prediction:
                motion = source.motion
                if motion is not None and motion not in motions:
                    motions[motion] = store_motion(motion, numbers[motion.grid], chunks)
                references.append((source.channel, None if motion is None else motions[motion]))
            entries.append(store_channel(encoded, references, channel.lossless, chunks))
        return {"networks": DEFAULT_NAME, "channels": entries}

    @property
    def fitted_weights(self) -> int:
        """Weights and biases that differ from those of the default networks."""
        return sum(own.differences.count for own in self.encoded if own.fitted)

    def summary(self) -> dict[str, Any]:
        """How many weights were fitted."""
        return {"fitted_weights": self.fitted_weights}

    def description(self) -> list[tuple[str, str]]:
        """Networks and time."""
        weights = self.fitted_weights
        networks = f"{weights:,} weights fitted" if weights else "default networks"
        return [("field", f"lattice, {networks}, {self.seconds:.1f} s on {self.device}")]


class LatticeEncoder:
    """Codes the grids of a volume; see `inrv.fields.seam.FieldEncoder`."""

    def __init__(self, options: EncodeOptions, progress: ProgressCallback | None) -> None:
        if process_count() > 1:
            raise OptionError(
                "a lattice is coded by one process: share out the files over the processes, or "
                "take `field='fourier'`"
            )
        self.options, self.progress = _possible(options), progress
        self.told = self.options is options  # whether the caller knows which options are kept
        self.started = time.perf_counter()

    def estimate(
        self,
        grid: PreparedGrid,
        goal: Goal,
        steps: dict[int, float],
        like: PreparedGrid | None = None,
    ) -> Estimate:
        """What codes of a grid take, from trials of the effort 'instant'."""
        bits, found = 0.0, dict[int, float]()
        others = [] if like is None or like is grid else channels_of([like])
        forms = {own.component: own.values for own in others}
        for channel in channels_of([grid]):
            quality = quality_of(channel, grid, _psnr(goal), steps.get(channel.component))
            effort = EFFORTS["instant"]
            other = forms.get(channel.component)
            own, step = ChannelEncoder(channel.values, quality, effort, like=other).estimate()
            bits += CHANNEL_BITS + own
            bits += 0 if channel.lossless is None else channel.lossless.bits
            found[channel.component] = step * channel.span
        return Estimate(bits, found)

    def coding_order(self, frames: Sequence[Sequence[PreparedGrid]]) -> list[int]:
        """See `FieldEncoder`; the largest grid of the first frame that all have decides."""
        first = frames[0] if frames else ()
        for grid in sorted(first, key=lambda own: -len(own.coded.values)):
            same = [[own for own in frame if own.grid.name == grid.grid.name] for frame in frames]
            span = float(grid.normalisation.spans[0])
            if span > 0 and all(len(own) == 1 for own in same):
                return coding_order([_first_component(own, span) for (own,) in same])
        return list(range(len(frames)))

    def encode(self, grids: Sequence[PreparedGrid], goal: Goal) -> EncodedLattice | None:
        """The grids at the quality of the goal; None where no component varies."""
        if not any(grid.normalisation.varying.any() for grid in grids):
            return None
        if not self.told:
            log.warning(
                "inrv: torch is not installed, which fits whole networks: coded with the effort "
                "'instant' (pip install 'inrv[train]' brings torch)"
            )
            self.told = True
        self._tell(0.0)
        return VolumeEncoder(grids, self.options, goal, self._tell).run()

    def _tell(self, share: float) -> None:
        """Tell the caller which share of the work is done."""
        if self.progress is not None:
            seconds = time.perf_counter() - self.started
            left = seconds * (1 - share) / share if share else math.inf
            self.progress(Progress(share, seconds, left))


class VolumeEncoder:
    """Finds how every channel of some grids is coded, in order, and codes them again.

    grids: prepared
    options: effort and seed
    goal: the quality
    tell: hears which share of the channels is done
    """

    def __init__(
        self,
        grids: Sequence[PreparedGrid],
        options: EncodeOptions,
        goal: Goal,
        tell: Any,
    ) -> None:
        self.grids = tuple(grids)
        self.goal = goal
        self.tell = tell
        self.effort = EFFORTS[options.effort]
        self.seed, self.device = options.seed, options.device
        self.started = time.perf_counter()
        self.channels = tuple(channels_of(grids))
        self.predictions: list[tuple[Source, ...]] = []  # of each channel, as `run` found them
        self.motions: dict[tuple[int, int], Motion] = {}  # of frames, for others
        self.encoders: list[ChannelEncoder] = []  # of each channel, after `run`
        self.steps: list[float] = []  # of each channel, as `run` found them

    def run(self) -> EncodedLattice:
        """Every channel at the quality of the goal."""
        if self.effort.rounds and find_spec("torch") is None:
            assert self.fitter  # raises: what was asked for would depend on the sizes of channels
        guesses, encoded = self.goal.steps or {}, list[EncodedChannel]()
        for number, channel in enumerate(self.channels):
            guess = guesses.get((channel.grid, channel.component))
            quality = quality_of(channel, self.grids[channel.grid], _psnr(self.goal), guess)
            motion_of = partial(self._motion, number, encoded)
            rivals = []
            for prediction in predictions_of(self.channels, number, motion_of):
                values = with_prediction(channel, prediction, self.channels, encoded)
                rival = ChannelEncoder(
                    values, quality, self.effort, lambda: self.fitter, like=channel.values
                )
                rivals.append((prediction, rival))
            prediction, encoder = rivals[0]
            if len(rivals) > 1:
                prediction, encoder = min(rivals, key=lambda rival: rival[1].promise())
            self.predictions.append(prediction)
            self.encoders.append(encoder)
            encoded.append(encoder.run())
            self.tell(len(encoded) / len(self.channels))
        self.steps = [channel.step for channel in encoded]
        return self._measured(encoded)

    def again(self, octaves: float) -> EncodedLattice:
        """Every channel in steps finer by so many octaves than `run` found, settings as there."""
        encoded = list[EncodedChannel]()
        rows = zip(self.channels, self.predictions, self.encoders, self.steps, strict=True)
        for channel, prediction, encoder, step in rows:
            finer = step if encoder.quality.lossless else step * 2**-octaves
            values = with_prediction(channel, prediction, self.channels, encoded)
            encoded.append(encoder.again(finer, values))
        return self._measured(encoded)

    @cached_property
    def fitter(self) -> Fitter:
        """What fits all weights of networks; torch is imported where a channel needs it."""
        with needed_for("fitting networks", "train"):
            import torch

            from inrv.fields.lattice.fitting import Fitter

        device = choose_device(self.device)
        return Fitter(self.seed, device if device.type == "cuda" else torch.device("cpu"))

    def _motion(
        self, number: int, encoded: Sequence[EncodedChannel], frame: int, other: int
    ) -> Motion:
        """The motion along which a frame is fetched for another one.

        It is found by the first channel that asks for it, and serves all of the frame.

        number: of that channel
        frame, other: of the channel, and that which is fetched
        """
        if (frame, other) not in self.motions:
            own = self.channels[number]
            (place,) = (
                place
                for place, channel in enumerate(self.channels[:number])
                if (channel.frame, channel.name) == (other, own.name)
            )
            coded, there = self.grids[own.grid].coded, self.channels[place]
            now = _shares(coded.values[:, own.component], own.minimum, own.span)
            background = float(_shares(coded.background, own.minimum, own.span)[own.component])
            then = _shares(values_of(there, encoded[place]), own.minimum, own.span)
            self.motions[frame, other] = find_motion(
                own.grid,
                FrameValues(own.values.topology, now, background),
                FrameValues(there.values.topology, then, background),
            )
        return self.motions[frame, other]

    def _measured(self, encoded: Sequence[EncodedChannel]) -> EncodedLattice:
        """The channels with outliers, errors and drifts of their grids."""
        values = [grid.coded.values.copy() for grid in self.grids]
        for channel, found in zip(self.channels, encoded, strict=True):
            if channel.lossless is None:
                scaling = found.scaling(channel.minimum, channel.maximum)
                scaling.values(found.decoded, values[channel.grid][:, channel.component])
        grids, errors, drifts = list[PreparedGrid](), list[float](), list[float]()
        for grid, decoded in zip(self.grids, values, strict=True):
            written = _as_written(grid, decoded)
            outliers, error = _outliers(grid, decoded, written)
            grids.append(replace(grid, outliers=outliers))
            errors.append(error + float(np.abs(grid.changes).max(initial=0.0)))
            drifts.append(_drift(grid, written))
        psnrs = [
            _psnr_of(self.grids[channel.grid], channel.component, found.psnr)
            for channel, found in zip(self.channels, encoded, strict=True)
        ]
        return EncodedLattice(
            self,
            self.channels,
            tuple(self.predictions),
            tuple(encoded),
            tuple(grids),
            tuple(psnrs),
            tuple(errors),
            tuple(drifts),
            time.perf_counter() - self.started,
        )


def _first_component(grid: PreparedGrid, span: float) -> FrameValues:
    """The first component of a grid, in shares of a range."""
    coded = grid.coded
    values, background = (
        _shares(part[..., 0], 0.0, span) for part in (coded.values, coded.background)
    )
    return FrameValues(coded.topology, values, float(background))


def _shares(values: NDArray[np.float32], minimum: float, span: float) -> NDArray[np.float32]:
    """Values as shares of a range; of far ones, as of another frame, so many as float32 holds."""
    found = (values.astype(np.float64) - minimum) / span
    return np.clip(found, -FARTHEST_SHARE, FARTHEST_SHARE).astype(np.float32)


def _possible(options: EncodeOptions) -> EncodeOptions:
    """The options; without torch, the effort 'instant' takes the place of the default one."""
    if options.effort != "default" or find_spec("torch") is not None:
        return options
    return replace(options, effort="instant")


def _psnr(goal: Goal) -> float:
    return DEFAULT_PSNR if goal.psnr is None else goal.psnr


def _as_written(grid: PreparedGrid, decoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decoded values (N, C) as a .vdb file holds them."""
    if not grid.grid.saved_as_half:
        return decoded
    with np.errstate(over="ignore"):
        return decoded.astype(np.float16).astype(np.float32)


def _outliers(
    grid: PreparedGrid, decoded: NDArray[np.float32], written: NDArray[np.float32]
) -> tuple[LeafValues | None, float]:
    """The values that miss the bound of a grid, and the largest error that is left.

    decoded: float32 (N, C) decoded values
    written: float32 (N, C) the same as a .vdb file holds them
    """
    values, bounds = grid.coded.values, grid.bounds
    most = np.inf if bounds is None else np.array(bounds)

    def of_part(part: slice) -> tuple[float, NDArray[np.int64]]:
        exact = values[part].astype(np.float64)
        missed = np.abs(decoded[part] - exact)
        if written is not decoded:
            missed = np.maximum(missed, np.abs(written[part] - exact))
        kept = (missed <= most).all(axis=1) if bounds is not None else None
        if kept is None or kept.all():
            return float(missed.max()), np.empty(0, dtype=np.int64)
        left = missed[kept]
        return float(left.max()) if len(left) else 0.0, np.flatnonzero(~kept) + part.start

    parts = _parts(values)
    errors, beyond = zip(*in_threads(of_part, parts), strict=True) if parts else ((0.0,), ())
    rows = np.concatenate(beyond) if beyond else np.empty(0, dtype=np.int64)
    if not len(rows):
        return None, max(errors)
    return LeafValues(grid.coded.topology.places()[rows], values[rows]), max(errors)


def _psnr_of(grid: PreparedGrid, component: int, psnr: float) -> float:
    """Give the dB over the active voxels of a grid of those over the coded ones of a component."""
    if grid.source is not None:
        return grid.psnr_of_changes(component)
    return psnr - grid.psnr_gain(component)


def _drift(grid: PreparedGrid, written: NDArray[np.float32]) -> float:
    """By how much the sum of a grid's values changes, over the sum of their magnitudes.

    written: float32 (N, C) decoded values as a .vdb file holds them
    """
    values, coded = grid.grid.values, grid.coded.values

    def whole_of(part: slice) -> float:
        own = values[part]
        return float(np.abs(own[np.isfinite(own)]).sum(dtype=np.float64))

    def changed_of(part: slice) -> float:
        return float((written[part].astype(np.float64) - coded[part]).sum())

    whole = sum(in_threads(whole_of, _parts(values)))
    changed = sum(in_threads(changed_of, _parts(coded))) + float(grid.changes.sum())
    return changed / whole if whole else 0.0


def _parts(values: NDArray[np.float32]) -> list[slice]:
    return [slice(first, first + PART) for first in range(0, len(values), PART)]
