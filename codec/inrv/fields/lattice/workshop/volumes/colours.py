"""Colours: channels that follow one another."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from inrv.fields.lattice.workshop.volumes.volume import (
    TrainingVolume,
    coordinates,
    half,
    masked,
    noise,
)


def colours(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Three channels that follow one another: few values, ramps, gradients of a palette, and light
    that falls off in fog.
    """
    for number in range(4):
        yield _labels(generator, number)
    for number in range(4):
        yield _palette(generator, number)
    for number in range(4):
        yield _lit(generator, number)


def _labels(generator: torch.Generator, number: int) -> TrainingVolume:
    """Plateaus of few colours, or of a ramp in each."""
    shape = (72, 64, 72)
    body = noise(generator, shape, 2.5) > -0.5
    labels = (noise(generator, shape, 2.4) * (2 + number)).round().clamp(-4, 4)
    ramp = coordinates(shape)[number % 3] * 0.5 + 0.5
    if number % 2:
        return masked(f"paint {number}", body, labels / 9 + 0.5, ramp, (1 - ramp).square())
    mixed = ((labels + 4) / 8, ramp * (labels + 5) / 9, (labels.cos() + 1) / 2)
    return masked(f"regions {number}", body, *mixed)


def _palette(generator: torch.Generator, number: int) -> TrainingVolume:
    """One quantity shown in the colours of a palette, as heat is."""
    shape = (80, 80, 64)
    value = noise(generator, shape, (1.7, 2.1, 2.6, 3.2)[number])
    value = torch.sigmoid(1.6 * value - coordinates(shape).norm(dim=0))
    channels = [
        (low + (high - low) * value ** (0.6 + 0.5 * axis)).clamp(0, 1)
        for axis, (low, high) in enumerate(((0.1, 1.2), (-0.2, 0.9), (0.3, 0.6 - 0.2 * number)))
    ]
    if number == 2:
        channels = [(255 * channel).round() / 255 for channel in channels]
    return masked(f"palette {number}", value > 0.12 * number, *channels)


def _lit(generator: torch.Generator, number: int) -> TrainingVolume:
    """Light that comes through fog from above in three colours, times the fog's density or not."""
    shape = (72, 72, 80)
    density = 0.6 - coordinates(shape).norm(dim=0) + 0.2 * noise(generator, shape, 2.0)
    density = density.clamp_min(0)
    depth = density.flip(2).cumsum(2).flip(2)
    fading = torch.tensor([0.05, 0.09, 0.2]) * (1 + number)
    light = [torch.exp(-rate * depth) for rate in fading.tolist()]
    shown = light if number % 2 else [3 * density * part for part in light]
    return masked(
        f"light in fog {number}", density > 1e-3, *(map(half, shown) if number > 1 else shown)
    )
