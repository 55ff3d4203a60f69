"""Arrays larger than memory into a file of blocks and back; the grids of any file as lazy arrays.

Such an array is one of dask, or lies in a file whose numbers are read in parts, as a Zarr store.

A large array is encoded block by block, each block by the worker that has it. A block is a volume
of its own, with its place in index space, and the file is a sequence whose frames are the blocks,
in the order of C: what reads sequences reads them. The metadata `blocks` of the sequence tells how
they make up the array. No part of it is larger than a block, so that neither the limits of readers
nor anyone's memory bound the array.

Workers write their blocks into a folder beside the file, `.NAME.<8 hex digits>.parts`, and the
program that asked copies them together at last: all of them must see that folder.
"""

from __future__ import annotations

import gc
import json
import math
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrv.container import Limits, Moment, read_container, write_sequence
from inrv.decoding.frames import BLOCKS, Frames, open_frames
from inrv.decoding.grid import VolumeGrid
from inrv.encoding.api import check_asked, encoded_frames, read_frame
from inrv.encoding.sequence import timeline_of
from inrv.errors import FormatError, OptionError, OutputError, OutputExistsError, SelectionError
from inrv.files.images.image import SOURCE, Image, Source, source_text, transform_of
from inrv.files.images.lazy import Computed, all_axes
from inrv.files.images.lossy import bytes_of_scan, marked_source, returns
from inrv.files.images.parts import open_part, write_image
from inrv.grids import COORDINATE_LIMIT, Box, Transform, sparse_grid
from inrv.options import DEFAULT_PSNR, EncodeOptions
from inrv.storage import restore_metadata
from inrv.support.atomic import folder_beside
from inrv.support.extras import needed_for
from inrv.support.streams import PATH, Readable, Writable, check_writable, input_of

if TYPE_CHECKING:
    import dask.array

AXES = 3
EDGE = 256  # voxels of a chunk along an axis: two regions, so that none is decoded twice
CACHE_BYTES = 1 << 26  # of decoded regions that a process keeps of a file of blocks
LEAST_PSNR = 1.0  # dB, of a block that ranges over next to nothing
FINEST_SHARE = 1 / (1 << 16)  # of the range of the array, that rounding to float32 may cost
HALF_UNIT = 2.0**-24  # of a number: rounding to float32 takes no more

Array = NDArray[Any]


@dataclass(frozen=True)
class BlocksReport:
    """What became of an array.

    blocks: how many it was encoded in
    active_voxels: of all blocks
    bytes_in: of the array
    bytes_out: of the file
    max_error: largest error of any active voxel
    """

    blocks: int
    active_voxels: int
    bytes_in: int
    bytes_out: int
    max_error: float


@dataclass(frozen=True)
class Layout:
    """How blocks make up an array.

    name: of the grid of each block
    components: 1 or 3
    chunks: lengths of the blocks along each of the three axes
    """

    name: str
    components: int
    chunks: tuple[tuple[int, ...], ...]

    @property
    def is_possible(self) -> bool:
        """Whether it is of an array, in blocks, within index space."""
        lengths = [edge for edges in self.chunks for edge in edges]
        return (
            isinstance(self.name, str)
            and self.components in (1, 3)
            and len(self.chunks) == AXES
            and all(type(edge) is int and edge > 0 for edge in lengths)
            and max(self.shape) <= COORDINATE_LIMIT
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """How many blocks lie along each axis."""
        return tuple(map(len, self.chunks))

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the array along each axis."""
        return tuple(map(sum, self.chunks))

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """Where the blocks along each axis begin, and where the last one ends."""
        return tuple(tuple(accumulate(lengths, initial=0)) for lengths in self.chunks)

    def number(self, place: Sequence[int]) -> int:
        """Give the number of the frame that a block is.

        place: of the block along each axis
        """
        return int(np.ravel_multi_index(tuple(place), self.counts))

    def to_text(self) -> str:
        """Give the metadata that tells of it."""
        held = {"name": self.name, "components": self.components, "chunks": self.chunks}
        return json.dumps(held, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def of(frames: Frames) -> Layout | None:
        """Read that of a file; None where it is no file of blocks.

        Raises SelectionError where it is not that of the frames.
        """
        entry = frames.timeline.metadata.get(BLOCKS)
        if entry is None:
            return None
        try:
            held = json.loads(entry.value)
            chunks = tuple(tuple(lengths) for lengths in held["chunks"])
            found = Layout(held["name"], held["components"], chunks)
            fits = found.is_possible and math.prod(found.counts) == len(frames.numbers)
        except (ValueError, TypeError, KeyError, RecursionError):
            fits = False
        fits = fits and frames.numbers == tuple(range(len(frames.numbers)))
        if not fits:
            raise SelectionError(
                f"{frames.name}: its metadata {BLOCKS!r} do not tell how its {len(frames)} frames "
                "make up an array: inrv.load opens it as a sequence"
            )
        return found


@dataclass(frozen=True)
class Job:
    """What each worker is told.

    layout: of the blocks
    options: what is asked of the whole array
    spans: ranges of the array's components; None where nothing that is asked relates to them
    transform, background, metadata: of the grid
    folder: where the files of the blocks go
    """

    layout: Layout
    options: EncodeOptions
    spans: tuple[float, ...] | None
    transform: Transform
    background: Any
    metadata: Mapping[str, Any]
    folder: Path

    def part(self, number: int) -> Path:
        """Where the file of a block lies."""
        return self.folder / f"{number}.inrv"


@dataclass(frozen=True)
class Told:
    """What a worker tells of a block: its number, and figures as in `BlocksReport`."""

    number: int
    size: int
    active_voxels: int
    max_error: float


def encode(
    array: dask.array.Array,
    path: str | os.PathLike[str],
    options: EncodeOptions = EncodeOptions(),
    *,
    name: str = "density",
    transform: Transform = Transform(),
    background: Any = 0.0,
    metadata: Mapping[str, Any] | None = None,
    value_range: Any = None,
    overwrite: bool = False,
) -> BlocksReport:
    """Encode an array of dask into a file of blocks, by the workers of the current scheduler.

    Each chunk becomes a block, so chunks of a multiple of 128 voxels along each axis are best. A
    worker holds the chunks that it encodes; no one holds more of the array. A worker that dies is
    no matter: its blocks are encoded anew. The file appears when it is whole.

    array: real numbers (X, Y, Z) or (X, Y, Z, 3); voxel [0, 0, 0] is index-space (0, 0, 0)
    path: of the file, in a folder that all workers see
    options: `psnr` and a share as `max_error` relate to the range of the whole array. `size`,
        `ratio` and the field 'fourier' are refused: they would give each block a quality of its own
    name, transform, background: of the grid, as `inrv.encode_array` takes them; with None as the
        background every voxel is active
    metadata: of the grid, as `inrv.sparse_grid` takes them
    value_range: lowest and highest value, numbers or one of each for every component; None: those
        of the active voxels, for which the array is computed twice where `options` relate to them
    overwrite: replace a file that is there

    Raises OptionError, OutputExistsError, OutputError, NonFiniteError, MissingPackageError, and
    what computing the array raises; nothing is written then.
    """
    layout = _layout(array, name)
    _check_options(options)
    check_writable(path)
    if not isinstance(path, PATH):
        raise OptionError("blocks are copied together at a path, not into a file object")
    target = Path(path)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists already: `overwrite=True` replaces it")
    if array.ndim > AXES:
        array = array.rechunk({AXES: -1})
    with folder_beside(target, "parts") as folder:
        spans = None
        if _relates_to_range(options):
            spans = _spans(array, background, value_range, layout.components)
        job = Job(layout, options, spans, transform, background, metadata or {}, folder.absolute())
        told = _of_each_block(array, _encode_block, job=job)
        _join(target, job, told, overwrite)
    return BlocksReport(
        blocks=len(told),
        active_voxels=sum(own.active_voxels for own in told),
        bytes_in=int(array.nbytes),
        bytes_out=target.stat().st_size,
        max_error=max(own.max_error for own in told),
    )


def encode_file(
    source: Readable,
    path: str | os.PathLike[str],
    options: EncodeOptions = EncodeOptions(),
    *,
    edge: int = EDGE,
    overwrite: bool = False,
) -> BlocksReport:
    """Encode an image, as a Zarr store, block by block into a file of blocks.

    Of a file whose numbers are read in parts no more is in memory than each worker's block. What
    the image says of its numbers is kept, and `decode_file` gives them back.

    source: as `inrv.encode` takes it; it holds one grid, or `options.grids` chooses one
    path, options, overwrite: as `encode` takes them
    edge: voxels of a block along each axis, best a multiple of 128
    Raises what `encode` and `inrv.files.read` raise.
    """
    if edge < 1:
        raise OptionError(f"blocks of {edge} voxels: an edge is a positive number, best 256 or 512")
    file = input_of(source)
    part = open_part(file, options.grids, options.axes)
    image = part.listed.image
    meta = np.empty((0,) * part.ndim, dtype=part.dtype)
    chunks = (edge,) * AXES + (-1,) * (part.ndim - AXES)
    array = _dask_array().from_array(part, chunks, name=False, fancy=False, meta=meta)
    report = encode(
        array,
        path,
        replace(options, grids=None, axes=None),
        name=part.listed.name,
        transform=transform_of(image),
        background=None,
        metadata={SOURCE: source_text(image, part.listed.part)},
        overwrite=overwrite,
    )
    return replace(report, bytes_in=file.size)


def decode_file(
    source: Readable,
    target: Writable,
    suffix: str | None = None,
    *,
    half: bool = False,
    compress: bool = True,
    device: Any = None,
    limits: Limits = Limits(),
    cache_bytes: int = CACHE_BYTES,
) -> Sequence[str]:
    """Write the array of a file of blocks as an image, block by block where the type allows it.

    Those types are .zarr, .ome.zarr and .npy; others take the whole array in memory. Gives a line
    for each thing that the output does not hold.

    source: a file of blocks, as `inrv.load` takes it
    target, suffix, compress: as of `inrv.files.write`
    half: write numbers of float32 in 16 bits, which rounds them
    device, limits, cache_bytes: as `inrv.load` takes them
    Raises FormatError, SelectionError where the file has no blocks, OptionError, and what
    `inrv.files.write` raises.
    """
    frames = open_frames(source, device, limits, cache_bytes=cache_bytes)
    layout = Layout.of(frames)
    if layout is None:
        raise SelectionError(f"{frames.name} is no file of blocks")
    image, lost = _image_of(frames, layout)
    if half and image.numbers.dtype == np.float32:
        numbers = Computed(image.numbers, lambda own: own.astype(np.float16), np.float16)
        image = replace(image, numbers=numbers)
    return [*lost, *write_image(target, image, suffix, compress)]


def _image_of(frames: Frames, layout: Layout) -> tuple[Image, list[str]]:
    """The image that a file of blocks was made from, or the array, and what it lacks."""
    blocks = Blocks(frames, layout)
    first = blocks.first
    metadata = restore_metadata(first.entry.metadata)
    source, lost = Source.told_in(metadata, layout.components), list[str]()
    if source is None or source.shape[:AXES] != layout.shape:
        matrix = first.transform.array().T
        return Image(blocks, matrix, layout.components > 1, name=layout.name), lost
    if source.dtype == "float16":
        lost.append("numbers of float16 are written as float32: decoded ones lie between them")
        source = replace(source, dtype="float32")
    found = bytes_of_scan(metadata, layout.components)
    if found is not None and not returns(source, first.max_error):
        source = marked_source(source, found[1] / frames.source.size)
    image = source.image(source.lazy_numbers(blocks), first.transform)
    if image.loss:
        lost.append(f"grid {layout.name!r} was coded with a loss: {image.loss}")
    return replace(image, name=layout.name), lost


def open(
    source: Readable,
    *,
    frame: float | int | None = None,
    chunks: Any = None,
    device: Any = None,
    limits: Limits = Limits(),
    cache_bytes: int = CACHE_BYTES,
) -> dict[str, dask.array.Array]:
    """Open any .inrv file as arrays of dask, by the names of its grids.

    A file of blocks is one array, whose chunks are the blocks. Of another file each grid is an
    array over its active box, as `from_volume` gives it; grids with no active voxel are left out.

    source: as `inrv.load` takes it; workers open a path or a URL themselves
    frame: of a sequence that is no file of blocks, the number of a frame; None: its first one
    chunks: as dask takes them; None: the blocks, or of other files what `from_volume` takes
    device, limits, cache_bytes: as `inrv.load` takes them, in each process

    Raises FormatError, MissingPackageError, MissingFrameError, and SelectionError where a file of
    blocks does not tell how they make up an array.
    """
    frames = open_frames(source, device, limits, cache_bytes=cache_bytes)
    layout = Layout.of(frames)
    if layout is None:
        if not len(frames):
            raise FormatError("Q9", f"{frames.name} holds no frame yet")
        volume = frames[frames.numbers[0] if frame is None else frame]
        return {
            key: from_volume(grid, chunks)
            for key, grid in volume.by_key.items()
            if grid.box is not None
        }
    if frame is not None:
        raise SelectionError(f"{frames.name} is one array in blocks: it has no frame to choose")
    return {layout.name: _lazy(Blocks(frames, layout), chunks or layout.chunks)}


def from_volume(grid: VolumeGrid, chunks: Any = None, box: Any = None) -> dask.array.Array:
    """Give the voxels of a grid as an array of dask float32 (X, Y, Z) or (X, Y, Z, 3).

    A chunk is decoded when it is computed, in the process that does.

    grid: of an open volume
    chunks: as dask takes them; None: pieces of EDGE voxels along each axis, which end where regions
        of the file do
    box: as `VolumeGrid.dense` takes it; None: the active box. Element [0, 0, 0] is its lower corner

    Raises OptionError where nothing is active and no box is given, MissingPackageError.
    """
    found = grid.box if box is None else Box.of(box)
    if found is None:
        raise OptionError(f"grid {grid.name!r} has no active voxel: say which box to fill")
    whole = tuple(
        tuple(_pieces(low, high + 1)) for low, high in zip(found.lower, found.upper, strict=True)
    )
    return _lazy(Window(grid, found), chunks or whole)


class Lazy:
    """What dask slices: an array whose boxes are decoded when they are asked for.

    shape: voxels along each axis, and 3 of a vector grid
    components: 1 or 3
    """

    dtype = np.dtype(np.float32)

    def __init__(self, shape: tuple[int, ...], components: int) -> None:
        self.components = components
        self.shape = shape if components == 1 else (*shape, components)
        self.ndim = len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        """Decode a block: a slice or a number for each axis."""
        asked = all_axes(index, self.ndim)
        ranges = [_range(own, size) for own, size in zip(asked, self.shape, strict=True)]
        shape = tuple(map(len, ranges))
        if 0 in shape:
            found = np.empty(shape, dtype=np.float32)
        else:
            lower = [min(own) for own in ranges[:AXES]]
            upper = [max(own) for own in ranges[:AXES]]
            box = self.box(lower, upper)
            starts = [*lower, *[0] * (self.ndim - AXES)]
            found = box[tuple(_within(own, low) for own, low in zip(ranges, starts, strict=True))]
        return found[tuple(slice(None) if isinstance(own, slice) else 0 for own in asked)]

    def box(self, lower: Sequence[int], upper: Sequence[int]) -> NDArray[np.float32]:
        """Decode the voxels from one corner to another, both included."""
        raise NotImplementedError


class Window(Lazy):
    """A box of a grid.

    grid: of an open volume
    within: the box, index space
    """

    def __init__(self, grid: VolumeGrid, within: Box) -> None:
        super().__init__(within.shape, len(grid.entry.components))
        self.grid, self.within = grid, within

    def box(self, lower: Sequence[int], upper: Sequence[int]) -> NDArray[np.float32]:
        """See `Lazy`."""
        corner = np.array(self.within.lower)
        return self.grid.dense((corner + lower, corner + upper))


class Blocks(Lazy):
    """A file of blocks, as the array that they make up.

    frames: the blocks
    layout: how they lie
    """

    def __init__(self, frames: Frames, layout: Layout) -> None:
        super().__init__(layout.shape, layout.components)
        self.frames, self.layout = frames, layout

    def box(self, lower: Sequence[int], upper: Sequence[int]) -> NDArray[np.float32]:
        """See `Lazy`. Raises FormatError."""
        shape = tuple(high + 1 - low for low, high in zip(lower, upper, strict=True))
        found = np.empty((*shape, *self.shape[AXES:]), dtype=np.float32)
        touched = [
            range(bisect_right(starts, low) - 1, bisect_left(starts, high + 1))
            for starts, low, high in zip(self.layout.starts, lower, upper, strict=True)
        ]
        for place in product(*touched):
            self._fill(found, place, lower, upper)
        return found

    def _fill(
        self, found: Array, place: Sequence[int], lower: Sequence[int], upper: Sequence[int]
    ) -> None:
        """Fill in what a block has of a box."""
        rows = list(zip(self.layout.starts, place, lower, upper, strict=True))
        first = [max(starts[own], low) for starts, own, low, _ in rows]
        last = [min(starts[own + 1] - 1, high) for starts, own, _, high in rows]
        inside = tuple(
            slice(start - low, end + 1 - low)
            for start, end, low in zip(first, last, lower, strict=True)
        )
        found[inside] = self._grid(self.layout.number(place)).dense((first, last))

    @property
    def first(self) -> VolumeGrid:
        """The grid of the first block."""
        return self._grid(0)

    def _grid(self, number: int) -> VolumeGrid:
        grids = self.frames[number].grids
        if [len(grid.entry.components) for grid in grids] != [self.components]:
            raise SelectionError(
                f"{self.frames.name}: frame {number} is no block: it has not one grid of "
                f"{self.components} components"
            )
        return grids[0]


def _lazy(held: Lazy, chunks: Any) -> dask.array.Array:
    """Give an array of dask of what it slices."""
    wanted = chunks
    if isinstance(chunks, tuple) and len(chunks) == AXES < held.ndim:
        wanted = (*chunks, held.components)
    meta = np.empty((0,) * held.ndim, dtype=np.float32)
    array: dask.array.Array = _dask_array().from_array(
        held, wanted, name=False, fancy=False, meta=meta
    )
    return array


def _dask_array() -> Any:
    with needed_for("an array of dask", "dask"):
        import dask.array

    return dask.array


def _pieces(start: int, stop: int) -> Iterator[int]:
    """Give the lengths of the pieces of an axis that multiples of EDGE cut."""
    while start < stop:
        end = min(stop, (start // EDGE + 1) * EDGE)
        yield end - start
        start = end


def _range(index: Any, size: int) -> range:
    """Give the elements that a slice or a number takes of an axis."""
    if isinstance(index, slice):
        return range(*index.indices(size))
    return range(size)[index : index + 1 or None]


def _within(wanted: range, low: int) -> slice:
    """Give the slice that takes some elements of those from `low` on."""
    stop = wanted[-1] - low + (1 if wanted.step > 0 else -1)
    return slice(wanted[0] - low, None if stop < 0 else stop, wanted.step)


def _layout(array: Any, name: str) -> Layout:
    """Give the blocks that an array of dask has. Raises OptionError, MissingPackageError."""
    if not isinstance(array, _dask_array().Array):
        raise OptionError(
            f"array is of type {type(array).__name__}, not an array of dask: "
            "inrv.encode_array takes others"
        )
    components = array.shape[AXES] if array.ndim == AXES + 1 else 1
    known = all(not math.isnan(edge) and edge > 0 for lengths in array.chunks for edge in lengths)
    if array.ndim not in (AXES, AXES + 1) or components not in (1, 3) or not known:
        raise OptionError(
            f"array shape {array.shape} is not (X, Y, Z) or (X, Y, Z, 3) in chunks of known, "
            "positive lengths"
        )
    chunks = tuple(tuple(map(int, lengths)) for lengths in array.chunks[:AXES])
    return Layout(name, components, chunks)


def _check_options(options: EncodeOptions) -> None:
    """Check that blocks can keep what is asked of the whole. Raises OptionError."""
    check_asked(options, None)
    for option in ("size", "ratio"):
        if getattr(options, option) is not None:
            raise OptionError(
                f"`{option}` would give each block a quality of its own: ask for `psnr`, "
                "`max_error` or `lossless`"
            )
    if options.chosen_field != "lattice":
        raise OptionError(
            f"the field {options.chosen_field!r} would give each block a quality of its own: "
            "take 'lattice'"
        )


def _relates_to_range(options: EncodeOptions) -> bool:
    """Tell whether what is asked relates to the range of the values."""
    if options.all_lossless:
        return False
    return options.error_bound is None or options.error_bound[1]


def _of_each_block(array: Any, function: Callable[..., Any], **more: Any) -> list[Any]:
    """Compute what a function gives for every block, in the order of C."""
    chunks = tuple((1,) * len(lengths) for lengths in array.chunks)
    meta = np.empty((0,) * array.ndim, dtype=object)
    found = array.map_blocks(function, **more, dtype=object, chunks=chunks, meta=meta)
    return list(found.compute().reshape(-1))


def _single(value: Any, like: Array) -> Array:
    """Give an array of one element, with as many axes as another one."""
    found: Array = np.empty((1,) * like.ndim, dtype=object)
    found[(0,) * like.ndim] = value
    return found


def _spans(array: Any, background: Any, value_range: Any, components: int) -> tuple[float, ...]:
    """Give the range of each component of an array, as the caller or its blocks tell it."""
    if value_range is not None:
        return _given_spans(value_range, components)
    found = _of_each_block(array, _block_ends, background=background)
    ends = np.array([own for own in found if own is not None])
    if not len(ends):
        return (0.0,) * components
    return tuple((ends[:, 1].max(axis=0) - ends[:, 0].min(axis=0)).tolist())


def _given_spans(value_range: Any, components: int) -> tuple[float, ...]:
    """Give the range of each component, as the caller tells it. Raises OptionError."""
    try:
        low, high = (np.broadcast_to(end, components).astype(np.float64) for end in value_range)
        spans = high - low
    except (TypeError, ValueError):
        spans = np.array([np.nan])
    if not (np.isfinite(spans) & (spans >= 0)).all():
        raise OptionError(
            f"value_range is {value_range!r}, not a lowest and a highest value, as (0, 1)"
        )
    return tuple(spans.tolist())


def _block_ends(block: Array, background: Any) -> Array:
    """Give the ends of the active values of a block, as `_ends` does."""
    return _single(_ends(_active_values(block, background)), block)


def _active_values(block: Array, background: Any) -> Array:
    """Give the finite active values (n, C) of a block; which are active, `sparse_grid` says."""
    numbers = block[..., None] if block.ndim == AXES else block
    if background is None:
        active = np.ones(numbers.shape[:AXES], dtype=np.bool_)
    elif isinstance(numbers, np.ma.MaskedArray):
        active = ~np.ma.getmaskarray(numbers).all(axis=AXES)
    else:
        active = (numbers != np.asarray(background)).any(axis=AXES)
    values = np.ma.getdata(numbers)[active]
    finite: Array = values[np.isfinite(values).all(axis=1)]
    return finite


def _ends(values: Array) -> NDArray[np.float64] | None:
    """Give the lowest and the highest of values (n, C), float64 (2, C); None of no values."""
    if not len(values):
        return None
    return np.array([values.min(axis=0), values.max(axis=0)], dtype=np.float64)


def _encode_block(block: Array, job: Job, block_info: Any = None) -> Array:
    """Encode a block into its file, and tell of it. Raises what `inrv.encode` raises."""
    place = block_info[0]["chunk-location"][:AXES]
    number = job.layout.number(place)
    corner = [starts[own] for starts, own in zip(job.layout.starts, place, strict=True)]
    options, numbers = job.options, block
    if job.spans is not None:
        values = _active_values(block, job.background)
        options, wanted = _options_of_block(job.options, job.spans, values)
        numbers = block.astype(wanted, copy=False)
    which: dict[str, Any] = {"background": job.background}
    if job.background is None:
        active = np.ones(numbers.shape[:AXES], dtype=np.bool_)
        which = {"active": active, "grid_class": "unknown"}
    grid = sparse_grid(
        numbers,
        job.layout.name,
        job.transform,
        metadata=job.metadata,
        origin=corner,
        **which,
    )
    frame = read_frame(grid, options, number, None)
    contents, report = encoded_frames([frame], options)
    contents.write(job.part(number))
    told = report.grids[0]
    found = Told(number, contents.size, told.active_voxels, told.max_error or 0.0)
    del frame, grid, contents, report
    gc.collect()  # what encoders hold, which hold each other: as much as another block
    return _single(found, block)


def _options_of_block(
    options: EncodeOptions, spans: Sequence[float], values: Array
) -> tuple[EncodeOptions, Any]:
    """Give what is to be asked of a block so that the whole keeps what is asked of it.

    A PSNR of the whole is, in a block that ranges over less, a lower one of the block; a share of
    the whole range is a number. Where the encoder would refuse to round to float32 what is next to
    nothing in the whole, the block is rounded here.

    spans: of the whole
    values: (n, C) active ones of the block

    Returns the options, and the dtype that the block may have.
    """
    ends = _ends(values)
    if ends is None:
        return options, values.dtype
    if options.error_bound is not None:
        varying = [span for span in spans if span > 0]
        share = options.error_bound[0]
        bound = share * min(varying) if varying else options.max_error
        return replace(options, max_error=bound), values.dtype
    own = ends[1] - ends[0]
    shares = [one / whole for one, whole in zip(own.tolist(), spans, strict=True) if one and whole]
    asked = DEFAULT_PSNR if options.psnr is None else options.psnr
    psnr = max(LEAST_PSNR, asked + 20 * math.log10(max(shares))) if shares else asked
    rounding = HALF_UNIT * np.abs(ends).max(axis=0)
    small = bool((rounding < FINEST_SHARE * np.array(spans)).all())
    wide = values.dtype.kind == "f" and values.dtype.itemsize > np.float32().itemsize
    return replace(options, psnr=psnr), np.float32 if small and wide else values.dtype


def _join(target: Path, job: Job, told: Sequence[Told], overwrite: bool) -> None:
    """Copy the files of the blocks into one. Raises OutputError, OutputExistsError."""
    parts = []
    for own in told:
        path = job.part(own.number)
        try:
            contents = read_container(path)
        except FormatError as error:
            raise OutputError(
                f"{target} cannot be written: block {own.number} cannot be read at {path}, where a "
                "worker wrote it: all workers must see the folder of the output"
            ) from error
        if contents.size != own.size:
            raise OutputError(
                f"{target} cannot be written: block {own.number} at {path} has {contents.size:,} "
                f"bytes, and the worker wrote {own.size:,}"
            )
        parts.append((contents.file, (Moment(own.number, None),)))
    timeline = timeline_of(start=0, metadata={BLOCKS: job.layout.to_text()})
    write_sequence(target, timeline, parts, overwrite=overwrite)
