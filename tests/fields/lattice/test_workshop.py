"""The workshop makes default networks: a small round of it, on one small volume."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from inrv.core.lattice import TABLES, TOKENS
from inrv.fields.lattice.constants import INPUTS, RESTORATION_INPUTS
from inrv.fields.lattice.fitting import RealNetwork
from inrv.fields.lattice.model import DEFAULTS, RESTORATION_HIDDEN, RESTORATION_OUTPUTS
from inrv.fields.lattice.workshop import train
from inrv.fields.lattice.workshop.volumes import TrainingVolume
from testing.lattice import noise, smooth


def test_a_round_learns_from_what_it_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "BATCH", 512)
    monkeypatch.setattr(train, "QUALITIES", (40.0,))
    generator = torch.Generator().manual_seed(1)
    first = torch.from_numpy(smooth(32) + np.float32(0.05) * noise((32,) * 3, 1))
    volume = TrainingVolume("small", (first, 3 * first**2), (first > 0.2, first > 0.3))
    lessons = list(train._lessons([volume], generator))
    assert [lesson.reference for lesson in lessons] == 2 * [False, False, True]
    reals = {
        reference: {odd: train._fresh(odd, reference, generator) for odd in INPUTS}
        for reference in (False, True)
    }
    widths = RESTORATION_INPUTS, RESTORATION_HIDDEN, RESTORATION_OUTPUTS
    restoration = RealNetwork(*widths, generator)
    prior = train._logistic_prior()
    assert prior.shape == (TABLES, TOKENS) and prior.min() == 1
    for _ in range(2):
        prior = train._round(lessons, reals, restoration, prior, 30, generator)
    told = [
        int(size.replace(",", ""))
        for size in re.findall(r"([\d,]+) bytes", capsys.readouterr().out)
    ]
    assert len(told) == 2 and told[1] < 0.9 * told[0]
    train._save(reals, restoration, prior, tmp_path / "networks.safetensors")
    found, present = load_file(tmp_path / "networks.safetensors"), load_file(DEFAULTS)
    assert found.keys() == present.keys()
    for name, tensor in present.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
    assert found["prior"].min() >= 1
    assert all(tensor.any() for name, tensor in found.items() if name.endswith("skip.weight"))


def test_the_tables_begin_with_logistic_distributions_of_rising_deviation() -> None:
    shares = train._logistic_prior() / train._logistic_prior().sum(axis=1, keepdims=True)
    assert (np.diff(shares[:, 0]) <= 1e-6).all() and shares[0, 0] > 0.99 > 0.01 > shares[-1, 0]
    assert shares[-1].argmax() > 25
