"""The command `inrv verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from inrv_cli.failure import FAILED, Failure, debug_option, report
from inrv_cli.files import check_input, check_stdin, name_of_input, print_remarks, read_input
from inrv_cli.frames import Source, expand
from inrv_cli.limits import limits_option
from inrv_cli.options import computing_options
from inrv_cli.text import counted

if TYPE_CHECKING:
    from inrv import Limits


@click.command(short_help="Check that .inrv files are whole.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option(
    "--decode",
    is_flag=True,
    help="Decode every voxel too. This finds codes that make no sense though their checksums hold.",
)
@computing_options
@limits_option
@debug_option
@click.pass_context
def verify(
    context: click.Context, files: tuple[str, ...], decode: bool, device: str | None, limits: Limits
) -> None:
    """Check that .inrv files are whole.

    The command checks the header, the manifest, every checksum, every chunk and the stored samples
    of a network. This takes only a moment, because no voxel is decoded unless you give --decode.

    FILE is a file, a URL, a folder, a glob, a frame pattern, or '-' for stdin. `inrv encode
    --help` explains them.
    """
    check_stdin(files)
    codes = []
    found = expand(files, (".inrv",))
    print_remarks(found.remarks)
    for path, _ in found.files:
        try:
            click.echo(_verify(path, decode, device, limits))
        except Exception as error:
            codes.append(report(error, name_of_input(path)))
    if codes:
        context.exit(codes[0])


def _verify(path: Source, decode: bool, device: str | None, limits: Limits) -> str:
    """Check one file and return the line to print. Raises Failure where it is not valid."""
    check_input(path)
    import inrv

    file = read_input(path)
    try:
        found = inrv.verify(file, device, limits, decode=decode)
    except inrv.FormatError as error:
        raise Failure(
            FAILED, str(error) if file.name in str(error) else f"{file.name}: {error}"
        ) from error
    parts = [counted(found.chunks, "chunk")]
    if found.samples.count:
        parts.append(
            f"{counted(found.samples.count, 'sample')} within "
            f"{found.samples.largest_difference:.1e} of the range "
            f"({found.samples.tolerance:.0e} is allowed)"
        )
    parts.append(
        f"{found.voxels:,} active voxels decoded"
        if decode
        else "no voxel decoded (--decode decodes all)"
    )
    return f"{file.name}: valid, {', '.join(parts)}"
