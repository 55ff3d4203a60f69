"""Seismic images, wave fields, and sums of Gaussians as densities of electrons are."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from inrv.fields.lattice.workshop.volumes.volume import (
    TrainingVolume,
    coordinates,
    cut,
    half,
    noise,
    stepped,
    uniform,
    waves,
    whole,
)


def fields(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """One field after the other."""
    for number, level in enumerate((0.0, 0.1, 0.3, 0.6, 0.15)):
        yield _seismic(generator, level, number)
    for number in range(4):
        yield _wave(generator, number)
    for number in range(4):
        yield _electrons(generator, number)
    for number in range(2):
        yield _gravity(generator, number)


def _seismic(generator: torch.Generator, level: float, number: int) -> TrainingVolume:
    """Reflections of folded and faulted layers, as a wavelet shows them, with noise."""
    shape = ((96, 80, 96), (112, 72, 88), (80, 80, 112), (96, 96, 72), (88, 88, 96))[number]
    x, y, z = coordinates(shape)
    depth = (z + 1) * (max(shape) / 2)
    folds = noise(generator, (shape[0], shape[1]), 2.6)[:, :, None]
    depth = depth + 5 * folds + (2 + number) * (3 * x + 2 * y).sin()
    for fault in range(number):
        tilt = uniform(generator, -0.6, 0.6)
        side = x * math.cos(2.1 * fault) + y * math.sin(2.1 * fault) + tilt * z - 0.3 * (fault - 1)
        depth = depth + uniform(generator, 2, 9) * (side > 0)
    if number == 4:
        dome = ((x.square() + y.square()) / 0.16 + ((z + 0.9) / 1.1).square()).sqrt()
        depth = depth + 14 * torch.exp(-dome.square())
    # Reflections of layers of random thickness, finely sampled, at each voxel's own depth.
    fine, longest = 8, 220
    reflections = torch.randn(longest * fine, generator=generator)
    reflections *= torch.rand(longest * fine, generator=generator) < 0.03
    period = (5.0, 8.0, 6.0, 11.0, 4.0)[number]
    time = torch.arange(-4 * 12 * fine // 2, 4 * 12 * fine // 2 + 1) / fine
    squared = (math.pi * time / period).square()
    ricker = (1 - 2 * squared) * torch.exp(-squared)
    trace = functional.conv1d(reflections[None, None], ricker[None, None], padding="same")[0, 0]
    places = ((depth + 40).clamp(0, longest - 1) * fine).long()
    image = trace[places]
    image = image / image.std() * torch.exp(-0.6 * (z + 1)) + level * noise(generator, shape, 0.4)
    if number == 4:
        image = torch.where(dome < 0.75, 0.1 * noise(generator, shape, 0.8), image)
    if number == 3:
        image = stepped(image, 8)
    return whole(f"seismic {number}", half(image) if number == 1 else image)


def _wave(generator: torch.Generator, number: int) -> TrainingVolume:
    """Waves from several sources, standing waves, a pulse, and a field in uneven ground."""
    shape = (80, 80, 72)
    at = coordinates(shape)
    field = torch.zeros(shape)
    for _ in range((3, 0, 1, 5)[number]):
        centre = (torch.rand(3, generator=generator) - 0.5)[:, None, None, None] * 1.6
        away = (at - centre).norm(dim=0) + (
            0.03 * noise(generator, shape, 2.4) if number == 3 else 0
        )
        rate = uniform(generator, 20, 50)
        hull = torch.exp(-(((away - 0.7) / 0.15) ** 2)) if number == 2 else 1 / (0.15 + away)
        field += hull * (rate * away).sin()
    if number == 1:
        for _ in range(12):
            rates = torch.randint(1, 9, (3,), generator=generator) * (math.pi / 2)
            parts = (rates[:, None, None, None] * (at + 1)).cos()
            field += parts.prod(0) * float(torch.randn((), generator=generator))
    return whole(f"waves {number}", half(field) if number == 3 else field)


def _electrons(generator: torch.Generator, number: int) -> TrainingVolume:
    """Sums of Gaussians around atoms: a chain, a crystal, a cloud at low resolution, an orbital."""
    shape = ((88, 80, 80), (72, 72, 72), (96, 80, 80), (80, 80, 80))[number]
    at = coordinates(shape)
    density = torch.zeros(shape)
    if number == 3:
        x, y, z = at * 9
        away = at.norm(dim=0) * 9
        orbital = (z * z - (x * x + y * y) / 2) * torch.exp(-away / 1.6) * (6 - away)
        return cut("electrons, orbital", orbital, above=2e-3)
    if number == 1:
        for turn in ((7.0, 7.0, 7.0), (7.0, 14.0, 0.0), (14.0, 0.0, 7.0)):
            rates = torch.tensor(turn)[:, None, None, None] * math.pi / 2
            density += (rates * at).cos().prod(0)
        return whole("electrons, crystal", torch.exp(2.2 * density))
    place, edge = torch.zeros(3), max(shape) / 2
    for _ in range((160, 0, 420)[number]):
        step = torch.randn(3, generator=generator)
        place = place + (0.09 if number == 0 else 0.12) * step / step.norm()
        place = place.clamp(-0.7, 0.7)
        width = uniform(generator, 1.2, 2.2) if number == 0 else 3.2
        reach = int(4 * width)
        middle = [int(p * edge + (n - 1) / 2) for p, n in zip(place.tolist(), shape, strict=True)]
        x, y, z = (
            slice(max(0, m - reach), min(n, m + reach)) for m, n in zip(middle, shape, strict=True)
        )
        away = ((at[:, x, y, z] - place[:, None, None, None]) * edge).square().sum(0)
        weight = float(torch.randint(6, 17, (), generator=generator))
        density[x, y, z] += weight * torch.exp(-away / (2 * width**2)) / width**3
    if number == 2:
        density = density + 0.02 * float(density.max()) * noise(generator, shape, 0.6, 0.6)
        return whole("electrons, microscope's map", density)
    return cut("electrons, chain", density, above=1e-3 * float(density.max()))


def _gravity(generator: torch.Generator, number: int) -> TrainingVolume:
    """A web of matter (the logarithm of its density), and its potential and pull."""
    shape = (80, 80, 80)
    seed = noise(generator, shape, 1.9)
    matter = torch.exp(1.6 * seed + 0.3 * seed.square().clamp_max(6))
    if number == 0:
        return whole("web of matter, logarithm", matter.log10())
    squared = waves(shape).square().sum(0)
    spectrum = torch.fft.rfftn(matter - matter.mean()) / squared.clamp_min(1e-6)
    potential: Tensor = -torch.fft.irfftn(spectrum, s=shape)
    pull = torch.gradient(potential, dim=(0, 1, 2))
    return whole("pull of matter", *pull)
