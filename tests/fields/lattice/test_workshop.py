"""The workshop makes default networks: a small round on a small volume, and what volumes are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from inrv.core.lattice import QUANTISERS, TABLES, TOKENS
from inrv.fields.lattice.constants import SETS
from inrv.fields.lattice.model import DEFAULTS
from inrv.fields.lattice.workshop import train, volumes
from inrv.fields.lattice.workshop.gas_simulation import Emitter, GasOptions, GasSimulation
from inrv.fields.lattice.workshop.volumes import (
    TrainingVolume,
    flows,
    meshes,
    surfaces,
    training_volumes,
)
from inrv.fields.lattice.workshop.volumes.volume import waves
from testing.lattice import noise, smooth


def test_a_round_learns_from_what_it_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "BATCH", 512)
    monkeypatch.setattr(train, "QUALITIES", (40.0,))
    generator = torch.Generator().manual_seed(1)
    first = torch.from_numpy(smooth(32) + np.float32(0.05) * noise((32,) * 3, 1))
    volume = TrainingVolume("small", (first, 3 * first**2), (first > 0.2, first > 0.3))
    lessons = list(train.lessons_of([volume], generator))
    assert [lesson.reference for lesson in lessons] == 2 * [False, False, True]
    sets = [train.NetworkSet.fresh(generator)]
    prior = train._logistic_prior()
    assert prior.shape == (QUANTISERS, TABLES, TOKENS) and prior.min() == 1
    for _ in range(2):
        prior = train._round(lessons, sets, prior, True, train.Steps(30, 4e-3), generator)
    sizes = [int(size) for size in re.findall(r"'': (\d+)", capsys.readouterr().out)]
    assert len(sizes) == 2 and sizes[1] < 0.9 * sizes[0]
    train._save(SETS * sets, prior, tmp_path / "networks.safetensors")
    found, present = load_file(tmp_path / "networks.safetensors"), load_file(DEFAULTS)
    assert found.keys() == present.keys()
    for name, tensor in present.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
    assert found["prior"].min() >= 1
    assert all(tensor.any() for name, tensor in found.items() if name.endswith("skip.weight"))


def test_the_tables_begin_with_logistic_distributions_of_rising_deviation() -> None:
    for counts in train._logistic_prior():
        shares = counts / counts.sum(axis=1, keepdims=True)
        assert (np.diff(shares[:, 0]) <= 1e-6).all() and shares[0, 0] > 0.99 > 0.01 > shares[-1, 0]
        assert shares[-1].argmax() > 25


def test_the_distance_to_a_mesh_is_exact_and_signed() -> None:
    mesh = meshes.placed(meshes.ball(48), (32, 32, 32), margin=6)
    centre = mesh.flatten(0, 1).amin(0) / 2 + mesh.flatten(0, 1).amax(0) / 2
    at = torch.stack(torch.meshgrid(*[torch.arange(32.0)] * 3, indexing="ij"))
    ball = (at - centre[:, None, None, None]).norm(dim=0) - 10
    found = meshes.signed_distance([mesh], (32, 32, 32), 4.0)
    assert (found - ball.clamp(-4, 4)).abs().max() < 0.05
    marched = surfaces.marched(found)
    near = ball.abs() < 4
    assert 0.01 < (marched - ball)[near].abs().max() < 0.7


def test_turbulence_has_no_divergence() -> None:
    generator = torch.Generator().manual_seed(1)
    velocity = flows.solenoidal(generator, (32, 24, 40), 5 / 3, 0.5)
    spectrum = torch.fft.rfftn(velocity, dim=(1, 2, 3))
    along = (spectrum * waves((32, 24, 40))).sum(0).abs()
    # A real field cannot hold the phase of the highest wave of an even axis.
    assert along[:16, :12, :20].max() < 1e-4 * spectrum.abs().max()


def test_gas_rises_and_stays_finite_at_twice_the_resolution() -> None:
    simulation = GasSimulation(GasOptions((16, 16, 24), (Emitter(radius=0.15, fuel=1.0),)))
    simulation.run(12)
    simulation.refine(0.3)
    simulation.run(3)
    assert simulation.smoke.shape == (32, 32, 48)
    assert simulation.flame.max() > 0.5 and simulation.velocity[2].max() > 0.5
    assert torch.isfinite(simulation.velocity).all()


def test_volumes_are_kept_and_a_share_of_each_family_is_picked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[int]()

    def make(generator: torch.Generator) -> Iterator[TrainingVolume]:
        made.append(1)
        for number in range(10):
            values = torch.randn((3, 4, 5), generator=generator)
            values = values.half().float() if number % 2 else values
            family = "odd" if number % 2 else ""
            yield TrainingVolume(f"{number}", (values,), (values > 0,), 0.5, family)

    monkeypatch.setattr(volumes, "CACHE", tmp_path)
    monkeypatch.setattr(volumes, "GROUPS", (volumes.Group("even", make, (flows,)),))
    first, second = list(training_volumes(3)), list(training_volumes(3))
    assert made == [1] and [volume.family for volume in first] == ["even", "odd"] * 5
    for one, other in zip(first, second, strict=True):
        assert (one.name, one.background) == (other.name, other.background)
        assert torch.equal(one.values[0], other.values[0])
        assert torch.equal(one.active[0], other.values[0] > 0)
    some = [volume.name for volume in training_volumes(3, share=0.4)]
    assert some == ["0", "1", "4", "5"]
    assert not torch.equal(next(training_volumes(4)).values[0], first[0].values[0])
