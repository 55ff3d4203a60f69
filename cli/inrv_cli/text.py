"""Figures and tables as text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import click

PARTS = {
    "header": "header",
    "manifest": "manifest",
    "FELD": "weights",
    "TOPO": "topology",
    "CODE": "codes",
    "EXAC": "exact values",
    "INAC": "exact values",
    "REFS": "reference samples",
    "MASK": "topology",
    "TREE": "topology",
    "KEEP": "kept values",
    "FREQ": "frequent values",
    "GRID": "carried grids",
}


def size(count: int) -> str:
    """'1,234,567 bytes (1.2 MB)'."""
    return f"{count:,} bytes" if count < 1000 else f"{count:,} bytes ({short_size(count)})"


def short_size(count: int) -> str:
    """'1.2 MB', with decimal prefixes."""
    amount, units = float(count), ["TB", "GB", "MB", "kB", "B"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        units.pop()
    return f"{amount:.3g} {units[-1]}"


def decibels(value: float | None) -> str:
    """'41.23', 'exact' for infinity, '-' for None."""
    return "-" if value is None else "exact" if math.isinf(value) else f"{value:.2f}"


def number(value: float | None, style: str) -> str:
    """`value` in `style`, '-' for None."""
    return "-" if value is None else format(value, style)


def name_of(name: str, position: int) -> str:
    """A grid's name, or its position where it has none."""
    return shown(name) or f"(unnamed {position})"


def shown(text: str) -> str:
    """`text` of a stranger, escaped where it is not printable: no colours, no line of its own, no byte that is not UTF-8."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def grid_key(text: str) -> str | int:
    """What --grid takes: a position where it is a number, else a name."""
    return int(text) if text.isdigit() else text


def labelled(rows: Sequence[tuple[str, str]], indent: int = 2) -> str:
    """Lines of 'label   text' with the texts under one another."""
    rows = [(shown(label), shown(text)) for label, text in rows]
    width = max((len(label) for label, _ in rows), default=0) + 2
    return "\n".join(f"{'':{indent}}{label:{width}}{text}".rstrip() for label, text in rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            [f"{line[0]:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    )


def print_json(value: Any) -> None:
    """Valid JSON on stdout, ASCII with escapes: infinity and NaN, which JSON has not, become null."""
    click.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
