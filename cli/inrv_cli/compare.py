"""The command `inrv compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.compare_frames import (
    FramesComparison,
    compare_frames,
    frames_as_dict,
    frames_as_text,
    shortfalls_of_frames,
)
from inrv_cli.compare_report import as_dict, as_text, shortfalls
from inrv_cli.failure import FAILED, debug_option, print_error
from inrv_cli.files import (
    check_input,
    check_output,
    check_stdin,
    read_input,
    source_of,
    write_output,
)
from inrv_cli.frames import Number, Source
from inrv_cli.limits import limits_option
from inrv_cli.opening import decode_grids, frame_options, is_coded, open_volume, read_grids
from inrv_cli.options import computing_options, grid_option
from inrv_cli.shots import Files, files_of, shots_of
from inrv_cli.text import print_json, short_size

if TYPE_CHECKING:
    from inrv import Limits, SparseVolume, Volume
    from inrv.metrics import VolumeComparison
    from inrv.support.inputs import Input

PICTURES = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


@click.command(short_help="Measure how much two files differ.")
@click.argument("original", type=source_of)
@click.argument("decoded", type=source_of)
@click.option(
    "--weights",
    "coded",
    type=source_of,
    metavar="FILE.inrv",
    help="The .inrv file that DECODED was decoded from, where DECODED is a .vdb file. "
    "Its size and the weights of its network are shown.",
)
@grid_option("Compare only this grid of ORIGINAL.")
@click.option(
    "--figure",
    metavar="OUT.png",
    help="Draw slices through the middle of the original, the decoded volume and the error. "
    "The name ends in .png, .svg or .pdf.",
)
@click.option(
    "--min-psnr",
    type=float,
    metavar="DB",
    help="Exit with code 1 where a grid or a frame is missing or a PSNR is lower than this.",
)
@frame_options
@computing_options
@click.option("--force", is_flag=True, help="Replace a figure that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@limits_option
@debug_option
@click.pass_context
def compare(
    context: click.Context,
    original: Source,
    decoded: Source,
    coded: Source | None,
    grids: tuple[str, ...],
    figure: str | None,
    min_psnr: float | None,
    frame: float | None,
    time: float | None,
    device: str | None,
    force: bool,
    as_json: bool,
    limits: Limits,
) -> None:
    """Measure how much DECODED differs from ORIGINAL.

    Each is a .vdb file or an .inrv file, by its path or URL. One of them may be '-' for stdin.

    Two sequences are compared frame by frame, with a line for each grid of each frame. Frames that
    only one of them has are named. A frame pattern such as 'fire.####.vdb', a folder of .vdb files
    or a glob stands for a sequence too. One frame is compared with --frame or --time, and where one
    of the two is a single volume.

    The figures are taken over every voxel of the original's active box. Values are normalised to
    [0, 1] by the original's range. The figures are the PSNR with peak 1, the NRMSE relative to the
    root mean square, the SSIM in 3D, and the Score made of the three (Zurkova et al. 2025, eq. 4).
    """
    if min_psnr is not None and math.isnan(min_psnr):
        raise click.UsageError("--min-psnr must be a number of dB")
    check_stdin([path for path in (original, decoded, coded) if path is not None])
    if figure is not None:
        _check_figure(figure, force)
    sides = [files_of(path) or _open(path) for path in (original, decoded)]
    container = None if coded is None else _open(coded)
    if frame is None and time is None:
        first, second = (shots_of(side, device, limits) for side in sides)
        if first is not None and second is not None:
            if figure is not None or coded is not None:
                raise click.UsageError("--figure and --weights are for one frame: give --frame")
            _compare_all(context, compare_frames(first, second, grids), min_psnr, as_json)
            return
    first_file, before, _ = _read(sides[0], device, limits, grids, frame, time)
    second_file, after, volume = _read(sides[1], device, limits, (), frame, time)
    if container is not None:
        volume = _coded(container, limits)
    weights = None
    if volume is not None and volume.codec is not None:
        weights = volume.codec.describe(volume.container).get("weights")
    from inrv.metrics import compare_volumes

    after = _named_alike(before, after)
    result = compare_volumes(before, after, weights)
    sizes = file_sizes(first_file, second_file, None if volume is None else volume.container.size)
    if as_json:
        print_json(as_dict(result, sizes))
    else:
        click.echo(as_text(result, sizes, first_file.name, second_file.name))
    if figure is not None:
        _draw(figure, before, after, result, _title(Path(first_file.name).name, sizes))
        if not as_json:
            click.echo(f"\nfigure: {figure}")
    _exit(context, shortfalls(result, min_psnr))


def _compare_all(
    context: click.Context, found: FramesComparison, min_psnr: float | None, as_json: bool
) -> None:
    """Print what came of many frames, and exit where they fail."""
    if as_json:
        print_json(frames_as_dict(found))
    else:
        click.echo(frames_as_text(found))
    _exit(context, shortfalls_of_frames(found, min_psnr))
    if found.codes:
        context.exit(found.codes[0])


def _exit(context: click.Context, failures: Sequence[str]) -> None:
    """Print why the comparison failed, and exit with code 1 where it did."""
    for failure in failures:
        print_error(failure)
    if failures:
        context.exit(FAILED)


def _check_figure(path: str, force: bool) -> None:
    """Raise UsageError, Failure or MissingPackageError where the figure could not be drawn."""
    if Path(path).suffix.lower() not in PICTURES:
        raise click.UsageError(
            f"--figure {path}: the name must end in one of {', '.join(PICTURES)}"
        )
    check_output(path, force)
    from inrv.metrics import check_drawing

    check_drawing()


def _open(source: Source) -> Input:
    """Open one file. Raises Failure."""
    check_input(source)
    return read_input(source)


def _read(
    side: Files | Input,
    device: str | None,
    limits: Limits,
    grids: Sequence[str],
    frame: Number | None,
    time: float | None,
) -> tuple[Input, SparseVolume, Volume | None]:
    """Read the grids of one volume. Its first bytes say whether it is a .vdb or an .inrv file.

    Returns the file, the grids, and the open volume of an .inrv file or None.

    grids: names and positions of the grids to read; none reads all
    frame, time: which frame of a sequence, or which one of many files
    """
    if isinstance(side, Files):
        side, frame, time = _open(side.of_frame(frame)), None, None
    if not is_coded(side):
        return side, read_grids(side, grids), None
    volume = open_volume(side, device, limits, frame, time)
    return side, decode_grids(volume, grids), volume


def _named_alike(before: SparseVolume, after: SparseVolume) -> SparseVolume:
    """Return a volume of one image with the name that the other one has.

    Images have the names of their files, which differ where both lie in one folder.
    """
    from inrv.files.images.image import Source

    one, other = (volume.grids[0] if len(volume.grids) == 1 else None for volume in (before, after))
    if one is None or other is None or Source.told_by(one) is None is Source.told_by(other):
        return after
    return replace(after, grids=(replace(other, name=one.name),))


def _coded(file: Input, limits: Limits) -> Volume:
    """Open the .inrv file that --weights names."""
    import inrv

    if not is_coded(file):
        raise click.UsageError(f"--weights {file.name} is not an .inrv file")
    return inrv.load(file, "cpu", limits)


def file_sizes(original: Input, decoded: Input, coded: int | None) -> dict[str, Any]:
    """Return the sizes of the files in bytes.

    coded: bytes of the .inrv file; None where there is none
    """
    before = original.size
    return {
        "original_bytes": before,
        "decoded_bytes": decoded.size,
        "coded_bytes": coded,
        "ratio": before / coded if coded else None,
    }


def _title(original: str, sizes: dict[str, Any]) -> str:
    if not sizes["coded_bytes"]:
        return original
    before, after = short_size(sizes["original_bytes"]), short_size(sizes["coded_bytes"])
    smaller = f"{sizes['ratio']:.1f}\N{MULTIPLICATION SIGN} smaller"
    return f"{original}: {before} as VDB, {after} as inrv, {smaller}"


def _draw(
    path: str, before: SparseVolume, after: SparseVolume, result: VolumeComparison, title: str
) -> None:
    """Write the figure of a comparison to the file `path`."""
    from inrv.metrics import draw_comparison

    kind = PICTURES[Path(path).suffix.lower()]
    write_output(path, draw_comparison(before, after, result, title, kind))
