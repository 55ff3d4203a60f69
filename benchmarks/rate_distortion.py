"""Bytes over quality, ours against other codecs: `python -m benchmarks.rate_distortion [PATH ...]`.

PATH is a .vdb file, or a folder of raw volumes (see `raw_volumes`). Without one it takes the corpus
beside the project, or the fixtures.

Every component that is not constant, of every grid, is coded alone, and all bytes of its .inrv
file count: at each PSNR of --psnr, with exact topology and with a threshold, at each bound of
--errors, and with each of --effort. NanoVDB codes the grid with its topology. The others code the
dense active box, without topology, transform or metadata, and their decoders are told its shape and
the range of its values. Each runs in all its settings, and the best one counts. PSNR is over that
box, where the peak is its range of values, and errors are shares of that range. Where ours lies
above the PSNR that was asked for, the others' bytes are taken at ours.

All results go to a file a grid in --kept as soon as they are there. A run that is broken off goes
on where it stopped, and one with other settings measures what is new alone. Codecs that are not
installed are reported and left out: pip install 'inrv[benchmarks]' has all but NanoVDB.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import inrv
from benchmarks import peers, raw_volumes
from benchmarks.peers.peer import Frame, Peer, Sample, quality
from benchmarks.peers.race import Kept, Race, Winner
from benchmarks.report import CORPUS, RESULTS, ROOT, describe, environment, save, table
from inrv.files.vdb import read_volume
from inrv.grids import Grid, LeafValues, SparseVolume, sparse_grid

MESHES = ("affine_fog", "icosahedron", "pig", "rainbow")  # files of the corpus that meshes made
GROUPS = (
    "level sets and fogs of meshes",
    "velocities",
    "gas, fire and clouds",
    "raw volumes",
)


def main() -> None:
    """Measure every component of every file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    parser.add_argument("--psnr", type=float, nargs="*", default=[30, 35, 40, 45, 50])
    parser.add_argument("--errors", nargs="*", default=["1%", "0.1%"])
    parser.add_argument(
        "--topology", nargs="+", default=["threshold", "exact"], choices=("threshold", "exact")
    )
    parser.add_argument("--effort", nargs="+", default=["instant", "default"])
    parser.add_argument("--grid", help="take only components whose name holds this text")
    parser.add_argument(
        "--peers", nargs="*", default=list(peers.NAMES), choices=peers.NAMES, metavar="NAME"
    )
    parser.add_argument(
        "--av1-preset", default="1", help="-1 is the slowest, 13 the fastest (%(default)s)"
    )
    parser.add_argument("--x265-preset", default="veryslow", help="(%(default)s)")
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument(
        "--kept",
        type=Path,
        default=Path(tempfile.gettempdir(), "inrv-race"),
        help="folder of the results of each grid (%(default)s)",
    )
    parser.add_argument(
        "--name", default="rate_distortion", help="name of the results (%(default)s)"
    )
    parser.add_argument(
        "--peers-only", action="store_true", help="measure the other codecs alone, into --kept"
    )
    parser.add_argument(
        "--kept-only",
        action="store_true",
        help="take the other codecs' results from --kept, and measure none anew",
    )
    arguments = parser.parse_args()
    run = environment(arguments.device)
    print(describe(run), flush=True)
    presets = {"SVT-AV1": arguments.av1_preset, "x265": arguments.x265_preset}
    others, lines = peers.load(arguments.peers, presets)
    print("\n".join(lines), flush=True)
    rows: list[dict[str, Any]] = []
    for sample in samples(arguments.paths or default_files()):
        if arguments.grid is not None and arguments.grid not in sample.name:
            continue
        kept = Kept(arguments.kept, sample.name, sample.dense)
        race = Race(sample, others, kept, measures=not arguments.kept_only)
        if arguments.peers_only:
            warm(race, arguments.psnr, [share(error) for error in arguments.errors])
            continue
        for options in wanted(arguments):
            rows.append(compared(race, own(sample, kept, options)))
            print(line(rows[-1]), flush=True)
        # After every grid, as a run takes hours.
        save(arguments.name, markdown(run, rows, others), {"environment": run, "rows": rows})
        draw(rows, others, RESULTS / f"{arguments.name}.svg")


def default_files() -> list[Path]:
    """The corpus and one frame of its fire, or the fixtures that hold voxels."""
    files = [*sorted(CORPUS.glob("*.vdb")), *CORPUS.glob("fire/fire_0060.vdb")]
    return files or [
        path for path in sorted((ROOT / "fixtures").glob("*.vdb")) if path.name != "empty.vdb"
    ]


def samples(paths: Sequence[Path]) -> Iterator[Sample]:
    """Every component of the .vdb files, and every volume of the folders, that varies."""
    for path in paths:
        if path.is_dir():
            yield from raw_samples(path)
            continue
        for grid in read_volume(path).grids:
            for component in range(grid.components):
                column = slice(component, component + 1)
                values = np.ascontiguousarray(grid.values[:, column])
                if not len(values) or bool((values == values[0]).all()):
                    continue
                name = f"{path.name} {grid.name}" + (
                    "" if grid.components == 1 else f".{'xyz'[component]}"
                )
                single = replace(
                    grid,
                    value_type="float",
                    vector_type="invariant",
                    background=grid.background[column],
                    values=values,
                    tile_values=grid.tile_values[:, column],
                    inactive=LeafValues(grid.inactive.places, grid.inactive.values[:, column]),
                )
                yield sample_of(name, group_of(path, grid), single)


def raw_samples(folder: Path) -> Iterator[Sample]:
    """Every raw volume of a folder that varies, all voxels active; a line on each other file."""
    for path in raw_volumes.find(folder):
        try:
            volume, how = raw_volumes.read(path, folder)
        except ValueError as error:
            print(f"left out: {error}", flush=True)
            continue
        values = np.ascontiguousarray(volume, np.float32)
        if not bool(np.isfinite(values).all()) or not np.ptp(values):
            print(f"left out: {path} is constant, or not finite as float32", flush=True)
            continue
        print(how, flush=True)
        name = f"{folder.name} {path.relative_to(folder)}"
        grid = sparse_grid(values, path.name, active=np.ones(values.shape, bool))
        yield sample_of(name, "velocities" if "veloc" in name.lower() else "raw volumes", grid)


def group_of(path: Path, grid: Grid) -> str:
    """The group of a grid of a .vdb file, one of GROUPS."""
    if grid.grid_class == "level set" or path.name.startswith(MESHES):
        return GROUPS[0]
    return GROUPS[1] if grid.components > 1 or "vel" in grid.name.lower() else GROUPS[2]


def sample_of(name: str, group: str, grid: Grid) -> Sample:
    """A grid with its dense active box."""
    box = grid.topology.box
    assert box is not None
    dense = np.ascontiguousarray(grid.dense(box)[..., 0])
    return Sample(name, group, grid, dense, Frame(box, float(dense.min()), float(np.ptp(dense))))


def share(error: str) -> float:
    """A bound as a share of the range."""
    return float(error.removesuffix("%")) / 100


def warm(race: Race, psnrs: Sequence[float], errors: Sequence[float]) -> None:
    """Measure the other codecs at what was asked for, and say who is best."""
    for peer in race.peers:
        found = {f"{psnr:g} dB": race.at_psnr(peer, psnr) for psnr in psnrs}
        found |= {f"{error:g}": race.at_error(peer, error) for error in errors}
        for asked, winner in found.items():
            if winner is not None:
                size = f"{winner.bytes:,.0f} bytes"
                print(
                    f"{race.sample.name}, {asked}: {peer.name}, {winner.setting}, {size}",
                    flush=True,
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
        {**target, "effort": effort, "device": arguments.device}
        for effort in arguments.effort
        for target in targets
    ]


def own(sample: Sample, kept: Kept, options: dict[str, Any]) -> dict[str, Any]:
    """Our figures, measured where this codec has not yet measured them with these options."""
    asked = options.get("max_error") or f"{options['psnr']:g} dB"
    key = f"{build()}, {options['effort']}, {options['topology']}, {asked}"
    if key not in kept.data["own"]:
        kept.data["own"][key] = {
            "grid": sample.name,
            "group": sample.group,
            "effort": options["effort"],
            "topology": options["topology"],
            "asked": asked,
            "error": share(asked) if "max_error" in options else None,
            **measure(sample, options),
        }
        kept.save()
    return dict(kept.data["own"][key])


def build() -> str:
    """What tells this codec from another: a digest of its code, its core and its networks."""
    digest = hashlib.sha256()
    folder = Path(inrv.__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".so", ".bin", ".safetensors"):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def measure(sample: Sample, options: dict[str, Any]) -> dict[str, Any]:
    """Code a grid so that its box has the PSNR, or no larger error."""
    asked = dict(options)
    if "psnr" in options:
        asked["psnr"] = max(1.0, options["psnr"] - gain_of_box(sample.grid, sample.dense))
    else:
        asked["max_error"] = share(options["max_error"]) * sample.frame.span
    started = time.perf_counter()
    data, report = inrv.encode_bytes(
        SparseVolume((sample.grid,)), inrv.EncodeOptions(field="lattice", **asked)
    )
    encoded = time.perf_counter()
    decoded = inrv.load(data, options["device"])[0].to_grid()
    seconds = time.perf_counter() - encoded
    psnr, largest = quality(decoded.dense(sample.frame.box)[..., 0], sample.dense)
    return {
        "active": sample.grid.topology.active_voxel_count,
        "psnr": psnr,
        "largest": largest,
        "bytes": len(data),
        "chunk_bytes": report.chunk_bytes,
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


def compared(race: Race, row: dict[str, Any]) -> dict[str, Any]:
    """A row of ours with the best setting of every other codec at the same quality.

    `over_old` and `over_best` divide our bytes by the least of the first four codecs, and by the
    least of all whose bytes are no estimate.
    """
    found: dict[str, Winner | None] = {
        peer.name: race.at_psnr(peer, row["psnr"])
        if row["error"] is None
        else race.at_error(peer, row["error"])
        for peer in race.peers
    }
    row["peers"] = {
        name: None if winner is None else {"bytes": round(winner.bytes), "setting": winner.setting}
        for name, winner in found.items()
    }
    rivals = {
        "old": [peer.name for peer in race.peers if peer.old],
        "best": [peer.name for peer in race.peers if not peer.estimate],
        "estimate": [peer.name for peer in race.peers if peer.estimate],
    }
    for what, names in rivals.items():
        entrants = [(winner.bytes, name) for name in names if (winner := found[name]) is not None]
        size, name = min(entrants, default=(math.inf, ""))
        row[f"over_{what}"] = None if math.isinf(size) else row["bytes"] / size
        row[f"name_{what}"] = name
    return row


def line(row: dict[str, Any]) -> str:
    """What a run says of a row while it goes on."""
    won = row["peers"].get(row["name_best"])
    rival = "no other codec" if won is None else f"{row['name_best']} ({won['setting']})"
    size = "" if won is None else f" {won['bytes']:,}, ratio {row['over_best']:.3f}"
    return (
        f"{row['grid']}, {row['effort']}, {row['topology']}, {row['asked']}: "
        f"{row['psnr']:.2f} dB, {row['bytes']:,} bytes; {rival}{size}"
    )


def cells(row: dict[str, Any], others: Sequence[Peer]) -> list[str]:
    """A row of the table."""
    sizes = [row["peers"][peer.name] for peer in others]
    won = row["peers"].get(row["name_best"])
    return [
        row["grid"],
        row["effort"],
        row["topology"],
        row["asked"],
        f"{row['psnr']:.2f}",
        f"{row['largest']:.2%}",
        f"{row['bytes']:,}",
        *("-" if size is None else f"{size['bytes']:,}" for size in sizes),
        ratio(row["over_old"]),
        ratio(row["over_best"]),
        "-" if won is None else f"{row['name_best']}: {won['setting']}",
        f"{row['encode_seconds']:.1f}",
        f"{row['decode_seconds']:.2f}",
    ]


def ratio(value: float | None) -> str:
    """A ratio for a table; there is none where no codec reaches the quality."""
    return "-" if value is None else f"{value:.2f}"


def markdown(run: dict[str, Any], rows: list[dict[str, Any]], others: Sequence[Peer]) -> str:
    """Summary, then every row, then the settings that won."""
    header = ["grid", "effort", "topology", "asked", "PSNR dB", "largest error", "inrv"]
    header += [peer.name for peer in others]
    header += ["inrv / best old", "inrv / best", "best", "encode s", "decode s"]
    versions = ", ".join(dict.fromkeys(peer.version for peer in others if peer.package))
    names = ", ".join(peer.name for peer in others if peer.old)
    parts = [
        f"# Bytes over quality\n\n{describe(run)}; {versions}",
        "Bytes of the whole .inrv file over those of the best peer: the geometric mean, and the "
        f"grid that is worst for us. The old peers are {names}. Bounds are compared with peers "
        "that keep them. An estimate is the ideal length of a codec that nobody has written, and "
        "it counts in its own column alone.",
        summary(rows),
        table(header, [cells(row, others) for row in rows]),
        "The setting of each peer that won:",
        settings(rows, others),
    ]
    return "\n\n".join(parts)


def summary(rows: list[dict[str, Any]]) -> str:
    """Who loses to whom: a row a quality and group of grids."""
    header = ["topology, effort, asked", "group", "grids", "/ best old", "worst"]
    header += ["/ best of all", "worst", "larger than it", "/ estimate"]
    lines = []
    for kind in dict.fromkeys((row["topology"], row["effort"], row["asked"]) for row in rows):
        same = [row for row in rows if (row["topology"], row["effort"], row["asked"]) == kind]
        for group in ("all", *GROUPS):
            members = [row for row in same if group in ("all", row["group"])]
            if members:
                larger = sum((row["over_best"] or 0) > 1 for row in members)
                lines.append(
                    [
                        ", ".join(kind),
                        group,
                        str(len(members)),
                        *mean_and_worst(members, "old"),
                        *mean_and_worst(members, "best"),
                        str(larger),
                        mean_and_worst(members, "estimate")[0],
                    ]
                )
    return table(header, lines)


def mean_and_worst(rows: list[dict[str, Any]], what: str) -> tuple[str, str]:
    """The geometric mean of ratios, and the largest with its grid and rival."""
    known = [row for row in rows if row[f"over_{what}"] is not None]
    if not known:
        return "-", "-"
    mean = math.exp(sum(math.log(row[f"over_{what}"]) for row in known) / len(known))
    worst = max(known, key=lambda row: float(row[f"over_{what}"]))
    name = worst[f"name_{what}"]
    return f"{mean:.3f}", f"{worst[f'over_{what}']:.2f} {worst['grid']} ({name})"


def settings(rows: list[dict[str, Any]], others: Sequence[Peer]) -> str:
    """The setting of each codec that won at each quality of each grid."""
    lines = {
        (row["grid"], row["asked"]): [
            "-" if (won := row["peers"][peer.name]) is None else won["setting"] for peer in others
        ]
        for row in rows
    }
    header = ["grid", "asked", *(peer.name for peer in others)]
    return table(header, [[*place, *names] for place, names in lines.items()])


def draw(rows: list[dict[str, Any]], others: Sequence[Peer], path: Path) -> None:
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
        drawn = sorted(
            (row for row in rows if row["grid"] == name and row["error"] is None),
            key=lambda row: float(row["psnr"]),
        )
        for peer in others:
            points = [
                (row["psnr"], found["bytes"]) for row in drawn if (found := row["peers"][peer.name])
            ]
            style = ":" if peer.estimate else "-"
            panel.plot(
                *zip(*points, strict=True) if points else ([], []), style, lw=1, label=peer.name
            )
        for effort, topology in dict.fromkeys((row["effort"], row["topology"]) for row in drawn):
            points = [
                (row["psnr"], row["bytes"])
                for row in drawn
                if (row["effort"], row["topology"]) == (effort, topology)
            ]
            panel.plot(*zip(*points, strict=True), "o-", ms=3, label=f"inrv, {effort}, {topology}")
        panel.set_yscale("log")
        panel.set_title(name, fontsize=8)
    for panel in axes.flat[len(names) :]:
        panel.axis("off")
    axes.flat[0].legend(fontsize=6)
    figure.supxlabel("PSNR over the box, dB")
    figure.supylabel("bytes")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
