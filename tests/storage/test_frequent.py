"""Frequent values as tensors of a FREQ chunk, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrv.errors import FormatError
from inrv.grids import FrequentValues, Topology
from inrv.storage.frequent import MOST_VALUES, frequent_arrays, masks_of, restore_frequent


def topology(seed: int, leaves: int) -> Topology:
    """Leaves in two nodes, of which some are full."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randint(-2, 18, (leaves, 3), generator=generator).unique(dim=0) * 8
    density = torch.randint(0, 3, (len(origins), 1), generator=generator) / 2
    return Topology.from_leaves(origins, torch.rand(len(origins), 512, generator=generator) < density.clamp_min(0.01))


def chosen(held: Topology, seed: int, values: int, every: bool) -> FrequentValues:
    """Voxels with one of so many values of any bits, every one or some."""
    generator = torch.Generator().manual_seed(seed)
    places = held.places()
    kept = torch.rand(len(places), generator=generator) < (1.0 if every else 0.6)
    which = torch.randint(0, values, (len(places),), generator=generator).short()
    which[places % 512 < 256] = 0
    bits = torch.randint(-(1 << 31), 1 << 31, (values, 3), generator=generator).to(torch.int32)
    return FrequentValues(places[kept], which[kept], bits.view(torch.float32))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([1, 2, 5]), st.booleans())
def test_they_come_back_as_they_were(seed: int, leaves: int, values: int, every: bool) -> None:
    held = topology(seed, leaves)
    frequent = chosen(held, seed, values, every)
    arrays = frequent_arrays(frequent, held)
    assert len(arrays["kinds"]) == values - (len(frequent.places) == held.leaf_voxel_count)
    found = restore_frequent(arrays, held, 3)
    assert torch.equal(found.places, frequent.places) and torch.equal(found.which, frequent.which)
    assert torch.equal(found.values.view(torch.int32), frequent.values.view(torch.int32))
    assert found.which.dtype == frequent.which.dtype and found.counts == frequent.counts


def test_no_frequent_value_is_no_chunk() -> None:
    assert frequent_arrays(FrequentValues.none(1), topology(1, 3)) == {}


def test_as_many_as_there_may_be() -> None:
    held = topology(2, 6)
    places = held.places()
    which = (torch.arange(len(places)) % MOST_VALUES).short()
    frequent = FrequentValues(places, which, torch.arange(float(MOST_VALUES))[:, None])
    assert torch.equal(restore_frequent(frequent_arrays(frequent, held), held, 1).which, which)


def test_a_value_that_no_voxel_has_is_allowed() -> None:
    held = topology(3, 4)
    places = held.places()
    frequent = FrequentValues(places[:50], torch.full((50,), 1, dtype=torch.int16), torch.tensor([[1.0], [2.0], [3.0]]))
    found = restore_frequent(frequent_arrays(frequent, held), held, 1)
    assert found.counts == [0, 50, 0] and torch.equal(found.places, frequent.places)


def test_a_mask_over_voxels_of_another_is_refused() -> None:
    held = topology(4, 4)
    full = np.full(held.leaf_count, 1, np.uint8)
    arrays = {
        "values": np.zeros((2, 1), np.float32),
        "kinds": np.stack([full, full]),
        "word_counts": np.zeros(2, np.int32),
        "coded_masks": np.zeros(0, np.uint8),
    }
    whole = Topology.from_leaves(held.leaf_origins, torch.ones(held.leaf_count, 512, dtype=torch.bool))
    with pytest.raises(FormatError, match="a frequent value's mask marks a voxel that is not active, or has another"):
        restore_frequent(arrays, whole, 1)
    once = arrays | {"kinds": full[None], "word_counts": np.zeros(1, np.int32)}
    assert restore_frequent(once, whole, 1).counts == [whole.leaf_voxel_count, 0]


def test_masks_of_places_hold_these_and_no_others() -> None:
    held = topology(5, 5)
    places = held.places()[::7]
    masks = np.unpackbits(masks_of(places, held), axis=1, bitorder="little")
    assert np.flatnonzero(masks).tolist() == places.tolist()
