"""A solver that writes its frames while it runs: `python -m examples.solver smoke.inrv`.

The solver is small: smoke rises in a periodic box and is carried by the air that it heats. What
matters is `main`: it hands the solver's own arrays to `inrv.BackgroundWriter`, which encodes them
in a thread. The arrays may be of NumPy, of torch, or of anything with DLPack. A kill leaves all
frames that were finished; with `--append` the same command takes the same steps again and writes
the frames that lack.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np
from numpy.typing import NDArray

import inrv

RATE = 24  # frames a second
BUOYANCY, SOURCE = 12.0, 3.0  # of the smoke, and how much of it a second brings

Floats = NDArray[np.float32]


def main() -> None:
    """Simulate, and write every frame."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", help="the sequence to write")
    parser.add_argument("--frames", type=int, default=48, help="(default %(default)s)")
    parser.add_argument("--edge", type=int, default=64, help="voxels of the box along each axis")
    parser.add_argument("--group", type=int, default=1, help="frames that are coded together")
    parser.add_argument("--append", action="store_true", help="add the frames that lack")
    asked = parser.parse_args()
    smoke, options = Smoke(asked.edge), inrv.EncodeOptions(psnr=45, effort="instant")
    with inrv.BackgroundWriter(
        asked.output, options, fps=RATE, group=asked.group, append=asked.append
    ) as writer:
        for number in range(asked.frames):
            smoke.step(1 / RATE)
            if number not in writer.written:
                arrays = {"density": smoke.density, "velocity": smoke.velocity}
                writer.add(None, arrays, number=number)
    print(f"{asked.output}: {asked.frames} frames; the solver waited {writer.waited:.1f} s")


class Smoke:
    """Smoke in a periodic box; lengths are in edges of the box.

    density: float32 (n, n, n) of the smoke
    velocity: float32 (n, n, n, 3) of the air
    """

    def __init__(self, edge: int) -> None:
        self.density = np.zeros((edge,) * 3, np.float32)
        self.velocity = np.zeros((edge, edge, edge, 3), np.float32)
        self.places = np.stack(np.indices((edge,) * 3, np.float32), axis=-1)
        centre = np.array([0.5, 0.5, 0.15]) * edge
        self.burner = np.linalg.norm(self.places - centre, axis=-1) < 0.08 * edge
        waves = [np.fft.fftfreq(edge), np.fft.fftfreq(edge), np.fft.rfftfreq(edge)]
        self.waves = np.stack(np.meshgrid(*waves, indexing="ij"), axis=-1).astype(np.float32)
        self.squares = np.maximum((self.waves**2).sum(axis=-1), 1e-12)

    def step(self, seconds: float) -> None:
        """Go on by some seconds."""
        self.density[self.burner] += SOURCE * seconds
        self.velocity[..., 2] += BUOYANCY * seconds * self.density
        self._project()
        came_from = self.places - seconds * self.velocity * len(self.density)
        self.density = interpolated(self.density, came_from)
        self.density[self.density < 1e-3] = 0  # empty air
        self.velocity = interpolated(self.velocity, came_from)

    def _project(self) -> None:
        """Take out what flows together or apart: the gradient part, in Fourier space."""
        flow = np.fft.rfftn(self.velocity, axes=(0, 1, 2))
        apart = (self.waves * flow).sum(axis=-1) / self.squares
        flow -= self.waves * apart[..., None]
        edges = self.density.shape
        self.velocity = np.fft.irfftn(flow, edges, axes=(0, 1, 2)).astype(np.float32)


def interpolated(values: Floats, places: Floats) -> Floats:
    """Trilinear values (n, n, n, ...) at places (n, n, n, 3), in voxels of a periodic box."""
    lower = np.floor(places).astype(np.int32)
    share = places - lower
    found = np.zeros_like(values)
    for corner in product((0, 1), repeat=3):
        weight = np.where(corner, share, 1 - share).prod(axis=-1)
        x, y, z = np.moveaxis((lower + np.array(corner, np.int32)) % len(values), -1, 0)
        found += values[x, y, z] * weight.reshape(weight.shape + (1,) * (values.ndim - 3))
    return found


if __name__ == "__main__":
    main()
