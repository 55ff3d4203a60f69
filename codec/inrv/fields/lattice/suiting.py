"""Which set of default networks suits a channel: the one that predicts some of its voxels best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inrv.core.lattice import LISTED, TABLES
from inrv.fields.lattice.constants import INPUT_ONE, LOWEST_TABLE, SUM_ONE, TABLES_OCTAVE
from inrv.fields.lattice.model import Model
from inrv.fields.lattice.samples import ChannelSamples
from inrv.fields.lattice.tokens import code_bits

LOG_ONE = 32 * 64  # of a network's second output, in octaves


def by_suiting(models: Sequence[Model], samples: ChannelSamples) -> list[int]:
    """The numbers of the models, that under which the samples would take the fewest bits first.

    Filters have no part in it.

    models: with the same prior
    samples: of the channel, coded with any of them
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
                moves, logs = network.outputs(network.rows(part.inputs[own], INPUT_ONE)).T
                missed = targets - np.clip(base + reach * moves, 0, samples.top)
                codes = np.minimum(np.abs(np.rint(missed / steps)), LISTED - 1).astype(np.int64)
                octaves = np.log2(spread / steps) + logs / LOG_ONE + LOWEST_TABLE
                tables = np.clip(octaves * TABLES_OCTAVE, 0, TABLES - 1).astype(np.int64)
                costs[number] += float((bits[tables, codes] * weights).sum())
    return sorted(range(len(models)), key=costs.__getitem__)
