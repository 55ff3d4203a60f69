"""Level sets of meshes and of implicit shapes, and fogs made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from inrv.fields.lattice.workshop.volumes.meshes import (
    ball,
    brick,
    bumpy,
    crystal,
    extruded,
    gear,
    lathe,
    octahedron,
    placed,
    signed_distance,
    star,
    terrain,
    tube,
    turned,
)
from inrv.fields.lattice.workshop.volumes.volume import (
    TrainingVolume,
    coordinates,
    half,
    noise,
    refined,
    uniform,
)

Shape = tuple[int, int, int]
BAND = 3.0  # half the width of a narrow band, in voxels
VASE = ((0, -1), (0.5, -1), (0.55, -0.9), (0.3, -0.6), (0.7, 0.1), (0.35, 0.7), (0.5, 1), (0, 0.9))
BOLT = ((0, -1), (0.25, -1), (0.3, -0.95), (0.3, 0.5), (0.6, 0.5), (0.6, 0.95), (0.5, 1), (0, 1))
PAWN = ((0, -1), (0.6, -1), (0.6, -0.8), (0.3, -0.6), (0.2, 0.2), (0.4, 0.3), (0.4, 0.8), (0, 1))


def level_sets(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Narrow bands in several units, in halves and floats; exact ones and ones with errors."""
    meshes = _meshes(generator, BAND + 2)
    for number, (name, distance) in enumerate((*meshes, *_implicit(generator, BAND + 2))):
        way = number % 4
        if way == 3:
            distance = marched(distance)
        unit = (1.0, 0.05, 0.1, 0.013)[(number // 2) % 4]
        values = distance.clamp(-BAND, BAND) * unit
        # An integration in time leaves noise in a level set that is not rebuilt.
        if number % 7 == 5:
            rough = noise(generator, tuple(values.shape), 0.8) * 0.02 * unit
            values = torch.where(distance.abs() < BAND, values + rough, values)
        background = BAND * unit
        if number % 2:
            values, background = half(values), float(torch.tensor(background).half())
        exact = "exact" if number < len(meshes) else "by a formula"
        kind = "as marched" if way == 3 else exact
        yield TrainingVolume(f"{name}, {kind}", (values,), (distance.abs() < BAND,), background)


def fogs(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """What OpenVDB makes of a level set: 1 within, and a ramp outwards, of several widths."""
    widths = (3.0, 3.0, 5.0, 8.0, 3.0, 12.0)
    shapes = (*_meshes(generator, BAND), *_implicit(generator, BAND))
    for number, (name, distance) in enumerate(shapes[1::2] + shapes[::4]):
        width = widths[number % len(widths)]
        fog = (-marched(distance, BAND - 0.1, 16) / width).clamp(0, 1)
        if number % 5 == 3:
            fog = fog * fog * (3 - 2 * fog)
        if number % 5 == 4:
            texture = noise(generator, tuple(fog.shape), 2.0, 0.7)
            fog = fog * (0.7 + 0.15 * texture).clamp(0.1, 1)
        fog = half(fog) if number % 3 == 1 else fog
        scale = 4.0 if number % 6 == 2 else 1.0
        yield TrainingVolume(f"{name}, ramp {width:.0f}", (fog * scale,), (fog > 0,))


def marched(distance: Tensor, known: float = 0.0, rounds: int = 10) -> Tensor:
    """Distances made anew by first-order steps, as a fast marching leaves them: their gradients are
    only about 1.

    known: up to which distances are left as they are; the voxels beside the surface are always
    """
    near = distance.abs() < known
    sign = torch.where(distance < 0, -1.0, 1.0)
    for axis in range(3):
        for way in (-1, 1):
            near |= sign != sign.roll(way, axis)
    away = torch.where(near, distance.abs(), torch.inf)
    for _ in range(rounds):
        sides = []
        for axis in range(3):
            sides.append(torch.minimum(away.roll(1, axis), away.roll(-1, axis)))
        a, b, c = torch.stack(sides).sort(0).values
        step = a + 1
        two = (a + b + (2 - (a - b).square()).clamp_min(0).sqrt()) / 2
        step = torch.where(step > b, two, step)
        total = a + b + c
        three = total.square() - 3 * (a * a + b * b + c * c - 1)
        step = torch.where(step > c, (total + three.clamp_min(0).sqrt()) / 3, step)
        step = torch.where(torch.isfinite(step), step, a + 1)
        away = torch.where(near, away, torch.minimum(away, step))
    # Beyond the last round nothing is known but that it is far.
    return away.clamp_max(rounds) * sign


def _meshes(generator: torch.Generator, band: float) -> tuple[tuple[str, Tensor], ...]:
    """Names and exact distances in voxels."""
    plate = brick(1.8, 1.2, 0.35)
    parts: tuple[tuple[str, list[Tensor], Shape], ...] = (
        ("octahedron", [turned(generator, octahedron())], (96, 96, 96)),
        ("gear", [turned(generator, extruded(gear(14), 0.4))], (112, 112, 96)),
        ("bumpy ball", [turned(generator, ball(40, bumpy(generator, 0.16)))], (88, 88, 88)),
        ("star", [turned(generator, extruded(star(7, 0.45), 0.5))], (96, 88, 88)),
        ("knot", [tube((2, 3), 0.13)], (112, 112, 72)),
        ("vase", [turned(generator, lathe(VASE))], (80, 88, 104)),
        ("terrain", [terrain(generator, 40, 1.7)], (104, 104, 72)),
        (
            "bricks",
            [plate, plate @ torch.tensor([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])],
            (96, 80, 96),
        ),
        ("bolt", [turned(generator, lathe(BOLT, 24))], (72, 80, 112)),
        ("crystals", list(crystal(generator, 9).split(36)), (96, 96, 96)),
        ("rough stone", [turned(generator, ball(14, bumpy(generator, 0.1)))], (80, 80, 80)),
        ("pawn", [lathe(PAWN)], (64, 64, 104)),
    )
    found = []
    for name, meshes, shape in parts:
        whole = placed(torch.cat(meshes), shape)
        split = whole.split([len(mesh) for mesh in meshes])
        found.append((name, signed_distance(split, shape, band)))
    return tuple(found)


def _implicit(generator: torch.Generator, band: float) -> tuple[tuple[str, Tensor], ...]:
    """Names and distances of shapes that formulas give: exact away from corners, or about."""
    at = coordinates((88, 88, 88)) * 44
    x, y, z = torch.einsum(
        "ab,bxyz->axyz", torch.linalg.qr(torch.randn((3, 3), generator=generator))[0], at
    )
    sphere = torch.stack([x, y, z]).norm(dim=0) - 36
    hole = (x.square() + y.square()).sqrt() - 15
    cube = torch.stack([x.abs(), y.abs(), z.abs()]).amax(0) - 28
    turn = torch.atan2(y, x)
    screw = (x.square() + y.square()).sqrt() - 20 - 4 * (3 * turn + 0.35 * z).sin()
    gyroid = (0.22 * x).sin() * (0.22 * y).cos() + (0.22 * y).sin() * (0.22 * z).cos()
    gyroid = (gyroid + (0.22 * z).sin() * (0.22 * x).cos()).abs() - 0.4
    blobs = torch.zeros_like(x)
    for _ in range(14):
        centre = (torch.rand(3, generator=generator) - 0.5)[:, None, None, None] * 46
        size = uniform(generator, 7, 15)
        blobs += torch.exp(-(at - centre).square().sum(0) / size**2)
    small = noise(generator, (44, 44, 44), 2.2)
    folds = refined(small) * 8 + 0.25 * sphere.clamp_min(-20)
    wavy = sphere + 14 + 6 * (z / 9).sin()
    shapes = {
        "cube less a ball": torch.maximum(cube, -sphere - 6),
        "ball with holes": torch.maximum(torch.maximum(sphere, -hole), -(cube + 9)),
        "screw": torch.maximum(_unit(screw), z.abs() - 38),
        "gyroid": torch.maximum(_unit(gyroid), sphere),
        "metaballs": _unit(0.35 - blobs),
        "folds": torch.maximum(_unit(folds), at.abs().amax(0) - 41),
        "smooth union": -5 * torch.logaddexp(-(cube + 8) / 5, -wavy / 5),
        "ripples": sphere + 5 + 1.5 * (0.5 * x).sin() * (math.pi * y / 9).sin(),
    }
    return tuple((name, shape.clamp(-band, band)) for name, shape in shapes.items())


def _unit(value: Tensor) -> Tensor:
    """A distance to first order: a function over the length of its gradient."""
    slope = torch.stack(torch.gradient(value, dim=(0, 1, 2))).norm(dim=0)
    result: Tensor = value / slope.clamp_min(0.02 * float(slope.mean()))
    return result
