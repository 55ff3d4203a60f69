"""An .inrv file, open: its grids, decoded where and when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from inrv.container import ACCURACY, CarriedEntry, Container, GridEntry, Limits, Manifest, read_container, unpack_tensors
from inrv.decoding import CodedChannel, FieldOutputs, LatticeOutputs, NoOutputs, Outputs, deviation, evaluate, nearest, trilinear
from inrv.device import choose_device, decoding_precision
from inrv.errors import FormatError, OptionError, SelectionError, UnsupportedGridError
from inrv.fields import Field, restore_field
from inrv.files import Readable, Writable, check_writable
from inrv.grids import Box, Grid, LeafValues, SparseVolume, Topology, Transform, denormalise
from inrv.grids.grid import leaves_within
from inrv.grids.thresholds import thresholded
from inrv.grids.topology import COORDINATE_LIMIT, LEAF_VOXELS
from inrv.lattice import DEFAULT_NAME, default_model
from inrv.storage import (
    RestoredGrid,
    StoredChannel,
    StoredTopologies,
    restore_carried,
    restore_channel,
    restore_grid,
    restore_metadata,
    take,
    without,
)

SPACES = ("index", "world")
INTERPOLATIONS = ("trilinear", "nearest", "field")
FARTHEST = float(2 * COORDINATE_LIMIT)  # every voxel beyond is background
PART_VALUES = 1 << 22  # brought from the field's outputs to values at a time
VERIFIED_VOXELS = 1 << 10  # of each grid
LATTICE_NETWORKS = 3  # of which a voxel takes one, and the smoothing one


def load(source: Readable, device: str | torch.device | None = None, limits: Limits = Limits()) -> Volume:
    """Open an .inrv file; `device` is where values are computed, by default the best there is.

    `source` is a path, the bytes of the file, or a binary file object, which is read to its end from where it stands.
    `limits` bounds what the file may take, now and when its grids are decoded. Raises FormatError where the file is not a
    valid .inrv file or exceeds the limits, OptionError where the device cannot be used.
    """
    return Volume(read_container(source, limits), choose_device(device))


class Volume:
    """The coded grids of an .inrv file, addressed by name (the first of that name) or by position in the file.

    Grids that are carried as they were have no values here: `carried` lists them, and `to_vdb` writes them.
    """

    def __init__(self, container: Container, device: torch.device) -> None:
        self.container = container
        self.device = device
        self.topologies = StoredTopologies(container)
        placed = zip(self.manifest.positions, self.manifest.grids, strict=True)
        self.grids = tuple(VolumeGrid(self, position, entry) for position, entry in placed)
        with _named(container):
            self.field = _restore_field(container, device)
            self.outputs = self._outputs()

    @cached_property
    def lossless(self) -> frozenset[int]:
        """The outputs that are values as they were, not normalised: those of lossless channels."""
        field = self.manifest.field
        channels = field.config["channels"] if field is not None and field.type == "lattice" else ()
        return frozenset(number for number, channel in enumerate(channels) if channel["lossless"])

    def _outputs(self) -> Outputs:
        """Where the normalised values come from."""
        entry = self.manifest.field
        if entry is None:
            return NoOutputs(self.device)
        if self.field is not None:
            return FieldOutputs(self.field, self._precision(self.field, entry.tolerance))
        if entry.config["networks"] != DEFAULT_NAME:
            raise FormatError(
                f"its lattice begins with the networks {entry.config['networks']!r}: this inrv has {DEFAULT_NAME!r}"
            )
        owners = {column: (grid, place) for grid in self.grids for place, column in grid.placed_columns}
        if sorted(column for grid in self.grids for column in grid.columns) != list(range(entry.config["outputs"])):
            raise FormatError("each output of a lattice must belong to one component of one grid")
        channels = entry.config["channels"]

        def channel(number: int, regions: int, voxels: int) -> StoredChannel:
            return restore_channel(self.container, channels[number], regions, voxels)

        def coded(number: int) -> CodedChannel:
            grid, component = owners[number]
            scale = grid.entry.components[component]
            whole = grid.restored
            return CodedChannel(whole.grid, whole.kept, component, scale.minimum, scale.maximum, grid.coded_topology)

        weights = default_model(any(c["given"] is not None for c in channels), True).weight_count // LATTICE_NETWORKS
        return LatticeOutputs(weights, coded, channel)

    def _precision(self, field: Field, tolerance: float | None) -> torch.dtype:
        """The dtype to multiply matrices in: less than float32 where the file allows it and its samples agree."""
        lower = decoding_precision(self.device)
        if tolerance is None or lower == torch.float32:
            return torch.float32
        samples = _reference(self, field.outputs)
        return lower if samples is not None and _difference(field, *samples, lower) <= tolerance else torch.float32

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self.container.manifest

    @property
    def carried(self) -> tuple[CarriedEntry, ...]:
        """The grids that are carried as they were, by position."""
        return self.manifest.carried

    def __iter__(self) -> Iterator[VolumeGrid]:
        return iter(self.grids)

    def __getitem__(self, key: str | int) -> VolumeGrid:
        """The grid at position `key` of the file, or the first one named so.

        Raises OptionError where there is none, UnsupportedGridError where it is a carried one.
        """
        for grid in self.grids:
            if key in (grid.position, grid.name):
                return grid
        for entry in self.carried:
            if key in (entry.position, entry.name):
                raise UnsupportedGridError(
                    f"{self.container.name}: grid {entry.position} {entry.name!r} is carried as it was ({entry.reason}): "
                    "decode the file and read it from the .vdb"
                )
        names = [repr(grid.name) for grid in self.grids]
        raise OptionError(f"{self.container.name}: no grid {key!r}; the file holds {', '.join(names) or 'none'}")

    def to_sparse(self) -> SparseVolume:
        """Every grid, its active voxels decoded, on the CPU, and every carried one."""
        decoded = tuple(grid.to("cpu") for grid in self.decode(self.grids))
        carried = tuple(restore_carried(self.container, entry) for entry in self.carried)
        metadata, version = restore_metadata(self.manifest.metadata), self.manifest.vdb_version
        if version is None:
            return SparseVolume(decoded, metadata, carried)
        return SparseVolume(decoded, metadata, carried, version)

    def to_vdb(self, target: Writable) -> None:
        """Decode every grid into a .vdb file: at a path, atomically, an existing file is replaced, or into a file object.

        Raises VdbError, and OutputError where no file can be written at the path.
        """
        from inrv.vdb import write_volume

        check_writable(target)
        write_volume(target, self.to_sparse())

    def decode(self, grids: Sequence[VolumeGrid]) -> list[Grid]:
        """`grids`, their active voxels decoded together, on the volume's device. Raises FormatError, beyond the limits too."""
        with _named(self.container):
            self.check_limits(grids)
            return self._decode(grids)

    def check_limits(self, grids: Sequence[VolumeGrid]) -> None:
        """Raise FormatError where what the manifest says is to be decoded exceeds the limits; no chunk is read for it."""
        limits = self.container.limits
        values = sum(grid.entry.leaf_voxels * len(grid.entry.components) for grid in grids)
        if values > limits.values:
            raise FormatError(f"{values:,} values are to be decoded, more than the limit of {limits.values:,}")
        self.check_work(sum(grid.entry.leaf_voxels for grid in grids if grid.columns))

    def check_work(self, voxels: int) -> None:
        """Raise FormatError where the field is too large for so many voxels."""
        work = voxels * self.outputs.weights
        if work > self.container.limits.work:
            raise FormatError(
                f"{self.container.name}: {voxels:,} voxels with {work // voxels:,} weights each are to be decoded, {work:,} "
                f"products, more than the limit of {self.container.limits.work:,}"
            )

    def _decode(self, grids: Sequence[VolumeGrid]) -> list[Grid]:
        with torch.no_grad():
            outputs = self.outputs.active([grid.topology for grid in grids], [grid.columns for grid in grids])
        outputs.reverse()
        return [grid.filled(outputs.pop()) for grid in grids]  # so that outputs and values are not all held at once


class VolumeGrid:
    """One grid of a `Volume`. Values are float32 on the volume's device: (..., ) for float, (..., 3) for vec3s.

    `sample` and `dense` compute what is asked for and keep nothing; `to_grid` decodes the whole grid. With gradients
    enabled, `sample` is differentiable in its points and in the weights of `Volume.field`; within `torch.no_grad()` it is
    several times faster.
    """

    def __init__(self, volume: Volume, position: int, entry: GridEntry) -> None:
        self.volume = volume
        self.position = position
        self.entry = entry

    @cached_property
    def restored(self) -> RestoredGrid:
        """The grid as its chunks give it, a coarse topology where it has a threshold."""
        with _named(self.volume.container):
            found, device = restore_grid(self.volume.container, self.entry, self.volume.topologies), self.volume.device
            return RestoredGrid(found.grid.to(device), found.kept.to(device), found.corrected.to(device))

    @cached_property
    def coded_topology(self) -> Topology:
        """The voxels that a lattice has codes for: those whose values are not kept."""
        return without(self.restored.grid.topology, self.restored.kept)

    @cached_property
    def _stored(self) -> tuple[Grid, LeafValues]:
        """The grid without the values of its active leaf voxels, and the exactly stored ones among those."""
        found = self.restored
        exact = found.kept.joined(found.corrected)
        threshold, rule = self.entry.threshold, self.entry.threshold_rule
        if threshold is None:
            return found.grid, exact
        with _named(self.volume.container):
            self.volume.check_limits([self])
            values = self._values_of(self._leaf_outputs(found.grid.topology), clamp=False)
            grid, leaves = thresholded(found.grid, values, rule, threshold, exact)
            return grid, exact.subset(leaves)

    @property
    def template(self) -> Grid:
        """The grid without the values of its active leaf voxels: topology, tiles, inactive values, header."""
        return self._stored[0]

    @cached_property
    def kept_rows(self) -> Tensor:
        """Rows int64 (K,), ascending, of the active leaf voxels whose values are stored exactly, beside the field."""
        kept = self._stored[1]
        return self.topology.voxel_rows(self.topology.coordinates_of(kept.places))

    @property
    def name(self) -> str:
        """The grid's name, '' where it has none."""
        return self.entry.name

    @property
    def topology(self) -> Topology:
        """Leaves, masks and tiles."""
        return self.template.topology

    @property
    def transform(self) -> Transform:
        """Index space to world space."""
        return self.template.transform

    @property
    def box(self) -> Box | None:
        """The smallest box in index space that holds every active voxel, None where none is active."""
        return self.topology.box

    @property
    def active_voxel_count(self) -> int:
        """Active voxels, those of tiles included."""
        return self.entry.active_voxels if self.entry.threshold is None else self.topology.active_voxel_count

    def coordinates(self) -> Tensor:
        """Index-space coordinates int32 (N, 3) of the active leaf voxels, in the order of `values`."""
        return self.topology.coordinates()

    def values(self) -> Tensor:
        """Values (N,) or (N, 3) of the active leaf voxels."""
        return self._shaped(self._decoded().values)

    def to_grid(self) -> Grid:
        """The grid, decoded, on the CPU."""
        return self._decoded().to("cpu")

    def dense(self, box: Box | None = None) -> Tensor:
        """Values (X, Y, Z) or (X, Y, Z, 3) of every voxel of `box`, by default the grid's own active box.

        Decodes only the leaves that touch the box. Raises OptionError where nothing is active and no box is given,
        SelectionError where the box has more values than the limits allow, FormatError.
        """
        region = box or self.box
        if region is None:
            raise OptionError(f"grid {self.name!r} has no active voxel: say which box to fill")
        values, most = region.volume * len(self.entry.components), self.volume.container.limits.values
        if values > most:
            raise SelectionError(
                f"grid {self.name!r}: a box of {' x '.join(map(str, region.shape))} voxels has {values:,} values, more than the "
                f"limit of {most:,}: fill a smaller box, or raise the limit"
            )
        return self._shaped(self._within(region).dense(region))

    def sample(self, points: Tensor, space: str = "index", interpolation: str = "trilinear") -> Tensor:
        """Values (N,) or (N, 3) at points (N, 3), on the caller's device.

        space          'index' or 'world'
        interpolation  'trilinear' over voxels, as OpenVDB's BoxSampler; 'nearest' voxel; 'field': the continuous field
                       itself, which knows nothing of topology and background
        Raises OptionError for another space, interpolation or shape, and for points that are not finite.
        """
        self._check_request(points, space, interpolation)
        exact = interpolation != "field" and self.volume.device.type != "mps"  # which has no float64
        asked = points.to(self.volume.device, torch.float64 if exact else torch.float32)
        index = self.transform.world_to_index(asked) if space == "world" else asked
        index = index.clamp(-FARTHEST, FARTHEST)
        method = {"trilinear": trilinear, "nearest": nearest}.get(interpolation)
        values = self._continuous(index.float()) if method is None else method(index, self.voxels)
        return self._shaped(values.float()).to(points.device)

    def voxels(self, coordinates: Tensor) -> Tensor:
        """Values (n, C) of the voxels at integer index-space coordinates (n, 3): field, tile or background."""
        template = self.template
        result = template.lookup_outside(coordinates)
        rows = template.topology.voxel_rows(coordinates)
        active = (rows >= 0).nonzero()[:, 0]
        if not len(active):
            return result
        values = self._denormalised(self._outputs(coordinates[active].to(torch.int32)), clamp=True)
        return result.index_put((active,), self._with_kept(values, rows[active]))

    def _with_kept(self, values: Tensor, rows: Tensor) -> Tensor:
        """`values` (n, C) of the active leaf voxels at `rows` (n,), those stored exactly in place of the field's."""
        if not len(self.kept_rows):
            return values
        at = torch.searchsorted(self.kept_rows, rows).clamp_max(len(self.kept_rows) - 1)
        hit = (self.kept_rows[at] == rows).nonzero()[:, 0]
        return values.index_put((hit,), self._stored[1].values[at[hit]])

    def filled(self, outputs: Tensor) -> Grid:
        """The grid whose active leaf voxels have the normalised `outputs` (N, varying components)."""
        values = self._values_of(outputs, clamp=True)
        if len(self.kept_rows):
            values[self.kept_rows] = self._stored[1].values
        return self.template.with_values(values)

    def _leaf_outputs(self, topology: Topology) -> Tensor:
        """The field's outputs (N, varying components) on the active leaf voxels of a part of the grid."""
        with torch.no_grad():
            return self.volume.outputs.active([topology], [self.columns])[0]

    def _values_of(self, outputs: Tensor, clamp: bool) -> Tensor:
        """`_denormalised` without gradients, a part at a time: float64 is wide."""
        values = outputs.new_empty((len(outputs), len(self.entry.components)), dtype=torch.float32)
        for first in range(0, len(outputs), PART_VALUES):
            values[first : first + PART_VALUES] = self._denormalised(outputs[first : first + PART_VALUES], clamp)
        return values

    def check_some_voxels(self, most: int) -> None:
        """Restore the grid and decode about `most` of its active leaf voxels, or all. Raises FormatError."""
        topology = self.topology
        leaves = torch.linspace(0, topology.leaf_count - 1, min(topology.leaf_count, 1 + most // LEAF_VOXELS)).long().unique()
        with torch.no_grad():
            self.voxels(topology.subset(leaves.to(topology.device)).coordinates())

    def _within(self, box: Box) -> Grid:
        """The part of the grid that touches `box`, decoded."""
        template = self.template
        leaves = template.topology.find_leaves(leaves_within(template.topology.leaf_origins, box))
        topology = template.topology.subset(leaves)
        self.volume.check_work(topology.leaf_voxel_count if self.columns else 0)
        values = self._values_of(self._leaf_outputs(topology), clamp=True)
        if len(self.kept_rows):
            values = self._with_kept(values, template.topology.voxel_rows(topology.coordinates()))
        return replace(template, topology=topology, values=values, inactive=template.inactive.subset(leaves))

    def _decoded(self) -> Grid:
        return self.volume.decode([self])[0]

    @property
    def placed_columns(self) -> list[tuple[int, int]]:
        """This grid's varying components, and which outputs they are."""
        return [(place, c.output) for place, c in enumerate(self.entry.components) if c.output is not None]

    @property
    def columns(self) -> list[int]:
        """Outputs of the field that are this grid's varying components, in order."""
        return [column for _, column in self.placed_columns]

    def _outputs(self, coordinates: Tensor) -> Tensor:
        if not self.columns:
            return torch.empty((len(coordinates), 0), device=self.volume.device)
        with _named(self.volume.container):
            return self.volume.outputs.at(coordinates, self.columns)

    def _continuous(self, points: Tensor) -> Tensor:
        return self._denormalised(self._outputs(points), clamp=False)

    def _denormalised(self, outputs: Tensor, clamp: bool) -> Tensor:
        """Values (n, C) of the field's `outputs`; `clamp`: of voxels, where they must be finite and lie in the range."""
        if clamp and not bool(outputs.isfinite().all()):
            raise FormatError(f"{self.volume.container.name}: grid {self.name!r}: the field's output at a voxel is not finite")
        columns, position = [], 0
        for component in self.entry.components:
            if component.output is None:
                columns.append(torch.full((len(outputs),), component.minimum, device=outputs.device))
                continue
            own = outputs[:, position]
            lossless = component.output in self.volume.lossless
            columns.append(own.float() if lossless else denormalise(own, component.minimum, component.maximum, clamp))
            position += 1
        return torch.stack(columns, dim=1)

    def _check_request(self, points: Tensor, space: str, interpolation: str) -> None:
        if points.ndim != 2 or points.shape[1] != 3:
            raise OptionError(f"points have shape {tuple(points.shape)}, expected (N, 3)")
        bad = (~points.isfinite()).any(dim=1).nonzero()
        if len(bad):
            raise OptionError(f"point {int(bad[0])} is {points[bad[0, 0]].tolist()}: every coordinate must be finite")
        if space not in SPACES:
            raise OptionError(f"`space={space!r}` is not one of {', '.join(SPACES)}")
        if interpolation not in INTERPOLATIONS:
            raise OptionError(f"`interpolation={interpolation!r}` is not one of {', '.join(INTERPOLATIONS)}")
        if interpolation == "field" and self.volume.field is None and self.columns:
            raise OptionError("a lattice has values at voxels only: `interpolation='field'` needs a fourier field")

    def _shaped(self, values: Tensor) -> Tensor:
        return values.squeeze(-1) if self.entry.value_type == "float" else values


@contextmanager
def _named(container: Container) -> Iterator[None]:
    """Errors of the format begin with the file's name."""
    try:
        yield
    except FormatError as error:
        named = str(error).startswith(container.name)
        raise (error if named else FormatError(f"{container.name}: {error}")) from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        raise FormatError(f"{container.name}: takes more than there is memory for: {error}") from error


def _restore_field(container: Container, device: torch.device) -> Field | None:
    entry = container.manifest.field
    if entry is None or entry.tensors is None:
        return None
    stored = {name: torch.from_numpy(np.array(a)) for name, a in unpack_tensors(container.chunk(entry.tensors)).items()}
    return restore_field(entry.type, entry.config, stored, container.limits.weights).to(device).eval()


@dataclass(frozen=True)
class VerifyReport:
    """What was checked: chunks whose checksums hold, reference samples and how far from them this machine decodes."""

    chunks: int
    samples: int
    largest_difference: float
    tolerance: float


def verify(source: Readable, device: str | torch.device | None = None, limits: Limits = Limits()) -> VerifyReport:
    """Check every checksum, restore every grid, and decode some voxels of each and the stored reference samples on `device`.

    Raises FormatError where anything disagrees or exceeds `limits`.
    """
    volume = load(source, device, limits)
    container = volume.container
    for number in range(len(container.entries)):
        container.chunk(number)
    for grid in volume.grids:
        grid.check_some_voxels(VERIFIED_VOXELS)
    for entry in volume.carried:
        restore_carried(container, entry)
    tolerance, samples, difference = ACCURACY, None, 0.0
    if volume.field is not None and isinstance(volume.outputs, FieldOutputs):
        samples, precision = _reference(volume, volume.field.outputs), volume.outputs.precision
        if precision != torch.float32 and volume.manifest.field is not None:
            tolerance = volume.manifest.field.tolerance or ACCURACY
        if samples is not None:
            difference = _difference(volume.field, *samples, precision)
    if not difference <= tolerance:  # NaN too
        raise FormatError(f"{container.name}: reference samples differ by {difference:.3g}, more than {tolerance:g} of the range")
    return VerifyReport(len(container.entries), 0 if samples is None else len(samples[0]), difference, tolerance)


def _reference(volume: Volume, outputs: int) -> tuple[Tensor, Tensor] | None:
    """Coordinates int32 (R, 3) and outputs float32 (R, outputs) of the stored reference samples, if there are any."""
    if volume.manifest.reference is None:
        return None
    arrays = unpack_tensors(volume.container.chunk(volume.manifest.reference))
    coordinates = take(arrays, "coordinates", np.int32, (None, 3))
    expected = take(arrays, "outputs", np.float32, (len(coordinates), outputs))
    if not len(coordinates):
        return None
    return torch.from_numpy(coordinates.copy()).to(volume.device), torch.from_numpy(expected.copy()).to(volume.device)


@torch.no_grad()
def _difference(field: Field, coordinates: Tensor, expected: Tensor, precision: torch.dtype) -> float:
    """How far `field` is from `expected` when matrices are multiplied in `precision`."""
    return deviation(evaluate(field, coordinates, precision=precision), expected)
