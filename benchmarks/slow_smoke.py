"""A slow smoke in 32 frames: `python -m benchmarks.slow_smoke FOLDER`; takes about five
minutes on one core.

Calm smoke rises from one source, by the solver that makes volumes for the default networks
(inrv.fields.lattice.workshop.gas_simulation). The frames stand 1/24 s apart. Between two of them
most of the smoke moves by less than a voxel, and hardly any of it by two: such sequences are what
prediction from the frame before is for. Each file, slow_0000.vdb to slow_0031.vdb, holds

    density    a fog, active where it is above CUT_OFF
    velocity   vectors in metres a second, on the voxels of `density`: times 1 / FRAMES_A_SECOND and
               over VOXEL, they are the voxels that the smoke moves by in a frame

The same seed gives the same files with the same torch on the same machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from inrv import MetaValue, SparseVolume, Transform, files
from inrv.fields.lattice.workshop.gas_simulation import Emitter, GasOptions, GasSimulation
from inrv.grids import sparse_grid

SEED = 20
FRAMES = 32
FRAMES_A_SECOND = 24
VOXEL = 0.02  # metres
CUT_OFF = 0.002
# Of the first resolution, which is doubled twice, up to 128 x 128 x 192, once the smoke has risen.
SHAPE = 32, 32, 48
STEPS = 84, 28, 20  # at each resolution, before the first frame
EDDIES = 0.2  # stirred in where the resolution is doubled
SOURCE = Emitter((0.5, 0.5, 0.12), 0.18, (1.0, 1.0, 0.5), smoke=1.0, heat=0.5)


def main() -> None:
    """Parse the command line, write the frames."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the frames go")
    parser.add_argument("--frames", type=int, default=FRAMES, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the run (default %(default)s)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number, volume in enumerate(slow_smoke(arguments.frames, arguments.seed)):
        files.write(arguments.folder / f"slow_{number:04}.vdb", volume)
        density, velocity = volume.grids
        moved = np.linalg.norm(velocity.values, axis=1) / (FRAMES_A_SECOND * VOXEL)
        middle, most = np.percentile(moved, (50, 99))
        print(
            f"frame {number}: {density.topology.leaf_voxel_count:,} voxels, which move by "
            f"{middle:.2f} voxels, 99 % of them by less than {most:.2f}",
            flush=True,
        )


def slow_smoke(frames: int = FRAMES, seed: int = SEED) -> Iterator[SparseVolume]:
    """The frames, one step of the solver apart."""
    options = GasOptions(
        SHAPE,
        (SOURCE,),
        seed=seed,
        buoyancy=0.04,
        weight=0.004,
        confinement=0.05,
        cooling=0.006,
        dissipation=0.003,
        flicker=0.4,
    )
    simulation = GasSimulation(options)
    first, *others = STEPS
    simulation.run(first)
    for steps in others:
        simulation.refine(EDDIES)
        simulation.run(steps)
    for number in range(frames):
        yield _frame(number, simulation)
        simulation.step()


def _frame(number: int, simulation: GasSimulation) -> SparseVolume:
    """What a file holds of an instant; the solver's velocity is in voxels a frame."""
    transform = Transform.from_voxel_size(VOXEL)
    smoke = simulation.smoke
    active = (smoke > CUT_OFF).numpy()
    density = torch.where(smoke > CUT_OFF, smoke, 0.0)
    velocity = simulation.velocity.movedim(0, -1) * (VOXEL * FRAMES_A_SECOND)
    unit = {"unit": MetaValue("string", "m/s")}
    return SparseVolume(
        (
            sparse_grid(density.numpy(), "density", transform, active=active),
            sparse_grid(
                velocity.numpy(),
                "velocity",
                transform,
                active=active,
                vector_type="contravariant relative",
                metadata=unit,
            ),
        ),
        {"frame": MetaValue("int32", number)},
    )


if __name__ == "__main__":
    main()
