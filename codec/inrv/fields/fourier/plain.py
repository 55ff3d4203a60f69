"""The network in NumPy.

It is for a few voxels, where importing torch would take longer than computing them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inrv.fields.fourier.quantisation import Arrays, dequantise
from inrv.fields.fourier.shape import FourierConfig


@np.errstate(over="ignore", invalid="ignore")  # the caller finds what is not finite
def plain_outputs(
    config: FourierConfig, stored: Arrays, coordinates: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Compute the normalised outputs float32 (N, outputs) of a network.

    config: shape of the network
    stored: its tensors, as a file stores them
    coordinates: int32 (N, axes) index space, and places in time
    """
    tensors = dequantise(stored)
    origin, scale = (np.array(own, dtype=np.float32) for own in (config.origins, config.scales))
    positions = (coordinates.astype(np.float32) - origin) * scale
    frequencies = tensors["multipliers"][:, None] * tensors["B"]
    phase = positions @ (np.float32(2 * math.pi) * frequencies).T
    values = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
    for layer in range(config.layers + 1):
        values = values @ tensors[f"layers.{layer}.weight"].T + tensors[f"layers.{layer}.bias"]
        if layer < config.layers:
            relu = config.activation == "relu"
            values = np.maximum(values, 0) if relu else values / (1 + np.exp(-values))
    result: NDArray[np.float32] = values.astype(np.float32)
    return result
