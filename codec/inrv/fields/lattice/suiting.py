"""Which set of default networks suits a channel: the one that predicts some of its voxels best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inrv.core.lattice import LISTED, TABLES
from inrv.fields.lattice.codec import ChannelSamples, code_bits
from inrv.fields.lattice.constants import LARGEST, LOWEST_TABLE, SUM_ONE, TABLES_OCTAVE
from inrv.fields.lattice.model import Model
from inrv.fields.lattice.network import Floats, IntegerNetwork

LOG_ONE = 32 * 64  # of a network's second output, in octaves


def by_suiting(models: Sequence[Model], samples: ChannelSamples, top: int) -> list[int]:
    """The numbers of the models, that under which the samples would take the fewest bits first.

    Filters have no part in it.

    models: with the same prior
    samples: of the channel, coded with any of them
    top: its largest value, in units
    """
    bits = code_bits(models[0].prior)[0]
    costs = [0.0] * len(models)
    for part in samples.parts:
        for odd in models[0].networks:
            own = np.flatnonzero(part.odd == odd)
            steps = np.array(samples.steps, dtype=np.float32)[part.level[own]]
            weights = 1 / np.array(samples.shares)[part.level[own]]
            base, targets = part.base[own].astype(np.float32), part.targets[own]
            spread = part.spread[own].astype(np.float32)
            reach = np.where(part.flat[own], np.float32(0), spread) / np.float32(SUM_ONE)
            for number, model in enumerate(models):
                network = model.networks[odd]
                moves, logs = _outputs(network, part.inputs[own]).T
                missed = targets - np.clip(base + reach * moves, 0, top)
                codes = np.minimum(np.abs(np.rint(missed / steps)), LISTED - 1).astype(np.int64)
                octaves = np.log2(spread / steps) + logs / LOG_ONE + LOWEST_TABLE
                tables = np.clip(octaves * TABLES_OCTAVE, 0, TABLES - 1).astype(np.int64)
                costs[number] += float((bits[tables, codes] * weights).sum())
    return sorted(range(len(models)), key=costs.__getitem__)


def _outputs(network: IntegerNetwork, inputs: NDArray[np.int8]) -> Floats:
    """What a prediction network gives for inputs (n, k and more), in 2048ths: float32 (n, 2)."""
    tensors = network.tensors
    row = 2 * inputs[:, : len(tensors["first.weight"])].astype(np.float32)
    hidden = _active(row @ tensors["first.weight"] + tensors["first.bias"])
    hidden = _active(hidden @ tensors["second.weight"] + tensors["second.bias"])
    result: Floats = hidden @ tensors["last.weight"] + tensors["last.bias"]
    return result + row @ tensors["skip.weight"]


def _active(sums: Floats) -> Floats:
    found: Floats = np.clip(np.floor((sums + np.float32(32)) / np.float32(64)), 0, LARGEST)
    return found
