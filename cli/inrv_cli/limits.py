"""--limit: what a reader accepts, raised or lowered by the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from inrv import Limits

F = TypeVar("F", bound=Callable[..., Any])
HELP = "Raise or lower a limit of the reader, as --limit leaves=100000000; may be repeated. Names: section 12 of format_spec.md."


def limits_option(command: F) -> F:
    """Give a command --limit and the argument `limits`."""
    return click.option(
        "--limit", "limits", multiple=True, metavar="NAME=N", callback=_limits, help=HELP
    )(command)


def _limits(_: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Limits:
    from inrv import Limits

    names = [field.name for field in fields(Limits)]
    chosen = {}
    for text in given:
        name, _equals, number = text.partition("=")
        if name not in names or not number.isdigit():
            raise click.BadParameter(
                f"{text!r} is not NAME=N, NAME one of {', '.join(names)}", param=option
            )
        chosen[name] = int(number)
    return Limits(**chosen)
