"""Empty air around smoke: `python -m benchmarks.empty_air [FILE.vdb ...]`; takes about a minute.

It takes the first grid of each file and makes every voxel of its active box active, as solvers
write their frames, so that most voxels are exactly 0. It counts how many of these come back as
0, by how much the sum of all values drifts, and the bytes of the file: at 40 and 45 dB over all
voxels, and with no voxel off by more than 1 % of the range; with frequent values exact, which is
the default, and approximate. Without files it takes the fires of the corpus and of the fixtures,
and the middle of a very large one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import inrv
from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from inrv import Box, EncodeOptions
from inrv.files.vdb import read_volume

HEADER = ["volume", "voxels", "exactly 0", "asked", "frequent values", "zeros kept", "sum", "bytes"]
ASKED: dict[str, dict[str, Any]] = {
    "40 dB": {"psnr": 40.0},
    "45 dB": {"psnr": 45.0},
    "1 %": {"max_error": "1%"},
}
WIDEST = 160  # voxels along an axis of what is taken


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    parser.add_argument("--effort", default="instant", help="of the encoder (default %(default)s)")
    parser.add_argument(
        "--name", default="empty_air", help="name of the results (default %(default)s)"
    )
    arguments = parser.parse_args()
    run = environment("cpu")
    rows = [
        row
        for path in arguments.files or default_files()
        for row in measure(path, arguments.effort)
    ]
    text = f"# Empty air\n\n{describe(run)}, effort `{arguments.effort}`. "
    text += "Every voxel of the box is active.\n\n"
    save(arguments.name, text + table(HEADER, rows), {"environment": run, "rows": rows})


def default_files() -> list[Path]:
    """The fires of the corpus, where it is there, and of the fixtures."""
    corpus = [CORPUS / "burner.vdb", CORPUS / "fire" / "fire_0060.vdb"]
    return [*filter(Path.exists, corpus), ROOT / "fixtures" / "fire.vdb"]


def measure(path: Path, effort: str) -> Iterator[list[str]]:
    """The rows of one file."""
    grid = read_volume(path).grids[0]
    values = grid.dense(middle(grid.topology.box))[..., 0]
    empty = values == 0
    for asked, chosen in ASKED.items():
        for frequent in ("exact", "approximate"):
            options = EncodeOptions(effort=effort, frequent_values=frequent, device="cpu", **chosen)
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder, "air.inrv")
                inrv.encode_array(values, output, options, active=np.ones(values.shape, dtype=bool))
                decoded = np.asarray(inrv.load(output, device="cpu").grids[0].dense())
                bytes_out = output.stat().st_size
            kept = float((decoded[empty] == 0).mean())
            drift = float(decoded.sum(dtype=np.float64) / values.sum(dtype=np.float64) - 1)
            what = [
                f"{path.stem}, {grid.name}",
                f"{values.size:,}",
                f"{empty.mean():.1%}",
                asked,
                frequent,
            ]
            yield [*what, f"{kept:.1%}", f"{drift:+.3%}", f"{bytes_out:,}"]


def middle(box: Box | None) -> Box:
    """The middle of a box that is wider than WIDEST; else the box."""
    assert box is not None
    lower = [
        low + max(0, edge - WIDEST) // 2 for low, edge in zip(box.lower, box.shape, strict=True)
    ]
    x, y, z = (low + min(edge, WIDEST) - 1 for low, edge in zip(lower, box.shape, strict=True))
    return Box((lower[0], lower[1], lower[2]), (x, y, z))


if __name__ == "__main__":
    main()
