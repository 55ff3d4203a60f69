"""Peak memory of encoding and decoding a huge, sparse volume: `python -m benchmarks.memory`.

It runs on Linux only. It makes a volume whose box is 4096^3 voxels with 5 million active ones,
thin shells and filaments far apart, then encodes and decodes it with the defaults, each in a
process of its own, and compares each peak of resident memory with a limit. The effort is
`instant` by default: networks are fitted to a bounded share of the voxels, so other efforts need
about the same memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import describe, environment, save, table

EDGE = 4096
VOXELS = 5_000_000
LIMITS = {"encode": 0.6e9, "decode": 0.4e9}
PEAK = """
for line in open('/proc/self/status'):
    line.startswith('VmHWM') and print(line.split()[1])
"""


def main() -> None:
    """Parse the command line, run, report; exit status 1 where a peak is over the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--effort", default="instant", help="(default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    arguments = parser.parse_args()
    run = environment(arguments.device)
    print(describe(run), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source, coded, decoded = (
            str(Path(folder, name)) for name in ("huge.vdb", "huge.inrv", "decoded.vdb")
        )
        make_volume(source)
        print(f"made {Path(source).stat().st_size:,} bytes of .vdb", flush=True)
        options = f"inrv.EncodeOptions(effort={arguments.effort!r}, device={arguments.device!r})"
        rows = [
            in_own_process("encode", f"import inrv; inrv.encode({source!r}, {coded!r}, {options})"),
            in_own_process(
                "decode",
                f"import inrv; inrv.load({coded!r}, {arguments.device!r}).to_vdb({decoded!r})",
            ),
        ]
        check_equal(source, decoded)
        sizes = {"bytes_in": Path(source).stat().st_size, "bytes_out": Path(coded).stat().st_size}
    text = f"# Peak memory\n\nBox {EDGE}^3, {VOXELS:,} active voxels; {describe(run)}\n\n"
    text += f".vdb {sizes['bytes_in']:,} bytes, .inrv {sizes['bytes_out']:,} bytes\n\n"
    report("memory", text, rows, LIMITS, {"environment": run, **sizes})


def report(
    name: str, text: str, rows: list[dict[str, Any]], limits: dict[str, float], told: dict[str, Any]
) -> None:
    """Save a table of peaks; exit with status 1 where one of them is over its limit.

    name: of the results
    text: what stands above the table
    rows: as `in_own_process` gives them
    limits: bytes, by the names of steps
    told: what the results hold besides the rows
    """
    shown = [
        [
            row["step"],
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{limits[row['step']] / 1e9:.1f}",
            f"{row['seconds']:.0f}",
        ]
        for row in rows
    ]
    text += table(["step", "peak GB", "limit GB", "seconds"], shown)
    save(name, text, {**told, "rows": rows})
    sys.exit(any(row["peak_bytes"] > limits[row["step"]] for row in rows))


def in_own_process(step: str, code: str) -> dict[str, Any]:
    """Run `code` in a fresh interpreter; its peak resident memory and its seconds."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + PEAK], check=True, capture_output=True, text=True
    )
    row = {
        "step": step,
        "peak_bytes": int(done.stdout.split()[-1]) * 1024,
        "seconds": time.perf_counter() - started,
    }
    print(f"{step}: peak {row['peak_bytes'] / 1e9:.2f} GB in {row['seconds']:.0f} s", flush=True)
    return row


def make_volume(path: str) -> None:
    """Write the volume to `path`."""
    from inrv import Grid, SparseVolume, Topology
    from inrv.files.vdb import write_volume
    from inrv.grids import LEAF_VOXELS, LeafValues, leaf_offsets

    coordinates = scattered_voxels().numpy()
    origins, leaf = np.unique(coordinates // 8 * 8, axis=0, return_inverse=True)
    masks = np.zeros((len(origins), LEAF_VOXELS), dtype=np.bool_)
    masks[leaf.reshape(-1), leaf_offsets(coordinates)] = True
    topology = Topology.from_leaves(origins, masks)
    x, y, z = topology.coordinates().astype(np.float32).T
    values = 0.55 + 0.45 * np.sin(x * 0.05) * np.cos(y * 0.07 + z * 0.03)
    grid = Grid(
        name="density",
        value_type="float",
        background=np.zeros(1, dtype=np.float32),
        topology=topology,
        values=values[:, None].astype(np.float32),
        tile_values=np.empty((0, 1), dtype=np.float32),
        inactive=LeafValues.none(1),
        grid_class="fog volume",
    )
    box = topology.box
    assert topology.active_voxel_count == VOXELS and box is not None and box.shape == (EDGE,) * 3
    write_volume(path, SparseVolume((grid,)))


def scattered_voxels() -> Tensor:
    """Return VOXELS different coordinates int64 (VOXELS, 3).

    They are shells, then filaments, and two opposite corners of the box.
    """
    generator = torch.Generator().manual_seed(11)
    parts = [torch.tensor([[0, 0, 0], [EDGE - 1] * 3])]
    parts += [shell(generator) for _ in range(12)] + [filament(generator) for _ in range(160)]
    points = torch.cat(parts)
    inside = points[((points >= 0) & (points < EDGE)).all(dim=1)]
    keys = torch.unique((inside[:, 0] * EDGE + inside[:, 1]) * EDGE + inside[:, 2])
    assert len(keys) >= VOXELS, f"only {len(keys):,} voxels were scattered"
    dropped = (
        torch.randperm(len(keys) - 2, generator=generator)[: len(keys) - VOXELS] + 1
    )  # never a corner
    kept = torch.ones(len(keys), dtype=torch.bool)
    kept[dropped] = False
    keys = keys[kept]
    return torch.stack([keys // EDGE**2, keys // EDGE % EDGE, keys % EDGE], dim=1)


def shell(generator: torch.Generator) -> Tensor:
    """Voxels of a thin sphere somewhere in the box."""
    centre, radius = uniform(3, 300, EDGE - 300, generator), float(uniform(1, 90, 190, generator))
    directions = torch.nn.functional.normalize(
        torch.randn((1_200_000, 3), generator=generator), dim=1
    )
    return (centre + directions * radius).round().long()


def filament(generator: torch.Generator) -> Tensor:
    """Voxels of a winding tube across the box."""
    start, end, swing = (uniform(3, 0, EDGE, generator) for _ in range(3))
    along = torch.linspace(0, 1, 6000)[:, None]
    path = start + (end - start) * along + 0.05 * swing * torch.sin(along * 20 + swing)
    return (
        (path[:, None, :] + 1.2 * torch.randn((6000, 8, 3), generator=generator))
        .round()
        .long()
        .reshape(-1, 3)
    )


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Random numbers (count,) between low and high."""
    return low + (high - low) * torch.rand(count, generator=generator)


def check_equal(source: str, decoded: str) -> None:
    """The decoded file has the very topology of the source."""
    from inrv.files.vdb import read_volume

    (before,), (after,) = read_volume(source).grids, read_volume(decoded).grids
    assert after.topology.equal(before.topology), "the decoded topology differs"


if __name__ == "__main__":
    main()
