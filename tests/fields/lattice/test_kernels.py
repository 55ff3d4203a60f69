"""The compiled kernels give, voxel for voxel, what the functions of the reference reader give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from inrv.fields.lattice.context import (
    ChannelParameters,
    Contexts,
    gather_context,
    input_count,
    neighbours_of,
)
from inrv.fields.lattice.kernels import Known, Neighbours, Scales, choose, predict
from inrv.fields.lattice.order import AROUND, FACES, PARITIES
from numpy.typing import NDArray

import inrv
from inrv import SparseVolume
from inrv.fields.lattice import restoration, traversal
from inrv.fields.lattice.constants import MISSING, STEP
from inrv.fields.lattice.model import default_model
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.regions import LevelArray, places_of
from spec.reference import lattice as reference
from testing.lattice import hazy_regions, in_regions, instant

Longs = NDArray[np.int64]


def sides(values: NDArray[Any], places: Longs, distances: Longs) -> tuple[Longs, Longs]:
    """Neighbours (n, k) ahead and behind, as the reference reader has them."""
    found = [values[places[:, None] + sign * distances].astype(np.int64) for sign in (1, -1)]
    ahead, behind = (np.where(side == MISSING, reference.ABSENT, side) for side in found)
    return ahead, behind


def near_background(base: Longs, background: int, step: int) -> Longs:
    return 8 * np.clip(base - background, -16 * step, 16 * step) // step


def plain_contexts(known: Known, places: Longs, neighbours: Neighbours, scales: Scales) -> Contexts:
    """What `gather_context` is to give."""
    odd, step, log_step = neighbours.odd, scales.step, scales.log_step
    ahead, behind = sides(known.values, places, neighbours.distances)
    there = [side != reference.ABSENT for side in (ahead, behind)]
    pairs = (there[0] | there[1]).sum(axis=1)
    base = reference.base_of(ahead, behind, odd, np.full(len(places), scales.mean))
    sums, slopes = reference.deviations(ahead, behind, base)
    bend, lean = np.abs(sums).sum(axis=1), np.abs(slopes).sum(axis=1)
    own = np.where(pairs > 0, bend // np.maximum(pairs, 1), 2 * scales.spread)
    least, most = max(1, step >> 2), (1 << 23) - 1
    spread = reference.Spread(np.clip(own, least, most))
    slope = reference.Spread(np.clip(lean // np.maximum(pairs, 1), least, most))
    both = (there[0] & there[1])[:, : 2 * odd].reshape(-1, 2, odd)
    features = [
        (spread.log() - log_step) >> 3,
        (slope.log() - log_step) >> 3,
        (np.clip(base, 0, 1 << 23) << 6) // scales.top,
        near_background(base, scales.background, step),
        np.full(len(places), 6 * scales.level),
        32 * (there[0][:, :odd].sum(axis=1) + there[1][:, :odd].sum(axis=1)) // (2 * odd),
        32 * both.all(axis=1).sum(axis=1) // odd,
    ]
    faces = [32 * known.active[places[:, None] + sign * neighbours.faces] for sign in (1, -1)]
    inputs = [spread.quantise(sums), slope.quantise(slopes), *faces, np.stack(features, axis=1)]
    if len(known.reference):
        inputs += reference_inputs(known, places, neighbours, scales, spread.log())
    flat = (pairs > 0) & (bend == 0) & (lean == 0)
    found = np.clip(np.concatenate(inputs, axis=1), -127, 127).astype(np.int8)
    return Contexts(found, base, spread.mantissa << spread.shift, flat)


def reference_inputs(
    known: Known, places: Longs, neighbours: Neighbours, scales: Scales, log: Longs
) -> list[Longs]:
    odd, step = neighbours.odd, scales.step
    here = known.reference[places].astype(np.int64)
    there = here != MISSING
    ends = sides(known.reference, places, neighbours.distances[: 2 * odd])
    base = reference.base_of(*ends, odd, np.where(there, here, 0))
    sums, _ = reference.deviations(*sides(known.reference, places, neighbours.faces), base)
    sums = np.concatenate([np.where(there, 2 * (here - base), 0)[:, None], sums], axis=1)
    mean = np.abs(sums).sum(axis=1) // sums.shape[1]
    spread = reference.Spread(np.clip(mean, max(1, step >> 2), (1 << 23) - 1))
    own = spread.log() - scales.log_step
    features = [32 * there, own >> 3, np.clip(spread.log() - log, -512, 511) >> 2]
    return [spread.quantise(sums), np.stack(features, axis=1)]


def integers(network: IntegerNetwork) -> dict[str, Longs]:
    return {name: tensor.astype(np.int64) for name, tensor in network.tensors.items()}


def plain_predictions(
    found: Contexts, scales: Scales, network: IntegerNetwork
) -> tuple[Longs, Longs]:
    """Predictions and tables of n voxels."""
    outputs = reference.outputs_of(integers(network), found.inputs.astype(np.int64))
    spread = reference.Spread(found.spread.astype(np.int64))
    near = np.clip(outputs[:, 0], -8191, 8191)
    moved = np.where(found.flat, 0, ((spread.mantissa * near + 1024) >> 11) << spread.shift)
    predicted = found.base + moved
    if scales.lossless:
        predicted = (predicted + 64) // 128 * 128
    octaves = np.clip(outputs[:, 1], -(1 << 20), 1 << 20) >> 5
    tables = reference.table_of(spread.log() - scales.log_step + octaves)
    return np.clip(predicted, 0, scales.top), tables


def assert_same(found: Contexts, expected: Contexts) -> None:
    dtypes = [np.int8, np.int32, np.int32, np.bool_]
    for name, dtype in zip(("inputs", "base", "spread", "flat"), dtypes, strict=True):
        assert getattr(found, name).dtype == dtype
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def plain_neighbourhoods(
    values: NDArray[np.int32], places: Longs, array: LevelArray, channel: ChannelParameters
) -> tuple[Longs, NDArray[np.bool_]]:
    """What `restoration_inputs` is to give."""
    flat = values.reshape(-1)
    own = flat[places].astype(np.int64)
    around = sides(flat, places, array.distances(AROUND))
    sums, slopes = (part >> 3 for part in reference.deviations(*around, own))
    faces = [32 * (side[:, : len(FACES)] != reference.ABSENT) for side in around]
    odd = np.stack(np.unravel_index(places, array.shape)).__and__(1).sum(axis=0)
    kinds = 32 * np.stack([odd == number for number in (1, 2, 3, 0)], axis=1)
    level = near_background(own, channel.background, STEP)[:, None]
    found = np.concatenate([sums, slopes, *faces, kinds, level], axis=1)
    even = (sums == 0).all(axis=1) & (slopes == 0).all(axis=1)
    return np.clip(found, -127, 127), even


def plain_restored(
    values: NDArray[np.int32],
    places: Longs,
    array: LevelArray,
    channel: ChannelParameters,
    network: IntegerNetwork,
) -> Longs:
    inputs, even = plain_neighbourhoods(values, places, array, channel)
    outputs = reference.outputs_of(integers(network), inputs)[:, 0]
    moved = np.where(even, 0, np.clip((outputs + 8) >> 4, -STEP, STEP))
    return np.clip(values.reshape(-1)[places] + moved, 0, channel.top)


@pytest.mark.parametrize("make", [in_regions, hazy_regions])
def test_every_context_and_every_neighbourhood_of_two_grids(
    make: Callable[[], SparseVolume], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = {"alone": 0, "reference": 0, "restored": 0}
    plain_pass, plain_filter = traversal._pass, restoration.restored
    networks: dict[int, IntegerNetwork] = {}

    def passed(channel: Any, network: IntegerNetwork, *others: Any) -> None:
        networks[id(network.layers)] = network
        plain_pass(channel, network, *others)

    def predict_twice(
        known: Known, places: Longs, neighbours: Neighbours, scales: Scales, *others: Any
    ) -> None:
        predict(known, places, neighbours, scales, *others)
        expected = plain_contexts(known, places, neighbours, scales)
        assert_same(gather_context(known, places, neighbours, scales), expected)
        pairs = zip(
            others[1:], plain_predictions(expected, scales, networks[id(others[0])]), strict=True
        )
        assert all(np.array_equal(one, other) for one, other in pairs)
        compared["reference" if len(known.reference) else "alone"] += len(places)

    def restore_twice(*arguments: Any) -> NDArray[np.int32]:
        found = plain_filter(*arguments)
        assert np.array_equal(found, plain_restored(*arguments))
        compared["restored"] += len(found)
        return found

    monkeypatch.setattr(traversal, "_pass", passed)
    monkeypatch.setattr(traversal, "predict", predict_twice)
    monkeypatch.setattr("inrv.fields.lattice.codec.restored", restore_twice)
    inrv.encode_bytes(make(), instant(psnr=35.0))
    assert min(compared.values()) > 1000


@pytest.mark.parametrize("reach", [3, 1 << 12, 1 << 23])
def test_neighbourhoods_of_any_values(reach: int) -> None:
    generator = np.random.default_rng(reach)
    array = LevelArray(0, (0, 0, 0), (12, 14, 16))
    values = generator.integers(-reach, reach, array.shape, dtype=np.int32)
    values[generator.random(values.shape) < 0.3] = MISSING
    inside = np.zeros(array.shape, dtype=np.bool_)
    inside[4:-4, 4:-4, 4:-4] = True
    places = np.flatnonzero(inside & (values != MISSING))
    channel = ChannelParameters((STEP,) * 7, 1 << 23, reach // 2)
    found = restoration.restoration_inputs(values, places, array, channel)
    expected = plain_neighbourhoods(values, places, array, channel)
    assert found[0].dtype == np.int8 and found[1].dtype == np.bool_ and len(places) > 200
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    network = default_model(False, True).restoration
    assert network is not None
    moved = restoration.restored(values, places, array, channel, network)
    assert np.array_equal(moved, plain_restored(values, places, array, channel, network))


@pytest.mark.parametrize("reach", [3, 1 << 12, 1 << 23])
@pytest.mark.parametrize("odd", [1, 2, 3])
@pytest.mark.parametrize("lossless", [False, True])
def test_contexts_and_predictions_of_any_values(reach: int, odd: int, lossless: bool) -> None:
    generator = np.random.default_rng(reach + odd)
    array = LevelArray(2, (0, 4, 8), (16, 14, 24))

    def drawn() -> NDArray[np.int32]:
        values = generator.integers(-reach, reach, array.shape, dtype=np.int32)
        values[generator.random(values.shape) < 0.6] = MISSING
        return values.reshape(-1)

    known = Known(drawn(), (generator.random(array.shape) < 0.5).reshape(-1), drawn())
    rows = np.zeros(array.shape, dtype=np.int32)
    channel = ChannelParameters((STEP, 77, 46, 32, 32, 32, 32), reach, -reach, lossless)
    scales = channel.scales(2, mean=5, spread=1 << 3)
    for chosen in (known, known._replace(reference=np.zeros(0, dtype=np.int32))):
        referring = len(chosen.reference) > 0
        network = default_model(referring, True).networks[odd]
        for parity in PARITIES[odd]:
            neighbours, places = neighbours_of(array, odd, parity), places_of(rows, parity)
            expected = plain_contexts(chosen, places, neighbours, scales)
            assert expected.inputs.shape == (len(places), input_count(odd, referring))
            assert_same(gather_context(chosen, places, neighbours, scales), expected)
            predicted, tables = np.empty((2, len(places)), dtype=np.int32)
            predict(chosen, places, neighbours, scales, network.layers, predicted, tables)
            pairs = zip(
                (predicted, tables), plain_predictions(expected, scales, network), strict=True
            )
            assert len(places) > 300 and all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257])
def test_predictions_of_any_number_of_voxels(count: int) -> None:
    array = LevelArray(0, (0, 0, 0), (16, 16, 16))
    values = np.random.default_rng(1).integers(0, 1000, array.shape, dtype=np.int32).reshape(-1)
    known = Known(values, values > 500, np.zeros(0, dtype=np.int32))
    scales = ChannelParameters((STEP,) * 7, 1000, 0).scales(0, mean=5, spread=8)
    parity, network = PARITIES[1][0], default_model(False, True).networks[1]
    neighbours = neighbours_of(array, 1, parity)
    every = places_of(np.zeros(array.shape, dtype=np.int32), parity)
    whole, part = np.empty((2, len(every)), dtype=np.int32), np.empty((2, count), dtype=np.int32)
    predict(known, every, neighbours, scales, network.layers, *whole)
    predict(known, every[:count], neighbours, scales, network.layers, *part)
    assert np.array_equal(part, whole[:, :count])
    cloud, channel = values.reshape(array.shape), ChannelParameters((STEP,) * 7, 1000, 0)
    filtering = default_model(False, True).restoration
    assert filtering is not None
    together = restoration.restored(cloud, every, array, channel, filtering)
    alone = restoration.restored(cloud, every[:count], array, channel, filtering)
    assert np.array_equal(alone, together[:count])


@pytest.mark.parametrize("weight", [0.05, 0.1155, 3.0])
def test_a_code_is_the_cheapest_of_three(weight: float) -> None:
    generator = np.random.default_rng(2)
    differences = (
        generator.integers(-(1 << 23), 1 << 23, 3000, dtype=np.int32) >> np.arange(3000) % 20
    )
    differences = differences.astype(np.int32)
    tables = generator.integers(0, 64, 3000, dtype=np.int32)
    bits = generator.random((64, 50), dtype=np.float32) * 20
    codes, step = np.empty(3000, dtype=np.int32), 77
    choose(differences, tables, step, np.float32(weight), bits, codes)
    nearest = (differences + step // 2) // step
    choices = np.stack([nearest, nearest - np.sign(nearest), np.zeros_like(nearest)], axis=1)
    cost = bits[tables[:, None], np.minimum(np.abs(choices), 49)]
    missed = (differences.astype(np.float32) / np.float32(step))[:, None] - choices.astype(
        np.float32
    )
    total = missed * missed + np.float32(weight) * cost
    assert np.array_equal(codes, choices[np.arange(3000), total.argmin(axis=1)])
    assert (codes != nearest).sum() > 100
