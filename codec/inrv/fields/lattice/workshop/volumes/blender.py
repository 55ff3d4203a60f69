"""What blender_runs.py has baked, where it has: smoke, fire, velocities and liquids' level sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from inrv.fields.lattice.workshop.volumes.volume import TrainingVolume, velocity
from inrv.files.vdb import read_volume
from inrv.grids import Box, Grid

BAKED = Path("build/training/blender")
FIRES, LIQUIDS = ("fire", "bonfire"), ("drop", "splash")


def smokes() -> Iterator[TrainingVolume]:
    """Densities with the temperatures, the finer ones of an up-res, and velocities."""
    for path in _files():
        if _scene(path) not in FIRES + LIQUIDS:
            yield from _gas(path, ("density", "temperature", "density_noise"))


def fires() -> Iterator[TrainingVolume]:
    """Soot, temperature and flame, the finer ones of an up-res, and velocities."""
    for path in _files():
        if _scene(path) in FIRES:
            names = ("density", "temperature", "flame", "density_noise", "flame_noise")
            yield from _gas(path, names)


def level_sets() -> Iterator[TrainingVolume]:
    """The surfaces of liquids, as the solver has them."""
    for path in _files():
        if _scene(path) in LIQUIDS:
            yield _boxed(f"Blender, {path.stem}", [_grids(path)["phi"]])


def _files() -> list[Path]:
    return sorted(BAKED.glob("*.vdb"))


def _scene(path: Path) -> str:
    return path.stem.split("-")[0]


def _grids(path: Path) -> dict[str, Grid]:
    """The grids that are not empty, by name."""
    grids = (grid for grid in read_volume(path).grids if isinstance(grid, Grid))
    return {grid.name: grid for grid in grids if len(grid.values)}


def _gas(path: Path, names: tuple[str, ...]) -> Iterator[TrainingVolume]:
    grids = _grids(path)
    scalars = [grids[name] for name in names if name in grids]
    if scalars:
        yield _boxed(f"Blender, {path.stem}", scalars)
    if "velocity" in grids:
        yield velocity(_boxed(f"Blender, {path.stem}", [grids["velocity"]]))


def _boxed(name: str, grids: list[Grid]) -> TrainingVolume:
    """Channels of the box around all active voxels of the grids."""
    places = [torch.from_numpy(grid.topology.coordinates()) for grid in grids]
    low, high = torch.cat(places).amin(0), torch.cat(places).amax(0)
    box = Box(tuple(low.tolist()), tuple(high.tolist()))
    values: list[Tensor] = []
    active: list[Tensor] = []
    for grid, found in zip(grids, places, strict=True):
        mask = torch.zeros(box.shape, dtype=torch.bool)
        mask[tuple((found - low).T)] = True
        channels = torch.from_numpy(grid.dense(box)).unbind(-1)
        values += [channel.contiguous() for channel in channels]
        active += [mask] * len(channels)
    return TrainingVolume(name, tuple(values), tuple(active), float(grids[0].background[0]))
