"""Bytes and speed of the active topology: `python -m benchmarks.masks [FILE.vdb ...]`.

Without files it takes every file of the corpus, or the fixtures. For every grid that has leaves it
gives the bytes of the packed leaf masks under zstd -19, and of the coded masks, alone and predicted
from an earlier grid of the file; the bytes of the whole topology's chunks, as they lie in a file;
the CPU time to code and decode the masks, on one thread, for a voxel of a mixed leaf, and the time
to decode an active voxel. Decoded masks must be equal to the original ones.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from inrv.container import Chunk, stored_size
from inrv.container.layout import BITS
from inrv.entropy.masks import MIXED, decode_masks, encode_masks, kinds_of
from inrv.files.vdb import read_volume
from inrv.grids import Topology, pack_masks
from inrv.storage.topology import store_topologies

HEADER = [
    "file",
    "grid",
    "leaves",
    "mixed",
    "regions",
    "masks, zstd -19",
    "coded",
    "predicted",
    "chunks",
    "code ms",
    "decode ms",
    "code ns/voxel",
    "decode ns/voxel",
    "decode ns/active voxel",
]
REPEATS = 5  # of a decode; the quickest counts


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
    numbers = store_topologies([grid.topology for grid in grids], chunks)
    rows = []
    for position, (grid, number) in enumerate(zip(grids, numbers, strict=True)):
        before = [other.topology for other in grids[:position]]
        earlier = [other for other in before if not other.identical(grid.topology)]
        what = {"file": path.name, "grid": grid.name, "leaves": grid.topology.leaf_count}
        own = [chunk for chunk in chunks[number + 1 : number + 2] if chunk.type == BITS]
        size = {"chunks": sum(stored_size(chunk.data) for chunk in [chunks[number], *own])}
        rows.append(what | code(grid.topology, earlier) | size)
    return rows


def code(topology: Topology, earlier: list[Topology]) -> dict[str, Any]:
    """Sizes in bytes and seconds of one topology."""
    origins, masks, kinds = (
        topology.leaf_origins,
        topology.leaf_masks,
        kinds_of(topology.leaf_masks),
    )
    before = time.process_time()
    parts = encode_masks(origins, masks)
    coding = time.process_time() - before
    decoding = []
    for _ in range(REPEATS):
        before = time.process_time()
        decoded = decode_masks(origins, kinds, parts)
        decoding.append(time.process_time() - before)
        assert np.array_equal(decoded, masks), "masks changed"
    predicted = [
        size_of(encode_masks(origins, masks, masks_at(other, topology))) for other in earlier
    ]
    mixed = int(np.count_nonzero(kinds == MIXED))
    return {
        "zstd": packed_size(masks.tobytes()),
        "coded": size_of(parts),
        "predicted": min(predicted, default=None),
        "coding_seconds": coding,
        "decoding_seconds": min(decoding),
        "mixed": mixed,
        "regions": len(parts),
        "coding_ns": coding / max(1, 512 * mixed) * 1e9,
        "decoding_ns": min(decoding) / max(1, 512 * mixed) * 1e9,
        "active_ns": min(decoding) / max(1, topology.leaf_voxel_count) * 1e9,
    }


def size_of(parts: list[bytes]) -> int:
    """Bytes of all regions."""
    return sum(map(len, parts))


def masks_at(root: Topology, topology: Topology) -> NDArray[np.uint8]:
    """Masks uint8 (L, 64) that `root` has at the leaves of `topology`; tiles are left out."""
    return pack_masks(root.masks_of(root.find_leaves(topology.leaf_origins)))


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
            f"{row['mixed']:,}",
            f"{row['regions']:,}",
            f"{row['zstd']:,}",
            f"{row['coded']:,}",
            "-" if row["predicted"] is None else f"{row['predicted']:,}",
            f"{row['chunks']:,}",
            f"{1e3 * row['coding_seconds']:.1f}",
            f"{1e3 * row['decoding_seconds']:.1f}",
            f"{row['coding_ns']:.1f}",
            f"{row['decoding_ns']:.1f}",
            f"{row['active_ns']:.1f}",
        ]
        for row in rows
    ]
    total = sum(row["zstd"] for row in rows), sum(row["coded"] for row in rows)
    what = (
        f"Bytes of the leaf masks under zstd -19 and coded alone (in all {total[0]:,} and "
        f"{total[1]:,}), and predicted from the earlier grid of the file that makes them smallest; "
        "bytes of the whole topology's chunks, as they lie in the file. Times are CPU time on one "
        "thread, for all masks, for a voxel of the mixed leaves, and for an active voxel."
    )
    return f"# Topology\n\n{describe(run)}\n\n{what}\n\n{table(HEADER, cells)}"


if __name__ == "__main__":
    main()
