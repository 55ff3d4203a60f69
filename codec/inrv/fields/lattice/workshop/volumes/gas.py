"""Smoke, fire and their velocities, from runs of gas_simulation.py, as several programs write them.

Each run is kept at three instants: young and old at the run's resolution, and once more after some
steps at twice the resolution, or for one run four times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from inrv.fields.lattice.workshop.gas_simulation import Emitter, GasOptions, GasSimulation
from inrv.fields.lattice.workshop.volumes.volume import (
    TrainingVolume,
    around,
    cut,
    half,
    masked,
    noise,
    refined,
    velocity,
    whole,
)


@dataclass(frozen=True)
class Run:
    """A run, and when it is kept.

    name: for people
    options: of the simulation
    young, old: steps after which it is kept
    fine: steps at twice the resolution after that, or 0
    turbulence: that is stirred in then
    """

    name: str
    options: GasOptions
    young: int
    old: int
    fine: int = 0
    turbulence: float = 0.3


def _burner(
    centre: tuple[float, float, float],
    radius: float,
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Emitter:
    """Fuel that is lit, without smoke."""
    return Emitter(centre, radius, stretch, fuel=1.0, smoke=0.0, heat=0.3)


SMOKES = (
    Run("column", GasOptions((48, 48, 72), confinement=0.08), 34, 60, 9),
    Run(
        "calm",
        GasOptions(
            (64, 64, 64),
            (Emitter((0.5, 0.5, 0.15), 0.16, smoke=0.7, heat=0.4),),
            confinement=0.0,
            flicker=0.1,
            buoyancy=0.06,
        ),
        40,
        75,
    ),
    Run(
        "three sources, an obstacle and wind",
        GasOptions(
            (64, 44, 48),
            (
                Emitter((0.2, 0.3, 0.1), 0.07, smoke=1.5),
                Emitter((0.3, 0.7, 0.1), 0.1, (1, 1, 0.5), smoke=0.6),
                Emitter((0.15, 0.5, 0.5), 0.06, heat=0.3, push=(1.2, 0, 0)),
            ),
            obstacles=(((0.5, 0.4, 0.45), 0.13),),
            wind=(0.5, 0.0, 0.0),
            confinement=0.12,
            seed=1,
        ),
        30,
        50,
        9,
    ),
    Run(
        "ground fog",
        GasOptions(
            (72, 72, 32),
            (Emitter((0.4, 0.5, 0.4), 0.14, (1, 1, 0.6), smoke=1.2, heat=0.0),),
            weight=0.09,
            confinement=0.05,
            dissipation=0.0,
            seed=2,
        ),
        26,
        48,
        7,
    ),
    Run(
        "ring",
        GasOptions(
            (44, 44, 64),
            (Emitter((0.5, 0.5, 0.2), 0.2, (1, 1, 0.3), ring=0.4, smoke=2.0, until=24),),
            confinement=0.2,
            buoyancy=0.16,
            dissipation=0.012,
            seed=3,
        ),
        24,
        46,
        9,
        0.6,
    ),
    Run(
        "jets",
        GasOptions(
            (72, 40, 40),
            (
                Emitter((0.06, 0.5, 0.4), 0.07, heat=0.2, push=(1.8, 0, 0.2)),
                Emitter((0.94, 0.5, 0.6), 0.05, heat=0.2, smoke=0.5, push=(-1.6, 0.1, 0)),
            ),
            confinement=0.1,
            buoyancy=0.05,
            seed=4,
        ),
        30,
        55,
        8,
    ),
)
FIRES = (
    Run(
        "burner",
        GasOptions((44, 44, 72), (_burner((0.5, 0.5, 0.06), 0.11, (1, 1, 0.5)),), seed=5),
        36,
        60,
        9,
    ),
    Run(
        "campfire",
        GasOptions(
            (52, 52, 64),
            (
                _burner((0.45, 0.4, 0.07), 0.09, (1.6, 0.6, 0.6)),
                _burner((0.6, 0.55, 0.08), 0.08, (0.6, 1.5, 0.6)),
                _burner((0.42, 0.62, 0.06), 0.06),
            ),
            confinement=0.16,
            burning=0.09,
            soot=2.0,
            flicker=0.9,
            seed=6,
        ),
        34,
        56,
        9,
        0.5,
    ),
    Run(
        "fireball",
        GasOptions(
            (60, 60, 60),
            (Emitter((0.5, 0.5, 0.3), 0.14, fuel=2.2, smoke=0.3, heat=0.6, until=5),),
            burning=0.05,
            expansion=0.3,
            soot=2.5,
            confinement=0.14,
            flicker=1.2,
            seed=7,
        ),
        15,
        34,
        10,
        0.7,
    ),
    Run(
        "line",
        GasOptions(
            (76, 36, 52),
            (_burner((0.5, 0.5, 0.07), 0.1, (3.6, 0.6, 0.6)),),
            burning=0.12,
            confinement=0.06,
            cooling=0.03,
            wind=(0.0, 0.2, 0.0),
            flicker=0.9,
            seed=8,
        ),
        30,
        48,
        8,
    ),
    Run(
        "slow flames",
        GasOptions(
            (56, 56, 72),
            (Emitter((0.5, 0.5, 0.1), 0.15, (1, 1, 0.5), fuel=0.7, smoke=0.0, heat=0.2),),
            burning=0.03,
            buoyancy=0.06,
            confinement=0.02,
            flicker=0.25,
            seed=9,
        ),
        40,
        64,
    ),
    Run(
        "flame thrower",
        GasOptions(
            (72, 40, 44),
            (Emitter((0.08, 0.5, 0.35), 0.06, fuel=1.6, smoke=0.0, heat=0.5, push=(2.4, 0, 0.3)),),
            burning=0.07,
            confinement=0.12,
            buoyancy=0.08,
            obstacles=(((0.7, 0.5, 0.4), 0.1),),
            seed=10,
        ),
        24,
        42,
        8,
    ),
)


@dataclass(frozen=True, eq=False)
class State:
    """What of a run is written: (X, Y, Z) each, and the velocity (3, X, Y, Z) in cells a step."""

    name: str
    smoke: Tensor
    heat: Tensor
    flame: Tensor
    velocity: Tensor


def smokes(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Densities, some with the heat, and velocities."""
    for number, state in enumerate(_states(SMOKES)):
        yield _written_smoke(number, state, generator)
        yield from _velocities(number, state)


def fires(generator: torch.Generator) -> Iterator[TrainingVolume]:
    """Flames, heat and soot, and velocities."""
    for number, state in enumerate(_states(FIRES)):
        yield _written_fire(number, state, generator)
        yield from _velocities(number + 1, state)


def _states(runs: tuple[Run, ...]) -> Iterator[State]:
    for run in runs:
        simulation = GasSimulation(run.options)
        simulation.run(run.young)
        yield _state(f"{run.name}, young", simulation)
        simulation.run(run.old - run.young)
        yield _state(f"{run.name}, old", simulation)
        if run.fine:
            simulation.refine(run.turbulence)
            simulation.run(run.fine)
            yield _state(f"{run.name}, fine", simulation)


def _state(name: str, simulation: GasSimulation) -> State:
    """The box around the gas, or the whole box where the gas fills it."""
    box = around((simulation.smoke + simulation.heat + simulation.flame) > 1e-3)
    everything = (simulation.smoke, simulation.heat, simulation.flame)
    smoke, heat, flame = (field[box].clone() for field in everything)
    carried = torch.stack([part[box] for part in simulation.velocity + simulation.wind])
    return State(name, smoke, heat, flame, carried)


def _written_smoke(number: int, state: State, generator: torch.Generator) -> TrainingVolume:
    """As one of several programs writes smoke."""
    way, name, density = number % 5, state.name, state.smoke
    if way == 0:
        # Small values are dropped, and the numbers are halves.
        return cut(name, half(density), above=1e-3)
    if way == 1:
        # A dense box, with the heat, all of it active.
        return whole(name, density, state.heat)
    if way == 2:
        # Everything above nearly nothing is kept, and whole leaves are active around it.
        active = _leaves(density > 1e-4)
        return masked(name, active, density * (density > 1e-6), state.heat * (state.heat > 1e-6))
    if way == 3:
        # An up-res multiplies the density with noise, here twice as fine as the solver.
        fine = density if max(density.shape) > 90 else refined(density)
        texture = noise(generator, tuple(fine.shape), 1.7, 0.9)
        return cut(name, fine * (1 + 0.3 * texture).clamp_min(0), above=2e-3)
    # A shader's response: contrast, a hard edge, and saturation.
    return cut(name, half((1.5 * density).clamp(0, 1) ** 1.6), above=0.02)


def _written_fire(number: int, state: State, generator: torch.Generator) -> TrainingVolume:
    """As one of several programs writes fire: flames and heat follow one another."""
    way, name = number % 4, state.name
    if way == 0:
        # Half precision and a hard cut-off in every channel.
        return cut(name, half(state.flame), half(state.heat), half(state.smoke), above=2e-3)
    if way == 1:
        # Kelvin above the air's, a bright core, and soot.
        kelvin = 900 * state.heat.clamp_max(2.2)
        flame = (state.heat - 0.5).clamp_min(0) ** 1.8
        return cut(name, kelvin, 400 * flame, 500 * state.smoke, above=4.0)
    if way == 2:
        # Hardly anything is dropped.
        return cut(name, state.smoke, state.heat, state.flame, above=1e-6)
    # An up-res writes finer soot and flames than the solver's.
    fine = state.smoke if max(state.smoke.shape) > 90 else refined(state.smoke)
    texture = 1 + 0.35 * noise(generator, tuple(fine.shape), 1.6)
    flame = refined(state.flame, tuple(fine.shape)) * texture.clamp(0.2, 1.6)
    heat = refined(state.heat, tuple(fine.shape))
    return cut(name, fine * texture.clamp_min(0), heat, flame, above=5e-3)


def _velocities(number: int, state: State) -> Iterator[TrainingVolume]:
    """Of two in three states: where gas is, in the leaves around it, or in the whole box."""
    way, name = number % 6, state.name
    gas = (state.smoke + state.heat + state.flame) > 2e-3
    metres = state.velocity * 2.4
    if way == 0:
        yield velocity(masked(name, gas, *metres))
    elif way == 2:
        yield velocity(masked(name, _leaves(gas), *half(metres)))
    elif way == 3:
        yield velocity(whole(name, *state.velocity))
    elif way == 5:
        yield velocity(masked(name, gas, *half(state.velocity)))


def _leaves(active: Tensor) -> Tensor:
    """All voxels of the 8^3 leaves that have an active one."""
    shape = active.shape
    padding = [amount for n in reversed(shape) for amount in (0, -n % 8)]
    padded = torch.nn.functional.pad(active[None].float(), padding)
    leaves = torch.nn.functional.max_pool3d(padded, 8)
    grown = leaves.repeat_interleave(8, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)[0]
    return grown[: shape[0], : shape[1], : shape[2]] > 0
