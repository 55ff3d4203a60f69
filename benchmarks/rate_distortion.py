"""Bytes over quality, ours against other codecs: `python -m benchmarks.rate_distortion [FILE.vdb
...]`.

Every component that is not constant, of every grid, is coded alone, and all bytes of its .inrv
file count: at each PSNR of --psnr, with exact topology and with a threshold, and at each bound
of --errors. SZ3, SPERR and ZFP (hdf5plugin) code its dense active box, without topology,
transform or metadata. NanoVDB, where nanovdb_convert is installed, codes the grid with its
topology, at 4, 8 or 16 bits, or as many as an error needs, then zip. PSNR is over that box,
where the peak is its range of values, and errors are shares of that range. Where ours lies above
the PSNR that was asked for, the others' bytes are taken at ours. Without files it takes the
corpus beside the project, or the fixtures. It needs pip install 'inrv[benchmarks]'.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import inrv
from benchmarks import nanovdb_tool
from benchmarks.dense_codecs import CODECS, Curves, Point, bytes_at_error, bytes_at_psnr, quality
from benchmarks.report import CORPUS, RESULTS, ROOT, describe, environment, save, table
from inrv.files.vdb import read_volume
from inrv.grids import Grid, LeafValues, SparseVolume

PEERS = (*CODECS, nanovdb_tool.NAME)
HEADER = [
    "grid",
    "topology",
    "asked",
    "PSNR dB",
    "largest error",
    "inrv",
    *PEERS,
    "inrv / best",
    "encode s",
    "decode s",
]


def main() -> None:
    """Measure every component of every file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.vdb")
    parser.add_argument("--psnr", type=float, nargs="*", default=[30, 35, 40, 45, 50, 60])
    parser.add_argument("--errors", nargs="*", default=["1%", "0.1%"])
    parser.add_argument(
        "--topology", nargs="+", default=["threshold", "exact"], choices=("threshold", "exact")
    )
    parser.add_argument("--effort", default="default")
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir(), "inrv-peers.json"),
        help="(%(default)s)",
    )
    parser.add_argument(
        "--name", default="rate_distortion", help="name of the results (%(default)s)"
    )
    parser.add_argument(
        "--peers-only", action="store_true", help="measure the other codecs alone, into the cache"
    )
    arguments = parser.parse_args()
    run = environment(arguments.device)
    print(describe(run), flush=True)
    if not nanovdb_tool.installed():
        print(f"{nanovdb_tool.TOOL} is not installed: {nanovdb_tool.NAME} is left out", flush=True)
    curves, rows = Curves(arguments.cache), []
    for path in arguments.files or default_files():
        for name, grid in components(path):
            box = grid.topology.box
            assert box is not None
            dense = np.ascontiguousarray(grid.dense(box)[..., 0])
            peers = curves.of(name, dense)
            if nanovdb_tool.installed():
                measured = partial(nanovdb_tool.points, grid, box, dense)
                peers[nanovdb_tool.NAME] = curves.other(name, nanovdb_tool.NAME, measured)
            for options in () if arguments.peers_only else wanted(arguments):
                rows.append(measure(name, grid, dense, options, peers))
                print(table(HEADER, [cells(rows[-1])]).splitlines()[2], flush=True)
            if rows:  # after every grid: a run takes an hour
                save(
                    arguments.name,
                    markdown(run, rows, arguments.effort),
                    {"environment": run, "rows": rows},
                )
                draw(rows, RESULTS / f"{arguments.name}.svg", curves)


def default_files() -> list[Path]:
    """The corpus and one frame of its fire, or the fixtures that hold voxels."""
    files = [*sorted(CORPUS.glob("*.vdb")), *CORPUS.glob("fire/fire_0060.vdb")]
    return files or [
        path for path in sorted((ROOT / "fixtures").glob("*.vdb")) if path.name != "empty.vdb"
    ]


def components(path: Path) -> Iterator[tuple[str, Grid]]:
    """Every component that varies, as a float grid, and its name."""
    for grid in read_volume(path).grids:
        for component in range(grid.components):
            column = slice(component, component + 1)
            values = np.ascontiguousarray(grid.values[:, column])
            if not len(values) or bool((values == values[0]).all()):
                continue
            name = f"{path.name} {grid.name}" + (
                "" if grid.components == 1 else f".{'xyz'[component]}"
            )
            yield (
                name,
                replace(
                    grid,
                    value_type="float",
                    vector_type="invariant",
                    background=grid.background[column],
                    values=values,
                    tile_values=grid.tile_values[:, column],
                    inactive=LeafValues(grid.inactive.places, grid.inactive.values[:, column]),
                ),
            )


def wanted(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Options of every run on a grid."""
    targets = [
        {"psnr": psnr, "topology": topology}
        for topology in arguments.topology
        for psnr in arguments.psnr
    ]
    targets += [{"max_error": error, "topology": "exact"} for error in arguments.errors]
    return [
        {**target, "effort": arguments.effort, "device": arguments.device} for target in targets
    ]


def measure(
    name: str, grid: Grid, dense: np.ndarray, options: dict[str, Any], peers: dict[str, list[Point]]
) -> dict[str, Any]:
    """Code a grid so that its box has the PSNR, or no larger error, and compare."""
    span, box = float(np.ptp(dense)), grid.topology.box
    asked = dict(options)
    if "psnr" in options:
        asked["psnr"] = max(1.0, options["psnr"] - gain_of_box(grid, dense))
    else:
        asked["max_error"] = float(options["max_error"].removesuffix("%")) / 100 * span
    started = time.perf_counter()
    data, report = inrv.encode_bytes(
        SparseVolume((grid,)), inrv.EncodeOptions(field="lattice", **asked)
    )
    encoded = time.perf_counter()
    decoded = inrv.load(data, options["device"])[0].to_grid()
    seconds = time.perf_counter() - encoded
    psnr, largest = quality(decoded.dense(box)[..., 0], dense)
    bound = None if "psnr" in options else asked["max_error"] / span
    sizes = {
        codec: bytes_at_psnr(curve, psnr) if bound is None else bytes_at_error(curve, bound)
        for codec, curve in peers.items()
    }
    return {
        "grid": name,
        "topology": options["topology"],
        "asked": options.get("max_error") or f"{options['psnr']:g} dB",
        "active": grid.topology.active_voxel_count,
        "psnr": psnr,
        "largest": largest,
        "bytes": len(data),
        "chunk_bytes": report.chunk_bytes,
        "peers": {
            codec: None if math.isinf(size) else round(size) for codec, size in sizes.items()
        },
        "over_best": len(data) / min(sizes.values()),
        "encode_seconds": encoded - started,
        "decode_seconds": seconds,
    }


def gain_of_box(grid: Grid, dense: np.ndarray) -> float:
    """Return the dB by which a PSNR over the box exceeds one over the active leaf voxels.

    The peak of the latter is the range of these voxels.
    """
    own = float(grid.values.max() - grid.values.min())
    return 10 * math.log10(dense.size / len(grid.values)) + 20 * math.log10(
        float(np.ptp(dense)) / own
    )


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    sizes = ["-" if row["peers"].get(peer) is None else f"{row['peers'][peer]:,}" for peer in PEERS]
    quality = [f"{row['psnr']:.2f}", f"{row['largest']:.2%}"]
    times = [f"{row['encode_seconds']:.1f}", f"{row['decode_seconds']:.2f}"]
    return [
        row["grid"],
        row["topology"],
        row["asked"],
        *quality,
        f"{row['bytes']:,}",
        *sizes,
        f"{row['over_best']:.2f}",
        *times,
    ]


def markdown(run: dict[str, Any], rows: list[dict[str, Any]], effort: str) -> str:
    """Summary, then every row."""
    summary = []
    for topology, asked in dict.fromkeys((row["topology"], row["asked"]) for row in rows):
        ratios = {
            row["grid"]: row["over_best"]
            for row in rows
            if (row["topology"], row["asked"]) == (topology, asked)
        }
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        worse = [f"{grid} {ratio:.2f}" for grid, ratio in ratios.items() if ratio > 1]
        summary.append(
            [
                topology,
                asked,
                str(len(ratios)),
                f"{mean:.3f}",
                f"{max(ratios.values()):.2f}",
                ", ".join(worse) or "none",
            ]
        )
    first = table(
        ["topology", "asked", "grids", "geometric mean", "worst", "larger than the best peer"],
        summary,
    )
    second = table(HEADER, [cells(row) for row in rows])
    title = f"# Bytes over quality, effort {effort}\n\n{describe(run)}"
    what = "Bytes of the whole .inrv file over those of the best peer:"
    return f"{title}\n\n{what}\n\n{first}\n\n{second}"


def draw(rows: list[dict[str, Any]], path: Path, curves: Curves) -> None:
    """Bytes over PSNR, a panel a grid."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["grid"] for row in rows))
    columns = min(4, len(names))
    figure, axes = pyplot.subplots(
        -(-len(names) // columns),
        columns,
        figsize=(4 * columns, 3 * -(-len(names) // columns)),
        squeeze=False,
    )
    for panel, name in zip(axes.flat, names, strict=False):
        for peer in PEERS:
            kept = sorted(curves.kept.get(f"{name} {peer}", []), key=lambda entry: entry["psnr"])
            points = [entry for entry in kept if 25 < entry["psnr"] < 70]
            panel.plot(
                [entry["psnr"] for entry in points],
                [entry["bytes"] for entry in points],
                lw=1,
                label=peer,
            )
        for topology in ("threshold", "exact"):
            own = [
                row
                for row in rows
                if row["grid"] == name
                and row["topology"] == topology
                and row["asked"].endswith("dB")
            ]
            panel.plot(
                [row["psnr"] for row in own],
                [row["bytes"] for row in own],
                "o-",
                ms=3,
                label=f"inrv, {topology}",
            )
        panel.set_yscale("log")
        panel.set_title(name, fontsize=8)
    for panel in axes.flat[len(names) :]:
        panel.axis("off")
    axes.flat[0].legend(fontsize=6)
    figure.supxlabel("PSNR over the box, dB")
    figure.supylabel("bytes")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
