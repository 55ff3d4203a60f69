"""What a voxel's prediction is made from: its known neighbours, as small whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import LOG_ONE, SPREAD_BITS
from inrv.fields.lattice.kernels import Known, Neighbours, Scales, gather_contexts
from inrv.fields.lattice.order import FACES, PATTERNS, Parity
from inrv.fields.lattice.regions import LevelArray

OWN_FEATURES, REFERENCE_FEATURES = 7, 3


def input_count(odd: int, reference: bool) -> int:
    """Inputs of the network that predicts the voxels of a pass.

    odd: how many of their coordinates are odd
    reference: whether there is a reference channel
    """
    own = 2 * len(PATTERNS[odd].pairs) + 2 * len(FACES) + OWN_FEATURES
    return own + (1 + len(FACES) + REFERENCE_FEATURES if reference else 0)


@cache
def log_table() -> NDArray[np.int32]:
    """floor(64 log2 n) of n = 1 to 2^12 - 1 at place n, int32; 0 at place 0."""
    logs = [0] + [log_of(n) for n in range(1, 1 << SPREAD_BITS)]
    return np.array(logs, dtype=np.int32)


def log_of(number: int) -> int:
    """floor(64 log2 n) of a whole number."""
    return int(number**LOG_ONE).bit_length() - 1


@dataclass(frozen=True, eq=False)
class ChannelParameters:
    """What the decoder knows of a channel before its voxels.

    steps: of the quantiser, in units, by level, the finest first
    top: largest value, in units
    background: of the grid, in units, within -HIGHEST and HIGHEST
    lossless: whether every value is a whole number of STEPs, and predictions are rounded to one,
        so that codes give it exactly
    """

    steps: tuple[int, ...]
    top: int
    background: int
    lossless: bool = False

    def scales(self, level: int, mean: int, spread: int) -> Scales:
        """What the contexts of a level are measured by; `mean` and `spread` of the region."""
        step = self.steps[level]
        own = (self.top, self.background, self.lossless)
        return Scales(level, step, log_of(step), *own, mean, spread, log_table())


def neighbours_of(array: LevelArray, odd: int, parity: Parity) -> Neighbours:
    """Where the neighbours of the voxels of a parity lie in the flattened array of a level."""
    pairs, faces = parity.turned(PATTERNS[odd].pairs), parity.turned(FACES)
    return Neighbours(array.distances(pairs), array.distances(faces), odd)


@dataclass(frozen=True, eq=False)
class Contexts:
    """What n voxels are predicted from.

    inputs: int8 (n, k) of the network
    base: int32 (n,) what the prediction starts from, in units
    spread: int32 (n,) spread of the neighbours, in units
    flat: bool (n,) where all neighbours are equal: such a voxel is predicted to be so too,
        whatever the network says
    """

    inputs: NDArray[np.int8]
    base: NDArray[np.int32]
    spread: NDArray[np.int32]
    flat: NDArray[np.bool_]


def gather_context(
    known: Known, places: NDArray[np.int64], neighbours: Neighbours, scales: Scales
) -> Contexts:
    """The contexts of the voxels at flat `places` (n,), all of one parity."""
    count = len(places)
    inputs = input_count(neighbours.odd, len(known.reference) > 0)
    found = Contexts(
        np.empty((count, inputs), dtype=np.int8),
        np.empty(count, dtype=np.int32),
        np.empty(count, dtype=np.int32),
        np.empty(count, dtype=np.bool_),
    )
    columns = (found.inputs, found.base, found.spread, found.flat)
    gather_contexts(known, places, neighbours, scales, *columns)
    return found
