"""From grids to an .inrv file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from inrv.container import AssembledFile, read_container
from inrv.decoding.grid import VolumeGrid
from inrv.decoding.volume import Volume
from inrv.encoding.job import EncodeJob, Frame
from inrv.encoding.preparation import NonFinite, deactivated, prepare
from inrv.encoding.report import EncodeReport, report_of
from inrv.encoding.size import encoded_to_quality, encoded_within
from inrv.encoding.sources import Source, volume_or_file
from inrv.errors import OptionError, OutputExistsError
from inrv.fields.seam import Checkpoint, ProgressCallback, field_codec
from inrv.grids import Grid, SparseVolume, Transform, sparse_grid
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid
from inrv.support.device import check_device
from inrv.support.inputs import Input
from inrv.support.parallel import blas_in_one_thread, workers
from inrv.support.processes import process_count, ready_to_write
from inrv.support.streams import PATH, Writable, check_writable
from inrv.support.undisturbed import undisturbed


def encode(
    source: Source,
    output: Writable,
    options: EncodeOptions = EncodeOptions(),
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> EncodeReport:
    """Encode a .vdb file, or grids in memory, into an .inrv file.

    Raises OutputExistsError, OutputError, VdbError, NonFiniteError, OptionError, SelectionError,
    MissingPackageError or FormatError; nothing is written then. Processes that
    `inrv.support.processes.joined` has brought together train one fourier field, and rank 0 writes.

    source: a .vdb file: its path, its URL, its bytes, or a binary file object, which is read to its
        end from where it stands; an array for each name, as {"density": array}; grids, as
        `sparse_grid` makes them of arrays, each with a transform and a class; a grid of OpenVDB's
        own module, or a list of such; a `SparseVolume`; or an open `Volume` or grids of it
    output: a path, where the file appears when it is whole, or a binary file object
    overwrite: replace a file that is there
    progress: is called with a `Progress` now and then
    checkpoint: as Checkpoint.beside(output): a run of the field fourier that is broken off resumes
        from it when it is called again with the same source and options, and ends in the same
        bytes; the checkpoint is deleted after success
    """
    check_writable(output)
    if isinstance(output, PATH) and Path(output).exists() and not overwrite:
        raise OutputExistsError(f"{os.fspath(output)} exists already: `overwrite=True` replaces it")
    contents, report = encoded(source, options, progress=progress, checkpoint=checkpoint)
    if ready_to_write():
        write_encoded(output, contents, checkpoint)
    return report


def write_encoded(output: Writable, contents: AssembledFile, checkpoint: Checkpoint | None) -> None:
    """Write an encoded file, and delete its checkpoint after that. Raises OutputError."""
    if checkpoint is None:
        contents.write(output)
    else:
        checkpoint.finish(lambda: contents.write(output))


@undisturbed()
def encode_array(
    array: Any,
    output: Writable,
    options: EncodeOptions = EncodeOptions(),
    *,
    name: str = "density",
    transform: Transform = Transform(),
    background: Any = 0.0,
    active: Any = None,
    axes: str | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> EncodeReport:
    """Encode a dense volume.

    Its shape is (X, Y, Z) or (X, Y, Z, 3), or what `axes` tells, and voxel [0, 0, 0] is index-space
    (0, 0, 0).

    Raises OptionError for other shapes and for numbers that float32 cannot hold as the options ask,
    and what `encode` raises. The other arguments are those of `encode`.

    array: real numbers in anything that turns into a NumPy array: of NumPy, torch, CuPy, JAX, h5py,
        zarr, lists, ...
    name: of the grid
    transform: index space to world space
    background: of the voxels that are not active
    active: bool (X, Y, Z) which voxels are active. By default those that are not masked, or, of an
        array without a mask, those that differ from `background`. Masked voxels are inactive,
        whatever lies beneath. With `axes` it has those of the array, but for components
    axes: a letter for each axis of the array: x, y and z, t of moments and c of channels, each of
        which becomes a grid, v of the components of vectors, as "zyx". Grids are x, y, z in any
        case, and a .npy file that is decoded has the order of the array
    """
    if isinstance(array, (Volume, VolumeGrid)):
        raise OptionError(
            f"a {type(array).__name__} has places and transforms of its own, as no array has: "
            "give it to encode()"
        )
    from inrv.files.images.axes import grids_of_array

    grids = (
        [sparse_grid(array, name, transform, background, active)]
        if axes is None
        else grids_of_array(array, name, axes, transform, background, active)
    )
    return encode(
        grids, output, options, overwrite=overwrite, progress=progress, checkpoint=checkpoint
    )


def encode_bytes(
    source: Source,
    options: EncodeOptions = EncodeOptions(),
    *,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[bytes, EncodeReport]:
    """Encode into memory: the bytes of the .inrv file and the report. Raises what `encode` raises.

    The caller writes them with `checkpoint.finish`, which deletes the checkpoint after that.
    """
    contents, report = encoded(source, options, progress=progress, checkpoint=checkpoint)
    return contents.joined(), report


@undisturbed()
def encoded(
    source: Source,
    options: EncodeOptions,
    *,
    progress: ProgressCallback | None,
    checkpoint: Checkpoint | None,
) -> tuple[AssembledFile, EncodeReport]:
    """Encode into a file that is yet to be written. Raises what `encode` raises."""
    check_asked(options, progress)
    if not hasattr(checkpoint, "finish") and checkpoint is not None:
        kind = type(checkpoint).__name__
        raise OptionError(f"checkpoint is of type {kind}: give inrv.Checkpoint.beside(output)")
    frame = read_frame(source, options)
    return encoded_frames([frame], options, progress=progress, checkpoint=checkpoint)


def check_asked(options: EncodeOptions, progress: ProgressCallback | None) -> None:
    """Check what a caller asks for, before work is done for it. Raises OptionError."""
    if not isinstance(options, EncodeOptions):
        kind = type(options).__name__
        raise OptionError(f"options is of type {kind}: give inrv.EncodeOptions(...)")
    if not callable(progress) and progress is not None:
        raise OptionError(f"progress is of type {type(progress).__name__}: give a function")
    check_device(options.device)


def read_frame(
    source: Source,
    options: EncodeOptions,
    number: float | int | None = None,
    time: float | None = None,
) -> Frame:
    """Read the grids that are asked for of a source, as a frame. Raises what `encode` raises."""
    found = volume_or_file(source, options.doubles)
    volume, bytes_in = _read(found, options)
    return Frame(volume, number, time, found.name if isinstance(found, Input) else "", bytes_in)


@undisturbed()
def encoded_frames(
    frames: Sequence[Frame],
    options: EncodeOptions,
    *,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[AssembledFile, EncodeReport]:
    """Encode frames into one container. Raises what `encode` raises.

    frames: in the order of time
    """
    codec = field_codec(options.chosen_field)
    held, prepared, nonfinite = list[Frame](), list[list[PreparedGrid]](), list[NonFinite]()
    for place, frame in enumerate(frames):
        volume, gone = frame.volume, tuple[NonFinite, ...]()
        if options.nonfinite == "inactive":
            volume, gone = deactivated(volume)
        grids, kept = prepare(volume, options, codec, f"{frame.name}: " if frame.name else "")
        held.append(replace(frame, volume=volume))
        prepared.append([replace(grid, frame=place) for grid in grids])
        nonfinite += gone + kept
    encoder = codec.encoder(options, progress, checkpoint)
    most = _most_bytes(options, held)
    order = encoder.coding_order(prepared)
    all_grids = [grid for place in order for grid in prepared[place]]
    first = _first_equal([grid.grid for grid in all_grids])
    different = sorted(set(first))
    job = EncodeJob(
        frames=tuple(held[place] for place in order),
        stored_as=tuple(map(different.index, first)),
        grids=tuple(all_grids[place] for place in different),
        nonfinite=tuple(nonfinite),
        options=options,
        kind=codec.kind,
        encoder=encoder,
        most_bytes=most,
    )
    with blas_in_one_thread(), workers() if process_count() == 1 else nullcontext():
        file = encoded_to_quality(job) if most is None else encoded_within(job, most)
    return file.contents, report_of(job, file, read_container(file.contents))


def _first_equal(grids: Sequence[Grid]) -> list[int]:
    """Return for each grid the place of the first one with the same voxels, or its own."""
    found: list[int] = []
    for place, grid in enumerate(grids):
        earlier = (other for other in sorted(set(found)) if grids[other].same_voxels(grid))
        found.append(next(earlier, place))
    return found


def _read(found: SparseVolume | Input, options: EncodeOptions) -> tuple[SparseVolume, int | None]:
    """Read the grids that are asked for.

    Returns them, and the size of the file they come from; None where they come from none.
    """
    if isinstance(found, SparseVolume):
        if options.axes is not None:
            raise OptionError("`axes` is for files; encode_array() takes the axes of an array")
        return (found if options.grids is None else found.choose(options.grids)), None
    from inrv import files

    return files.read(found, options.grids, doubles=options.doubles, axes=options.axes), found.size


def _most_bytes(options: EncodeOptions, frames: Sequence[Frame]) -> int | None:
    """The bytes that the file may take, as `size` or `ratio` say."""
    if options.ratio is None:
        return options.size
    before = sum(
        frame.bytes_in or sum(4 * grid.values.size for grid in frame.volume.grids)
        for frame in frames
    )
    return int(min(max(1, before / options.ratio), sys.maxsize))  # of any ratio, however extreme
