"""Frequent values as tensors of a FREQ chunk, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrv.entropy.masks import regions_of
from inrv.errors import FormatError
from inrv.grids import FrequentValues, Topology
from inrv.storage.values import MOST_FREQUENT, masks_of, pack_frequent, unpack_frequent


def topology(seed: int, leaves: int) -> Topology:
    """Leaves in two nodes, of which some are full."""
    generator = np.random.default_rng(seed)
    origins = np.unique(generator.integers(-2, 18, (leaves, 3)), axis=0) * 8
    density = generator.integers(0, 3, (len(origins), 1)) / 2
    masks = generator.random((len(origins), 512)) < density.clip(min=0.01)
    return Topology.from_leaves(origins, masks)


def chosen(held: Topology, seed: int, values: int, every: bool) -> FrequentValues:
    """Voxels with one of so many values of any bits, every one or some."""
    generator = np.random.default_rng(seed)
    places = held.places()
    taken = generator.random(len(places)) < (1.0 if every else 0.6)
    which = generator.integers(0, values, len(places)).astype(np.int16)
    which[places % 512 < 256] = 0
    bits = generator.integers(-(1 << 31), 1 << 31, (values, 3)).astype(np.int32)
    return FrequentValues(places[taken], which[taken], bits.view(np.float32))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([1, 2, 5]), st.booleans())
def test_they_come_back_as_they_were(seed: int, leaves: int, values: int, every: bool) -> None:
    held = topology(seed, leaves)
    frequent = chosen(held, seed, values, every)
    arrays = pack_frequent(frequent, held)
    assert len(arrays["kinds"]) == values - (len(frequent.places) == held.leaf_voxel_count)
    found = unpack_frequent(arrays, held, 3)
    assert np.array_equal(found.places, frequent.places)
    assert np.array_equal(found.which, frequent.which)
    assert found.values.tobytes() == frequent.values.tobytes()
    assert found.which.dtype == frequent.which.dtype and found.counts == frequent.counts


def test_no_frequent_value_is_no_chunk() -> None:
    assert pack_frequent(FrequentValues.none(1), topology(1, 3)) == {}


def test_as_many_as_there_may_be() -> None:
    held = topology(2, 6)
    places = held.places()
    which = (np.arange(len(places)) % MOST_FREQUENT).astype(np.int16)
    values = np.arange(MOST_FREQUENT, dtype=np.float32)[:, None]
    frequent = FrequentValues(places, which, values)
    found = unpack_frequent(pack_frequent(frequent, held), held, 1)
    assert np.array_equal(found.which, which)


def test_a_value_that_no_voxel_has_is_allowed() -> None:
    held = topology(3, 4)
    places = held.places()[:50]
    values = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    frequent = FrequentValues(places, np.full(50, 1, dtype=np.int16), values)
    found = unpack_frequent(pack_frequent(frequent, held), held, 1)
    assert found.counts == [0, 50, 0] and np.array_equal(found.places, places)


def test_a_mask_over_voxels_of_another_is_refused() -> None:
    held = topology(4, 4)
    regions = len(regions_of(held.leaf_origins))
    full = np.full(held.leaf_count, 1, np.uint8)
    arrays = {
        "values": np.zeros((2, 1), np.float32),
        "kinds": np.stack([full, full]),
        "mask_lengths": np.zeros((2, regions), np.int32),
        "mask_bytes": np.zeros(0, np.uint8),
    }
    every = np.ones((held.leaf_count, 512), dtype=np.bool_)
    whole = Topology.from_leaves(held.leaf_origins, every)
    message = "a frequent value's mask marks a voxel that is not active, or has another"
    with pytest.raises(FormatError, match=message) as caught:
        unpack_frequent(arrays, whole, 1)
    assert caught.value.id == "S14"
    once = arrays | {"kinds": full[None], "mask_lengths": np.zeros((1, regions), np.int32)}
    assert unpack_frequent(once, whole, 1).counts == [whole.leaf_voxel_count, 0]


def test_masks_of_places_hold_these_and_no_others() -> None:
    held = topology(5, 5)
    places = held.places()[::7]
    masks = np.unpackbits(masks_of(places, held.leaf_count), axis=1, bitorder="little")
    assert np.flatnonzero(masks).tolist() == places.tolist()
