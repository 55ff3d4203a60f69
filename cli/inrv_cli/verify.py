"""`inrv verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrv_cli.failure import FAILED, Failure, debug_option, report
from inrv_cli.files import check_input, check_stdin, name_of_input, read_input, tell
from inrv_cli.frames import expand
from inrv_cli.limits import limits_option

if TYPE_CHECKING:
    from inrv import Limits


@click.command(short_help="Check that .inrv files are whole.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option(
    "--decode", is_flag=True, help="Decode every voxel too, which finds codes that make no sense."
)
@click.option(
    "--device", metavar="D", help="As cpu, cuda, cuda:1, mps. Default: the best there is."
)
@limits_option
@debug_option
@click.pass_context
def verify(
    context: click.Context, files: tuple[str, ...], decode: bool, device: str | None, limits: Limits
) -> None:
    """Check .inrv files: header, manifest, every checksum and chunk, and the stored samples of a network.

    That takes a moment, and no value is decoded for it. With --decode every voxel is.

    FILE is a file, '-' for stdin, a folder, a glob or a frame pattern, as `inrv encode --help` tells.
    """
    check_stdin(files)
    codes = []
    found = expand(files, (".inrv",))
    tell(found.remarks, [], quiet=False)
    for path, _ in found.files:
        try:
            click.echo(_verify(path, decode, device, limits))
        except Exception as error:
            codes.append(report(error, name_of_input(path)))
    if codes:
        context.exit(codes[0])


def _verify(path: Path, decode: bool, device: str | None, limits: Limits) -> str:
    check_input(path)
    import inrv

    file = read_input(path)
    try:
        found = inrv.verify(file, device, limits, decode=decode)
    except inrv.FormatError as error:
        raise Failure(
            FAILED, str(error) if file.name in str(error) else f"{file.name}: {error}"
        ) from error
    parts = [f"{found.chunks} chunks"]
    if found.samples.count:
        difference = f"{found.samples.largest_difference:.1e} of the range (allowed {found.samples.tolerance:.0e})"
        parts.append(f"{found.samples.count} samples within {difference}")
    parts.append(
        f"{found.voxels:,} active voxels decoded" if decode else "no voxel decoded (--decode does)"
    )
    return f"{file.name}: valid, {', '.join(parts)}"
