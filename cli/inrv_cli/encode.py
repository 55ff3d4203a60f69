"""The command `inrv encode`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrv.options import GROUPS
from inrv_cli.encode_blocks import encode_blocks
from inrv_cli.encode_sequence import encode_sequence, is_sequence, names_one_file
from inrv_cli.failure import USAGE, debug_option, message_of, report, writing
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
    write_output,
)
from inrv_cli.frames import Found
from inrv_cli.options import (
    WHOLE_NUMBER,
    axes_option,
    computing_options,
    encode_option,
    grid_option,
)
from inrv_cli.progress import progress_bar
from inrv_cli.text import PARTS, chosen_in, decibels, drift, labelled, name_of, print_json, size

if TYPE_CHECKING:
    from inrv import Checkpoint, EncodeOptions, EncodeReport, GridReport

CHECKPOINT_SECONDS = 30.0  # between two checkpoints


def _parse_dilation(_: click.Context, option: click.Parameter, text: str | None) -> float | None:
    if text is not None and text != "inf" and WHOLE_NUMBER.fullmatch(text) is None:
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
    help="A file, a folder, a pattern, or '-' for stdout. Default: INPUT.inrv beside INPUT.vdb.",
)
@encode_option(
    "--psnr",
    type=float,
    metavar="DB",
    help="The PSNR that every grid is to reach over its active voxels. Its peak is the grid's "
    "range.",
)
@encode_option(
    "--max-error",
    metavar="E|P%",
    help="The largest error that any voxel may have: a number in the grid's units, or a share of "
    "its range such as 1%.",
)
@encode_option(
    "--size",
    type=int,
    metavar="BYTES",
    help="Aim for the best quality in a file of at most this size.",
)
@encode_option(
    "--ratio",
    type=float,
    metavar="R",
    help="Aim for the best quality in a file at least R times smaller than the .vdb file.",
)
@encode_option(
    "--lossless",
    is_flag=True,
    default=None,
    help="Bring every value back bit for bit. --max-error 0 does the same.",
)
@encode_option("--effort", help="How long the networks of a lattice are fitted to the data.")
@encode_option(
    "--field",
    help="How values are coded: a lattice has a code for every voxel, fourier has one network for "
    "the whole volume.",
)
@encode_option(
    "--preset",
    help="Fourier: take a network that follows from the data, or the one of the paper's Table 1.",
)
@encode_option(
    "--selection",
    help="Fourier: train on the active voxels, or on the voxels with values above 0 (the paper's "
    "eq. 2).",
)
@encode_option(
    "--dilation",
    callback=_parse_dilation,
    metavar="L|inf",
    help="Fourier: train on so many voxels around the selection too; inf takes the whole box.",
)
@encode_option(
    "--values-per-weight",
    type=float,
    metavar="N",
    help="Fourier: take a network with one weight for every N active values.",
)
@encode_option(
    "--epochs",
    type=float,
    metavar="N",
    help="Fourier: train on each selected voxel N times.",
)
@encode_option(
    "--max-time", type=float, metavar="S", help="Fourier: end the training after S seconds."
)
@encode_option(
    "--exact-below",
    type=int,
    metavar="N",
    help="Store grids of at most N active values exactly, without a field.",
)
@encode_option(
    "--topology",
    help="Store which voxels are active, or derive it from a threshold of the decoded values.",
)
@encode_option(
    "--frequent-values",
    help="Whether a value that many voxels share, such as 0 in empty air, comes back exactly or "
    "approximately.",
)
@encode_option(
    "--nonfinite",
    help="What becomes of NaN and infinity: refuse the file, keep them in their places, or make "
    "their voxels inactive, which suits missing values.",
)
@encode_option(
    "--doubles",
    help="What becomes of grids of double: pass them through as they are, or code them as float.",
)
@axes_option
@encode_option("--seed", type=int, metavar="N", help="The seed of all random numbers.")
@computing_options
@grid_option("Encode only this grid.")
@click.option(
    "--checkpoint/--no-checkpoint",
    default=True,
    help="Fourier: save the training beside the output, and resume from there. "
    "Default: --checkpoint.",
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=CHECKPOINT_SECONDS,
    metavar="S",
    help=f"Fourier: save a checkpoint every S seconds. Default: {CHECKPOINT_SECONDS:g}.",
)
@click.option(
    "--blocks",
    type=click.IntRange(1),
    metavar="N",
    help="Images larger than memory: encode blocks of N voxels along each axis, one after the "
    "other, into a file of blocks; best 256 or 512. It takes the extra dask.",
)
@click.option("--force", is_flag=True, help="Replace outputs that are there already.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--fps",
    metavar="R",
    help="Sequence: frames a second, for example 24, 23.976 or 30000/1001. A frame's time is then "
    "its number over it. Default: not known.",
)
@click.option("--frames", metavar="RANGE", help="Sequence: take these frames, for example 60-64.")
@click.option(
    "--group",
    type=click.IntRange(1),
    metavar="N",
    help="Sequence: code up to N frames together. To read one takes those before it in its group. "
    f"Default: {GROUPS['lattice']}; {GROUPS['fourier']} with --field fourier.",
)
@click.option(
    "--loop",
    metavar="none|repeat|ping-pong",
    help="Sequence: what a player does behind the last frame. Default: none.",
)
@shard_option
@debug_option
def encode(
    inputs: tuple[str, ...],
    output: str | None,
    fps: str | None,
    frames: str | None,
    group: int | None,
    loop: str | None,
    checkpoint: bool,
    checkpoint_seconds: float,
    blocks: int | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    shard: tuple[int, int] | None,
    **chosen: Any,
) -> None:
    """Encode volumes into .inrv files: .vdb, .nvdb, .nii, .nii.gz, .nrrd, .mha, .mrc, .tif, ...

    INPUTS are files, URLs, folders, globs and frame patterns. A folder stands for every such file
    in it. A glob such as 'fire.*.vdb' stands for every such file that matches, in the
    order of the numbers.

    Frame patterns are 'fire.####.vdb', 'fire.@@@@.vdb', 'fire.%04d.vdb' and 'fire.$F4.vdb', in
    single quotes. Each stands for every frame whose number is written with four digits: 0001, -002
    and 0001.25, and also 10000, which needs more. A line on stderr names the missing frames, and
    another one the files that are left out because their numbers are written otherwise.

    OUT may be a pattern too. Without a pattern each output has the name of its input. If one input
    fails, the others are encoded nevertheless.

    Where OUT is the name of one .inrv file, and INPUTS are a pattern or several files, they become
    a sequence: one file of all frames, which keep their numbers. If it holds some of them already,
    the command goes on from there. With --shard each share has a file of its own, and `inrv seq
    join` makes one of them.

    '-' stands for stdin. It is encoded to stdout unless -o names an output.

    Processes that torchrun has started train one fourier field together.
    """
    from inrv import files

    found = find_inputs(inputs, output, files.SUFFIXES)
    asked = {"fps": fps, "frames": frames, "group": group, "loop": loop}
    if blocks is None and (
        is_sequence(output, found) or (names_one_file(output) and any(asked.values()))
    ):
        _sequence(found, output, _options(chosen), asked, shard, force, quiet, as_json)
        return
    given = [f"--{name}" for name, value in asked.items() if value is not None]
    if given:
        raise click.UsageError(
            f"{given[0]} is for a sequence: name one .inrv file with -o, into which all frames go"
        )
    listed, remarks = job_list(inputs, found, output, ".inrv")
    jobs, skipped = share(listed, shard, force)
    if as_json and any(job.output == STDOUT for job in jobs):
        raise click.UsageError("--json and the encoded file would both be written to stdout")
    options = _options(chosen)
    if blocks is not None:
        if len(found.files) > 1 and names_one_file(output):
            raise click.UsageError("--blocks encodes one image into a file: name a folder with -o")
        if not quiet:
            print_remarks(remarks, skipped)
        _blocks(jobs, options, blocks, force, quiet, as_json)
        return
    from inrv.support.processes import is_first, joined, process_count

    with joined(options.device), _warnings(not quiet and is_first()):
        quiet |= not is_first()
        if not quiet:
            print_remarks(remarks, skipped)
        done, failed, codes = [], [], []
        for job in jobs:
            try:
                result = _encode(
                    job, options, checkpoint_seconds if checkpoint else None, force, quiet
                )
            except Exception as error:
                codes.append(report(error, name_of_input(job.source), silent=not is_first()))
                failed.append({"input": name_of_input(job.source), "error": message_of(error)})
                continue
            done.append(
                {"input": name_of_input(job.source), "output": job.output, **as_dict(result)}
            )
            if not (quiet or as_json):
                click.echo(summary(job, result), err=job.output == STDOUT)
        if as_json and is_first():
            print_json({"files": done, "failed": failed})
        if USAGE in codes and process_count() > 1:
            print_remarks(["--shard shares out the inputs, one process for each file"])
    if codes:
        click.get_current_context().exit(codes[0])


def _sequence(
    found: Found,
    output: str,
    options: EncodeOptions,
    asked: dict[str, Any],
    shard: tuple[int, int] | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Encode frames into one file, and print what has become of them."""
    if not quiet:
        print_remarks(found.remarks)
    with _warnings(not quiet):
        text, told, code = encode_sequence(
            found,
            output,
            options,
            fps=asked["fps"],
            wanted=asked["frames"],
            group=asked["group"],
            loop=asked["loop"],
            shard=shard,
            force=force,
            quiet=quiet or as_json,
        )
    if as_json:
        print_json(told)
    elif not quiet:
        click.echo(text)
    if code:
        click.get_current_context().exit(code)


def _blocks(
    jobs: list[Job], options: EncodeOptions, edge: int, force: bool, quiet: bool, as_json: bool
) -> None:
    """Encode files block by block, and print what has become of them."""
    with _warnings(not quiet):
        done, failed, codes = encode_blocks(jobs, options, edge, force, quiet or as_json)
    if as_json:
        print_json({"files": done, "failed": failed})
    if codes:
        click.get_current_context().exit(codes[0])


@contextmanager
def _warnings(wanted: bool) -> Iterator[None]:
    """Let the library's warnings reach stderr or not."""
    import logging

    log = logging.getLogger("inrv")
    before, log.disabled = log.disabled, not wanted
    try:
        yield
    finally:
        log.disabled = before


def _options(chosen: dict[str, Any]) -> EncodeOptions:
    """Return the options of the library for those that the user has given."""
    from inrv import EncodeOptions

    return EncodeOptions(
        **{name: value for name, value in chosen.items() if value is not None and value != ()}
    )


def _encode(
    job: Job, options: EncodeOptions, seconds: float | None, force: bool, quiet: bool
) -> EncodeReport:
    """Encode one file.

    seconds: between two checkpoints; None: there are none
    """
    check_input(job.source)
    check_output(job.output, force)
    from inrv.encoding.api import encoded, write_encoded
    from inrv.fields.seam import field_codec
    from inrv.support.processes import ready_to_write

    checkpoint = None
    if seconds is not None and job.output != STDOUT and field_codec(options.chosen_field).resumes:
        checkpoint = _checkpoint(job.output, seconds, quiet)
    try:
        source = read_input(job.source)
        if options.grids is not None:
            chosen = chosen_in(source, options.grids, options.axes)
            options = dataclasses.replace(options, grids=chosen)
        with progress_bar(Path(source.name).name, quiet) as progress:
            contents, result = encoded(source, options, progress=progress, checkpoint=checkpoint)
        if not ready_to_write():
            return result
        if job.output == STDOUT:
            write_output(job.output, *contents.pieces)
        else:
            with writing(job.output):
                write_encoded(job.output, contents, checkpoint)
    except KeyboardInterrupt as error:
        if checkpoint is not None and checkpoint.kept:
            error.args = (f"the same command resumes from {checkpoint.path}",)
        raise
    return result


def _checkpoint(output: str, seconds: float, quiet: bool) -> Checkpoint:
    """Return the checkpoint beside an output. It prints its remarks on stderr."""
    from inrv import Checkpoint

    return Checkpoint.beside(output, seconds, None if quiet else lambda line: print_remarks([line]))


def summary(job: Job, result: EncodeReport) -> str:
    """Return what a user wants to know of one encoded file, on one screen."""
    sizes = size(result.bytes_out)
    if result.bytes_in is not None:
        smaller = f"{result.bytes_in / result.bytes_out:.1f} x smaller"
        sizes = f"{size(result.bytes_in)} -> {sizes}, {smaller}"
    parts = sorted(
        ((count, PARTS.get(kind, kind)) for kind, count in result.chunk_bytes.items()), reverse=True
    )
    rows = [("size", sizes)]
    voxels = sum(grid.active_voxels for grid in result.grids)
    if voxels:
        rate = f"{8 * result.bytes_out / voxels:.2f} bits per active voxel"
        rows.append(("rate", f"{rate}, {voxels:,} active voxels"))
    rows.append(("parts", ", ".join(f"{name} {count:,}" for count, name in parts)))
    rows += result.description
    rows += [(name_of(name, position), text) for position, name, text in sorted(_grids(result))]
    rows += [("not finite", f"{found}; {found.fate}") for found in result.nonfinite]
    if result.measured_voxels:
        where = f"as decoded, on {result.measured_voxels:,} active leaf voxels"
        rows.append(("measured", f"{where}; the peak is the range without extremes"))
    if result.field is None:
        rows.append(("field", "none, because there is nothing left for one to code"))
    return f"{job}\n{labelled(rows)}"


def _grids(result: EncodeReport) -> Iterator[tuple[int, str, str]]:
    """Yield the position and the name of every grid, and a line about it."""
    for grid in result.grids:
        yield grid.position, grid.name, _grid_line(grid)
    for passthrough in result.passthrough:
        sizes = f"{passthrough.bytes_in:,} -> {passthrough.bytes_out:,} bytes"
        text = f"passed through ({passthrough.reason}), {sizes}"
        yield passthrough.position, passthrough.name, text


def _grid_line(grid: GridReport) -> str:
    """Return the line about a coded grid."""
    parts = []
    if not grid.active_voxels:
        parts.append("empty")
    elif grid.lossless:
        parts.append("exact")
    else:
        parts.append(f"PSNR {decibels(grid.psnr)} dB, peak {grid.peak:.4g}")
        if grid.max_error is not None:
            parts.append(f"largest error {grid.max_error:.4g}")
        if grid.drift is not None:
            parts.append(f"sum {drift(grid.drift)}")
    if grid.active_voxels:
        parts.append(f"{grid.active_voxels:,} active voxels")
    if grid.exact and not grid.lossless:
        parts.append(f"{grid.exact:,} of them extreme or not finite, and exact")
    if grid.frequent and not grid.lossless:
        parts.append(f"exactly {_frequent_values(grid)}")
    if grid.misclassified is not None:
        parts.append(f"topology by threshold: {grid.misclassified:,} voxels misclassified")
    return ", ".join(parts)


def _frequent_values(grid: GridReport) -> str:
    """Return '0 on 21,016, 1 on 3,400': the values that come back exactly, and their voxels."""
    texts = []
    for value, count in grid.frequent:
        numbers = ", ".join(f"{number:.6g}" for number in value)
        texts.append(f"{numbers if len(value) == 1 else f'({numbers})'} on {count:,}")
    return ", ".join(texts)


def as_dict(result: EncodeReport) -> dict[str, Any]:
    """Return the report for JSON, with the ratio and the rate that follow from it."""
    voxels = sum(grid.active_voxels for grid in result.grids)
    return {
        **dataclasses.asdict(result),
        "ratio": None if result.bytes_in is None else result.bytes_in / result.bytes_out,
        "bits_per_active_voxel": 8 * result.bytes_out / voxels if voxels else None,
    }
