"""The command `inrv usd`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inrv_cli.decode import frames_to_decode
from inrv_cli.failure import debug_option
from inrv_cli.files import (
    check_input,
    check_output,
    is_stdin,
    name_of_input,
    print_remarks,
    read_input,
    source_of,
    write_output,
)
from inrv_cli.frames import Number, Source, frames_from, missing_named
from inrv_cli.limits import limits_option
from inrv_cli.options import computing_options
from inrv_cli.text import counted, shown, size

if TYPE_CHECKING:
    from inrv import Limits, Volume
    from inrv.scenes import VdbCache
    from inrv.scenes.usd import LayerFrame

SUFFIXES = (".usda", ".usd")  # of layers in text


@click.command(short_help="Write a USD layer over decoded .vdb files.")
@click.argument("file", type=source_of, metavar="FILE|-")
@click.option(
    "-o", "--output", metavar="OUT.usda", help="The layer. Default: FILE.usda beside FILE."
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder of the .vdb files. Default: OUT_vdb beside the layer.",
)
@click.option(
    "--frames",
    metavar="RANGE",
    help="Sequence: show these frames, for example 60-64, 1-99x2 or 60,62, as far as they are "
    "there. Default: all.",
)
@click.option(
    "--up-axis",
    type=click.Choice(["Y", "Z"]),
    default="Y",
    help="The axis of the volume that points upwards. The layer says so, and nothing is turned. "
    "Default: Y.",
)
@computing_options
@click.option("--force", is_flag=True, help="Replace a layer that is there already.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@limits_option
@debug_option
def usd(
    file: Source,
    output: str | None,
    cache: Path | None,
    frames: str | None,
    up_axis: str,
    device: str | None,
    force: bool,
    quiet: bool,
    limits: Limits,
) -> None:
    """Write a USD layer that shows an .inrv file, over .vdb files that it is decoded into.

    The layer has a Volume prim with an OpenVDBAsset for each grid. Of a sequence it names a .vdb
    file at each frame, whose number is the time code. Frames whose .vdb files are in the folder
    already are not decoded again. Paths are relative: move the layer and its folder together.
    """
    started = time.perf_counter()
    check_input(file)
    layer = _layer_of(file, output)
    check_output(str(layer), force)
    import inrv
    from inrv.scenes import VdbCache
    from inrv.scenes.usd import layer_text

    volume = inrv.load(read_input(file), device, limits)
    numbers, remarks = _numbers(volume, frames)
    folder = layer.with_name(f"{layer.stem}_vdb") if cache is None else cache
    held = VdbCache(folder)
    before = set(held.files())
    shown_frames, left_out = _decoded(volume, numbers, held, layer.parent)
    text = layer_text(layer.stem, shown_frames, volume.frames.timeline.rate, up_axis)
    write_output(str(layer), text.encode())
    if quiet:
        return
    print_remarks([*remarks, *left_out])
    click.echo(f"{name_of_input(file)} -> {layer}")
    fields = {field for frame in shown_frames for field in frame.fields}
    new = set(held.files()) - before
    figures = [
        counted(len(fields), "field"),
        frames_from(numbers) if volume.frames.is_sequence else "1 volume",
        f"{len(new):,} decoded into {folder}" + (f", {size(_sizes(new))}" if new else ""),
        f"{time.perf_counter() - started:.1f} s",
    ]
    click.echo(f"  {', '.join(figures)}")


def _layer_of(file: Source, output: str | None) -> Path:
    """Return the path of the layer. Raises UsageError."""
    if output is not None:
        layer = Path(output)
        if layer.suffix.lower() not in SUFFIXES:
            raise click.UsageError(
                f"-o {output} must end with .usda: the layer is text, and usdcat makes others of it"
            )
        return layer
    if is_stdin(file):
        raise click.UsageError("stdin has no name for a layer: name it with -o")
    path = Path(file.rstrip("/").rpartition("/")[2]) if isinstance(file, str) else file
    return path.with_suffix(SUFFIXES[0])


def _numbers(volume: Volume, frames: str | None) -> tuple[list[Number], list[str]]:
    """Return the frames to show, and a line on those that are missing."""
    if not volume.frames.is_sequence:
        if frames is not None:
            raise click.UsageError("--frames is for a sequence")
        return [volume.number], []
    numbers, missing = frames_to_decode(volume.frames, frames)
    numbers = sorted(set(numbers))
    if not missing:
        return numbers, []
    held = "the frame before it is shown there"
    return numbers, [f"{volume.frames.name} has no {missing_named(missing)}: {held}"]


def _decoded(
    volume: Volume, numbers: Sequence[Number], cache: VdbCache, folder: Path
) -> tuple[list[LayerFrame], list[str]]:
    """Decode the frames that the cache lacks; return what to show, and lines for the user.

    folder: of the layer
    """
    from inrv.scenes.usd import LayerFrame, extent_of, fields_of

    found, lines = list[LayerFrame](), dict[str, None]()
    for number in numbers:
        frame = volume.frames[number]
        fields, left_out = fields_of(frame)
        extent = extent_of(frame)
        lines |= dict.fromkeys(map(shown, left_out))
        if extent is None:
            lines["the layer tells no extent: the boxes of passthrough grids are not known"] = None
        path = cache.fetch(frame)
        moment = number if volume.frames.is_sequence else None
        found.append(LayerFrame(moment, _relative(path, folder), fields, extent))
    return found, list(lines)


def _relative(path: Path, folder: Path) -> str:
    """Return a path as a layer in a folder names it; an absolute one where there is no other."""
    try:
        found = Path(os.path.relpath(os.path.realpath(path), os.path.realpath(folder))).as_posix()
    except ValueError:  # another drive of Windows
        return Path(os.path.realpath(path)).as_posix()
    return found if found.startswith("../") else f"./{found}"


def _sizes(paths: set[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
