"""Peak memory of images larger than memory: `python -m benchmarks.large_images`.

It runs on Linux only. It makes a Zarr store of float64 numbers (2.1 GB by default), encodes it
block by block into a file of blocks, and decodes that into another store, each in a process of its
own. It compares each peak of resident memory with a limit, and the largest error with the bound.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import zarr

from benchmarks.memory import in_own_process, report
from benchmarks.report import describe, environment

BOUND = "1%"
CHUNK = 128
LIMITS = {"encode": 2.0e9, "decode": 1.0e9}


def main() -> None:
    """Parse the command line, run, report; exit status 1 where a peak is over the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", type=int, default=640, help="voxels (default %(default)s)")
    parser.add_argument("--blocks", type=int, default=256, help="voxels (default %(default)s)")
    arguments = parser.parse_args()
    run = environment("cpu")
    print(describe(run), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (
            str(Path(folder, name)) for name in ("large.zarr", "large.inrv", "decoded.zarr")
        )
        make_image(source, arguments.edge)
        command = "from inrv_cli.main import cli; cli({}, standalone_mode=False)"
        blocks = ["--blocks", str(arguments.blocks), "--max-error", BOUND, "--effort", "instant"]
        rows = [
            in_own_process("encode", command.format(["encode", source, "-q", *blocks])),
            in_own_process("decode", command.format(["decode", coded, "-q", "-o", decoded])),
        ]
        error, span = largest_error(source, decoded)
        sizes = {"bytes_in": 8 * arguments.edge**3, "bytes_out": Path(coded).stat().st_size}
    text = f"# Images larger than memory\n\n{arguments.edge}^3 voxels of float64 in blocks of "
    text += f"{arguments.blocks}; {describe(run)}\n\n{sizes['bytes_in']:,} bytes of numbers, "
    text += f".inrv {sizes['bytes_out']:,} bytes; largest error {error / span:.3%} of the range\n\n"
    told = {"environment": run, **sizes, "error": error, "range": span}
    report("large_images", text, rows, LIMITS, told)


def make_image(path: str, edge: int) -> None:
    """Write waves and a little noise to a store, slab by slab."""
    array = zarr.create_array(
        path, shape=(edge,) * 3, dtype="float64", chunks=(CHUNK,) * 3,
        dimension_names=("z", "y", "x"),
    )  # fmt: skip
    along, rng = np.arange(edge) / 40, np.random.default_rng(3)
    for start in range(0, edge, CHUNK):
        z = along[start : start + CHUNK, None, None]
        values = np.sin(z) * np.cos(along)[:, None] + np.sin(0.7 * along) * np.cos(1.3 * z)
        array[start : start + CHUNK] = values + rng.normal(0, 0.002, values.shape)


def largest_error(source: str, decoded: str) -> tuple[float, float]:
    """Return the largest error of any voxel, and the range of the source."""
    before, after = zarr.open_array(source, mode="r"), zarr.open_array(decoded, mode="r")
    error, low, high = 0.0, np.inf, -np.inf
    for start in range(0, before.shape[0], CHUNK):
        numbers = np.asarray(before[start : start + CHUNK])
        error = max(error, float(np.abs(after[start : start + CHUNK] - numbers).max()))
        low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    return error, high - low


if __name__ == "__main__":
    main()
