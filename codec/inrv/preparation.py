"""What is done to grids before a field is fitted to them: what the field cannot or need not give is set aside, exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from inrv.bounds import check_rounding
from inrv.errors import NonFiniteError
from inrv.grids import Grid, LeafValues, Normalisation, SparseVolume, without_nonfinite
from inrv.lattice.encoding import LEAST_STEP
from inrv.options import EncodeOptions
from inrv.rate import error_step
from inrv.storage import CodedGrid

CURE = "`nonfinite='keep'` stores them as they are, `nonfinite='inactive'` makes their voxels inactive"


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


def prepare(volume: SparseVolume, options: EncodeOptions, where: str) -> tuple[tuple[CodedGrid, ...], tuple[NonFinite, ...]]:
    """Every coded grid as the field is to be fitted to it, and what is not finite in them.

    Active values that are not finite are kept apart, and so are all of a grid with at most `options.exact_below`, or for
    which an error bound is too narrow. Raises
    NonFiniteError, its message beginning with `where`, unless `options.nonfinite` is 'keep', and OptionError where
    rounding to float32 has broken what `options` promise.
    """
    for grid in volume.grids:
        check_rounding(grid, options, where)
    found = find_nonfinite(volume)
    if found and options.nonfinite == "refuse":
        raise NonFiniteError(f"{where}{'; '.join(map(str, found))}: {CURE}")
    return tuple(_prepare(grid, options) for grid in volume.grids), found


def _prepare(grid: Grid, options: EncodeOptions) -> CodedGrid:
    values = grid.values
    odd = (~values.isfinite()).any(dim=1)
    coded = grid.with_values(values[~odd])
    if not _is_constant(values) and (values.numel() <= options.exact_below or not _can_bound(coded, options)):
        odd[:] = True
    kept = LeafValues(grid.topology.places()[odd], values[odd])
    return CodedGrid(grid, Normalisation.fit(values[~odd]), kept)


def _can_bound(grid: Grid, options: EncodeOptions) -> bool:
    """Whether codes can keep the values of a grid within the bound that is asked, if one is."""
    bound = options.error_bound
    if bound is None or not len(grid.values):
        return True
    low, high = grid.values.double().aminmax(dim=0)
    ranges = zip(low.tolist(), high.tolist(), grid.rounding_errors, strict=True)
    return all(a == b or error_step(bound, a, b, rounding) > LEAST_STEP * (b - a) for a, b, rounding in ranges)


def _is_constant(values: Tensor) -> bool:
    """Whether the manifest can hold all values (N, C) as one, of which it does not keep the sign of a zero."""
    return bool((values == values[:1]).all()) and not bool(values.signbit().any())


def deactivated(volume: SparseVolume) -> tuple[SparseVolume, tuple[NonFinite, ...]]:
    """The volume without NaN and infinity, whose voxels become inactive and take the background, and what they were."""
    found = find_nonfinite(volume)
    grids = tuple(without_nonfinite(grid) for grid in volume.grids)
    return replace(volume, grids=grids), tuple(replace(one, fate="made inactive") for one in found)


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
