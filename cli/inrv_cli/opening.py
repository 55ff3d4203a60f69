"""Files that commands look into, and the frame of a sequence that --frame and --time name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from inrv_cli.frames import frame_number
from inrv_cli.options import F
from inrv_cli.text import grid_keys, names_in

if TYPE_CHECKING:
    from inrv import Limits, SparseVolume, Volume
    from inrv.support.inputs import Input


def _parse_frame(_: click.Context, __: click.Parameter, text: str | None) -> float | int | None:
    return None if text is None else frame_number(text)


def frame_option(command: F) -> F:
    """Give a command --frame, and the argument `frame`."""
    option = click.option(
        "--frame",
        callback=_parse_frame,
        metavar="N",
        help="Sequence: take the frame of this number. Default: the first one.",
    )
    return option(command)


def frame_options(command: F) -> F:
    """Give a command --frame and --time, and the arguments `frame` and `time`."""
    time = click.option(
        "--time", type=float, metavar="T", help="Sequence: take the frame nearest to this time."
    )
    return frame_option(time(command))


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


def is_coded(file: Input) -> bool:
    """Return whether a file is an .inrv file, as its first bytes say; a folder is none."""
    from inrv.container.layout import MAGIC, SEQUENCE_MAGIC
    from inrv.support.inputs import FolderInput

    return not isinstance(file, FolderInput) and file.part(0, len(MAGIC)) in (MAGIC, SEQUENCE_MAGIC)


def read_grids(file: Input, grids: Sequence[str] = ()) -> SparseVolume:
    """Read the grids of a file that is not an .inrv file.

    grids: names and positions of the grids to read; none reads all
    """
    from inrv import files

    keys = grid_keys(grids, [grid.name for grid in files.list_grids(file)])
    return files.read(file, keys or None)


def decode_grids(volume: Volume, grids: Sequence[str] = ()) -> SparseVolume:
    """Decode the grids of a volume.

    grids: names and positions of the grids to give; none gives all
    """
    decoded = volume.to_sparse()
    return decoded.choose(grid_keys(grids, names_in(volume))) if grids else decoded
