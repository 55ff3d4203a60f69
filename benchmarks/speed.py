"""How fast volumes are encoded and decoded: `python -m benchmarks.speed [FILE.vdb ...]`.

Each file is encoded at 45 dB with the effort `instant`. Medians of --runs runs, of all in turns:
decoding to memory, masks included, by each set of instructions (each in a process of its own, on
all threads and on one); `inrv decode` and `inrv info` from start to end; `inrv.load(path)[0]` and
a box of 32^3 voxels of it in a process that has imported NumPy and inrv; random points; encoding;
and what SZ3 and SPERR (hdf5plugin) take to decode the dense boxes of the same grids at a bound of
1 % of their range, on one thread, as they are. Without files it takes the corpus beside the
project, or the fixtures' fire.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import inrv
from benchmarks.report import CORPUS, ROOT, describe, environment, save, table
from benchmarks.speed_child import BOX, POINTS, seconds
from inrv.core.library import INSTRUCTION_SETS, library

# As after an installation: compiled modules are kept.
INSTALLED = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
NAMES = ("burner.vdb", "smoke.vdb", "fire/fire_0060.vdb", "wdas_cloud_sixteenth.vdb")


def main() -> None:
    """Measure every file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, default=default_files(), metavar="FILE.vdb")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--name", default="speed", help="name of the results (%(default)s)")
    arguments = parser.parse_args()
    run = environment("cpu")
    print(describe(run), flush=True)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in arguments.files:
            found[path.name] = measure(path, Path(folder), arguments.runs)
            print(f"{path.name}: {found[path.name]}", flush=True)
    rows = list(dict.fromkeys(row for columns in found.values() for row in columns))
    cells = [[row, *(number(found[name].get(row)) for name in found)] for row in rows]
    text = f"# Speed\n\n{describe(run)}\n\n{table(['', *found], cells)}"
    save(arguments.name, text, {"environment": run, "found": found})


def default_files() -> list[Path]:
    """Four volumes of the corpus, and the fixtures' fire."""
    files = [CORPUS / name for name in NAMES]
    return [*(path for path in files if path.exists()), ROOT / "fixtures" / "fire.vdb"]


def measure(path: Path, folder: Path, runs: int) -> dict[str, float]:
    """Figures of a file by name."""
    target = folder / f"{path.stem}.inrv"
    options = inrv.EncodeOptions(psnr=45, effort="instant")
    encode = [seconds(lambda: inrv.encode(path, target, options, overwrite=True)) for _ in range(3)]
    volume = inrv.load(target)
    voxels = sum(grid.topology.leaf_voxel_count for grid in volume.grids)
    found = {
        "active voxels, M": voxels / 1e6,
        "bytes": float(target.stat().st_size),
        "encode, instant: M voxels/s": voxels / statistics.median(encode) / 1e6,
    }
    here = library().inrv_instruction_sets()
    names = [name for name, bit in INSTRUCTION_SETS.items() if bit & here][::-1]
    jobs: dict[str, Callable[[], float]] = {}
    for threads in (None, 1):
        for name in names:
            label = f"decode, {name}{', one thread' if threads else ''}: M voxels/s"
            jobs[label] = lambda name=name, threads=threads: (  # type: ignore[misc]
                voxels / child("decode", target, INRV_KERNEL=name, INRV_THREADS=threads) / 1e6
            )
    command = [sys.executable, "-m", "inrv_cli"]
    vdb = str(folder / "out.vdb")
    jobs["inrv decode -o .vdb, process: s"] = lambda: process(
        *command, "decode", str(target), "-o", vdb, "--force", "-q"
    )
    jobs["inrv info, process: s"] = lambda: process(*command, "info", str(target))
    middle = volume[0].coordinates()[volume[0].topology.leaf_voxel_count // 2].tolist()
    jobs[f"cold box of {BOX}^3: ms"] = lambda: 1e3 * child("box", target, *middle)
    jobs["random points, warm: M/s"] = lambda: POINTS / child("points", target) / 1e6
    taken: dict[str, list[float]] = {label: [] for label in jobs}
    for _ in range(runs):
        for label, job in jobs.items():
            taken[label].append(job())
    found |= {label: statistics.median(times) for label, times in taken.items()}
    return found | peers(path, runs)


def child(what: str, target: Path, *arguments: Any, **settings: Any) -> float:
    """Seconds that a process of its own measures."""
    chosen = {name: str(value) for name, value in settings.items() if value is not None}
    command = [sys.executable, "-m", "benchmarks.speed_child", what, str(target)]
    command += map(str, arguments)
    done = subprocess.run(
        command, env=INSTALLED | chosen, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def peers(path: Path, runs: int) -> dict[str, float]:
    """Seconds that others take to decode the dense boxes of a file's grids."""
    try:
        from benchmarks.peers.hdf5 import CODECS, compress
    except ImportError:
        print("h5py and hdf5plugin are not installed: SZ3 and SPERR are left out", flush=True)
        return {}
    boxes = []
    for grid in inrv.files.read(path).grids:
        whole = grid.topology.box
        if whole is not None:
            values = grid.dense(whole)
            boxes += [np.ascontiguousarray(values[..., part]) for part in range(values.shape[-1])]
    found = {}
    for name in ("SZ3", "SPERR"):
        bounds = [max(float(np.ptp(dense)), 1e-9) / 100 for dense in boxes]
        times = [
            sum(
                compress(dense, CODECS[name](bound))[3]
                for dense, bound in zip(boxes, bounds, strict=True)
            )
            for _ in range(min(runs, 3))
        ]
        found[f"{name} decodes in: s"] = statistics.median(times)
    return found


def process(*command: str) -> float:
    """Seconds that a command takes from start to end."""
    return seconds(lambda: subprocess.run(command, env=INSTALLED, capture_output=True, check=True))


def number(value: float | None) -> str:
    """A figure with three digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
