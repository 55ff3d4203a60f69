"""The options --frame and --time: which frame of a sequence a command looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from inrv_cli.frames import frame_number
from inrv_cli.options import F

if TYPE_CHECKING:
    from inrv import Limits, Volume
    from inrv.support.inputs import Input


def _parse_frame(_: click.Context, __: click.Parameter, text: str | None) -> float | int | None:
    return None if text is None else frame_number(text)


def frame_options(command: F) -> F:
    """Give a command --frame and --time, and the arguments `frame` and `time`."""
    frame = click.option(
        "--frame",
        callback=_parse_frame,
        metavar="N",
        help="Sequence: take the frame of this number. Default: the first one.",
    )
    time = click.option(
        "--time", type=float, metavar="T", help="Sequence: take the frame nearest to this time."
    )
    return frame(time(command))


def open_volume(
    file: Input,
    device: str | None,
    limits: Limits,
    frame: float | int | None,
    time: float | None,
) -> Volume:
    """Open a volume, or the frame of a sequence that --frame or --time names.

    A line on stderr says which frame it is where neither is given. Raises UsageError for both, and
    what `inrv.load` and `Volume.at` raise.
    """
    import inrv

    if frame is not None and time is not None:
        raise click.UsageError("--frame and --time name each a frame: give one of them")
    volume = inrv.load(file, device, limits, frame=frame)
    if time is not None:
        return volume.at(time)
    if frame is None and len(volume.frames) > 1:
        click.echo(
            f"inrv: {volume.frames.name} has {len(volume.frames)} frames: this is frame "
            f"{volume.number}, and --frame names another one",
            err=True,
        )
    return volume
