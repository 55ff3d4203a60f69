"""One channel of values to codes: step, networks and codes chosen for a quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inrv.fields.lattice.codec import Observer, RegionCodes, encode_regions
from inrv.fields.lattice.constants import HIGHEST, LARGEST_STEP, SMALLEST_STEP, STEP
from inrv.fields.lattice.context import Channel
from inrv.fields.lattice.exterior import Surroundings
from inrv.fields.lattice.fitting import SLOPE, Collector, RealNetwork, fit_prediction, fit_smoothing
from inrv.fields.lattice.model import Model, default_model, pack_differences
from inrv.fields.lattice.offsets import Offsets
from inrv.fields.lattice.order import LEVELS
from inrv.fields.lattice.regions import region_corners
from inrv.fields.lattice.restoration import smoothing_samples
from inrv.fields.lattice.traversal import Setting
from inrv.grids import Topology, in_double
from inrv.support.parallel import in_turns

FINENESS = 0.6  # step of a stride over that of the next finer one
LEAST_STEP = 1 / (1 << 16)  # of the range: finer ones do not fit the integers
MOST_STEP = 2.0
NEAR_ENOUGH = 0.05  # dB above the asked PSNR
SEARCHES = 7
SCATTERED = 12  # further steps tried where the PSNR jumps, as in small channels
GOLDEN = (math.sqrt(5) - 1) / 2
SURELY_FINER = 0.9  # times the finest step tried, while none reaches the PSNR
SOFT_BITS = 1.5  # a voxel, above which few are left out
TRIAL_VOXELS = 600_000
DB_A_DOUBLING = 4.5  # a first guess of what a step of twice the size costs


@dataclass(frozen=True)
class Effort:
    """How much a channel's networks learn of it.

    rounds   of fitting, each on values decoded with the networks of the one before: which parameters it moves
    steps    of the optimiser in each, at most     passes   over the voxels, at most
    samples  voxels fitted to                      batch    voxels a step
    """

    rounds: tuple[str, ...] = ()
    steps: int = 0
    passes: int = 0
    samples: int = 300_000
    batch: int = 8192


EFFORTS = {
    "instant": Effort(),
    "default": Effort(("few", "all"), 300, 8),
    "thorough": Effort(("few", "all", "all"), 2000, 60, 1_000_000),
}


@dataclass(frozen=True)
class Quality:
    """What is asked of a channel; the first two are alternatives.

    psnr       dB over its voxels, peak = its range
    step       of the finest level, as a share of the range
    guess      a step to begin the search for the PSNR with
    bounded    no value may miss by more than half a step: no smoothing, no thrift
    lossless   every value is a whole number of steps, and comes back so
    """

    psnr: float | None = None
    step: float | None = None
    guess: float | None = None
    bounded: bool = False
    lossless: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """Values of one channel.

    values      float64 (N,)  normalised to [0, 1], by row of the active leaf voxels of `topology`
    background  on the same scale
    given       topology and decoded values, in units, of a channel that the decoder has before
    surroundings  units of the values of inactive and kept voxels, at so many units in the range
    """

    topology: Topology
    values: Tensor
    background: float
    given: tuple[Topology, Tensor] | None = None
    surroundings: Callable[[float], Surroundings] | None = None


@dataclass(frozen=True, eq=False)
class Coding:
    """A coded channel.

    scale   units in the range: a value is decoded / scale          decoded  int32 (N,), units, by row
    offsets  that are added to decoded values, None where a bound on the error leaves no room for them
    surrounded  whether inactive voxels are known to the prediction     soft  whether coarse voxels were aimed at smooth values
    fitted  whether the model is not the default one                squared  mean squared error, of the normalised values
    coded   voxels that `codes` and `squared` are of: all, or those of some regions
    """

    channel: Channel
    scale: float
    surrounded: bool
    soft: bool
    codes: list[RegionCodes]
    decoded: Tensor
    offsets: Offsets | None
    model: Model
    fitted: bool
    squared: float
    coded: int

    @property
    def psnr(self) -> float:
        """DB over the channel's voxels, peak = range."""
        return -10 * math.log10(self.squared) if self.squared > 0 else math.inf

    @property
    def finest(self) -> bool:
        """Whether no finer step fits the integers."""
        return STEP / self.scale <= LEAST_STEP

    @property
    def outputs(self) -> Tensor:
        """The normalised values float64 (N,) that a decoder gives before they are clamped to their range, by row."""
        return (in_double(self.decoded) if self.offsets is None else self.offsets.add(self.decoded)) / self.scale

    @property
    def network_bytes(self) -> int:
        """Stored bytes of the networks."""
        default = default_model(self.model.given, self.model.smoothing is not None)
        return 4 * len(pack_differences(self.model, default)) if self.fitted else 0

    @property
    def bits_a_voxel(self) -> float:
        """Stored bits of the codes, over the coded voxels."""
        return 32 * sum(1 + len(code.words) for code in self.codes) / max(1, self.coded)

    def cost(self, voxels: int) -> float:
        """Bits and distortion of so many voxels coded in the same way, in bits, as the networks' loss weighs them."""
        return voxels * (self.bits_a_voxel + SLOPE * self.squared * (self.scale / STEP) ** 2) + 8 * self.network_bytes


class ChannelEncoder:
    """Finds the coding of one channel."""

    def __init__(
        self, source: Source, quality: Quality, effort: Effort, generator: torch.Generator, model: Model | None = None
    ) -> None:
        self.source = source
        self.quality = quality
        self.effort = effort
        self.generator = generator
        self.corners = region_corners(source.topology.leaf_origins)
        self.trial = self._trial_corners()
        self.model = model or default_model(source.given is not None, not quality.bounded)
        self.fitted = False
        self.surrounded = False
        self.soft = False
        self.made: dict[tuple[float, bool, bool, bool], Attempt] = {}

    def run(self) -> Coding:
        """The coding that reaches the quality with the fewest bytes that the effort allows."""
        found = self.begin()
        if self.effort.rounds:
            self._learn(found)
        return self._search(found.step, self.corners).coding

    def begin(self) -> Attempt:
        """An attempt on some regions, of the step that reaches the quality: as is cheaper, surroundings known, aims soft."""
        found = self._search(self._first_step(), self.trial)
        if self.source.surroundings is not None:
            self.surrounded = not self.surrounded
            found = self._cheaper(found)
        if not self.quality.bounded and found.coding.bits_a_voxel < SOFT_BITS:
            self.soft = not self.soft
            found = self._cheaper(found)
        return found

    def _cheaper(self, found: Attempt) -> Attempt:
        """The attempt, or another with the present settings at its step; the settings are those of the cheaper one then."""
        other = self._attempt(found.step, self.trial)
        found = min(found, other, key=lambda attempt: attempt.coding.cost(len(self.source.values)))
        self.surrounded, self.soft = found.coding.surrounded, found.coding.soft
        return found

    def again(self, step: float) -> Coding:
        """The coding at another step, with the networks found before."""
        return self._attempt(min(MOST_STEP, max(LEAST_STEP, step)), self.corners).coding

    def _learn(self, begun: Attempt) -> None:
        """Fit the networks, round by round, and keep those that make the channel cheapest at the step of `begun`."""
        tried = [begun]
        for movable in self.effort.rounds:
            self._fit(begun.step, movable)
            self.made.clear()
            tried.append(self._attempt(begun.step, self.trial))
        best = min(tried, key=lambda attempt: attempt.coding.cost(len(self.source.values))).coding
        self.model, self.fitted = best.model, best.fitted
        self.made.clear()

    def _first_step(self) -> float:
        """The step that is asked, or guessed, or whose uniform error would give the PSNR."""
        quality = self.quality
        if quality.step is not None:
            return quality.step
        assert quality.psnr is not None
        step = quality.guess or math.sqrt(12) * 10 ** (-quality.psnr / 20)
        return min(MOST_STEP, max(LEAST_STEP, step))

    def _trial_corners(self) -> Tensor:
        """Some of the regions, about TRIAL_VOXELS in all."""
        count = len(self.source.values)
        if count <= TRIAL_VOXELS:
            return self.corners
        share = max(1, round(len(self.corners) * TRIAL_VOXELS / count))
        chosen = torch.randperm(len(self.corners), generator=self.generator)[:share].sort().values
        return self.corners[chosen.to(self.corners.device)]

    def _search(self, step: float, corners: Tensor) -> Attempt:
        """The attempt whose PSNR lies nearest above what is asked; at once where the step is asked."""
        attempt = self._attempt(step, corners)
        if self.quality.psnr is None:
            return attempt
        tried = [attempt]
        for _ in range(SEARCHES):
            if 0 <= tried[-1].psnr - self.quality.psnr <= NEAR_ENOUGH:
                break
            step = _next_step(tried, self.quality.psnr + NEAR_ENOUGH / 2)
            if any(math.isclose(step, attempt.step, rel_tol=1e-4) for attempt in tried):
                break
            tried.append(self._attempt(step, corners))
        for step in self._scattered_steps(tried):
            if any(0 <= attempt.psnr - self.quality.psnr <= 2 * NEAR_ENOUGH for attempt in tried):
                break
            tried.append(self._attempt(step, corners))
        finest = min(tried, key=lambda attempt: attempt.step)
        while not any(attempt.psnr >= self.quality.psnr for attempt in tried) and finest.step > LEAST_STEP:
            finest = self._attempt(max(LEAST_STEP, finest.step * SURELY_FINER), corners)
            tried.append(finest)
        reached = [attempt for attempt in tried if attempt.psnr >= self.quality.psnr]
        return min(reached, key=lambda attempt: attempt.psnr) if reached else max(tried, key=lambda attempt: attempt.psnr)

    def _scattered_steps(self, tried: list[Attempt]) -> list[float]:
        """Steps between those tried that come within a decibel of the quality, by the golden ratio."""
        assert self.quality.psnr is not None
        near = [attempt.step for attempt in tried if abs(attempt.psnr - self.quality.psnr) < 1]
        if len(near) < 2:
            return []
        return [min(near) * (max(near) / min(near)) ** (number * GOLDEN % 1) for number in range(1, SCATTERED + 1)]

    def _attempt(self, step: float, corners: Tensor) -> Attempt:
        """`_code`, or what it gave before with the same networks."""
        key = (step, self.surrounded, self.soft, len(corners) == len(self.corners))
        if key not in self.made:
            self.made[key] = self._code(step, corners)
        return self.made[key]

    def _code(self, step: float, corners: Tensor, observer: Observer | None = None) -> Attempt:
        """Code the regions at `corners` with a step; the voxels of other regions keep their values."""
        source, scale = self.source, STEP / step
        targets = (source.values * scale).round().to(torch.int32)
        channel = self.channel(scale, int(targets.max()))
        thrift = 0.0 if self.quality.bounded else 1.0
        codes, rows, decoded = encode_regions(
            self.setting(scale), corners, targets, channel, self.model, thrift, self.soft, observer
        )
        values = targets.clone()
        values[rows] = decoded
        offsets, exact = None, (targets if channel.lossless else source.values * scale)[rows].double()
        if not self.quality.bounded:
            offsets = Offsets.of(decoded, exact, channel.top, scale)
        given = decoded.double() if offsets is None else offsets.add(decoded)
        highest = channel.top if channel.lossless else scale
        squared = float(((exact - given.clamp(0, highest)) / scale).square().mean())
        settings = (self.surrounded, self.soft)
        coding = Coding(channel, scale, *settings, codes, values, offsets, self.model, self.fitted, squared, len(rows))
        return Attempt(step, coding)

    def setting(self, scale: float) -> Setting:
        """What the decoder knows, at so many units in the range."""
        source = self.source
        known = source.surroundings if self.surrounded else None
        return Setting(source.topology, source.given, None if known is None else known(scale))

    def channel(self, scale: float, top: int) -> Channel:
        """The channel of so many units in the range, whose largest value is `top`."""
        lossless = self.quality.lossless
        fineness = 1.0 if lossless else FINENESS
        steps = tuple(min(LARGEST_STEP, max(SMALLEST_STEP, round(STEP * fineness**level))) for level in range(LEVELS))
        background = max(-HIGHEST, min(HIGHEST, round(self.source.background * scale)))
        return Channel(steps, max(1, top), background, lossless)

    def _fit(self, step: float, movable: str) -> None:
        """Fit `movable` parameters of the networks, 'few' or 'all', to the values as the present networks decode them."""
        effort, smoothing = self.effort, self.model.smoothing
        steps = min(effort.steps, -(-effort.passes * len(self.source.values) // effort.batch))
        self.model = replace(self.model, smoothing=None)
        share = min(1.0, effort.samples / max(1, len(self.source.values)) * len(self.corners) / len(self.trial))
        collector = Collector(share, self.generator)
        self._code(step, self.trial, collector)
        reals = {odd: RealNetwork.of(network, movable) for odd, network in self.model.networks.items()}
        seeds = torch.randint(1 << 31, (1 + max(reals),), generator=self.generator).tolist()
        fits = [
            fit_prediction(real, collector.samples(odd), steps, 2e-3, effort.batch, torch.Generator().manual_seed(seeds[odd]))
            for odd, real in reals.items()
            if collector.parts.get(odd)
        ]
        in_turns(fits, self.source.values.device)
        self.model = replace(self.model, networks={odd: real.whole() for odd, real in reals.items()})
        if smoothing is not None:
            coding = self._code(step, self.trial).coding
            targets = (self.source.values * coding.scale).round().to(torch.int32)
            inputs, errors = smoothing_samples(
                self.setting(coding.scale), self.trial, coding.decoded, targets, coding.channel, share, self.generator
            )
            real = RealNetwork.of(smoothing, movable)
            in_turns([fit_smoothing(real, inputs, errors, steps, 2e-3, effort.batch, self.generator)], inputs.device)
            self.model = replace(self.model, smoothing=real.whole())
        self.fitted = True


@dataclass(frozen=True, eq=False)
class Attempt:
    """A step and what coding with it gave."""

    step: float
    coding: Coding

    @property
    def psnr(self) -> float:
        """DB, over the voxels that were coded."""
        return self.coding.psnr


def _next_step(tried: list[Attempt], psnr: float) -> float:
    """The step where the line through the two nearest attempts, dB over log step, meets `psnr`."""
    near = sorted(tried, key=lambda attempt: abs(attempt.psnr - psnr))
    slope = -DB_A_DOUBLING
    if len(near) > 1 and near[0].psnr != near[1].psnr:
        found = (near[0].psnr - near[1].psnr) / math.log2(near[0].step / near[1].step)
        slope = min(-1.0, max(-8.0, found))
    octaves = max(-3.0, min(3.0, (psnr - near[0].psnr) / slope))
    step = near[0].step * 2**octaves
    # Between the largest step that reaches the quality and the smallest above it that does not, where there are both.
    good = max((attempt.step for attempt in tried if attempt.psnr >= psnr), default=None)
    bad = min((attempt.step for attempt in tried if attempt.psnr < psnr and attempt.step > (good or 0)), default=None)
    if good and bad and not good < step < bad:
        step = math.sqrt(good * bad)
    return min(MOST_STEP, max(LEAST_STEP, step))
