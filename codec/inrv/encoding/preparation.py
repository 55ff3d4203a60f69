"""What is done to grids before a field is fitted to them: what the field cannot or need not give is set aside, exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inrv.encoding.bounds import allowed_errors, check_rounding
from inrv.errors import NonFiniteError
from inrv.fields.lattice.channels import error_step
from inrv.fields.lattice.search import LEAST_STEP
from inrv.grids import (
    FrequentValues,
    Grid,
    LeafValues,
    Normalisation,
    SparseVolume,
    frequent_values,
    without_nonfinite,
)
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid

CURE = "`nonfinite='keep'` stores them as they are, `nonfinite='inactive'` makes their voxels inactive"
# How many of the active voxels may be outliers, and how many times the range of the others all must then span: a handful that is
# somewhat apart, or a few more that would leave nothing of the others.
OUTLIERS = ((1e-4, 4.0), (1e-2, 64.0))
FEWEST_OUTLIERS = 16  # of a small grid


@dataclass(frozen=True)
class NonFinite:
    """NaN or infinity in a grid: in how many active voxels, tiles or inactive voxels (`what`), and the first of them.

    first  its value, one number a component          index  its lowest voxel, index space
    fate   what becomes of them: 'kept', or 'made inactive', where they take the background
    """

    position: int
    grid: str
    what: str
    count: int
    first: tuple[float, ...]
    index: tuple[int, ...]
    fate: str = "kept"

    def __str__(self) -> str:
        plural = "s" * (self.count != 1)
        value = self.first[0] if len(self.first) == 1 else list(self.first)
        return (
            f"grid {self.position} {self.grid!r}: {self.count:,} {self.what}{plural} with NaN or infinity, "
            f"the first is {value} at index {self.index}"
        )


def prepare(volume: SparseVolume, options: EncodeOptions, where: str) -> tuple[tuple[PreparedGrid, ...], tuple[NonFinite, ...]]:
    """Every coded grid as the field is to be fitted to it, and what is not finite in them.

    Set aside are active values that are not finite, those that many voxels have, those that lie far from all others, and all
    of a grid with at most `options.exact_below`. A grid that must come back exactly is marked as lossless. Raises
    NonFiniteError, its message beginning with `where`, unless `options.nonfinite` is 'keep', and OptionError where
    rounding to float32 has broken what `options` promise.
    """
    for grid in volume.grids:
        if grid.rounded is not None:
            check_rounding(grid, grid.rounded, _usual_range(grid), options, where)
    found = find_nonfinite(volume)
    if found and options.nonfinite == "refuse":
        raise NonFiniteError(f"{where}{'; '.join(map(str, found))}: {CURE}")
    return tuple(_prepare(grid, options) for grid in volume.grids), found


def _usual_range(grid: Grid) -> Normalisation:
    """The range of the values of a grid, those that are not finite or lie far from all others left out."""
    finite = grid.values.isfinite().all(dim=1)
    return Normalisation.fit(grid.values[finite & ~far_from_others(grid.values, finite)])


def _prepare(grid: Grid, options: EncodeOptions) -> PreparedGrid:
    values = grid.values
    kept = (~values.isfinite()).any(dim=1)
    frequent = FrequentValues.none(grid.components)
    if not _is_constant(values):
        if values.numel() <= options.exact_below:
            kept[:] = True
        elif options.sets_frequent_values_apart:
            frequent = frequent_values(grid, ~kept)
    left = ~kept
    left[grid.topology.place_rows(frequent.places)] = False
    outliers = far_from_others(values, left)
    kept |= outliers
    left &= ~outliers
    spans = Normalisation.fit(values[~kept]).spans
    lossless = options.all_lossless or not _can_bound(grid.with_values(values[left]), spans, options)
    if lossless:  # the manifest holds no sign of a zero
        zero = left & (_single_value(values, left) & values.signbit() & (values == 0)).any(dim=1)
        kept |= zero
        left &= ~zero
    exactly = LeafValues(grid.topology.places()[kept], values[kept])
    return PreparedGrid(grid, Normalisation.fit(values[left]), frequent, exactly, spans, lossless)


def far_from_others(values: Tensor, left: Tensor) -> Tensor:
    """Which of the rows `left`, bool (N,), of values (N, C) are few that span a far larger range than all others do."""
    result = torch.zeros_like(left)
    for column in values.unbind(dim=1):
        ordered = column[left].double().sort().values
        for share, far in OUTLIERS:
            most = max(FEWEST_OUTLIERS, int(share * len(ordered)))
            if len(ordered) <= 4 * most:
                break
            low, high = float(ordered[most]), float(ordered[-1 - most])
            span = high - low
            if span > 0 and float(ordered[-1] - ordered[0]) > far * span:
                apart = left & ((column.double() < low - span) | (column.double() > high + span))
                if int(apart.sum()) <= 2 * most:
                    result |= apart
                    break
    return result


def _can_bound(grid: Grid, spans: Tensor, options: EncodeOptions) -> bool:
    """Whether codes can keep the values of a grid within the bound that is asked, if one is."""
    if not len(grid.values):
        return True
    low, high = grid.values.double().aminmax(dim=0)
    ranges = zip(allowed_errors(grid, spans, options), low.tolist(), high.tolist(), strict=False)
    return all(a == b or error_step(error, a, b) > LEAST_STEP * (b - a) for error, a, b in ranges)


def _is_constant(values: Tensor) -> bool:
    """Whether the manifest can hold all values (N, C) as one, of which it does not keep the sign of a zero."""
    return bool((values == values[:1]).all()) and not bool(values.signbit().any())


def deactivated(volume: SparseVolume) -> tuple[SparseVolume, tuple[NonFinite, ...]]:
    """The volume without NaN and infinity, whose voxels become inactive and take the background, and what they were."""
    found = find_nonfinite(volume)
    grids = tuple(without_nonfinite(grid) for grid in volume.grids)
    return replace(volume, grids=grids), tuple(replace(one, fate="made inactive") for one in found)


def _single_value(values: Tensor, left: Tensor) -> Tensor:
    """Bool (1, C): of which components the rows `left` of values (N, C) have but one number."""
    if not bool(left.any()):
        return torch.ones(1, values.shape[1], dtype=torch.bool)
    low, high = values[left].aminmax(dim=0)
    return (low == high)[None]


def find_nonfinite(volume: SparseVolume) -> tuple[NonFinite, ...]:
    """Where the coded grids of `volume` hold NaN or infinity. Raises NonFiniteError for a background that does."""
    found = []
    positions = volume.positions
    for position, grid in zip(positions, volume.grids, strict=True):
        if not bool(grid.background.isfinite().all()):
            raise NonFiniteError(
                f"grid {position} {grid.name!r}: background {grid.background.tolist()} is not finite: give it a number, and "
                "`nonfinite='inactive'` for voxels that are not"
            )
        parts = (("active voxel", grid.values), ("tile", grid.tile_values), ("inactive voxel", grid.inactive.values))
        for what, values in parts:
            bad = (~values.isfinite()).any(dim=1).nonzero()[:, 0]
            if len(bad):
                first = int(bad[0])
                index = _index_of(grid, what, first)
                found.append(NonFinite(position, grid.name, what, len(bad), tuple(values[first].tolist()), index))
    return tuple(found)


def _index_of(grid: Grid, what: str, row: int) -> tuple[int, ...]:
    topology = grid.topology
    if what == "tile":
        return tuple(topology.tile_origins[row].tolist())
    place = grid.inactive.places[row] if what == "inactive voxel" else topology.places()[row]
    return tuple(topology.coordinates_of(place[None])[0].tolist())
