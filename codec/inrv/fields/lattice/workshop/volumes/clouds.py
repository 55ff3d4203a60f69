"""Clouds with hard and soft edges, and explosions, as shaders and renderers make them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from inrv.fields.lattice.workshop.volumes.volume import (
    TrainingVolume,
    cells,
    coordinates,
    cut,
    half,
    noise,
    uniform,
)

Shape = tuple[int, int, int]


def clouds(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """One cloud or explosion after the other."""
    for number, slope in enumerate((1.3, 1.6, 2.0, 2.4)):
        yield _fractal(generator, slope, number)
    for number, shape in enumerate(((112, 88, 80), (96, 96, 72), (128, 96, 96), (88, 88, 88))):
        yield _cauliflower(generator, shape, number)
    for number in range(3):
        yield _layer(generator, number)
    yield from (_anvil(generator, number) for number in range(2))
    for number in range(4):
        yield _explosion(generator, number)
    for number, slope in enumerate((2.8, 3.4, 4.2)):
        yield _haze(generator, slope, number)


def _fractal(generator: torch.Generator, slope: float, number: int) -> TrainingVolume:
    """Noise around a ball: soft edges, or hard ones over noise within."""
    shape = (96, 80, 88) if number % 2 else (80, 96, 72)
    field = 1.1 - 2.2 * coordinates(shape).norm(dim=0)
    field += 0.5 * noise(generator, shape, 2.2) + 0.2 * noise(generator, shape, slope)
    if number % 2:
        density = (field > 0) * (0.6 + 0.3 * noise(generator, shape, slope)).clamp(0.01, 1)
        return cut(f"fractal cloud, hard, slope {slope}", half(density), above=1e-3)
    density = field.clamp_min(0) ** (0.5 + 0.4 * number)
    return cut(f"fractal cloud, soft, slope {slope}", density, above=1e-3)


def _cauliflower(generator: torch.Generator, shape: Shape, number: int) -> TrainingVolume:
    """Balls upon balls upon balls, whose skin is eroded, with a ramp of a few voxels."""
    at = coordinates(shape) * (max(shape) / 2)
    distance = torch.full(shape, 1e3)
    size = 0.22 * min(shape)
    parents = [(torch.zeros(3), size)]
    for generation in range(3):
        children = []
        for centre, radius in parents:
            x, y, z = (
                slice(max(0, int(c + n / 2 - radius) - 14), max(0, int(c + n / 2 + radius) + 14))
                for c, n in zip(centre.tolist(), shape, strict=True)
            )
            away = (at[:, x, y, z] - centre[:, None, None, None]).norm(dim=0) - radius
            distance[x, y, z] = torch.minimum(distance[x, y, z], away)
            for _ in range((12, 6, 0)[generation]):
                way = torch.randn(3, generator=generator)
                way[2] = way[2].abs() * 0.8 - 0.1
                way = way / way.norm()
                children.append((centre + way * radius, radius * uniform(generator, 0.4, 0.75)))
        parents = children
    near, _ = cells(generator, shape, 9)
    small, _ = cells(generator, shape, 4)
    eroded = distance + 0.45 * near + 0.4 * small - 2 + 0.8 * noise(generator, shape, 1.6)
    ramp = (1.5, 4.0, 2.0, 7.0)[number]
    density = (-eroded / ramp).clamp(0, 1)
    if number % 2:
        density = density * (0.75 + 0.2 * noise(generator, shape, 1.9)).clamp(0.2, 1)
    return cut(f"cauliflower, ramp {ramp}", half(density) if number == 1 else density, above=5e-3)


def _layer(generator: torch.Generator, number: int) -> TrainingVolume:
    """A flat layer of cells, torn at its edges."""
    shape = (128, 112, 40)
    x, y, z = coordinates(shape)
    near, next_one = cells(generator, shape, (26, 18, 34)[number])
    cover = (next_one - near) / 10 + 0.35 * noise(generator, shape, (1.5, 1.8, 2.2)[number])
    height = 1 - ((z + 0.08 * noise(generator, shape, 2.4)) / 0.2).square()
    edge = 1.0 - (x.square() + y.square()).sqrt()
    density = (cover * height.clamp_min(0) * edge.clamp(0, 1)).clamp_min(0)
    density = density.clamp_max(1) if number else 1 - torch.exp(-3 * density)
    return cut(f"layer {number}", half(density) if number == 2 else density, above=4e-3)


def _anvil(generator: torch.Generator, number: int) -> TrainingVolume:
    """A tower that spreads out under a ceiling, in fibres."""
    shape = (112, 104, 88)
    x, y, z = coordinates(shape)
    billow = 0.14 * noise(generator, shape, 2.0)
    away = (x.square() + y.square()).sqrt() + billow
    tower = 0.26 + 0.1 * (5 * z).sin() - away
    fibres = noise(generator, (16, 104, 88), 1.4).repeat_interleave(7, 0)
    top = 0.85 - away - 0.5 * x.abs() + 0.1 * fibres
    flat = 1 - ((z - 0.5 + 0.05 * billow) / (0.12 + 0.06 * number)).square()
    density = torch.maximum(8 * tower.clamp_min(0) * (z < 0.55), 2 * top.clamp_min(0) * flat)
    wisps = 0.7 + 0.3 * noise(generator, shape, 1.7)
    return cut(f"anvil {number}", (density.clamp(0, 1) * wisps).clamp(0, 1), above=6e-3)


def _explosion(generator: torch.Generator, number: int) -> TrainingVolume:
    """Folded shells of hot gas with a hard cut-off: density, and the heat between the folds."""
    shape = (96, 96, 96) if number % 2 else (104, 88, 96)
    at = coordinates(shape)
    warp = torch.stack([noise(generator, shape, 2.3) for _ in range(3)])
    bent = at + 0.1 * warp
    away = bent.norm(dim=0)
    folds = torch.zeros(shape)
    for octave in range(4):
        grain = noise(generator, shape, 2.1, 0.9 / (1 + octave))
        folds += (1 - 2 * grain.abs()) / 2**octave
    shell = 0.62 + 0.1 * folds - away
    edge = (0.03, 0.08, 0.15, 0.02)[number]
    density = (shell / edge).clamp(0, 1) * (0.5 + 0.3 * folds).clamp(0.05, 1.5)
    heat = (shell.clamp_min(0) * (1.2 - folds).clamp_min(0) * 4) ** 1.5
    flame = torch.exp(-(((heat - 0.8) / 0.5) ** 2)) * (heat > 0.15)
    third = (flame,) if number % 2 else ()
    first, second = (half(density), half(heat)) if number < 2 else (density, heat)
    return cut(f"explosion {number}", first, second, *third, above=(2e-3, 0.01, 0.05, 0.02)[number])


def _haze(generator: torch.Generator, slope: float, number: int) -> TrainingVolume:
    """Very smooth density that is lognormal around a middle."""
    shape = (80, 80, 80)
    middle = torch.exp(-3 * coordinates(shape).square().sum(0))
    density = middle * torch.exp(0.5 * noise(generator, shape, slope))
    if number == 2:
        density = density * (1 + 0.5 * (math.pi * 3 * coordinates(shape)[2]).sin())
    return cut(f"haze, slope {slope}", half(density) if number == 1 else density, above=0.01)
