"""Sequences against single files, and what each way of prediction gives.

`python -m benchmarks.sequences [FOLDER ...]`. Each folder holds the .vdb files of a sequence, whose
numbers are the last in their names; without folders it takes the fire of the corpus beside the
project. `python -m benchmarks.slow_smoke FOLDER` makes a slow one. At every quality all frames are
encoded as one sequence, and each as a file of its own, in effort `instant`; a frame of the sequence
reaches the quality as its single file does. Then, at 45 dB:

- the same with prediction held back: from nothing but the frame itself; from other frames as they
  stand; along motion, from the frame before alone; from both sides too, as the encoder chooses
- the time to a frame that is drawn at random, from a file that is opened anew, and the frames a
  second that are decoded in order
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import inrv
from benchmarks.corpus import CORPUS
from benchmarks.report import describe, environment, save, table
from inrv import EncodeOptions
from inrv.fields.lattice import channels, encode
from inrv.fields.lattice.motion import Motion
from inrv.options import GROUPS

QUALITIES = (40.0, 45.0, 50.0)
TOPOLOGIES = ("exact", "threshold")
DRAWN = 12  # frames that are opened at random
NUMBER = re.compile(r"(\d+)\D*$")


def main() -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--frames", type=int, default=None, help="of each, at most (default: all)")
    parser.add_argument("--group", type=int, default=GROUPS["lattice"], help="default %(default)s")
    parser.add_argument("--psnr", type=float, nargs="+", default=list(QUALITIES), metavar="DB")
    parser.add_argument("--name", default="sequences", help="of the results (default %(default)s)")
    arguments = parser.parse_args()
    run = environment("cpu")
    print(describe(run), flush=True)
    rows, tools, times = [], [], []
    for folder in arguments.folders or [CORPUS / "fire"]:
        paths = sorted(folder.glob("*.vdb"))[: arguments.frames]
        for topology in TOPOLOGIES:
            for psnr in arguments.psnr:
                options = EncodeOptions(effort="instant", psnr=psnr, topology=topology)
                rows.append({"sequence": folder.name, **compared(paths, options, arguments.group)})
                print(rows[-1], flush=True)
        options = EncodeOptions(effort="instant", psnr=45)
        for name, held_back in TOOLS.items():
            with held_back():
                found = sequence_of(paths, options, arguments.group)
            tools.append({"sequence": folder.name, "tool": name, **found})
            print(tools[-1], flush=True)
        times.append({"sequence": folder.name, **timed(paths, options, arguments.group)})
        print(times[-1], flush=True)
    held = {"environment": run, "rows": rows, "tools": tools, "times": times}
    save(arguments.name, markdown(run, rows, tools, times), held)


def write(
    path: Path, paths: Sequence[Path], options: EncodeOptions, group: int
) -> list[inrv.EncodeReport]:
    """Encode files as a sequence. Returns the report of each group."""
    reports: list[inrv.EncodeReport] = []
    with inrv.SequenceWriter(
        path,
        options,
        fps=24,
        group=group,
        overwrite=True,
        report=lambda _, report: reports.append(report),
    ) as writer:
        for source in paths:
            found = NUMBER.search(source.stem)
            writer.add(None, source, number=None if found is None else int(found[1]))
    return reports


def sequence_of(paths: Sequence[Path], options: EncodeOptions, group: int) -> dict[str, Any]:
    """What a sequence takes, and the least and the largest PSNR of a grid in any frame."""
    with tempfile.TemporaryDirectory() as folder:
        path, started = Path(folder, "sequence.inrv"), time.perf_counter()
        reports = write(path, paths, options, group)
        seconds, size = time.perf_counter() - started, path.stat().st_size
    psnrs = [grid.psnr for report in reports for grid in report.grids]
    return {"bytes": size, "seconds": seconds, "least": min(psnrs), "largest": max(psnrs)}


def compared(paths: Sequence[Path], options: EncodeOptions, group: int) -> dict[str, Any]:
    """A sequence beside its single files."""
    alone, started = 0, time.perf_counter()
    for path in paths:
        alone += len(inrv.encode_bytes(path, options)[0])
    seconds = time.perf_counter() - started
    found = sequence_of(paths, options, group)
    return {
        "topology": options.topology,
        "psnr": options.psnr,
        "frames": len(paths),
        "single_bytes": alone,
        "sequence_bytes": found["bytes"],
        "single_seconds": seconds,
        "sequence_seconds": found["seconds"],
        "least_psnr": found["least"],
        "largest_psnr": found["largest"],
    }


@contextmanager
def from_nothing() -> Iterator[None]:
    """Let frames be predicted from themselves alone."""
    usual = channels.predictions_of

    def alone(held: Sequence[channels.Channel], number: int, motion_of: Any) -> Any:
        own = held[number]
        first = next(place for place, other in enumerate(held) if other.frame == own.frame)
        found = usual(held[first : number + 1], number - first, motion_of)
        return [
            tuple(channels.Source(source.channel + first, source.motion) for source in prediction)
            for prediction in found
        ]

    with patch.object(encode, "predictions_of", alone), in_order():
        yield


@contextmanager
def in_order() -> Iterator[None]:
    """Let frames be coded in the order of time, and so from one side."""
    with patch.object(encode, "coding_order", lambda frames: list(range(len(frames)))):
        yield


@contextmanager
def still() -> Iterator[None]:
    """Let frames be fetched as they stand."""

    def none(grid: int, own: Any, other: Any) -> Motion:
        vectors = np.zeros((own.topology.leaf_count, 3), dtype=np.int8)
        return Motion(grid, own.topology, vectors, 0)

    with patch.object(encode, "find_motion", none):
        yield


@contextmanager
def still_in_order() -> Iterator[None]:
    """Both."""
    with ExitStack() as stack:
        stack.enter_context(still())
        stack.enter_context(in_order())
        yield


@contextmanager
def as_chosen() -> Iterator[None]:
    """Hold nothing back."""
    yield


TOOLS: dict[str, Callable[[], Any]] = {
    "the frame itself": from_nothing,
    "the frame before, as it stands": still_in_order,
    "the frame before, along motion": in_order,
    "as the encoder chooses": as_chosen,
}


def timed(paths: Sequence[Path], options: EncodeOptions, group: int) -> dict[str, Any]:
    """How long frames take, at random and in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sequence.inrv")
        write(path, paths, options, group)
        numbers = list(inrv.load(path).frames)
        drawn = random.Random(1).choices(numbers, k=DRAWN)
        seconds = [_seconds(lambda number=number: _decode(path, number)) for number in drawn]
        frames = inrv.load(path).frames
        whole = _seconds(lambda: [frames[number].to_sparse() for number in numbers])
        voxels = sum(frames[number].to_sparse().active_voxel_count for number in numbers)
    return {
        "random_median_seconds": statistics.median(seconds),
        "random_largest_seconds": max(seconds),
        "in_order_frames_a_second": len(numbers) / whole,
        "in_order_voxels_a_second": voxels / whole,
    }


def _decode(path: Path, number: float) -> None:
    inrv.load(path, frame=number).to_sparse()


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def markdown(
    run: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    times: Sequence[dict[str, Any]],
) -> str:
    """The whole report."""
    sizes = table(
        [
            "sequence",
            "topology",
            "dB",
            "frames",
            "single files",
            "sequence",
            "ratio",
            "PSNR",
            "s",
            "s",
        ],
        [
            [
                row["sequence"],
                row["topology"],
                f"{row['psnr']:g}",
                str(row["frames"]),
                f"{row['single_bytes']:,}",
                f"{row['sequence_bytes']:,}",
                f"{row['sequence_bytes'] / row['single_bytes']:.3f}",
                f"{row['least_psnr']:.2f} to {row['largest_psnr']:.2f}",
                f"{row['single_seconds']:.0f}",
                f"{row['sequence_seconds']:.0f}",
            ]
            for row in rows
        ],
    )
    ways = table(
        ["sequence", "predicted from", "bytes", "s"],
        [
            [row["sequence"], row["tool"], f"{row['bytes']:,}", f"{row['seconds']:.0f}"]
            for row in tools
        ],
    )
    speeds = table(
        ["sequence", "random frame, median s", "largest s", "frames/s in order", "M voxels/s"],
        [
            [
                row["sequence"],
                f"{row['random_median_seconds']:.2f}",
                f"{row['random_largest_seconds']:.2f}",
                f"{row['in_order_frames_a_second']:.1f}",
                f"{row['in_order_voxels_a_second'] / 1e6:.1f}",
            ]
            for row in times
        ],
    )
    return f"# Sequences\n\n{describe(run)}\n\n{sizes}\n\n{ways}\n\n{speeds}"


if __name__ == "__main__":
    main()
