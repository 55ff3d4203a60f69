"""What becomes of every grid of every file: `python -m benchmarks.lossless [FILE.vdb ...]`.

Without files it takes every file of the corpus, hostile ones included. Each file is encoded (or
taken from the folder `--coded`, where `corpus.py --keep` put it), decoded, and read again. The
table says how each grid was stored, how many bytes it takes beside the network that the grids of
a file share, and what is equal. For coded grids it gives the PSNR (over the active leaf voxels,
where the peak is their range) and the largest error; everything else about them must be equal
bit for bit.

The referees are all of OpenVDB that can be found. `vdb_print -l` must say the same of both files
but for values. With `--openvdb PYTHON`, an interpreter that has the module `openvdb` (Blender's
`bpy` carries one) must find the same grids, types and counts, and the same values in grids that
are not coded.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inrv
from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from inrv.files.vdb import read_volume
from inrv.grids import Grid, PassthroughGrid

HEADER = ["file", "grid", "type", "how", "bytes", "PSNR dB", "largest error", "equal"]
FILES = ["file", "bytes in", "bytes out", "of them network", "vdb_print", "OpenVDB"]
REFEREE = Path(__file__).with_name("referee.py")


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument(
        "--epochs", type=float, help="passes over the voxels; default: what encode chooses"
    )
    parser.add_argument(
        "--coded",
        type=Path,
        metavar="FOLDER",
        help="take NAME.inrv from there instead of encoding NAME.vdb",
    )
    parser.add_argument(
        "--openvdb", metavar="PYTHON", help="interpreter with the module openvdb, a second referee"
    )
    parser.add_argument(
        "--name", default="lossless", help="name of the results (default %(default)s)"
    )
    arguments = parser.parse_args()
    options = inrv.EncodeOptions(device=arguments.device, epochs=arguments.epochs, nonfinite="keep")
    run = environment(arguments.device)
    print(describe(run), flush=True)
    rows: list[dict[str, Any]] = []
    for path in arguments.files or default_files():
        rows.append(measure(path, options, arguments.coded, arguments.openvdb))
        print(table(HEADER, grid_cells(rows[-1])).split("\n", 2)[2], end="", flush=True)
    save(arguments.name, markdown(run, rows), {"environment": run, "rows": rows})


def default_files() -> list[Path]:
    """The corpus, or the fixtures."""
    return sorted(CORPUS.glob("**/*.vdb")) or sorted((ROOT / "fixtures").glob("*.vdb"))


def measure(
    path: Path, options: inrv.EncodeOptions, folder: Path | None, openvdb: str | None
) -> dict[str, Any]:
    """Encode and decode one file, from disk to disk, and compare what came back, grid by grid."""
    with tempfile.TemporaryDirectory() as scratch:
        coded, decoded = Path(scratch, "coded.inrv"), Path(scratch, "decoded.vdb")
        if folder is not None and (folder / f"{path.stem}.inrv").exists():
            coded = folder / f"{path.stem}.inrv"
        else:
            inrv.encode(path, coded, options)
        volume = inrv.load(coded, options.device)
        volume.to_vdb(decoded)
        before, after = read_volume(path), read_volume(decoded)
        grids = [
            coded_row(a, b, volume[position])
            for position, a, b in zip(before.positions, before.grids, after.grids, strict=True)
        ]
        grids += [
            passthrough_row(a, b, volume)
            for a, b in zip(before.passthrough, after.passthrough, strict=True)
        ]
        return {
            "file": path.name,
            "bytes_in": path.stat().st_size,
            "bytes_out": volume.container.size,
            "network": volume.container.bytes_by_type().get("NETW", 0),
            "metadata_equal": before.metadata == after.metadata
            and before.positions == after.positions,
            "vdb_print": same_listing(path, decoded),
            "openvdb": None
            if openvdb is None
            else same_by_referee(openvdb, path, decoded, before.positions),
            "grids": sorted(grids, key=lambda grid: grid["position"]),
        }


def stored_bytes(volume: inrv.Volume, chunks: Iterable[int | None]) -> int:
    """Of these chunks; those that several grids share count for each."""
    return sum(volume.container.entries[number].stored for number in chunks if number is not None)


def coded_row(before: Grid, after: Grid, grid: inrv.VolumeGrid) -> dict[str, Any]:
    """How one coded grid came back."""
    equal = {
        "topology": before.topology.equal(after.topology),
        "header": all(
            getattr(before, name) == getattr(after, name)
            for name in ("name", "transform", "grid_class", "metadata")
        ),
        "background": same_bits(before.background, after.background),
        "inactive": same_bits(before.inactive.values, after.inactive.values),
        "tiles": same_bits(
            before.tile_values,
            after.tile_values[after.topology.find_tiles(before.topology.tile_origins)],
        ),
    }
    error, psnr = None, None
    if equal["topology"]:
        finite = np.isfinite(before.values).all(axis=1)
        equal["not finite"] = same_bits(before.values[~finite], after.values[~finite])
        error, psnr = errors(before.values[finite], after.values[finite])
    entry = grid.entry
    return {
        "position": grid.position,
        "name": before.name,
        "type": before.value_type,
        "how": "exact" if error == 0 and same_bits(before.values, after.values) else "coded",
        "kept": len(grid.values_of_grid.exact_rows),
        "bytes": stored_bytes(
            grid.volume, (entry.topology, entry.inactive_values, entry.exact_values)
        ),
        "psnr": psnr,
        "error": error,
        "equal": equal,
    }


def errors(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest error of values (N, C), and the PSNR in dB, peak = a component's range."""
    if not len(before):
        return 0.0, math.inf
    difference = before.astype(np.float64) - after
    span = np.maximum(np.ptp(before.astype(np.float64), axis=0), 1e-300)
    mean_square = float(np.mean((difference / span) ** 2))
    return float(np.abs(difference).max()), -10 * math.log10(
        mean_square
    ) if mean_square else math.inf


def passthrough_row(
    before: PassthroughGrid, after: PassthroughGrid, volume: inrv.Volume
) -> dict[str, Any]:
    """How one passthrough grid came back."""
    (entry,) = (entry for entry in volume.passthrough if entry.position == before.position)
    return {
        "position": before.position,
        "name": before.name,
        "type": before.tree_type,
        "how": f"passthrough: {before.reason}",
        "kept": 0,
        "bytes": stored_bytes(volume, entry.chunks),
        "psnr": None,
        "error": 0.0,
        "equal": {"bytes": before.data == after.data, "listing": listed(before) == listed(after)},
    }


def listed(grid: PassthroughGrid) -> tuple[Any, ...]:
    """What the file's list of grids says of one."""
    return grid.position, grid.name, grid.tree_type, grid.half, grid.parent, grid.blocks


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Equal, NaN with its payload and the sign of zero included."""
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def same_listing(before: Path, after: Path) -> str:
    """Tell whether `vdb_print -l` says the same of both files but for memory and value ranges."""
    if shutil.which("vdb_print") is None:
        return "not found"
    told = [
        subprocess.run(["vdb_print", "-l", str(path)], capture_output=True, text=True)
        for path in (before, after)
    ]
    texts = [
        "\n".join(
            line
            for line in (run.stdout + run.stderr).replace(str(path), "").splitlines()
            if not re.search(r"file_(mem|compr|delay)|(Min|Max) value", line)
        )
        for run, path in zip(told, (before, after), strict=True)
    ]
    if told[0].returncode != told[1].returncode or texts[0] != texts[1]:
        return "DIFFERS"
    return "same" if told[0].returncode == 0 else "same error"


def same_by_referee(python: str, before: Path, after: Path, coded: tuple[int, ...]) -> str:
    """Tell whether another OpenVDB finds the same in both files but for values of `coded` grids."""
    arguments = [python, str(REFEREE), ",".join(map(str, coded))]
    told = [
        subprocess.run([*arguments, str(path)], capture_output=True, text=True)
        for path in (before, after)
    ]
    if any(run.returncode for run in told):
        first, second = (run.stderr.strip().splitlines()[-1:] for run in told)
        return f"FAILED: {first} {second}"
    first, second = (json.loads(run.stdout.strip().splitlines()[-1]) for run in told)
    if first != second:
        return "DIFFERS"
    return "same" if "error" not in first else "same error"


def grid_cells(row: dict[str, Any]) -> list[list[str]]:
    """Rows of the table, one a grid."""
    cells = []
    for grid in row["grids"]:
        psnr = "-" if grid["how"] != "coded" or grid["psnr"] is None else f"{grid['psnr']:.2f}"
        error = (
            "none"
            if grid["error"] == 0
            else "?"
            if grid["error"] is None
            else f"{grid['error']:.3g}"
        )
        differing = [name for name, equal in grid["equal"].items() if not equal]
        equality = (
            f"DIFFERS: {', '.join(differing)}"
            if differing
            else "all but values"
            if grid["how"] == "coded"
            else "every bit"
        )
        how = grid["how"] + (
            f", {grid['kept']:,} kept" if grid["kept"] and grid["how"] == "coded" else ""
        )
        name = grid["name"] or "(no name)"
        cells.append(
            [row["file"], name, grid["type"], how, f"{grid['bytes']:,}", psnr, error, equality]
        )
    return cells


def markdown(run: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The whole report."""
    files = [
        [
            row["file"],
            f"{row['bytes_in']:,}",
            f"{row['bytes_out']:,}",
            f"{row['network']:,}",
            row["vdb_print"],
            row["openvdb"] or "not asked",
        ]
        for row in rows
    ]
    grids = [cells for row in rows for cells in grid_cells(row)]
    return f"# Nothing lost\n\n{describe(run)}\n\n{table(HEADER, grids)}\n{table(FILES, files)}"


if __name__ == "__main__":
    main()
