"""Values at times between two frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrv.decoding.grid import VolumeGrid, whole_triples
from inrv.decoding.points import shifted
from inrv.errors import MissingGridError
from inrv.fields.seam import FieldOverTime
from inrv.grids import Box

if TYPE_CHECKING:
    from inrv.decoding.volume import Volume

Floats = NDArray[np.float32]


class VolumeBetween(Mapping[str, "GridBetween"]):
    """The grids that two frames both have, at a time between them: a mapping of their keys.

    before, after: the frames
    share: of the way from the one to the other, 0 to 1
    time: in the unit of the sequence
    """

    def __init__(self, before: Volume, after: Volume, share: float, time: float) -> None:
        self.before, self.after, self.share, self.time = before, after, share, time

    def __iter__(self) -> Iterator[str]:
        return (key for key in self.before if key in self.after)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, key: str) -> GridBetween:
        """The grid of that key. Raises MissingGridError, a KeyError, where a frame lacks it."""
        before, after = self.before[key], self.after[key]
        if before.entry.value_type != after.entry.value_type:
            raise MissingGridError(
                f"{self.before.container.name}: grid {key!r} is {before.entry.value_type} in frame "
                f"{self.before.number} and {after.entry.value_type} in frame {self.after.number}"
            )
        return GridBetween(before, after, self.share)

    def __repr__(self) -> str:
        frames = f"frames {self.before.number} and {self.after.number}"
        return f"<inrv.VolumeBetween {frames}, time {self.time:g}: {', '.join(self) or 'no grid'}>"


class GridBetween:
    """A grid at a time between two frames. Its values change evenly from the one to the other.

    A field that knows time, as `fourier` does in a sequence, is asked for its own values instead
    where a voxel is active in both frames.

    before, after: the grid in the frames
    share: of the way from the one to the other, 0 to 1
    """

    def __init__(self, before: VolumeGrid, after: VolumeGrid, share: float) -> None:
        self.before, self.after, self.share = before, after, share

    @property
    def name(self) -> str:
        """The name of the grid, as its .vdb file had it."""
        return self.before.name

    @property
    def box(self) -> Box | None:
        """The smallest box in index space that holds every voxel that is active in a frame."""
        boxes = [own.box for own in (self.before, self.after) if own.box is not None]
        return boxes[0].union(boxes[-1]) if boxes else None

    def voxels(self, coordinates: Any) -> Floats:
        """Give the values float32 (n, C) of voxels at integer index-space coordinates (n, 3).

        Raises OptionError for what are no coordinates, FormatError.
        """
        return self._at(whole_triples(coordinates))

    def dense(self, box: Box | Any = None, stride: int = 1) -> Floats:
        """Values (X, Y, Z) or (X, Y, Z, 3) of every voxel of `box`, as `VolumeGrid.dense` gives.

        box: by default that of both frames
        stride: only the voxels of the box whose coordinates are multiples of it
        Raises what `VolumeGrid.dense` raises.
        """
        region = self.box if box is None else Box.of(box)
        before, after = (own.dense(region, stride) for own in (self.before, self.after))
        if self._field_over_time() is None or not before.size:
            return self._mixed(before, after)
        assert region is not None
        multiples = region.multiples(stride)
        assert multiples is not None
        ends = zip(multiples.lower, multiples.upper, strict=True)
        axes = [np.arange(low, high + 1) * stride for low, high in ends]
        listed = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return self._at(listed).reshape(before.shape)

    def sample(self, points: Any, space: str = "index", interpolation: str = "trilinear") -> Floats:
        """Values float32 (...) or (..., 3) at points (..., 3), as `VolumeGrid.sample` gives.

        space: 'index' or 'world'
        interpolation: 'trilinear', 'nearest'; 'field': the network of a field that knows time, at
            the points and the time, whatever is active
        Raises what `VolumeGrid.sample` raises.
        """
        grids, field = (self.before, self.after), self._field_over_time()
        if field is None:
            before, after = (own.sample(points, space, interpolation) for own in grids)
            return self._mixed(before, after)
        listed = np.asarray(points, dtype=np.float64)
        self.before.check_request(listed, space, interpolation)
        index = self.before.in_index(listed.reshape(-1, 3), space)
        if interpolation == "field":
            values = self._from_field(field, index)
        else:
            values = shifted(index, self.before.parts, interpolation == "nearest", self._at)
        found: Floats = self.before.placed(values, listed, -1)[()]
        return found

    def _at(self, coordinates: NDArray[Any]) -> Floats:
        """Values float32 (n, C) of voxels."""
        grids = self.before.values_of_grid, self.after.values_of_grid
        values = self._mixed(*(own.voxels(coordinates) for own in grids))
        field = self._field_over_time()
        if field is not None:
            rows = [own.template.topology.voxel_rows(coordinates) for own in grids]
            known = (rows[0] >= 0) & (rows[1] >= 0)
            for own, row in zip(grids, rows, strict=True):
                known &= ~np.isin(row, own.exact_rows)
            if known.any():
                values[known] = self._from_field(field, coordinates[known])
        return values

    def _from_field(self, field: FieldOverTime, coordinates: NDArray[Any]) -> Floats:
        """Values float32 (n, C) of a field that knows time, at coordinates (n, 3)."""
        columns, later = (own.values_of_grid.columns for own in (self.before, self.after))
        found = field.between(coordinates, columns, later, self.share)
        return self.before.values_of_grid.with_constants(found)

    def _field_over_time(self) -> FieldOverTime | None:
        """The field, where it knows the time between the frames; else None."""
        grids, entries = zip(
            *((own.values_of_grid, own.entry) for own in (self.before, self.after)), strict=True
        )
        outputs, others = (own.outputs for own in grids)
        varying = [[part.output is None for part in entry.components] for entry in entries]
        if outputs is not others or not isinstance(outputs, FieldOverTime):
            return None
        shared = varying[0] == varying[1] and outputs.share_time(*(own.columns for own in grids))
        return outputs if shared else None

    def _mixed(self, before: Floats, after: Floats) -> Floats:
        """Values between those of both frames."""
        share = self.share
        mixed = before.astype(np.float64) * (1 - share) + after.astype(np.float64) * share
        return np.asarray(mixed, dtype=np.float32)
