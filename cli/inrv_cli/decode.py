"""`inrv decode`."""

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
    read_input,
    shard_option,
    share,
    tell,
    write_output,
)
from inrv_cli.limits import limits_option
from inrv_cli.text import size

if TYPE_CHECKING:
    from inrv import Limits


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="File, folder, pattern or '-' for stdout. Default: INPUT.vdb beside it.",
)
@click.option(
    "--device", metavar="D", help="As cpu, cuda, cuda:1, mps. Default: the best there is."
)
@click.option("--force", is_flag=True, help="Replace existing outputs.")
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

    INPUTS are files, folders, globs and frame patterns such as 'fire.####.inrv', as `inrv encode --help` tells. One that
    fails does not keep the others from being decoded. '-' is stdin, decoded to stdout unless -o says otherwise.
    """
    codes = []
    planned, remarks = job_list(inputs, output, (".inrv",), ".vdb")
    jobs, skipped = share(planned, shard, force)
    tell(remarks, skipped, quiet)
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
    grids = f"{count} grid{'s' * (count != 1)}, {decoded.active_voxel_count:,} active voxels"
    if decoded.passthrough:
        grids += f", {len(decoded.passthrough)} passed through"
    return f"{job}\n  {size(written)}, {grids}, {time.perf_counter() - started:.1f} s on {volume.device}"
