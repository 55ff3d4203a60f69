"""Exact storage against zstd, Blosc2 and NanoVDB: `python -m benchmarks.exact [FILE.vdb ...]`.

Without files it takes a mask, labels, the level set of a box and a scan of 16-bit numbers, all
made here, and the coded grids of the corpus (one frame of the fire). Each grid is encoded with
`lossless=True` at the effort `instant`, and the whole .inrv file counts, with topology and
header. The peers are zstd -19 of the dense box of active voxels; zstd -19 of the .vdb file with
the grid, in which Blosc has been at work; Blosc2 (zstd, level 9, with byte or bit shuffle,
whichever is smaller) of the dense box; and NanoVDB with zip (`nanovdb_convert -z`). Dense boxes
have the numbers of the source: half floats where a grid is saved as half. We compare ourselves
with the smallest of the peers, although the dense ones store no topology.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hdf5plugin
import numpy as np
import zstandard
from scipy.ndimage import gaussian_filter

import inrv
from benchmarks.peers.hdf5 import compress
from benchmarks.peers.nanovdb import TOOL, installed
from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from inrv import EncodeOptions, Grid, SparseVolume
from inrv.files.vdb import read_volume, write_volume
from inrv.grids import sparse_grid

Array = np.ndarray[Any, Any]
LEVEL = 19
HEADER = [
    "what",
    "values",
    "dense box",
    "zstd -19, dense",
    "zstd -19, .vdb",
    "Blosc2",
    "NanoVDB -z",
    "inrv",
    "inrv / best peer",
    "encode s",
    "decode s",
]


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    parser.add_argument("--effort", default="instant", help="of the encoder (default %(default)s)")
    parser.add_argument("--name", default="exact", help="name of the results (default %(default)s)")
    arguments = parser.parse_args()
    run = environment("cpu")
    rows: list[dict[str, Any]] = []
    for what, grid, kind in of_files(arguments.files) if arguments.files else everything():
        rows.append(
            measure(
                what,
                grid,
                kind,
                EncodeOptions(lossless=True, effort=arguments.effort, device="cpu"),
            )
        )
        print(" | ".join(cells(rows[-1])), flush=True)
    mean = math.exp(sum(math.log(row["inrv"] / best(row)) for row in rows) / len(rows))
    text = f"# Exact storage\n\n{describe(run)}, effort `{arguments.effort}`. "
    text += "Bytes; every value comes back bit for bit.\n\n"
    text += (
        table(HEADER, [cells(row) for row in rows])
        + f"\nGeometric mean of inrv / best peer: {mean:.3f}\n"
    )
    save(arguments.name, text, {"environment": run, "rows": rows, "mean": mean})


def everything() -> Iterator[tuple[str, Grid, type[np.generic]]]:
    """The made volumes, and those of the corpus or the fixtures."""
    for what, array in made():
        yield (
            what,
            sparse_grid(
                array.astype(np.float32),
                active=np.ones(array.shape, dtype=np.bool_),
            ),
            array.dtype.type,
        )
    corpus = [*sorted(CORPUS.glob("*.vdb")), CORPUS / "fire" / "fire_0060.vdb"]
    yield from of_files(corpus if len(corpus) > 1 else sorted((ROOT / "fixtures").glob("*.vdb")))


def of_files(paths: list[Path]) -> Iterator[tuple[str, Grid, type[np.generic]]]:
    """Every grid of some files with more than one value, and the dtype of its numbers."""
    for path in paths:
        for grid in read_volume(path).grids:
            if len(grid.values) and not bool((grid.values == grid.values[:1]).all()):
                yield (
                    f"{path.stem}, {grid.name}",
                    grid,
                    np.float16 if grid.saved_as_half else np.float32,
                )


def made() -> Iterator[tuple[str, Array]]:
    """Volumes as people have them that hold few different numbers, or whole ones."""
    random = np.random.default_rng(0)
    x, y, z = np.mgrid[0:96, 0:96, 0:96] - 47.5
    cloud = gaussian_filter(random.normal(size=(96, 96, 96)), 6)
    yield "mask of a cloud", (cloud > 0.01).astype(np.uint8)
    points, names = random.random((60, 3)) * 96, random.integers(1, 30, 60)
    at = np.stack(np.mgrid[0:96, 0:96, 0:96], -1).reshape(-1, 1, 3).astype(np.float32)
    nearest = np.concatenate(
        [((part - points) ** 2).sum(-1).argmin(1) for part in np.array_split(at, 64)]
    )
    yield "labels", names[nearest].reshape(96, 96, 96).astype(np.uint8)
    yield (
        "level set of a box",
        (np.clip(np.abs(np.stack([x, y, z])).max(0) - 32, -3, 3) * 0.05).astype(np.float16),
    )
    body = np.full(x.shape, -1000.0)
    for radius, number in ((44, 40.0), (40, 1200.0), (37, 35.0), (12, 5.0)):
        body[x**2 + 1.3 * y**2 + z**2 < radius**2] = number
    noise = gaussian_filter(random.normal(size=x.shape), 0.6) * 40
    yield (
        "scan, int16",
        np.rint(gaussian_filter(body, 0.8) + noise).clip(-1024, 3071).astype(np.int16),
    )


def measure(
    what: str, grid: Grid, kind: type[np.generic], options: EncodeOptions
) -> dict[str, Any]:
    """Return the bytes of one grid by us and by the peers.

    Raises AssertionError where our values do not come back.
    """
    box = grid.topology.box
    assert box is not None
    dense = grid.dense(box).astype(kind)
    started = time.perf_counter()
    data, _ = inrv.encode_bytes(SparseVolume((grid,)), options)
    encoded = time.perf_counter()
    values = inrv.load(data, device="cpu")[0].to_grid().values
    decoded = time.perf_counter()
    assert values.tobytes() == grid.values.tobytes(), f"{what} does not come back"
    filters = [hdf5plugin.Blosc2(cname="zstd", clevel=9, filters=shuffle) for shuffle in (1, 2)]
    return {
        "what": what,
        "values": len(grid.values) * grid.components,
        "dense": dense.nbytes,
        "zstd": len(zstandard.ZstdCompressor(LEVEL).compress(dense.tobytes())),
        "blosc2": min(compress(dense, chosen)[0] for chosen in filters),
        **of_trees(grid),
        "inrv": len(data),
        "encode_seconds": encoded - started,
        "decode_seconds": decoded - encoded,
    }


def of_trees(grid: Grid) -> dict[str, int | None]:
    """Return the bytes of the grid's .vdb file under zstd, and of its NanoVDB file.

    The latter is None where the tool is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, coded = Path(folder, "source.vdb"), Path(folder, "coded.nvdb")
        write_volume(source, SparseVolume((grid,)))
        packed = len(zstandard.ZstdCompressor(LEVEL).compress(source.read_bytes()))
        if not installed():
            return {"vdb": packed, "nanovdb": None}
        subprocess.run([TOOL, "-f", "-z", source, coded], check=True, capture_output=True)
        return {"vdb": packed, "nanovdb": coded.stat().st_size}


def best(row: dict[str, Any]) -> int:
    """Bytes of the best peer."""
    return min(row[peer] for peer in ("zstd", "vdb", "blosc2", "nanovdb") if row[peer] is not None)


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    peers = [
        "-" if row[peer] is None else f"{row[peer]:,}"
        for peer in ("zstd", "vdb", "blosc2", "nanovdb")
    ]
    seconds = [f"{row[kind]:.1f}" for kind in ("encode_seconds", "decode_seconds")]
    share = f"{row['inrv'] / best(row):.2f}"
    return [
        row["what"],
        f"{row['values']:,}",
        f"{row['dense']:,}",
        *peers,
        f"{row['inrv']:,}",
        share,
        *seconds,
    ]


if __name__ == "__main__":
    main()
