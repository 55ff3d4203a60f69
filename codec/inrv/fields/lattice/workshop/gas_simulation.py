"""Smoke and fire for the networks to learn from: less exact than fire_simulation.py, and faster.

Velocities stand at the cells' centres. The pressure changes them through the faces, so that they
are never averaged back and forth. One tracing serves all quantities. A run can go on at twice its
resolution, where eddies of the new size are stirred in: that is how a coarse run becomes a fine
one in a few steps. Lengths are in cells and times in steps of the first resolution; z points up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from inrv.fields.lattice.workshop.fire_simulation import (
    PressureSolver,
    Velocity,
    cell_coordinates,
    centred,
    confinement,
    to_faces,
)

FUEL, REACTION, HEAT, SMOKE = range(4)
FASTEST = 8.0  # cells a step, along each axis


@dataclass(frozen=True)
class Emitter:
    """What gas comes from.

    centre: as a share of the box along each axis
    radius: as a share of the box's longest edge
    stretch: of the ball along each axis
    ring: how far the middle is left out, as a share of the radius
    fuel, smoke, heat: that are let out at the most
    push: velocity of what is let out, or zeros where it is left to the air
    until: the step with which it ends
    """

    centre: tuple[float, float, float] = (0.5, 0.5, 0.08)
    radius: float = 0.1
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ring: float = 0.0
    fuel: float = 0.0
    smoke: float = 1.0
    heat: float = 1.0
    push: tuple[float, float, float] = (0.0, 0.0, 0.0)
    until: int = 10_000


@dataclass(frozen=True)
class GasOptions:
    """A run's box, emitters, obstacles (centre and radius as an emitter's) and rates a step."""

    shape: tuple[int, int, int] = (48, 48, 72)
    emitters: tuple[Emitter, ...] = (Emitter(),)
    obstacles: tuple[tuple[tuple[float, float, float], float], ...] = ()
    seed: int = 0
    buoyancy: float = 0.12
    weight: float = 0.02
    confinement: float = 0.1
    cooling: float = 0.015
    dissipation: float = 0.003
    burning: float = 0.06
    soot: float = 1.0
    expansion: float = 0.12
    flicker: float = 0.5
    wind: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass
class GasSimulation:
    """State and step of a run.

    options: of the run
    scale: how much finer the cells are than at first
    time: in steps of the first resolution
    velocity: (3, X, Y, Z) float32 in a frame that goes with the wind
    scalars: (4, X, Y, Z) float32: fuel, reaction (1 where fuel is fresh), heat and smoke
    """

    options: GasOptions
    scale: int = 1
    time: float = 0.0
    velocity: Tensor = field(init=False)
    scalars: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.options.seed)
        self.velocity = torch.zeros((3, *self.options.shape))
        self.wind = torch.tensor(self.options.wind)[:, None, None, None]
        self.scalars = torch.zeros((4, *self.options.shape))
        self.flicker = torch.rand((16, 5), generator=self.generator)
        self._prepare()

    @property
    def flame(self) -> Tensor:
        """How bright the fire is (X, Y, Z): falls from 1 to 0 while the fuel burns."""
        return self.scalars[REACTION].clamp(0, 1).sqrt() * (self.scalars[FUEL] > 1e-4)

    @property
    def heat(self) -> Tensor:
        """Heat above the surrounding air (X, Y, Z)."""
        return self.scalars[HEAT]

    @property
    def smoke(self) -> Tensor:
        """Density of the smoke (X, Y, Z)."""
        return self.scalars[SMOKE]

    def run(self, steps: int) -> None:
        """Advance by so many steps, each shorter the finer the cells are."""
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        """Advance by one step."""
        burnt = self._burn()
        self._emit()
        self._add_forces()
        self._project(self.options.expansion * burnt)
        carried = _advect(torch.cat([self.velocity, self.scalars]), self.velocity + self.wind)
        self.velocity, self.scalars = carried[:3], carried[3:].clamp_min(0)
        self.time += 1 / self.scale

    def refine(self, turbulence: float = 0.0) -> None:
        """Go on at twice the resolution, with so strong eddies of a few cells where gas is."""
        both = torch.cat([self.velocity, self.scalars])[None]
        finer = functional.interpolate(both, scale_factor=2, mode="trilinear")[0]
        self.velocity, self.scalars = finer[:3], finer[3:]
        self.scale *= 2
        self._prepare()
        coarse = [n // 3 for n in self.velocity.shape[1:]]
        potential = functional.interpolate(
            torch.randn((1, 3, *coarse), generator=self.generator),
            size=self.velocity.shape[1:],
            mode="trilinear",
        )[0]
        x, y, z = (torch.stack(torch.gradient(part, dim=(0, 1, 2))) for part in potential)
        curl = torch.stack([z[1] - y[2], x[2] - z[0], y[0] - x[1]])
        gas = (self.smoke + self.heat + self.scalars[FUEL]).clamp_max(1)
        speed = self.velocity.norm(dim=0)
        self.velocity += turbulence * (0.2 + speed) * gas * curl / curl.std()

    def _prepare(self) -> None:
        shape = tuple(self.velocity.shape[1:])
        x, y, z = shape
        self.solver = PressureSolver((x, y, z))
        at = cell_coordinates(shape).movedim(-1, 0) + 0.5
        edges = torch.tensor(shape, dtype=torch.float32)[:, None, None, None]
        self.free = torch.ones(shape)
        for centre, radius in self.options.obstacles:
            away = (at - torch.tensor(centre)[:, None, None, None] * edges).norm(dim=0)
            self.free *= away > radius * max(shape)
        self.inlets = []
        for emitter in self.options.emitters:
            away = at - torch.tensor(emitter.centre)[:, None, None, None] * edges
            stretched = away / torch.tensor(emitter.stretch)[:, None, None, None]
            share = stretched.norm(dim=0) / (emitter.radius * max(shape))
            soft = 2.0 / (emitter.radius * max(shape))
            inlet = ((1 - share) / soft).clamp(0, 1) * ((share - emitter.ring) / soft).clamp(0, 1)
            self.inlets.append(inlet)
        self.at = at / max(shape)

    def _emit(self) -> None:
        for emitter, inlet in zip(self.options.emitters, self.inlets, strict=True):
            if self.time >= emitter.until:
                continue
            strength = inlet * self._flickering()
            for row, amount in ((FUEL, emitter.fuel), (HEAT, emitter.heat), (SMOKE, emitter.smoke)):
                self.scalars[row] = torch.maximum(self.scalars[row], amount * strength)
            if emitter.fuel:
                fresh = (inlet > 0.5).float()
                self.scalars[REACTION] = torch.maximum(self.scalars[REACTION], fresh)
            if any(emitter.push):
                push = torch.tensor(emitter.push)[:, None, None, None] - self.wind
                self.velocity = self.velocity * (1 - inlet) + push * inlet

    def _flickering(self) -> Tensor:
        """Lobes that come and go (X, Y, Z), 1 on average."""
        strength = torch.ones(self.at.shape[1:])
        for number, (a, b, c, phase, rate) in enumerate(self.flicker.tolist()):
            pace = 6 + 4 * number
            along = pace * (
                (a - 0.5) * self.at[0] + (b - 0.5) * self.at[1] + (c - 0.5) * self.at[2]
            )
            wave = (2 * math.pi * (along * 2 + phase) + 0.25 * (0.5 + rate) * self.time).sin()
            strength += self.options.flicker / 2 * wave / math.sqrt(1 + number)
        return strength.clamp_min(0)

    def _burn(self) -> Tensor:
        options = self.options
        fuel, reaction, heat, smoke = self.scalars.unbind()
        burnt = fuel.clamp_max(options.burning / self.scale)
        left = torch.where(fuel > 1e-4, (fuel - burnt) / fuel.clamp_min(1e-4), 0.0)
        smoke = smoke + options.soot * burnt * (1.2 - reaction).clamp_min(0)
        smoke = smoke * (1 - options.dissipation / self.scale)
        heat = heat + 2.5 * burnt
        heat = heat - options.cooling / self.scale * (heat + 0.3 * heat**3)
        self.scalars = torch.stack([fuel - burnt, reaction * left, heat.clamp_min(0), smoke])
        return burnt

    def _add_forces(self) -> None:
        options = self.options
        self.velocity = self.velocity + confinement(self.velocity, options.confinement / self.scale)
        lift = options.buoyancy * self.heat - options.weight * self.smoke
        noise = 0.8 + 0.4 * torch.rand(self.heat.shape, generator=self.generator)
        self.velocity[2] += lift * noise / self.scale

    def _project(self, divergence: Tensor) -> None:
        for _ in range(2 if self.options.obstacles else 1):
            self.velocity = self.velocity * self.free - self.wind * (1 - self.free)
            x, y, z = (to_faces(self.velocity[axis], axis) for axis in range(3))
            z[:, :, 0] = 0
            before: Velocity = (x, y, z)
            after = self.solver.project(before, divergence)
            x, y, z = (new - old for new, old in zip(after, before, strict=True))
            moved = self.velocity + centred((x, y, z))
            # Some of the faces' average damps what the faces cannot see.
            self.velocity = (0.96 * moved + 0.04 * centred(after)).clamp(-FASTEST, FASTEST)
        self.scalars = self.scalars * self.free


def _advect(values: Tensor, velocity: Tensor) -> Tensor:
    """Carry `values` (C, X, Y, Z) along `velocity` for a step: MacCormack's scheme, kept within the
    eight values that it interpolates.
    """
    shape = values.shape[1:]
    points = cell_coordinates(shape).movedim(-1, 0)
    halfway = points - 0.5 * velocity
    origin = points - _sample(velocity, halfway)
    # The way ahead is the way back, mirrored: that is exact enough for a correction.
    ahead = 2 * points - origin
    carried = _sample(values, origin)
    corrected = carried + 0.5 * (values - _sample(carried, ahead))
    x, y, z = (origin[axis].floor().long().clamp(0, n - 2) for axis, n in enumerate(shape))
    corner = (x * (shape[1] - 1) + y) * (shape[2] - 1) + z
    highest = functional.max_pool3d(values, 2, 1).flatten(1)[:, corner]
    lowest = -functional.max_pool3d(-values, 2, 1).flatten(1)[:, corner]
    return corrected.clamp(lowest, highest)


def _sample(values: Tensor, points: Tensor) -> Tensor:
    """Trilinear interpolation (C, X, Y, Z) at `points` (3, X, Y, Z) in cells; beyond the box the
    nearest value.
    """
    last = torch.tensor([n - 1 for n in values.shape[1:]], dtype=torch.float32)
    grid = (points.movedim(0, -1) * (2 / last) - 1).flip(-1)[None]
    return functional.grid_sample(values[None], grid, padding_mode="border", align_corners=True)[0]
