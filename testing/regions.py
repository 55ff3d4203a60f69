"""Regions made up for the tests of the core, and the choice of the kernels that code them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from inrv.core import lattice
from inrv.core.lattice import (
    ContextSamples,
    KnownRegion,
    KnownVoxels,
    LatticeChannel,
    Leaves,
    RegionCodes,
)
from inrv.core.library import INSTRUCTION_SETS, library
from inrv.fields.lattice.codec import RATE_WEIGHT, code_bits
from inrv.fields.lattice.constants import INPUTS
from inrv.fields.lattice.model import Model, default_model

# The sets of instructions whose kernels run here.
KERNELS = [
    name for name, bit in INSTRUCTION_SETS.items() if bit & library().inrv_instruction_sets()
]
EDGE = 128
STEPS = (128, 77, 46, 32, 32, 32, 32)

Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@contextmanager
def kernels(name: str) -> Iterator[None]:
    """All threads compute with the kernels of one set of instructions."""
    with (
        patch.object(lattice, "instruction_sets", lambda: INSTRUCTION_SETS[name]),
        patch.object(lattice, "_idle", list[object]()),
    ):
        yield


def by_cell(dense: NDArray[Any]) -> NDArray[Any]:
    """Numbers (128, 128, 128) of a region by its cells: (4096, 512)."""
    parts = dense.reshape(16, 8, 16, 8, 16, 8).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(parts).reshape(4096, 512)


def of_cells(cells: NDArray[Any]) -> NDArray[Any]:
    """Numbers (4096, 512) of a region's cells, by voxel: (128, 128, 128)."""
    parts = cells.reshape(16, 16, 16, 8, 8, 8).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(parts).reshape(128, 128, 128)


def leaves_of(active: Flags) -> Leaves:
    """The leaves of a region whose active voxels are bool (128, 128, 128)."""
    masks = by_cell(active)
    cells = np.flatnonzero(masks.any(axis=1))
    return Leaves(cells.astype(np.uint16), np.packbits(masks[cells], axis=1, bitorder="little"))


def of_voxels(dense: NDArray[Any], active: Flags) -> NDArray[Any]:
    """Numbers (128, 128, 128) of a region's active voxels, in their order."""
    return np.ascontiguousarray(by_cell(dense)[by_cell(active)])


def at_multiples(leaves: Leaves, level: int) -> Flags:
    """Which of some leaves' active voxels lie at multiples of 2^level: bool (voxels,)."""
    every = np.arange(EDGE) % (1 << level) == 0
    cells = by_cell(every[:, None, None] & every[:, None] & every)[leaves.cells]
    found: Flags = cells[np.unpackbits(leaves.masks, axis=1, bitorder="little").view(np.bool_)]
    return found


def known_voxels(dense: Ints) -> KnownVoxels:
    """Every voxel of a region, known to have the values int32 (128, 128, 128)."""
    active = np.ones((EDGE,) * 3, dtype=np.bool_)
    return KnownVoxels(leaves_of(active), of_voxels(dense, active), 0)


def nothing_but(value: int) -> KnownVoxels:
    """Every voxel of a region, known to have one value."""
    nowhere = leaves_of(np.zeros((EDGE,) * 3, dtype=np.bool_))
    return KnownVoxels(nowhere, np.zeros(0, dtype=np.int32), value)


@cache
def clouds(seed: int) -> NDArray[np.float64]:
    """A smooth function with noise, float64 (128, 128, 128) from 0 to 1."""
    x, y, z = np.meshgrid(*[np.arange(EDGE) / EDGE] * 3, indexing="ij")
    noise = np.random.default_rng(seed).standard_normal((EDGE,) * 3)
    found = np.sin(9 * x + 3 * y) * np.cos(11 * y * z + 5 * z) + 0.3 * np.sin(40 * x * y)
    found += 0.1 * np.sin(77 * z + 30 * x) + 0.02 * noise
    shares: NDArray[np.float64] = np.clip((found + 1.4) / 2.8, 0, 1)
    return shares


@dataclass(frozen=True, eq=False)
class Made:
    """A region of a channel.

    channel: as the core takes it
    bare: the same without a restoration filter
    region: what is known of it
    values: int32 (n,) of its voxels, in units
    model: the networks
    top: largest value of the channel
    """

    channel: LatticeChannel
    bare: LatticeChannel
    region: KnownRegion
    values: Ints
    model: Model
    top: int

    def encode(self, weight: float = 1.0) -> tuple[RegionCodes, Ints]:
        """Its codes, and the values that a decoder gives."""
        codes, decoded, _ = self.channel.encode(self.region, *self._aim(weight))
        return codes, decoded

    def sampled(
        self, share: float = 1.0, truth: Ints | None = None, weight: float = 1.0, seed: int = 0
    ) -> tuple[RegionCodes, Ints, ContextSamples]:
        """The same, and the contexts of a share of the voxels.

        truth: int32 (n,) that the contexts tell of the voxels in place of their values
        """
        shares = (share,) * 7
        targets, values, rate, bits = self._aim(weight)
        values = values if truth is None else truth
        aim = targets, values, rate, bits
        codes, decoded, samples = self.channel.encode(self.region, *aim, shares, seed)
        assert samples is not None
        return codes, decoded, samples

    def _aim(self, weight: float) -> tuple[Ints, Ints, float, NDArray[np.float32]]:
        return self.values, self.values, weight * RATE_WEIGHT, code_bits(self.model.prior)

    def decode(self, codes: RegionCodes, level: int = 0) -> Ints:
        """The values of its voxels at multiples of 2^level."""
        return self.channel.decode(self.region, codes, self.count(level), level)

    def count(self, level: int = 0) -> int:
        """Its voxels at multiples of 2^level."""
        return int(at_multiples(self.region.leaves, level).sum())


def made(
    top: int = 6400,
    box: Box = ((3, 39), (10, 44), (0, 36)),
    share: float = 0.6,
    reference_top: int = 0,
    exterior: str = "known",
    restoration: bool = True,
    lossless: bool = False,
    trellis: bool = False,
    wavelet: bool = False,
    background: int = 0,
    seed: int = 0,
    model: Model | None = None,
) -> Made:
    """A region whose active voxels are a share of a box, where a smooth function is high.

    reference_top: largest value of a reference channel that resembles it; 0 for none
    exterior: 'known', the background; 'dense', any values; or 'unknown'
    """
    generator, cloud = np.random.default_rng(seed), clouds(seed)
    active = np.zeros((EDGE,) * 3, dtype=np.bool_)
    within = tuple(slice(*ends) for ends in box)
    active[within] = (
        cloud[within] >= np.quantile(cloud[::4, ::4, ::4], 1 - share) if share else False
    )
    dense = np.rint(cloud * top).astype(np.int32)
    values = of_voxels(dense // 128 * 128 if lossless else dense, active)
    reference = None
    if reference_top:
        there = generator.random(active.shape) < 0.9
        other = np.rint(cloud * reference_top).astype(np.int32)
        reference = leaves_of(there), of_voxels(other, there)
    around = nothing_but(background) if exterior == "known" else None
    if exterior == "dense":
        around = known_voxels(generator.integers(-top, 2 * top, active.shape, dtype=np.int32))
    model = model or default_model(reference_top > 0, restoration, wavelet=wavelet)
    mean = round(float(values.mean()) * 255 / top) if len(values) else 0
    region = KnownRegion(leaves_of(active), reference, around, mean, 10)
    channel, bare = (
        LatticeChannel(
            STEPS if not lossless else (128,) * 7,
            top,
            background,
            reference_top,
            lossless,
            around is not None,
            trellis,
            wavelet,
            [model.networks[odd].tensors for odd in INPUTS],
            None if filtering is None else filtering.tensors,
            model.prior,
            model.wavelet_prior,
        )
        for filtering in (model.restoration, None)
    )
    return Made(channel, bare, region, values, model, top)
