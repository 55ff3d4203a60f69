"""The command `inrv sample`."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable
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
    read_stdin,
    source_of,
    write_output,
)
from inrv_cli.frames import Source
from inrv_cli.limits import limits_option
from inrv_cli.opening import frame_options, open_volume
from inrv_cli.options import computing_options, grid_option
from inrv_cli.text import grid_keys, names_in, shown

if TYPE_CHECKING:
    import numpy as np

    from inrv import Limits, Volume, VolumeGrid

    Array = np.ndarray[Any, np.dtype[np.float64]]

AXES = ("x", "y", "z")
# How the columns of a point may be named, in small letters: by anyone, by ParaView (old and new),
# and by Houdini (as components and as a tuple).
NAMINGS = (
    AXES,
    ("points:0", "points:1", "points:2"),
    ("points_0", "points_1", "points_2"),
    ("p.x", "p.y", "p.z"),
    ("p[0]", "p[1]", "p[2]"),
)
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # what a text in UTF-16 begins with
NPY = b"\x93NUMPY"  # what an NPY file begins with
MOST_SHOWN = 60  # characters of a wrong line that a message shows


@click.command(short_help="Print the values of an .inrv file at points.")
@click.argument("file", type=source_of, metavar="FILE|-")
@click.option(
    "--points",
    required=True,
    metavar="FILE|-",
    help="The points, as CSV or NPY; '-' stands for stdin.",
)
@grid_option("Sample only this grid.")
@click.option(
    "--space",
    type=click.Choice(["index", "world"]),
    default="index",
    show_default=True,
    help="The space that the points are given in.",
)
@click.option(
    "--interpolation",
    type=click.Choice(["trilinear", "nearest", "field"]),
    default="trilinear",
    show_default=True,
    help="Interpolate between voxels, take the nearest voxel, or evaluate the continuous field "
    "itself, which only a fourier field has.",
)
@click.option(
    "-o",
    "--output",
    default=STDOUT,
    metavar="FILE|-",
    help="A .npy file, or any other file for CSV. Default: CSV on stdout.",
)
@frame_options
@computing_options
@click.option("--force", is_flag=True, help="Replace an output that is there already.")
@limits_option
@debug_option
def sample(
    file: Source,
    points: str,
    grids: tuple[str, ...],
    space: str,
    interpolation: str,
    output: str,
    frame: float | None,
    time: float | None,
    device: str | None,
    force: bool,
    limits: Limits,
) -> None:
    """Print the values of an .inrv file at points.

    FILE is a file, a URL, or '-' for stdin.

    CSV points have three columns, or a header that names x, y and z among others, in any order.
    The names Points:0 of ParaView and P.x or P[0] of Houdini are understood too. Columns are
    separated by commas, semicolons or tabs. NPY points have the shape (N, 3).

    The result has the columns x, y and z, and one for each grid. A vector grid has three: name.x,
    name.y and name.z. An NPY result is float64.

    Each component of a staggered (MAC) velocity is sampled on the lower face along its axis, half
    a voxel from the centre, as OpenVDB's StaggeredBoxSampler does. A line on stderr says so.
    """
    check_stdin([file, points])
    check_input(file)
    check_output(output, force)
    places = read_points(Path(points))
    volume = open_volume(read_input(file), device, limits, frame, time)
    names, columns = sample_grids(volume, grids, places, space, interpolation)
    if output.endswith(".npy"):
        write_output(output, _as_npy(places, columns))
    else:
        write_output(output, _as_csv(names, places, columns))


def sample_grids(
    volume: Volume, wanted: Iterable[str], places: Array, space: str, interpolation: str
) -> tuple[list[str], list[Array]]:
    """Sample grids, and return the names and the values (N,) of the columns.

    wanted: names and positions of the grids; none samples all
    places: float64 (N, 3) the points
    space: that the points are in
    interpolation: as VolumeGrid.sample() takes it
    """
    grids = [volume[key] for key in grid_keys(wanted, names_in(volume))] or list(volume.grids)
    names: list[str] = []
    columns: list[Array] = []
    for label, grid in zip(_labels(volume, grids), grids, strict=True):
        if grid.staggered:
            click.echo(
                f"inrv: {label} is staggered: its components are sampled on the faces of voxels, "
                "where they live",
                err=True,
            )
        values = grid.sample(places, space=space, interpolation=interpolation).astype(float)
        if values.ndim == 1:
            names.append(label)
            columns.append(values)
        else:
            names += [f"{label}.{axis}" for axis in AXES]
            columns += list(values.T)
    return names, columns


def _labels(volume: Volume, grids: list[VolumeGrid]) -> list[str]:
    """Return a name for the column of each grid.

    A name that repeats, that of an axis, or none gets a number, as OpenVDB writes it: density[1].
    """
    counts = Counter(AXES)
    labels = {}
    for grid in volume.grids:
        number = counts[grid.name]
        labels[id(grid)] = shown(
            grid.name if grid.name and not number else f"{grid.name}[{number}]"
        )
        counts[grid.name] += 1
    return [labels[id(grid)] for grid in grids]


def read_points(path: Path) -> Array:
    """Return the points of a CSV or NPY file, float64 (N, 3). Raises Failure."""
    check_input(path)
    name, data = name_of_input(path), read_stdin() if is_stdin(path) else path.read_bytes()
    if path.suffix == ".npy" or data.startswith(NPY):
        return _parse_npy(data, name)
    return _parse_csv(
        data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig", errors="replace"), name
    )


def _parse_npy(data: bytes, path: str) -> Array:
    """Return the points of an NPY file. Raises Failure."""
    import numpy as np

    if not data.startswith(NPY):
        raise Failure(INPUT, f"{path} is not a valid NPY file: it begins otherwise")
    try:
        points = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a header that makes no sense raises nearly any exception
        raise Failure(INPUT, f"{path} is not a valid NPY file: {error}") from error
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "iuf":
        raise Failure(
            INPUT,
            f"{path} holds {points.dtype} of shape {points.shape}; "
            "points are real numbers of shape (N, 3)",
        )
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise Failure(INPUT, f"{path} row {bad[0]}: {points[bad[0]].tolist()} is not finite")
    return np.ascontiguousarray(points, dtype=np.float64)


def _parse_csv(text: str, source: str) -> Array:
    """Return the points of a CSV text. Raises Failure."""
    import numpy as np

    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        points = _points_of(reader, source)
    except csv.Error as error:  # a field is too long, or Python 3.10 finds a NUL
        raise Failure(INPUT, f"{source} line {reader.line_num}: {error}") from error
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def _points_of(reader: Any, source: str) -> list[list[float]]:
    """Return the points in the rows of a csv.reader. Raises Failure."""
    chosen: list[int] | None = None
    points: list[list[float]] = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if chosen is None:
            chosen = _header_columns(row, source, reader.line_num)
            if chosen is not None:
                continue
            chosen = [0, 1, 2]
            if len(row) != 3:
                raise Failure(
                    INPUT,
                    f"{source} line {reader.line_num}: {len(row)} columns; "
                    "expected three, or a header that names x, y and z",
                )
        points.append(_parse_row(row, chosen, source, reader.line_num))
    return points


def _delimiter(text: str) -> str:
    """Return the character between the columns, as the first line has it."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in "\t;" if mark in first), ",")


def _header_columns(row: list[str], source: str, line: int) -> list[int] | None:
    """Return the columns of x, y and z, or None where the row holds numbers. Raises Failure."""
    if all(_number(cell) is not None for cell in row):
        return None
    names = [cell.strip().lower() for cell in row]
    naming = max(NAMINGS, key=lambda columns: sum(column in names for column in columns))
    missing = [column for column in naming if column not in names]
    if len(missing) == len(naming):
        raise Failure(
            INPUT,
            f"{source} line {line}: {_quoted(','.join(row))} is neither a point "
            "nor a header that names x, y and z",
        )
    if missing:
        raise Failure(INPUT, f"{source} line {line}: the header has no column {missing[0]}")
    return [names.index(column) for column in naming]


def _parse_row(row: list[str], chosen: list[int], source: str, line: int) -> list[float]:
    """Return the point in the chosen columns of a row. Raises Failure."""
    if len(row) <= max(chosen):
        raise Failure(
            INPUT, f"{source} line {line}: {len(row)} columns; expected at least {max(chosen) + 1}"
        )
    point = []
    for column in chosen:
        value = _number(row[column])
        if value is None or not math.isfinite(value):
            raise Failure(
                INPUT,
                f"{source} line {line}: {_quoted(row[column].strip())} is not a finite number",
            )
        point.append(value)
    return point


def _quoted(text: str) -> str:
    """Return the beginning of a text in quotes, with escapes for what is not printable."""
    return repr(text[:MOST_SHOWN]) + "..." * (len(text) > MOST_SHOWN)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _as_csv(names: list[str], places: Array, columns: list[Array]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*AXES, *names])
    for point, *values in zip(
        places.tolist(), *(column.tolist() for column in columns), strict=True
    ):
        writer.writerow([*map(repr, point), *(f"{value:.9g}" for value in values)])
    return text.getvalue().encode()


def _as_npy(places: Array, columns: list[Array]) -> bytes:
    import numpy as np

    data = io.BytesIO()
    np.save(data, np.column_stack([places, *columns]))
    return data.getvalue()
