"""Numbers, names, labels and tables as text."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from inrv_cli.options import WHOLE_NUMBER

if TYPE_CHECKING:
    from inrv import Volume
    from inrv.support.inputs import Input

WIDEST = 40  # columns of a terminal that a label takes at most

# The parts of an .inrv file, by their names in reports.
PARTS = {
    "header": "header",
    "manifest": "manifest",
    "TOPO": "topology",
    "INAC": "inactive values",
    "EXAC": "exact values",
    "FREQ": "frequent values",
    "CODE": "codes",
    "MOVE": "motion",
    "BITS": "coded bits",
    "NETW": "network",
    "SAMP": "samples",
    "PASS": "passthrough grids",
}


def size(count: int) -> str:
    """Return a count of bytes as '1,234,567 bytes (1.23 MB)'."""
    return f"{count:,} bytes" if count < 1000 else f"{count:,} bytes ({short_size(count)})"


def short_size(count: int) -> str:
    """Return a count of bytes as '1.23 MB', with decimal prefixes."""
    amount, units = float(count), ["TB", "GB", "MB", "kB", "B"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop()
    return f"{amount:.3g} {units[-1]}"


def counted(count: int, what: str) -> str:
    """Return '1 frame' or '1,234 frames' for a count of what the word in the singular says."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def decibels(value: float | None) -> str:
    """Return a PSNR as '41.23', infinity as 'exact' and None as '-'."""
    if value is None:
        return "-"
    return "exact" if math.isinf(value) else f"{value:.2f}"


def drift(value: float | None) -> str:
    """Return the drift of a sum as '+0.12%', and None as '-'.

    What rounds to zero has no minus.
    """
    return "-" if value is None else f"{round(value, 4) + 0.0:+.2%}"


def number(value: float | None, style: str) -> str:
    """Return a number in a style of format(), and None as '-'."""
    return "-" if value is None else format(value, style)


def name_of(name: str, position: int) -> str:
    """Return the name of a grid, or its position where it has no name."""
    return shown(name) or f"(unnamed {position})"


def shown(text: str) -> str:
    """Return text that comes from a file, with escapes for what is not printable.

    It cannot set colours, begin a new line or hold a byte that is not UTF-8.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def grid_keys(given: Iterable[str], names: Collection[str]) -> list[str | int]:
    """Return the names and positions that --grid was given, as the library takes them.

    A whole number is a position, unless a grid has it as its name.

    given: the values of --grid
    names: of the grids that there are
    """
    return [
        int(text) if text not in names and WHOLE_NUMBER.fullmatch(text) is not None else text
        for text in given
    ]


def chosen_in(
    source: Input, grids: Iterable[str | int], axes: str | None = None
) -> tuple[str | int, ...]:
    """Return the names and positions that --grid stands for in a file that is no .inrv file.

    axes: as of `inrv.files.read`
    """
    from inrv import files

    names = [grid.name for grid in files.list_grids(source, axes=axes)]
    return tuple(grid_keys(map(str, grids), names))


def names_in(volume: Volume) -> list[str]:
    """Return the names of all grids of an .inrv file, passthrough grids included."""
    return [grid.name for grid in volume.grids] + [entry.name for entry in volume.passthrough]


def labelled(rows: Sequence[tuple[str, str]], indent: int = 2) -> str:
    """Return a line for each label and its text, with the texts under one another.

    rows: labels and texts
    indent: spaces before each line
    """
    rows = [(shown(label), shown(text)) for label, text in rows]
    width = _width_of_labels([label for label, _ in rows])
    lines = "\n".join(f"{_beside(label, width)}  {text}" for label, text in rows)
    return "\n".join(f"{'':{indent}}{line}".rstrip() for line in lines.splitlines())


def table(header: Sequence[str], rows: Sequence[Sequence[str]], notes: bool = False) -> str:
    """Return a table. Its first column is aligned to the left, the others to the right.

    header: the names of the columns
    rows: the cells of each row
    notes: whether the last column holds notes, which are aligned to the left
    """
    lines = [header, *rows]
    first = _width_of_labels([line[0] for line in lines])
    widths = [max(_width(line[column]) for line in lines) for column in range(1, len(header))]
    if notes:
        widths[-1] = 0
    cells = (
        (_padding(cell, width) + cell for cell, width in zip(line[1:], widths, strict=True))
        for line in lines
    )
    return "\n".join(
        "  ".join([_beside(line[0], first), *rest]).rstrip()
        for line, rest in zip(lines, cells, strict=True)
    )


def _width_of_labels(labels: Sequence[str]) -> int:
    return max((width for label in labels if (width := _width(label)) <= WIDEST), default=0)


def _beside(label: str, width: int) -> str:
    """Return a label padded to `width` columns. A wider label has a line of its own."""
    return label + (_padding(label, width) if _width(label) <= width else f"\n{'':{width}}")


def _padding(text: str, width: int) -> str:
    return " " * (width - _width(text))


def _width(text: str) -> int:
    """Return the columns that a terminal shows `text` in."""
    from rich.cells import cell_len

    return cell_len(text)


def print_json(value: Any) -> None:
    """Print JSON in ASCII. Infinity and NaN, which JSON does not have, become null."""
    click.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
