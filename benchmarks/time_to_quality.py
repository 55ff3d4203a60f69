"""PSNR against seconds of training, by selection and optimiser.

`python -m benchmarks.time_to_quality [FILE.vdb]` trains each variant for each of --seconds, from
the start, so that its learning rate has fallen by then. The network has as many bytes as --size
leaves it with the exact topology. `paper` is Table 1's network (k = 2.5 n, m = 8, ReLU,
multipliers 2.5, Adam at 3e-4, batches of 24 x 1024) with as many weights as the default's, kept
in float32; its bytes are counted as if that cost nothing. `box` trains on the whole box, all
others on the active voxels. `table 1` is the preset `paper` as it is.

PSNR is the mean over the components, over the active leaf voxels and over each grid's active box
(outside of the active voxels nothing is wrong, because the topology is stored); the peak is the
range. FLOP counts 6 for each weight and sample. The rate of the device is that of a large
product in the precision of training.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import RESULTS, a_fire, describe, environment, save, table
from inrv.encoding.api import encode_bytes
from inrv.encoding.preparation import prepare
from inrv.fields.fourier.defaults import multipliers_for, network_for, plan_for
from inrv.fields.fourier.evaluation import evaluate
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples, gather_samples, joint_box, select_voxels
from inrv.fields.fourier.shape import FourierConfig, network_weights
from inrv.fields.fourier.training import TrainingPlan, train
from inrv.fields.seam import field_codec
from inrv.files.vdb import read_volume
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid
from inrv.support.device import choose_device, fast_precision

HEADER = [
    "variant",
    "weights",
    "asked s",
    "trained s",
    "epochs",
    "PSNR active",
    "PSNR box",
    "M samples/s",
    "TFLOP/s",
    "share",
]


@dataclass(frozen=True)
class Workload:
    """A volume, ready to train on."""

    path: Path
    items: list[PreparedGrid]
    active: Samples
    box: Samples | None
    default: EncodeOptions
    device: torch.device

    @cached_property
    def bytes(self) -> int:
        """Bytes that a file of the size leaves to the network, found by writing one."""
        data, report = encode_bytes(self.path, replace(self.default, epochs=0.1))
        return (self.default.size or 0) - (len(data) - report.chunk_bytes["NETW"])

    @property
    def outputs(self) -> int:
        """Varying components of all grids."""
        return self.active.targets.shape[1]


Variant = Callable[[Workload], tuple[FourierConfig, torch.Tensor, TrainingPlan]]


def main() -> None:
    """Train every variant for every time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=a_fire(), metavar="FILE.vdb")
    parser.add_argument("--seconds", type=float, nargs="+", default=[15, 30, 60, 120])
    parser.add_argument("--size", type=int, default=100_000, help="bytes of the file (%(default)s)")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=["paper", "paper, box", "adam", "muon", "default"],
        choices=VARIANTS,
    )
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument(
        "--name", default="time_to_quality", help="name of the results (%(default)s)"
    )
    arguments = parser.parse_args()
    run = environment(arguments.device) | {"file": arguments.file.name, "size": arguments.size}
    device = choose_device(arguments.device)
    peak = matrix_rate(device)
    print(
        f"{describe(run)}; large products: {peak / 1e12:.2f} TFLOP/s in {fast_precision(device)}",
        flush=True,
    )
    work = workload(
        arguments.file, arguments.size, device, any("box" in name for name in arguments.variants)
    )
    rows = []
    for name in arguments.variants:
        for seconds in arguments.seconds:
            rows.append(measure(name, work, seconds, peak))
            print(table(HEADER, [cells(rows[-1])]).splitlines()[2], flush=True)
    text = f"# Quality over seconds of training, {run['file']} in {run['size']:,} bytes\n\n"
    text += f"{describe(run)}; large products: "
    text += f"{peak / 1e12:.2f} TFLOP/s\n\n{table(HEADER, [cells(row) for row in rows])}"
    save(arguments.name, text, {"environment": run, "matrix_flops": peak, "rows": rows})
    draw(rows, RESULTS / f"{arguments.name}.svg")


def workload(path: Path, size: int, device: torch.device, with_box: bool) -> Workload:
    """Read, normalise and gather."""
    options = EncodeOptions(field="fourier", size=size)
    items, _ = prepare(read_volume(path), options, field_codec("fourier"), "")
    grids, normalisations = [item.coded for item in items], [item.normalisation for item in items]

    def samples(dilation: float) -> Samples:
        chosen = select_voxels(grids, "topology", dilation)
        return gather_samples(grids, chosen, normalisations, dilation == 0).to(device)

    return Workload(
        path, list(items), samples(0), samples(math.inf) if with_box else None, options, device
    )


def default(work: Workload) -> tuple[FourierConfig, torch.Tensor, TrainingPlan]:
    """What `inrv encode --field fourier --size` does."""
    box = joint_box([item.coded for item in work.items])
    assert box is not None
    config, rounding = network_for(work.default, 0, work.outputs, box, work.bytes)
    plan = plan_for(work.default, config, rounding, len(work.active), work.device)
    return config, multipliers_for(work.default, config), plan


def muon(work: Workload) -> tuple[FourierConfig, torch.Tensor, TrainingPlan]:
    """The default without rounding."""
    config, multipliers, plan = default(work)
    return config, multipliers, replace(plan, rounding=None)


def adam(work: Workload) -> tuple[FourierConfig, torch.Tensor, TrainingPlan]:
    """The default's network by Adam alone, at the rate and batch that served it best."""
    config, multipliers, plan = muon(work)
    return (
        config,
        multipliers,
        replace(plan, optimiser="adam", rate=1e-2 * min(1.0, 80 / config.neurons), batch=4096),
    )


def paper(work: Workload) -> tuple[FourierConfig, torch.Tensor, TrainingPlan]:
    """Table 1, made smaller to the default's number of weights."""
    config, _, _ = default(work)
    most = network_weights(config.frequencies, config.layers, config.neurons, config.outputs)
    neurons = max(
        n for n in range(8, 1025, 2) if network_weights(n * 5 // 2, 8, n, config.outputs) <= most
    )
    config = replace(
        config, frequencies=neurons * 5 // 2, layers=8, neurons=neurons, activation="relu"
    )
    return config, torch.full((config.frequencies,), 2.5), TrainingPlan(1.0, 24 * 1024, 3e-4)


def table_1(work: Workload) -> tuple[FourierConfig, torch.Tensor, TrainingPlan]:
    """The preset `paper`, whatever it takes."""
    options = EncodeOptions(preset="paper")
    box = joint_box([item.coded for item in work.items])
    assert box is not None
    config, rounding = network_for(options, 0, work.outputs, box, None)
    return (
        config,
        multipliers_for(options, config),
        plan_for(options, config, rounding, len(work.active), work.device),
    )


VARIANTS: dict[str, Variant] = {
    "paper": paper,
    "paper, box": paper,
    "table 1": table_1,
    "table 1, box": table_1,
    "adam": adam,
    "muon": muon,
    "default": default,
}


def measure(name: str, work: Workload, seconds: float, peak: float) -> dict[str, Any]:
    """Train a variant for so long."""
    config, multipliers, plan = VARIANTS[name](work)
    samples = work.box if "box" in name and work.box is not None else work.active
    network = FourierNetwork(config, multipliers, torch.Generator().manual_seed(0)).to(work.device)
    result = train(network, samples, replace(plan, max_time=seconds, epochs=1e6))
    active, box = psnrs(network, work)
    rate = result.steps * min(plan.batch, len(samples)) / result.seconds
    flops = 6 * network.weight_count * rate
    return {
        "variant": name,
        "weights": network.weight_count,
        "asked": seconds,
        "seconds": result.seconds,
        "epochs": result.epochs,
        "psnr_active": active,
        "psnr_box": box,
        "samples_per_second": rate,
        "flops": flops,
        "share": flops / peak,
    }


def psnrs(network: FourierNetwork, work: Workload) -> tuple[float, float]:
    """Mean over the components: over the active leaf voxels, and over each grid's active box."""
    with torch.no_grad():
        errors = (
            (evaluate(network, work.active.coordinates).clamp(0, 1) - work.active.targets)
            .double()
            .square()
        )
    counted = (
        torch.ones_like(errors) if work.active.counted is None else work.active.counted.double()
    )
    sums, counts = (errors * counted).sum(0).tolist(), counted.sum(0).tolist()
    volumes = []
    for item in work.items:
        box, normalisation = item.coded.topology.box, item.normalisation
        assert box is not None
        low, high = (
            v[normalisation.varying] for v in (normalisation.minimum, normalisation.maximum)
        )
        background = item.coded.background[normalisation.varying]
        wider = ((np.maximum(high, background) - np.minimum(low, background)) / (high - low)) ** 2
        volumes += (box.volume * wider).tolist()
    over = [
        [-10 * math.log10(s / n) for s, n in zip(sums, sizes, strict=True)]
        for sizes in (counts, volumes)
    ]
    return sum(over[0]) / len(sums), sum(over[1]) / len(sums)


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large product, the best of some."""
    edge = 8192 if device.type == "cuda" else 2048
    left = torch.ones(edge, edge, dtype=fast_precision(device), device=device)
    best = math.inf
    for _ in range(8):
        started = time.perf_counter()
        product = left @ left
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * edge**3 / best


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    return [
        row["variant"],
        f"{row['weights']:,}",
        f"{row['asked']:g}",
        f"{row['seconds']:.1f}",
        f"{row['epochs']:.1f}",
        f"{row['psnr_active']:.2f}",
        f"{row['psnr_box']:.2f}",
        f"{row['samples_per_second'] / 1e6:.3f}",
        f"{row['flops'] / 1e12:.3f}",
        f"{row['share']:.0%}",
    ]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """PSNR over seconds, a line for each variant."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == name]
        axes.plot(
            [row["seconds"] for row in own],
            [row["psnr_active"] for row in own],
            "o-",
            ms=4,
            label=name,
        )
    axes.set(xscale="log", xlabel="seconds of training", ylabel="PSNR over the active voxels, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
