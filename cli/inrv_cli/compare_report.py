"""What `inrv compare` tells of two volumes, as text and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inrv_cli.text import decibels, drift, labelled, name_of, number, size, table

if TYPE_CHECKING:
    from inrv.metrics import (
        FrequentValue,
        GridComparison,
        GridMetrics,
        PassthroughComparison,
        VolumeComparison,
    )

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
    rows = [row_of(grid, position) for position, grid in enumerate(result.grids)]
    if len(rows) > 1 and math.isfinite(result.mean.psnr):
        rows.append(("mean of those that differ", "", *_figures(result.mean), "", "", "", ""))
    facts = _facts(result, sizes, original, decoded)
    return f"{table(HEADER, rows, notes=True)}\n\n{labelled(facts, indent=0)}"


def row_of(grid: GridComparison, position: int) -> tuple[str, ...]:
    """Return the row of a grid in the table."""
    shape = " x ".join(map(str, grid.box.shape)) if grid.active_voxels else "empty"
    others = ", ".join(grid.differences) or "none"
    errors = number(grid.largest_error, ".4g"), drift(grid.drift)
    figures = *_figures(grid.metrics), *errors, _equality(grid.topology_equal), others
    return name_of(grid.name, position), shape, *figures


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
    facts += [("passthrough", _passthrough_text(own)) for own in result.passthrough if own.equal]
    return facts + remarks_on(result)


def remarks_on(result: VolumeComparison) -> list[tuple[str, str]]:
    """Return labels and texts on what differs beside the values of grids."""
    found = [
        ("passthrough", _passthrough_text(grid)) for grid in result.passthrough if not grid.equal
    ]
    if result.missing:
        found.append(("missing", ", ".join(result.missing)))
    if result.unexpected:
        found.append(("unexpected", ", ".join(result.unexpected)))
    if result.differences:
        found.append(("file", f"differs in {', '.join(result.differences)}"))
    return found


def _passthrough_text(grid: PassthroughComparison) -> str:
    """Return the line on a passthrough grid."""
    what = f"{grid.name}, {grid.tree_type}, {grid.bytes:,} bytes"
    return f"{what}: {_equality(grid.equal)}"


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
