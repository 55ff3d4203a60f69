"""An .inrv file, open: its grids, decoded where and when asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container import ACCURACY, Container, GridEntry, Limits, Manifest, PassthroughEntry, read_container, unpack_tensors
from inrv.container.tensors import take
from inrv.decoding.indexing import Block
from inrv.decoding.points import nearest, trilinear
from inrv.errors import FormatError, MissingGridError, OptionError, SelectionError, UnsupportedGridError
from inrv.fields.fourier.decode import FieldOutputs
from inrv.fields.fourier.evaluation import deviation, evaluate
from inrv.fields.fourier.field import Field
from inrv.fields.fourier.network import restore_field
from inrv.fields.lattice import DEFAULT_NAME, default_model
from inrv.fields.lattice.decode import CodedChannel, LatticeOutputs
from inrv.fields.lattice.store import StoredChannel, restore_channel
from inrv.fields.seam import NoOutputs, Outputs
from inrv.grids import Box, Grid, LeafValues, SparseVolume, Topology, Transform, denormalise
from inrv.grids.grid import leaves_within
from inrv.grids.thresholds import thresholded
from inrv.grids.topology import COORDINATE_LIMIT, LEAF_VOXELS
from inrv.metrics.psnr import psnr_of
from inrv.storage import RestoredGrid, StoredTopologies, restore_grid, restore_metadata, restore_passthrough, without
from inrv.support.arrays import as_tensor
from inrv.support.device import choose_device, decoding_precision
from inrv.support.streams import Readable, Writable, check_writable
from inrv.support.undisturbed import undisturbed

SPACES = ("index", "world")
INTERPOLATIONS = ("trilinear", "nearest", "field")
FARTHEST = float(2 * COORDINATE_LIMIT)  # every voxel beyond is background
PART_VALUES = 1 << 22  # brought from the field's outputs to values at a time
VERIFIED_VOXELS = 1 << 10  # of each grid
MOST_PSNR = 1000.0  # dB: what else a file tells is no PSNR
LATTICE_NETWORKS = 3  # of which a voxel takes one, and the smoothing one


@undisturbed()
def load(source: Readable, device: str | torch.device | None = None, limits: Limits = Limits()) -> Volume:
    """Open an .inrv file; `device` is where values are computed, by default the best there is.

    `source` is a path, the bytes of the file, or a binary file object, which is read to its end from where it stands.
    `limits` bounds what the file may take, now and when its grids are decoded. Raises FormatError where the file is not a
    valid .inrv file or exceeds the limits, OptionError where the device cannot be used.
    """
    return Volume(read_container(source, limits), choose_device(device))


class Volume(Mapping[str, "VolumeGrid"]):
    """The coded grids of an .inrv file: a mapping of their keys, in the order of the file, that finds them by position too.

    The key of a grid is its name; where that is missing or taken by one before, its number stands behind it, as in
    `density[1]`. Grids that are carried as they were have no values here: `carried` lists them, and `to_vdb` writes them.
    A volume holds no file open between two reads, so `with load(...) as volume` is allowed and needs not be. It pickles by
    its path, or its bytes where it has none, and is opened anew where it is unpickled.
    """

    def __init__(self, container: Container, device: torch.device) -> None:
        self.container = container
        self.device = device
        self.topologies = StoredTopologies(container)
        placed = zip(self.manifest.positions, self.manifest.grids, strict=True)
        self.grids = tuple(VolumeGrid(self, position, entry) for position, entry in placed)
        self.by_key = dict(zip(unique_keys([grid.name for grid in self.grids]), self.grids, strict=True))
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
                "F1", f"its lattice begins with the networks {entry.config['networks']!r}: this inrv has {DEFAULT_NAME!r}"
            )
        owners = {column: (grid, place) for grid in self.grids for place, column in grid.placed_columns}
        if sorted(column for grid in self.grids for column in grid.columns) != list(range(entry.config["outputs"])):
            raise FormatError("F4", "each output of a lattice must belong to one component of one grid")
        channels = entry.config["channels"]

        def channel(number: int, regions: int, voxels: int) -> StoredChannel:
            return restore_channel(self.container, channels[number], regions, voxels)

        def coded(number: int) -> CodedChannel:
            grid, component = owners[number]
            scale = grid.entry.components[component]
            whole = grid.restored
            return CodedChannel(whole.grid, whole.exact, component, scale.minimum, scale.maximum, grid.coded_topology)

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
    def passthrough(self) -> tuple[PassthroughEntry, ...]:
        """The grids that are carried as they were, by position."""
        return self.manifest.passthrough

    def __reduce__(self) -> tuple[Any, ...]:
        return Volume, (self.container, self.device)

    def __enter__(self) -> Volume:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        head = f"<inrv.Volume {self.container.name!r}, {self.container.size:,} bytes, on {self.device}>"
        grids = [f"  {key!r}: {grid.told}" for key, grid in self.by_key.items()]
        passthrough = [f"  {entry.name!r}: {entry.tree_type}, carried as it was ({entry.reason})" for entry in self.passthrough]
        return "\n".join([head, *grids, *passthrough])

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_key)

    def __len__(self) -> int:
        return len(self.grids)

    def __contains__(self, key: object) -> bool:
        return self._find(key) is not None

    def __getitem__(self, key: str | int) -> VolumeGrid:
        """The grid of that key, or at position `key` of the file.

        Raises MissingGridError, a KeyError, where there is none, UnsupportedGridError where it is a carried one.
        """
        found = self._find(key)
        if found is not None:
            return found
        for entry in self.passthrough:
            if key in (entry.position, entry.name):
                raise UnsupportedGridError(
                    f"{self.container.name}: grid {entry.position} {entry.name!r} is carried as it was ({entry.reason}): "
                    "decode the file and read it from the .vdb"
                )
        raise MissingGridError(f"{self.container.name}: no grid {key!r}; the file holds {', '.join(map(repr, self)) or 'none'}")

    def _find(self, key: object) -> VolumeGrid | None:
        return next((grid for name, grid in self.by_key.items() if key in (name, grid.position)), None)

    @undisturbed()
    def to_sparse(self) -> SparseVolume:
        """Every grid, its active voxels decoded, on the CPU, and every carried one."""
        decoded = tuple(grid.to("cpu") for grid in self.decode(self.grids))
        passthrough = tuple(restore_passthrough(self.container, entry) for entry in self.passthrough)
        metadata, version = restore_metadata(self.manifest.metadata), self.manifest.vdb_version
        if version is None:
            return SparseVolume(decoded, metadata, passthrough)
        return SparseVolume(decoded, metadata, passthrough, version)

    def to_vdb(self, target: Writable) -> None:
        """Decode every grid into a .vdb file: at a path, atomically, an existing file is replaced, or into a file object.

        Raises VdbError, and OutputError where no file can be written at the path.
        """
        from inrv.files.vdb import write_volume

        check_writable(target)
        write_volume(target, self.to_sparse())

    @undisturbed()
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
            raise FormatError("L4", f"{values:,} values are to be decoded, more than the limit of {limits.values:,}")
        self.check_work(sum(grid.entry.leaf_voxels for grid in grids if grid.columns))

    def check_work(self, voxels: int) -> None:
        """Raise FormatError where the field is too large for so many voxels."""
        work = voxels * self.outputs.weights
        if work > self.container.limits.work:
            raise FormatError(
                "L5",
                f"{self.container.name}: {voxels:,} voxels with {work // voxels:,} weights each are to be decoded, {work:,} "
                f"products, more than the limit of {self.container.limits.work:,}",
            )

    def _decode(self, grids: Sequence[VolumeGrid]) -> list[Grid]:
        with torch.no_grad():
            outputs = self.outputs.active([grid.topology for grid in grids], [grid.columns for grid in grids])
        outputs.reverse()
        return [grid.filled(outputs.pop()) for grid in grids]  # so that outputs and values are not all held at once


class VolumeGrid:
    """One grid of a `Volume`. Values are float32 on the volume's device: (..., ) for float, (..., 3) for vec3s.

    `sample`, `dense` and slices compute what is asked for and keep nothing; `to_grid` decodes the whole grid, and
    `numpy.asarray(grid)` its active box. With gradients enabled, `sample` is differentiable in its points and in the weights
    of `Volume.field`; within `torch.no_grad()` it is several times faster.

    `grid[0:32, :, 5]` is a block in index space, its stops excluded. Its numbers are coordinates, negative ones too: none
    counts from the end. A number drops its axis, `::2` takes every second voxel, and what is left open, as `:`, ends where
    the active box does.
    """

    __iter__ = None  # slices know no end at which iteration could stop

    def __init__(self, volume: Volume, position: int, entry: GridEntry) -> None:
        self.volume = volume
        self.position = position
        self.entry = entry

    def __reduce__(self) -> tuple[Any, ...]:
        return Volume.__getitem__, (self.volume, self.position)

    def __repr__(self) -> str:
        return f"<inrv.VolumeGrid {self.name!r} of {self.volume.container.name!r}: {self.told}>"

    @property
    def told(self) -> str:
        """Type, class, active voxels and quality, for people; from the manifest alone."""
        entry = self.entry
        return f"{entry.value_type}, {entry.grid_class}, {entry.active_voxels:,} active voxels, {self._quality}"

    @property
    def _quality(self) -> str:
        """What the encoder told of the quality of the grid's values."""
        if not self.columns:
            return "values exact"
        options, psnrs = (self.volume.manifest.encoding.get(key) for key in ("options", "psnr"))
        bound = options.get("max_error") if isinstance(options, dict) else None
        told = [] if bound is None else [f"no error above {bound:.6g}" if isinstance(bound, float) else f"no error above {bound}"]
        found = psnrs[self.columns[0] : self.columns[-1] + 1] if isinstance(psnrs, list) else []
        if found and all(isinstance(psnr, float) and abs(psnr) < MOST_PSNR for psnr in found):
            told.append(f"PSNR {psnr_of(sum(10 ** (-psnr / 10) for psnr in found) / len(found)):.2f} dB")
        return ", ".join(told) or "quality not told"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the values are decoded: they cannot be had without a copy")
        return self.dense().cpu().numpy().astype(dtype or np.float32, copy=False)

    def __getitem__(self, index: Any) -> Tensor:
        """The values of a block in index space; see the class. Raises OptionError, and what `dense` raises."""
        block = Block.of(index, self._active_box)
        if block.box is None:
            shape = (*block.shape, len(self.entry.components))
            return self._shaped(torch.empty(shape, dtype=torch.float32, device=self.volume.device))
        return self.dense(block.box)[block.within]

    @cached_property
    @undisturbed()
    def restored(self) -> RestoredGrid:
        """The grid as its chunks give it, a coarse topology where it has a threshold."""
        with _named(self.volume.container):
            found, device = restore_grid(self.volume.container, self.entry, self.volume.topologies), self.volume.device
            return RestoredGrid(found.grid.to(device), found.frequent, found.exact.to(device), found.outliers.to(device))

    @cached_property
    @undisturbed()
    def coded_topology(self) -> Topology:
        """The voxels that a lattice has codes for: those whose values are not kept."""
        return without(self.restored.grid.topology, self.restored.exact)

    @cached_property
    @undisturbed()
    def _stored(self) -> tuple[Grid, LeafValues]:
        """The grid without the values of its active leaf voxels, and the exactly stored ones among those."""
        found = self.restored
        exact = found.exact.joined(found.outliers)
        threshold, rule = self.entry.threshold, self.entry.threshold_rule
        if self.entry.topology_of is not None:
            return _in_topology(found.grid, exact, self.volume.grids[self.entry.topology_of].topology)
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
    @undisturbed()
    def exact_rows(self) -> Tensor:
        """Rows int64 (K,), ascending, of the active leaf voxels whose values are stored exactly, beside the field."""
        kept = self._stored[1]
        return self.topology.place_rows(kept.places)

    @property
    def name(self) -> str:
        """The grid's name, '' where it has none."""
        return self.entry.name

    @property
    def staggered(self) -> bool:
        """Whether it is a vector grid whose components live on the faces of voxels (MAC)."""
        return self.entry.grid_class == "staggered" and self.entry.value_type == "vec3s"

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
        stored = self.entry.threshold is None and self.entry.topology_of is None
        return self.entry.active_voxels if stored else self.topology.active_voxel_count

    @undisturbed()
    def coordinates(self) -> Tensor:
        """Index-space coordinates int32 (N, 3) of the active leaf voxels, in the order of `values`."""
        return self.topology.coordinates()

    def values(self) -> Tensor:
        """Values (N,) or (N, 3) of the active leaf voxels."""
        return self._shaped(self._decoded().values)

    def to_grid(self) -> Grid:
        """The grid, decoded, on the CPU."""
        return self._decoded().to("cpu")

    def _active_box(self) -> Box:
        if self.box is None:
            raise OptionError(f"grid {self.name!r} has no active voxel: say which box to fill")
        return self.box

    @undisturbed()
    def dense(self, box: Box | Any = None) -> Tensor:
        """Values (X, Y, Z) or (X, Y, Z, 3) of every voxel of `box`, by default the grid's own active box.

        box  a `Box`, or its lower and upper corner, both included: ((0, 0, 0), (31, 31, 31)), or an array (2, 3)
        Decodes only the leaves that touch the box. The values of a staggered grid are those of the faces, where they are
        stored: nothing is moved. Raises OptionError where nothing is active and no box is given,
        SelectionError where the box has more values than the limits allow, FormatError.
        """
        region = self._active_box() if box is None else Box.of(box)
        values, most = region.volume * len(self.entry.components), self.volume.container.limits.values
        if values > most:
            raise SelectionError(
                f"grid {self.name!r}: a box of {' x '.join(map(str, region.shape))} voxels has {values:,} values, more than the "
                f"limit of {most:,}: fill a smaller box, or raise the limit"
            )
        return self._shaped(self._within(region).dense(region))

    @undisturbed()
    def sample(self, points: Any, space: str = "index", interpolation: str = "trilinear") -> Any:
        """Values (...) or (..., 3) at points (..., 3), float32: one for a single point (3,), N for points (N, 3).

        points         a torch tensor: the values are one on its device; or anything that turns into a NumPy array, lists and
                       tuples among it: the values are a NumPy array
        space          'index' or 'world'
        interpolation  'trilinear' over voxels, as OpenVDB's BoxSampler; 'nearest' voxel; 'field': the continuous field
                       itself, which knows nothing of topology and background
        Of a staggered grid component k lives on the lower face along axis k, half a voxel from the centre, and is sampled
        there, as by OpenVDB's StaggeredBoxSampler.
        Raises OptionError for another space, interpolation or shape, and for points that are not finite.
        """
        places = as_tensor(points, "points")
        self._check_request(places, space, interpolation)
        with torch.set_grad_enabled(torch.is_grad_enabled() and isinstance(points, Tensor)):
            values = self._sampled(places.reshape(-1, 3), space, interpolation)
        values = values.reshape((*places.shape[:-1], *values.shape[1:]))
        return values.to(places.device) if isinstance(points, Tensor) else values.cpu().numpy()[()]

    def _sampled(self, points: Tensor, space: str, interpolation: str) -> Tensor:
        """Values (N,) or (N, 3) at points (N, 3), on the volume's device."""
        exact = interpolation != "field" and self.volume.device.type != "mps"  # which has no float64
        asked = points.to(self.volume.device, torch.float64 if exact else torch.float32)
        index = self.transform.world_to_index(asked) if space == "world" else asked
        index = index.clamp(-FARTHEST, FARTHEST)
        if not self.staggered:
            return self._shaped(self._between(index, interpolation))
        faces = [
            self._between(index + 0.5 * axis, interpolation) for axis in torch.eye(3, dtype=index.dtype, device=index.device)
        ]
        return torch.stack([values[:, axis] for axis, values in enumerate(faces)], dim=1)

    def _between(self, index: Tensor, interpolation: str) -> Tensor:
        """Values float32 (N, C) at index-space points (N, 3), as if all components lived at the centres of voxels."""
        if interpolation == "field":
            return self._continuous(index.float())
        return {"trilinear": trilinear, "nearest": nearest}[interpolation](index, self.voxels).float()

    @undisturbed()
    def voxels(self, coordinates: Tensor) -> Tensor:
        """Values (n, C) of the voxels at integer index-space coordinates (n, 3): field, tile or background."""
        template = self.template
        result = template.lookup_outside(coordinates)
        rows = template.topology.voxel_rows(coordinates)
        active = (rows >= 0).nonzero()[:, 0]
        if not len(active):
            return result
        values = self._denormalised(self._outputs(coordinates[active].to(torch.int32)), clamp=True)
        return result.index_put((active,), self._with_exact(values, rows[active]))

    def _with_exact(self, values: Tensor, rows: Tensor) -> Tensor:
        """`values` (n, C) of the active leaf voxels at `rows` (n,), those stored exactly in place of the field's."""
        if not len(self.exact_rows):
            return values
        at = torch.searchsorted(self.exact_rows, rows).clamp_max(len(self.exact_rows) - 1)
        hit = (self.exact_rows[at] == rows).nonzero()[:, 0]
        return values.index_put((hit,), self._stored[1].values[at[hit]])

    def filled(self, outputs: Tensor) -> Grid:
        """The grid whose active leaf voxels have the normalised `outputs` (N, varying components)."""
        values = self._values_of(outputs, clamp=True)
        if len(self.exact_rows):
            values[self.exact_rows] = self._stored[1].values
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

    @undisturbed()
    def check_some_voxels(self, most: int) -> None:
        """Restore the grid and decode about `most` of its active leaf voxels, or all. Raises FormatError."""
        topology = self.topology
        count = min(topology.leaf_count, 1 + most // LEAF_VOXELS)
        leaves = torch.linspace(0, topology.leaf_count - 1, count, dtype=torch.float64).long().unique()
        with torch.no_grad():
            self.voxels(topology.subset(leaves.to(topology.device)).coordinates())

    def _within(self, box: Box) -> Grid:
        """The part of the grid that touches `box`, decoded."""
        template = self.template
        leaves = template.topology.find_leaves(leaves_within(template.topology.leaf_origins, box))
        topology = template.topology.subset(leaves)
        self.volume.check_work(topology.leaf_voxel_count if self.columns else 0)
        values = self._values_of(self._leaf_outputs(topology), clamp=True)
        if len(self.exact_rows):
            values = self._with_exact(values, template.topology.voxel_rows(topology.coordinates()))
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
            return torch.empty((len(coordinates), 0), dtype=torch.float32, device=self.volume.device)
        with _named(self.volume.container):
            return self.volume.outputs.at(coordinates, self.columns)

    def _continuous(self, points: Tensor) -> Tensor:
        return self._denormalised(self._outputs(points), clamp=False)

    def _denormalised(self, outputs: Tensor, clamp: bool) -> Tensor:
        """Values (n, C) of the field's `outputs`; `clamp`: of voxels, where they must be finite and lie in the range."""
        if clamp and not bool(outputs.isfinite().all()):
            raise FormatError(
                "F3", f"{self.volume.container.name}: grid {self.name!r}: the field's output at a voxel is not finite"
            )
        columns, position = [], 0
        for component in self.entry.components:
            if component.output is None:
                columns.append(outputs.new_full((len(outputs),), component.minimum, dtype=torch.float32))
                continue
            own = outputs[:, position]
            lossless = component.output in self.volume.lossless
            columns.append(own.float() if lossless else denormalise(own, component.minimum, component.maximum, clamp))
            position += 1
        return torch.stack(columns, dim=1)

    def _check_request(self, points: Tensor, space: str, interpolation: str) -> None:
        if not points.ndim or points.shape[-1] != 3:
            raise OptionError(f"points have shape {tuple(points.shape)}, expected (N, 3), or (..., 3)")
        listed = points.reshape(-1, 3)
        bad = (~listed.isfinite()).any(dim=1).nonzero()
        if len(bad):
            raise OptionError(f"point {int(bad[0])} is {listed[bad[0, 0]].tolist()}: every coordinate must be finite")
        if space not in SPACES:
            raise OptionError(f"`space={space!r}` is not one of {', '.join(SPACES)}")
        if interpolation not in INTERPOLATIONS:
            raise OptionError(f"`interpolation={interpolation!r}` is not one of {', '.join(INTERPOLATIONS)}")
        if interpolation == "field" and self.volume.field is None:
            raise OptionError("a lattice has values at voxels only: `interpolation='field'` needs a fourier field")

    def _shaped(self, values: Tensor) -> Tensor:
        return values.squeeze(-1) if self.entry.value_type == "float" else values


def _in_topology(coarse: Grid, exact: LeafValues, topology: Topology) -> tuple[Grid, LeafValues]:
    """A coarse grid with the topology that another one of the same leaves is decoded to, and the exact values that it keeps."""
    leaves = coarse.topology.find_leaves(topology.leaf_origins)
    unknown = coarse.values[:1].expand(topology.leaf_voxel_count, -1)
    kept = exact.subset(leaves)
    active = topology.place_rows(kept.places) >= 0
    grid = replace(coarse, topology=topology, values=unknown, inactive=coarse.inactive.subset(leaves))
    return grid, LeafValues(kept.places[active], kept.values[active])


def unique_keys(names: Sequence[str]) -> list[str]:
    """A key for each grid: its name, or with a number behind, as in `density[1]`, where it is missing or taken by one before."""
    keys, taken, seen = list[str](), set(names), Counter[str]()
    for name in names:
        number, key = seen[name], name
        while not name or (seen[name] and key in taken):
            key = f"{name}[{number}]"
            if key not in taken:
                break
            number += 1
        seen[name] += 1
        taken.add(key)
        keys.append(key)
    return keys


@contextmanager
def _named(container: Container) -> Iterator[None]:
    """Errors of the format begin with the file's name."""
    try:
        yield
    except FormatError as error:
        named = error.message.startswith(container.name)
        raise (error if named else error.within(container.name)) from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):
            raise
        raise FormatError("L6", f"{container.name}: takes more than there is memory for: {error}") from error


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


@undisturbed()
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
    for entry in volume.passthrough:
        restore_passthrough(container, entry)
    tolerance, samples, difference = ACCURACY, None, 0.0
    if volume.field is not None and isinstance(volume.outputs, FieldOutputs):
        samples, precision = _reference(volume, volume.field.outputs), volume.outputs.precision
        if precision != torch.float32 and volume.manifest.field is not None:
            tolerance = volume.manifest.field.tolerance or ACCURACY
        if samples is not None:
            difference = _difference(volume.field, *samples, precision)
    if not difference <= tolerance:  # NaN too
        raise FormatError(
            "R1", f"{container.name}: reference samples differ by {difference:.3g}, more than {tolerance:g} of the range"
        )
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
