"""The network in NumPy: for a few voxels, where importing torch would take longer than computing them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inrv.fields.fourier.quantisation import Arrays, dequantise
from inrv.fields.fourier.shape import FourierConfig


def plain_outputs(
    config: FourierConfig, stored: Arrays, coordinates: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Normalised outputs float32 (N, outputs) of a network's stored tensors at index-space coordinates (N, 3)."""
    tensors = dequantise(stored)
    positions = (coordinates.astype(np.float32) - np.float32(config.origin)) * np.float32(
        config.scale
    )
    frequencies = tensors["multipliers"][:, None] * tensors["B"]
    phase = positions @ (np.float32(2 * math.pi) * frequencies).T
    values = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
    for layer in range(config.layers + 1):
        values = values @ tensors[f"layers.{layer}.weight"].T + tensors[f"layers.{layer}.bias"]
        if layer < config.layers:
            values = (
                np.maximum(values, 0)
                if config.activation == "relu"
                else values / (1 + np.exp(-values))
            )
    result: NDArray[np.float32] = values.astype(np.float32)
    return result
