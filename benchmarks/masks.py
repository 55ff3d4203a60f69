"""Bytes and speed of the active topology: `python -m benchmarks.masks [FILE.vdb ...]`.

Without files it takes every file of the corpus outside `hostile`, or the fixtures. For every
grid that has leaves it gives the bytes of the packed leaf masks under zstd -19, and of the coded
masks, alone and predicted from an earlier grid of the file; the bytes of the whole topology as
plain tensors and as the coded chunk TOPO, as they lie in a file; the seconds to code and decode
the masks, and the voxels of the grid's box decoded a second. Decoded masks must be equal to the
original ones.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from inrv.container import Chunk, pack_tensors, unpack_tensors
from inrv.entropy.masks import decode_masks, encode_masks, kinds_of
from inrv.files.vdb import read_volume
from inrv.grids import Topology
from inrv.storage.topology import store_topologies

HEADER = [
    "file", "grid", "leaves", "masks, zstd -19", "coded", "predicted", "TOPO", "MASK", "code s", "decode s", "M voxels/s",
]  # fmt: skip
REPEATS = 3  # of a decode; the quickest counts


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    parser.add_argument("--name", default="masks", help="name of the results (default %(default)s)")
    arguments = parser.parse_args()
    run = environment("cpu")
    print(describe(run), flush=True)
    rows: list[dict[str, Any]] = []
    for path in arguments.files or default_files():
        rows += measure(path)
        print(f"{path.name}: {len(rows)} grids so far", flush=True)
    save(arguments.name, markdown(run, rows), {"environment": run, "rows": rows})


def default_files() -> list[Path]:
    """The corpus, or the fixtures."""
    files = CORPUS.glob("**/*.vdb")
    return sorted(files) or sorted((ROOT / "fixtures").glob("*.vdb"))


def measure(path: Path) -> list[dict[str, Any]]:
    """One row for each grid of the file that has leaves."""
    grids = [grid for grid in read_volume(path).grids if grid.topology.leaf_count]
    chunks: list[Chunk] = []
    numbers = store_topologies([grid.topology for grid in grids], chunks, trees=False)
    rows = []
    for position, (grid, number) in enumerate(zip(grids, numbers, strict=True)):
        earlier = [
            other.topology
            for other in grids[:position]
            if not other.topology.identical(grid.topology)
        ]
        told = {"file": path.name, "grid": grid.name, "leaves": grid.topology.leaf_count}
        sizes = {
            "topo_chunk": packed_size(plain_chunk(chunks[number].data, grid.topology)),
            "mask_chunk": packed_size(chunks[number].data),
        }
        rows.append(told | code(grid.topology, earlier) | sizes)
    return rows


def code(topology: Topology, earlier: list[Topology]) -> dict[str, Any]:
    """Sizes in bytes and seconds of one topology."""
    origins, masks = topology.leaf_origins, topology.leaf_masks
    before = time.perf_counter()
    words = encode_masks(origins, masks)
    coding = time.perf_counter() - before
    decoding = []
    for _ in range(REPEATS):
        before = time.perf_counter()
        decoded = decode_masks(origins, kinds_of(masks), words)
        decoding.append(time.perf_counter() - before)
        assert np.array_equal(decoded, masks), "masks changed"
    predicted = [
        encode_masks(origins, masks, masks_at(other, topology)).nbytes for other in earlier
    ]
    box = topology.box
    voxels = math.prod(box.shape) if box else 0
    return {
        "zstd": packed_size(masks.tobytes()),
        "coded": words.nbytes,
        "predicted": min(predicted, default=None),
        "coding_seconds": coding,
        "decoding_seconds": min(decoding),
        "box_voxels": voxels,
        "voxels_per_second": voxels / min(decoding),
    }


def masks_at(root: Topology, topology: Topology) -> NDArray[np.uint8]:
    """Masks uint8 (L, 64) that `root` has at the leaves of `topology`: what a MASK chunk predicts from, but for tiles."""
    found = root.masks_of(root.find_leaves(topology.leaf_origins))
    return np.packbits(found, axis=1, bitorder="little")


def plain_chunk(mask_chunk: bytes, topology: Topology) -> bytes:
    """The TOPO chunk that tells the same as a MASK chunk."""
    arrays = dict(unpack_tensors(mask_chunk))
    for name in ("leaf_kinds", "coded_masks", "predicted_from"):
        del arrays[name]
    return pack_tensors(arrays | {"leaf_masks": topology.leaf_masks.numpy()})


def packed_size(data: bytes) -> int:
    """Bytes under zstd -19, as in a file."""
    return len(zstandard.compress(data, 19))


def markdown(run: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table, with how it was measured above it."""
    cells = [
        [
            row["file"],
            row["grid"],
            f"{row['leaves']:,}",
            f"{row['zstd']:,}",
            f"{row['coded']:,}",
            "-" if row["predicted"] is None else f"{row['predicted']:,}",
            f"{row['topo_chunk']:,}",
            f"{row['mask_chunk']:,}",
            f"{row['coding_seconds']:.2f}",
            f"{row['decoding_seconds']:.2f}",
            f"{row['voxels_per_second'] / 1e6:.1f}",
        ]
        for row in rows
    ]
    total = sum(row["zstd"] for row in rows), sum(row["coded"] for row in rows)
    return (
        f"# Topology\n\n{describe(run)}\n\nBytes of the leaf masks under zstd -19 and coded alone (in all {total[0]:,} and "
        f"{total[1]:,}), predicted from the earlier grid of the file that makes them smallest; of the whole chunk, plain and "
        "coded, under zstd. Seconds for the masks; voxels are those of the grid's box, decoded.\n\n"
        + table(HEADER, cells)
    )


if __name__ == "__main__":
    main()
