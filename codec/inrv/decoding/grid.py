"""One grid of an open volume: its values at voxels, in boxes and at points."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from inrv.container import Container, GridEntry
from inrv.decoding import points as points_of
from inrv.decoding.bricks import Part
from inrv.decoding.indexing import Block
from inrv.decoding.values import GridValues, check_limits
from inrv.errors import FormatError, OptionError, SelectionError
from inrv.grids import COORDINATE_LIMIT, Box, Grid, SparseVolume, Topology, Transform
from inrv.grids.grid import description_of
from inrv.grids.portions import cropped
from inrv.storage import restore_metadata, restore_transform
from inrv.support.arrays import as_array
from inrv.support.extras import needed_for
from inrv.support.undisturbed import undisturbed

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
SPACES = ("index", "world")
INTERPOLATIONS = ("trilinear", "nearest", "field")
FARTHEST = float(2 * COORDINATE_LIMIT)  # every voxel beyond is background
STRIDES = tuple(1 << level for level in range(7))  # of the levels that a grid has
CENTRED = (0.0, 0.0, 0.0)  # what is added to points of a grid that is not staggered
MOST_PSNR = 1000.0  # dB: what else a file tells is no PSNR


class GridOwner(Protocol):
    """What a grid needs of the volume that holds it.

    container: the file
    """

    container: Container

    @property
    def device(self) -> str:
        """Where values are computed, and where `tensor` puts them."""

    @property
    def field(self) -> Any:
        """The torch.nn.Module of a field that is a network; None for a lattice."""

    def __getitem__(self, key: str | int) -> VolumeGrid:
        """The grid of that key, or at that position."""

    def decode(self, grids: Sequence[VolumeGrid]) -> list[Grid]:
        """Grids, decoded together."""


class VolumeGrid:
    """One grid of a `Volume`.

    Its values are float32: (...) of a scalar grid, (..., 3) of a vector grid.

    `sample`, `dense`, `tensor` and slices compute what is asked for and keep nothing; `to_grid`
    decodes the whole grid, and `numpy.asarray(grid)` its active box.

    `grid[0:32, :, 5]` is a block in index space, its stops excluded. Its numbers are coordinates,
    negative ones too: none counts from the end. A number drops its axis, `::2` takes every second
        voxel, and what is left open, as `:`, ends where the active box does.

    volume: the volume that holds it
    position: its place among all grids of the file
    entry: what the manifest says of it
    """

    __iter__ = None  # slices know no end at which iteration could stop

    def __init__(self, volume: GridOwner, position: int, values: GridValues) -> None:
        self.volume = volume
        self.position = position
        self.entry: GridEntry = values.entry
        self.values_of_grid = values

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.volume).__getitem__, (self.volume, self.position)

    def __repr__(self) -> str:
        return (
            f"<inrv.VolumeGrid {self.name!r} of {self.volume.container.name!r}: {self.description}>"
        )

    def _repr_html_(self) -> str:
        """What Jupyter shows: a row of a table, and a picture where it costs little."""
        from inrv.decoding.html import page

        return page(self.volume.container, {self.name: self})

    @property
    def description(self) -> str:
        """Type, class, active voxels, box and quality, for people; from the manifest alone."""
        entry = self.entry
        box = None if entry.box is None else Box(*entry.box)
        shown = description_of(entry.value_type, entry.grid_class, entry.active_voxels, box)
        return f"{shown}, {self.quality}"

    @property
    def quality(self) -> str:
        """What the encoder told of the quality of the grid's values, for people."""
        if not self.values_of_grid.columns:
            return "values exact"
        bound, psnr = self.max_error, self.psnr
        shown = f"{bound:.6g}" if isinstance(bound, float) else bound
        parts = [] if bound is None else [f"no error above {shown}"]
        parts += [] if psnr is None else [f"PSNR {psnr:.2f} dB"]
        return ", ".join(parts) or "quality not told"

    @property
    def max_error(self) -> float | str | None:
        """The bound on the error that was asked of the encoder, as '1%'; 0 where values are exact.

        None where none was asked.
        """
        if not self.values_of_grid.columns:
            return 0.0
        options = self.volume.container.manifest.encoding.get("options")
        options = options if isinstance(options, dict) else {}
        bound = 0.0 if options.get("lossless") is True else options.get("max_error")
        return bound if isinstance(bound, (float, int, str)) else None

    @property
    def psnr(self) -> float | None:
        """The PSNR in dB that the encoder found; None where values are exact, or none is told."""
        columns, psnrs = (
            self.values_of_grid.columns,
            self.volume.container.manifest.encoding.get("psnr"),
        )
        if not columns or not isinstance(psnrs, list):
            return None
        found = psnrs[columns[0] : columns[-1] + 1]
        if (
            not all(isinstance(psnr, float) and abs(psnr) < MOST_PSNR for psnr in found)
            or not found
        ):
            return None
        from inrv.metrics.psnr import psnr_of  # its package has all that a comparison needs

        return float(psnr_of(sum(10 ** (-psnr / 10) for psnr in found) / len(found)))

    @property
    def name(self) -> str:
        """The grid's name, '' where it has none."""
        return self.entry.name

    @property
    def staggered(self) -> bool:
        """Whether it is a vector grid whose components live on the faces of voxels (MAC)."""
        return self.entry.grid_class == "staggered" and self.entry.value_type == "vec3s"

    @property
    def template(self) -> Grid:
        """The grid without the values of its active leaf voxels."""
        with named_errors(self.volume.container):
            return self.values_of_grid.template

    @property
    def topology(self) -> Topology:
        """Leaves, masks and tiles."""
        return self.template.topology

    @property
    def transform(self) -> Transform:
        """Index space to world space; from the manifest alone. Raises FormatError."""
        with named_errors(self.volume.container):
            return restore_transform(self.entry)

    @property
    def box(self) -> Box | None:
        """The smallest box in index space that holds every active voxel, if any is active."""
        if not self.topology_is_stored:
            return self.topology.box
        return None if self.entry.box is None else Box(*self.entry.box)

    @property
    def active_voxel_count(self) -> int:
        """Active voxels, those of tiles included."""
        if not self.topology_is_stored:
            return self.topology.active_voxel_count
        return self.entry.active_voxels

    @property
    def topology_is_stored(self) -> bool:
        """Whether the manifest speaks of the active voxels, not of whole leaves."""
        return self.entry.threshold is None and self.entry.topology_of is None

    @undisturbed()
    def coordinates(self) -> NDArray[np.int32]:
        """Coordinates int32 (N, 3) of the active leaf voxels, in the order of `values`."""
        return self.topology.coordinates()

    def values(self) -> NDArray[np.float32]:
        """Values (N,) or (N, 3) of the active leaf voxels."""
        return self._shaped(self.to_grid().values)

    @property
    def lossy_ratio(self) -> float | None:
        """Of a scan from DICOM whose numbers do not all come back, how much smaller its file is.

        None of all other grids.
        """
        from inrv.files.images import lossy  # brings nothing but what JSON takes

        metadata = restore_metadata(self.entry.metadata)
        found = lossy.bytes_of_scan(metadata, len(self.entry.components))
        if found is None or lossy.returns(found[0], self.max_error):
            return None
        container = self.volume.container
        return found[1] * len(container.manifest.grids) / container.size

    def marked(self, decoded: Grid) -> Grid:
        """The decoded grid, whose metadata say so where it is a scan with a loss."""
        from inrv.files.images import lossy

        ratio = self.lossy_ratio
        return decoded if ratio is None else lossy.marked(decoded, ratio)

    def to_grid(self) -> Grid:
        """The grid, decoded. Raises FormatError, beyond the limits too."""
        return self.volume.decode([self])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the values are decoded: they cannot be had without a copy")
        return self.dense().astype(dtype or np.float32, copy=False)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        """Decode a block in index space; see the class.

        Raises OptionError, and what `dense` raises.
        """
        block = Block.of(index, self._active_box)
        if block.box is None:
            return self._shaped(
                np.empty((*block.shape, len(self.entry.components)), dtype=np.float32)
            )
        return self.dense(block.box)[block.within]

    def _active_box(self) -> Box:
        if self.box is None:
            raise OptionError(f"grid {self.name!r} has no active voxel: say which box to fill")
        return self.box

    @undisturbed()
    def dense(self, box: Box | Any = None, stride: int = 1) -> NDArray[np.float32]:
        """Values (X, Y, Z) or (X, Y, Z, 3) of every voxel of `box`.

        Decodes only the regions of 128^3 that touch the box, and keeps them as `sample` does. The
        values of a staggered grid are those of the faces, where they are stored: nothing is moved.
        Raises OptionError where nothing is active and no box is given, and for another stride,
        SelectionError where the box has more values than the limits allow, FormatError.

        box: a `Box`, or its lower and upper corner, both included: ((0, 0, 0), (31, 31, 31)), or an
            array (2, 3); by default the grid's own active box
        stride: 1, or 2, 4, ... 64: only the voxels of the box whose coordinates are multiples of
            it, read and decoded as `level` does
        """
        region = self._active_box() if box is None else Box.of(box)
        if stride not in STRIDES:
            raise OptionError(f"stride {stride!r} is not one of {', '.join(map(str, STRIDES))}")
        asked = region.multiples(stride)
        components = len(self.entry.components)
        if asked is None:
            shape = [high // stride - (low - 1) // stride for low, high in _ends(region)]
            return self._shaped(np.empty((*shape, components), dtype=np.float32))
        self._check_size(asked)
        with named_errors(self.volume.container):
            if stride > 1:
                level = STRIDES.index(stride)
                return self._shaped(self.values_of_grid.at_level(level, region).dense(asked))
            return self._shaped(self.values_of_grid.dense(region))

    def _check_size(self, box: Box) -> None:
        """Raise SelectionError where a box has more values than the limits allow."""
        values = box.volume * len(self.entry.components)
        most = self.volume.container.limits.values
        if values > most:
            raise SelectionError(
                f"grid {self.name!r}: a box of {' x '.join(map(str, box.shape))} voxels has "
                f"{values:,} values, more than the limit of {most:,}: fill a smaller box, or "
                "raise the limit"
            )

    @undisturbed()
    def crop(self, box: Box | Any) -> Grid:
        """The grid with the voxels of a box alone, decoded; all others have the background.

        Decodes only the regions of 128^3 that touch the box. Tiles that cross its border are cut.
        Raises OptionError for what is no box, SelectionError where tiles would be cut into too many
        pieces, FormatError.

        box: as `dense` takes it
        """
        asked = Box.of(box)
        with named_errors(self.volume.container):
            return cropped(self.values_of_grid.within(asked), asked)

    @undisturbed()
    def level(self, level: int, box: Box | Any = None) -> Grid:
        """The grid of every 2^level-th voxel, decoded: a level of detail.

        Voxel (i, j, k) of it is voxel 2^level (i, j, k) of this grid; its transform has voxels as
        much wider, its tiles are as much smaller. Of a lattice only the codes of these voxels are
        read and decoded, and of the channel that another one is predicted from, all. The values
        then are those before the filter that restores the finest level: they differ from
        `dense()[::2]` by a part of a step of the quantiser. A bound on the error holds for them
        too. Where decoded values tell which voxels are active, the whole grid is decoded. Of a
        staggered grid each component is that of the face of the voxel that is taken.

        level: 0 to 6
        box: as `dense` takes it, in voxels of this grid: what lies outside is left out, and its
            regions are not decoded
        Raises OptionError, FormatError, and what `crop` raises.
        """
        if not isinstance(level, (int, np.integer)) or level not in range(len(STRIDES)):
            raise OptionError(f"level {level!r} is not one of 0 to {len(STRIDES) - 1}")
        asked = None if box is None else Box.of(box)
        if not level:
            return self.to_grid() if asked is None else self.crop(asked)
        with named_errors(self.volume.container):
            found = self.marked(self.values_of_grid.at_level(level, asked))
            within = None if asked is None else asked.multiples(1 << level)
            return found if asked is None else cropped(found, within)

    def tensor(self, box: Box | Any = None, stride: int = 1) -> Tensor:
        """What `dense` gives, as a torch tensor on the volume's device."""
        with needed_for("a tensor", "train"):
            import torch

        bricks = self.values_of_grid.gpu_bricks
        region = self._active_box() if box is None else Box.of(box)
        asked = region.multiples(stride) if stride in STRIDES else None
        if bricks is None or asked is None:
            return torch.from_numpy(self.dense(box, stride)).to(self.volume.device)
        with named_errors(self.volume.container):
            self._check_size(asked)
            if stride > 1:
                bricks = bricks.at_level(STRIDES.index(stride))
            return self._shaped(bricks.dense(asked))

    @undisturbed()
    def nanovdb(self, box: Box | Any = None, level: int = 0) -> Tensor:
        """The grid as NanoVDB lays it out in memory: a tensor uint8 (n,) on the volume's device.

        Warp and fVDB open it, and renderers do. Its leaves and tiles are those of the grid; of the
        whole grid, what NanoVDB may tell of the least, largest and mean values of its nodes is left
        out. A box or a level is laid out on the host, in whose memory it is decoded or comes to.

        box: as `crop` takes it: only its regions are decoded
        level: of detail, as `level` takes it
        Raises FormatError, MissingPackageError without torch, and what `level` raises.
        """
        with needed_for("a NanoVDB grid", "train"):
            import torch

            from inrv.decoding.tensors import nanovdb_of
            from inrv.files.nanovdb.writing import laid_out
            from inrv.support.device import with_index

        if box is not None or level:
            laid = laid_out(self.level(level, box))
            return torch.from_numpy(laid.buffer).to(self.volume.device)
        with named_errors(self.volume.container):
            return nanovdb_of(self.values_of_grid, with_index(self.volume.device))

    def to_warp(self, device: Any = None) -> Any:
        """The grid as a `warp.Volume`, which kernels of NVIDIA Warp look values up in.

        device: as 'cpu' or 'cuda:0'; None: the volume's own
        Raises FormatError, and MissingPackageError without Warp or torch.
        """
        with needed_for("a volume of Warp", "warp"):
            import warp

        warp.init()  # which `from_torch` leaves to its caller
        buffer = self.nanovdb()
        return warp.Volume(warp.from_torch(buffer.to(device or buffer.device), dtype=warp.uint8))

    def to_openvdb(self) -> Any:
        """The grid as one of OpenVDB's own module, as `openvdb.FloatGrid`.

        Raises MissingPackageError where there is no such module.
        """
        from inrv import files

        (found,) = files.to_openvdb(SparseVolume((self.to_grid(),)))
        return found

    def to_fvdb(self) -> tuple[Any, Tensor]:
        """The grid as a `fvdb.Grid`, and the values of its voxels in the order that it has.

        They are float32 (N,) or (N, 3) on the volume's device. A voxel of fVDB is active, or is not
        there: what lies around is left out. Raises OptionError for a transform that turns or
        shears, and for active tiles, which fVDB does not have, FormatError, and
        MissingPackageError without fVDB.
        """
        with needed_for("a grid of fVDB", "fvdb"):
            import fvdb

            from inrv.decoding.tensors import fvdb_of

        return fvdb_of(self, fvdb)

    @undisturbed()
    def sample(
        self,
        points: Any,
        space: str = "index",
        interpolation: str = "trilinear",
        gradient: bool = False,
    ) -> Any:
        """Compute values at points.

        Points (..., 3) give values (...) or (..., 3), float32: one for a single point (3,). Beyond
        all leaves and tiles lies the background; a point between it and a voxel is interpolated.

        Of a lattice the regions of 128^3 around the points are decoded once and kept, up to the
        `cache_bytes` of `inrv.load`, so that more points cost a look in memory.

        Of a staggered grid component k lives on the lower face along axis k, half a voxel from the
        centre, and is sampled there, as by OpenVDB's StaggeredBoxSampler. Raises OptionError for
        another space, interpolation or shape, and for points that are not finite.

        points: anything that turns into a NumPy array, lists and tuples among it: the values are a
            NumPy array; or a torch tensor: the values are one on its device, differentiable in the
            points, once, and in the weights of `Volume.field` where that is a network, unless
            gradients are disabled
        space: 'index' or 'world'
        interpolation: 'trilinear' over voxels, as OpenVDB's BoxSampler; 'nearest' voxel; 'field':
            the continuous field itself, which knows nothing of topology and background
        gradient: give a pair: the values, and float32 (..., 3) of a scalar grid, (..., 3, 3) of a
            vector grid: the derivatives of the trilinear interpolation of each component along the
            axes of `space`; in a plane of voxels, where it has a kink, those of the upper side
        """
        torch = sys.modules.get("torch")
        given_tensor = torch is not None and isinstance(points, torch.Tensor)
        places: Any = _real_tensor(points) if given_tensor else _unmasked(points)
        self.check_request(places, space, interpolation, gradient)
        flat = places.reshape(-1, 3)
        values: Any
        gradients: Any = None
        with named_errors(self.volume.container):
            if given_tensor and interpolation != "field" and self._has_bricks_on(places.device):
                values, gradients = self._sampled_there(flat, space, interpolation, gradient)
            elif gradient:
                listed = _array(flat) if given_tensor else flat
                values, gradients = self._with_gradients(listed, space)
                if given_tensor:
                    values, gradients = (_like(found, places) for found in (values, gradients))
            elif given_tensor or interpolation == "field":
                values = self._sampled_tensor(flat, space, interpolation)
            else:
                values = self._sampled(self.in_index(flat, space), interpolation == "nearest")
        values = self.placed(values, places, -1)
        values = values if given_tensor else values[()]
        return (values, self.placed(gradients, places, -2)) if gradient else values

    def placed(self, values: Any, places: Any, axis: int) -> Any:
        """Values of a list of points, as their caller gets them; components run along `axis`."""
        if self.entry.value_type == "float":
            values = values[..., 0] if axis == -1 else values[..., 0, :]
        return values.reshape((*places.shape[:-1], *values.shape[1:]))

    def in_index(self, points: NDArray[np.float64], space: str) -> NDArray[np.float64]:
        """Points (N, 3) of a space in index space."""
        index = self.transform.world_to_index(points) if space == "world" else points
        return index

    @property
    def parts(self) -> list[Part]:
        """By what points are shifted, for which components."""
        if not self.staggered:
            return [(CENTRED, slice(0, len(self.entry.components)))]
        return [
            ((0.5, 0.0, 0.0), slice(0, 1)),
            ((0.0, 0.5, 0.0), slice(1, 2)),
            ((0.0, 0.0, 0.5), slice(2, 3)),
        ]

    def _sampled(self, index: NDArray[np.float64], nearest: bool) -> NDArray[np.float32]:
        """Values float32 (N, C) at points (N, 3) of index space."""
        if not self.values_of_grid.continuous:
            return self.values_of_grid.bricks.sample(index, nearest, self.parts)[0]
        index = index.clip(-FARTHEST, FARTHEST)
        return points_of.shifted(index, self.parts, nearest, self.values_of_grid.voxels)

    def _with_gradients(
        self, points: NDArray[np.float64], space: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Values float32 (N, C) at points (N, 3) of a space, and their derivatives (N, C, 3)."""
        index = self.in_index(points, space)
        values, gradients = self._index_gradients(index)
        if space == "world":
            gradients = gradients @ np.linalg.inv(self.transform.array())[:3, :3].T
        return values, gradients.astype(np.float32)

    def _index_gradients(
        self, index: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Values float32 (N, C) at points of index space, and their derivatives (N, C, 3)."""
        if not self.values_of_grid.continuous:
            values, gradients = self.values_of_grid.bricks.sample(index, False, self.parts, True)
            assert gradients is not None
            return values, gradients
        clipped = index.clip(-FARTHEST, FARTHEST)
        found = [
            points_of.gradient(clipped + shift, self.values_of_grid.voxels)[:, own]
            for shift, own in self.parts
        ]
        return self._sampled(index, False), np.concatenate(found, axis=1)

    def _sampled_tensor(self, points: Any, space: str, interpolation: str) -> Any:
        """Compute values for a tensor (N, 3), on its device.

        An array gives an array, where the continuous field is asked.
        """
        import torch

        from inrv.decoding.tensors import continuous, differentiable, interpolated

        if isinstance(points, np.ndarray):
            with torch.no_grad():
                found = self._sampled_tensor(torch.from_numpy(points), space, interpolation)
                return found.cpu().numpy()
        exact = interpolation != "field" and points.device.type != "mps"  # which has no float64
        asked = points.to(torch.float64 if exact else torch.float32)
        if space == "world":
            matrix = torch.from_numpy(np.linalg.inv(self.transform.array())).to(asked)
            asked = asked @ matrix[:3, :3] + matrix[3, :3]
        index = asked.clamp(-FARTHEST, FARTHEST)
        if not self.values_of_grid.continuous:
            if interpolation == "trilinear":
                return differentiable(index, self._index_gradients, self._sampled)
            return _like(self._sampled(_array(index), True), index)

        def at(shifted: Tensor) -> Tensor:
            if interpolation == "field":
                return continuous(self.values_of_grid, shifted).to(points.device)
            return interpolated(
                self.values_of_grid,
                shifted,
                points_of.nearest if interpolation == "nearest" else points_of.trilinear,
            )

        found = [at(index + index.new_tensor(shift))[:, own] for shift, own in self.parts]
        return torch.cat(found, dim=1)

    def _has_bricks_on(self, device: Any) -> bool:
        """Whether regions are decoded on the device, and looked up there."""
        found = self.values_of_grid.gpu_bricks
        return found is not None and found.device == device

    def _sampled_there(
        self, points: Tensor, space: str, interpolation: str, gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Compute values float32 (N, C) for a tensor (N, 3), and derivatives, on its device.

        Points in float32 are looked up in float32, where nothing else asks for more.
        """
        import torch

        from inrv.decoding.gpu_bricks import sampled

        bricks = self.values_of_grid.gpu_bricks
        assert bricks is not None
        single = space == "index" and points.dtype == torch.float32
        index = points if single else points.to(torch.float64)
        inverse = index.new_tensor(np.linalg.inv(self.transform.array()))
        if space == "world":
            index = index @ inverse[:3, :3] + inverse[3, :3]
        index = index.clamp(-FARTHEST, FARTHEST)
        if not gradient:
            return sampled(bricks, index, interpolation == "nearest", self.parts), None
        values, gradients = bricks.sample(index.detach(), False, self.parts, gradient=True)
        assert gradients is not None
        if space == "world":
            gradients = gradients @ inverse[:3, :3].T
        return values, gradients.float()

    @undisturbed()
    def voxels(self, coordinates: Any) -> NDArray[np.float32]:
        """Give the values (n, C) of voxels at integer index-space coordinates (n, 3).

        They come from the field, a tile or the background. Raises OptionError for what are no
        coordinates, FormatError.
        """
        with named_errors(self.volume.container):
            return self.values_of_grid.voxels(whole_triples(coordinates))

    def check_limits(self) -> None:
        """Raise FormatError where the whole grid exceeds the limits."""
        check_limits(self.volume.container, self.values_of_grid.outputs, [self.values_of_grid])

    def check_request(
        self, points: Any, space: str, interpolation: str, gradient: bool = False
    ) -> None:
        """Raise OptionError for what `sample` cannot give.

        points: an array or a tensor
        """
        if not points.ndim or points.shape[-1] != 3:
            raise OptionError(
                f"points have shape {tuple(points.shape)}, expected (N, 3), or (..., 3)"
            )
        finite = np.isfinite(points) if isinstance(points, np.ndarray) else points.isfinite()
        if not finite.all():
            bad = finite.reshape(-1, 3).all(1).tolist().index(False)
            found = points.reshape(-1, 3)[bad].tolist()
            raise OptionError(f"point {bad} is {found}: every coordinate must be finite")
        if space not in SPACES:
            raise OptionError(f"`space={space!r}` is not one of {', '.join(SPACES)}")
        if interpolation not in INTERPOLATIONS:
            raise OptionError(
                f"`interpolation={interpolation!r}` is not one of {', '.join(INTERPOLATIONS)}"
            )
        if gradient and interpolation != "trilinear":
            raise OptionError(f"only 'trilinear' values have gradients here, not {interpolation!r}")
        if interpolation == "field" and self.volume.field is None:
            raise OptionError(
                "a lattice has values at voxels only: `interpolation='field'` needs a fourier field"
            )

    def _shaped(self, values: T) -> T:
        """Values (..., C) as a caller gets them: (...) of a scalar grid."""
        if self.entry.value_type == "float":
            values = values[..., 0]  # type: ignore[index]
        return values


def _ends(box: Box) -> zip[tuple[int, int]]:
    """The lowest and highest coordinate of a box along each axis."""
    return zip(box.lower, box.upper, strict=True)


def whole_triples(coordinates: Any) -> NDArray[np.int64]:
    """Coordinates as int64 (n, 3). Raises OptionError for others than whole numbers."""
    found = _unmasked(coordinates, "coordinates")
    if found.ndim != 2 or found.shape[1] != 3:
        raise OptionError(f"coordinates have shape {found.shape}, expected (n, 3)")
    wrong = np.flatnonzero((found != np.floor(found)).any(axis=1) | np.isinf(found).any(axis=1))
    if len(wrong):
        raise OptionError(f"coordinates {found[wrong[0]].tolist()} are not three whole numbers")
    return found.clip(-FARTHEST, FARTHEST).astype(np.int64)


def _unmasked(points: Any, what: str = "points") -> NDArray[np.float64]:
    """Points as float64. Raises OptionError, for masked ones too."""
    found = as_array(points, what)
    if np.ma.is_masked(found):
        raise OptionError(f"{what} has masked entries: leave those out, as with .compressed()")
    return np.ascontiguousarray(np.ma.getdata(found), dtype=np.float64).reshape(found.shape)


def _real_tensor(points: Any) -> Any:
    if points.is_complex():
        raise OptionError(f"points holds {points.dtype}, not real numbers")
    return points


def _array(tensor: Any) -> NDArray[np.float64]:
    """The numbers of a tensor as float64."""
    found: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return found


def _like(values: NDArray[np.float32], tensor: Any) -> Any:
    """An array as a tensor on the device of another one."""
    import torch

    return torch.from_numpy(values).to(tensor.device)


@contextmanager
def named_errors(container: Container) -> Iterator[None]:
    """Begin errors of the format in here with the file's name.

    What memory is too small for becomes such an error.
    """
    try:
        yield
    except FormatError as error:
        raise (
            error if error.message.startswith(container.name) else error.within(container.name)
        ) from error
    except (MemoryError, RuntimeError) as error:
        torch = sys.modules.get("torch")
        of_torch = torch is not None and isinstance(error, torch.OutOfMemoryError)
        if (
            not isinstance(error, MemoryError)
            and not of_torch
            and "allocate memory" not in str(error)
        ):
            raise
        raise FormatError(
            "L6", f"{container.name}: takes more than there is memory for: {error}"
        ) from error
