"""The command `inrv compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.failure import FAILED, debug_option, print_error
from inrv_cli.files import (
    check_input,
    check_output,
    check_stdin,
    read_input,
    source_of,
    write_output,
)
from inrv_cli.frames import Source
from inrv_cli.limits import limits_option
from inrv_cli.opening import frame_options, open_volume
from inrv_cli.options import computing_options, grid_option
from inrv_cli.text import (
    decibels,
    drift,
    grid_keys,
    labelled,
    name_of,
    names_in,
    number,
    print_json,
    short_size,
    size,
    table,
)

if TYPE_CHECKING:
    from inrv import Limits, SparseVolume, Volume
    from inrv.metrics import FrequentValue, GridMetrics, VolumeComparison
    from inrv.support.inputs import Input

HEADER = (
    "grid",
    "box",
    "PSNR dB",
    "NRMSE",
    "SSIM",
    "Score",
    "largest error",
    "sum",
    "topology",
    "other differences",
)
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
    help="Exit with code 1 where a grid is missing or its PSNR is lower than this.",
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

    Each is a .vdb file or an .inrv file, by its path or URL. One of them may be '-' for stdin. Of a
    sequence one frame is compared.

    The figures are taken over every voxel of the original's active box. Values are normalised to
    [0, 1] by the original's range. The figures are the PSNR with peak 1, the NRMSE relative to the
    root mean square, the SSIM in 3D, and the Score made of the three (Zurkova et al. 2025, eq. 4).
    """
    if figure is not None:
        if Path(figure).suffix.lower() not in PICTURES:
            raise click.UsageError(
                f"--figure {figure}: the name must end in one of {', '.join(PICTURES)}"
            )
        check_output(figure, force)
    if min_psnr is not None and math.isnan(min_psnr):
        raise click.UsageError("--min-psnr must be a number of dB")
    paths = [path for path in (original, decoded, coded) if path is not None]
    check_stdin(paths)
    for path in paths:
        check_input(path)
    from inrv.metrics import check_drawing, compare_volumes

    if figure is not None:
        check_drawing()
    first, second, *third = (read_input(path) for path in paths)
    before, _ = read(first, device, limits, grids, frame, time)
    after, volume = read(second, device, limits, (), frame, time)
    if third:
        volume = _coded(third[0], limits)
    weights = None
    if volume is not None and volume.codec is not None:
        weights = volume.codec.describe(volume.container).get("weights")
    result = compare_volumes(before, after, weights)
    sizes = file_sizes(first, second, None if volume is None else volume.container.size)
    if as_json:
        print_json(as_dict(result, sizes))
    else:
        click.echo(as_text(result, sizes, first.name, second.name))
    if figure is not None:
        _draw(figure, before, after, result, _title(Path(first.name).name, sizes))
        if not as_json:
            click.echo(f"\nfigure: {figure}")
    failures = shortfalls(result, min_psnr)
    for failure in failures:
        print_error(failure)
    if failures:
        context.exit(FAILED)


def read(
    file: Input,
    device: str | None,
    limits: Limits,
    grids: Sequence[str] = (),
    frame: float | int | None = None,
    time: float | None = None,
) -> tuple[SparseVolume, Volume | None]:
    """Read the grids of a .vdb or .inrv file. Its first bytes say which one it is.

    Returns the grids, and the open volume of an .inrv file or None.

    grids: names and positions of the grids to read; none reads all
    frame, time: which frame of a sequence
    """
    from inrv import files

    if not _is_coded(file):
        keys = grid_keys(grids, [grid.name for grid in files.list_grids(file)])
        return files.read(file, keys or None), None
    volume = open_volume(file, device, limits, frame, time)
    decoded = volume.to_sparse()
    return decoded.choose(grid_keys(grids, names_in(volume))) if grids else decoded, volume


def _is_coded(file: Input) -> bool:
    """Return whether a file is an .inrv file."""
    from inrv.container.layout import MAGIC, SEQUENCE_MAGIC

    return file.part(0, len(MAGIC)) in (MAGIC, SEQUENCE_MAGIC)


def _coded(file: Input, limits: Limits) -> Volume:
    """Open the .inrv file that --weights names."""
    import inrv

    if not _is_coded(file):
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


def shortfalls(result: VolumeComparison, min_psnr: float | None) -> list[str]:
    """Return why the comparison failed.

    Nothing could be compared, or --min-psnr was not reached.
    """
    if not any(grid.metrics for grid in result.grids) and not result.passthrough and result.missing:
        return ["the files have no grid in common"]
    if min_psnr is None:
        return []
    failures = [f"grid {name!r} is missing from DECODED" for name in result.missing]
    failures += [
        f"passthrough grid {grid.name!r} differs in DECODED"
        for grid in result.passthrough
        if not grid.equal
    ]
    for grid in result.grids:
        if grid.metrics is None:
            failures.append(f"grid {grid.name!r} has another value type in DECODED")
        elif grid.metrics.psnr < min_psnr:
            psnr = decibels(grid.metrics.psnr)
            failures.append(f"grid {grid.name!r}: PSNR {psnr} dB is below {min_psnr:g} dB")
    return failures


def as_dict(result: VolumeComparison, sizes: dict[str, Any]) -> dict[str, Any]:
    """Return the comparison for JSON. An infinite PSNR becomes null, and `exact` is true then."""
    grids = []
    for grid in result.grids:
        entry = asdict(grid)
        entry["box"] = {"lower": grid.box.lower, "upper": grid.box.upper, "shape": grid.box.shape}
        entry["exact"] = grid.largest_error == 0
        grids.append(entry)
    return {
        **sizes,
        "theoretical_compression": result.theoretical_compression,
        "values": result.values,
        "topology_equal": result.topology_equal,
        "mean": asdict(result.mean),
        "grids": grids,
        "passthrough": [asdict(grid) for grid in result.passthrough],
        "missing": result.missing,
        "unexpected": result.unexpected,
        "differences": result.differences,
    }


def as_text(result: VolumeComparison, sizes: dict[str, Any], original: str, decoded: str) -> str:
    """Return a table with a line for each grid, and facts on the files.

    sizes: from file_sizes()
    original: name of the file
    decoded: name of the file
    """
    rows = []
    for position, grid in enumerate(result.grids):
        shape = " x ".join(map(str, grid.box.shape)) if grid.active_voxels else "empty"
        others = ", ".join(grid.differences) or "none"
        errors = number(grid.largest_error, ".4g"), drift(grid.drift)
        figures = *_figures(grid.metrics), *errors, _equality(grid.topology_equal), others
        rows.append((name_of(grid.name, position), shape, *figures))
    if len(rows) > 1 and math.isfinite(result.mean.psnr):
        rows.append(("mean of those that differ", "", *_figures(result.mean), "", "", "", ""))
    facts = _facts(result, sizes, original, decoded)
    return f"{table(HEADER, rows, notes=True)}\n\n{labelled(facts, indent=0)}"


def _facts(
    result: VolumeComparison, sizes: dict[str, Any], original: str, decoded: str
) -> list[tuple[str, str]]:
    """Return labels and texts on the files, their frequent values and what differs beside grids."""
    facts = [
        ("original", f"{original}, {size(sizes['original_bytes'])}"),
        ("decoded", f"{decoded}, {size(sizes['decoded_bytes'])}"),
    ]
    if sizes["coded_bytes"]:
        smaller = f"{sizes['ratio']:.2f} x smaller than the original"
        facts.append(("coded", f"{size(sizes['coded_bytes'])}, {smaller}"))
    if result.theoretical_compression is not None:
        values = f"{result.theoretical_compression:.2f} values of the boxes for each weight"
        facts.append(("theoretical", values))
    for position, grid in enumerate(result.grids):
        facts += [(name_of(grid.name, position), _kept(value)) for value in grid.frequent]
    for passthrough in result.passthrough:
        what = f"{passthrough.name}, {passthrough.tree_type}, {passthrough.bytes:,} bytes"
        facts.append(("passthrough", f"{what}: {_equality(passthrough.equal)}"))
    if result.missing:
        facts.append(("missing", ", ".join(result.missing)))
    if result.unexpected:
        facts.append(("unexpected", ", ".join(result.unexpected)))
    if result.differences:
        facts.append(("file", f"differs in {', '.join(result.differences)}"))
    return facts


def _figures(metrics: GridMetrics | None) -> tuple[str, str, str, str]:
    """Return PSNR, NRMSE, SSIM and Score as text."""
    if metrics is None:
        return ("-",) * 4
    return (
        decibels(metrics.psnr),
        number(metrics.nrmse, ".4f"),
        number(metrics.ssim, ".4f"),
        number(metrics.score, ".4f"),
    )


def _kept(found: FrequentValue) -> str:
    """Return '0 on 21,016 voxels, kept on 100.00% of them' for a frequent value."""
    numbers = ", ".join(f"{number:.6g}" for number in found.value)
    value = numbers if len(found.value) == 1 else f"({numbers})"
    return f"{value} on {found.voxels:,} voxels, kept on {found.kept / found.voxels:.2%} of them"


def _equality(equal: bool) -> str:
    return "equal" if equal else "DIFFERS"


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
