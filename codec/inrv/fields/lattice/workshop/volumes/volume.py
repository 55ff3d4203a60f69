"""What a training volume is, and what its makers share: noise, coordinates, rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """Channels of one box.

    name: for people
    values: of each channel, float32 (X, Y, Z)
    active: which of each channel's voxels are active, bool
    background: of all channels
    family: the kind of volume
    """

    name: str
    values: tuple[Tensor, ...]
    active: tuple[Tensor, ...]
    background: float = 0.0
    family: str = ""


def cut(name: str, *values: Tensor, above: float = 0.0) -> TrainingVolume:
    """A volume in whose channels what lies above a threshold in absolute value is active."""
    channels = tuple(torch.where(value.abs() > above, value, 0.0).float() for value in values)
    return TrainingVolume(name, channels, tuple(value != 0 for value in channels))


def whole(name: str, *values: Tensor) -> TrainingVolume:
    """A volume whose box is all active, as dense files are."""
    channels = tuple(value.float() for value in values)
    return TrainingVolume(
        name, channels, tuple(torch.ones_like(value, dtype=torch.bool) for value in channels)
    )


def masked(name: str, active: Tensor, *values: Tensor) -> TrainingVolume:
    """A volume whose channels are active in the same voxels, and 0 elsewhere."""
    return TrainingVolume(
        name, tuple((value * active).float() for value in values), (active,) * len(values)
    )


def velocity(volume: TrainingVolume) -> TrainingVolume:
    """The volume as one of the family of velocities."""
    return replace(volume, family="velocity")


def half(value: Tensor) -> Tensor:
    """Rounded as a half-precision file has it."""
    return value.half().float()


def stepped(value: Tensor, bits: int) -> Tensor:
    """Rounded to so many bits over its range, as integers are, and kept in it."""
    low, high = value.min(), value.max()
    step = (high - low) / ((1 << bits) - 1)
    return ((value - low) / step).round() * step + low


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A number between two."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def noise(
    generator: torch.Generator, shape: tuple[int, ...], slope: float, cutoff: float = 1.0
) -> Tensor:
    """Gaussian noise (X, Y, Z) of mean 0 and deviation 1 whose amplitude falls as frequency^-slope,
    up to `cutoff` of Nyquist.
    """
    white = torch.fft.rfftn(torch.randn(shape, generator=generator))
    frequency = frequencies(shape).clamp_min(1 / max(shape))
    coloured = torch.fft.irfftn(
        white * frequency**-slope * torch.exp(-((frequency / (0.5 * cutoff)) ** 4)), s=shape
    )
    result: Tensor = (coloured - coloured.mean()) / coloured.std()
    return result


def waves(shape: tuple[int, ...]) -> Tensor:
    """The wave vectors of torch.fft.rfftn, in cycles a voxel: (3, X, Y, Z / 2 + 1)."""
    axes = [torch.fft.fftfreq(n) for n in shape[:-1]] + [torch.fft.rfftfreq(shape[-1])]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def frequencies(shape: tuple[int, ...]) -> Tensor:
    """The frequencies of torch.fft.rfftn, in cycles a voxel."""
    return waves(shape).square().sum(0).sqrt()


def blurred(value: Tensor, *deviation: float) -> Tensor:
    """A Gaussian filter of so many voxels (along each axis, or all), around the box's edges."""
    spread = torch.tensor(deviation if len(deviation) == 3 else deviation * 3)
    exponent = (waves(tuple(value.shape)) * spread[:, None, None, None]).square().sum(0)
    kept = torch.exp(-19.739208802178716 * exponent)  # 2 pi^2
    result: Tensor = torch.fft.irfftn(torch.fft.rfftn(value) * kept, s=value.shape)
    return result


def coordinates(shape: tuple[int, ...]) -> Tensor:
    """Position in the box, -1 to 1 along its longest edge: (3, X, Y, Z)."""
    axes = [(torch.arange(n) - (n - 1) / 2) / (max(shape) / 2) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def refined(value: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """At twice the resolution, or in another shape; between the voxels trilinear."""
    size = shape or tuple(2 * n for n in value.shape)
    grown: Tensor = functional.interpolate(value[None, None], size=size, mode="trilinear")[0, 0]
    return grown


def cells(generator: torch.Generator, shape: tuple[int, ...], edge: int) -> tuple[Tensor, Tensor]:
    """Distances (X, Y, Z) in voxels to the nearest and the next of points, one in each cube of so
    many voxels: Worley's noise.
    """
    counts = [-(-n // edge) + 2 for n in shape]
    jitter = torch.rand((3, *counts), generator=generator)
    at = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"))
    own, within = at // edge + 1, (at % edge + 0.5) / edge
    first = torch.full(shape, 9.0)
    second = first.clone()
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            for dz in (-1, 0, 1):
                offset = torch.tensor((dx, dy, dz))[:, None, None, None]
                x, y, z = own + offset
                away = (jitter[:, x, y, z] + offset - within).norm(dim=0)
                second = torch.minimum(second, torch.maximum(away, first))
                first = torch.minimum(first, away)
    return first * edge, second * edge


def around(value: Tensor, least: int = 56) -> tuple[slice, slice, slice]:
    """The box around what is not 0 in `value` (X, Y, Z).

    least: so many voxels long it is, where `value` is
    """
    slices = []
    for n, found in zip(value.shape, value.nonzero().unbind(-1), strict=True):
        low, high = max(0, int(found.min()) - 3), min(n, int(found.max()) + 4)
        missing = max(0, min(n, least) - (high - low))
        low = max(0, low - missing // 2)
        high = min(n, max(high, low + min(n, least)))
        slices.append(slice(max(0, min(low, high - least)), high))
    x, y, z = slices
    return x, y, z
