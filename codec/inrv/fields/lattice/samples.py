"""Voxels of a channel, drawn from it, that its networks are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import ContextSamples
from inrv.fields.lattice.constants import RESTORATION_INPUTS
from inrv.fields.lattice.network import Floats


@dataclass(frozen=True)
class Sampling:
    """Which voxels' contexts an encoder gives.

    shares: of the voxels of each level, the finest first
    seed: draws them
    """

    shares: tuple[float, ...]
    seed: int


class PredictionSamples(NamedTuple):
    """Voxels of one number of odd axes.

    inputs: int8 (n, k) of the network
    difference: float32 (n,) target - base, in steps
    spread: float32 (n,) of the neighbours, in steps
    reach: float32 (n,) the same, 0 where the prediction cannot leave the base
    low, high: float32 (n,) between which the prediction is clipped, less the base, in steps
    weight: float32 (n,) how many voxels of the regions that were coded each stands for
    """

    inputs: NDArray[np.int8]
    difference: Floats
    spread: Floats
    reach: Floats
    low: Floats
    high: Floats
    weight: Floats


@dataclass(frozen=True, eq=False)
class ChannelSamples:
    """Contexts of some voxels of a channel.

    parts: by region
    steps: units of a step of each level, the finest first
    top: the largest value, in units
    shares: of the voxels of each level that were taken
    """

    parts: list[ContextSamples]
    steps: tuple[int, ...]
    top: int
    shares: tuple[float, ...]

    def prediction(self, odd: int, inputs: int) -> PredictionSamples | None:
        """Those that the network of so many odd axes predicts; None where there are none.

        inputs: of the network
        """
        steps, shares = (np.array(column, dtype=np.float32) for column in (self.steps, self.shares))
        found = list[PredictionSamples]()
        for part in self.parts:
            own = np.flatnonzero(part.odd == odd)
            step = steps[part.level[own]]
            spread = part.spread[own].astype(np.float32) / step
            difference = (part.targets[own] - part.base[own]).astype(np.float32) / step
            reach = np.where(part.flat[own], np.float32(0), spread)
            base = part.base[own].astype(np.float32)
            low, high = -base / step, (np.float32(self.top) - base) / step
            inner, weight = part.inputs[own, :inputs], 1 / shares[part.level[own]]
            if len(own):
                found.append(PredictionSamples(inner, difference, spread, reach, low, high, weight))
        if not found:
            return None
        return PredictionSamples(*(np.concatenate(column) for column in zip(*found, strict=True)))


class RestorationSamples(NamedTuple):
    """Voxels that the filter moves.

    inputs: int8 (n, 37) of the filter
    decoded: float32 (n,) their values, in units
    errors: float32 (n,) by how many units they are to be moved
    """

    inputs: NDArray[np.int8]
    decoded: Floats
    errors: Floats


def restoration_samples(parts: Sequence[ContextSamples]) -> RestorationSamples:
    """What the filter is fitted to."""
    chosen = [(part, np.flatnonzero(part.odd == 0)) for part in parts]
    inputs = [part.inputs[own, :RESTORATION_INPUTS] for part, own in chosen]
    decoded = [part.base[own] for part, own in chosen]
    errors = [part.targets[own] - part.base[own] for part, own in chosen]
    return RestorationSamples(
        np.concatenate(inputs),
        np.concatenate(decoded).astype(np.float32),
        np.concatenate(errors).astype(np.float32),
    )
