"""The library and the second decoder give the same bits for the same lattice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import inrv
from inrv import EncodeOptions, SparseVolume, Topology
from inrv.grids import Grid, sparse_grid
from tests import second_reader

OPTIONS = EncodeOptions(exact_below=0, effort="instant", psnr=40, device="cpu")
LARGE = 1 << 19  # of a magnitude


def blob(shape: tuple[int, int, int], shift: float = 0.0) -> torch.Tensor:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    values = torch.exp(-2 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * torch.sin(9 * x + 4 * z))
    return torch.where(values > 0.15, values, torch.zeros(()))


def moved(grid: Grid, by: tuple[int, int, int]) -> Grid:
    """The grid elsewhere; `by` are multiples of 8."""
    origins, starts = grid.topology.leaf_origins + torch.tensor(by, dtype=torch.int32), grid.topology.starts.tolist()
    order = Topology.order_of(origins)
    topology = replace(grid.topology, leaf_origins=origins[order], leaf_masks=grid.topology.leaf_masks[order])
    values = torch.cat([grid.values[starts[leaf] : starts[leaf + 1]] for leaf in order.tolist()])
    return replace(grid, topology=topology, values=values)


def alone() -> tuple[SparseVolume, EncodeOptions]:
    """Fog on both sides of a border between regions, at negative coordinates too."""
    return SparseVolume((moved(sparse_grid(blob((12, 14, 30)), "density"), (0, 0, -16)),)), OPTIONS


def given() -> tuple[SparseVolume, EncodeOptions]:
    """A channel predicted from that of another grid, which has other voxels and another range, and lies in one region more."""
    generator = torch.Generator().manual_seed(4)
    first = blob((13, 14, 21)) * (1 + 0.1 * torch.rand((13, 14, 21), generator=generator))
    second = torch.where(first > 0.3, 20 + 900 * first**2, torch.zeros(()))
    grids = (moved(sparse_grid(first, "density"), (0, 0, -8)), moved(sparse_grid(second, "temperature"), (0, 0, -8)))
    return SparseVolume(grids), OPTIONS


def fitted() -> tuple[SparseVolume, EncodeOptions]:
    x = torch.arange(24.0)
    values = 1 + torch.sin(x[:, None, None] * 1.3) * torch.cos(x[:20, None] * 1.1) * torch.sin(x[:22] * 2 + 1)
    return SparseVolume((sparse_grid(values, "waves"),)), replace(OPTIONS, effort="default")


def bounded() -> tuple[SparseVolume, EncodeOptions]:
    noise = torch.rand((9, 10, 11), generator=torch.Generator().manual_seed(3))
    return SparseVolume((sparse_grid(noise, "noise"),)), replace(OPTIONS, psnr=None, max_error=1e-5)


def vectors() -> tuple[SparseVolume, EncodeOptions]:
    """Vectors, of which one component is constant and one has values that are not finite."""
    shape = (12, 10, 14)
    values = torch.stack([blob(shape), torch.where(blob(shape) > 0, 2.5, 0.0), -blob(shape, 0.2)], dim=3)
    grid = sparse_grid(values, "velocity")
    grid.values[5:300:7, 2] = torch.nan
    return SparseVolume((grid,)), replace(OPTIONS, nonfinite="keep")


def threshold() -> tuple[SparseVolume, EncodeOptions]:
    return SparseVolume((sparse_grid(blob((12, 14, 17)), "density"),)), replace(OPTIONS, topology="threshold")


@pytest.mark.parametrize("make", [alone, given, fitted, bounded, vectors, threshold])
def test_both_decoders_give_the_same_bits(make) -> None:  # type: ignore[no-untyped-def]
    data, _ = inrv.encode_bytes(*make())
    theirs = second_reader.decode(data)
    for ours, other in zip(inrv.load(data, device="cpu"), theirs, strict=True):
        assert len(other.values) > 500
        assert np.array_equal(ours.coordinates().numpy(), other.coordinates)
        assert ours.values().reshape(other.values.shape).numpy().tobytes() == other.values.tobytes()
