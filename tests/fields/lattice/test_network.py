"""The integer networks give the sums of 64-bit integers; float32 holds each of them exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.fields.lattice.constants import LARGEST, LARGEST_BIAS, WEIGHT_ONE
from inrv.fields.lattice.model import Model, default_model
from inrv.fields.lattice.network import IntegerNetwork

EXACT = 1 << 24
Tensors = dict[str, NDArray[np.int64]]
MODELS = [default_model(reference, True) for reference in (False, True)]


def networks(model: Model) -> list[IntegerNetwork]:
    assert model.restoration is not None
    return [*model.networks.values(), model.restoration]


EVERY = [network for model in MODELS for network in networks(model)]


def in_integers(tensors: Tensors, inputs: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """What a network gives in int64 arithmetic, and a bound on every partial sum in any order."""
    largest = 0

    def layer(bias: str, *products: tuple[NDArray[np.int64], str]) -> NDArray[np.int64]:
        nonlocal largest
        magnitudes = np.abs(tensors[bias]) + sum(
            np.abs(left) @ np.abs(tensors[name]) for left, name in products
        )
        largest = max(largest, int(magnitudes.max(initial=0)))
        return tensors[bias] + sum(left @ tensors[name] for left, name in products)

    def activated(sums: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.clip((sums + WEIGHT_ONE // 2) // WEIGHT_ONE, 0, int(LARGEST))

    hidden = activated(layer("first.bias", (inputs, "first.weight")))
    hidden = activated(layer("second.bias", (hidden, "second.weight")))
    return layer("last.bias", (inputs, "skip.weight"), (hidden, "last.weight")), largest


def integers(network: IntegerNetwork) -> Tensors:
    return {name: tensor.astype(np.int64) for name, tensor in network.tensors.items()}


def of(tensors: Tensors) -> IntegerNetwork:
    return IntegerNetwork({name: array.astype(np.float32) for name, array in tensors.items()})


def assert_gives(
    network: IntegerNetwork, inputs: NDArray[np.int64], outputs: NDArray[np.int64]
) -> None:
    found = network(inputs.astype(np.int8))
    assert found.dtype == np.int32 and (found == outputs).all()


def drawn(like: IntegerNetwork, generator: np.random.Generator, extreme: bool) -> Tensors:
    """A network of these shapes with any numbers that a file may hold, or the largest ones only."""
    result = {}
    for name, tensor in like.tensors.items():
        most = int(LARGEST if name.endswith("weight") else LARGEST_BIAS)
        values = generator.integers(-most, most + 1, tuple(tensor.shape))
        result[name] = np.where(values < 0, -most, most) if extreme else values
    return result


@pytest.mark.parametrize("number", range(len(EVERY)))
def test_default_weights_are_whole_numbers_within_the_limits(number: int) -> None:
    for name, tensor in EVERY[number].tensors.items():
        assert tensor.dtype == np.float32 and np.array_equal(tensor, np.rint(tensor)), name
        assert float(np.abs(tensor).max()) <= (
            LARGEST if name.endswith("weight") else LARGEST_BIAS
        ), name


@pytest.mark.parametrize("number", range(len(EVERY)))
def test_default_networks_give_what_integers_give(number: int) -> None:
    network, generator = EVERY[number], np.random.default_rng(number)
    inputs = generator.integers(-127, 128, (500, network.tensors["first.weight"].shape[0]))
    found, largest = in_integers(integers(network), inputs)
    assert largest < EXACT
    assert_gives(network, inputs, found)


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(number=st.integers(0, len(EVERY) - 1), seed=st.integers(0, 1 << 30), extreme=st.booleans())
def test_any_network_gives_what_integers_give(number: int, seed: int, extreme: bool) -> None:
    generator = np.random.default_rng(seed)
    tensors = drawn(EVERY[number], generator, extreme)
    inputs = generator.integers(-127, 128, (64, tensors["first.weight"].shape[0]))
    inputs[:8] = np.where(inputs[:8] < 0, -127, 127)
    inputs[8] = 127 * np.sign(tensors["first.weight"][:, 0])
    found, largest = in_integers(tensors, inputs)
    assert largest < EXACT
    assert_gives(of(tensors), inputs, found)


@pytest.mark.parametrize("number", range(len(EVERY)))
def test_the_most_extreme_numbers_stay_below_what_float32_holds_exactly(number: int) -> None:
    extreme = {
        name: np.full(
            tuple(tensor.shape),
            int(LARGEST if name.endswith("weight") else LARGEST_BIAS),
            dtype=np.int64,
        )
        for name, tensor in EVERY[number].tensors.items()
    }
    inputs = np.full((1, len(extreme["first.weight"])), 127, dtype=np.int64)
    found, largest = in_integers(extreme, inputs)
    terms = inputs.shape[1] + len(extreme["last.weight"])
    assert int(found.max()) == largest == int(LARGEST_BIAS) + terms * 127 * 127 < EXACT
    assert_gives(of(extreme), inputs, found)
