"""Voxels decoded a second, from an open file: `python -m benchmarks.decode [FILE.vdb ...]`.

It measures both fields, each at its defaults but for --epochs of training and the effort
`instant`. `active` decodes every grid, `dense` decodes every grid's active box in blocks of at
most 256^3 voxels, and `points` samples --points random points of the boxes with trilinear
interpolation. The second of two runs on --device counts, without the time to read the file and
restore the topology.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import inrv
from benchmarks.report import CORPUS, ROOT, describe, environment, save, table

HEADER = ["file", "field", "precision", "bytes", "active M/s", "dense M/s", "points M/s"]
BLOCK = 256


def main() -> None:
    """Measure every file in both fields."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, default=default_files(), metavar="FILE.vdb")
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument(
        "--epochs", type=float, default=0.1, help="fourier: passes over the voxels (%(default)s)"
    )
    parser.add_argument(
        "--preset", choices=("default", "paper"), default="default", help="fourier (%(default)s)"
    )
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument("--name", default="decode", help="name of the results (%(default)s)")
    arguments = parser.parse_args()
    run = environment(arguments.device)
    print(describe(run), flush=True)
    rows = []
    for path in arguments.files:
        fourier = inrv.EncodeOptions(
            field="fourier",
            preset=arguments.preset,
            epochs=arguments.epochs,
            device=arguments.device,
        )
        for options in (fourier, inrv.EncodeOptions(effort="instant", device=arguments.device)):
            rows.append(measure(path, options, arguments.points))
            print(table(HEADER, [cells(rows[-1])]).splitlines()[2], flush=True)
    found = table(HEADER, [cells(row) for row in rows])
    text = f"# Decoding\n\n{describe(run)}\n\nMillions of voxels or points a second:\n\n{found}"
    save(arguments.name, text, {"environment": run, "rows": rows})


def default_files() -> list[Path]:
    """A fire, a smooth and a large volume of the corpus, or the fixtures' fire."""
    files = [CORPUS / "fire" / "fire_0060.vdb", CORPUS / "smoke.vdb", CORPUS / "burner.vdb"]
    return [path for path in files if path.exists()] or [ROOT / "fixtures" / "fire.vdb"]


def measure(path: Path, options: inrv.EncodeOptions, points: int) -> dict[str, Any]:
    """Encode a file, and decode it in three ways."""
    data, _ = inrv.encode_bytes(path, options)
    opened = inrv.load(data, options.device)
    voxels = sum(grid.topology.leaf_voxel_count for grid in opened.grids)
    boxes = {
        grid.position: grid.box
        for grid in opened.grids
        if grid.values_of_grid.columns and grid.box is not None
    }

    def dense(volume: inrv.Volume) -> None:
        for position, box in boxes.items():
            for block in blocks(box):
                volume[position].dense(block)

    def sampled(volume: inrv.Volume) -> None:
        for position, box in boxes.items():
            drawn = np.random.default_rng(0).random((points, 3))
            volume[position].sample(drawn * box.shape + box.lower)

    return {
        "file": path.name,
        "field": options.chosen_field,
        "precision": str(getattr(opened.outputs, "precision", "integers")).removeprefix("torch."),
        "bytes": len(data),
        "active_per_second": voxels
        / seconds(data, options.device, lambda volume: volume.decode(volume.grids)),
        "dense_per_second": sum(box.volume for box in boxes.values())
        / seconds(data, options.device, dense),
        "points_per_second": points * len(boxes) / seconds(data, options.device, sampled),
    }


def seconds(data: bytes, device: str | None, work: Callable[[inrv.Volume], object]) -> float:
    """Of `work` on a freshly opened file, topology restored, the second time it is done."""
    for _ in range(2):
        volume = inrv.load(data, device)
        for grid in volume.grids:
            grid.coordinates()
        started = time.perf_counter()
        with torch.no_grad():
            work(volume)
        if volume.device.startswith("cuda"):
            torch.cuda.synchronize()
        taken = time.perf_counter() - started
    return taken


def blocks(box: inrv.Box) -> list[inrv.Box]:
    """The box in blocks of at most BLOCK voxels an edge."""
    ranges = [range(low, high + 1, BLOCK) for low, high in zip(box.lower, box.upper, strict=True)]
    found = []
    for corner in product(*ranges):
        upper = [min(low + BLOCK - 1, high) for low, high in zip(corner, box.upper, strict=True)]
        found.append(inrv.Box(corner, (upper[0], upper[1], upper[2])))
    return found


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    rates = [
        f"{row[key] / 1e6:.2f}"
        for key in ("active_per_second", "dense_per_second", "points_per_second")
    ]
    return [row["file"], row["field"], row["precision"], f"{row['bytes']:,}", *rates]


if __name__ == "__main__":
    main()
