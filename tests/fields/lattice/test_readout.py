"""Readouts: what is linear in a channel's networks is fitted to it, and stored where that pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import SparseVolume
from inrv.fields.lattice import search
from inrv.fields.lattice.constants import INPUTS, RESTORATION_INPUTS, SLOPE
from inrv.fields.lattice.model import Differences, default_model
from inrv.fields.lattice.network import Floats, IntegerNetwork
from inrv.fields.lattice.readout import fitted_prediction, fitted_restoration
from inrv.fields.lattice.samples import PredictionSamples, RestorationSamples
from inrv.grids import sparse_grid
from testing.lattice import decoded, instant, noise, smooth

ODD, COUNT, WEIGHT = 2, 6_000, 20.0


def network() -> IntegerNetwork:
    """One of the default networks."""
    return default_model(False, True).networks[ODD]


def samples(missed: Callable[[Floats], NDArray[np.float64]]) -> PredictionSamples:
    """Voxels that the default network misses so, in spreads.

    missed: gives float64 (n,) for inputs float32 (n, k) in whole numbers
    """
    generator = np.random.default_rng(1)
    inputs = generator.integers(-40, 41, (COUNT, INPUTS[ODD])).astype(np.int8)
    spread = np.full(COUNT, 4.0, dtype=np.float32)
    predicted = network().outputs(network().rows(inputs, 16))[:, 0] / np.float32(2048)
    difference = spread * (predicted + missed(inputs.astype(np.float32)).astype(np.float32))
    far = np.full(COUNT, 1e6, dtype=np.float32)
    weight = np.full(COUNT, WEIGHT, dtype=np.float32)
    return PredictionSamples(inputs, difference, spread, spread, -far, far, weight)


def missed_by(fitted: IntegerNetwork, found: PredictionSamples) -> float:
    """The root of the mean squared error of its predictions, in steps."""
    outputs = fitted.outputs(fitted.rows(found.inputs, 16))[:, 0] / np.float32(2048)
    return float(np.sqrt(np.mean((found.difference - found.reach * outputs) ** 2)))


def test_what_is_linear_in_the_inputs_is_found() -> None:
    found = samples(lambda inputs: 0.01 * inputs[:, 3] - 0.006 * inputs[:, 20])
    fitted = fitted_prediction(network(), network(), found, SLOPE)
    assert missed_by(network(), found) > 0.8
    assert missed_by(fitted, found) < 0.1
    moved = fitted.tensors["skip.weight"][:, 0] - network().tensors["skip.weight"][:, 0]
    assert {3, 20} <= set(np.flatnonzero(moved).tolist())
    for name, tensor in network().tensors.items():
        if name.startswith(("first", "second")):
            assert np.array_equal(tensor, fitted.tensors[name])


def test_noise_is_not_learned() -> None:
    generator = np.random.default_rng(2)
    found = samples(lambda inputs: 0.5 * generator.standard_normal(len(inputs)))
    fitted = fitted_prediction(network(), network(), found, 0.0)
    moved = fitted.tensors["skip.weight"][:, 0] != network().tensors["skip.weight"][:, 0]
    assert moved.sum() <= 2


def test_a_prediction_beyond_the_range_may_stay_where_its_target_lies_at_its_end() -> None:
    """Predictions are clipped: those that end at the target are right, however far they went."""
    found = samples(lambda inputs: np.where(inputs[:, 0] > 0, 0.0, 3.0))
    low = np.where(found.inputs[:, 0] > 0, -np.float32(1e6), found.difference)
    fitted = fitted_prediction(network(), network(), found._replace(low=low), 0.0)
    shared = [
        np.abs(fitted.tensors[name][..., 0] - network().tensors[name][..., 0]).max()
        for name in ("last.weight", "skip.weight")
    ]
    assert max(shared) == 0


def test_the_filter_gives_errors_that_follow_from_its_inputs() -> None:
    begun = default_model(False, True).restoration
    assert begun is not None
    inputs = np.random.default_rng(3).integers(-40, 41, (COUNT, RESTORATION_INPUTS))
    inputs = inputs.astype(np.int8)
    already = begun.outputs(begun.rows(inputs, 32))[:, 0] / 16
    errors = already + 0.5 * inputs[:, 4].astype(np.float32)
    middle = np.full(COUNT, 5_000, dtype=np.float32)
    found = RestorationSamples(inputs, middle, errors)
    fitted = fitted_restoration(begun, begun, found, 10_000, SLOPE / 128**2, WEIGHT)
    outputs = fitted.outputs(fitted.rows(inputs, 32))[:, 0] / 16
    assert np.sqrt(np.mean((errors - already) ** 2)) > 10
    assert np.sqrt(np.mean((errors - outputs) ** 2)) < 1


def test_differences_come_back_as_they_were() -> None:
    default, generator = default_model(True, True, 2), np.random.default_rng(4)
    tensors = {
        name: tensor + (generator.integers(-9, 10, tensor.shape) if "last" in name else 0)
        for name, tensor in default.networks[ODD].tensors.items()
    }
    tensors = {
        name: np.clip(tensor, -127, 127).astype(np.float32) for name, tensor in tensors.items()
    }
    tensors["first.bias"] = default.networks[ODD].tensors["first.bias"]
    tensors["second.bias"] = default.networks[ODD].tensors["second.bias"]
    networks = {**default.networks, ODD: IntegerNetwork(tensors)}
    model = replace(default, networks=networks)
    found = Differences.of(model, default)
    assert (found.tables < 64).sum() == 2
    for (_, own), (_, other) in zip(model.tensors(), found.applied(default).tensors(), strict=True):
        assert np.array_equal(own, other)
    assert Differences.of(default, default).applied(default).weight_count == default.weight_count


@pytest.mark.parametrize("spreads", [40.0, 300.0, 5000.0])
def test_a_miss_by_many_spreads_gives_numbers_that_can_be_stored(spreads: float) -> None:
    found = samples(lambda inputs: np.full(len(inputs), spreads))
    found = found._replace(weight=np.full(COUNT, 1e5, dtype=np.float32))
    default = default_model(False, True)
    fitted = fitted_prediction(network(), network(), found, SLOPE)
    model = replace(default, networks={**default.networks, ODD: fitted})
    for (_, own), (_, other) in zip(
        model.tensors(), Differences.of(model, default).applied(default).tensors(), strict=True
    ):
        assert np.array_equal(own, other)


def test_a_channel_is_fitted_where_that_makes_its_file_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = smooth(48) + np.float32(0.02) * noise((48,) * 3, 3)
    volume = SparseVolume((sparse_grid(values),))

    def made() -> tuple[int, bool]:
        data, _ = inrv.encode_bytes(volume, instant(psnr=50))
        field = inrv.load(data, device="cpu").manifest.field
        assert field is not None
        (found,) = decoded(data)
        errors = found.view(np.float32).reshape(-1) - volume.grids[0].values[:, 0]
        assert -20 * np.log10(np.sqrt((errors**2).mean()) / np.ptp(values)) >= 50
        return len(data), field.config["channels"][0]["fitted"]

    fitted = made()
    with monkeypatch.context() as patched:
        patched.setattr(search, "LEAST_FITTED", 1 << 30)
        bare = made()
    assert fitted[1] and not bare[1] and fitted[0] < bare[0]


def test_bytes_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = SparseVolume((sparse_grid(smooth(40) + np.float32(0.05) * noise((40,) * 3, 5)),))
    found = set()
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("INRV_THREADS", threads)
        found.add(inrv.encode_bytes(volume, instant(psnr=50))[0])
    assert len(found) == 1
