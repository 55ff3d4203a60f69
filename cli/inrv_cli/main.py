"""The `inrv` command and its subcommands."""

from __future__ import annotations

from importlib import import_module

import click

from inrv_cli.failure import EXIT_CODES, Program, debug_option, occupy_descriptors, settle_stdout

COMMANDS = (
    "encode",
    "decode",
    "convert",
    "info",
    "verify",
    "compare",
    "sample",
    "seq",
    "view",
    "usd",
    "houdini",
)


class Commands(Program):
    """The subcommands, each loaded from its module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a subcommand; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"inrv_cli.{cmd_name}"), cmd_name)
        return command


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"inrv {version('inrv')}")
        except PackageNotFoundError:
            click.echo("inrv runs from its sources and is not installed")
        context.exit()


@click.group(
    cls=Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
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


def main() -> None:
    """Run the command line and exit with its status."""
    occupy_descriptors()
    try:
        cli(prog_name="inrv")
    finally:
        settle_stdout()
