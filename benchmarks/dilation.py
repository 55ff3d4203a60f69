"""Which voxels to train on: the paper's Table 2 on a fire with a missing quadrant.

`python -m benchmarks.dilation [FILE.vdb]` trains the same network on the active voxels of the
stored topology, on the AVM of eq. (2), on the AVM dilated by l = 1, 2, 5 and 10, and on the
whole box (BBX). Each trains for the same number of epochs, as in the paper, or with --equal
steps for the same number of optimiser steps. (In `encode` a step takes fewer voxels where there
are few, so in a small volume both are the same.) Quality is the mean over the grids, each over
its whole box, measured in two ways: with the stored topology, where the decoder never asks the
network outside of it, and without it, as in the paper, where every voxel of the box has the
network's answer. Weights are stored and restored as `encode` does.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

import inrv
from benchmarks.report import RESULTS, ROOT, describe, environment, save, table
from inrv.fields.fourier.defaults import network_for, plan_for
from inrv.fields.fourier.evaluation import evaluate
from inrv.fields.fourier.fitting import fit_network
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import joint_box, select_voxels
from inrv.fields.fourier.selection.masks import whole_box
from inrv.files.vdb import read_volume
from inrv.grids import Grid, Normalisation, denormalise
from inrv.metrics import compare_volumes
from inrv.support.device import choose_device

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Array = np.ndarray[Any, Any]
SETTINGS = (
    ("topology", "topology", 0.0),
    ("AVM", "avm", 0.0),
    ("l = 1", "avm", 1.0),
    ("l = 2", "avm", 2.0),
    ("l = 5", "avm", 5.0),
    ("l = 10", "avm", 10.0),
    ("BBX", "avm", math.inf),
)
METRICS = ("psnr", "nrmse", "ssim", "score")
HEADER = ["trained on", "voxels", "steps", "seconds"]
HEADER += [
    f"{name}, {way}"
    for way in ("with topology", "without")
    for name in ("PSNR dB", "NRMSE", "SSIM", "Score")
]


def main() -> None:
    """Parse the command line, train seven times, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", nargs="?", type=Path, default=ROOT / "fixtures" / "fire.vdb", metavar="FILE.vdb"
    )
    parser.add_argument(
        "--epochs", type=float, default=50, help="epochs of each run, or of BBX alone (%(default)s)"
    )
    parser.add_argument(
        "--equal",
        choices=("epochs", "steps"),
        default="epochs",
        help="what all runs share (%(default)s)",
    )
    parser.add_argument("--preset", choices=("default", "paper"), default="default")
    parser.add_argument(
        "--values-per-weight", type=float, default=14.0, help="of the network (%(default)s)"
    )
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument(
        "--name", default="dilation", help="name of the results (default %(default)s)"
    )
    arguments = parser.parse_args()
    base = inrv.EncodeOptions(
        field="fourier",
        preset=arguments.preset,
        values_per_weight=arguments.values_per_weight,
        epochs=arguments.epochs,
        device=arguments.device,
    )
    run = environment(arguments.device) | {
        "file": arguments.file.name,
        "equal": arguments.equal,
        "epochs": arguments.epochs,
    }
    print(f"{run['file']}: the same {run['equal']} for all; {describe(run)}", flush=True)
    volume = read_volume(arguments.file)
    rows, slices = [], {"original": (middle_slice(volume.grids[0]),) * 2}
    for label, options in runs(volume, base, arguments.equal):
        row, slices[label] = measure(volume, label, options)
        rows.append(row)
        print(table(HEADER, [cells(row)]).splitlines()[2], flush=True)
    save(arguments.name, markdown(run, rows, arguments.name), {"environment": run, "rows": rows})
    draw(slices, RESULTS / f"{arguments.name}.png", volume.grids[0].name)


def runs(
    volume: inrv.SparseVolume, base: inrv.EncodeOptions, equal: str
) -> list[tuple[str, inrv.EncodeOptions]]:
    """Return label and options of each run.

    With equal steps the epochs are in inverse proportion to the voxels selected.
    """
    chosen = [
        (label, replace(base, selection=selection, dilation=dilation))
        for label, selection, dilation in SETTINGS
    ]
    if equal == "epochs":
        return chosen
    whole = epoch_steps(volume, chosen[-1][1])
    return [
        (label, replace(o, epochs=(base.epochs or 1) * whole / epoch_steps(volume, o)))
        for label, o in chosen
    ]


def epoch_steps(volume: inrv.SparseVolume, options: inrv.EncodeOptions) -> int:
    """Optimiser steps of one epoch under `options`."""
    voxels = select_voxels(volume.grids, options.selection, options.dilation).active_voxel_count
    box = joint_box(volume.grids)
    assert box is not None, "the file has no active voxel"
    config, rounding = network_for(options, volume.active_voxel_count, len(volume.grids), box, None)
    return math.ceil(
        voxels / plan_for(options, config, rounding, voxels, choose_device(options.device)).batch
    )


def measure(
    volume: inrv.SparseVolume, label: str, options: inrv.EncodeOptions
) -> tuple[dict[str, Any], tuple[Array, Array]]:
    """Train once; return figures with and without topology, and middle slices of the first grid."""
    voxels = select_voxels(volume.grids, options.selection, options.dilation).active_voxel_count
    normalisations = [Normalisation.fit(grid.values) for grid in volume.grids]
    device = choose_device(options.device)
    started = time.perf_counter()
    fitted = fit_network(volume.grids, normalisations, options, device)
    seconds = time.perf_counter() - started
    assert fitted is not None, "every grid is constant"
    network = fitted.network.to(device)
    confined, unconfined = (
        answers(volume, network, normalisations, everywhere) for everywhere in (False, True)
    )
    weights = network.weight_count
    row: dict[str, Any] = {
        "trained on": label,
        "voxels": voxels,
        "steps": fitted.training.steps,
        "seconds": seconds,
    }
    row["with topology"] = asdict(compare_volumes(volume, confined, weights=weights).mean)
    row["without"] = asdict(compare_volumes(volume, unconfined, weights=weights).mean)
    box = volume.grids[0].topology.box
    assert box is not None
    return row, (
        middle_slice(confined.grids[0]),
        middle_slice(unconfined.grids[0], like=volume.grids[0]),
    )


def answers(
    volume: inrv.SparseVolume,
    network: FourierNetwork,
    normalisations: Sequence[Normalisation],
    everywhere: bool,
) -> inrv.SparseVolume:
    """Return the volume as `network` has it.

    It has its active leaf voxels, or every voxel of the joint box (`everywhere`), unclamped.
    """
    box = joint_box(volume.grids)
    assert box is not None
    grids, column = [], 0
    for grid, normalisation in zip(volume.grids, normalisations, strict=True):
        topology = whole_box(box) if everywhere else grid.topology
        outputs = outputs_at(network, topology)
        values = np.empty((len(outputs), grid.components), dtype=np.float32)
        for component in range(grid.components):
            low, high = (
                float(normalisation.minimum[component]),
                float(normalisation.maximum[component]),
            )
            if high <= low:
                values[:, component] = low
                continue
            one = outputs[:, column]
            values[:, component] = denormalise(one, low, high, clamp=not everywhere)
            column += 1
        nothing = np.empty((0, grid.components), dtype=np.float32)
        tiles = nothing if everywhere else grid.tile_values
        grids.append(replace(grid, topology=topology, values=values, tile_values=tiles))
    return inrv.SparseVolume(tuple(grids), volume.metadata)


def outputs_at(network: FourierNetwork, topology: inrv.Topology) -> Array:
    """Normalised outputs (N, D) at the active leaf voxels of `topology`."""
    device = next(network.parameters()).device
    coordinates = torch.from_numpy(topology.coordinates()).to(device)
    with torch.no_grad():
        return evaluate(network, coordinates).cpu().numpy()


def middle_slice(grid: Grid, like: Grid | None = None) -> Array:
    """Return values (Y, Z) of the slice across x through the middle of the box of `like`.

    `like` is by default the grid itself.
    """
    box = (like or grid).topology.box
    assert box is not None
    x = (box.lower[0] + box.upper[0] + 1) // 2
    plane = inrv.Box((x, *box.lower[1:]), (x, *box.upper[1:]))
    return grid.dense(plane)[0, :, :, 0]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    figures = [row[way][name] for way in ("with topology", "without") for name in METRICS]
    formats = (".2f", ".3f", ".3f", ".3f") * 2
    shown = [format(figure, style) for figure, style in zip(figures, formats, strict=True)]
    return [
        row["trained on"],
        f"{row['voxels']:,}",
        f"{row['steps']:,}",
        f"{row['seconds']:.0f}",
        *shown,
    ]


def markdown(run: dict[str, Any], rows: list[dict[str, Any]], name: str) -> str:
    """The whole report."""
    epochs = f"{run['epochs']:g} epochs" + (
        "" if run["equal"] == "epochs" else " of BBX, and as many optimiser steps for all"
    )
    title = f"# Which voxels to train on\n\n{run['file']}, {epochs}; {describe(run)}\n\n"
    caption = "Middle slices across x, above with the topology, below without:"
    picture = f"\n{caption}\n\n![slices]({name}.png)\n"
    return title + table(HEADER, [cells(row) for row in rows]) + picture


def draw(slices: dict[str, tuple[Array, Array]], path: Path, name: str) -> None:
    """One column a setting: above with the topology, below without."""
    figure, axes = plt.subplots(
        2, len(slices), figsize=(1.7 * len(slices), 5.4), layout="constrained"
    )
    highest = float(slices["original"][0].max())
    for column, (label, pair) in enumerate(slices.items()):
        for row, values in enumerate(pair):
            axes[row][column].imshow(values.T, origin="lower", cmap="inferno", vmin=0, vmax=highest)
            axes[row][column].set(xticks=[], yticks=[])
        axes[0][column].set_title(label)
    axes[0][0].set_ylabel(f"{name}, with topology")
    axes[1][0].set_ylabel(f"{name}, without")
    figure.savefig(path, dpi=110)
    print(f"written: benchmarks/results/{path.name}")


if __name__ == "__main__":
    main()
