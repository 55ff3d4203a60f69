"""The network of the field `fourier`: equation 1, proportions, tensors as a file stores them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from inrv.errors import FormatError, OptionError
from inrv.fields.fourier.defaults import (
    BITS,
    multipliers_for,
    network_for,
    proportions,
    within_bytes,
)
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.plain import plain_outputs
from inrv.fields.fourier.quantisation import PRECISIONS, dequantise, on_steps, quantise
from inrv.fields.fourier.shape import FourierConfig, check_tensors, network_weights
from inrv.fields.fourier.store import deviation
from inrv.grids import Box
from inrv.options import EncodeOptions


def small_network(outputs: int = 2, activation: str = "silu") -> FourierNetwork:
    config = FourierConfig(12, 3, 16, outputs, (1.0, -2.0, 3.0), 1 / 40, activation)
    return FourierNetwork(config, torch.linspace(1, 6, 12), torch.Generator().manual_seed(4))


def test_paper_preset_has_the_papers_weights_and_compression() -> None:
    box = Box((0, 0, 0), (238, 238, 386))
    config, rounding = network_for(
        EncodeOptions(preset="paper"), values=1, outputs=2, box=box, most_bytes=None
    )
    network = FourierNetwork(
        config, multipliers_for(EncodeOptions(preset="paper"), config), torch.Generator()
    )
    assert network.weight_count == 3_150_850 and rounding is None
    assert round(239 * 239 * 387 * 2 / network.weight_count, 1) == 14.0
    assert network.multipliers.tolist() == [2.5] * 1280
    assert network_weights(1280, 8, 512, 2) == 3_150_850


def test_the_default_network_keeps_the_ratio_and_the_proportions() -> None:
    for values in (10_000, 524_000, 13_000_000):
        frequencies, layers, neurons = proportions(values / 14, outputs=2)
        weights = network_weights(frequencies, layers, neurons, 2)
        assert frequencies == neurons and layers == max(4, neurons // 64)
        assert weights <= values / 14 or neurons == 16
        assert weights > 0.7 * values / 14 or neurons == 16


@pytest.mark.parametrize("most", [2_000, 30_000, 1_000_000])
def test_a_network_of_so_many_bytes_has_weights_of_a_few_bits(most: int) -> None:
    (frequencies, layers, neurons), rounding = within_bytes(most, outputs=3)
    bits = 8 * most / network_weights(frequencies, layers, neurons, 3)
    assert rounding.bytes == most and BITS <= bits < 3 * BITS


def test_bytes_for_no_network_are_an_error_that_says_how_many_it_takes() -> None:
    with pytest.raises(
        OptionError, match="500 bytes are left for a network, and the smallest takes about 1,"
    ):
        within_bytes(500, outputs=1)


def test_features_are_equation_1() -> None:
    network = small_network()
    coordinates = torch.tensor([[1.0, -2.0, 3.0], [20.0, 0.0, -7.0]])
    features = network.features(coordinates)
    for row, c in enumerate(coordinates.tolist()):
        p = [(c[axis] - (1.0, -2.0, 3.0)[axis]) / 40 for axis in range(3)]
        for i in range(12):
            phase = (
                2
                * math.pi
                * network.multipliers[i].item()
                * sum(network.B[i, axis].item() * p[axis] for axis in range(3))
            )
            assert features[row, i].item() == pytest.approx(math.cos(phase), abs=1e-5)
            assert features[row, 12 + i].item() == pytest.approx(math.sin(phase), abs=1e-5)


def test_every_weight_and_multiplier_learns_and_b_does_not() -> None:
    network = small_network()
    network(torch.rand(50, 3) * 40).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert "B" not in gradients and len(gradients) == 1 + 2 * 4
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())


def test_b_is_exact_in_half_precision() -> None:
    network = small_network()
    assert torch.equal(network.B.half().float(), network.B)
    stored = quantise(network.arrays(), network.fixed(), "6 bit").tensors
    assert stored["B"].dtype == np.float16 and stored["multipliers"].dtype == np.float32


def shape_as_stored(network: FourierNetwork) -> FourierConfig:
    """Its shape, through the manifest's config and back."""
    return FourierConfig.of_json(json.loads(json.dumps(network.shape.as_json())), network.outputs)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_network_survives_storage_at_every_precision(precision: str) -> None:
    network = small_network()
    stored = quantise(network.arrays(), network.fixed(), precision)
    again = FourierNetwork.restore(shape_as_stored(network), stored.tensors)
    bits = {"float16": 11, "float32": 24}.get(precision) or int(precision.split()[0])
    for name, tensor in network.tensors().items():
        found = again.tensors()[name]
        largest = tensor.abs().amax() if tensor.ndim else tensor.abs()
        assert (found - tensor).abs().max() <= largest * 2.0 ** -(min(bits, 11) - 2), name
    if precision == "float32":
        assert torch.equal(again(torch.ones(1, 3)), network(torch.ones(1, 3)))


def test_twelve_bit_codes_are_two_planes() -> None:
    weight = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    stored = quantise({"w": weight}, frozenset(), "12 bit").tensors
    assert set(stored) == {"w.codes_high", "w.codes_low", "w.step"}
    np.testing.assert_allclose(dequantise(stored)["w"], weight, atol=1 / 2047, rtol=0)


@pytest.mark.filterwarnings("error")
def test_an_infinite_step_is_refused_without_a_warning() -> None:
    codes = np.array([[0, 1]], np.int8)  # NumPy warns of 0 times infinity
    with pytest.raises(FormatError, match="not finite"):
        dequantise({"w.codes": codes, "w.step": np.array([np.inf], np.float32)})


@pytest.mark.parametrize("step", [0.01, 1e-4])
def test_weights_on_steps_come_back_as_multiples(step: float) -> None:
    network = small_network()
    steps = dict.fromkeys(network.hidden(), step)
    stored = on_steps(network.arrays(), network.fixed(), steps)
    again = dequantise(stored.tensors)
    for name, array in network.arrays().items():
        expected = np.rint(array / np.float32(step)) * np.float32(step) if name in steps else array
        assert again[name].dtype == np.float32 and np.array_equal(again[name], expected), name
    assert stored.precision.endswith(" bit") and float(stored.precision.split()[0]) > 5


@pytest.mark.parametrize("change", ["missing", "shape", "step", "unknown", "not finite"])
def test_tensors_that_disagree_with_the_manifest_are_refused(change: str) -> None:
    network = small_network()
    stored = dict(quantise(network.arrays(), network.fixed(), "8 bit").tensors)
    if change == "missing":
        del stored["layers.1.bias"]
    if change == "shape":
        stored["layers.1.bias"] = np.zeros(17, np.float32)
    if change == "step":
        stored["layers.1.weight.step"] = np.zeros(3, np.float32)
    if change == "unknown":
        stored["layers.4.bias"] = np.zeros(16, np.float32)
    if change == "not finite":
        stored["layers.1.bias"] = np.full(16, np.nan, np.float32)
    with pytest.raises(FormatError) as raised:
        FourierNetwork.restore(network.shape, stored)
    assert raised.value.id == "F2"
    with pytest.raises(FormatError):
        check_tensors(network.shape, stored)
        plain_outputs(network.shape, stored, np.zeros((1, 3), np.int32))


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("precision", ["6 bit", "12 bit", "float16", "float32"])
def test_the_network_in_numpy_is_the_one_in_torch(precision: str, activation: str) -> None:
    network = small_network(3, activation)
    stored = quantise(network.arrays(), network.fixed(), precision).tensors
    coordinates = np.random.default_rng(5).integers(-60, 60, (500, 3), dtype=np.int32)
    with torch.no_grad():
        expected = FourierNetwork.restore(network.shape, stored)(
            torch.from_numpy(coordinates)
        ).numpy()
    found = plain_outputs(network.shape, stored, coordinates)
    assert found.dtype == np.float32 and found.shape == expected.shape == (500, 3)
    assert deviation(found, expected) < 1e-5
