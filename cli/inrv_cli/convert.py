"""The command `inrv convert`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrv_cli.failure import USAGE, Failure, debug_option, report
from inrv_cli.files import (
    STDOUT,
    Job,
    check_input,
    check_output,
    find_inputs,
    job_list,
    name_of_input,
    print_remarks,
    read_input,
    shard_option,
    share,
    write_grids,
)
from inrv_cli.frames import FramePattern
from inrv_cli.limits import limits_option
from inrv_cli.opening import decode_grids, is_coded
from inrv_cli.options import (
    axes_option,
    computing_options,
    encode_option,
    grid_option,
    storing_options,
)
from inrv_cli.text import chosen_in, counted, size

if TYPE_CHECKING:
    from inrv import Limits, SparseVolume
    from inrv.files import ReadOptions
    from inrv.support.inputs import Input

CODED = ".inrv"


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.argument("output", metavar="OUT")
@click.option(
    "--to",
    "suffix",
    metavar="SUFFIX",
    help="The type of the outputs, as .nvdb. Default: what OUT ends with.",
)
@grid_option("Convert only this grid.")
@encode_option(
    "--doubles",
    help="What becomes of grids of double: keep them as the bytes that they are, which only a .vdb "
    "file can hold, or round them to float.",
)
@axes_option
@storing_options
@computing_options
@click.option("--force", is_flag=True, help="Replace outputs that are there already.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@shard_option
@limits_option
@debug_option
@click.pass_context
def convert(
    context: click.Context,
    inputs: tuple[str, ...],
    output: str,
    suffix: str | None,
    grids: tuple[str, ...],
    doubles: str | None,
    axes: str | None,
    half: bool,
    uncompressed: bool,
    device: str | None,
    force: bool,
    quiet: bool,
    shard: tuple[int, int] | None,
    limits: Limits,
) -> None:
    """Convert files of volumes into files of another type, as in.vdb into out.nvdb.

    INPUTS are files, URLs, folders, globs and frame patterns, as of `inrv encode`, of any type that
    inrv reads, .inrv files among them. OUT is a file, a pattern such as 'out.####.nvdb', '-' for
    stdout, or a folder; the last two take --to. If one input fails, the others are converted
    nevertheless.

    A line on stderr tells each thing that the outputs do not hold, as metadata, or grids of types
    that they do not have.
    """
    from inrv import files

    found = find_inputs(inputs, output, (*files.SUFFIXES, CODED))
    if suffix is None and len(found.files) > 1 and FramePattern.parse(Path(output).name) is None:
        raise click.UsageError(
            f"there are {len(found.files)} inputs: OUT is a pattern such as 'out.####.nvdb', or a "
            "folder with --to"
        )
    suffix = _suffix_of(output, suffix)
    listed, remarks = job_list(inputs, found, output, suffix)
    jobs, skipped = share(listed, shard, force)
    if not quiet:
        print_remarks(remarks, skipped)
    codes = []
    for job in jobs:
        try:
            started = time.perf_counter()
            check_input(job.source)
            check_output(job.output, force)
            options = files.ReadOptions(None, doubles or "passthrough", axes)
            volume = _read(read_input(job.source), grids, options, device, limits)
            written, lost = write_grids(job.output, volume, suffix, half, not uncompressed)
        except Exception as error:
            codes.append(report(error, name_of_input(job.source)))
            continue
        if not quiet:
            print_remarks(lost)
            line = _summary(job, volume, written, time.perf_counter() - started)
            click.echo(line, err=job.output == STDOUT)
    if codes:
        context.exit(codes[0])


def _suffix_of(output: str, given: str | None) -> str:
    """Return the suffix of the outputs. Raises UsageError where there is none that is known.

    given: as the user gave it
    """
    from inrv import files

    name = f"file.{given.lstrip('.')}" if given is not None else Path(output).name
    ends = [suffix for suffix in files.WRITTEN if name.lower().rstrip("/").endswith(suffix)]
    if ends:
        return max(ends, key=len)
    known = ", ".join(files.WRITTEN)
    if name.lower().endswith(CODED):
        raise click.UsageError(f"`inrv encode` makes {CODED} files; convert makes {known}")
    if given is not None:
        raise click.UsageError(f"--to {given} is of no known file type; known are {known}")
    raise click.UsageError(
        f"{output} does not tell the type of the outputs: give --to; known are {known}"
    )


def _read(
    file: Input, grids: Sequence[str], options: ReadOptions, device: str | None, limits: Limits
) -> SparseVolume:
    """Read an input of any type.

    grids: names and positions of the grids to read; none reads all
    """
    import inrv
    from inrv import files

    if not is_coded(file):
        keys = chosen_in(file, grids, options.axes)
        return files.read(file, keys or None, doubles=options.doubles, axes=options.axes)
    if options.axes is not None:
        raise Failure(USAGE, f"{file.name} tells its axes itself: leave out --axes")
    volume = inrv.load(file, device, limits)
    if volume.frames.is_sequence:
        raise Failure(
            USAGE,
            f"{file.name} is a sequence: `inrv decode` writes its frames, as with "
            "-o 'out.####.nvdb'",
        )
    return decode_grids(volume, grids)


def _summary(job: Job, volume: SparseVolume, written: int, seconds: float) -> str:
    """Return the lines about a file that was converted."""
    figures = [
        size(written),
        counted(len(volume.grids) + len(volume.passthrough), "grid") + " read",
        f"{volume.active_voxel_count:,} active voxels",
        f"{seconds:.1f} s",
    ]
    return f"{job}\n  {', '.join(figures)}"
