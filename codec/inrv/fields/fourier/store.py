"""The chunks of a network and its samples, without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inrv.container import Chunk, Container, FieldEntry, pack_tensors, take, unpack_tensors
from inrv.container.layout import NETWORK, SAMPLES
from inrv.fields.fourier.quantisation import Arrays
from inrv.fields.fourier.shape import FourierConfig

# Voxels (R, axes), and the outputs (R, outputs) of the network there.
Samples = tuple[NDArray[np.int32], NDArray[np.float32]]


def store_network(tensors: Arrays, samples: Samples, chunks: list[Chunk]) -> tuple[int, int]:
    """Append the chunks of a network's tensors and samples, and return the numbers of the two.

    tensors: arrays by name, as they are stored
    samples: voxels, and the outputs there
    chunks: chunks of the file so far
    """
    coordinates, outputs = samples
    chunks.append(Chunk(NETWORK, pack_tensors(tensors)))
    chunks.append(Chunk(SAMPLES, pack_tensors({"coordinates": coordinates, "outputs": outputs})))
    return len(chunks) - 2, len(chunks) - 1


def field_entry(container: Container) -> FieldEntry:
    """Return the manifest's entry on the field that a file has."""
    entry = container.manifest.field
    assert entry is not None
    return entry


def restore_network(container: Container) -> tuple[FourierConfig, Arrays]:
    """Read the shape of the network, and its tensors as they are stored, not yet checked.

    Raises FormatError.
    """
    entry = field_entry(container)
    tensors = {
        name: np.array(array)
        for name, array in unpack_tensors(container.chunk(entry.config["tensors"])).items()
    }
    return FourierConfig.of_json(entry.config, entry.outputs), tensors


def restore_samples(container: Container) -> Samples | None:
    """Read the stored samples; None where there are none. Raises FormatError."""
    entry = field_entry(container)
    if entry.config["samples"] is None:
        return None
    arrays = unpack_tensors(container.chunk(entry.config["samples"]))
    shape = FourierConfig.of_json(entry.config, entry.outputs)
    coordinates = take(arrays, "coordinates", np.int32, (None, shape.axes))
    outputs = take(arrays, "outputs", np.float32, (len(coordinates), shape.outputs))
    return (coordinates.copy(), outputs.copy()) if len(coordinates) else None


@np.errstate(invalid="ignore")  # of numbers that are not finite, which give NaN
def deviation(outputs: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest |y - r| / (1 + |r|) of outputs y and expected outputs r.

    The accuracy class of spec/fourier.md bounds it. NaN where a number is not finite.
    """
    return float((np.abs(outputs - expected) / (1 + np.abs(expected))).max())
