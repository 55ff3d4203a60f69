"""The command `inrv view`."""

from __future__ import annotations

import io
import os
import re
import tempfile
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.failure import INPUT, Failure, debug_option
from inrv_cli.files import (
    STDOUT,
    check_input,
    check_output,
    check_stdin,
    is_stdin,
    name_of_input,
    read_input,
    source_of,
    write_output,
)
from inrv_cli.frames import Number, Source
from inrv_cli.limits import limits_option
from inrv_cli.opening import frame_option, is_coded, read_grids
from inrv_cli.progress import tracked
from inrv_cli.shots import Files, files_of, shots_of
from inrv_cli.text import size as size_text

if TYPE_CHECKING:
    from inrv import Limits
    from inrv.support.inputs import Input
    from inrv.viewer.served import ServedVolume

TURN = 72  # pictures of a whole turn
MEMORY = 512  # MB on the GPU
EDGES = (16, 8192)  # pixels of a picture


@dataclass(frozen=True)
class Shown:
    """What is shown: a file, or many of one shot.

    name: of the file, or the pattern
    content: its bytes, where it is an .inrv file that the page decodes; else what Python reads
    promised: what the encoder told of the quality of each grid, by its position
    grids: names of the grids that have values, of a single volume
    others: names of the grids that cannot be shown, of a single volume
    frames: how many there are
    """

    name: str
    content: Input | ServedVolume
    promised: dict[int, str]
    grids: list[str]
    others: list[str]
    frames: int


def _parse_size(_: click.Context, option: click.Parameter, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    edges = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(EDGES[0] <= edge <= EDGES[1] for edge in edges):
        raise click.BadParameter(
            f"{text!r} is not WxH with {EDGES[0]} to {EDGES[1]} pixels each, as 1280x720",
            param=option,
        )
    return edges


@click.command(short_help="Show a volume in the browser, or make pictures of it.")
@click.argument("file", type=source_of, metavar="FILE|PATTERN|URL|-")
@click.option(
    "--reference",
    type=source_of,
    metavar="REF",
    help="Compare with this file or pattern: side by side, by a wipe, or as a difference.",
)
@click.option("--grid", metavar="NAME", help="Show this grid first.")
@frame_option
@click.option(
    "--memory",
    type=click.IntRange(16, 65536),
    default=MEMORY,
    metavar="MB",
    help="How much of the GPU's memory may be taken; what does not fit is shown coarser. "
    f"Default: {MEMORY}.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Default: any free one."
)
@click.option("--open/--no-open", "opens", default=True, help="Open the browser. Default: --open.")
@click.option("--html", metavar="OUT.html", help="Write a page that holds the file, and end.")
@click.option("--png", metavar="OUT.png", help="Write a picture, and end.")
@click.option(
    "--turntable", metavar="OUT.mp4|.gif|.webp", help="Write a film of a whole turn, and end."
)
@click.option(
    "--size",
    callback=_parse_size,
    default="1280x720",
    metavar="WxH",
    help="Pixels of picture and film. Default: 1280x720.",
)
@click.option("--force", is_flag=True, help="Replace outputs that are there already.")
@limits_option
@debug_option
def view(
    file: Source,
    reference: Source | None,
    grid: str | None,
    frame: Number | None,
    memory: int,
    port: int,
    opens: bool,
    html: str | None,
    png: str | None,
    turntable: str | None,
    size: tuple[int, int],
    force: bool,
    limits: Limits,
) -> None:
    """Show a volume: an .inrv file, or one of any type that `inrv encode` takes.

    A pattern such as 'fire.####.vdb', a folder or a glob stands for the frames of a shot.

    A page opens in the browser, from a server on this machine alone. It decodes .inrv files itself,
    region by region, coarse levels first. Ctrl-C ends the server.

    --html, --png and --turntable write files instead. Pictures and films are drawn by a browser
    without a window: Chromium, Chrome or Edge, or what INRV_BROWSER names.
    """
    from inrv.viewer.movies import check_movie
    from inrv.viewer.server import ViewServer

    outputs = [output for output in (html, png, turntable) if output is not None]
    check_stdin([file, reference])
    if outputs and reference is not None:
        raise click.UsageError("--reference is for the page that a browser shows, not for outputs")
    if len({os.path.realpath(output) for output in outputs}) < len(outputs):
        raise click.UsageError(f"{outputs[0]} would be written more than once")
    for option, path in (("html", html), ("png", png)):
        if path is not None and path != STDOUT and Path(path).suffix.lower() != f".{option}":
            raise click.UsageError(f"--{option} {path}: the name must end in .{option}")
    if turntable is not None:
        check_movie(Path(turntable).suffix.lower())
    for output in outputs:
        check_output(output, force)
    shown = [_read(file, limits, frame)]
    if reference is not None:
        shown.append(_read(reference, limits))
    promised = shown[0].promised or shown[-1].promised  # either may be the one that was encoded
    _check_grids(shown[0], grid)
    settings: dict[str, Any] = {"budget": memory << 20, "promised": promised}
    if grid is not None:
        settings["grid"] = grid
    if frame is not None:
        settings["frame"] = frame
    if html is not None:
        _write_page(html, shown[0], settings)
    if png is not None or turntable is not None:
        _write_pictures(shown, settings, size, png, turntable)
    if outputs:
        return
    try:
        server = ViewServer([(own.name, own.content) for own in shown], settings, port)
    except OSError as error:
        raise Failure(INPUT, f"port {port} is not free: {error.strerror or error}") from error
    click.echo(f"{name_of_input(file)} is shown at {server.url}")
    click.echo("Ctrl-C ends it.")
    if opens:
        webbrowser.open(server.url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        click.echo()
    finally:
        server.server_close()


def _read(source: Source, limits: Limits, frame: Number | None = None) -> Shown:
    """Return a file's name, and its bytes where the page decodes them, else what Python reads.

    frame: number of the frame that is shown first; MissingFrameError is raised where it is missing
    """
    import inrv
    from inrv.viewer.page import is_for_page

    name = "stdin" if is_stdin(source) else Path(name_of_input(source)).name
    side: Files | Input | None = files_of(source)
    promised: dict[int, str] = {}
    if side is None:
        check_input(source)
        side = read_input(source)
        if is_coded(side):
            volume = inrv.load(side, None, limits, frame=frame)
            promised = {grid.position: grid.quality for grid in volume.grids}
            if is_for_page(volume):
                names = [grid.name for grid in volume.grids if grid.active_voxel_count]
                others = [own.name for own in volume.passthrough]
                return Shown(name, side, promised, names, others, len(volume.frames))
    content = _served(side, limits)
    count = len(content.numbers)
    if frame is not None and frame not in content.numbers:
        raise inrv.MissingFrameError(f"{name} has no frame {frame}")
    if count > 1:
        return Shown(name, content, promised, [], [], count)
    sparse = content.frame(0)
    names = [own.name for own in sparse.grids if own.topology.active_voxel_count]
    return Shown(name, content, promised, names, [own.name for own in sparse.passthrough], 1)


def _served(side: Files | Input, limits: Limits) -> ServedVolume:
    """Return the frames of files, or of a file that the page does not decode."""
    import inrv
    from inrv.viewer.served import ServedVolume

    shots = shots_of(side, None, limits)
    if shots is not None:
        return ServedVolume(shots.numbers, lambda place: shots.read(shots.numbers[place], ()))
    assert not isinstance(side, Files)
    if is_coded(side):
        return ServedVolume.of(inrv.load(side, None, limits).to_sparse())
    return ServedVolume.of(read_grids(side))


def _check_grids(shown: Shown, name: str | None) -> None:
    """Raise Failure where a volume has nothing to show, and MissingGridError where not this grid.

    Of several frames, those that come later may have it.
    """
    from inrv import MissingGridError

    if shown.frames > 1:
        return
    if not shown.grids:
        held = f"; it holds {', '.join(shown.others)}, of other types" if shown.others else ""
        raise Failure(INPUT, f"{shown.name} has no grid with values that can be shown{held}")
    if name is not None and name not in shown.grids:
        names = ", ".join(shown.grids)
        raise MissingGridError(f"{shown.name} has no grid with values named {name}; it has {names}")


def _write_page(path: str, shown: Shown, settings: dict[str, Any]) -> None:
    """Write a page that holds its file; what is of another type is encoded first."""
    from inrv.support.inputs import Input
    from inrv.viewer.page import whole_page

    content = shown.content
    data = bytes(content.view()) if isinstance(content, Input) else _encoded(content)
    page = whole_page(shown.name, data, settings)
    write_output(path, page)
    line = f"{shown.name} -> {path}, {size_text(len(page))}; the file is {size_text(len(data))}"
    click.echo(line, err=path == STDOUT)


def _encoded(content: ServedVolume) -> bytes:
    """Return an .inrv file of one volume, or of a sequence."""
    import inrv

    options = inrv.EncodeOptions(effort="instant")
    if len(content.numbers) == 1:
        return inrv.encode_bytes(content.frame(0), options)[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shot.inrv")
        with inrv.SequenceWriter(path, options) as writer:
            for place, number in enumerate(content.numbers):
                writer.add(None, content.frame(place), number=number)
        return path.read_bytes()


def _write_pictures(
    shown: list[Shown],
    settings: dict[str, Any],
    edges: tuple[int, int],
    png: str | None,
    turntable: str | None,
) -> None:
    """Let a browser draw a picture, or the pictures of a whole turn, and write them."""
    from inrv.viewer.movies import write_movie
    from inrv.viewer.pictures import pictures
    from inrv.viewer.server import ViewServer

    width, height = edges
    count = 1 if turntable is None else TURN
    shots = {"width": width, "height": height, "count": count, "frames": turntable is not None}
    server = ViewServer([(own.name, own.content) for own in shown], {**settings, "shots": shots})
    try:
        drawn = list(tracked(pictures(server, count), f"{shown[0].name}  drawing", count))
    finally:
        server.server_close()
    if png is not None:
        write_output(png, drawn[0])
        line = f"{shown[0].name} -> {png}, {size_text(len(drawn[0]))}"
        click.echo(line, err=png == STDOUT)
    if turntable is not None:
        film = io.BytesIO()
        write_movie(film, Path(turntable).suffix.lower(), drawn)
        write_output(turntable, film.getvalue())
        click.echo(f"{shown[0].name} -> {turntable}, {size_text(film.tell())}")
