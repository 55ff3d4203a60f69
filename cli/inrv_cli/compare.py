"""`inrv compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.failure import FAILED, debug_option
from inrv_cli.files import check_input, check_output, check_stdin, read_input, write_output
from inrv_cli.limits import limits_option
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
    from inrv.support.streams import Input

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


@click.command(short_help="PSNR, NRMSE, SSIM, Score, sizes and topology of two files.")
@click.argument("original", type=click.Path(path_type=Path))
@click.argument("decoded", type=click.Path(path_type=Path))
@click.option(
    "--weights",
    "coded",
    type=click.Path(path_type=Path),
    metavar="FILE.inrv",
    help="The .inrv file that a .vdb DECODED came from.",
)
@click.option(
    "--grid",
    "grids",
    multiple=True,
    metavar="NAME|POSITION",
    help="Compare this grid of ORIGINAL only; may be repeated; names come before positions.",
)
@click.option(
    "--figure",
    metavar="OUT.png",
    help="Draw mid-slices of original, decoded and error (.png, .svg or .pdf).",
)
@click.option(
    "--min-psnr",
    type=float,
    metavar="DB",
    help="Exit with 1 where a grid is missing or its PSNR is lower.",
)
@click.option(
    "--device", metavar="D", help="Decodes .inrv files there. Default: the best there is."
)
@click.option("--force", is_flag=True, help="Replace an existing figure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@limits_option
@debug_option
@click.pass_context
def compare(
    context: click.Context,
    original: Path,
    decoded: Path,
    coded: Path | None,
    grids: tuple[str, ...],
    figure: str | None,
    min_psnr: float | None,
    device: str | None,
    force: bool,
    as_json: bool,
    limits: Limits,
) -> None:
    """Compare ORIGINAL with DECODED, each a .vdb or .inrv file, one of them '-' for stdin.

    Figures are over every voxel of the original's active box, on values normalised to [0, 1] by the original's range:
    PSNR with peak 1, NRMSE relative to the root mean square, 3D SSIM, and their Score (Zurkova et al. 2025, eq. 4).
    """
    if figure is not None:
        if Path(figure).suffix.lower() not in PICTURES:
            raise click.UsageError(f"--figure {figure}: the name must end in {', '.join(PICTURES)}")
        check_output(figure, force)
    paths = [path for path in (original, decoded, coded) if path is not None]
    check_stdin(paths)
    for path in paths:
        check_input(path)
    from inrv.metrics import check_drawing, compare_volumes

    if figure is not None:
        check_drawing()
    first, second, *third = (read_input(path) for path in paths)
    before, _ = read(first, device, limits, grids)
    after, volume = read(second, device, limits)
    if third:
        volume = _coded(third[0], limits)
    weights = (
        None
        if volume is None or volume.codec is None
        else volume.codec.describe(volume.container).get("weights")
    )
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
        click.echo(f"inrv: error: {failure}", err=True)
    if failures:
        context.exit(FAILED)


def read(
    file: Input, device: str | None, limits: Limits, grids: Sequence[str] = ()
) -> tuple[SparseVolume, Volume | None]:
    """All or some grids of a .vdb or .inrv file, told apart by its first bytes, and the latter's open volume."""
    import inrv
    from inrv import files

    if not _is_coded(file):
        keys = grid_keys(grids, [grid.name for grid in files.list_grids(file)])
        return files.read(file, keys or None), None
    volume = inrv.load(file, device, limits)
    decoded = volume.to_sparse()
    return decoded.choose(grid_keys(grids, names_in(volume))) if grids else decoded, volume


def _is_coded(file: Input) -> bool:
    from inrv.container.layout import MAGIC

    return file.part(0, len(MAGIC)) == MAGIC


def _coded(file: Input, limits: Limits) -> Volume:
    import inrv

    if not _is_coded(file):
        raise click.UsageError(f"--weights {file.name} is not an .inrv file")
    return inrv.load(file, "cpu", limits)


def file_sizes(original: Input, decoded: Input, coded: int | None) -> dict[str, Any]:
    """Bytes of the files; `coded` are those of the .inrv file, None where there is none."""
    before = original.size
    return {
        "original_bytes": before,
        "decoded_bytes": decoded.size,
        "coded_bytes": coded,
        "ratio": before / coded if coded else None,
    }


def shortfalls(result: VolumeComparison, min_psnr: float | None) -> list[str]:
    """Why the comparison failed: nothing could be compared, or --min-psnr was not reached."""
    if not any(grid.metrics for grid in result.grids) and not result.passthrough and result.missing:
        return ["the files have no grid in common"]
    if min_psnr is None:
        return []
    failures = [f"grid {name!r} is missing from DECODED" for name in result.missing]
    failures += [
        f"carried grid {grid.name!r} differs in DECODED"
        for grid in result.passthrough
        if not grid.equal
    ]
    for grid in result.grids:
        if grid.metrics is None:
            failures.append(f"grid {grid.name!r} has another value type in DECODED")
        elif grid.metrics.psnr < min_psnr:
            failures.append(
                f"grid {grid.name!r}: PSNR {decibels(grid.metrics.psnr)} dB is below {min_psnr:g} dB"
            )
    return failures


def as_dict(result: VolumeComparison, sizes: dict[str, Any]) -> dict[str, Any]:
    """The comparison for JSON; an infinite PSNR is null there and `exact` true."""
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
    """The comparison as a table, a line a grid, and the sizes."""
    rows = []
    for position, grid in enumerate(result.grids):
        shape = " x ".join(map(str, grid.box.shape)) if grid.active_voxels else "empty"
        others = ", ".join(grid.differences) or "none"
        errors = number(grid.largest_error, ".4g"), drift(grid.drift)
        figures = *_figures(grid.metrics), *errors, _equality(grid.topology_equal), others
        rows.append((name_of(grid.name, position), shape, *figures))
    if len(rows) > 1 and math.isfinite(result.mean.psnr):
        rows.append(("mean of those that differ", "", *_figures(result.mean), "", "", "", ""))
    facts = [
        ("original", f"{original}, {size(sizes['original_bytes'])}"),
        ("decoded", f"{decoded}, {size(sizes['decoded_bytes'])}"),
    ]
    if sizes["coded_bytes"]:
        facts.append(
            (
                "coded",
                f"{size(sizes['coded_bytes'])}, {sizes['ratio']:.2f} x smaller than the original",
            )
        )
    if result.theoretical_compression is not None:
        facts.append(
            (
                "theoretical",
                f"{result.theoretical_compression:.2f} values of the boxes for each weight",
            )
        )
    for position, grid in enumerate(result.grids):
        facts += [(name_of(grid.name, position), _kept(value)) for value in grid.frequent]
    for passthrough in result.passthrough:
        facts.append(
            (
                "passthrough",
                f"{passthrough.name}, {passthrough.tree_type}, {passthrough.bytes:,} bytes: {_equality(passthrough.equal)}",
            )
        )
    facts += [("missing", ", ".join(result.missing))] * bool(result.missing)
    facts += [("unexpected", ", ".join(result.unexpected))] * bool(result.unexpected)
    facts += [("file", f"differs in {', '.join(result.differences)}")] * bool(result.differences)
    return f"{table(HEADER, rows, notes=True)}\n\n{labelled(facts, indent=0)}"


def _figures(metrics: GridMetrics | None) -> tuple[str, str, str, str]:
    if metrics is None:
        return ("-",) * 4
    return (
        decibels(metrics.psnr),
        number(metrics.nrmse, ".4f"),
        number(metrics.ssim, ".4f"),
        number(metrics.score, ".4f"),
    )


def _kept(found: FrequentValue) -> str:
    """'0 on 21,016 voxels, kept on 100.00%'."""
    numbers = ", ".join(f"{number:.6g}" for number in found.value)
    value = numbers if len(found.value) == 1 else f"({numbers})"
    return f"{value} on {found.voxels:,} voxels, kept on {found.kept / found.voxels:.2%} of them"


def _equality(equal: bool) -> str:
    return "equal" if equal else "DIFFERS"


def _title(original: str, sizes: dict[str, Any]) -> str:
    if not sizes["coded_bytes"]:
        return original
    return (
        f"{original}: {short_size(sizes['original_bytes'])} as VDB, {short_size(sizes['coded_bytes'])} as inrv, "
        f"{sizes['ratio']:.1f}\N{MULTIPLICATION SIGN} smaller"
    )


def _draw(
    path: str, before: SparseVolume, after: SparseVolume, result: VolumeComparison, title: str
) -> None:
    from inrv.metrics import draw_comparison

    write_output(
        path, draw_comparison(before, after, result, title, PICTURES[Path(path).suffix.lower()])
    )
