"""Small volumes for the tests of the lattice, and the options that code them fast."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

import inrv
from inrv import EncodeOptions, Grid, SparseVolume, Topology
from inrv.grids import LeafValues, sparse_grid

INSTANT = EncodeOptions(exact_below=0, effort="instant", device="cpu")


def instant(**asked: object) -> EncodeOptions:
    """Options that code even the smallest grid, with the networks that come with the codec."""
    return replace(INSTANT, **asked)  # type: ignore[arg-type]


def smooth(edge: int = 40, shift: float = 0.0) -> Tensor:
    """A smooth cloud float32 (edge, edge, edge), everywhere above 0."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, edge)] * 3, indexing="ij")
    return torch.exp(-3 * ((x - shift) ** 2 + y**2 + z**2)) * (1 + 0.2 * torch.sin(9 * x + 4 * z))


def frayed(inner: Tensor, outer: Tensor) -> Tensor:
    """Bool: all of `inner` and half of `outer`, at random, so that masks cost more than values."""
    return inner | outer & (torch.rand(inner.shape, generator=torch.Generator().manual_seed(6)) < 0.5)


def placed(coordinates: Tensor, values: Tensor, name: str = "density", background: float = 0.0) -> Grid:
    """The grid whose active voxels, at distinct integer coordinates (n, 3), have values (n, C)."""
    origins, leaf = torch.unique(coordinates.div(8, rounding_mode="floor") * 8, dim=0, return_inverse=True)
    inside = coordinates - origins[leaf]
    masks = torch.zeros(len(origins), 512, dtype=torch.bool)
    masks[leaf, (inside[:, 0] * 8 + inside[:, 1]) * 8 + inside[:, 2]] = True
    topology = Topology.from_leaves(origins, masks)
    ordered = torch.empty(values.shape, dtype=torch.float32)
    ordered[topology.voxel_rows(coordinates)] = values.float()
    components = values.shape[1]
    kind = {1: "float", 3: "vec3s"}[components]
    outside = torch.full((components,), background)
    return Grid(name, kind, outside, topology, ordered, torch.empty(0, components), LeafValues.none(components))


def in_regions() -> SparseVolume:
    """Two grids in four regions, on both sides of a border and far away; the second resembles the first."""
    generator = torch.Generator().manual_seed(5)
    base = torch.cartesian_prod(torch.arange(11), torch.arange(9), torch.arange(-6, 7))
    far = base + torch.tensor([700, -1000, 64])
    beyond = base + torch.tensor([300, 60, 60])
    coordinates = torch.cat([base, far, beyond])
    detail = torch.rand(len(coordinates), 1, generator=generator)
    first = 2 + torch.sin(coordinates[:, :1] / 3) + 0.4 * detail
    kept = torch.rand(len(coordinates), generator=generator) < 0.8
    return SparseVolume((placed(coordinates, first), placed(coordinates[kept], 300 * first[kept] ** 2, "temperature")))


def hazy_regions() -> SparseVolume:
    """The same two grids, a third of whose voxels are 0, a tenth 1; a few of the second are far from all others."""
    first, second = in_regions().grids
    haze, core = (value_of_many(grid) for grid in (first, second))
    hot = core.with_values(torch.where(torch.arange(len(core.values))[:, None] % 997 == 5, 1e6, core.values))
    return SparseVolume((haze, hot))


def whole_numbers(volume: SparseVolume) -> SparseVolume:
    """The grids with whole numbers, some dozens of different ones, for values."""
    return SparseVolume(tuple(grid.with_values((60 * grid.values / grid.values.median()).round()) for grid in volume.grids))


def value_of_many(grid: Grid) -> Grid:
    """The grid with 0 in its lower values, and 1 in every tenth place along x."""
    values = torch.where(grid.values < grid.values.quantile(0.35), 0.0, grid.values)
    return grid.with_values(torch.where(grid.topology.coordinates()[:, :1] % 10 == 0, 1.0, values))


def bits(values: Tensor) -> Tensor:
    """The bits int32 of float32 values."""
    return values.contiguous().view(torch.int32)


def decoded(data: bytes) -> list[Tensor]:
    """The bits of the active leaf voxels' values of every grid."""
    return [bits(grid.values()) for grid in inrv.load(data, device="cpu").grids]


def file_of(*grids: Grid, **asked: object) -> bytes:
    """The bytes of the file of some grids."""
    return inrv.encode_bytes(SparseVolume(grids), instant(**asked))[0]


def cloud_file(**asked: object) -> bytes:
    """The file of a small smooth cloud."""
    return file_of(sparse_grid(smooth(12), "density"), **asked)
