"""Reference channels that a GPU fetches along motion: the values that the core fetches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from fixtures.make_golden import FOLDER
from inrv.decoding.frames import open_frames
from inrv.fields.lattice.decode import LatticeOutputs, OpenChannel
from inrv.fields.lattice.gpu.batch import Batch
from inrv.fields.lattice.gpu.motion import moved_reference
from inrv.fields.lattice.gpu.regions import GpuRegions, Place, _before
from testing.gpu import DEVICE

LEVEL = 2  # of which a region has few voxels: Triton's interpreter is slow


@pytest.fixture(scope="module")
def moved() -> list[OpenChannel]:
    """The channels of the golden file that are predicted along motion."""
    volume = open_frames((FOLDER / "motion.inrv").read_bytes(), "cpu")[0]
    outputs, field = volume.outputs, volume.manifest.field
    assert isinstance(outputs, LatticeOutputs) and field is not None
    channels = map(outputs.channel, range(field.outputs))
    return [channel for channel in channels if channel.stored.motion is not None]


def units_of(channel: OpenChannel, number: int) -> Tensor:
    return torch.from_numpy(channel.units(number)).to(DEVICE)


def test_what_is_fetched_is_what_the_core_fetches(moved: list[OpenChannel]) -> None:
    assert len({channel.stored.second_motion is None for channel in moved}) == 2
    for channel in moved:
        for number, key in enumerate(channel.regions.keys.tolist()):
            reference, corner = channel._reference, channel.regions.corner(number)
            assert reference is not None
            cells = channel.regions.leaves(number).cells
            leaves, expected = reference.region(key, corner, cells)
            own, found = moved_reference(channel, number, units_of, DEVICE)
            assert np.array_equal(own.cells, leaves.cells)
            assert np.array_equal(own.masks, leaves.masks)
            assert np.array_equal(found.cpu().numpy(), expected)


def test_a_channel_is_predicted_from_it(moved: list[OpenChannel]) -> None:
    for channel in (moved[0], moved[-1]):
        regions = [own for own in channel.references if own is not None]
        found = {
            Place(own.number, number, 0): units_of(own, number)
            for own in regions
            for number in range(len(own.regions))
        }
        before = _before(channel, 0, LEVEL)
        item = GpuRegions(DEVICE)._item(channel, 0, *before, found)
        batch = Batch([item], LEVEL, DEVICE)
        expected = channel.decoded_by_core(0, LEVEL)
        assert len(expected) > 3
        assert np.array_equal(batch.decode().cpu().numpy(), expected)
        assert batch.faults() == []
