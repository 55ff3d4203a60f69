"""The `inrv` command and its subcommands."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from inrv_cli.compare import compare
from inrv_cli.decode import decode
from inrv_cli.encode import encode
from inrv_cli.failure import EXIT_CODES, Program, debug_option, occupy_descriptors, settle_stdout
from inrv_cli.info import info
from inrv_cli.sample import sample
from inrv_cli.verify import verify


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        try:
            click.echo(f"inrv {version('inrv')}")
        except PackageNotFoundError:
            click.echo("inrv runs from its sources and is not installed")
        context.exit()


@click.group(
    cls=Program, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
@debug_option
def cli() -> None:
    """Compress OpenVDB volumes with small neural networks: .vdb files to .inrv files and back."""


for command in (encode, decode, info, verify, compare, sample):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with its status."""
    occupy_descriptors()
    try:
        cli(prog_name="inrv")
    finally:
        settle_stdout()
