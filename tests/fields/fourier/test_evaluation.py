"""Outputs of a network in batches, and of several grids together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inrv.fields.fourier import evaluation
from inrv.fields.fourier.evaluation import decode_active, evaluate
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.shape import FourierConfig
from inrv.grids import sparse_grid


def field() -> FourierNetwork:
    config = FourierConfig(40, 3, 16, 3, (0.0, 0.0, 0.0), 1 / 30, "relu")
    return FourierNetwork(
        config, torch.linspace(0.5, 3, 40), torch.Generator().manual_seed(0)
    ).eval()


def fog(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).random((30, 20, 17), dtype=np.float32)
    values[values < 0.7] = 0
    return values


def test_grids_with_different_topologies_decode_together_as_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "batch_voxels", lambda *_: 1000)
    network = field()
    volumes = [fog(1), np.roll(fog(2), 9, 0), fog(1)]
    topologies = [sparse_grid(values).topology for values in volumes]
    columns = [[0], [1, 2], []]
    together = decode_active(network, topologies, columns)
    for topology, chosen, found in zip(topologies, columns, together, strict=True):
        with torch.no_grad():
            expected = network(torch.from_numpy(topology.coordinates()).float())[:, chosen]
        assert found.shape == (topology.leaf_voxel_count, len(chosen))
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-6, rtol=1e-5)


def test_batches_do_not_change_the_outputs() -> None:
    network, points = field(), torch.rand(1000, 3) * 30
    torch.testing.assert_close(
        evaluate(network, points, batch=77), network(points), atol=1e-6, rtol=1e-5
    )


def test_a_device_lists_the_voxels_of_leaves_in_their_order() -> None:
    topology = sparse_grid(fog(3)).topology
    masks = topology.masks_of(np.arange(topology.leaf_count))
    found = evaluation.coordinates_on(torch.device("cpu"), topology.leaf_origins.copy(), masks)
    assert found.dtype == torch.int32
    assert np.array_equal(found.numpy(), topology.coordinates())
