"""The command `inrv decode`."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrv.errors import MissingFrameError
from inrv_cli.failure import USAGE, Failure, debug_option, report
from inrv_cli.files import (
    STDOUT,
    Job,
    check_input,
    check_output,
    find_inputs,
    is_folder_of_outputs,
    is_stdin,
    job_list,
    name_of_input,
    print_remarks,
    read_input,
    shard_option,
    share,
    write_blocks,
    write_grids,
)
from inrv_cli.frames import (
    FramePattern,
    Number,
    Source,
    frames_from,
    frames_in,
    missing_named,
)
from inrv_cli.limits import limits_option
from inrv_cli.options import computing_options, storing_options
from inrv_cli.text import counted, size

if TYPE_CHECKING:
    from inrv import Box, Frames, Limits, Volume

DEFAULT_PLACE = "####"  # of the number in the name of a frame


def _parse_box(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[slice, ...] | None:
    """The ranges of a box along x, y and z. Raises BadParameter."""
    if text is None:
        return None
    found = [
        re.fullmatch(r"\s*(-?\d{1,99})?\s*:\s*(-?\d{1,99})?\s*", part) for part in text.split(",")
    ]
    ranges = [
        slice(*(None if end is None else int(end) for end in match.groups()))
        for match in found
        if match is not None
    ]
    if len(found) != 3 or len(ranges) != 3:
        raise click.BadParameter(f"{text!r} is not of the form 0:64,-8:8,10:20")
    return tuple(ranges)


def _box_of(part: tuple[slice, ...], volume: Volume) -> Box:
    """The box of some ranges, whose open ends are those of the active voxels.

    Raises OptionError.
    """
    from inrv import Box, OptionError
    from inrv.decoding.indexing import Block

    box = Block.of(part, lambda: volume.box or Box((0, 0, 0), (0, 0, 0))).box
    if box is None:
        raise OptionError("the box of --box is empty: every end must be greater than its start")
    return box


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="A file, a folder, a pattern, or '-' for stdout. Default: INPUT.vdb beside INPUT.inrv.",
)
@click.option(
    "--lod",
    type=click.IntRange(0, 6),
    default=0,
    metavar="N",
    help="A level of detail: every 2^N-th voxel alone, 0 to 6; the voxels are as much wider.",
)
@click.option(
    "--box",
    callback=_parse_box,
    metavar="X0:X1,Y0:Y1,Z0:Z1",
    help="The voxels of a box alone, in index space; the ends are excluded, as in Python's slices, "
    "and open ones, as in '10:50,:,3:', are those of the active voxels.",
)
@click.option(
    "--frames",
    metavar="RANGE",
    help="Sequence: decode these frames, for example 60-64, 1-99x2 or 60,62, as far as they are "
    "there. Default: all.",
)
@storing_options
@computing_options
@click.option("--force", is_flag=True, help="Replace outputs that are there already.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@shard_option
@limits_option
@debug_option
@click.pass_context
def decode(
    context: click.Context,
    inputs: tuple[str, ...],
    output: str | None,
    lod: int,
    box: tuple[slice, ...] | None,
    frames: str | None,
    half: bool,
    uncompressed: bool,
    device: str | None,
    force: bool,
    quiet: bool,
    shard: tuple[int, int] | None,
    limits: Limits,
) -> None:
    """Decode .inrv files into .vdb files, or into others that OUT names, as 'out.nvdb'.

    INPUTS are files, URLs, folders, globs and frame patterns such as 'fire.####.inrv'. `inrv encode
    --help` explains them. If one input fails, the others are decoded nevertheless. The output of a
    URL is written to the working directory unless -o names another place.

    '-' stands for stdin. It is decoded to stdout unless -o names an output.

    A file of blocks is decoded into one image where OUT names one, as 'scan.zarr' or 'scan.npy',
    block by block; .zarr, .ome.zarr and .npy take no more memory than some blocks.

    A sequence is decoded frame by frame, into files that have the frames' numbers: OUT is a pattern
    such as 'out.####.vdb' or a folder, or a file for one frame. Default: INPUT.####.vdb. Frames
    that are missing are named on stderr; it is an error only where none of --frames is there.

    With --lod and --box only what they need is read and decoded, where the field is a lattice with
    exact topology. Grids that are passed through are left out.
    """
    codes = []
    found = find_inputs(inputs, output, (".inrv",))
    volume = None
    if len(found.files) == 1:
        import inrv

        (source, _) = found.files[0]
        check_input(source)
        volume = inrv.load(read_input(source), device, limits)
    if volume is not None and _is_array(volume, output, frames):
        if output == STDOUT:
            raise click.UsageError("an array in blocks is written to a file: name it with -o")
        listed, remarks = [Job(found.files[0][0], output or "")], []
        if lod or box is not None:
            raise click.UsageError(
                f"{volume.frames.name} is an array in blocks: --lod and --box are for its frames"
            )
    elif volume is not None and volume.frames.is_sequence:
        numbers, missing = frames_to_decode(volume.frames, frames)
        listed = _frame_jobs(found.files[0][0], output, numbers)
        remarks = [f"{volume.frames.name} has no {missing_named(missing)}"] if missing else []
    else:
        if frames is not None:
            raise click.UsageError("--frames is for a sequence, given as the only input")
        listed, remarks = job_list(inputs, found, output, ".vdb")
    jobs, skipped = share(listed, shard, force)
    if not quiet:
        print_remarks(remarks, skipped)
    for job in jobs:
        try:
            line, lost = _decode(
                job, volume, lod, box, device, limits, force, half, not uncompressed
            )
        except Exception as error:
            codes.append(report(error, name_of_input(job.source)))
            continue
        if not quiet:
            print_remarks(lost)
            click.echo(line, err=job.output == STDOUT)
    if codes:
        context.exit(codes[0])


def _is_array(volume: Volume, output: str | None, frames: str | None) -> bool:
    """Return whether a file of blocks is to become one file, and not a file for each block."""
    return (
        frames is None
        and output is not None
        and volume.frames.are_blocks
        and FramePattern.parse(Path(output).name) is None
        and not is_folder_of_outputs(output)
    )


def frames_to_decode(held: Frames, wanted: str | None) -> tuple[list[Number], list[Number]]:
    """Return the frames to decode, and those that are missing. Raises MissingFrameError.

    wanted: the frames, as '60-64'; None: all
    """
    if wanted is None:
        return list(held), held.missing
    asked = frames_in(wanted)
    there = [number for number in asked if number in held]
    if not there and len(asked) == 1:
        raise MissingFrameError(held.lacks(asked[0]))
    if not there:
        found = frames_from(held.numbers)
        raise MissingFrameError(f"{held.name} has none of the frames {wanted}: it holds {found}")
    return there, sorted(set(asked) - set(there))


def _frame_jobs(source: Source, output: str | None, numbers: Sequence[Number]) -> list[Job]:
    """Return a job for each frame of a sequence. Raises UsageError.

    source: the sequence
    output: a pattern, a folder, or a file for one frame; None: INPUT.####.vdb beside the input
    """
    name = Path(name_of_input(source)).stem
    pattern = FramePattern.parse(f"{'stdin' if is_stdin(source) else name}.{DEFAULT_PLACE}.vdb")
    folder = Path() if is_stdin(source) or isinstance(source, str) else source.parent
    if output is not None:
        given = FramePattern.parse(Path(output).name)
        if given is not None:
            pattern, folder = given, Path(output).parent
        elif is_folder_of_outputs(output):
            folder = Path(output)
        elif len(numbers) == 1:
            return [Job(source, output, numbers[0])]
        else:
            raise click.UsageError(
                f"-o {output} is one file, and there are {len(numbers)} frames: give a pattern "
                "such as 'out.####.vdb', or --frames with one of them"
            )
    assert pattern is not None
    return [Job(source, str(folder / pattern.fill(str(n))), n) for n in numbers]


def _decode(
    job: Job,
    opened: Volume | None,
    level: int,
    part: tuple[slice, ...] | None,
    device: str | None,
    limits: Limits,
    force: bool,
    half: bool,
    compress: bool,
) -> tuple[str, list[str]]:
    """Decode one file, or a level or part of it.

    Returns the lines to print, and remarks on what the output does not hold.

    opened: the only input; None where there are several, or where it has to be opened anew
    """
    check_input(job.source)
    check_output(job.output, force)
    import inrv

    started = time.perf_counter()
    volume = inrv.load(read_input(job.source), device, limits) if opened is None else opened
    if job.frame is None and _is_array(volume, job.output, None):
        written, lost = write_blocks(job.output, volume, half, compress, limits)
        seconds = time.perf_counter() - started
        return f"{job}\n  {size(written)}, {seconds:.1f} s on {volume.device}", lost
    if job.frame is not None:
        volume = volume.frames[job.frame]
    elif volume.frames.is_sequence:
        raise Failure(USAGE, f"{job.source} is a sequence: decode it alone, into a pattern")
    decoded = volume.to_sparse(level, None if part is None else _box_of(part, volume))
    written, lost = write_grids(job.output, decoded, half=half, compress=compress)
    count = len(decoded.grids) + len(decoded.passthrough)
    figures = [
        size(written),
        counted(count, "grid"),
        f"{decoded.active_voxel_count:,} active voxels",
    ]
    if volume.passthrough and not decoded.passthrough:
        figures.append(f"{len(volume.passthrough)} left out")
    if decoded.passthrough and not lost:
        figures.append(f"{len(decoded.passthrough)} passed through")
    figures.append(f"{time.perf_counter() - started:.1f} s on {volume.device}")
    return f"{job}\n  {', '.join(figures)}", lost
