"""Arrays of zarr 3 with the codec of inrv and with others: `python -m benchmarks.zarr_arrays`.

The first grid of a .vdb file is written as a dense float32 array of its active box, in memory, in
chunks of --edge voxels, and read again: bytes of all chunks, seconds to write and to read all,
milliseconds to read a plane across the middle (medians of --runs runs), the largest error as a
share of the range, and the PSNR over the whole array. zfpy and pcodec take part where they are
installed. Without a file it takes smoke.vdb of the corpus, or the fixtures' fire.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec

from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from inrv.files.vdb import read_volume
from inrv.integrations.zarr import LatticeCodec

HEADER = ["codec", "bytes", "times smaller", "write s", "read s", "plane ms", "error %", "PSNR dB"]
SHARES = (0.01, 0.001)  # of the range, that the error is bounded by


def main() -> None:
    """Measure every codec."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    smoke = CORPUS / "smoke.vdb"
    default = smoke if smoke.exists() else ROOT / "fixtures" / "fire.vdb"
    parser.add_argument("file", nargs="?", type=Path, default=default, metavar="FILE.vdb")
    parser.add_argument("--edge", type=int, nargs="+", default=[64, 128], help="(%(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--name", default="zarr_arrays", help="name of the results (%(default)s)")
    arguments = parser.parse_args()
    array = dense(arguments.file)
    run = environment("cpu")
    shown = " x ".join(map(str, array.shape))
    text = f"# Arrays of zarr\n\n{describe(run)}; {arguments.file.name}, {shown} of float32\n"
    rows = []
    for edge in arguments.edge:
        own = []
        for name, settings in codecs(float(np.ptp(array))).items():
            row = measure(array, edge, settings, arguments.runs)
            own.append({"edge": edge, "codec": name, **row})
            print(own[-1], flush=True)
        text += f"\nChunks of {edge}^3:\n\n{table(HEADER, [cells(row, array) for row in own])}"
        rows += own
    save(arguments.name, text, {"environment": run, "file": arguments.file.name, "rows": rows})


def dense(path: Path) -> NDArray[np.float32]:
    """The first grid of a file in its active box."""
    grid = read_volume(path).grids[0]
    box = grid.topology.box
    assert box is not None
    return np.ascontiguousarray(grid.dense(box)[..., 0])


def codecs(span: float) -> dict[str, dict[str, Any]]:
    """How arrays are made with each codec, by name."""
    found: dict[str, dict[str, Any]] = {
        "zstd": {"compressors": ZstdCodec(level=9)},
        "Blosc, zstd, shuffled": {
            "compressors": BloscCodec(cname="zstd", clevel=9, shuffle="shuffle")
        },
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zarr, about codecs that its specification lacks
        if (pcodec := _peer("PCodec")) is not None:
            found["pcodec"] = {"serializer": pcodec(level=8), "compressors": None}
        found["inrv, lossless"] = ours(lossless=True)
        for share in SHARES:
            if (zfpy := _peer("ZFPY")) is not None:
                made = zfpy(mode=4, tolerance=share * span)
                found[f"zfpy, error <= {share:.1%}"] = {"serializer": made, "compressors": None}
            found[f"inrv, error <= {share:.1%}"] = ours(max_error=share * span)
    found["inrv, 45 dB"] = ours(psnr=45)
    return found


def ours(**configuration: Any) -> dict[str, Any]:
    """How an array is made with the codec of inrv."""
    return {"serializer": LatticeCodec(**configuration), "compressors": None}


def _peer(name: str) -> Any:
    """A codec of numcodecs for zarr 3; None where the package behind it is missing."""
    from zarr.codecs import numcodecs as wrapped

    try:
        made = getattr(wrapped, name)
        made().to_dict()
        made()._codec  # noqa: B018  (loads the package)
    except Exception as error:
        print(f"{name} is left out: {error}", flush=True)
        return None
    return made


def measure(
    array: NDArray[np.float32], edge: int, settings: dict[str, Any], runs: int
) -> dict[str, float]:
    """Figures of one codec by name."""
    store: dict[str, Any] = {}

    def write() -> None:
        made = zarr.create_array(
            store,
            shape=array.shape,
            chunks=(edge,) * 3,
            dtype=array.dtype,
            overwrite=True,
            **settings,
        )
        made[...] = array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = median(write, 1 if runs < 2 else 2)
        opened = zarr.open_array(store, mode="r")
        found = opened[...]
        middle = array.shape[2] // 2
        reading = median(lambda: opened[...], runs)
        plane = median(lambda: opened[:, :, middle], runs)
    squared = float(np.square(found.astype(np.float64) - array).mean())
    span = float(np.ptp(array))
    return {
        "bytes": sum(len(value) for key, value in store.items() if key.startswith("c/")),
        "write": seconds,
        "read": reading,
        "plane": plane,
        "error": float(np.abs(found - array).max()) / span,
        "psnr": 10 * math.log10(span**2 / squared) if squared else math.inf,
    }


def median(work: Callable[[], Any], runs: int) -> float:
    """The median of the seconds that some work takes."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def cells(row: dict[str, Any], array: NDArray[np.float32]) -> list[str]:
    """A row of the table."""
    return [
        row["codec"],
        f"{row['bytes']:,}",
        f"{array.nbytes / row['bytes']:.1f}",
        f"{row['write']:.2f}",
        f"{row['read']:.2f}",
        f"{1e3 * row['plane']:.0f}",
        f"{100 * row['error']:.4f}" if row["error"] else "0",
        "exact" if math.isinf(row["psnr"]) else f"{row['psnr']:.1f}",
    ]


if __name__ == "__main__":
    main()
