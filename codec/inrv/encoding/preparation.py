"""What is done to grids before a field codes them.

What the field cannot or need not give is set apart, to be stored exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inrv.encoding.bounds import allowed_errors, check_rounding
from inrv.errors import NonFiniteError
from inrv.fields.seam import FieldCodec
from inrv.grids import (
    FrequentValues,
    Grid,
    LeafValues,
    Normalisation,
    SparseVolume,
    frequent_values,
    without_nonfinite,
)
from inrv.grids.rounding import SINGLE_ROUNDING
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid

CURE = (
    "`nonfinite='keep'` stores them as they are, `nonfinite='inactive'` makes their voxels inactive"
)
# How many of the active voxels may be extremes, and how many times the range of the others all must
# then span: a handful that is somewhat apart, or a few more that would leave nothing of the others.
EXTREMES = ((1e-4, 4.0), (1e-2, 64.0))
FEWEST_EXTREMES = 16  # of a small grid
MOST_WHOLE = 2.0**24  # up to which float32 holds every whole number
MOST_UNITS = 1 << 16  # of the range of values that are multiples of one
PROBED = 1 << 16  # values among which the smallest difference is looked for
HALF = 0.499  # of a unit, which rounding takes back
EVEN = 0.01  # of a unit, by which its multiples are off where they were rounded to float32
MOST_LEVELS = 1 << 12  # to which values are rounded


@dataclass(frozen=True)
class NonFinite:
    """NaN or infinity in a grid.

    position: of the grid in the file
    grid: its name
    what: where they are: 'active voxel', 'tile' or 'inactive voxel'
    count: how many of these
    first: the value of the first, one number a component
    index: the lowest voxel of the first, index space
    fate: what becomes of them: 'kept', or 'made inactive', where they take the background
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
            f"grid {self.position} {self.grid!r}: {self.count:,} {self.what}{plural} with NaN or "
            f"infinity, the first is {value} at index {self.index}"
        )


def prepare(
    volume: SparseVolume, options: EncodeOptions, codec: FieldCodec, where: str
) -> tuple[tuple[PreparedGrid, ...], tuple[NonFinite, ...]]:
    """Every grid as `codec` is to code it, and what is not finite in them.

    Set apart are active values that are not finite, frequent values, extremes, and all of a grid
    with at most `options.exact_below` values. A grid that must come back exactly is marked as
    lossless. Raises NonFiniteError, its message beginning with `where`, unless `options.nonfinite`
    is 'keep', and OptionError where rounding to float32 has broken what `options` promise.
    """
    for grid in volume.grids:
        if grid.rounded is not None:
            check_rounding(grid, grid.rounded, _usual_range(grid), options, where)
    found = find_nonfinite(volume)
    if found and options.nonfinite == "refuse":
        raise NonFiniteError(f"{where}{'; '.join(map(str, found))}: {CURE}")
    return tuple(_prepare(grid, options, codec) for grid in volume.grids), found


def _usual_range(grid: Grid) -> Normalisation:
    """The range of the values of a grid, those that are not finite and extremes left out."""
    finite = np.isfinite(grid.values).all(axis=1)
    return Normalisation.fit(grid.values[finite & ~extremes(grid.values, finite)])


def _prepare(grid: Grid, options: EncodeOptions, codec: FieldCodec) -> PreparedGrid:
    values = grid.values
    exact = (~np.isfinite(values)).any(axis=1)
    finite_voxels = len(values) - int(exact.sum())
    frequent = FrequentValues.none(grid.components)
    if not _is_constant(values):
        if values.size <= options.exact_below:
            exact[:] = True
        elif options.sets_frequent_values_apart:
            frequent = frequent_values(grid, ~exact)
    left = ~exact
    left[grid.topology.place_rows(frequent.places)] = False
    apart = extremes(values, left)
    exact |= apart
    left &= ~apart
    spans = Normalisation.fit(values[~exact]).spans
    bounds = allowed_errors(grid, spans, options)
    if bounds is not None:
        bounds = tuple(map(_kept_by_rounding, values[left].T, bounds))
    lossless = options.all_lossless or not _can_bound(values[left], bounds, codec)
    if lossless:  # the manifest holds no sign of a zero
        zero = left & (_single_value(values, left) & np.signbit(values) & (values == 0)).any(axis=1)
        exact |= zero
        left &= ~zero
    return PreparedGrid(
        grid=grid,
        normalisation=Normalisation.fit(values[left]),
        frequent=frequent,
        exact=LeafValues(grid.topology.places()[exact], values[exact]),
        spans=spans,
        bounds=bounds,
        active_voxels=finite_voxels,
        lossless=lossless,
    )


def rounded(grid: PreparedGrid, options: EncodeOptions, codec: FieldCodec) -> PreparedGrid | None:
    """Prepare a grid with its values rounded as far as its bounds allow; None where that is vain.

    A field then codes without loss what is left. Whole numbers stay whole, and multiples of a unit
    stay such: of those that are 2n + 1 apart, one lies no farther than n from any other.
    """
    whole, bounds = grid.grid, grid.bounds
    if bounds is None or grid.lossless or whole.saved_as_half or not len(whole.values):
        return None
    # What most voxels share stays as it is: empty air, for example.
    shared, frequent = grid.normalisation.minimum, grid.frequent
    if len(frequent.places):
        shared = frequent.values[np.argmax(frequent.counts)]
    values = np.empty_like(whole.values)
    for component, bound in enumerate(bounds):
        own = whole.values[:, component]
        with np.errstate(invalid="ignore"):
            found = _rounded(own, float(shared[component]), bound, options.effort == "instant")
        if found is None:
            return None
        values[:, component] = np.where(np.isfinite(own), found, own)
    lossless = replace(options, max_error=None, lossless=True)
    again = _prepare(whole.with_values(values), lossless, codec)
    return replace(again, source=whole, spans=grid.spans, bounds=bounds, frame=grid.frame)


def _rounded(
    values: NDArray[np.float32], kept: float, bound: float, quick: bool
) -> NDArray[np.float32] | None:
    """Round values (N,) to multiples of a step around the kept one, none by more than a bound.

    quick: whether what are no multiples of a unit are left alone: None
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    largest = float(np.abs(finite).max(initial=0.0))
    rounding = largest * SINGLE_ROUNDING
    step, unit = 2 * (bound - rounding), _unit(finite)
    if unit is not None:
        count = math.floor((bound if unit == 1 else bound - rounding) / unit)
        if count == 0:
            return values
        step = unit * (2 * count + 1)
    elif quick:
        return None
    if not len(finite) or step <= 0 or float(np.ptp(finite)) > MOST_LEVELS * step:
        return None
    found: NDArray[np.float64] = np.rint((values.astype(np.float64) - kept) / step) * step + kept
    # Within the range they are no farther off, and no whole number is too large for float32.
    np.clip(found, finite.min(), finite.max(), out=found)
    return found.astype(np.float32)


def _kept_by_rounding(values: NDArray[np.float32], bound: float) -> float:
    """A bound that values (N,) keep when they are rounded, where they are multiples of a unit.

    Scans are written as whole numbers: what is off by more than half a unit is then off by one.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    unit = _unit(finite) if bound > 0 else None
    return bound if unit is None else min(bound, (math.floor(bound / unit) + HALF) * unit)


def _unit(values: NDArray[np.float64]) -> float | None:
    """The unit that values (N,) are multiples of, from the lowest on; None where there is none.

    That is 1 for whole numbers, and the slope of a scan that was scaled, but for rounding.
    """
    if not len(values):
        return None
    if bool((values == np.rint(values)).all()) and float(np.abs(values).max()) <= MOST_WHOLE:
        return 1.0
    probe = np.unique(values[:: max(1, len(values) // PROBED)])
    span, lowest = float(probe[-1] - probe[0]), float(probe[0])
    steps = np.diff(probe)
    steps = steps[steps > span / MOST_UNITS]
    if not len(steps) or len(steps) < len(probe) - 1:
        return None
    unit = span / round(span / float(steps.min()))
    counts = (values - lowest) / unit
    return unit if bool((np.abs(counts - np.rint(counts)) < EVEN).all()) else None


def extremes(values: NDArray[np.float32], left: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the few values that span a far larger range than all others do.

    values: float32 (N, C)
    left: bool (N,) the rows among which they are sought

    Returns bool (N,).
    """
    result = np.zeros_like(left)
    for column in values.T:
        ordered = np.sort(column[left].astype(np.float64))
        for share, far in EXTREMES:
            most = max(FEWEST_EXTREMES, int(share * len(ordered)))
            if len(ordered) <= 4 * most:
                break
            low, high = float(ordered[most]), float(ordered[-1 - most])
            span = high - low
            if span > 0 and float(ordered[-1] - ordered[0]) > far * span:
                wide = column.astype(np.float64)
                apart = left & ((wide < low - span) | (wide > high + span))
                if int(apart.sum()) <= 2 * most:
                    result |= apart
                    break
    return result


def _can_bound(
    values: NDArray[np.float32], bounds: tuple[float, ...] | None, codec: FieldCodec
) -> bool:
    """Whether codes can keep values (N, C) within the bounds that are asked, if any are."""
    if bounds is None or not len(values):
        return True
    ends = zip(bounds, values.min(axis=0).tolist(), values.max(axis=0).tolist(), strict=True)
    return all(low == high or codec.can_bound(bound, low, high) for bound, low, high in ends)


def _is_constant(values: NDArray[np.float32]) -> bool:
    """Tell whether the manifest can hold all values (N, C) as one.

    It does not keep the sign of a zero.
    """
    return bool((values == values[:1]).all()) and not np.signbit(values).any()


def deactivated(volume: SparseVolume) -> tuple[SparseVolume, tuple[NonFinite, ...]]:
    """Make the voxels with NaN or infinity inactive, with the background for a value.

    Returns the volume, and what these values were.
    """
    found = find_nonfinite(volume)
    grids = tuple(without_nonfinite(grid) for grid in volume.grids)
    return replace(volume, grids=grids), tuple(replace(one, fate="made inactive") for one in found)


def _single_value(values: NDArray[np.float32], left: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bool (1, C): of which components the rows `left` of values (N, C) have but one number."""
    if not left.any():
        return np.ones((1, values.shape[1]), dtype=np.bool_)
    single: NDArray[np.bool_] = values[left].min(axis=0) == values[left].max(axis=0)
    return single[None]


def find_nonfinite(volume: SparseVolume) -> tuple[NonFinite, ...]:
    """Find where the coded grids hold NaN or infinity.

    Raises NonFiniteError for a background that does.
    """
    found = []
    for position, grid in zip(volume.positions, volume.grids, strict=True):
        if not np.isfinite(grid.background).all():
            raise NonFiniteError(
                f"grid {position} {grid.name!r}: background {grid.background.tolist()} is not "
                "finite: give it a number, and `nonfinite='inactive'` for voxels that are not"
            )
        parts = (
            ("active voxel", grid.values),
            ("tile", grid.tile_values),
            ("inactive voxel", grid.inactive.values),
        )
        for what, values in parts:
            bad = np.flatnonzero((~np.isfinite(values)).any(axis=1))
            if len(bad):
                first = int(bad[0])
                index = _index_of(grid, what, first)
                found.append(
                    NonFinite(
                        position, grid.name, what, len(bad), tuple(values[first].tolist()), index
                    )
                )
    return tuple(found)


def _index_of(grid: Grid, what: str, row: int) -> tuple[int, ...]:
    """The lowest voxel, index space, of the active voxel, tile or inactive voxel in that row."""
    topology = grid.topology
    if what == "tile":
        return tuple(topology.tile_origins[row].tolist())
    places = grid.inactive.places if what == "inactive voxel" else topology.places()
    return tuple(topology.coordinates_of(places[row : row + 1])[0].tolist())
