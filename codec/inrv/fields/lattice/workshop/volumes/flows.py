"""Flows as solvers of fluid dynamics give them, in dense boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from inrv.fields.lattice.workshop.volumes.volume import (
    TrainingVolume,
    coordinates,
    half,
    masked,
    noise,
    uniform,
    waves,
    whole,
)

Shape = tuple[int, int, int]


def flows(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Velocities, pressures, vorticities and what is mixed, from smooth to turbulent."""
    for number in range(3):
        yield _taylor_green(generator, number)
    for number in range(3):
        yield from _turbulence(generator, number)
    for number in range(2):
        yield _shear(generator, number)
        yield _channel(generator, number)
        yield _shocks(generator, number)
        yield _wake(generator, number)
    for number in range(3):
        yield _mixing(generator, number)


def solenoidal(generator: torch.Generator, shape: Shape, slope: float, largest: float) -> Tensor:
    """A velocity (3, X, Y, Z) without divergence, whose energy falls as k^-slope from eddies of a
    share of the box down to those of some voxels.
    """
    wave = waves(shape)
    length = wave.norm(dim=0)
    white = torch.fft.rfftn(torch.randn((3, *shape), generator=generator), dim=(1, 2, 3))
    # A shell of radius k has k^2 modes, so that an amplitude falls as k^-(slope + 2) / 2.
    peak = 1 / (largest * max(shape))
    level = (length.square() + peak**2) ** (-(slope + 2) / 4) * torch.exp(-((length / 0.4) ** 2))
    along = (white * wave).sum(0) / length.square().clamp_min(1e-12)
    field = (white - along * wave) * level
    field[:, 0, 0, 0] = 0
    result: Tensor = torch.fft.irfftn(field, s=shape, dim=(1, 2, 3))
    return result / result.std()


def pressure_of(velocity: Tensor) -> Tensor:
    """The pressure (X, Y, Z) of a periodic flow: Poisson's equation of its gradients' products."""
    shape = tuple(velocity.shape[1:])
    wave = 2 * math.pi * waves(shape)
    total = torch.zeros(wave.shape[1:], dtype=torch.complex64)
    for a in range(3):
        for b in range(3):
            total -= wave[a] * wave[b] * torch.fft.rfftn(velocity[a] * velocity[b])
    squared = wave.square().sum(0)
    result: Tensor = torch.fft.irfftn(
        torch.where(squared > 0, total / squared.clamp_min(1e-12), 0), s=shape
    )
    return result


def vorticity(velocity: Tensor) -> Tensor:
    """The curl (3, X, Y, Z)."""
    x, y, z = (torch.stack(torch.gradient(part, dim=(0, 1, 2))) for part in velocity)
    return torch.stack([z[1] - y[2], x[2] - z[0], y[0] - x[1]])


def _taylor_green(generator: torch.Generator, number: int) -> TrainingVolume:
    """Regular vortices, alone, with their pressure, and as they decay into smaller ones."""
    shape = (64, 72, 80)
    x, y, z = coordinates(shape) * (math.pi * (1 + number))
    velocity = torch.stack(
        [x.sin() * y.cos() * z.cos(), -x.cos() * y.sin() * z.cos(), torch.zeros_like(x)]
    )
    if number == 1:
        pressure = ((2 * x).cos() + (2 * y).cos()) * ((2 * z).cos() + 2) / 16
        return whole(
            "Taylor-Green, pressure and vorticity", pressure, vorticity(velocity).norm(dim=0)
        )
    velocity = velocity + 0.15 * number * solenoidal(generator, shape, 5 / 3, 0.3)
    return whole(f"Taylor-Green {number}", *velocity)


def _turbulence(generator: torch.Generator, number: int) -> Iterator[TrainingVolume]:
    """Isotropic turbulence, and what is derived from it."""
    shape: Shape = ((80, 80, 80), (96, 96, 64), (72, 88, 72))[number]
    velocity = solenoidal(generator, shape, (5 / 3, 2.2, 3.0)[number], (0.5, 0.25, 0.3)[number])
    # Lognormal gusts make it come in bursts, as turbulence does.
    gusts = torch.exp(0.4 * noise(generator, shape, 1.8, 0.5))
    yield whole(f"turbulence {number}", *(half(velocity) if number == 1 else velocity * gusts))
    spinning = vorticity(velocity * gusts).norm(dim=0)
    if number == 0:
        yield whole("turbulence, vorticity", spinning)
    elif number == 1:
        yield whole("turbulence, pressure", pressure_of(velocity))
    else:
        strong = spinning > 1.3 * spinning.mean()
        yield masked("turbulence, strong vorticity", strong, spinning)


def _shear(generator: torch.Generator, number: int) -> TrainingVolume:
    """Two streams with rolls between them."""
    shape = (96, 56, 72)
    x, y, z = coordinates(shape)
    ripple = 0.06 * (2 * math.pi * 2 * x + 1.5 * (3 * y).sin()).sin()
    layer = (z + ripple) / (0.05 + 0.05 * number)
    rolls = torch.exp(-layer.square() / 6)
    eddies = solenoidal(generator, shape, 5 / 3, 0.2) * 0.25 * rolls
    u = layer.tanh() + eddies[0]
    w = 0.3 * rolls * (2 * math.pi * 2 * x).cos() + eddies[2]
    return whole(f"shear layer {number}", u, eddies[1], w)


def _channel(generator: torch.Generator, number: int) -> TrainingVolume:
    """A mean profile between walls, with streaks beside them that eddies lift."""
    shape = (112, 64, 56)
    _, _, z = coordinates(shape)
    wall = (1 - (z / z.max()).abs()).clamp_min(1e-3)
    mean = (1 + 30 * wall).log() / math.log(31)
    streaks = solenoidal(generator, (28, 64, 56), 5 / 3, 0.2)
    streaks = torch.nn.functional.interpolate(
        streaks[None], size=shape, mode="trilinear", align_corners=True
    )[0]
    strength = 6 * wall * torch.exp(-4 * wall) + 0.04
    eddies = (streaks + 0.5 * solenoidal(generator, shape, 5 / 3, 0.1)) * strength * 0.35
    velocity = (mean + eddies[0], eddies[1], eddies[2])
    return whole(f"channel {number}", *(map(half, velocity) if number else velocity))


def _shocks(generator: torch.Generator, number: int) -> TrainingVolume:
    """A blast wave and its reflection: jumps in density and pressure, smooth between."""
    shape = (80, 88, 80)
    at = coordinates(shape)
    density = torch.ones(shape)
    pressure = torch.ones(shape)
    for wave in range(2 + number):
        centre = torch.tensor([0.3 * wave, -0.2 * wave, -0.4 - wave])[:, None, None, None]
        away = (at - centre).norm(dim=0)
        away = away + 0.01 * noise(generator, shape, 2.6)
        front = 0.7 + 0.45 * wave
        behind = ((front - away) * 70).sigmoid()
        profile = torch.exp(-(front - away).clamp_min(0) * 5)
        density = density * (1 + 1.6 * behind * profile / (1 + wave))
        pressure = pressure * (1 + 4 * behind * profile / (1 + wave))
    contact = ((at[2] + 0.3 + 0.08 * noise(generator, shape, 2.2)) * 60).sigmoid()
    return whole(f"shocks {number}", density * (1 + 2 * contact), pressure)


def _wake(generator: torch.Generator, number: int) -> TrainingVolume:
    """A street of vortices behind a rod, which is no part of the flow."""
    shape = (128, 72, 40)
    x, y, z = coordinates(shape)
    u, v = torch.ones(shape), torch.zeros(shape)
    for vortex in range(9):
        side = 1 if vortex % 2 else -1
        place = -0.5 + 0.18 * vortex
        bend = 0.04 * (4 * z + vortex).sin()
        dx, dy = x - place - bend, y - side * (0.08 + 0.008 * vortex)
        squared = dx.square() + dy.square()
        core = 0.003 * (1 + 0.3 * vortex)
        spin = side * 0.09 * (1 - torch.exp(-squared / core)) / squared.clamp_min(1e-6)
        u, v = u + spin * dy, v - spin * dx
    eddies = solenoidal(generator, shape, 5 / 3, 0.12) * 0.15 * (number + torch.sigmoid(9 * x))
    rod = (x + 0.68).square() + y.square() > 0.09**2
    return masked(f"wake {number}", rod, u + eddies[0], v + eddies[1], eddies[2])


def _mixing(generator: torch.Generator, number: int) -> TrainingVolume:
    """A scalar folded by turbulence into sheets: two fluids, a rising plume, or layers."""
    shape = (80, 80, 88)
    at = coordinates(shape)
    warp = 0.22 * solenoidal(generator, shape, (2.6, 2.2, 3.4)[number], 0.5)
    x, y, z = at + warp * (0.6 if number == 1 else 1.0)
    if number == 0:
        return whole("mixing, two fluids", (z * 25).sigmoid())
    if number == 1:
        width = 0.12 + 0.2 * (z + 1)
        plume = torch.exp(-(x.square() + y.square()) / width.square()) / (1 + 2 * (z + 1))
        return whole("mixing, plume", plume, 300 + 40 * plume + 0.1 * z)
    salt = 35 + z + 0.4 * (9 * z).tanh() + uniform(generator, 0.1, 0.2) * (20 * z).sin()
    return whole("mixing, layers", salt, 12 - 3 * z + 0.2 * salt)
