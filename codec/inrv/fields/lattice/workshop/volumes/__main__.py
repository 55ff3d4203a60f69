"""Draw the training volumes: `python -m inrv.fields.lattice.workshop.volumes FILE.png`.

Each volume is shown by the middle slice of its first channel (of a velocity, the last), and each
family is counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from inrv.fields.lattice.workshop.volumes import TrainingVolume, training_volumes

COLUMNS = 10


def main() -> None:
    """Make the volumes, count and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--family", help="draw this one alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    volumes = list(training_volumes(arguments.seed, arguments.share))
    print(f"{len(volumes)} volumes in {time.process_time() - started:.0f} s of one core")
    for family in dict.fromkeys(volume.family for volume in volumes):
        print(_count(family, [volume for volume in volumes if volume.family == family]))
    print(_count("all", volumes))
    shown = [volume for volume in volumes if arguments.family in (None, volume.family)]
    draw(shown, arguments.picture)


def _count(name: str, volumes: Sequence[TrainingVolume]) -> str:
    channels = sum(len(volume.values) for volume in volumes)
    voxels = sum(value.numel() for volume in volumes for value in volume.values)
    active = sum(int(mask.sum()) for volume in volumes for mask in volume.active)
    return (
        f"{name:10} {len(volumes):4} volumes, {channels:4} channels, {voxels / 1e6:6.1f} M values, "
        f"{active / 1e6:6.1f} M active"
    )


def draw(volumes: Sequence[TrainingVolume], path: Path) -> None:
    """Draw a contact sheet.

    volumes: in the order of the sheet
    path: of the picture
    """
    rows = -(-len(volumes) // COLUMNS)
    figure = Figure(figsize=(1.9 * COLUMNS, 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for panel in panels:
        panel.axis("off")
    for panel, volume in zip(panels, volumes, strict=False):
        shown = volume.values[-1 if volume.family == "velocity" else 0]
        panel.imshow(shown[:, shown.shape[1] // 2].T, origin="lower", cmap="inferno")
        panel.set_title(f"{volume.family}: {volume.name}", fontsize=6, wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
