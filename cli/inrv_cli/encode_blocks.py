"""`inrv encode --blocks`: images larger than memory into files of blocks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from inrv.support.extras import needed_for
from inrv_cli.failure import message_of, report
from inrv_cli.files import (
    STDOUT,
    Job,
    check_input,
    check_output,
    name_of_input,
    read_input,
)
from inrv_cli.text import chosen_in, labelled, size

if TYPE_CHECKING:
    from inrv import EncodeOptions
    from inrv.dask import BlocksReport


def encode_blocks(
    jobs: list[Job], options: EncodeOptions, edge: int, force: bool, quiet: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[int]]:
    """Encode files block by block, one block at a time, and print what became of each.

    Returns what to say of them in JSON, and of those that failed, and the exit codes of these.

    edge: voxels of a block along each axis
    """
    if any(job.output == STDOUT for job in jobs):
        raise click.UsageError("--blocks copies blocks together in a file: name it with -o")
    done, failed, codes = [], [], []
    for job in jobs:
        try:
            result = _encode(job, options, edge, force)
        except Exception as error:
            codes.append(report(error, name_of_input(job.source)))
            failed.append({"input": name_of_input(job.source), "error": message_of(error)})
            continue
        done.append(
            {"input": name_of_input(job.source), "output": job.output, **dataclasses.asdict(result)}
        )
        if not quiet:
            click.echo(_summary(job, result))
    return done, failed, codes


def _encode(job: Job, options: EncodeOptions, edge: int, force: bool) -> BlocksReport:
    check_input(job.source)
    check_output(job.output, force)
    with needed_for("--blocks", "dask"):
        import dask.config
    from inrv.dask import encode_file

    source = read_input(job.source)
    if options.grids is not None:
        chosen = chosen_in(source, options.grids, options.axes)
        options = dataclasses.replace(options, grids=chosen)
    # Blocks side by side would take the memory of several; a block is coded by all cores.
    with dask.config.set(scheduler="synchronous"):
        return encode_file(source, job.output, options, edge=edge, overwrite=force)


def _summary(job: Job, result: BlocksReport) -> str:
    """Return what a user wants to know of one encoded file."""
    smaller = f"{result.bytes_in / result.bytes_out:.1f} x smaller"
    rate = 8 * result.bytes_out / max(1, result.active_voxels)
    rows = [
        ("size", f"{size(result.bytes_in)} -> {size(result.bytes_out)}, {smaller}"),
        ("rate", f"{rate:.2f} bits per active voxel, {result.active_voxels:,} active voxels"),
        ("blocks", f"{result.blocks:,}, largest error {result.max_error:.4g}"),
    ]
    return f"{job}\n{labelled(rows)}"
