"""Bytes of .nvdb files, and Warp as their referee: `python -m benchmarks.nanovdb [FILE.vdb ...]`.

Each file is encoded with the effort `instant` at 45 dB and decoded to a .nvdb file: plain, zipped,
and zipped with 16 bits a value. Warp (`pip install warp-lang`) opens every grid of the zipped file
on the CPU and gives the values of random voxels in and around its box, which must be ours to the
bit, and trilinear values at random points of grids of one component. These it computes in float32:
the table gives the largest difference from ours as a share of the grid's range. The last column
gives the largest error of 16 bits in the same way.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inrv
from benchmarks.report import CORPUS, a_fire, describe, environment, save, table
from inrv import Grid, SparseVolume, VolumeGrid, files

FILES = ["file", ".vdb", ".inrv", ".nvdb plain", "zipped", "16 bits, zipped", "write s", "read s"]
GRIDS = ["grid", "active voxels", "voxels equal", "trilinear, of range", "16 bits, of range"]
POINTS = 200_000
MARGIN = 9  # voxels around the box of a grid


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    arguments = parser.parse_args()
    run = environment("cpu")
    print(describe(run), flush=True)
    measured = [measure(path) for path in arguments.files or default_files()]
    text = f"{describe(run)}\n\n{table(FILES, [file for file, _ in measured])}\n"
    text += table(GRIDS, [row for _, rows in measured for row in rows])
    save("nanovdb", text, {"run": run, "files": measured})


def default_files() -> list[Path]:
    """The volumes of the page on formats, or the fixtures' fire."""
    names = ("wdas_cloud_sixteenth", "burner", "icosahedron", "smoke")
    found = [CORPUS / f"{name}.vdb" for name in names]
    return found if all(path.exists() for path in found) else [a_fire()]


def measure(path: Path) -> tuple[list[str], list[list[str]]]:
    """The row of a file, and those of its grids."""
    data, _ = inrv.encode_bytes(path, inrv.EncodeOptions(effort="instant", device="cpu"))
    volume = inrv.load(data, "cpu")
    decoded = volume.to_sparse()
    plain, _ = written(decoded, compress=False)
    zipped, took = written(decoded)
    half, _ = written(decoded, half=True)
    started = time.perf_counter()
    read = files.read(zipped)
    reading = time.perf_counter() - started
    sizes = [path.stat().st_size, *map(len, (data, plain, zipped, half))]
    row = [path.stem, *(f"{size:,}" for size in sizes), f"{took:.1f}", f"{reading:.1f}"]
    rows = []
    for ours, grid, coded in zip(volume.grids, read.grids, files.read(half).grids, strict=True):
        print(path.stem, grid.name, flush=True)
        error = np.abs(coded.values - grid.values).max(initial=0) / span(grid)
        active = grid.topology.active_voxel_count
        found = referee(grid, ours)
        rows.append([f"{path.stem} {grid.name}", f"{active:,}", *found, f"{error:.1e}"])
    return row, rows


def written(volume: SparseVolume, **options: bool) -> tuple[bytes, float]:
    """The bytes of a .nvdb file, and the seconds that writing it took."""
    stream, started = io.BytesIO(), time.perf_counter()
    files.write(stream, volume, ".nvdb", **options)
    return stream.getvalue(), time.perf_counter() - started


def span(grid: Grid) -> float:
    """The range of the active values, at least the smallest number above 0."""
    return max(float(np.ptp(grid.values)) if len(grid.values) else 0.0, 1e-30)


def referee(grid: Grid, ours: VolumeGrid) -> list[str]:
    """How many of the voxels that Warp looks up equal ours, and how far its samples are off."""
    try:
        from testing import warp_volumes
    except ImportError:
        return ["-", "-"]
    box = grid.topology.box
    if box is None:
        return ["no voxel", "-"]
    volume = warp_volumes.opened(written(SparseVolume((grid,)))[0])
    draws = np.random.default_rng(0)
    low, high = np.array(box.lower) - MARGIN, np.array(box.upper) + MARGIN
    voxels = draws.integers(low, high + 1, (POINTS, 3)).astype(np.int32)
    found = warp_volumes.look_up(volume, voxels, grid.components)
    equal = (found == ours.voxels(voxels).reshape(len(voxels), -1)).all(axis=1)
    told = [f"{int(equal.sum()):,} of {POINTS:,}"]
    if grid.components > 1:
        return [*told, "-"]
    points: NDArray[Any] = draws.uniform(low, high, (POINTS, 3)).astype(np.float32)
    off = np.abs(warp_volumes.sample(volume, points) - ours.sample(points)).max()
    return [*told, f"{off / span(grid):.1e}"]


if __name__ == "__main__":
    main()
