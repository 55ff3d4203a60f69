"""What other codecs need for the quality that `benchmarks/corpus.py` measured: `python benchmarks/peers.py [NAME ...]`.

Run corpus.py first: its results name the files (all, or the names given) and the PSNR of each grid. Each grid's dense
active box is compressed with SZ3 and SPERR (hdf5plugin) at the coarsest setting that reaches that PSNR, over that box,
peak = value range. The peers store no topology, transform or metadata; ours are the bytes of the whole .inrv file.
Needs pip install 'inrv[benchmarks]'.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from report import CORPUS, RESULTS, ROOT, describe, environment, save, table

from inrv.vdb import read_volume

HEADER = ["file", "PSNR dB", "inrv, whole file", "of it topology", "SZ3", "SPERR", "inrv / best peer"]
BISECTIONS = 9


def main() -> None:
    """Compare every file of the corpus results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="corpus", help="name of the results of corpus.py (%(default)s)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="files of those results, as fire_0060.vdb; default: all")
    arguments = parser.parse_args()
    rows = []
    for ours in json.loads((RESULTS / f"{arguments.results}.json").read_text())["rows"]:
        if ours["psnr"] is not None and (not arguments.names or ours["file"] in arguments.names):
            rows.append(measure(find(ours["file"]), ours))
            print(table(HEADER, [cells(rows[-1])]).splitlines()[2], flush=True)
    run = environment("cpu")
    text = f"# The same quality from other codecs\n\n{describe(run)}\n\n{table(HEADER, [cells(row) for row in rows])}"
    save("peers", text, {"environment": run, "rows": rows})


def find(name: str) -> Path:
    """The file of that name in the corpus or the fixtures."""
    found = next((path for folder in (CORPUS, CORPUS / "fire", ROOT / "fixtures") if (path := folder / name).exists()), None)
    if found is None:
        raise SystemExit(f"{name} is neither in {CORPUS} nor in the fixtures")
    return found


def measure(path: Path, ours: dict[str, Any]) -> dict[str, Any]:
    """Bytes of each peer over the grids of one file, component by component."""
    totals = {"sz3": 0, "sperr": 0}
    for grid, wanted in zip(read_volume(path).grids, ours["grids"], strict=True):
        box = grid.topology.box
        if box is None or wanted["psnr"] is None:
            continue
        for values in grid.dense(box).unbind(3):
            array = values.contiguous().numpy()
            if np.ptp(array) > 0:
                totals["sz3"] += smallest(array, wanted["psnr"], lambda error: hdf5plugin.SZ3(absolute=error))
                totals["sperr"] += smallest(array, wanted["psnr"], lambda error: hdf5plugin.Sperr(absolute=error, swap=True))
    return {
        "file": ours["file"],
        "psnr": ours["psnr"],
        "bytes": ours["bytes_out"],
        "topology": ours["chunk_bytes"].get("MASK", 0),
        **totals,
        "over_best": ours["bytes_out"] / min(totals.values()),
    }


def smallest(array: np.ndarray, psnr: float, codec: Callable[[float], Any]) -> int:
    """Fewest bytes at which the peer reaches `psnr`, by bisection of its absolute error bound."""
    low, high = math.log10(np.ptp(array)) - 6, math.log10(np.ptp(array))
    best = array.nbytes
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        size, decoded = compress(array, codec(10**middle))
        reached = 10 * math.log10(
            float(np.ptp(array)) ** 2 / max(float(np.mean((decoded - array) ** 2, dtype=np.float64)), 1e-30)
        )
        if reached >= psnr:
            low, best = middle, min(best, size)
        else:
            high = middle
    return best


def compress(array: np.ndarray, filters: Any) -> tuple[int, np.ndarray]:
    """Stored bytes of the compressed array, and the array decompressed."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.create_dataset("d", data=array, chunks=array.shape, compression=filters)
    with h5py.File(memory, "r") as file:
        data = file["d"]
        return data.id.get_storage_size(), data[:]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    sizes = [f"{row[key]:,}" for key in ("bytes", "topology", "sz3", "sperr")]
    return [row["file"], f"{row['psnr']:.2f}", *sizes, f"{row['over_best']:.2f}"]


if __name__ == "__main__":
    main()
