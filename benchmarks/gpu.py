"""All figures of a GPU, in parts: `python -m benchmarks.gpu [FILE.vdb]`.

The file is a fire of the paper's dimensions; without one it is the corpus's burner, or the
fixtures' fire. The parts run in the order of their worth, and each writes its results to
results/gpu/ as soon as it has them. A part whose results are there is left out, unless --parts
names it, and no part begins after --seconds: the command then prints what is left for the next
call. On a machine without a GPU everything runs on the CPU, which shows that the commands work
(--quick) and nothing else.

rates      large products of random matrices, the products of the paper's network, copies
checks     `fourier` against float64, a lattice on the device against the CPU
training   samples a second of the presets' networks, eager and compiled
profile    torch.profiler over training and decoding: kernels, launches, waits of the host
quality    dB of the default `fourier` network after so many seconds
decode     the whole box, active voxels, random points
lattice    encoding, which runs on the CPU; decoding; points and boxes in the device's memory
table_2    the paper's Table 2: BBX and l = 0, 1, 2, 5, 10, each for --epochs
suite      the tests of what computes on a GPU
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import math
import multiprocessing
import pstats
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import inrv
from benchmarks import decode, time_to_quality
from benchmarks.report import CORPUS, RESULTS, ROOT, describe, environment, save, table
from inrv.fields.fourier.defaults import multipliers_for, network_for, plan_for
from inrv.fields.fourier.evaluation import evaluate
from inrv.fields.fourier.fitting import fit_network
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples, gather_samples, joint_box, select_voxels
from inrv.fields.fourier.selection.masks import whole_box
from inrv.fields.fourier.training import TrainingPlan
from inrv.fields.fourier.training.processes import Processes
from inrv.fields.fourier.training.trainer import Run
from inrv.fields.seam import RegionTensors
from inrv.files.vdb import read_volume
from inrv.grids import Normalisation, denormalise
from inrv.metrics import compare_volumes
from inrv.support.device import choose_device, decoding_precision, fast_precision
from inrv.support.undisturbed import undisturbed

# How a step is done: kernel by kernel, as a graph, or as a graph of compiled kernels.
WAYS = ("plain", "graph", "compiled")
FLOPS = 6  # for each weight and sample of training
TESTS = (
    "tests/fields/lattice/gpu",
    "tests/fields/fourier",
    "tests/decoding",
    "tests/test_codec.py",
    "tests/test_golden.py",
)
# The paper's Table 2: PSNR, and seconds of training on its cluster.
PAPER = {
    "AVM": (15.47, None),
    "l = 1": (29.11, None),
    "l = 2": (28.41, None),
    "l = 5": (32.01, None),
    "l = 10": (32.21, None),
    "BBX": (32.60, 1780.0),
}
DILATIONS = {"BBX": math.inf, "l = 5": 5.0, "AVM": 0.0, "l = 10": 10.0, "l = 2": 2.0, "l = 1": 1.0}
Part = Callable[["Bench"], tuple[str, dict[str, Any]]]


@dataclass
class Bench:
    """What the parts share.

    file: the volume
    device: where everything is computed
    quick: whether to do next to nothing, to see that the commands work
    epochs: of every row of Table 2
    deadline: of time.monotonic(), after which nothing begins
    unfinished: what a part could not do before the deadline
    """

    file: Path
    device: torch.device
    quick: bool
    epochs: float
    deadline: float
    folder: Path
    unfinished: list[str] = field(default_factory=list)

    @cached_property
    def volume(self) -> inrv.SparseVolume:
        """The volume, read."""
        return read_volume(self.file)

    @cached_property
    def box(self) -> inrv.Box:
        """The box of the active voxels of all grids."""
        box = joint_box(self.volume.grids)
        assert box is not None
        return box

    @cached_property
    def normalisations(self) -> list[Normalisation]:
        """Of every grid."""
        return [Normalisation.fit(grid.values) for grid in self.volume.grids]

    def samples(self, selection: str, dilation: float) -> Samples:
        """Samples on the device."""
        chosen = select_voxels(self.volume.grids, selection, dilation)
        only_active = selection == "topology" and not dilation
        grids, normalisations = self.volume.grids, self.normalisations
        return gather_samples(grids, chosen, normalisations, only_active).to(self.device)

    def network(self, options: inrv.EncodeOptions, voxels: int) -> tuple[Any, TrainingPlan]:
        """The network of some options, not yet trained, and how it is trained."""
        outputs = sum(int(normalisation.varying.sum()) for normalisation in self.normalisations)
        values = self.volume.active_voxel_count
        config, rounding = network_for(options, values, outputs, self.box, None)
        generator = torch.Generator().manual_seed(0)
        network = FourierNetwork(config, multipliers_for(options, config), generator)
        plan = plan_for(options, config, rounding, voxels, self.device)
        return network.to(self.device), plan

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], times: int = 5) -> float:
        """Of `work`, the median of some."""
        taken = []
        for _ in range(1 if self.quick else times):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - started)
        return sorted(taken)[len(taken) // 2]

    @contextmanager
    def peak(self) -> Iterator[list[int]]:
        """Give a list that holds, afterwards, the most bytes of the device that were in use."""
        found: list[int] = []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        yield found
        cuda = self.device.type == "cuda"
        found.append(torch.cuda.max_memory_allocated() if cuda else 0)


def main() -> None:
    """Do every part that is left, as long as there is time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=a_burner(), metavar="FILE.vdb")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="do these, in any case")
    parser.add_argument("--seconds", type=float, default=480, help="(%(default)s)")
    parser.add_argument("--epochs", type=float, default=100, help="of Table 2 (%(default)s)")
    parser.add_argument("--device", help="torch device; default: the best there is")
    parser.add_argument("--folder", type=Path, default=RESULTS / "gpu", help="for the results")
    parser.add_argument("--quick", action="store_true", help="try the commands on a small volume")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    device = choose_device(arguments.device)
    bench = Bench(
        arguments.file, device, arguments.quick, arguments.epochs, deadline, arguments.folder
    )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    run = environment(arguments.device) | {"driver": driver(), "file": arguments.file.name}
    for name in arguments.parts or PARTS:
        done = arguments.folder / f"{name}.json"
        if not arguments.parts and done.exists() and json.loads(done.read_text())["complete"]:
            continue
        if time.monotonic() > deadline:
            bench.unfinished.append(name)
            continue
        print(f"== {name}, {deadline - time.monotonic():.0f} s left", flush=True)
        before, started = len(bench.unfinished), time.monotonic()
        try:
            text, data = PARTS[name](bench)
        except Exception:  # the other parts are worth having
            traceback.print_exc()
            bench.unfinished.append(f"{name} (failed)")
            continue
        data |= {"environment": run, "complete": len(bench.unfinished) == before}
        where = f"{describe(run)}, driver {run['driver']}, {run['file']}"
        title = next(line for line in (PARTS[name].__doc__ or name).splitlines())
        save(name, f"# {title.rstrip('.')}\n\n{where}\n\n{text}", data, arguments.folder)
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    left = ", ".join(bench.unfinished)
    print(f"left for another call: {left or 'nothing'}")


def a_burner() -> Path:
    """The corpus's fire of the paper's dimensions, or the fixtures' own."""
    corpus = CORPUS / "burner.vdb"
    return corpus if corpus.exists() else ROOT / "fixtures" / "fire.vdb"


def driver() -> str:
    """The version of the device's driver; '-' where there is none."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "-"
    except OSError:
        return "-"


def rates(bench: Bench) -> tuple[str, dict[str, Any]]:
    """Rates of the device."""
    cuda = bench.device.type == "cuda"
    edge = 512 if bench.quick else 8192
    batch = 256 if bench.quick else 24 * 1024
    shapes = {
        "large": (edge, edge, edge),
        "first layer of the paper": (batch, 2560, 512),
        "other layers of the paper": (batch, 512, 512),
    }
    rows: list[list[str]] = []
    data: dict[str, Any] = {}
    kinds = ("bfloat16", "float16", "tf32", "float32")
    for label, (m, k, n) in shapes.items():
        for kind in kinds:
            dtype = torch.float32 if kind == "tf32" else getattr(torch, kind)
            torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
            left = torch.randn(m, k, device=bench.device).to(dtype)
            right = torch.randn(k, n, device=bench.device).to(dtype)
            repeats = 20 if cuda else 1

            def products(left: Any = left, right: Any = right, repeats: int = repeats) -> None:
                for _ in range(repeats):
                    left @ right

            products()
            rate = 2 * m * k * n * repeats / bench.seconds(products)
            data[f"{label}, {kind}"] = rate
            rows.append([label, f"{m} x {k} x {n}", kind, f"{rate / 1e12:.1f}"])
    torch.backends.cuda.matmul.allow_tf32 = False
    count = 1 << (20 if bench.quick else 30)
    here = torch.randn(count // 4, device=bench.device)
    there = torch.empty_like(here)
    host = torch.empty(count // 16, pin_memory=cuda)
    pageable = torch.empty(count // 16)
    pageable.zero_()
    part = here[: count // 16]
    copies = {
        "on the device, read and written": (2 * count, lambda: there.copy_(here)),
        "to the host, pinned": (count // 4, lambda: host.copy_(part)),
        "to the host, pageable": (count // 4, lambda: pageable.copy_(part)),
        "from the host, pageable": (count // 4, lambda: part.copy_(pageable)),
    }
    others = []
    for label, (size, work) in copies.items():
        work()
        data[label] = size / bench.seconds(work)
        others.append([label, f"{data[label] / 1e9:.1f}"])
    text = table(["product", "shape", "in", "TFLOP/s"], rows)
    return f"{text}\n{table(['copy', 'GB/s'], others)}", {"rates": data}


def checks(bench: Bench) -> tuple[str, dict[str, Any]]:
    """Right numbers."""
    network, _ = bench.network(inrv.EncodeOptions(preset="paper"), 1)
    generator = np.random.default_rng(1)
    voxels = generator.integers(bench.box.lower, bench.box.upper, (2048, 3), dtype=np.int32)
    here, exact = torch.from_numpy(voxels), reference(network, voxels)
    rows = []
    precisions = [torch.float32, torch.float16, torch.bfloat16]
    for precision in precisions[: None if bench.device.type == "cuda" else 1]:
        found = without_gradients(network, here.to(bench.device), precision).double().cpu()
        off = float((found - exact).norm() / exact.norm())
        largest = float((found - exact).abs().max())
        rows.append([f"outputs in {precision}".replace("torch.", ""), f"{off:.2e}, {largest:.2e}"])
    ours, theirs = (gradient(network, here, device) for device in (bench.device, "cpu"))
    off = float((ours - theirs).norm() / theirs.norm())
    rows.append(["gradient in float32, against the CPU", f"{off:.2e}"])
    options = inrv.EncodeOptions(effort="instant", device=str(bench.device))
    fire = ROOT / "fixtures" / "fire.vdb"
    data = inrv.encode_bytes(fire, options)[0]
    same = data == inrv.encode_bytes(fire, replace(options, device="cpu"))[0]
    rows.append(["a lattice's file is the CPU's", "yes" if same else "NO"])
    one, other = (inrv.load(data, device).to_sparse() for device in (str(bench.device), "cpu"))
    equal = all(
        np.array_equal(a.values, b.values) for a, b in zip(one.grids, other.grids, strict=True)
    )
    rows.append(["a lattice decodes to the CPU's values", "yes" if equal else "NO"])
    return table(["check", "off, relative to the norm, and at most"], rows), {"rows": rows}


def suite(bench: Bench) -> tuple[str, dict[str, Any]]:
    """The tests of what computes on a GPU."""
    chosen = ("tests/fields/fourier/training/test_graph.py",) if bench.quick else TESTS
    rows = [[name, tests(name, bench.folder)] for name in chosen]
    return table(["tests", "what pytest says"], rows), {"rows": rows}


def reference(network: FourierNetwork, voxels: Any) -> torch.Tensor:
    """The outputs of a network in float64, on the CPU."""
    tensors = {name: tensor.double().cpu() for name, tensor in network.tensors().items()}
    places = torch.from_numpy(voxels).double() - network.origin.double().cpu()
    frequencies = tensors["multipliers"][:, None] * tensors["B"]
    phase = 2 * math.pi * (places * network.shape.scale) @ frequencies.T
    hidden = torch.cat([phase.cos(), phase.sin()], dim=1)
    for number in range(network.shape.layers):
        hidden = hidden @ tensors[f"layers.{number}.weight"].T + tensors[f"layers.{number}.bias"]
        hidden = hidden.relu()
    last = network.shape.layers
    return hidden @ tensors[f"layers.{last}.weight"].T + tensors[f"layers.{last}.bias"]


def gradient(network: FourierNetwork, voxels: torch.Tensor, device: Any) -> torch.Tensor:
    """The gradient of the sum of the squared outputs, float64 on the CPU."""
    copy = FourierNetwork.restore(network.shape, network.arrays()).to(device).train()
    copy(voxels.to(device)).square().sum().backward()
    found = [weight.grad for weight in copy.parameters() if weight.grad is not None]
    return torch.cat([gradient.flatten().double().cpu() for gradient in found])


def tests(name: str, folder: Path) -> str:
    """What pytest says of some tests, in its last line."""
    options = ["-q", "-n", "8", "-p", "no:cacheprovider", "--timeout", "60"]
    try:
        import pytest_timeout  # noqa: F401
    except ImportError:
        del options[-2:]
    command = [sys.executable, "-m", "pytest", *options, name]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        output = f"{error.stdout!r}\nended after 150 s"
    (folder / f"{name.replace('/', '_')}.log").write_text(output[-200_000:])
    return output.strip().splitlines()[-1].strip("= ")


def training(bench: Bench) -> tuple[str, dict[str, Any]]:
    """Rate of training."""
    peaks = matrix_rates(bench)
    options = {"paper": inrv.EncodeOptions(preset="paper"), "default": inrv.EncodeOptions()}
    options = {name: replace(own, field="fourier") for name, own in options.items()}
    rows = []
    for label, way in product(options, WAYS):
        if bench.quick and way != "plain":
            continue
        samples = bench.samples("topology", math.inf if label == "paper" else 0)
        network, plan = bench.network(options[label], len(samples))
        rows.append(rate_of(bench, label, network, samples, plan, way, peaks))
        print(table(TRAINING, [training_cells(rows[-1])]).splitlines()[2], flush=True)
        del samples, network
    return table(TRAINING, [training_cells(row) for row in rows]), {"rows": rows}


TRAINING = ["network", "weights", "batch", "step", "M samples/s", "TFLOP/s", "share", "peak GB"]
TRAINING += ["first 5 steps s"]


def training_cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    return [
        row["network"],
        f"{row['weights']:,}",
        f"{row['batch']:,}",
        row["step"],
        f"{row['samples_per_second'] / 1e6:.2f}",
        f"{row['flops'] / 1e12:.1f}",
        f"{row['share']:.1%}",
        f"{row['peak_bytes'] / 1e9:.2f}",
        f"{row['first_step']:.2f}",
    ]


def matrix_rates(bench: Bench) -> float:
    """FLOP/s of large products in the precision of training, as `rates` found them, or now."""
    precision = fast_precision(bench.device)
    found = bench.folder / "rates.json"
    if found.exists():
        kind = str(precision).removeprefix("torch.")
        return float(json.loads(found.read_text())["rates"][f"large, {kind}"])
    return time_to_quality.matrix_rate(bench.device)


def rate_of(
    bench: Bench,
    label: str,
    network: FourierNetwork,
    samples: Samples,
    plan: TrainingPlan,
    way: str,
    peak_flops: float,
) -> dict[str, Any]:
    """Train for some seconds."""
    with bench.peak() as peak, undisturbed(), torch.enable_grad():
        run = Run(
            network.train(),
            samples,
            replace(plan, epochs=1e6, compiled=way == "compiled", rounding=None),
            None,
            Processes.current(),
            False,
        )
        if way == "plain":
            run.advance = run._advance
        first = bench.seconds(lambda: [run.one_step() for _ in range(5)], 1)
        for _ in range(2 if bench.quick else 20):
            run.one_step()
        one = bench.seconds(run.one_step, 5)
        steps = 3 if bench.quick else max(20, int(3 / one))

        def several() -> None:
            for _ in range(steps):
                run.one_step()

        seconds = bench.seconds(several, 1)
    batch = min(plan.batch, len(samples))
    rate = batch * steps / max(seconds, 1e-9)
    flops = FLOPS * network.weight_count * rate
    return {
        "network": label,
        "weights": network.weight_count,
        "batch": batch,
        "step": way,
        "steps": steps,
        "seconds": seconds,
        "samples_per_second": rate,
        "flops": flops,
        "share": flops / peak_flops,
        "peak_bytes": peak[0],
        "first_step": first,
    }


def profile(bench: Bench) -> tuple[str, dict[str, Any]]:
    """Where the time goes."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    steps = 2 if bench.quick else 20
    activities = [ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    texts, rows = [], []

    def traced(label: str, work: Callable[[], object], per: int) -> None:
        work()
        bench.wait()
        plain = bench.seconds(work, 3)
        with profiled(activities=activities) as trace:
            work()
            bench.wait()
        averages = trace.key_averages()
        of_host = {event.key for event in averages if event.device_type == DeviceType.CPU}
        kernels = sum(
            event.self_device_time_total for event in averages if event.key not in of_host
        )
        kernels /= 1e6
        counts = {event.key: event.count for event in averages}
        calls = {
            name: sum(n for key, n in counts.items() if key.startswith(name)) / per
            for name in ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpyAsync")
        }
        waits = sum(n for key, n in counts.items() if "Synchronize" in key) / per
        rows.append(
            [
                label,
                f"{1e3 * plain / per:.3f}",
                f"{1e3 * kernels / per:.3f}",
                f"{kernels / plain:.0%}",
                f"{calls['cudaLaunchKernel'] + calls['cuLaunchKernel']:.1f}",
                f"{calls['cudaMemcpyAsync']:.1f}",
                f"{waits:.1f}",
            ]
        )
        keys = ("self_device_time_total", "self_cpu_time_total")
        for key in keys:
            found = averages.table(sort_by=key, row_limit=25, max_name_column_width=70)
            texts.append(f"{label}, by {key}\n\n{found}\n")
        name = label.replace(", ", "_").replace(" ", "_")
        trace.export_chrome_trace(str(bench.folder / f"trace_{name}.json.gz"))

    ways = [("paper", math.inf, False), ("default", 0.0, False)]
    if bench.device.type == "cuda":
        ways += [("paper", math.inf, True), ("default", 0.0, True)]
    for preset, dilation, compiled in ways:
        label = f"{preset}, compiled" if compiled else preset
        samples = bench.samples("topology", dilation)
        options = inrv.EncodeOptions(field="fourier", preset=preset)
        network, plan = bench.network(options, len(samples))
        run = Run(
            network.train(),
            samples,
            replace(plan, epochs=1e6, compiled=compiled, rounding=None),
            None,
            Processes.current(),
            False,
        )

        def several(run: Run = run) -> None:
            for _ in range(steps):
                run.one_step()

        with undisturbed(), torch.enable_grad():
            several()
            traced(f"training {label}", several, steps)
        network.eval()
        if compiled:
            continue
        few = samples.coordinates[: 2000 if bench.quick else 2_000_000]
        precision = decoding_precision(bench.device)
        traced(
            f"decoding {label}",
            partial(without_gradients, network, few, precision),
            1,
        )
        del samples, network, run, few
    (bench.folder / "profile_tables.txt").write_text("\n".join(texts))
    header = ["work", "ms", "ms of kernels", "busy", "launches", "copies", "waits"]
    text = f"{table(header, rows)}\nTraining counts a step, decoding two million voxels.\n"
    return text, {"rows": rows}


def without_gradients(network: FourierNetwork, voxels: torch.Tensor, precision: Any) -> Any:
    """Evaluate a network."""
    with torch.no_grad():
        return evaluate(network, voxels, precision=precision)


def quality(bench: Bench) -> tuple[str, dict[str, Any]]:
    """Quality over seconds of training."""
    size = 12_000 if bench.quick else 1_200_000
    work = time_to_quality.workload(bench.file, size, bench.device, False)
    peak = matrix_rates(bench)
    rows = []
    for seconds in (1.0,) if bench.quick else (1.0, 2.0, 4.0, 8.0, 15.0):
        rows.append(time_to_quality.measure("default", work, seconds, peak))
        print(table(time_to_quality.HEADER, [time_to_quality.cells(rows[-1])]).splitlines()[2])
    text = table(time_to_quality.HEADER, [time_to_quality.cells(row) for row in rows])
    return f"A file of {size:,} bytes.\n\n{text}", {"rows": rows, "size": size}


def decoding(bench: Bench) -> tuple[str, dict[str, Any]]:
    """Decoding."""
    coordinates = torch.from_numpy(whole_box(bench.box).coordinates())
    header = ["network", "weights", "in", "box s", "box s, to the host", "M voxels/s", "peak GB"]
    rows = []
    for preset in ("paper", "default"):
        network, _ = bench.network(inrv.EncodeOptions(field="fourier", preset=preset), 1 << 22)
        network.eval()
        for precision in (torch.float16, torch.bfloat16, torch.float32):
            if bench.device.type == "cpu" and precision != torch.float32:
                continue

            def both(network: Any = network, precision: Any = precision) -> None:
                without_gradients(network, coordinates.to(bench.device), precision).cpu()

            there = coordinates.to(bench.device)
            with bench.peak() as peak:
                without_gradients(network, there[:100_000], precision)
                seconds = bench.seconds(
                    lambda network=network, there=there, precision=precision: without_gradients(
                        network, there, precision
                    ),
                    2,
                )
            del there
            rows.append(
                [
                    preset,
                    f"{network.weight_count:,}",
                    str(precision).removeprefix("torch."),
                    f"{seconds:.3f}",
                    f"{bench.seconds(both, 1):.3f}",
                    f"{len(coordinates) / seconds / 1e6:.1f}",
                    f"{peak[0] / 1e9:.2f}",
                ]
            )
    points = 1000 if bench.quick else 200_000
    through = []
    for preset in ("default", "paper"):
        options = inrv.EncodeOptions(
            field="fourier", preset=preset, epochs=0.1, device=str(bench.device)
        )
        if bench.quick and preset == "paper":
            continue
        found = decode.measure(bench.file, options, points)
        found["field"] += f", {preset}"
        through.append(found)
        (bench.folder / f"decode_{preset}_functions.txt").write_text(functions(bench, options))
        print(table(decode.HEADER, [decode.cells(found)]).splitlines()[2], flush=True)
    text = f"The network alone, at the {len(coordinates):,} voxels of the box:\n\n"
    text += table(header, rows)
    text += "\nThrough the library, whose results are NumPy arrays; millions a second:\n\n"
    text += table(decode.HEADER, [decode.cells(row) for row in through])
    return text, {"box": rows, "library": through}


def functions(bench: Bench, options: inrv.EncodeOptions) -> str:
    """Where the host spends its time while it decodes the box of the first grid."""
    data, _ = inrv.encode_bytes(bench.file, replace(options, epochs=0.01))
    grid = inrv.load(data, options.device).grids[0]
    assert grid.box is not None
    grid.coordinates()
    grid.dense(grid.box)
    with cProfile.Profile() as profiler:
        grid.dense(grid.box)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(25)
    return text.getvalue()


def lattice(bench: Bench) -> tuple[str, dict[str, Any]]:
    """The lattice, decoded on the device and on the CPU."""
    device = str(bench.device)
    options = inrv.EncodeOptions(effort="instant", device=device)
    fire = ROOT / "fixtures" / "fire.vdb"
    started = time.perf_counter()
    inrv.load(inrv.encode_bytes(fire, options)[0], device).to_sparse()  # compiles
    compiled = time.perf_counter() - started
    started = time.perf_counter()
    data, _ = inrv.encode_bytes(bench.file, options)
    encoded = time.perf_counter() - started
    voxels = bench.volume.active_voxel_count
    rows = [
        ["active voxels of all grids", f"{voxels:,}"],
        ["bytes", f"{len(data):,}"],
        ["a small fire, first of all, s", f"{compiled:.2f}"],
        ["encode, instant, s", f"{encoded:.2f}"],
        ["encode, M active voxels/s", f"{voxels / encoded / 1e6:.2f}"],
    ]
    lower = bench.box.lower
    box = inrv.Box(lower, tuple(low + 63 for low in lower))  # type: ignore[arg-type]
    for place in dict.fromkeys((device, "cpu")):
        started = time.perf_counter()
        inrv.load(data, place).to_sparse()
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        inrv.load(data, place).grids[0].tensor(box).cpu()
        cold = time.perf_counter() - started
        rows += [
            [f"{place}: decode to arrays, s", f"{seconds:.3f}"],
            [f"{place}: decode to arrays, M active voxels/s", f"{voxels / seconds / 1e6:.2f}"],
            [f"{place}: a cold box of 64^3, ms", f"{1e3 * cold:.0f}"],
        ]
    there = on_device(bench, inrv.load(data, device))
    (bench.folder / "lattice_kernels.txt").write_text(there.pop("kernels", ""))
    rows += [[label, text] for label, text in there.items()]
    return table(["figure", ""], rows), {"rows": rows}


def on_device(bench: Bench, volume: inrv.Volume) -> dict[str, str]:
    """What stays in the memory of the device: units of all regions, a grid's box, its points.

    Nothing where regions are decoded on the CPU. `kernels` is a table of the profiler's.
    """
    outputs = volume.outputs
    if not isinstance(outputs, RegionTensors):
        return {}
    from torch.profiler import ProfilerActivity, profile

    from inrv.entropy.masks import decode_masks
    from inrv.fields.lattice.gpu.masks import decode_masks_on
    from inrv.fields.lattice.gpu.outputs import GpuOutputs

    assert isinstance(outputs, GpuOutputs)
    columns = {column for grid in volume.grids for column in grid.values_of_grid.columns}
    channels = [outputs.channel(column) for column in columns]
    jobs = [(own, number, 0) for own in channels for number in range(len(own.regions))]

    def decode_all() -> None:
        outputs.regions.units(jobs)

    parts = masks_of(volume)
    on_gpu = bench.seconds(lambda: [decode_masks_on(bench.device, *own) for own in parts], 3)
    on_cpu = bench.seconds(lambda: [decode_masks(*own) for own in parts], 3)
    decode_all()
    with bench.peak() as peak:
        seconds = bench.seconds(decode_all, 3)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        decode_all()
        bench.wait()
    averages = trace.key_averages()
    kernels = averages.table(sort_by="self_cuda_time_total", row_limit=25)
    host = averages.table(sort_by="self_cpu_time_total", row_limit=25)
    grid = volume.grids[0]
    assert grid.box is not None
    lower, shape = (
        torch.tensor(own, dtype=torch.float32) for own in (grid.box.lower, grid.box.shape)
    )
    count = 100_000 if bench.quick else 20_000_000
    points = (torch.rand((count, 3), dtype=torch.float32) * shape + lower).to(bench.device)
    grid.sample(points)
    sampled = bench.seconds(lambda: grid.sample(points), 5)
    whole = bench.seconds(lambda: grid.tensor(), 3)
    coarse = bench.seconds(lambda: grid.tensor(stride=4), 3)
    high = (own + 63 for own in grid.box.lower)
    box = inrv.Box(grid.box.lower, tuple(high))  # type: ignore[arg-type]

    def cold_box() -> None:
        inrv.load(volume.container.file, str(bench.device)).grids[0].tensor(box)

    cold_boxes = bench.seconds(cold_box, 5)  # one by one at first, then as a graph
    small = points[:4096]
    first = time.perf_counter()
    inrv.load(volume.container.file, str(bench.device)).grids[0].sample(small).cpu()
    cold = time.perf_counter() - first
    voxels = bench.volume.active_voxel_count
    return {
        "masks of all regions, s": f"{on_gpu:.4f}, by the cores {on_cpu:.4f}",
        "units of all regions on the device, s": f"{seconds:.4f}",
        "units, M active voxels/s": f"{voxels / seconds / 1e6:.1f}",
        "regions": f"{len(jobs)}",
        "peak memory of that, GB": f"{peak[0] / 1e9:.2f}",
        "random points of a grid, warm, M/s": f"{count / sampled / 1e6:.0f}",
        "the box of a grid, warm, ms": f"{1e3 * whole:.1f}",
        "every 4th voxel of that box, cold, ms": f"{1e3 * coarse:.1f}",
        "a box of 64^3 of a file just opened, ms": f"{1e3 * cold_boxes:.1f}",
        "4096 points of a file just opened, ms": f"{1e3 * cold:.0f}",
        "kernels": f"{kernels}\n\n{host}",
    }


def masks_of(volume: inrv.Volume) -> list[tuple[Any, ...]]:
    """What `decode_masks` takes, of the topologies that are predicted from no other."""
    stored = {
        grid.entry.topology: volume.file.stored._topologies.masks(grid.entry.topology)
        for grid in volume.grids
    }
    return [
        (own.skeleton.leaf_origins, own.kinds, own._bytes_of(range(len(own.regions))))
        for own in stored.values()
        if own.root is None
    ]


def table_2(bench: Bench) -> tuple[str, dict[str, Any]]:
    """The paper's Table 2."""
    kept = bench.folder / "table_2_rows.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    waiting: list[tuple[dict[str, Any], Future[dict[str, Any]]]] = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for label, dilation in DILATIONS.items():
            if any((row["trained on"], row["epochs"]) == (label, bench.epochs) for row in rows):
                continue
            options = inrv.EncodeOptions(
                field="fourier",
                preset="paper",
                selection="avm",
                dilation=dilation,
                epochs=bench.epochs,
            )
            if time.monotonic() + row_seconds(bench, options) > bench.deadline:
                bench.unfinished.append(f"table_2, {label}")
                continue
            row, outputs = trained(bench, label, options)
            print(f"{label}: {row['seconds']:.1f} s of training", flush=True)
            waiting.append((row, pool.submit(compared, bench.file, outputs, row["weights"])))
            collect(waiting, rows, kept, wait=False)
        collect(waiting, rows, kept, wait=True)
    shown = [row for row in rows if row["epochs"] == bench.epochs]
    return table_2_text(shown, bench.epochs), {"rows": shown}


def row_seconds(bench: Bench, options: inrv.EncodeOptions) -> float:
    """About how long a row will take: 20 s, and training at the rate that `training` found."""
    found = bench.folder / "training.json"
    if not found.exists():
        return 0.0
    rows = json.loads(found.read_text())["rows"]
    rate = max(row["samples_per_second"] for row in rows if row["network"] == "paper")
    voxels = select_voxels(bench.volume.grids, options.selection, options.dilation)
    return 20.0 + float(voxels.active_voxel_count * bench.epochs / rate)


def table_2_text(rows: list[dict[str, Any]], epochs: float) -> str:
    """The table, in the paper's order."""
    header = ["trained on", "voxels", "steps", "training s", "M samples/s", "PSNR dB", "NRMSE"]
    header += ["SSIM", "Score", "PSNR with topology", "the paper's PSNR", "the paper's s"]
    ordered = sorted(rows, key=lambda row: list(PAPER).index(row["trained on"]))
    text = f"{epochs:g} epochs a row, where the paper has 100 and another fire.\n\n"
    return text + table(header, [table_2_cells(row) for row in ordered])


def collect(
    waiting: list[tuple[dict[str, Any], Future[dict[str, Any]]]],
    rows: list[dict[str, Any]],
    kept: Path,
    wait: bool,
) -> None:
    """Take up the rows that have been compared, and keep them."""
    for row, future in list(waiting):
        if wait or future.done():
            rows.append(row | future.result())
            waiting.remove((row, future))
            kept.write_text(json.dumps(rows, indent=1) + "\n")


def trained(
    bench: Bench, label: str, options: inrv.EncodeOptions
) -> tuple[dict[str, Any], tuple[Any, Any]]:
    """Train a row; return its figures, and the network's outputs in the box and where active."""
    options = replace(options, device=str(bench.device))
    with bench.peak() as peak:
        started = time.perf_counter()
        fitted = fit_network(bench.volume.grids, bench.normalisations, options, bench.device)
        seconds = time.perf_counter() - started
    assert fitted is not None
    network = fitted.network.to(bench.device)
    voxels = select_voxels(bench.volume.grids, options.selection, options.dilation)
    count = voxels.active_voxel_count
    active = select_voxels(bench.volume.grids, "topology", 0)
    outputs = [
        without_gradients(
            network, torch.from_numpy(where.coordinates()).to(bench.device), torch.float32
        )
        .cpu()
        .numpy()
        for where in (whole_box(bench.box), active)
    ]
    row = {
        "trained on": label,
        "epochs": bench.epochs,
        "voxels": count,
        "weights": network.weight_count,
        "steps": fitted.training.steps,
        "seconds": fitted.training.seconds,
        "whole_seconds": seconds,
        "peak_bytes": peak[0],
    }
    return row, (outputs[0], outputs[1])


def compared(file: Path, outputs: tuple[Any, Any], weights: int) -> dict[str, Any]:
    """Compare a network's outputs with the volume, in a process of its own, on the CPU."""
    volume = read_volume(file)
    box = joint_box(volume.grids)
    assert box is not None
    where = (whole_box(box), select_voxels(volume.grids, "topology", 0))
    found: dict[str, Any] = {}
    for name, topology, own in zip(("without", "with topology"), where, outputs, strict=True):
        grids = []
        for column, grid in enumerate(volume.grids):
            normalisation = Normalisation.fit(grid.values)
            low, high = float(normalisation.minimum[0]), float(normalisation.maximum[0])
            everywhere = name == "without"
            values = denormalise(own[:, column], low, high, clamp=not everywhere)[:, None]
            if everywhere:
                nothing = np.empty((0, 1), dtype=np.float32)
                grids.append(replace(grid, topology=topology, values=values, tile_values=nothing))
            else:
                rows = topology.voxel_rows(grid.topology.coordinates())
                grids.append(grid.with_values(values[rows]))
        decoded = inrv.SparseVolume(tuple(grids), volume.metadata)
        found[name] = asdict(compare_volumes(volume, decoded, weights=weights).mean)
    return found


def table_2_cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    psnr, seconds = PAPER[row["trained on"]]
    metrics = row["without"]
    return [
        row["trained on"],
        f"{row['voxels']:,}",
        f"{row['steps']:,}",
        f"{row['seconds']:.1f}",
        f"{row['voxels'] * row['epochs'] / row['seconds'] / 1e6:.2f}",
        f"{metrics['psnr']:.2f}",
        f"{metrics['nrmse']:.3f}",
        f"{metrics['ssim']:.3f}",
        f"{metrics['score']:.3f}",
        f"{row['with topology']['psnr']:.2f}",
        f"{psnr:.2f}",
        "-" if seconds is None else f"{seconds:.0f}",
    ]


PARTS: dict[str, Part] = {
    "rates": rates,
    "checks": checks,
    "training": training,
    "profile": profile,
    "quality": quality,
    "decode": decoding,
    "lattice": lattice,
    "table_2": table_2,
    "suite": suite,
}


if __name__ == "__main__":
    main()
