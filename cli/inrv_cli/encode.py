"""`inrv encode`."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.failure import debug_option, message_of, report, writing
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
from inrv_cli.text import PARTS, decibels, drift, grid_keys, labelled, name_of, print_json, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from inrv import Checkpoint, EncodeOptions, EncodeReport, GridReport, Progress
    from inrv.support.streams import Input

ALMOST_DONE = 0.5  # seconds: training reports no end, and what follows it may take longer than this


def _dilation(_: click.Context, option: click.Parameter, text: str | None) -> float | None:
    if text is not None and text != "inf" and not text.isdigit():
        raise click.BadParameter(
            f"{text!r} is neither a whole number of voxels nor 'inf'", param=option
        )
    return None if text is None else float(text)


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="File, folder, pattern or '-' for stdout. Default: INPUT.inrv beside it.",
)
@click.option(
    "--psnr",
    type=float,
    metavar="DB",
    help="PSNR of every grid, over its active voxels, peak = its range. Default: 45.",
)
@click.option(
    "--max-error",
    metavar="E|P%",
    help="No voxel is off by more: an absolute number, or as 1% of the range.",
)
@click.option(
    "--size", type=int, metavar="BYTES", help="The best quality in a file of at most so many bytes."
)
@click.option(
    "--ratio",
    type=float,
    metavar="R",
    help="The best quality in a file R times smaller than the .vdb.",
)
@click.option(
    "--lossless",
    is_flag=True,
    default=None,
    help="Every value comes back bit for bit; --max-error 0 says the same.",
)
@click.option(
    "--effort",
    type=click.Choice(["instant", "default", "thorough"]),
    help="How long a lattice's networks are fitted to the data.",
)
@click.option(
    "--field",
    type=click.Choice(["lattice", "fourier"]),
    help="Codes for every voxel, or one network for the volume.",
)
@click.option(
    "--preset",
    type=click.Choice(["default", "paper"]),
    help="Network that follows from the data, or the paper's Table 1.",
)
@click.option(
    "--selection",
    type=click.Choice(["topology", "avm"]),
    help="Train on the active voxels, or on values > 0, eq. (2).",
)
@click.option(
    "--dilation",
    callback=_dilation,
    metavar="L|inf",
    help="Voxels added around the selection; inf: the whole box.",
)
@click.option(
    "--values-per-weight",
    type=float,
    metavar="N",
    help="Size of a fourier field's network. Default: 14.",
)
@click.option("--epochs", type=float, metavar="N", help="Passes over the selected voxels.")
@click.option(
    "--max-time", type=float, metavar="S", help="Seconds of training after which it ends."
)
@click.option(
    "--exact-below",
    type=int,
    metavar="N",
    help="Grids of at most N active values are stored exactly. Default: 4096.",
)
@click.option(
    "--topology",
    type=click.Choice(["exact", "threshold"]),
    help="Store which voxels are active, or let decoded values beyond a threshold tell it. Default: exact, if size allows.",
)
@click.option(
    "--frequent-values",
    type=click.Choice(["exact", "approximate"]),
    help="Whether a value that many voxels share, such as 0 in empty air, comes back exactly. Default: exact.",
)
@click.option(
    "--nonfinite",
    type=click.Choice(["refuse", "keep", "inactive"]),
    help="NaN and infinity: refuse them, keep them in their places, or make their voxels inactive (missing values).",
)
@click.option(
    "--doubles",
    type=click.Choice(["passthrough", "float"]),
    help="Grids of double: carry them, or code them as float.",
)
@click.option(
    "--seed", type=int, metavar="N", help="Of the weights and of the order of voxels. Default: 0."
)
@click.option(
    "--device", metavar="D", help="As cpu, cuda, cuda:1, mps. Default: the best there is."
)
@click.option(
    "--grid",
    "grids",
    multiple=True,
    metavar="NAME|POSITION",
    help="Encode this grid only; may be repeated; names come before positions. Default: all.",
)
@click.option(
    "--checkpoint/--no-checkpoint",
    default=True,
    help="Save training beside the output, and resume from there.",
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=30.0,
    metavar="S",
    help="Training between two checkpoints. Default: 30.",
)
@click.option("--force", is_flag=True, help="Replace existing outputs.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@shard_option
@debug_option
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    checkpoint: bool,
    checkpoint_seconds: float,
    force: bool,
    quiet: bool,
    as_json: bool,
    shard: tuple[int, int] | None,
    **chosen: Any,
) -> None:
    """Encode .vdb files as .inrv files.

    INPUTS are files, folders (every .vdb file in them), globs such as 'fire.*.vdb' (every .vdb file that matches, in the
    order of the numbers) and frame patterns: 'fire.####.vdb', 'fire.@@@@.vdb', 'fire.%04d.vdb' and 'fire.$F4.vdb', in single
    quotes, stand for every frame that is written with four digits: 0001, -002, 0001.25 and, as it needs more, 10000. Frames
    that are missing are named on stderr, and so are files whose numbers are written otherwise, which are left out.

    OUT may be a pattern too; else each output has the name of its input. One input that fails does not keep the others from
    being encoded. '-' is stdin, encoded to stdout unless -o says otherwise. Started by torchrun, the processes train one
    fourier field together.
    """
    from inrv import files

    planned, remarks = job_list(inputs, output, files.SUFFIXES, ".inrv")
    jobs, skipped = share(planned, shard, force)
    if as_json and any(job.output == STDOUT for job in jobs):
        raise click.UsageError("--json and the encoded file would both be written to stdout")
    options = _options(chosen)
    from inrv.support.processes import is_first

    with _joined(options.device):
        quiet |= not is_first()
        tell(remarks, skipped, quiet)
        done, failed, codes = [], [], []
        for job in jobs:
            try:
                result = _encode(
                    job, options, checkpoint_seconds if checkpoint else None, force, quiet
                )
            except Exception as error:
                codes.append(report(error, name_of_input(job.source), silent=not is_first()))
                failed.append({"input": str(job.source), "error": message_of(error)})
                continue
            done.append({"input": str(job.source), "output": job.output, **as_dict(result)})
            if not (quiet or as_json):
                click.echo(summary(job, result), err=job.output == STDOUT)
        if as_json and is_first():
            print_json({"files": done, "failed": failed})
    if codes:
        click.get_current_context().exit(codes[0])


@contextmanager
def _joined(device: str | None) -> Iterator[None]:
    """The processes that torchrun has started, brought together; torch is imported where there are several."""
    from inrv.support.processes import started_together

    if not started_together():
        yield
        return
    from inrv.fields.fourier.training import joined

    with joined(device):
        yield


def _options(chosen: dict[str, Any]) -> EncodeOptions:
    from inrv import EncodeOptions

    return EncodeOptions(
        **{name: value for name, value in chosen.items() if value is not None and value != ()}
    )


def _chosen_in(source: Input, grids: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """What --grid stands for in this file."""
    from inrv import files

    return tuple(grid_keys(map(str, grids), [grid.name for grid in files.list_grids(source)]))


def _encode(
    job: Job, options: EncodeOptions, seconds: float | None, force: bool, quiet: bool
) -> EncodeReport:
    check_input(job.source)
    check_output(job.output, force)
    import inrv
    from inrv.encoding.api import write_encoded
    from inrv.support.processes import ready_to_write

    trains = options.chosen_field == "fourier"
    checkpoint = (
        _checkpoint(job.output, seconds, quiet)
        if trains and seconds is not None and job.output != STDOUT
        else None
    )
    try:
        source = read_input(job.source)
        if options.grids is not None:
            options = dataclasses.replace(options, grids=_chosen_in(source, options.grids))
        with progress_bar(Path(source.name).name, quiet) as progress:
            data, result = inrv.encode_bytes(
                source, options, progress=progress, checkpoint=checkpoint
            )
        if not ready_to_write():
            return result
        if job.output == STDOUT:
            write_output(job.output, data)
        else:
            with writing(job.output):
                write_encoded(job.output, data, checkpoint)
    except KeyboardInterrupt as error:
        if checkpoint is not None and checkpoint.kept:
            error.args = (f"the same command resumes from {checkpoint.path}",)
        raise
    return result


def _checkpoint(output: str, seconds: float, quiet: bool) -> Checkpoint:
    from inrv import Checkpoint

    return Checkpoint.beside(
        output, seconds, None if quiet else lambda line: click.echo(f"inrv: {line}", err=True)
    )


@contextmanager
def progress_bar(name: str, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar on stderr with what the field tells and the time left, where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{name}  reading", total=None, figures="")

        def show(now: Progress) -> None:
            stage = "encoding" if now.seconds_left > ALMOST_DONE else "storing"
            figures = f"{now.figures}  {_clock(now.seconds_left)} left".strip()
            bar.update(
                task,
                total=1.0,
                completed=now.share,
                description=f"{name}  {stage}",
                figures=figures,
            )

        yield show


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    return time.strftime("%H:%M:%S" if whole >= 3600 else "%M:%S", time.gmtime(whole))


def summary(job: Job, result: EncodeReport) -> str:
    """What a user wants to know of one encoded file, on one screen."""
    voxels = sum(grid.active_voxels for grid in result.grids)
    sizes = size(result.bytes_out)
    if result.bytes_in is not None:
        sizes = f"{size(result.bytes_in)} -> {sizes}, {result.bytes_in / result.bytes_out:.1f} x smaller"
    parts = sorted(
        ((count, PARTS.get(kind, kind)) for kind, count in result.chunk_bytes.items()), reverse=True
    )
    rows = [("size", sizes)]
    if voxels:
        rows.append(
            (
                "rate",
                f"{8 * result.bytes_out / voxels:.2f} bits per active voxel, {voxels:,} active voxels",
            )
        )
    rows.append(("parts", ", ".join(f"{name} {count:,}" for count, name in parts)))
    rows += result.description
    rows += [
        (name_of(name, position), text) for position, name, text in sorted(_grid_lines(result))
    ]
    rows += [("not finite", f"{found}; {found.fate}") for found in result.nonfinite]
    if result.measured_voxels:
        where = f"as decoded, on {result.measured_voxels:,} active leaf voxels"
        rows.append(("measured", f"{where}; peak = the range, without extreme values"))
    if result.field is None:
        rows.append(("encoding", "no grid is left to code"))
    return f"{job}\n{labelled(rows)}"


def _grid_lines(result: EncodeReport) -> Iterator[tuple[int, str, str]]:
    """Position, name and a line about every grid."""
    for grid in result.grids:
        quality = (
            "exact" if grid.lossless else f"PSNR {decibels(grid.psnr)} dB, peak {grid.peak:.4g}"
        )
        if grid.max_error is not None and not grid.lossless:
            quality += f", largest error {grid.max_error:.4g}"
        if grid.drift is not None and not grid.lossless:
            quality += f", sum {drift(grid.drift)}"
        text = f"{quality}, {grid.active_voxels:,} active voxels" if grid.active_voxels else "empty"
        if grid.exact and not grid.lossless:
            text += f", {grid.exact:,} of them extreme or not finite, and exact"
        if grid.frequent and not grid.lossless:
            text += f", exactly {_frequent_values(grid)}"
        if grid.misclassified is not None:
            text += f", topology by threshold: {grid.misclassified:,} voxels misclassified"
        yield grid.position, grid.name, text
    for passthrough in result.passthrough:
        sizes = f"{passthrough.bytes_in:,} -> {passthrough.bytes_out:,} bytes"
        yield (
            passthrough.position,
            passthrough.name,
            f"passed through ({passthrough.reason}), {sizes}",
        )


def _frequent_values(grid: GridReport) -> str:
    """'0 on 21,016, 1 on 3,400': the values that come back exactly, and on how many voxels."""
    values = (
        (", ".join(f"{number:.6g}" for number in value), count) for value, count in grid.frequent
    )
    return ", ".join(
        f"{value if len(grid.frequent[0][0]) == 1 else f'({value})'} on {count:,}"
        for value, count in values
    )


def as_dict(result: EncodeReport) -> dict[str, Any]:
    """The report, with what follows from it, for JSON."""
    voxels = sum(grid.active_voxels for grid in result.grids)
    return {
        **dataclasses.asdict(result),
        "ratio": None if result.bytes_in is None else result.bytes_in / result.bytes_out,
        "bits_per_active_voxel": 8 * result.bytes_out / voxels if voxels else None,
    }
