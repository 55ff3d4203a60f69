"""The same encode alone and beside busy processes: `python -m benchmarks.busy [FILE.vdb]`.

Every round encodes the file with each field, once alone and once beside --busy endless loops,
one after the other, so that whatever else the machine does weighs on both alike. With a fair
share of the cores an encode that uses all cores takes (cores + busy) / cores times as long.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import ROOT, describe, environment, save, table

HEADER = ["field", "alone s", "beside busy ones s", "ratio", "ratios of the rounds", "fair share"]
LOOP = "while True: pass"
FIELDS = {"lattice": [], "fourier": ["--epochs", "30"]}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", nargs="?", type=Path, default=ROOT / "fixtures" / "fire.vdb", metavar="FILE.vdb"
    )
    parser.add_argument(
        "--busy", type=int, default=2, help="endless loops beside the encode (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    run = environment("cpu") | {
        "file": arguments.file.name,
        "busy": arguments.busy,
        "load": os.getloadavg()[0],
    }
    print(describe(run), flush=True)
    cores = os.cpu_count() or 1
    rows, seconds = [], dict[str, list[tuple[float, float]]]()
    for field, options in FIELDS.items():
        seconds[field] = [
            both(arguments.file, options, arguments.busy) for _ in range(arguments.rounds)
        ]
        rows.append([field, *figures(seconds[field]), f"{(cores + arguments.busy) / cores:.2f}"])
    title = f"# Encoding beside {arguments.busy} busy processes, {run['file']}"
    load = f"load of the machine before: {run['load']:.1f}"
    save(
        "busy",
        f"{title}\n\n{describe(run)}; {load}\n\n{table(HEADER, rows)}",
        {"environment": run, "seconds": seconds},
    )


def both(file: Path, options: list[str], busy: int) -> tuple[float, float]:
    """Seconds of an encode alone, and of one beside busy processes."""
    alone = encode(file, options)
    with loops(busy):
        return alone, encode(file, options)


def figures(seconds: list[tuple[float, float]]) -> list[str]:
    """Medians of both, their ratio, and the ratio of each round."""
    alone, beside = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratios = ", ".join(f"{two / one:.2f}" for one, two in seconds)
    return [f"{alone:.1f}", f"{beside:.1f}", f"{beside / alone:.2f}", ratios]


def encode(file: Path, options: list[str]) -> float:
    """Seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "inrv_cli",
            "encode",
            str(file),
            "-o",
            f"{folder}/out.inrv",
            "--quiet",
            *options,
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        return time.perf_counter() - started


@contextmanager
def loops(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    running = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
