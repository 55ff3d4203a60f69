"""Computed tomography, magnetic resonance and microscopy: made-up ones, and those that Python
packages carry, where fetch_scans.py has put them into a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inrv.fields.lattice.workshop.volumes.volume import (
    TrainingVolume,
    blurred,
    cells,
    coordinates,
    cut,
    noise,
    stepped,
    whole,
)

Shape = tuple[int, int, int]
FETCHED = Path("build/training/scans")
LARGEST = 104  # voxels along an axis that are taken of a fetched volume


def scans(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Bodies, heads, bones, cells and fibres, with the artefacts of their machines."""
    for number, level in enumerate((6.0, 20.0, 45.0, 25.0)):
        yield _tomography(generator, level, number)
    for number, level in enumerate((0.01, 0.03, 0.08, 0.02)):
        yield _resonance(generator, level, number)
    for number, bones in enumerate((2.0, 2.6)):
        yield _bone(generator, bones, number)
    for number, photons in enumerate((12.0, 60.0, 400.0)):
        yield _nuclei(generator, photons, number)
    for number, photons in enumerate((30.0, 150.0)):
        yield _fibres(generator, photons, number)
    for path in sorted(FETCHED.glob("*.npy")):
        yield _fetched(path)


def _body(generator: torch.Generator, shape: Shape, values: tuple[float, ...]) -> Tensor:
    """Ellipsoids in ellipsoids, with the partial volume of their edges."""
    at = coordinates(shape)
    body = torch.zeros(shape)
    for number, value in enumerate(values):
        spread = 0.0 if number < 2 else 0.45
        centre = (torch.rand(3, generator=generator) - 0.5)[:, None, None, None] * 2 * spread
        radii = torch.rand(3, generator=generator)[:, None, None, None]
        radii = 0.85 - 0.07 * number + 0.03 * radii if number < 2 else 0.08 + 0.3 * radii
        away = ((at - centre) / radii).norm(dim=0) - 1 + 0.02 * noise(generator, shape, 2.6)
        inside = torch.sigmoid(-away * float(radii.mean()) * max(shape) / 1.6)
        body = body * (1 - inside) + value * inside
    return body


def _tomography(generator: torch.Generator, level: float, number: int) -> TrainingVolume:
    """Whole Hounsfield units, with the ripples, rings and streaks of a reconstruction."""
    shape = ((96, 96, 64), (88, 96, 72), (104, 88, 64), (80, 80, 80))[number]
    tissues = (1700.0, 1040.0, 1060.0, 990.0, 1300.0, 900.0, 1080.0, 200.0, 1050.0, 1950.0)
    body = blurred(_body(generator, shape, tissues), 0.7)
    x, y, _ = coordinates(shape)
    grain = noise(generator, shape, -0.6 if number % 2 else 0.0, (0.6, 0.9, 0.5, 0.8)[number])
    image = body + level * grain
    if number % 2:
        radius = ((x.square() + y.square()).sqrt() * 50).long()
        image += level * torch.randn(80, generator=generator)[radius]
    if number >= 2:
        angle = torch.atan2(y - 0.2, x + 0.3)
        image += 2 * level * (17 * angle).sin().clamp_min(0) ** 6 / (0.3 + (x + 0.3).abs())
    image = image.clamp_min(0).round() - 1024
    if number == 3:
        # Shown through a window, in 8 bits.
        image = ((image + 160) / 400).clamp(0, 1).mul(255).round()
        return cut(f"tomography, window, noise {level:.0f}", image)
    return whole(f"tomography, noise {level:.0f}", image)


def _resonance(generator: torch.Generator, level: float, number: int) -> TrainingVolume:
    """A folded sheet around a core, under a coil's uneven light, with Rician noise."""
    shape = ((80, 96, 80), (96, 96, 56), (72, 88, 72), (96, 112, 88))[number]
    at = coordinates(shape)
    skull = at.norm(dim=0) * 1.15 + 0.03 * noise(generator, shape, 3.0)
    folds = noise(generator, shape, 0.8, 0.22)
    grey = torch.sigmoid((0.5 - folds.abs()) * 9)
    brain = 0.85 - 0.35 * grey * (skull > 0.35)
    side = torch.stack([(at[0].abs() - 0.1) / 0.07, (at[1] - 0.05) / 0.3, at[2] / 0.16])
    holes = torch.sigmoid((1 - side.norm(dim=0) - 0.1 * folds) * 10)
    brain = brain * (1 - holes) + 0.12 * holes
    image = torch.where(skull < 0.8, brain, torch.where(skull < 0.86, 0.1, 0.0))
    image = torch.where((skull > 0.9) & (skull < 0.98), 0.95 + 0.1 * folds, image)
    image = blurred(image, 0.6, 0.6, (0.6, 1.6, 0.6, 0.9)[number])
    image = image * (1 + 0.25 * noise(generator, shape, 4.0))
    real = image + level * torch.randn(shape, generator=generator)
    other = level * torch.randn(shape, generator=generator)
    image = (real.square() + other.square()).sqrt()
    if number == 2:
        image = blurred(image, 0.5)
    if number == 3:
        # The air has been taken away, as a tool for brains does.
        return cut(f"resonance, brain, noise {level}", image * (skull < 0.8), above=1e-6)
    return whole(f"resonance, noise {level}", (image * 900).round() if number else image)


def _bone(generator: torch.Generator, slope: float, number: int) -> TrainingVolume:
    """The struts within a bone, thresholded or not."""
    shape = (96, 96, 80)
    struts = noise(generator, shape, slope, 0.3)
    bone = torch.sigmoid((0.3 - struts.abs()) * 12)
    x, y, _ = coordinates(shape)
    away = (x.square() + 1.3 * y.square()).sqrt()
    bone = torch.where(away > 0.72, 1.0, bone) * (away < 0.85)
    image = blurred(bone, 0.8) + 0.03 * noise(generator, shape, 0.3)
    if number:
        return cut("bone, thresholded", stepped(image, 16) * 3000, above=900.0)
    return whole("bone", stepped(image, 12) * 4095)


def _seen(generator: torch.Generator, light: Tensor, photons: float, bits: int) -> Tensor:
    """What a camera counts: shot noise, an offset and whole numbers."""
    counted = torch.poisson(light.clamp_min(0) * photons, generator=generator)
    counted += 1.5 * torch.randn(light.shape, generator=generator) + 5
    scale = ((1 << bits) - 1) / float(counted.max())
    return (counted * scale).round().clamp_min(0)


def _nuclei(generator: torch.Generator, photons: float, number: int) -> TrainingVolume:
    """Bright grainy cells under a microscope that blurs most along z."""
    shape = (112, 112, 48)
    near, next_one = cells(generator, shape, (20, 14, 26)[number])
    size = 0.3 * (20, 14, 26)[number]
    light = torch.sigmoid((size - near) * 1.5) * (1 + 0.35 * noise(generator, shape, 1.2, 0.6))
    light += 0.06 + 0.1 * torch.sigmoid((1.2 - (next_one - near)) * 2)
    light = blurred(light, 0.9, 0.9, 2.5)
    return whole(
        f"nuclei, {photons:.0f} photons", _seen(generator, light, photons, 8 if number < 2 else 16)
    )


def _fibres(generator: torch.Generator, photons: float, number: int) -> TrainingVolume:
    """Thin branched threads, sparse in the dark."""
    shape = (112, 96, 56)
    light = torch.zeros(shape)
    edges = torch.tensor(shape, dtype=torch.float32)
    for _ in range((24, 70)[number]):
        place = torch.rand(3, generator=generator) * edges
        way = torch.randn(3, generator=generator) * torch.tensor([1.0, 1.0, 0.4])
        for _ in range(260):
            way = way + 0.12 * torch.randn(3, generator=generator)
            way = way / way.norm()
            place = place + 0.5 * way
            x, y, z = place.long().tolist()
            if 0 <= x < shape[0] and 0 <= y < shape[1] and 0 <= z < shape[2]:
                light[x, y, z] += 1.0
    light = blurred(light, 1.0, 1.0, 2.0).clamp_min(0)
    image = _seen(generator, light / light.max() + 0.02, photons, 12)
    if number:
        return cut(f"fibres, {photons:.0f} photons, thresholded", image, above=300.0)
    return whole(f"fibres, {photons:.0f} photons", image)


def _fetched(path: Path) -> TrainingVolume:
    """The middle of a package's volume, in which 0 is nothing if most of it is 0."""
    values = torch.from_numpy(np.load(path).astype(np.float32))
    middle = values[
        tuple(
            slice(max(0, (n - LARGEST) // 2), max(0, (n - LARGEST) // 2) + LARGEST)
            for n in values.shape
        )
    ].contiguous()
    mostly_nothing = float((middle == 0).float().mean()) > 0.2
    return cut(path.stem, middle) if mostly_nothing else whole(path.stem, middle)
