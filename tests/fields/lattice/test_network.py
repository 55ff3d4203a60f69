"""The core's networks give the sums of 64-bit integers, whatever numbers a file holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.core.lattice import ContextSamples
from inrv.fields.lattice.constants import LARGEST, LARGEST_BIAS, STEP, WEIGHT_ONE
from inrv.fields.lattice.model import Model, default_model
from inrv.fields.lattice.network import IntegerNetwork
from testing.regions import KERNELS, STEPS, Made, kernels, made

EXACT = 1 << 24  # below it float32, in which networks are fitted, has every whole number
MOST_INPUT = 63
Longs = NDArray[np.int64]
Tensors = dict[str, Longs]
MODELS = [default_model(reference, True) for reference in (False, True)]


def networks(model: Model) -> list[IntegerNetwork]:
    assert model.restoration is not None
    return [*model.networks.values(), model.restoration]


EVERY = [network for model in MODELS for network in networks(model)]


def in_integers(tensors: Tensors, inputs: Longs) -> tuple[Longs, int]:
    """What a network gives in int64 arithmetic, and a bound on every partial sum in any order.

    inputs: int64 (n, k), in 32nds
    """
    largest = 0

    def layer(bias: str, *products: tuple[Longs, str]) -> Longs:
        nonlocal largest
        magnitudes = np.abs(tensors[bias]) + sum(
            np.abs(left) @ np.abs(tensors[name]) for left, name in products
        )
        largest = max(largest, int(magnitudes.max(initial=0)))
        return tensors[bias] + sum(left @ tensors[name] for left, name in products)

    def activated(sums: Longs) -> Longs:
        return np.clip((sums + WEIGHT_ONE // 2) // WEIGHT_ONE, 0, int(LARGEST))

    hidden = activated(layer("first.bias", (inputs, "first.weight")))
    hidden = activated(layer("second.bias", (hidden, "second.weight")))
    return layer("last.bias", (inputs, "skip.weight"), (hidden, "last.weight")), largest


def integers(network: IntegerNetwork) -> Tensors:
    return {name: tensor.astype(np.int64) for name, tensor in network.tensors.items()}


def drawn(like: IntegerNetwork, generator: np.random.Generator, extreme: bool) -> IntegerNetwork:
    """A network of these shapes with any numbers that a file may hold, or the largest ones only."""
    result = {}
    for name, tensor in like.tensors.items():
        most = int(LARGEST if name.endswith("weight") else LARGEST_BIAS)
        values = generator.integers(-most, most + 1, tuple(tensor.shape))
        values = np.where(values < 0, -most, most) if extreme else values
        result[name] = values.astype(np.float32)
    return IntegerNetwork(result)


def filled(like: IntegerNetwork, sign: int) -> IntegerNetwork:
    """A network of these shapes whose numbers are all the largest, or the smallest."""
    return IntegerNetwork(
        {
            name: np.full_like(
                tensor, sign * (LARGEST if name.endswith("weight") else LARGEST_BIAS)
            )
            for name, tensor in like.tensors.items()
        }
    )


def noisy(model: Model) -> Made:
    """A region of noise that is coded with a model, whose inputs reach their limits."""
    own = made(
        box=((3, 19), (0, 14), (40, 56)),
        share=1.0,
        exterior="dense",
        reference_top=6400 if model.reference else 0,
        model=model,
    )
    noise = np.random.default_rng(1).integers(0, own.top + 1, len(own.values), dtype=np.int32)
    own.values[:] = noise
    return own


def check(model: Model) -> int:
    """Hold what the core computes with a model against integers; the number of inputs +-63."""
    own = noisy(model)
    numbers = np.arange(len(own.values), dtype=np.int32)
    reached = 0
    for kernel in KERNELS:
        with kernels(kernel):
            _, restored, found = own.sampled(truth=numbers)
        for odd, network in model.networks.items():
            check_predictions(found, odd, integers(network), own.top)
        assert model.restoration is not None
        check_restoration(found, restored, integers(model.restoration), own.top)
        reached = int((np.abs(found.inputs) == MOST_INPUT).sum())
        assert np.abs(found.inputs.astype(int)).max() == MOST_INPUT
    return reached


def check_predictions(found: ContextSamples, odd: int, tensors: Tensors, top: int) -> None:
    own = found.odd == odd
    assert own.sum() > 300
    inputs = found.inputs[own, : len(tensors["first.weight"])].astype(np.int64)
    outputs, largest = in_integers(tensors, 2 * inputs)
    assert largest < EXACT
    spread = found.spread[own].astype(np.int64)
    shift = np.maximum(0, np.frexp(spread.astype(np.float64))[1] - 12).astype(np.int64)
    moved = (((spread >> shift) * np.clip(outputs[:, 0], -8191, 8191) + 1024) >> 11) << shift
    predicted = found.base[own] + np.where(found.flat[own], 0, moved)
    assert np.array_equal(found.predicted[own], np.clip(predicted, 0, top))
    exact = shift == 0  # else the spread's last bits, which its logarithm has, are not told
    steps = np.array(STEPS, dtype=np.int64)[found.level[own]]
    logs = log_of(spread) - log_of(steps) + (np.clip(outputs[:, 1], -(1 << 20), 1 << 20) >> 5)
    tables = np.clip((logs + 320) >> 4, 0, 63)
    assert exact.any() and np.array_equal(found.table[own][exact], tables[exact])


def log_of(numbers: Longs) -> Longs:
    """64 log2 of numbers, along a straight line between powers of two."""
    top = np.frexp(numbers.astype(np.float64))[1].astype(np.int64) - 1
    return 64 * top + ((numbers << 6) >> top) - 64


def check_restoration(
    found: ContextSamples, restored: NDArray[np.int32], tensors: Tensors, top: int
) -> None:
    own = found.odd == 0
    assert own.sum() > 1000
    inputs = found.inputs[own, : len(tensors["first.weight"])].astype(np.int64)
    outputs, largest = in_integers(tensors, inputs)
    assert largest < EXACT
    moved = found.base[own] + np.clip((outputs[:, 0] + 8) >> 4, -STEP, STEP)
    assert np.array_equal(restored[found.targets[own]], np.clip(moved, 0, top))


@pytest.mark.parametrize("number", range(len(EVERY)))
def test_default_weights_are_whole_numbers_within_the_limits(number: int) -> None:
    for name, tensor in EVERY[number].tensors.items():
        assert tensor.dtype == np.float32 and np.array_equal(tensor, np.rint(tensor)), name
        assert float(np.abs(tensor).max()) <= (
            LARGEST if name.endswith("weight") else LARGEST_BIAS
        ), name


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_default_networks_give_what_integers_give(number: int) -> None:
    assert check(MODELS[number]) > 1000


@settings(
    max_examples=16,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(number=st.integers(0, len(MODELS) - 1), seed=st.integers(0, 1 << 30), extreme=st.booleans())
def test_any_networks_give_what_integers_give(number: int, seed: int, extreme: bool) -> None:
    generator, model = np.random.default_rng(seed), MODELS[number]
    assert model.restoration is not None
    check(
        Model(
            {odd: drawn(own, generator, extreme) for odd, own in model.networks.items()},
            drawn(model.restoration, generator, extreme),
            model.prior,
            model.wavelet_prior,
        )
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("number", range(len(MODELS)))
def test_the_largest_numbers_give_what_integers_give(number: int, sign: int) -> None:
    model = MODELS[number]
    assert model.restoration is not None
    extreme = {odd: filled(own, sign) for odd, own in model.networks.items()}
    check(Model(extreme, filled(model.restoration, sign), model.prior, model.wavelet_prior))


@pytest.mark.parametrize("number", range(len(EVERY)))
def test_the_most_extreme_numbers_stay_below_what_float32_holds_exactly(number: int) -> None:
    extreme = integers(filled(EVERY[number], 1))
    inputs = np.full((1, len(extreme["first.weight"])), 2 * MOST_INPUT, dtype=np.int64)
    found, largest = in_integers(extreme, inputs)
    sums = inputs.shape[1] * 2 * MOST_INPUT + len(extreme["last.weight"]) * 127
    assert int(found.max()) == largest == int(LARGEST_BIAS) + sums * 127 < EXACT
