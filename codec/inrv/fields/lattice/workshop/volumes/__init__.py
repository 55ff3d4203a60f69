"""The volumes that the default networks learn from, in families.

None is taken from the files that the benchmarks measure. Most follow from a seed and a few numbers,
so that no volume is learned by heart. Blender's and those of other people's packages come along
where blender_runs.py and fetch_scans.py have fetched them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrv.fields.lattice.workshop import fire_simulation, gas_simulation
from inrv.fields.lattice.workshop.volumes import (
    blender,
    clouds,
    colours,
    flows,
    gas,
    meshes,
    scans,
    surfaces,
    volume,
    waves,
)
from inrv.fields.lattice.workshop.volumes.volume import TrainingVolume

__all__ = ["TrainingVolume", "training_volumes"]

Maker = Callable[[torch.Generator], Iterator[TrainingVolume]]
CACHE = Path("build/training")


def _smokes(generator: torch.Generator) -> Iterator[TrainingVolume]:
    yield from gas.smokes(generator)
    yield from blender.smokes()


def _fires(generator: torch.Generator) -> Iterator[TrainingVolume]:
    yield from gas.fires(generator)
    yield from blender.fires()


def _level_sets(generator: torch.Generator) -> Iterator[TrainingVolume]:
    yield from surfaces.level_sets(generator)
    yield from blender.level_sets()


@dataclass(frozen=True)
class Group:
    """What is made and kept together.

    family: of those volumes that name none of their own
    make: yields them
    modules: that they follow from
    """

    family: str
    make: Maker
    modules: tuple[ModuleType, ...]


GROUPS = (
    Group("smoke", _smokes, (gas, gas_simulation, blender)),
    Group("fire", _fires, (gas, gas_simulation, blender)),
    Group("cloud", clouds.clouds, (clouds,)),
    Group("level set", _level_sets, (surfaces, meshes, blender)),
    Group("fog", surfaces.fogs, (surfaces, meshes)),
    Group("scan", scans.scans, (scans,)),
    Group("flow", flows.flows, (flows,)),
    Group("field", waves.fields, (waves,)),
    Group("colour", colours.colours, (colours,)),
)


def training_volumes(seed: int = 0, share: float = 1.0) -> Iterator[TrainingVolume]:
    """The volumes of all families, the same for the same seed.

    seed: of all that is random in them
    share: of each family's volumes, which are picked evenly; at least one of each
    """
    for number, group in enumerate(GROUPS):
        path = CACHE / f"{group.family.replace(' ', '-')}-{_key(group, seed)}.npz"
        if not path.exists():
            generator = torch.Generator().manual_seed(1000 * seed + number)
            CACHE.mkdir(parents=True, exist_ok=True)
            _write(path, [_named(made, group) for made in group.make(generator)])
        with np.load(path) as held:
            entries = [tuple(entry) for entry in json.loads(str(held["index"]))]
            for place in _picked([family for family, *_ in entries], share):
                yield _read(held, place, entries[place])


def _named(made: TrainingVolume, group: Group) -> TrainingVolume:
    return replace(made, family=made.family or group.family)


def _picked(families: Sequence[str], share: float) -> list[int]:
    """The places of a share of each family, spread evenly over it."""
    places = []
    for family in dict.fromkeys(families):
        own = [place for place, other in enumerate(families) if other == family]
        wanted = max(1, round(share * len(own)))
        places += [own[number * len(own) // wanted] for number in range(wanted)]
    return sorted(places)


def _key(group: Group, seed: int) -> str:
    """A digest of all that a group's volumes follow from."""
    digest = hashlib.sha256(f"{seed} {torch.__version__}".encode())
    for module in (volume, fire_simulation, *group.modules):
        digest.update(Path(str(module.__file__)).read_bytes())
        if module in (blender, scans):
            folder = blender.BAKED if module is blender else scans.FETCHED
            for path in sorted(folder.glob("*")):
                digest.update(f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:16]


def _write(path: Path, volumes: list[TrainingVolume]) -> None:
    """Write the volumes whole or not at all; half-precision values as such."""
    arrays: dict[str, NDArray[Any]] = {}
    index = []
    for number, made in enumerate(volumes):
        for channel, (value, active) in enumerate(zip(made.values, made.active, strict=True)):
            exact = bool((value.half().float() == value).all())
            arrays[f"{number}.{channel}"] = (value.half() if exact else value).numpy()
            arrays[f"{number}.{channel}.active"] = np.packbits(active.numpy())
        index.append([made.family, made.name, made.background, len(made.values)])
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        np.savez(file, index=np.array(json.dumps(index)), **arrays)
    unfinished.replace(path)


def _read(held: Any, number: int, entry: tuple[Any, ...]) -> TrainingVolume:
    family, name, background, channels = entry
    values, active = [], []
    for channel in range(channels):
        value = held[f"{number}.{channel}"].astype(np.float32)
        bits = np.unpackbits(held[f"{number}.{channel}.active"], count=value.size)
        values.append(torch.from_numpy(value))
        active.append(torch.from_numpy(bits.astype(bool).reshape(value.shape)))
    return TrainingVolume(name, tuple(values), tuple(active), background, family)
