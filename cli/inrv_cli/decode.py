"""The command `inrv decode`."""

from __future__ import annotations

import io
import os
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
    from inrv import Limits


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="A file, a folder, a pattern, or '-' for stdout. Default: INPUT.vdb beside INPUT.inrv.",
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
    """
    codes = []
    listed, remarks = job_list(inputs, output, (".inrv",), ".vdb")
    jobs, skipped = share(listed, shard, force)
    if not quiet:
        print_remarks(remarks, skipped)
    for job in jobs:
        try:
            line = _decode(job, device, limits, force)
        except Exception as error:
            codes.append(report(error, name_of_input(job.source)))
            continue
        if not quiet:
            click.echo(line, err=job.output == STDOUT)
    if codes:
        context.exit(codes[0])


def _decode(job: Job, device: str | None, limits: Limits, force: bool) -> str:
    """Decode one file and return the lines to print."""
    check_input(job.source)
    check_output(job.output, force)
    import inrv
    from inrv import files

    started = time.perf_counter()
    volume = inrv.load(read_input(job.source), device, limits)
    decoded = volume.to_sparse()
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
    if decoded.passthrough:
        figures.append(f"{len(decoded.passthrough)} passed through")
    figures.append(f"{time.perf_counter() - started:.1f} s on {volume.device}")
    return f"{job}\n  {', '.join(figures)}"
