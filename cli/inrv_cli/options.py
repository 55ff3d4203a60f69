"""Options of commands, made from what the library says of its arguments.

The choices and defaults of encoding stand in `inrv.options`; no help text repeats them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from inrv.options import CHOICES, DEFAULT_PSNR, DEFAULT_VALUES_PER_WEIGHT, EncodeOptions
from inrv.support.parallel import MOST_THREADS

F = TypeVar("F", bound=Callable[..., Any])

WHOLE_NUMBER = re.compile("[0-9]{1,18}")  # of a user; with more digits it would not fit in 64 bits

# What to call the defaults that are None in EncodeOptions, where a word says what None means.
MEANINGS = {
    "psnr": f"{DEFAULT_PSNR:g} for a lattice, where you set no other target",
    "values_per_weight": f"{DEFAULT_VALUES_PER_WEIGHT:g}, where you set no size and no ratio",
    "epochs": "as many as suit the data and the device",
    "field": "lattice, unless you give an option that only fourier has",
    "topology": "exact, unless a size or a ratio is set and the values gain by a threshold",
    "device": "the best one available",
    "grids": "all grids",
    "axes": "xyz for .npy, zyx for the others, tzyx with moments",
}


def encode_option(*names: str, help: str, **settings: Any) -> Callable[[F], F]:
    """Give a command the option for an argument of EncodeOptions, with its choices and its default.

    names: as click.option takes them, the argument's name last
    help: what the option is for, without choices and default
    settings: further arguments of click.option
    """
    argument = names[-1].lstrip("-").replace("-", "_")
    if argument in CHOICES:
        settings["type"] = click.Choice([choice for choice in CHOICES[argument] if choice])
    return click.option(*names, help=f"{help} {default_of(argument)}".rstrip(), **settings)


def default_of(argument: str) -> str:
    """Return the sentence on the default of an argument of EncodeOptions; '' where it has none."""
    defaults = {field.name: field.default for field in fields(EncodeOptions)}
    default = MEANINGS.get(argument) if defaults[argument] is None else defaults[argument]
    return "" if default is None or default is False else f"Default: {default}."


def computing_options(command: F) -> F:
    """Give a command --device and --threads."""
    help = "The device to compute on, for example cpu, cuda, cuda:1 or mps."
    threads = click.option(
        "--threads",
        type=click.IntRange(1, MOST_THREADS),
        metavar="N",
        expose_value=False,
        callback=_take_threads,
        help="The threads to compute with. Default: INRV_THREADS, or one for each core.",
    )
    return encode_option("--device", metavar="D", help=help)(threads(command))


def storing_options(command: F) -> F:
    """Give a command --half and --uncompressed."""
    half = click.option(
        "--half",
        is_flag=True,
        help="Store values in 16 bits where the file type has such, which rounds them.",
    )
    uncompressed = click.option(
        "--uncompressed",
        is_flag=True,
        help="Do not compress .nvdb files, for programs that cannot unpack them.",
    )
    return half(uncompressed(command))


def _take_threads(context: click.Context, _: click.Parameter, count: int | None) -> None:
    """Set INRV_THREADS while the command runs."""
    if count is None:
        return
    before = os.environ.get("INRV_THREADS")
    os.environ["INRV_THREADS"] = str(count)

    def restore() -> None:
        del os.environ["INRV_THREADS"]
        if before is not None:
            os.environ["INRV_THREADS"] = before

    context.call_on_close(restore)


def axes_option(command: F) -> F:
    """Give a command --axes."""
    help = (
        "The axes of an array whose file does not tell them (.npy, .h5, .raw, .zarr), a letter for "
        "each: x, y and z, t of moments, c of channels, v of components, as zyx."
    )
    return encode_option("--axes", metavar="LETTERS", help=help)(command)


def grid_option(sentence: str) -> Callable[[F], F]:
    """Give a command --grid and the argument `grids`.

    sentence: what the command does with the grid
    """
    help = f"{sentence} May be repeated. A name is tried before a position."
    return encode_option("--grid", "grids", multiple=True, metavar="NAME|POSITION", help=help)
