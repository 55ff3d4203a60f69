"""Processes against throughput of training: `python -m benchmarks.scaling [FILE.vdb]`.

It trains the default fourier network of a file for --seconds, by each number of --processes
under torchrun. Each process has a GPU of its own where there are any, and else one core, over
gloo. On CPUs it also trains by one process with all its threads. The batch stays the same, and
the share of each process shrinks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import ROOT, a_fire, describe, environment, save, table
from inrv.encoding.preparation import prepare
from inrv.fields.fourier.defaults import multipliers_for, network_for, plan_for
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import gather_samples, joint_box, select_voxels
from inrv.fields.fourier.training import train
from inrv.fields.seam import field_codec
from inrv.files.vdb import read_volume
from inrv.options import EncodeOptions
from inrv.support.device import choose_device
from inrv.support.processes import is_first, joined

HEADER = ["processes", "threads each", "steps", "seconds", "M samples/s", "over one"]


def main() -> None:
    """Measure every number of processes; as a member of them, train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=a_fire(), metavar="FILE.vdb")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--preset", choices=("default", "paper"), default="default")
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument("--name", default="scaling", help="name of the results (%(default)s)")
    parser.add_argument("--member", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.member:
        member(arguments)
        return
    run = environment(arguments.device) | {"file": arguments.file.name, "preset": arguments.preset}
    print(describe(run), flush=True)
    each = [(count, 1) for count in arguments.processes]
    if choose_device(arguments.device).type == "cpu":
        each.append((1, torch.get_num_threads()))
    rows = [launch(count, threads, arguments) for count, threads in each]
    first = rows[0]["samples_per_second"]
    text = table(HEADER, [cells(row, first) for row in rows])
    title = f"# Processes and throughput, {run['file']}, preset {run['preset']}"
    save(
        arguments.name, f"{title}\n\n{describe(run)}\n\n{text}", {"environment": run, "rows": rows}
    )


def launch(count: int, threads: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train under torchrun, and read what rank 0 tells."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(count),
    ]
    command += [
        "-m",
        "benchmarks.scaling",
        str(arguments.file.resolve()),
        "--member",
        "--seconds",
        str(arguments.seconds),
        "--preset",
        arguments.preset,
    ]
    command += [] if arguments.device is None else ["--device", arguments.device]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT
    )
    row: dict[str, Any] = {
        "processes": count,
        "threads": threads,
        **json.loads(done.stdout.splitlines()[-1]),
    }
    return row


def member(arguments: argparse.Namespace) -> None:
    """One process of several."""
    with joined(arguments.device):
        device = choose_device(arguments.device)
        options = EncodeOptions(
            field="fourier", preset=arguments.preset, max_time=arguments.seconds, epochs=1e6
        )
        items, _ = prepare(read_volume(arguments.file), options, field_codec("fourier"), "")
        grids = [item.coded for item in items]
        samples = gather_samples(
            grids, select_voxels(grids, "topology", 0), [item.normalisation for item in items], True
        )
        box, values = joint_box(grids), sum(grid.values.size for grid in grids)
        assert box is not None
        config, rounding = network_for(options, values, samples.targets.shape[1], box, None)
        network = FourierNetwork(
            config, multipliers_for(options, config), torch.Generator().manual_seed(0)
        ).to(device)
        plan = plan_for(options, config, rounding, len(samples), device)
        result = train(network, samples.to(device), plan)
        if is_first():
            rate = result.steps * min(plan.batch, len(samples)) / result.seconds
            print(
                json.dumps(
                    {"steps": result.steps, "seconds": result.seconds, "samples_per_second": rate}
                )
            )


def cells(row: dict[str, Any], first: float) -> list[str]:
    """A row of the table."""
    rate = row["samples_per_second"]
    told = [
        str(row["processes"]),
        str(row["threads"]),
        f"{row['steps']:,}",
        f"{row['seconds']:.1f}",
    ]
    return [*told, f"{rate / 1e6:.3f}", f"{rate / first:.2f}"]


if __name__ == "__main__":
    main()
