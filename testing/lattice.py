"""Small volumes for the tests of the lattice, and the options that code them fast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, Grid, SparseVolume, Topology
from inrv.grids import LeafValues

INSTANT = EncodeOptions(exact_below=0, effort="instant", device="cpu")

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


def instant(**asked: object) -> EncodeOptions:
    """Options that code even the smallest grid, as fast as they can be coded."""
    return replace(INSTANT, **asked)  # type: ignore[arg-type]


def noise(shape: tuple[int, ...], seed: int) -> Floats:
    """Random numbers float32 from 0 to below 1."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def smooth(edge: int = 40, shift: float = 0.0) -> Floats:
    """A smooth cloud float32 (edge, edge, edge), everywhere above 0."""
    axes = [np.linspace(-1, 1, edge, dtype=np.float32)] * 3
    x, y, z = np.meshgrid(*axes, indexing="ij")
    bump = np.exp(-3 * ((x - np.float32(shift)) ** 2 + y**2 + z**2))
    return (bump * (1 + 0.2 * np.sin(9 * x + 4 * z))).astype(np.float32)


def frayed(inner: Flags, outer: Flags) -> Flags:
    """Bool: all of `inner` and half of `outer`, at random, so that masks cost more than values."""
    return inner | outer & (noise(inner.shape, 6) < 0.5)


def box(*edges: range) -> NDArray[np.int32]:
    """All integer coordinates int32 (n, 3) of a box of these ranges."""
    axes = [np.array(edge, dtype=np.int32) for edge in edges]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def placed(
    coordinates: NDArray[Any], values: NDArray[Any], name: str = "density", background: float = 0.0
) -> Grid:
    """The grid whose active voxels, at distinct integer coordinates (n, 3), have values (n, C)."""
    origins, leaf = np.unique(coordinates // 8 * 8, axis=0, return_inverse=True)
    leaf = leaf.reshape(-1)
    inside = coordinates - origins[leaf]
    masks = np.zeros((len(origins), 512), dtype=np.bool_)
    masks[leaf, (inside[:, 0] * 8 + inside[:, 1]) * 8 + inside[:, 2]] = True
    topology = Topology.from_leaves(origins, masks)
    ordered = np.empty(values.shape, dtype=np.float32)
    ordered[topology.voxel_rows(coordinates)] = values
    components = values.shape[1]
    kind = {1: "float", 3: "vec3s"}[components]
    outside = np.full(components, background, dtype=np.float32)
    tiles = np.empty((0, components), dtype=np.float32)
    return Grid(name, kind, outside, topology, ordered, tiles, LeafValues.none(components))


def in_regions() -> SparseVolume:
    """Two grids in four regions, on both sides of a border and far away.

    The second resembles the first.
    """
    base = box(range(11), range(9), range(-6, 7))
    far, beyond = base + np.array([700, -1000, 64]), base + np.array([300, 60, 60])
    coordinates = np.concatenate([base, far, beyond])
    detail = noise((len(coordinates), 1), 5)
    first = 2 + np.sin(coordinates[:, :1] / 3) + 0.4 * detail
    kept = noise((len(coordinates),), 7) < 0.8
    return SparseVolume(
        (
            placed(coordinates, first),
            placed(coordinates[kept], 300 * first[kept] ** 2, "temperature"),
        )
    )


def hazy_regions() -> SparseVolume:
    """The same two grids, a third of whose voxels are 0, a tenth 1.

    A few of the second are far from all others.
    """
    first, second = in_regions().grids
    haze, core = (value_of_many(grid) for grid in (first, second))
    extreme = np.arange(len(core.values))[:, None] % 997 == 5
    hot = core.with_values(np.where(extreme, np.float32(1e6), core.values))
    return SparseVolume((haze, hot))


def whole_numbers(volume: SparseVolume) -> SparseVolume:
    """The grids with whole numbers, some dozens of different ones, for values."""
    return SparseVolume(
        tuple(
            grid.with_values(np.rint(60 * grid.values / np.median(grid.values)).astype(np.float32))
            for grid in volume.grids
        )
    )


def value_of_many(grid: Grid) -> Grid:
    """The grid with 0 in its lower values, and 1 in every tenth place along x."""
    low = grid.values < np.quantile(grid.values, 0.35)
    values = np.where(low, np.float32(0), grid.values)
    tenth = grid.topology.coordinates()[:, :1] % 10 == 0
    return grid.with_values(np.where(tenth, np.float32(1), values))


def bits(values: NDArray[Any]) -> NDArray[np.int32]:
    """The bits int32 of float32 values."""
    assert values.dtype == np.float32
    return np.ascontiguousarray(values).view(np.int32)


def decoded(data: bytes) -> list[NDArray[np.int32]]:
    """The bits of the active leaf voxels' values of every grid."""
    return [bits(grid.values()) for grid in inrv.load(data, device="cpu").grids]


def file_of(*grids: Grid, **asked: object) -> bytes:
    """The bytes of the file of some grids."""
    return inrv.encode_bytes(SparseVolume(grids), instant(**asked))[0]
