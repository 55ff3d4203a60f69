"""The restoration filter: a second network, which moves each decoded value by at most a step.

It reads the decoded neighbourhood on all sides. A voxel whose inputs from its neighbours' values
are all 0, since these are as its own or not there, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inrv.fields.lattice.constants import STEP
from inrv.fields.lattice.context import ChannelParameters
from inrv.fields.lattice.kernels import gather_neighbourhoods, restore
from inrv.fields.lattice.network import IntegerNetwork
from inrv.fields.lattice.order import AROUND, FACES
from inrv.fields.lattice.regions import LevelArray
from inrv.fields.lattice.traversal import Region, Setting

KINDS = 4  # voxels of the finest level with one, two and three odd axes; all others
INPUTS = 2 * len(AROUND) + 2 * len(FACES) + KINDS + 1

Ints = NDArray[np.int32]
Places = NDArray[np.int64]


def restoration_inputs(
    values: Ints, places: Places, array: LevelArray, channel: ChannelParameters
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Inputs int8 (n, INPUTS) of voxels, and bool (n,) where neighbours' values give only zeros.

    values: int32 (x, y, z) of the finest level, MISSING where there is none
    places: int64 (n,) flat places of the voxels
    array: where the level lies
    """
    inputs = np.empty((len(places), INPUTS), dtype=np.int8)
    even = np.empty(len(places), dtype=np.bool_)
    gather_neighbourhoods(*_arguments(values, places, array, channel), inputs, even)
    return inputs, even


def restored(
    values: Ints,
    places: Places,
    array: LevelArray,
    channel: ChannelParameters,
    network: IntegerNetwork,
) -> Ints:
    """The values int32 (n,) after the filter; the other arguments are `restoration_inputs`'s."""
    result = np.empty(len(places), dtype=np.int32)
    arguments = _arguments(values, places, array, channel)
    restore(*arguments, channel.top, network.layers, result)
    return result


def _arguments(
    values: Ints, places: Places, array: LevelArray, channel: ChannelParameters
) -> tuple[object, ...]:
    """What both kernels read of a neighbourhood; the face neighbours come first."""
    _, y_edge, z_edge = array.shape
    distances = array.distances(AROUND)
    return (
        values.reshape(-1), places, y_edge, z_edge, distances, len(FACES), channel.background,
    )  # fmt: skip


def restoration_samples(
    setting: Setting,
    corners: Ints,
    decoded: Ints,
    targets: Ints,
    channel: ChannelParameters,
    draw: Callable[[int], NDArray[np.bool_]],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Inputs int8 (n, INPUTS) and errors float32 (n,), in steps, of some voxels of some regions.

    corners: int32 (R, 3) of the regions
    decoded: int32 (N,) values before the filter, by row
    targets: int32 (N,) what they should be, by row
    draw: chooses among so many voxels, bool (n,)
    """
    inputs, errors = [], []
    for corner in corners:
        region = Region.of(setting, corner)
        array = region.window.level(0)
        rows = array.take(region.rows, region.window, -1)
        values = region.begin(rows, array)
        flat = rows.reshape(-1)
        places = np.flatnonzero(flat >= 0)
        values.reshape(-1)[places] = decoded[flat[places]]
        places = places[draw(len(places))]
        own = flat[places]
        inputs.append(restoration_inputs(values, places, array, channel)[0])
        errors.append((targets[own] - decoded[own]).astype(np.float32) / np.float32(STEP))
    return np.concatenate(inputs), np.concatenate(errors)
