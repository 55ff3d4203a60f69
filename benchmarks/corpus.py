"""Size, quality and time of encoding and decoding real volumes.

`python -m benchmarks.corpus [FILE.vdb ...]`. Without files it takes the corpus of third-party
volumes beside the project, or the fixtures where there is no corpus. PSNR and SSIM are means
over the grids; each is over a grid's whole active box, where the peak is the range of its
values. The ratio is that of the bytes of the .vdb and the .inrv file. Bits, seconds and speeds
compare the whole .inrv file with the active voxels of all grids, where a vector counts as one
voxel.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import inrv
from benchmarks.report import CORPUS, ROOT, decibels, describe, environment, save, table
from inrv.files.vdb import read_volume
from inrv.metrics import compare_volumes

HEADER = ["file", "bytes in", "bytes out", "ratio", "bits/voxel", "PSNR dB", "SSIM", "topology"]
TIMES = ["encode s", "decode s", "encode s / M voxels", "decode M voxels / s"]


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument(
        "--field", choices=("lattice", "fourier"), default="lattice", help="(%(default)s)"
    )
    parser.add_argument(
        "--effort", default="default", help="lattice: instant, default or thorough (%(default)s)"
    )
    parser.add_argument(
        "--epochs", type=float, help="fourier: passes over the voxels; default: what encode chooses"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the .inrv files there")
    parser.add_argument(
        "--name", default="corpus", help="name of the results (default %(default)s)"
    )
    arguments = parser.parse_args()
    own = (
        {"effort": arguments.effort}
        if arguments.field == "lattice"
        else {"epochs": arguments.epochs}
    )
    options = inrv.EncodeOptions(device=arguments.device, field=arguments.field, **own)
    run = environment(arguments.device)
    print(describe(run), flush=True)
    rows = []
    for path in arguments.files or default_files():
        rows.append(measure(path, options, arguments.keep))
        print(table([*HEADER, *TIMES], [cells(rows[-1])]).splitlines()[2], flush=True)
    save(arguments.name, markdown(run, rows), {"environment": run, "rows": rows})


def default_files() -> list[Path]:
    """The corpus, or the fixtures that hold voxels."""
    files = [*sorted(CORPUS.glob("*.vdb")), *sorted(CORPUS.glob("fire/*.vdb"))]
    return files or [
        path for path in sorted((ROOT / "fixtures").glob("*.vdb")) if path.name != "empty.vdb"
    ]


def measure(path: Path, options: inrv.EncodeOptions, keep: Path | None) -> dict[str, Any]:
    """Encode and decode one file, from disk to disk, and compare what came back."""
    with tempfile.TemporaryDirectory() as folder:
        coded, decoded = Path(folder, "coded.inrv"), Path(folder, "decoded.vdb")
        started = time.perf_counter()
        report = inrv.encode(path, coded, options)
        encoded = time.perf_counter()
        inrv.load(coded, options.device).to_vdb(decoded)
        done = time.perf_counter()
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(coded, keep / f"{path.stem}.inrv")
        original, returned = read_volume(path), read_volume(decoded)
    comparison = compare_volumes(original, returned, weights=report.summary.get("weights") or None)
    return {
        "file": path.name,
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "chunk_bytes": report.chunk_bytes,
        "active_voxels": original.active_voxel_count,
        "psnr": comparison.mean.psnr,
        "ssim": comparison.mean.ssim,
        "grids": [
            {"name": g.name, "psnr": g.metrics.psnr, "ssim": g.metrics.ssim}
            for g in comparison.grids
            if g.metrics
        ],
        "topology_equal": all(
            a.topology.equal(b.topology) and a.transform == b.transform and a.metadata == b.metadata
            for a, b in zip(original.grids, returned.grids, strict=True)
        ),
        "field": report.summary,
        "encode_seconds": encoded - started,
        "decode_seconds": done - encoded,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    millions = max(row["active_voxels"], 1) / 1e6
    bits = f"{8 * row['bytes_out'] / row['active_voxels']:.2f}" if row["active_voxels"] else "-"
    return [
        row["file"],
        f"{row['bytes_in']:,}",
        f"{row['bytes_out']:,}",
        f"{row['bytes_in'] / row['bytes_out']:.1f}",
        bits,
        decibels(row["psnr"]),
        f"{row['ssim']:.4f}",
        "equal" if row["topology_equal"] else "DIFFERS",
        f"{row['encode_seconds']:.1f}",
        f"{row['decode_seconds']:.2f}",
        f"{row['encode_seconds'] / millions:.0f}",
        f"{millions / row['decode_seconds']:.2f}",
    ]


def markdown(run: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The whole report."""
    found = table([*HEADER, *TIMES], [cells(row) for row in rows])
    return f"# Real volumes\n\n{describe(run)}\n\n{found}"


if __name__ == "__main__":
    main()
