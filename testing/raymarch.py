"""A ray marcher of fog that glows, in NumPy: what the viewer's shaders are held to.

It has the same camera, steps, light and colours as viewer/page, and no bricks, levels or skipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LIGHT, AMBIENT = np.array([2.1, 2.02, 1.9]), np.array([0.2, 0.23, 0.29])
SOOT, PALE = np.array([0.3, 0.29, 0.28]), np.full(3, 0.92)
BACKDROP = np.array([[0.008, 0.009, 0.012], [0.035, 0.04, 0.05]])  # bottom and top of 'dark'
LIGHT_EDGE = 64


@dataclass(frozen=True)
class Field:
    """Values between voxels.

    values: (X, Y, Z), the first of which lies at `lower` in index space
    background: beyond them
    matrix: (4, 4) of row vectors, from index space to world space
    """

    values: Array
    lower: Array
    background: float
    matrix: Array

    def at(self, world: Array) -> Array:
        """Interpolate at points (..., 3) of world space."""
        index = np.concatenate([world, np.ones((*world.shape[:-1], 1))], axis=-1)
        index = (index @ np.linalg.inv(self.matrix))[..., :3] - self.lower
        padded = np.pad(self.values, 1, constant_values=self.background)
        index = np.clip(index + 1, 0, np.array(padded.shape) - 1.001)
        low = np.floor(index).astype(np.int64)
        share, found = index - low, np.zeros(index.shape[:-1])
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, share, 1 - share), axis=-1)
            x, y, z = np.moveaxis(low + corner, -1, 0)
            found += weight * padded[x, y, z]
        return found


def picture(scene: dict[str, Any], density: Field, glow: Field | None) -> NDArray[np.uint8]:
    """Draw what the page draws by `drawExact`: uint8 (height, width, 3).

    scene: what the page tells of itself
    """
    width, height = scene["width"], scene["height"]
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    at = np.stack(np.meshgrid(x, y), axis=-1)[::-1]
    back = np.linalg.inv(np.array(scene["view"]).reshape(4, 4))  # column-major: of row vectors
    ends = [
        _divided(
            np.concatenate(
                [at * 2 - 1, np.full((*at.shape[:2], 1), z), np.ones((*at.shape[:2], 1))], axis=-1
            )
            @ back
        )
        for z in (-1.0, 1.0)
    ]
    ray = ends[1] - ends[0]
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    eye, lower, upper = ends[0], np.array(scene["lower"]), np.array(scene["upper"])
    sides = np.sort(np.stack([(lower - eye) / ray, (upper - eye) / ray]), axis=0)
    enter, leave = np.maximum(sides[0].max(axis=-1), 0), sides[1].min(axis=-1)
    step, absorption = scene["voxel"] * scene["stepVoxels"], scene["absorption"]
    light = _light(scene, density, step)
    color, through = np.zeros((height, width, 3)), np.ones((height, width))
    albedo = PALE if glow is None else SOOT
    for number in range(int(np.ceil(max((leave - enter).max(), 0) / step))):
        t = enter + (number + 0.5) * step
        inside = (t <= leave) & (through >= 0.003)
        if not inside.any():
            continue
        world = (eye + t[..., None] * ray)[inside]
        held = np.exp(-np.maximum(density.at(world), 0) * absorption * step)
        lit = albedo * (LIGHT * light.at(world)[:, None] + AMBIENT)
        more = through[inside, None] * (1 - held)[:, None] * lit
        if glow is not None:
            place = np.clip(glow.at(world) / scene["hottest"], 0, 1)
            sent = _black_body(place) * scene["glow"] * step
            more += through[inside, None] * sent
        color[inside] += more
        through[inside] *= held
    through[through < 0.003] = 0
    mixed = BACKDROP[0] + (BACKDROP[1] - BACKDROP[0]) * at[..., 1:]
    shown = 1 - np.exp(-(color + mixed * through[..., None]) * scene["exposure"])
    display = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    found: NDArray[np.uint8] = np.rint(255 * np.clip(display, 0, 1)).astype(np.uint8)
    return found


def _divided(points: Array) -> Array:
    found: Array = points[..., :3] / points[..., 3:]
    return found


def _light(scene: dict[str, Any], density: Field, step: float) -> Field:
    """The share of the light that reaches places of the box."""
    lower, upper = np.array(scene["lower"]), np.array(scene["upper"])
    size = upper - lower
    edges = np.maximum(2, np.floor(LIGHT_EDGE * size / size.max() + 0.5)).astype(int)
    axes = [(np.arange(edge) + 0.5) / edge * own for edge, own in zip(edges, size, strict=True)]
    world = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) + lower
    toward, stride = np.array(scene["toLight"]), 2 * scene["voxel"]
    sums = np.zeros(world.shape[:3])
    for number in range(int(np.ceil(np.linalg.norm(size) / stride))):
        place = world + (number + 0.5) * stride * toward
        sums += np.maximum(density.at(place), 0)
    values = np.exp(-sums * scene["absorption"] * stride)
    matrix = np.diag([*(size / edges), 1.0])
    matrix[3, :3] = lower + size / edges / 2
    return _Clamped(np.rint(values * 255) / 255, np.zeros(3), 0.0, matrix)


class _Clamped(Field):
    """A field that goes on beyond its sides, as textures do."""

    def at(self, world: Array) -> Array:
        """Interpolate."""
        first, last = self.matrix[3, :3], np.array(self.values.shape) - 1
        last = first + last * np.diag(self.matrix)[:3]
        return super().at(np.clip(world, first, last))


def _black_body(place: Array) -> Array:
    """Planck's law at three wavelengths, as in viewer/page/looks.ts, from its 256 colours."""
    kelvin, hottest = np.arange(256) / 255 * 2200, 2200.0
    metres = np.array([610e-9, 550e-9, 465e-9])

    def planck(metres: Any, heat: Any) -> Any:
        return metres**-5.0 / np.expm1(0.014387769 / (metres * heat))

    with np.errstate(over="ignore", divide="ignore"):
        colors = planck(metres, kelvin[:, None]) / planck(610e-9, hottest) * [1, 1, 1.15]
    colors[kelvin < 300] = 0
    at = np.clip(place * 256 - 0.5, 0, 255)  # where a texture has the middles of its texels
    return np.stack([np.interp(at, np.arange(256), own) for own in colors.T], axis=-1)
