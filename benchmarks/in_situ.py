"""A solver that writes its frames: `python -m benchmarks.in_situ`; it runs on Linux only.

The solver of `examples/solver.py` runs alone, then with `SequenceWriter`, which encodes while the
solver stands still, then with `BackgroundWriter`. Each run is a process of its own. Of each are
told: the seconds of the whole loop; those for which the solver waited for the writer, the end of
the file included; the peak of resident memory with 8 and with 64 frames; and the voxels that were
encoded a second. Beside these stand the voxels that the core codes in a second of one thread, all
trials of the search counted, as they were timed in the run with `SequenceWriter`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inrv
from examples.solver import RATE, Smoke
from inrv.core.lattice import LatticeChannel

FEW, MANY = 8, 64  # frames
BEFORE = 30  # steps until the smoke has risen
STEPS = 6  # of the solver for each frame
WAYS = ("alone", "SequenceWriter", "BackgroundWriter")


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edge", type=int, default=64, help="voxels (default %(default)s)")
    parser.add_argument("--group", type=int, default=1, help="frames (default %(default)s)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # of a child
    parser.add_argument("--frames", type=int, default=FEW, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way is not None:
        print(json.dumps(run(asked.way, asked)))
        return
    from benchmarks.report import describe, environment, save  # bring torch into the process

    about = environment("cpu")
    print(describe(about), flush=True)
    rows = [{"way": way, **measured(way, asked)} for way in WAYS]
    held = {"environment": about, "edge": asked.edge, "group": asked.group, "rows": rows}
    save("in_situ", f"# In situ\n\n{describe(about)}\n\n{markdown(rows, asked)}", held)


def measured(way: str, asked: argparse.Namespace) -> dict[str, Any]:
    """What a run with MANY frames gives, and the peak of one with FEW."""
    command = [sys.executable, "-m", "benchmarks.in_situ", "--way", way]
    command += ["--edge", str(asked.edge), "--group", str(asked.group)]
    few, many = (
        json.loads(
            subprocess.run(
                [*command, "--frames", str(frames)], check=True, capture_output=True
            ).stdout
        )
        for frames in (FEW, MANY)
    )
    print(way, many, flush=True)
    return {**many, "peak_few": few["peak"]}


def run(way: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Simulate and write the frames in this process."""
    smoke, core = Smoke(asked.edge), Timed()
    for _ in range(BEFORE + STEPS * (MANY - asked.frames)):  # the last frame is always the same
        smoke.step(1 / RATE / STEPS)
    options = inrv.EncodeOptions(effort="instant")
    waited, voxels, started = 0.0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "smoke.inrv")
        more = {"fps": RATE, "group": asked.group}
        writer = None if way == "alone" else getattr(inrv, way)(path, options, **more)
        for _ in range(asked.frames):
            for _ in range(STEPS):
                smoke.step(1 / RATE / STEPS)
            if writer is not None:
                arrays = {"density": smoke.density, "rise": smoke.velocity[..., 2]}
                waited += seconds_of(lambda arrays=arrays: writer.add(None, arrays))
                voxels += sum(int((array != 0).sum()) for array in arrays.values())
        if writer is not None:
            waited += seconds_of(writer.close)
    return {
        "seconds": time.perf_counter() - started,
        "waited": waited,
        "voxels": voxels,
        "peak": peak(),
        "core_voxels_a_second": core.voxels / core.seconds if core.seconds else None,
    }


class Timed:
    """Counts the voxels that the core codes from now on, and the seconds of its threads."""

    def __init__(self) -> None:
        self.voxels, self.seconds, encode = 0, 0.0, LatticeChannel.encode

        def timed(channel: Any, region: Any, targets: Any, *more: Any) -> Any:
            started = time.thread_time()
            found = encode(channel, region, targets, *more)
            self.seconds += time.thread_time() - started
            self.voxels += len(targets)
            return found

        LatticeChannel.encode = timed  # type: ignore[method-assign, assignment]


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call lasts."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak() -> int:
    """Bytes that this process has had in memory at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def markdown(rows: list[dict[str, Any]], asked: argparse.Namespace) -> str:
    """The report."""
    from benchmarks.report import table

    cells = [
        [
            row["way"],
            f"{row['seconds']:.1f}",
            f"{row['waited']:.1f}",
            f"{row['peak_few'] / 1e6:.0f}",
            f"{row['peak'] / 1e6:.0f}",
            f"{row['voxels'] / row['seconds'] / 1e6:.2f}" if row["voxels"] else "",
        ]
        for row in rows
    ]
    header = [
        "the solver",
        "s",
        "s waited",
        f"MB, {FEW} frames",
        f"MB, {MANY} frames",
        "M voxels/s",
    ]
    core = next(row["core_voxels_a_second"] for row in rows if row["way"] == "SequenceWriter")
    return (
        f"{MANY} frames of {asked.edge}^3 voxels, {asked.group} a group, after {STEPS} steps each: "
        "smoke, and how fast the air rises.\n\n"
        f"{table(header, cells)}\nThe core codes {core / 1e6:.2f} M voxels a second in a thread.\n"
    )


if __name__ == "__main__":
    main()
