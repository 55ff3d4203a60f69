"""Which grids are stored exactly, and how: where that takes no more bytes than codes, or nothing less will do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from inrv.fields.lattice import Quality
from inrv.fields.lattice.channels import bits_of, quality_at
from inrv.fields.lattice.search import LEAST_STEP
from inrv.grids import FrequentValues, Grid, LeafValues, Normalisation
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid

MOST_MASKED = 64  # different values, up to which each has a mask
MOST_MASKS_CODED = 1 << 28  # voxels of all masks together
MOST_PLAIN = 1 << 20  # values up to which they are tried as they are
PROBED = 1 << 16  # values among which different ones are counted first
REPEATED, LEAST_BITS = 0.9, 4  # where more of the probed values are different, each takes at least so many bits
SQRT_12 = math.sqrt(12)  # steps in the deviation of an error that is spread evenly over one


@dataclass(frozen=True, eq=False)
class ExactForm:
    """A grid as it is stored exactly, and the bits that its values take, about."""

    item: PreparedGrid
    bits: float


@dataclass(frozen=True, eq=False)
class Exactness:
    """Decides between codes and exact storage for the grids `items`, prepared from `originals`."""

    items: tuple[PreparedGrid, ...]
    originals: Sequence[Grid]
    options: EncodeOptions
    device: torch.device
    made: dict[int, ExactForm] = field(default_factory=dict)

    def form(self, number: int) -> ExactForm:
        """The grid of that number in the exact form that is smallest; made when it is first asked for."""
        if number not in self.made:
            self.made[number] = _exact_form(self.items[number], self.device)
        return self.made[number]

    @property
    def everywhere(self) -> tuple[PreparedGrid, ...]:
        """Every grid in exact form."""
        return tuple(self.form(number).item for number in range(len(self.items)))

    def may_fit(self, most: int) -> bool:
        """Whether a file of `most` bytes may hold every value: no exact form is made of grids that are clearly too large."""
        least = sum(item.coded.values.numel() * LEAST_BITS for item in self.items if not _repeats(item.coded.values))
        return least <= 8 * most and sum(self.form(number).bits for number in range(len(self.items))) <= 8 * most

    def where_smaller(self, psnr: float) -> tuple[PreparedGrid, ...]:
        """The grids, in exact form those for which codes of the quality that is asked, or else of `psnr` dB, take more bytes."""
        return tuple(self._cheaper(number, psnr) for number in range(len(self.items)))

    def instead(self, items: Sequence[PreparedGrid], numbers: set[int]) -> tuple[PreparedGrid, ...]:
        """`items`, those with these numbers in exact form."""
        return tuple(self.form(number).item if number in numbers else item for number, item in enumerate(items))

    def _cheaper(self, number: int, psnr: float) -> PreparedGrid:
        item, original = self.items[number], self.originals[number]
        if item.lossless or not len(item.coded.values):
            return self.form(number).item
        if not item.normalisation.varying.any() or not self._few_values(item, self._levels(item, original, psnr)):
            return item
        quality = quality_at(self.options, item, original, psnr)
        codes, _ = bits_of(item, quality, {}, self.device)
        form = self.form(number)
        return form.item if form.bits <= codes + item.bits_apart else item

    def _levels(self, item: PreparedGrid, original: Grid, psnr: float) -> float:
        """How many steps of the quality that is asked fit in the range of the values."""
        asked = quality_at(self.options, item, original, psnr)
        qualities = map(asked, item.normalisation.varying.nonzero()[:, 0].tolist())
        return max(1 / quality.step if quality.step else 10 ** ((quality.psnr or 0.0) / 20) / SQRT_12 for quality in qualities)

    def _few_values(self, item: PreparedGrid, levels: float) -> bool:
        """Whether the values are so few, or the levels so fine, that exact storage may be smaller."""
        if levels >= 1 / LEAST_STEP:
            return True
        values = item.coded.values
        for column in values.unbind(dim=1):
            probe = column[:: max(1, len(column) // PROBED)]
            _, counts = torch.unique(probe, return_counts=True)
            shares = counts.double() / len(probe)
            if len(counts) > 4 * levels and float(-(shares * shares.log2()).sum()) > 2:
                return False
        return True


def _exact_form(item: PreparedGrid, device: torch.device) -> ExactForm:
    """The smallest of: a mask for each value, the values as they are, codes without loss."""
    found = [form for form in (_masked(item), _plain(item)) if form is not None]
    if len(item.coded.values):
        lossless = replace(item, lossless=True)
        bits, _ = bits_of(lossless, _no_quality, {}, device)
        found.append(ExactForm(lossless, bits + lossless.bits_apart))
    return min(found, key=lambda form: form.bits, default=ExactForm(item, 0.0))


def _repeats(values: Tensor) -> bool:
    """Whether values (N, C) come again and again, as those of half precision or whole numbers do."""
    probe = values[:: max(1, len(values) // PROBED), 0]
    return len(torch.unique(probe)) <= REPEATED * len(probe)


def _no_quality(component: int) -> Quality:
    raise AssertionError("a lossless channel has a quality of its own")


def _masked(item: PreparedGrid) -> ExactForm | None:
    """A grid with few different values, each with a mask of its voxels."""
    grid = item.grid
    finite = grid.values.isfinite().all(dim=1)
    bits = grid.values[finite].view(torch.int32)
    if not len(bits) or len(torch.unique(bits[:PROBED, 0])) > MOST_MASKED:
        return None
    different, which, counts = torch.unique(bits, dim=0, return_inverse=True, return_counts=True)
    if len(different) > MOST_MASKED or len(different) * len(bits) > MOST_MASKS_CODED:
        return None
    places, values = grid.topology.places(), different.view(torch.float32)
    exact = LeafValues(places[~finite], grid.values[~finite])
    none = Normalisation.fit(grid.values[:0])
    found = []
    for order in (counts.argsort(descending=True, stable=True), values[:, 0].argsort(stable=True)):
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order))
        frequent = FrequentValues(places[finite], rank[which].short(), values[order])
        whole = PreparedGrid(grid, none, frequent, exact, item.spans)
        found.append(ExactForm(whole, whole.bits_apart))
    return min(found, key=lambda form: form.bits)


def _plain(item: PreparedGrid) -> ExactForm | None:
    """A small grid with all its values as they are."""
    grid = item.grid
    if grid.values.numel() > MOST_PLAIN or not len(grid.values):
        return None
    exact = LeafValues(grid.topology.places(), grid.values)
    whole = PreparedGrid(grid, Normalisation.fit(grid.values[:0]), FrequentValues.none(grid.components), exact, item.spans)
    return ExactForm(whole, whole.bits_apart)
