"""The option --limit: what a reader accepts, raised or lowered by the user."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import click

from inrv_cli.options import WHOLE_NUMBER, F

if TYPE_CHECKING:
    from inrv import Limits

HELP = (
    "Raise or lower a limit of the reader, for example --limit leaves=100000000. May be repeated. "
    "An unknown name makes inrv list all names."
)


def limits_option(command: F) -> F:
    """Give a command --limit and the argument `limits`."""
    decorate = click.option(
        "--limit", "limits", multiple=True, metavar="NAME=N", callback=_parse_limits, help=HELP
    )
    return decorate(command)


def _parse_limits(_: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Limits:
    from inrv import Limits

    names = [field.name for field in fields(Limits)]
    chosen = {}
    for text in given:
        name, _equals, number = text.partition("=")
        if name not in names or WHOLE_NUMBER.fullmatch(number) is None:
            raise click.BadParameter(
                f"{text!r} is not NAME=N, where NAME is one of {', '.join(names)} "
                "and N a whole number of at most 18 digits",
                param=option,
            )
        chosen[name] = int(number)
    return Limits(**chosen)
