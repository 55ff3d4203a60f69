"""The command `inrv decode`."""

from __future__ import annotations

import io
import os
import re
import time
from typing import TYPE_CHECKING

import click

from inrv_cli.failure import debug_option, report, writing
from inrv_cli.files import (
    STDOUT,
    Job,
    check_input,
    check_output,
    job_list,
    name_of_input,
    print_remarks,
    read_input,
    shard_option,
    share,
    write_output,
)
from inrv_cli.limits import limits_option
from inrv_cli.options import computing_options
from inrv_cli.text import size

if TYPE_CHECKING:
    from inrv import Box, Limits, Volume


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
    device: str | None,
    force: bool,
    quiet: bool,
    shard: tuple[int, int] | None,
    limits: Limits,
) -> None:
    """Decode .inrv files into .vdb files.

    INPUTS are files, URLs, folders, globs and frame patterns such as 'fire.####.inrv'. `inrv encode
    --help` explains them. If one input fails, the others are decoded nevertheless. The output of a
    URL is written to the working directory unless -o names another place.

    '-' stands for stdin. It is decoded to stdout unless -o names an output.

    With --lod and --box only what they need is read and decoded, where the field is a lattice with
    exact topology. Grids that are passed through are left out.
    """
    codes = []
    listed, remarks = job_list(inputs, output, (".inrv",), ".vdb")
    jobs, skipped = share(listed, shard, force)
    if not quiet:
        print_remarks(remarks, skipped)
    for job in jobs:
        try:
            line = _decode(job, lod, box, device, limits, force)
        except Exception as error:
            codes.append(report(error, name_of_input(job.source)))
            continue
        if not quiet:
            click.echo(line, err=job.output == STDOUT)
    if codes:
        context.exit(codes[0])


def _decode(
    job: Job,
    level: int,
    part: tuple[slice, ...] | None,
    device: str | None,
    limits: Limits,
    force: bool,
) -> str:
    """Decode one file, or a level or part of it, and return the lines to print."""
    check_input(job.source)
    check_output(job.output, force)
    import inrv
    from inrv import files

    started = time.perf_counter()
    volume = inrv.load(read_input(job.source), device, limits)
    decoded = volume.to_sparse(level, None if part is None else _box_of(part, volume))
    if job.output == STDOUT:
        stream = io.BytesIO()
        files.write(stream, decoded)
        write_output(STDOUT, stream.getvalue())
        written = stream.tell()
    else:
        with writing(job.output):
            files.write(job.output, decoded)
        written = os.path.getsize(job.output)
    count = len(decoded.grids) + len(decoded.passthrough)
    figures = [
        size(written),
        f"{count} grid{'s' * (count != 1)}",
        f"{decoded.active_voxel_count:,} active voxels",
    ]
    if volume.passthrough and not decoded.passthrough:
        figures.append(f"{len(volume.passthrough)} left out")
    if decoded.passthrough:
        figures.append(f"{len(decoded.passthrough)} passed through")
    figures.append(f"{time.perf_counter() - started:.1f} s on {volume.device}")
    return f"{job}\n  {', '.join(figures)}"
