"""One channel of values to codes: step, networks and codes are searched for a quality.

A *trial* codes some regions with a step and with settings: which networks, whether the exterior is
known, whether coarse voxels are prefiltered. The search compares trials; the best one's settings
and step code the whole channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import LEVELS, WAVELET_TOP, ContextSamples, Scaling
from inrv.fields.lattice.codec import (
    TRELLIS_WEIGHT,
    AnyReference,
    ChannelParameters,
    EncodedRegion,
    Setting,
    region_encoder,
)
from inrv.fields.lattice.constants import (
    HIGHEST,
    LARGEST_STEP,
    SETS,
    SLOPE,
    SMALLEST_STEP,
    STEP,
)
from inrv.fields.lattice.exterior import Exterior
from inrv.fields.lattice.model import Differences, Model, default_model
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.offsets import Offsets
from inrv.fields.lattice.readout import fitted_prediction, fitted_restoration
from inrv.fields.lattice.regions import Regions
from inrv.fields.lattice.samples import ChannelSamples, Sampling, restoration_samples
from inrv.fields.lattice.steps import LEAST_STEP, MOST_STEP
from inrv.fields.lattice.suiting import by_suiting
from inrv.grids import Topology
from inrv.support.parallel import in_threads

if TYPE_CHECKING:
    from inrv.fields.lattice.fitting import Fitter

# Step of a stride over that of the next finer one.
FINENESS = 0.6  # measured: docs/lab-notes.md#steps-and-rate
NEAR_ENOUGH = 0.05  # dB above the asked PSNR
AIM = 0.02  # dB above it
SEARCHES = 7
# Octaves between two trials whose slope counts as much as the one known before: the PSNR of few
# voxels jumps. See docs/lab-notes.md#quality-search
UNSURE = 0.05
SCATTERED = 40  # further steps tried where the PSNR jumps, as in small channels
GOLDEN = (math.sqrt(5) - 1) / 2
SURELY_FINER = 0.97  # times the finest step tried, while none reaches the PSNR
SUITING_VOXELS = 12_000  # that tell which sets of networks suit a channel
RIVALS = 3  # sets that are tried at the quality; the filter may make the second one the best
LOW_RATE = 0.5  # bits a voxel, above which trellis and filter pay; see docs/lab-notes.md#trellis
PREFILTER_BITS = 1.5  # a voxel, above which few are left out; see docs/lab-notes.md#prefilter
WAVELET_BITS = 3.0  # a voxel, above which no channel was smaller as a wavelet
WAVELET_WEIGHT = 0.8  # what a bit counts in a wavelet, of what it does without a trellis
DB_A_BIT = 6.02  # that a bit more a voxel gains, where most coefficients are not 0
SURELY_MORE = 1.25  # times the bits of a lattice, where a first trial tells enough
LEAST_FITTED = 700  # bytes of codes, below which readouts are not worth theirs
LEAST_LEARNED = 80_000  # the same, below which no weights beside readouts are worth theirs
READ_ON = 0.99  # of a trial's cost, that a round of readouts leaves where another one is made
FILTER_PAYS = 0.985  # of the bytes, that a wavelet's filter leaves: it takes a sixth of the time
FILTER_GAINS = 0.95  # of the bytes, that a fitted filter of a wavelet leaves at best, about
COARSE_STEP = 1.0  # of the range, above which a wavelet's step has more units
MOST_WAVELET_STEP = 8.0  # of the range
WAVELET_STEP = 1.3  # of a wavelet, over that of a lattice of the same quality, about
REGION_BYTES = 6  # of a region beside its codes, about
# A first guess of what a step of twice the size costs; see docs/lab-notes.md#quality-search
DB_A_DOUBLING = 5.5

Ints = NDArray[np.int32]
Numbers = tuple[int, ...]  # of regions


@dataclass(frozen=True)
class Effort:
    """How much a channel's networks learn of it.

    readouts: rounds in which readouts are fitted, each on values decoded with those of the one
        before
    read: voxels that they are fitted to
    rivals: sets of default networks, those that suit a channel best, whose readouts are fitted
        beside those of the set that trials have chosen
    rounds: in which all weights are fitted, each on values decoded with those of the one before
    steps: of the optimiser in each round, at most
    passes: of each network over its own samples in each round, at most
    samples: voxels fitted to
    batch: voxels a step of the optimiser
    trial: voxels of the regions that trials code, about
    readout_trial: the same, of the trials that readouts are fitted to
    """

    readouts: int = 3
    read: int = 60_000
    rivals: int = 0
    rounds: int = 0
    steps: int = 0
    passes: int = 0
    samples: int = 300_000
    batch: int = 8192
    trial: int = 600_000
    readout_trial: int = 600_000

    def steps_for(self, samples: int) -> int:
        """The steps of a network with so many samples."""
        return min(self.steps, -(-self.passes * samples // self.batch))


# measured: docs/lab-notes.md#readouts and docs/lab-notes.md#fitting-the-networks
EFFORTS = {
    "instant": Effort(trial=300_000),  # measured: docs/lab-notes.md#quality-search
    "default": Effort(6, 100_000, 3, 1, 300, 20, batch=4096),
    "thorough": Effort(6, 300_000, SETS, 2, 2000, 150, 1_000_000),
}


@dataclass(frozen=True)
class Quality:
    """What is asked of a channel; the first two are alternatives.

    psnr: dB over its voxels, peak = its range
    step: of the finest level, as a share of the range
    guess: a step to begin the search for the PSNR with
    bounded: whether no value may miss by more than half a step: then nothing is filtered, and the
        rate has no weight
    lossless: whether every value is a whole number of steps, and comes back so
    """

    psnr: float | None = None
    step: float | None = None
    guess: float | None = None
    bounded: bool = False
    lossless: bool = False


@dataclass(frozen=True, eq=False)
class ChannelValues:
    """Values of one channel.

    topology: of the voxels that are coded
    values: float64 (N,) normalised to [0, 1], by row of the active leaf voxels of `topology`
    background: on the same scale
    reference: makes what the channel is predicted from, given how many units the range has; None:
        nothing
    exterior: makes the exterior, given how many units the range has
    """

    topology: Topology
    values: NDArray[np.float64]
    background: float
    reference: Callable[[float], AnyReference] | None = None
    exterior: Callable[[float], Exterior] | None = None

    @cached_property
    def regions(self) -> Regions:
        """The regions of its topology."""
        return Regions(self.topology)

    @cached_property
    def largest(self) -> float:
        """The largest value."""
        return float(self.values.max())

    def top(self, scale: float) -> int:
        """The largest value in units, of which `scale` make the range."""
        return max(1, round(self.largest * scale))


@dataclass(frozen=True, eq=False)
class Settings:
    """What a channel is coded with, beside its step.

    model: the networks
    set: number of their set of default networks
    fitted: whether the model is not that of the set
    knows_exterior: whether inactive voxels are known to the prediction
    prefiltered: whether coarse voxels are coded as a smooth version of them
    trellis: whether codes are of two quantisers in turn
    wavelet: whether regions are coded as wavelets
    """

    model: Model
    set: int = 0
    fitted: bool = False
    knows_exterior: bool = False
    prefiltered: bool = False
    trellis: bool = False
    wavelet: bool = False


@dataclass(frozen=True, eq=False)
class EncodedChannel:
    """A channel, or some regions of it, encoded.

    channel: what the decoder knows before its voxels
    scale: units in the range: a value is decoded / scale
    settings: what it is coded with
    regions: those that were coded, in their order
    offsets: added to decoded values; None where a bound on the error leaves no room for them
    squared: mean squared error, of the normalised values that were coded
    coded: how many voxels `regions` and `squared` are of
    """

    channel: ChannelParameters
    scale: float
    settings: Settings
    regions: list[EncodedRegion]
    offsets: Offsets | None
    squared: float
    coded: int

    @cached_property
    def decoded(self) -> Ints:
        """The decoded values int32 (N,), in units, by row, where all regions were coded."""
        return np.concatenate([region.decoded for region in self.regions])

    def scaling(self, minimum: float, maximum: float) -> Scaling:
        """How its units stand for values between these."""
        offsets = None if self.offsets is None else self.offsets.knots.astype(np.float64)
        return Scaling(self.scale, minimum, maximum, self.channel.top, offsets)

    @property
    def samples(self) -> list[ContextSamples]:
        """Contexts of some voxels by region, where they were asked for."""
        return [region.samples for region in self.regions if region.samples is not None]

    @property
    def model(self) -> Model:
        """The networks."""
        return self.settings.model

    @property
    def fitted(self) -> bool:
        """Whether the model is not the default one."""
        return self.settings.fitted

    @property
    def knows_exterior(self) -> bool:
        """Whether inactive voxels are known to the prediction."""
        return self.settings.knows_exterior

    @property
    def psnr(self) -> float:
        """DB over the coded voxels, peak = range."""
        return -10 * math.log10(self.squared) if self.squared > 0 else math.inf

    @property
    def step(self) -> float:
        """Of the finest level, as a share of the range."""
        return self.channel.steps[0] / self.scale

    @property
    def finest(self) -> bool:
        """Whether no finer step fits the integers."""
        return self.step <= LEAST_STEP

    @property
    def outputs(self) -> NDArray[np.float64]:
        """Normalised values float64 (N,) that a decoder gives before clamping them, by row."""
        if self.offsets is None:
            return self.decoded.astype(np.float64) / self.scale
        return self.offsets.add(self.decoded) / self.scale

    @cached_property
    def differences(self) -> Differences:
        """What its networks differ by from those of their set."""
        restoration, own = self.model.restoration is not None, self.settings
        default = default_model(self.model.reference, restoration, own.set, own.wavelet)
        return Differences.of(self.model, default)

    @property
    def network_bytes(self) -> int:
        """Stored bytes of the networks."""
        return self.differences.size if self.fitted else 0

    @property
    def bits_a_voxel(self) -> float:
        """Stored bits of the codes, over the coded voxels."""
        size = sum(REGION_BYTES + region.stored.codes.size for region in self.regions)
        return 8 * size / max(1, self.coded)

    def cost(self, voxels: int) -> float:
        """Bits and distortion, in bits, of so many voxels coded alike, as fitting weighs them."""
        distortion = slope_of(self.settings) * self.squared / self.step**2
        return voxels * (self.bits_a_voxel + distortion) + 8 * self.network_bytes


@dataclass(frozen=True, eq=False)
class Trial:
    """A step and what coding with it gave.

    shares: of the voxels of each level whose contexts it gives, the finest first
    """

    step: float
    encoded: EncodedChannel
    shares: tuple[float, ...] = ()

    @property
    def settings(self) -> Settings:
        """What the channel was coded with, beside the step."""
        return self.encoded.settings

    @property
    def psnr(self) -> float:
        """DB, over the voxels that were coded."""
        return self.encoded.psnr

    @property
    def samples(self) -> ChannelSamples:
        """The contexts that it gives."""
        channel = self.encoded.channel
        return ChannelSamples(self.encoded.samples, channel.steps, channel.top, self.shares)


class ChannelEncoder:
    """Finds how one channel is coded.

    values: the channel
    quality: what is asked
    effort: how much the networks learn
    fitter: makes what fits all weights of networks, where the effort has rounds
    like: another form of the channel, of which the regions that trials code are chosen
    """

    def __init__(
        self,
        values: ChannelValues,
        quality: Quality,
        effort: Effort,
        fitter: Callable[[], Fitter] | None = None,
        like: ChannelValues | None = None,
    ) -> None:
        self.values = values
        self.quality = quality
        self.effort = effort
        self.fitter = fitter
        self.all = tuple(range(len(values.regions)))
        like = values if like is None else like
        details = _details(like)
        likest = _by_likeness(like.regions, details)
        some = _some_regions(like.regions, likest, effort.trial)
        more = _some_regions(like.regions, likest, effort.readout_trial)
        others = _others(details, more)
        self.some, self.more, self.others = map(self._own, (some, more, others), [like] * 3)
        tried = sum(map(like.regions.voxels, more))
        self.scale = len(like.values) / max(1, tried)  # of the channel over `more`, about
        referring, known = values.reference is not None, values.exterior is not None
        self.choices = [
            Settings(own, number, knows_exterior=known, trellis=not quality.bounded)
            for number, own in enumerate(
                default_model(referring, not quality.bounded, number) for number in range(SETS)
            )
        ]
        self.suited = self.choices  # the one that suits the channel best first
        self.settings = self.choices[0]  # that `again` codes with; found by `run`
        self.beside_wavelet = self.settings  # the best of a lattice; for steps beyond a wavelet's
        self.trials: dict[tuple[Settings, float, Numbers], Trial] = {}
        self.slope = -DB_A_DOUBLING  # of the PSNR over the step, dB an octave, as last seen

    def run(self) -> EncodedChannel:
        """The channel at the quality that is asked, in the fewest bytes that the effort allows."""
        begun = self._begun()
        found = min(map(self._read_out, [begun, *self._rivals(begun)]), key=self._cost)
        if self.effort.rounds and self._codes(found) >= LEAST_LEARNED:
            found = self._learned(found)
        self.beside_wavelet = found.settings
        found = self._as_wavelet(found)
        self.settings = found.settings
        encoded = self._search(self.settings, found.step, self.all).encoded
        self.trials = {}  # each holds the values of the whole channel
        return encoded

    def estimate(self) -> tuple[float, float]:
        """Bits that codes of the quality take, about, without networks that learn, and a step."""
        found = self._as_wavelet(self._read_out(self._begun()))
        trial = self._search(found.settings, found.step, self.more)
        asked = self.quality.psnr
        bits = self._bits(trial) if asked is None else self._bits_at(trial, asked)
        return bits * trial.encoded.coded * self.scale, trial.step

    def promise(self) -> float:
        """What coding the channel would cost, about, at a step that is about right: bits and error.

        The costs of encoders of one channel, with one reference or another, can be compared.
        """
        step = self._first_step()
        (suited, *_) = self._suited(step)
        return self._cost(self._trials([(suited, step)], self.some)[0])

    def _begun(self) -> Trial:
        """A trial on some regions that is near the quality, with the cheapest of the settings."""
        step = self._first_step()
        self.suited = suited = self._suited(step)
        choices = suited[:1]
        if self.values.exterior is not None:
            choices.append(replace(suited[0], knows_exterior=False))
        found = self._cheapest(choices, step)
        found = self._search(found.settings, found.step, self.some)
        for rival in suited[1:RIVALS]:
            other = replace(found.settings, model=rival.model, set=rival.set)
            found = self._cheapest([found.settings, other], found.step)
        if self.quality.bounded:
            return found
        if found.encoded.bits_a_voxel < PREFILTER_BITS:
            choices = [found.settings, replace(found.settings, prefiltered=True)]
            found = self._cheapest(choices, found.step)
        if found.encoded.bits_a_voxel < LOW_RATE:
            found = self._bared(found)
        return found

    def _suited(self, step: float) -> list[Settings]:
        """The settings to begin with, those with the set that suits the channel best first.

        step: a step that is tried
        """
        trial = self._sampled(self.choices[0], step, self.some, SUITING_VOXELS)
        models = [settings.model for settings in self.choices]
        return [self.choices[number] for number in by_suiting(models, trial.samples)]

    def _bared(self, found: Trial) -> Trial:
        """A trial, or one without the trellis or the filter, which may not pay at a low rate."""
        settings, step = found.settings, found.step
        # So much finer, one quantiser takes a bit to be worth as much as the two of a trellis.
        plain, finer = replace(settings, trellis=False), step * math.sqrt(TRELLIS_WEIGHT)
        bare = [
            (replace(own, model=replace(own.model, restoration=None)), size)
            for own, size in ((settings, step), (plain, finer))
        ]
        return min([found, *self._trials([(plain, finer), *bare], self.some)], key=self._cost)

    def _as_wavelet(self, found: Trial) -> Trial:
        """A trial, or one of the same quality with wavelets, where that takes fewer bits."""
        if self.quality.bounded or self._bits(found) > WAVELET_BITS:
            return found
        # Fits have moved the trial from the quality, at which they are to be compared.
        found = self._search(found.settings, found.step, self.some)
        bits = self._bits(found)
        asked, step = found.psnr, found.step * WAVELET_STEP
        for restores in (False, True):
            settings = Settings(default_model(False, restores, wavelet=True), wavelet=True)
            step = min(most_step(settings), max(least_step(self.values, settings), step))
            (first,) = self._trials([(settings, step)], self.some)
            # What it would take at the quality, about: most channels need no more than this trial.
            if self._bits_at(first, asked) > SURELY_MORE * bits:
                return found
            if restores and self._codes(first) > LEAST_FITTED:
                sampled = self._read(settings, step)
                (fitted,) = self._trials([(self._restoring(sampled), step)], self.more)
                cheaper = min(sampled, fitted, key=self._cost)
                settings = self._proved(settings, cheaper).settings
            trial = self._search(settings, step, self.some, asked)
            own, step = self._bits(trial), trial.step
            if trial.psnr < asked - NEAR_ENOUGH or own > bits / FILTER_GAINS:
                return found
            if own < (FILTER_PAYS if found.settings.wavelet else 1) * bits:
                found, bits = trial, own
        return found

    def _bits(self, trial: Trial) -> float:
        """Stored bits of a trial's codes and networks, a voxel."""
        networks = 8 * trial.encoded.network_bytes / max(1, len(self.values.values))
        return trial.encoded.bits_a_voxel + networks

    def _bits_at(self, trial: Trial, psnr: float) -> float:
        """The bits of a trial, and those that would bring it to a PSNR, dB, a voxel, about."""
        own = self._bits(trial)
        return own + (psnr - trial.psnr) / DB_A_BIT * min(1.0, own)

    def again(self, step: float, values: ChannelValues) -> EncodedChannel:
        """The channel at another step, with the settings that `run` found.

        values: the channel, whose reference may have been decoded anew
        """
        settings = self.settings
        if step < least_step(values, settings):
            settings = self.beside_wavelet
        step = min(most_step(settings), max(LEAST_STEP, step))
        return encode_channel(values, self.quality, settings, step, self.all)

    def _cheapest(self, choices: Sequence[Settings], step: float) -> Trial:
        """The trial that costs least among those with some settings at a step."""
        trials = self._trials([(settings, step) for settings in choices], self.some)
        return min(trials, key=self._cost)

    def _cost(self, trial: Trial) -> float:
        return trial.encoded.cost(len(self.values.values))

    def _read_out(self, found: Trial) -> Trial:
        """The cheapest of a trial and those with readouts fitted to it, round by round.

        They code the same regions, more than the trial that is given does.
        """
        begun, best = found.settings, None
        for _ in range(self.effort.readouts):
            if self._codes(found) < LEAST_FITTED:
                break
            sampled = self._read(found.settings, found.step)
            best = best or sampled
            trial = self._read(self._predicting(sampled), found.step)
            if trial.settings.model.restoration is not None:
                trial = self._read(self._restoring(trial), found.step)
            before, after = self._cost(best), self._cost(trial)
            if after < before:
                found = best = trial
            if after > READ_ON * before:
                break
        return self._proved(begun, best) if best else found

    def _proved(self, begun: Settings, found: Trial) -> Trial:
        """A trial with fitted readouts, or without, as is cheaper where nothing was fitted.

        begun: the settings before
        """
        if not self.others or found.settings is begun:
            return found
        own, step = found.settings, found.step
        choices, before, after = [begun, own], begun.model, own.model
        if before.networks is not after.networks and before.restoration is not after.restoration:
            plain = replace(own, model=replace(after, restoration=before.restoration))
            choices.insert(1, plain)
        trials = self._trials([(settings, step) for settings in choices], self.others)
        chosen = min(trials, key=self._cost).settings
        return self._trials([(chosen, step)], self.more)[0]

    def _rivals(self, found: Trial) -> list[Trial]:
        """Trials with other sets, whose readouts, once fitted, may make them the cheapest."""
        rivals = self.suited[: self.effort.rivals]
        others = [own for own in rivals if own.set != found.settings.set]
        if self._codes(found) < LEAST_FITTED:
            return []
        bare = found.settings.model.restoration is None
        attempts = [
            replace(
                found.settings,
                set=own.set,
                model=replace(own.model, restoration=None) if bare else own.model,
            )
            for own in others
        ]
        return self._trials([(settings, found.step) for settings in attempts], self.some)

    def _codes(self, trial: Trial) -> float:
        """Bytes of the codes of the channel, coded as a trial is, about."""
        return trial.encoded.bits_a_voxel * len(self.values.values) / 8

    def _read(self, settings: Settings, step: float) -> Trial:
        """A trial that gives contexts of the voxels to which readouts are fitted."""
        return self._sampled(settings, step, self.more, self.effort.read)

    def _sampled(self, settings: Settings, step: float, regions: Numbers, voxels: int) -> Trial:
        """A trial that gives contexts of about so many voxels of its finest level, drawn."""
        known = self.trials.get((settings, step, regions))
        if known is not None and known.shares:
            return known
        shares = _shares(voxels / max(1, sum(map(self.values.regions.voxels, regions))))
        sampling = Sampling(tuple(shares), 0)
        encoded = encode_channel(self.values, self.quality, settings, step, regions, sampling)
        trial = Trial(step, encoded, sampling.shares)
        self.trials[settings, step, regions] = trial
        return trial

    def _predicting(self, sampled: Trial) -> Settings:
        """The settings of a trial, the readouts of its networks fitted to what it has decoded."""
        settings, found, scale = sampled.settings, sampled.samples, self._scale(sampled)
        begun = default_model(settings.model.reference, False, settings.set)
        slope = 0.0 if self.quality.bounded else slope_of(settings)

        def fitted(odd: int) -> IntegerNetwork:
            network = settings.model.networks[odd]
            samples = found.prediction(odd, len(network.tensors["first.weight"]))
            if samples is None:
                return network
            samples = samples._replace(weight=samples.weight * np.float32(scale))
            return fitted_prediction(network, begun.networks[odd], samples, slope)

        odds = list(settings.model.networks)
        networks = dict(zip(odds, in_threads(fitted, odds), strict=True))
        return replace(settings, model=replace(settings.model, networks=networks), fitted=True)

    def _restoring(self, sampled: Trial) -> Settings:
        """The settings of a trial, the readout of its filter fitted to what it has decoded."""
        settings, found = sampled.settings, sampled.samples
        network, samples = settings.model.restoration, restoration_samples(found.parts)
        begun = default_model(False, True, settings.set, settings.wavelet).restoration
        assert network is not None and begun is not None
        if not len(samples.errors):
            return settings
        worth = slope_of(settings) / found.steps[0] ** 2
        weight = self._scale(sampled) / found.shares[0]
        fitted = fitted_restoration(network, begun, samples, found.top, worth, weight)
        return replace(settings, model=replace(settings.model, restoration=fitted), fitted=True)

    def _scale(self, trial: Trial) -> float:
        """Voxels of the channel for one of those that a trial has coded."""
        return len(self.values.values) / max(1, trial.encoded.coded)

    def _learned(self, begun: Trial) -> Trial:
        """The cheapest of a trial and those with networks fitted to it, round by round."""
        tried = [begun]
        for _ in range(self.effort.rounds):
            model = self._fitted(tried[-1].settings, begun.step)
            settings = replace(begun.settings, model=model, fitted=True)
            tried += self._trials([(settings, begun.step)], self.more)
        return min(tried, key=self._cost)

    def _first_step(self) -> float:
        """The step that is asked, or guessed, or whose uniform error would give the PSNR."""
        quality = self.quality
        if quality.step is not None:
            return quality.step
        assert quality.psnr is not None
        step = quality.guess or math.sqrt(12) * 10 ** (-quality.psnr / 20)
        return min(MOST_STEP, max(LEAST_STEP, step))

    def _own(self, numbers: Numbers, like: ChannelValues) -> Numbers:
        """The numbers here of regions of another form of the channel."""
        if like is self.values:
            return numbers
        keys = (int(like.regions.keys[number]) for number in numbers)
        own = (self.values.regions.number(key) for key in keys)
        return tuple(number for number in own if number >= 0)

    def _search(
        self, settings: Settings, step: float, regions: Numbers, asked: float | None = None
    ) -> Trial:
        """The trial whose PSNR lies nearest above what is asked; the first for a step.

        step: to begin with, where the regions were not yet tried with these settings
        asked: the PSNR, dB; None: that of the quality
        """
        least, most = least_step(self.values, settings), most_step(settings)
        step = min(most, max(least, step))
        tried = [
            trial
            for (own, _, coded), trial in self.trials.items()
            if own is settings and coded == regions
        ] or self._trials([(settings, step)], regions)
        asked = self.quality.psnr if asked is None else asked
        if asked is None:
            return tried[0]
        for _ in range(SEARCHES):
            if any(0 <= trial.psnr - asked <= NEAR_ENOUGH for trial in tried):
                break
            step = _next_step(tried, asked + AIM, self.slope, least, most)
            if any(math.isclose(step, trial.step, rel_tol=1e-4) for trial in tried):
                break
            tried += self._trials([(settings, step)], regions)
        for step in _scattered_steps(tried, asked):
            if any(0 <= trial.psnr - asked <= 2 * NEAR_ENOUGH for trial in tried):
                break
            tried += self._trials([(settings, step)], regions)
        self.slope = _slope(tried, asked, self.slope)
        finest = min(tried, key=lambda trial: trial.step)
        while all(trial.psnr < asked for trial in tried) and finest.step > least:
            step = max(least, finest.step * SURELY_FINER)
            (finest,) = self._trials([(settings, step)], regions)
            tried.append(finest)
        reached = [trial for trial in tried if trial.psnr >= asked]
        if not reached:
            return max(tried, key=lambda trial: trial.psnr)
        return min(reached, key=lambda trial: trial.psnr)

    def _trials(self, attempts: Sequence[tuple[Settings, float]], regions: Numbers) -> list[Trial]:
        """What coding some regions gives, side by side; each trial is made once.

        attempts: settings and step of each
        """
        keys = [(settings, step, regions) for settings, step in attempts]
        new = [key[:2] for key in keys if key not in self.trials]
        for (settings, step), encoded in zip(
            new, encode_channels(self.values, self.quality, new, regions), strict=True
        ):
            self.trials[settings, step, regions] = Trial(step, encoded)
        return [self.trials[key] for key in keys]

    def _fitted(self, settings: Settings, step: float) -> Model:
        """Networks, all their weights fitted to the values as those of the settings decode them."""
        assert self.fitter is not None
        fitter = self.fitter()
        effort, values, restoration = self.effort, self.values, settings.model.restoration
        count = len(values.values)
        share = min(1.0, effort.samples / max(1, count) * len(self.all) / len(self.some))
        bare = replace(settings, model=replace(settings.model, restoration=None))
        samples = self._contexts(bare, step, _shares(share))
        networks = fitter.networks(bare.model.networks, samples, effort)
        model = replace(settings.model, networks=networks)
        if restoration is None:
            return model
        samples = self._contexts(replace(bare, model=model), step, [share] + [0.0] * (LEVELS - 1))
        restoration = fitter.restoration(restoration, samples, effort)
        return replace(model, restoration=restoration)

    def _contexts(self, settings: Settings, step: float, shares: list[float]) -> ChannelSamples:
        """Contexts of voxels of some regions, as the settings decode them.

        shares: of the voxels of each level, the finest first
        """
        assert self.fitter is not None
        sampling = Sampling(tuple(shares), self.fitter().seed())
        encoded = encode_channel(self.values, self.quality, settings, step, self.some, sampling)
        return Trial(step, encoded, sampling.shares).samples


def _shares(finest: float) -> list[float]:
    """Shares of the voxels of each level, the finest first, of which coarser ones have more.

    finest: of the finest level
    """
    return [min(1.0, finest * (1 + level)) for level in range(LEVELS)]


def _some_regions(regions: Regions, ordered: list[int], voxels: int) -> Numbers:
    """The first of the regions, in some order, that have so many voxels.

    All of them where they are not four times as many: the last trial is then the result.
    """
    sums = np.cumsum([regions.voxels(number) for number in ordered])
    count = int(sums[-1]) if len(sums) else 0
    needed = int(np.searchsorted(sums, min(voxels, count))) + 1
    if not count or 4 * sums[needed - 1] > count:
        return tuple(sorted(ordered))
    return tuple(sorted(ordered[:needed]))


def _others(details: NDArray[np.float64], tried: Numbers) -> Numbers:
    """As many regions as were tried, beside these; none where these are all.

    They are those with the most details, of which most bits and errors come.
    """
    if len(tried) == len(details):
        return ()
    known = set(tried)
    left = [number for number in np.argsort(-details).tolist() if number not in known]
    return tuple(sorted(left[: len(tried)]))


def _details(values: ChannelValues) -> NDArray[np.float64]:
    """Sums of the changes from voxel to voxel, float64 (R,), of each region."""
    changes = np.abs(np.diff(values.values, append=values.values[-1:]))
    numbers = range(len(values.regions))
    return np.array([changes[values.regions.rows(number)].sum() for number in numbers])


def _by_likeness(regions: Regions, details: NDArray[np.float64]) -> list[int]:
    """The numbers of the regions, first those that are as detailed as all voxels together are.

    A trial of another region would be near the quality at another step, and choose for that one.
    """
    voxels = np.array([regions.voxels(number) for number in range(len(regions))])
    unlike = np.abs(details / np.maximum(1, voxels) - details.sum() / max(1, voxels.sum()))
    order: list[int] = np.argsort(unlike, kind="stable").tolist()
    return order


def encode_channel(
    values: ChannelValues,
    quality: Quality,
    settings: Settings,
    step: float,
    regions: Numbers,
    sampling: Sampling | None = None,
) -> EncodedChannel:
    """Code some regions with a step."""
    return encode_channels(values, quality, [(settings, step)], regions, sampling)[0]


def encode_channels(
    values: ChannelValues,
    quality: Quality,
    attempts: Sequence[tuple[Settings, float]],
    regions: Numbers,
    sampling: Sampling | None = None,
) -> list[EncodedChannel]:
    """Code some regions with each of some settings and steps, all side by side."""
    channels, encoders = list[ChannelParameters](), list[Callable[[int], EncodedRegion]]()
    for settings, step in attempts:
        scale = units_of(settings, step) / step
        channels.append(channel_of(values, quality, settings, step))
        encoders.append(
            region_encoder(
                setting_of(values, settings, scale),
                values.values,
                scale,
                channels[-1],
                settings.model,
                rate_weight_of(quality, settings),
                settings.prefiltered,
                sampling,
            )
        )
    jobs = [(encoder, number) for encoder in encoders for number in regions]
    found = in_threads(lambda job: job[0](job[1]), jobs)
    result = list[EncodedChannel]()
    for place, ((settings, step), channel) in enumerate(zip(attempts, channels, strict=True)):
        own = found[place * len(regions) : (place + 1) * len(regions)]
        errors = np.concatenate([region.errors for region in own])
        scale = units_of(settings, step) / step
        offsets, squared = None, float(errors[:, 3].sum())
        if not quality.bounded:
            offsets, squared = Offsets.of(errors, scale, channel.top)
        coded = sum(len(region.decoded) for region in own)
        squared /= max(1, coded) * scale * scale
        result.append(EncodedChannel(channel, scale, settings, own, offsets, squared, coded))
    return result


def units_of(settings: Settings, step: float) -> int:
    """Units of a step: more of a coarse one of a wavelet, so that values keep their precision."""
    return LARGEST_STEP if settings.wavelet and step > COARSE_STEP else STEP


def most_step(settings: Settings) -> float:
    """The coarsest step, as a share of the range."""
    return MOST_WAVELET_STEP if settings.wavelet else MOST_STEP


def least_step(values: ChannelValues, settings: Settings) -> float:
    """The finest step whose units fit the integers, as a share of the range."""
    if not settings.wavelet:
        return LEAST_STEP
    return max(LEAST_STEP, values.largest * STEP / (WAVELET_TOP - 1))


def slope_of(settings: Settings) -> float:
    """Bits that a squared step is worth where networks are fitted and trials compared."""
    return SLOPE / TRELLIS_WEIGHT if settings.trellis else SLOPE


def rate_weight_of(quality: Quality, settings: Settings) -> float:
    """How much a bit counts against the squared error."""
    if quality.bounded:
        return 0.0
    return WAVELET_WEIGHT if settings.wavelet else TRELLIS_WEIGHT if settings.trellis else 1.0


def setting_of(values: ChannelValues, settings: Settings, scale: float) -> Setting:
    """What the decoder knows, at so many units in the range."""
    known = values.exterior if settings.knows_exterior else None
    made = None if settings.wavelet else values.reference
    reference = None if made is None else made(scale)
    return Setting(values.regions, reference, None if known is None else known(scale))


def channel_of(
    values: ChannelValues, quality: Quality, settings: Settings, step: float
) -> ChannelParameters:
    """The channel with a step, as a share of the range."""
    units = units_of(settings, step)
    scale = units / step
    fineness = 1.0 if quality.lossless else FINENESS
    steps = tuple(
        min(LARGEST_STEP, max(SMALLEST_STEP, round(units * fineness**level)))
        for level in range(LEVELS)
    )
    background = max(-HIGHEST, min(HIGHEST, round(values.background * scale)))
    return ChannelParameters(
        steps, values.top(scale), background, quality.lossless, settings.trellis, settings.wavelet
    )


def _scattered_steps(tried: list[Trial], psnr: float) -> list[float]:
    """Steps between those tried that come within a decibel of `psnr`, by the golden ratio."""
    near = [trial.step for trial in tried if abs(trial.psnr - psnr) < 1]
    if len(near) < 2 or len({trial.psnr < psnr for trial in tried}) < 2:
        return []
    least, ratio = min(near), max(near) / min(near)
    return [least * ratio ** (number * GOLDEN % 1) for number in range(1, SCATTERED + 1)]


def _slope(tried: Sequence[Trial], psnr: float, slope: float) -> float:
    """The slope of the two trials nearest to `psnr`, dB an octave of the step.

    slope: as known before, which counts the more, the nearer the two steps are to each other
    """
    near = sorted(tried, key=lambda trial: abs(trial.psnr - psnr))[:2]
    octaves = math.log2(near[0].step / near[-1].step)
    known, gained = UNSURE * UNSURE, near[0].psnr - near[-1].psnr
    found = (octaves * gained + known * slope) / (octaves * octaves + known)
    return min(-1.0, max(-8.0, found))


def _next_step(
    tried: Sequence[Trial], psnr: float, slope: float, least: float, most: float
) -> float:
    """The step where a line through the nearest trial, dB over log step, meets `psnr`.

    slope: as known before these trials, dB an octave
    least, most: limits of the step
    """
    nearest = min(tried, key=lambda trial: abs(trial.psnr - psnr))
    slope = _slope(tried, psnr, slope)
    octaves = max(-3.0, min(3.0, (psnr - nearest.psnr) / slope))
    step = nearest.step * 2**octaves
    # Between the largest step that reaches the quality and the smallest above it that does not.
    good = max((trial.step for trial in tried if trial.psnr >= psnr), default=None)
    worse = [trial.step for trial in tried if trial.psnr < psnr and trial.step > (good or 0)]
    bad = min(worse, default=None)
    if good and bad and not good < step < bad:
        step = math.sqrt(good * bad)
    return min(most, max(least, step))
