"""What each effort of the lattice gives in bytes and takes in seconds.

`python -m benchmarks.efforts [FILE.vdb ...]`. Without files it takes the corpus of third-party
volumes beside the project, or the fixtures where there is no corpus. Every file is encoded at
45 dB, once with each effort, in this process: the seconds are from reading the file to writing the
other one, without the start of Python. Bytes are of the whole .inrv file, those of the other
efforts in per cent of those of the first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import inrv
from benchmarks.corpus import default_files
from benchmarks.report import describe, environment, save, table

EFFORTS = ("instant", "default", "thorough")


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    parser.add_argument(
        "--effort", nargs="+", default=list(EFFORTS), choices=EFFORTS, metavar="NAME"
    )
    arguments = parser.parse_args()
    run = environment("cpu")
    print(describe(run), flush=True)
    rows = list[dict[str, Any]]()
    for path in arguments.files or default_files():
        rows.append({"file": path.name, **{name: measure(path, name) for name in arguments.effort}})
        print(rows[-1], flush=True)
    save("efforts", markdown(run, rows, arguments.effort), {"environment": run, "rows": rows})


def measure(path: Path, effort: str) -> dict[str, float]:
    """Encode one file, from disk to disk."""
    options = inrv.EncodeOptions(device="cpu", field="lattice", effort=effort, psnr=45)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        report = inrv.encode(path, Path(folder, "coded.inrv"), options)
        return {"bytes": report.bytes_out, "seconds": time.perf_counter() - started}


def markdown(run: dict[str, Any], rows: list[dict[str, Any]], efforts: list[str]) -> str:
    """The whole report."""
    header = ["file", *(f"{name}: {what}" for name in efforts for what in ("bytes", "s"))]
    found = table(header, [cells(row, efforts) for row in rows])
    return f"# Efforts\n\n{describe(run)}\n\n{found}"


def cells(row: dict[str, Any], efforts: list[str]) -> list[str]:
    """A row of the table."""
    first, *others = efforts
    found = [row["file"], f"{row[first]['bytes']:,}", f"{row[first]['seconds']:.1f}"]
    for name in others:
        share = 100 * row[name]["bytes"] / row[first]["bytes"]
        found += [f"{share:.1f} %", f"{row[name]['seconds']:.1f}"]
    return found


if __name__ == "__main__":
    main()
