"""Sequences beside a video coder: `python -m benchmarks.sequences_video [FOLDER ...]`.

Each folder holds the .vdb files of a sequence, in the order of their names; without folders it
takes the fire of the corpus beside the project. `python -m benchmarks.slow_smoke FOLDER` makes a
slow one.

Ours is the file of a sequence in effort `instant`, with its topology: every component of every grid
has the PSNR in every frame. SVT-AV1 codes each component as a stream of its own with 10 bits and
one key frame. It codes the dense box that holds the active voxels of all frames, normalised by
their common range, and has no topology, transform or metadata. Its pictures are

- mosaics: a picture a frame, with all slices along an axis side by side
- slices: the slices along an axis at one place in all frames, then those at the next place, with
  time going forth and back, so that the picture before is always a neighbour in time or space

along each axis; the fewest bytes count. PSNR is over the active voxels of each frame, as it is for
ours, and the peak is their range. The coder's frames differ in quality by some dB. Its bytes are
therefore told twice: where the mean over the frames has the PSNR, and where each frame has it.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.corpus import CORPUS
from benchmarks.peers.peer import (
    Array,
    Curve,
    Frame,
    Point,
    from_integers,
    quality,
    to_integers,
)
from benchmarks.peers.video import SVTAV1
from benchmarks.report import describe, environment, save, table
from benchmarks.sequences import TOPOLOGIES, write
from inrv import EncodeOptions
from inrv.files.vdb import read_volume
from inrv.grids import Box, Grid
from inrv.options import DEFAULT_GROUP

BITS = 10


@dataclass(frozen=True)
class Shot:
    """One component of one grid, in all frames.

    name: of the grid and the component
    dense: float32 (T, X, Y, Z) its values in a box that holds all active voxels
    active: bool (T, X, Y, Z)
    frame: what a decoder may know
    """

    name: str
    dense: Array
    active: Array
    frame: Frame


@dataclass(frozen=True)
class Take(Point):
    """What the coder made of a shot.

    least: dB of the worst frame, where `psnr` is the mean over the frames
    """

    least: float


def main() -> None:
    """Measure every sequence, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--frames", type=int, default=8, help="of each, at most (%(default)s)")
    parser.add_argument("--group", type=int, default=DEFAULT_GROUP, help="of ours (%(default)s)")
    parser.add_argument("--psnr", type=float, default=45, metavar="DB", help="(%(default)s)")
    parser.add_argument(
        "--preset", default="1", help="of SVT-AV1: -1 is the slowest, 13 the fastest (%(default)s)"
    )
    parser.add_argument(
        "--name", default="sequences_video", help="of the results (default %(default)s)"
    )
    arguments = parser.parse_args()
    run, coder = environment("cpu"), SVTAV1(arguments.preset)
    print(describe(run), flush=True)
    rows: list[dict[str, Any]] = []
    takes: list[dict[str, Any]] = []
    for folder in arguments.folders or [CORPUS / "fire"]:
        paths = sorted(folder.glob("*.vdb"))[: arguments.frames]
        best, each = [], []
        for shot in shots(paths):
            found = filmed(shot, coder, arguments.psnr)
            best.append(min(found, key=lambda take: float(take["bytes"])))
            each.append(min(take["bytes_of_each"] or math.inf for take in found))
            for take in found:
                what = {"sequence": folder.name, "component": shot.name, "best": take is best[-1]}
                takes.append({**what, **take})
                print(takes[-1], flush=True)
        video = {
            "video_bytes": sum(take["bytes"] for take in best),
            "video_bytes_of_each": sum(each),
            "video_seconds": sum(take["above"]["encode_seconds"] for take in best),
        }
        for topology in TOPOLOGIES:
            options = EncodeOptions(effort="instant", psnr=arguments.psnr, topology=topology)
            own = ours(paths, options, arguments.group)
            frames = {"sequence": folder.name, "frames": len(paths), "psnr": arguments.psnr}
            rows.append({**frames, "topology": topology, **own, **video})
            print(rows[-1], flush=True)
        held = {"environment": run, "coder": coder.version, "preset": coder.preset}
        save(
            arguments.name,
            markdown(run, coder, rows, takes),
            {**held, "rows": rows, "takes": takes},
        )


def shots(paths: Sequence[Path]) -> Iterator[Shot]:
    """Every component that varies, of every grid of the first file, over all files."""
    for position, grid in enumerate(read_volume(paths[0]).grids):
        held = [read_volume(path).grids[position] for path in paths]
        box = common_box(held)
        active = np.zeros((len(held), *box.shape), bool)
        for number, own in enumerate(held):
            places = own.topology.coordinates() - np.array(box.lower)
            active[(number, *places.T)] = True
        for component in range(grid.components):
            dense = np.stack([own.dense(box)[..., component] for own in held])
            if np.ptp(dense):
                name = grid.name + ("" if grid.components == 1 else f".{'xyz'[component]}")
                frame = Frame(box, float(dense.min()), float(np.ptp(dense)))
                yield Shot(name, dense, active, frame)


def common_box(grids: Sequence[Grid]) -> Box:
    """The smallest box that holds the active voxels of all."""
    boxes = [box for grid in grids if (box := grid.topology.box) is not None]
    return functools.reduce(Box.union, boxes)


def mosaic(values: Array, axis: int) -> Array:
    """The slices of each frame side by side, as a picture (T, height, width).

    values: (T, X, Y, Z)
    axis: of the space, that the slices are along
    """
    slices = np.moveaxis(values, 1 + axis, 1)
    frames, count, height, width = slices.shape
    columns = max(1, round(math.sqrt(count * height / width)))
    rows = -(-count // columns)
    slices = np.pad(slices, ((0, 0), (0, rows * columns - count), (0, 0), (0, 0)))
    tiles = slices.reshape(frames, rows, columns, height, width).swapaxes(2, 3)
    return tiles.reshape(frames, rows * height, columns * width)


def film(values: Array, axis: int) -> Array:
    """The slices at each place in all frames, one after the other (N, height, width).

    values: (T, X, Y, Z)
    axis: of the space, that the slices are along
    """
    slices = np.moveaxis(values, 1 + axis, 0).copy()
    slices[1::2] = slices[1::2, ::-1]
    return slices.reshape(-1, *slices.shape[2:])


LAYOUTS: dict[str, Callable[[Array, int], Array]] = {"mosaics": mosaic, "slices": film}


def filmed(shot: Shot, coder: SVTAV1, psnr: float) -> list[dict[str, Any]]:
    """What the coder makes of a shot in every layout that reaches the PSNR.

    `bytes` are those at which the mean over the frames has it, and `bytes_of_each` those at which
    every frame has it; the latter are sought along the best axis of each layout alone.
    """
    found: list[dict[str, Any]] = []
    for layout, arrange in LAYOUTS.items():
        curves = [
            Curve(coder.ladder, functools.partial(measure, shot, coder, arrange, axis))
            for axis in range(3)
        ]
        sizes = [curve.bytes_at_psnr(psnr) for curve in curves]
        for axis, (curve, size) in enumerate(zip(curves, sizes, strict=True)):
            if math.isinf(size):
                continue
            above = [take for take in curve.measured.values() if take.psnr >= psnr]
            nearest = asdict(min(above, key=lambda take: take.psnr))
            each = bytes_of_each(curve, psnr) if size == min(sizes) else None
            place = {"layout": layout, "axis": axis}
            found.append({**place, "bytes": size, "bytes_of_each": each, "above": nearest})
    if not found:
        raise RuntimeError(f"{shot.name}: no quantiser of the coder reaches {psnr:g} dB")
    return found


def bytes_of_each(curve: Curve, psnr: float) -> float | None:
    """The bytes at which the worst frame has the PSNR; None where no quantiser reaches it."""

    def by_worst(take: Point) -> Point:
        assert isinstance(take, Take)
        return replace(take, psnr=take.least)

    worst = Curve(curve.ladder, lambda rung: by_worst(curve.measure(rung)))
    worst.measured = {rung: by_worst(take) for rung, take in curve.measured.items()}
    size = worst.bytes_at_psnr(psnr)
    return None if math.isinf(size) else size


def measure(
    shot: Shot, coder: SVTAV1, arrange: Callable[[Array, int], Array], axis: int, parameter: float
) -> Take:
    """Code a shot, decode it, compare."""
    started = time.perf_counter()
    pictures = arrange(to_integers(shot.dense, shot.frame, BITS), axis)
    data = coder.code(pictures, BITS, parameter)
    coded = time.perf_counter()
    # Numbers that are laid out as the values are tell where each value is; 0 is no value's.
    numbers = arrange(np.arange(1, shot.dense.size + 1).reshape(shot.dense.shape), axis)
    integers = np.empty(shot.dense.size + 1, np.uint16)
    integers[numbers] = coder.pictures(data, pictures.shape)
    decoded = from_integers(integers[1:].reshape(shot.dense.shape), shot.frame, BITS)
    done = time.perf_counter()
    psnrs, largest = zip(*map(_quality, decoded, shot.dense, shot.active), strict=True)
    mean = sum(psnrs) / len(psnrs)
    times = coded - started, done - coded
    return Take(parameter, len(data), mean, max(largest), *times, least=min(psnrs))


def _quality(decoded: Array, values: Array, active: Array) -> tuple[float, float]:
    return quality(decoded[active], values[active])


def ours(paths: Sequence[Path], options: EncodeOptions, group: int) -> dict[str, Any]:
    """The bytes of our sequence, those of its topology among them, and the least and mean PSNR."""
    with TemporaryDirectory() as folder:
        path, started = Path(folder, "sequence.inrv"), time.perf_counter()
        reports = write(path, paths, options, group)
        seconds, size = time.perf_counter() - started, path.stat().st_size
    psnrs = [grid.psnr for report in reports for grid in report.grids]
    return {
        "bytes": size,
        "topology_bytes": sum(report.chunk_bytes.get("TOPO", 0) for report in reports),
        "seconds": seconds,
        "mean_psnr": sum(psnrs) / len(psnrs),
        "least_psnr": min(psnrs),
    }


def markdown(
    run: dict[str, Any], coder: SVTAV1, rows: list[dict[str, Any]], takes: list[dict[str, Any]]
) -> str:
    """Sums of each sequence, then every layout of every component."""
    header = ["sequence", "frames", "topology", "asked dB", "PSNR, mean", "least", "inrv"]
    header += ["its topology", "SVT-AV1, mean", "inrv / it", "SVT-AV1, each", "inrv / it"]
    header += ["inrv s", "SVT-AV1 s"]
    sums = [
        [
            row["sequence"],
            str(row["frames"]),
            row["topology"],
            f"{row['psnr']:g}",
            f"{row['mean_psnr']:.2f}",
            f"{row['least_psnr']:.2f}",
            f"{row['bytes']:,}",
            f"{row['topology_bytes']:,}",
            f"{row['video_bytes']:,.0f}",
            f"{row['bytes'] / row['video_bytes']:.3f}",
            f"{row['video_bytes_of_each']:,.0f}",
            f"{row['bytes'] / row['video_bytes_of_each']:.3f}",
            f"{row['seconds']:.0f}",
            f"{row['video_seconds']:.0f}",
        ]
        for row in rows
    ]
    layouts = [
        [
            take["sequence"],
            take["component"],
            f"{take['layout']}, axis {take['axis']}",
            f"{take['bytes']:,.0f}",
            "" if take["bytes_of_each"] is None else f"{take['bytes_of_each']:,.0f}",
            f"{take['above']['parameter']:g}",
            f"{take['above']['psnr']:.2f}",
            f"{take['above']['least']:.2f}",
            f"{take['above']['encode_seconds']:.0f}",
        ]
        for take in takes
    ]
    return "\n\n".join(
        [
            f"# Sequences beside a video coder\n\n{describe(run)}; {coder.version}, SVT-AV1 preset "
            f"{coder.preset}",
            "Bytes of our whole file, every frame of which has the PSNR, and of the streams of "
            "SVT-AV1 without topology, each component in its best layout: where the mean over the "
            "frames has the PSNR, and where each frame has it. Seconds are those of one run.",
            table(header, sums),
            "Bytes of every layout, and the quantiser just above the PSNR, with its mean PSNR and "
            "that of the worst frame:",
            table(
                ["sequence", "component", "layout", "mean", "each", "CRF", "dB", "least", "s"],
                layouts,
            ),
        ]
    )


if __name__ == "__main__":
    main()
