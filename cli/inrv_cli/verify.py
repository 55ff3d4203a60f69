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


@click.command(short_help="Check that .inrv files are whole and decode here as they should.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option("--device", metavar="D", help="As cpu, cuda, cuda:1, mps. Default: the best there is.")
@limits_option
@debug_option
@click.pass_context
def verify(context: click.Context, files: tuple[str, ...], device: str | None, limits: Limits) -> None:
    """Check .inrv files: checksums, structure, and that this machine decodes them as the encoder did.

    FILE is a file, '-' for stdin, a folder, a glob or a frame pattern, as `inrv encode --help` tells.
    """
    check_stdin(files)
    codes = []
    found = expand(files, ".inrv")
    tell(found.remarks, [], quiet=False)
    for path, _ in found.files:
        try:
            click.echo(_verify(path, device, limits))
        except Exception as error:
            codes.append(report(error, name_of_input(path)))
    if codes:
        context.exit(codes[0])


def _verify(path: Path, device: str | None, limits: Limits) -> str:
    check_input(path)
    import inrv

    file = read_input(path)
    try:
        found = inrv.verify(file, device, limits)
    except inrv.FormatError as error:
        raise Failure(FAILED, str(error) if file.name in str(error) else f"{file.name}: {error}") from error
    samples = (
        f"{found.samples} reference samples within {found.largest_difference:.1e} of the value range "
        f"(allowed {found.tolerance:.0e})"
        if found.samples
        else "no reference samples"
    )
    return f"{file.name}: valid, {found.chunks} chunks, {samples}"
