"""Made-up volumes for the default networks to learn from: smoke and fire, clouds, level sets,
flows, scans.

None of them is taken from a file: each follows from a seed and a few numbers, so that no test
    volume is learned by heart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from inrv.fields.lattice.workshop.fire_simulation import FireOptions, FireSimulation, centred


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """Channels of one box: values float32 (X, Y, Z) each, which of their voxels are active, bool,
    and the background.
    """

    name: str
    values: tuple[Tensor, ...]
    active: tuple[Tensor, ...]
    background: float = 0.0


def training_volumes(seed: int = 0) -> Iterator[TrainingVolume]:
    """All of them, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for make in (_fires, _clouds, _level_sets, _fogs, _flows, _scans, _plateaus):
        yield from make(generator)


def _volume(name: str, *values: Tensor, above: float = 0.0) -> TrainingVolume:
    """Active is what lies above a threshold in absolute value, in each channel."""
    channels = tuple(torch.where(value.abs() > above, value, 0.0).float() for value in values)
    return TrainingVolume(name, channels, tuple(value != 0 for value in channels))


def _half(value: Tensor) -> Tensor:
    return value.half().float()


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def noise(
    generator: torch.Generator, shape: tuple[int, ...], slope: float, cutoff: float = 1.0
) -> Tensor:
    """Gaussian noise (X, Y, Z) of mean 0 and deviation 1 whose amplitude falls as frequency^-slope,
    up to `cutoff` of Nyquist.
    """
    white = torch.fft.rfftn(torch.randn(shape, generator=generator))
    axes = [torch.fft.fftfreq(n) for n in shape[:-1]] + [torch.fft.rfftfreq(shape[-1])]
    frequency = (
        torch.stack(torch.meshgrid(*axes, indexing="ij"))
        .square()
        .sum(0)
        .sqrt()
        .clamp_min(1 / max(shape))
    )
    coloured = torch.fft.irfftn(
        white * frequency**-slope * torch.exp(-((frequency / (0.5 * cutoff)) ** 4)), s=shape
    )
    result: Tensor = (coloured - coloured.mean()) / coloured.std()
    return result


def _coordinates(shape: tuple[int, ...]) -> Tensor:
    """Position in the box, -1 to 1 along its longest edge: (3, X, Y, Z)."""
    axes = [(torch.arange(n) - (n - 1) / 2) / (max(shape) / 2) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _refined(value: Tensor) -> Tensor:
    """Twice the resolution, between the voxels trilinear."""
    grown: Tensor = functional.interpolate(
        value[None, None], scale_factor=2, mode="trilinear", align_corners=False
    )[0, 0]
    return grown


def _fires(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Burning gas at several instants; some as an upres of a coarse solver, with turbulence in the
    smoke; some cut off.
    """
    for number, (confinement, buoyancy, steps) in enumerate(
        itertools.product((0.15, 0.7), (0.15, 0.35), (60, 110))
    ):
        shape = (48, 48, 72) if number % 2 else (64, 64, 88)
        options = FireOptions(
            shape=shape, seed=100 + number, confinement=confinement, buoyancy=buoyancy
        )
        simulation = FireSimulation(options)
        for _ in range(steps):
            simulation.step()
        channels = [getattr(simulation, name).float() for name in ("temperature", "soot")]
        flames = (channels[0] - 0.4 * channels[0].max()).clamp_min(0) ** 1.5
        if number % 4 == 1:
            channels = [_refined(channel) for channel in channels]
            texture = noise(generator, tuple(channels[1].shape), 1.6)
            channels[1] = channels[1] * (1 + 0.35 * texture).clamp_min(0)
            flames = _refined(flames)
        peak = max(float(channel.max()) for channel in channels)
        cut = 0.002 * peak if number % 2 else 1e-4 * peak
        yield _volume(
            f"fire {number}",
            *(_half(channel) if number % 3 == 0 else channel for channel in channels),
            flames,
            above=cut,
        )
        velocity = centred(simulation.velocity)
        mask = simulation.soot > (-1.0 if number % 2 else cut)
        yield TrainingVolume(
            f"velocity {number}", tuple((c * mask).float() for c in velocity), (mask, mask, mask)
        )


def _clouds(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Hard-edged and soft clouds, with noise of several slopes inside."""
    for number, slope in enumerate((1.3, 1.5, 1.8, 2.1, 2.4, 2.8)):
        shape = (96, 72, 88) if number % 2 else (80, 96, 64)
        shape_noise = noise(generator, shape, 2.2)
        field = (
            1.1
            - 2.2 * _coordinates(shape).square().sum(0).sqrt()
            + 0.5 * shape_noise
            + 0.2 * noise(generator, shape, slope)
        )
        if number % 2:
            density = (field > 0) * (0.6 + 0.3 * noise(generator, shape, slope)).clamp(0.01, 1)
        else:
            density = field.clamp_min(0) ** (0.5 + 0.25 * number)
        yield _volume(f"cloud {number}", _half(density) if number % 3 == 0 else density, above=1e-3)


def _distance(generator: torch.Generator, number: int, shape: tuple[int, int, int]) -> Tensor:
    """Signed distance, in voxels, of a made-up shape."""
    at = _coordinates(shape) * (max(shape) / 2)
    size = min(shape) * 0.36
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    x, y, z = torch.einsum("ab,bxyz->axyz", turn, at)
    ball = torch.stack([x, y, z]).square().sum(0).sqrt() - size
    ring = (((x.square() + y.square()).sqrt() - size).square() + z.square()).sqrt() - 0.35 * size
    box = torch.stack([x.abs(), y.abs(), z.abs()]).amax(0) - 0.7 * size
    lump = ball + 3 * noise(generator, shape, 2.6)
    return (ball, ring, box, torch.minimum(box, ring), lump, torch.maximum(ball, -ring))[number % 6]


def _level_sets(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Narrow bands of three voxels."""
    for number in range(6):
        distance = _distance(generator, number, (72 + 8 * (number % 3), 80, 72))
        active = distance.abs() < 3
        values = distance.clamp(-3, 3) * 0.05
        yield TrainingVolume(
            f"level set {number}", (_half(values) if number % 2 else values,), (active,), 0.15
        )


def _fogs(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Shapes filled with fog that thins out towards their surface; very smooth blobs."""
    for number in range(4):
        distance = _distance(generator, number + 1, (88, 80, 96))
        yield _volume(f"fog {number}", (-distance / (3 + 4 * number)).clamp(0, 1), above=0.0)
    for number, slope in enumerate((2.8, 3.4, 4.2)):
        shape = (80, 80, 80)
        soft = torch.exp(-3 * _coordinates(shape).square().sum(0)) * torch.exp(
            0.5 * noise(generator, shape, slope)
        )
        yield _volume(f"blob {number}", _half(soft) if number == 1 else soft, above=0.01)


def _flows(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Vortices, shocks and boundary layers as solvers give them."""
    for number in range(4):
        x, y, z = _coordinates((64, 72, 80)) * (math.pi * (1 + number))
        u, v = x.sin() * y.cos() * z.cos(), -x.cos() * y.sin() * z.cos()
        w = 0.3 * (x + y).sin() + (8 * (z + 0.4 * x.sin())).tanh()
        eddies = [0.1 * number * noise(generator, (64, 72, 80), 5 / 3 + 1) for _ in range(3)]
        channels = tuple(
            (channel + eddy).float() for channel, eddy in zip((u, v, w), eddies, strict=True)
        )
        whole = torch.ones_like(channels[0], dtype=torch.bool)
        yield TrainingVolume(f"flow {number}", channels, (whole, whole, whole))


def _scans(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Tissues of constant value behind soft edges, with a scanner's noise."""
    for number, level in enumerate((0.004, 0.015, 0.04, 0.1)):
        shape = (72, 80, 64)
        body = torch.zeros(shape)
        for _ in range(9):
            centre = torch.rand(3, generator=generator)[:, None, None, None] * 1.2 - 0.6
            radii = 0.15 + 0.5 * torch.rand(3, generator=generator)[:, None, None, None]
            inside = torch.sigmoid(
                (1 - ((_coordinates(shape) - centre) / radii).square().sum(0)) * 12
            )
            body = body * (1 - inside) + _uniform(generator, 0.2, 1.0) * inside
        blur = noise(generator, shape, 0.0, cutoff=1.0 if number % 2 else 0.6)
        yield _volume(
            f"scan {number}", (body + level * blur).clamp_min(0), above=0.02 if number % 2 else -1.0
        )


def _plateaus(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Colours: few values, ramps, and channels that follow one another."""
    for number in range(2):
        shape = (64, 64, 64)
        labels = (noise(generator, shape, 2.4) * 2).round().clamp(-3, 3)
        ramp = _coordinates(shape)[number] * 0.5 + 0.5
        body = noise(generator, shape, 2.5) > -0.5
        channels = ((labels + 4) / 8, ramp * (labels + 5) / 9, (1 - ramp).square() * 0.9 + 0.05)
        yield TrainingVolume(
            f"colours {number}",
            tuple((channel * body).float() for channel in channels),
            (body, body, body),
        )
