"""Which grids are stored exactly, and in which form.

That is where exact storage takes no more bytes than codes, or nothing less will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from inrv.encoding.job import EncodeJob
from inrv.encoding.preparation import rounded
from inrv.fields.seam import Goal, field_codec
from inrv.grids import FrequentValues, LeafValues, Normalisation
from inrv.storage import PreparedGrid

MOST_MASKED = 64  # different values, up to which each has a mask
MOST_MASKS_CODED = 1 << 28  # voxels of all masks together
MOST_PLAIN = 1 << 20  # values up to which they are tried as they are
PROBED = 1 << 16  # values among which different ones are counted first
REPEATED, LEAST_BITS = (
    0.9,
    4,
)  # where more of the probed values are different, each takes at least so many bits
CODED_ENTROPY = 2.0  # bits a value, above which many different values are not worth exact storage
SQRT_12 = math.sqrt(12)  # steps in the deviation of an error that is spread evenly over one


@dataclass(frozen=True, eq=False)
class ExactForm:
    """A grid as it is stored exactly, and the bits that its values take, about."""

    grid: PreparedGrid
    bits: float


@dataclass(frozen=True, eq=False)
class Exactness:
    """Decides between codes and exact storage for the grids of a job.

    goal: the quality that codes are to reach, where no bound is asked
    forms: those made so far, by number of the grid
    """

    job: EncodeJob
    goal: Goal
    forms: dict[int, ExactForm] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether the field can tell what codes would take."""
        return field_codec(self.job.kind).estimates

    def form(self, number: int) -> ExactForm:
        """Give the grid of that number in its smallest exact form.

        The form is made when it is first asked for.
        """
        if number not in self.forms:
            self.forms[number] = self._smallest(self.job.grids[number])
        return self.forms[number]

    @property
    def everywhere(self) -> tuple[PreparedGrid, ...]:
        """Every grid in exact form."""
        return tuple(self.form(number).grid for number in range(len(self.job.grids)))

    def may_fit(self, most: int) -> bool:
        """Tell whether a file of `most` bytes may hold every value.

        No exact form is made of grids that are clearly too large.
        """
        if not self.known:
            return False
        coded = [grid.coded.values for grid in self.job.grids]
        least = sum(values.size * LEAST_BITS for values in coded if not _repeats(values))
        return (
            least <= 8 * most
            and sum(self.form(number).bits for number in range(len(coded))) <= 8 * most
        )

    def where_smaller(self) -> tuple[PreparedGrid, ...]:
        """Give the grids, in exact form where codes of the asked quality take more bytes."""
        if self.known:
            return tuple(self._cheaper(number) for number in range(len(self.job.grids)))
        return self.instead(
            self.job.grids, {n for n, grid in enumerate(self.job.grids) if grid.lossless}
        )

    def instead(self, grids: Sequence[PreparedGrid], numbers: set[int]) -> tuple[PreparedGrid, ...]:
        """`grids`, those with these numbers in exact form."""
        return tuple(
            self.form(number).grid if number in numbers else grid
            for number, grid in enumerate(grids)
        )

    def _cheaper(self, number: int) -> PreparedGrid:
        grid = self.job.grids[number]
        if grid.lossless or not len(grid.coded.values):
            return self.form(number).grid
        if not grid.normalisation.varying.any():
            return grid
        forms = [self.form(number)] if self._few_values(grid) else []
        fewer = rounded(grid, self.job.options, field_codec(self.job.kind))
        if fewer is not None and (found := self.job.encoder.estimate(fewer, self.goal, {})):
            forms.append(ExactForm(fewer, found.bits + fewer.bits_apart))
        codes = self.job.encoder.estimate(grid, self.goal, {}) if forms else None
        if codes is None:
            return grid
        forms.append(ExactForm(grid, codes.bits + grid.bits_apart))
        return min(forms, key=lambda form: form.bits).grid

    def _levels(self, grid: PreparedGrid) -> float:
        """How many quantiser steps of the quality that is asked fit in the range of the values."""
        if grid.bounds is None:
            return 10 ** ((self.goal.psnr or 0.0) / 20) / SQRT_12
        spans = zip(
            grid.normalisation.spans.tolist(),
            grid.bounds,
            grid.normalisation.varying.tolist(),
            strict=True,
        )
        return max(
            span / (2 * bound) if bound > 0 else math.inf
            for span, bound, varying in spans
            if varying
        )

    def _few_values(self, grid: PreparedGrid) -> bool:
        """Whether exact storage may be smaller: values are few, or the levels fine."""
        levels, finest = self._levels(grid), field_codec(self.job.kind).finest_step
        if levels * finest >= 1:
            return True
        for column in grid.coded.values.T:
            probe = column[:: max(1, len(column) // PROBED)]
            _, counts = np.unique(probe, return_counts=True)
            shares = counts / len(probe)
            if len(counts) > 4 * levels and -(shares * np.log2(shares)).sum() > CODED_ENTROPY:
                return False
        return True

    def _smallest(self, grid: PreparedGrid) -> ExactForm:
        """The smallest of: a mask for each value, the values as they are, codes without loss."""
        forms, most = [_masked(grid)], MOST_PLAIN
        if len(grid.coded.values):
            lossless = replace(grid, lossless=True)
            codes = self.job.encoder.estimate(lossless, self.goal, {})
            if codes is not None:
                forms.append(ExactForm(lossless, codes.bits + lossless.bits_apart))
            elif forms == [None]:  # nothing else is left
                most = grid.grid.values.size
        forms.append(_plain(grid, most))
        found = [form for form in forms if form is not None]
        return min(found, key=lambda form: form.bits, default=ExactForm(grid, 0.0))


def _repeats(values: NDArray[np.float32]) -> bool:
    """Whether values (N, C) repeat, as those of half precision or whole numbers do."""
    probe = values[:: max(1, len(values) // PROBED), 0]
    return len(np.unique(probe)) <= REPEATED * len(probe)


def _masked(grid: PreparedGrid) -> ExactForm | None:
    """A grid with few different values, each with a mask of its voxels."""
    whole = grid.grid
    finite = np.isfinite(whole.values).all(axis=1)
    bits = np.ascontiguousarray(whole.values[finite]).view(np.int32)
    probe = bits[:: max(1, len(bits) // PROBED), 0]
    if not len(bits) or len(np.unique(probe)) > MOST_MASKED:
        return None
    different, which, counts = np.unique(bits, axis=0, return_inverse=True, return_counts=True)
    if len(different) > MOST_MASKED or len(different) * len(bits) > MOST_MASKS_CODED:
        return None
    places, values = whole.topology.places(), different.view(np.float32)
    exact = LeafValues(places[~finite], whole.values[~finite])
    none = Normalisation.fit(whole.values[:0])
    found = []
    for order in (np.argsort(-counts, kind="stable"), np.argsort(values[:, 0], kind="stable")):
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        frequent = FrequentValues(
            places[finite], rank[which.reshape(-1)].astype(np.int16), values[order]
        )
        form = replace(grid, normalisation=none, frequent=frequent, exact=exact, lossless=False)
        found.append(ExactForm(form, form.bits_apart))
    return min(found, key=lambda form: form.bits)


def _plain(grid: PreparedGrid, most: int) -> ExactForm | None:
    """A grid of at most so many values with all of them as they are."""
    whole = grid.grid
    if whole.values.size > most or not len(whole.values):
        return None
    exact, none = (
        LeafValues(whole.topology.places(), whole.values),
        FrequentValues.none(whole.components),
    )
    form = replace(
        grid,
        normalisation=Normalisation.fit(whole.values[:0]),
        frequent=none,
        exact=exact,
        lossless=False,
    )
    return ExactForm(form, form.bits_apart)
