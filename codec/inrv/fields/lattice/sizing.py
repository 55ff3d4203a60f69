"""The lattice of a whole file: of a quality, within an error, or as good as its size allows, with the topology that serves it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from inrv.encoding.preparation import NonFinite
from inrv.encoding.report import Outcome
from inrv.encoding.topology_choice import with_thresholds
from inrv.errors import OptionError
from inrv.fields.fourier.training import Progress
from inrv.fields.lattice.channels import CodedLattice, Guesses, LatticeEncoder, cheaper_topologies, search_size
from inrv.fields.lattice.exactness import Exactness
from inrv.grids import SparseVolume, Topology
from inrv.options import DEFAULT_PSNR, EncodeOptions
from inrv.storage import PreparedGrid

GOOD_ENOUGH = 35.0  # dB: with a smaller file than that takes, masks may be better spent on values
LOWEST_CHOICE = 30.0  # dB at which topologies are chosen where the file is still too large
OTHER_CHOICE = 3.0  # dB from the quality at which topologies were chosen, after which others may serve better

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Coded:
    """A file and what it holds."""

    outcome: Outcome
    data: bytes

    @property
    def psnr(self) -> float:
        """Mean over the channels, dB; infinite where nothing is coded."""
        fitted = self.outcome.fitted
        finite = [] if fitted is None else [psnr for psnr in fitted.psnrs if math.isfinite(psnr)]
        return statistics.fmean(finite) if finite else math.inf

    def short_of(self, psnr: float) -> set[int]:
        """The numbers of the grids that do not reach so many dB, though no step is finer."""
        fitted = self.outcome.fitted
        if not isinstance(fitted, CodedLattice):
            return set()
        channels = zip(fitted.grids, fitted.codings, fitted.psnrs, strict=True)
        return {grid for grid, coding, reached in channels if coding.finest and reached < psnr}


@dataclass(frozen=True)
class LatticeFile:
    """Codes the grids `items` of a volume; `write` makes the bytes of a file out of what came of them."""

    volume: SparseVolume
    items: tuple[PreparedGrid, ...]
    nonfinite: tuple[NonFinite, ...]
    options: EncodeOptions
    device: torch.device
    write: Callable[[Outcome], bytes]
    report: Report | None
    started: float = field(default_factory=time.perf_counter)

    @cached_property
    def exactness(self) -> Exactness:
        """What exact storage takes."""
        return Exactness(self.items, self.volume.grids, self.options, self.device)

    def coded(self) -> Coded:
        """As the options ask, but for the size: grids in exact form where that is smaller, or no code reaches the quality."""
        psnr = self.options.psnr or DEFAULT_PSNR
        items = self.exactness.where_smaller(psnr)
        made = self._made(self._encoder(items, self.options.topology or "exact", psnr).run())
        missed = made.short_of(psnr) if self.options.error_bound is None else set()
        if not missed:
            return made
        return self._made(self._encoder(self.exactness.instead(items, missed), "exact", psnr).run())

    def within(self, most: int) -> Coded:
        """The best file of at most `most` bytes: an exact one where it is so small.

        Where values are not good, bytes for them are sought in frequent values and, unless the options forbid it, in masks.

        Raises OptionError where there is none so small.
        """
        if self.exactness.may_fit(most):
            exact = self._made(self._encoder(self.exactness.everywhere, "exact", DEFAULT_PSNR).run())
            if len(exact.data) <= most:
                return exact
        asked = self.options.topology
        found = [self._sized(self.items, asked or "exact", DEFAULT_PSNR, most)]
        good = len(found[0].data) <= most and found[0].psnr >= GOOD_ENOUGH
        if asked == "exact" and not good and any(len(item.frequent.values) for item in self.items):
            bare = tuple(item.without_frequent_values() for item in self.items)
            found.append(self._sized(bare, "exact", DEFAULT_PSNR, most))
        if asked is None and not good:
            found.append(self._sized(self.items, "threshold", DEFAULT_PSNR, most))
        if asked == "threshold" or (asked is None and not good):
            last = found[-1]
            if len(last.data) > most or abs(last.psnr - DEFAULT_PSNR) > OTHER_CHOICE:
                psnr = min(last.psnr, LOWEST_CHOICE if len(last.data) > most else math.inf)
                found.append(self._sized(self.items, "threshold", psnr, most))
        return self._best(found, most)

    def _best(self, found: Sequence[Coded], most: int) -> Coded:
        fitting = [coded for coded in found if len(coded.data) <= most]
        if not fitting:
            least = min(len(coded.data) for coded in found)
            raise OptionError(
                f"the file needs at least about {least:,} bytes, more than the {most:,} that are asked for: ask for more"
                + (", or take `topology='threshold'`" if self.options.topology == "exact" else "")
            )
        return max(fitting, key=lambda coded: coded.psnr)

    def _sized(self, items: tuple[PreparedGrid, ...], topology: str, psnr: float, most: int) -> Coded:
        """The best file of at most `most` bytes that was found, or the smallest, its topologies chosen at `psnr` dB."""
        encoder = self._encoder(items, topology, psnr)
        found = {0.0: self._made(encoder.run())}

        def bytes_at(finer: float) -> int:
            found[finer] = self._made(encoder.again(finer))
            return len(found[finer].data)

        finer, _ = search_size(len(found[0.0].data), most, bytes_at)
        return found[finer]

    def _encoder(self, items: tuple[PreparedGrid, ...], topology: str, psnr: float) -> LatticeEncoder:
        guesses = Guesses()
        if topology == "threshold":
            items, guesses = cheaper_topologies(items, self.volume.grids, self.options, psnr, self.device)
        return LatticeEncoder(items, self.volume.grids, self.options, psnr, self.device, self._tell, guesses)

    def _made(self, lattice: CodedLattice) -> Coded:
        def decoded(_: Topology, output: int) -> Tensor:
            return lattice.codings[output].outputs.cpu()

        items, misclassified = with_thresholds(lattice.items, self.volume.grids, decoded)
        outcome = Outcome(self.volume, items, self.nonfinite, misclassified, lattice if lattice.codings else None)
        return Coded(outcome, self.write(outcome))

    def _tell(self, share: float) -> None:
        if self.report is not None:
            seconds = time.perf_counter() - self.started
            left = seconds * (1 - share) / max(share, 0.01)
            self.report(Progress(round(100 * share), 100, share, 1.0, math.nan, math.nan, seconds, left))
