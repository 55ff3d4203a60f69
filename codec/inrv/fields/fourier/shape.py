"""The shape of a fourier network, and of its tensors. No torch."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

from inrv.errors import FormatError
from inrv.fields.fourier.quantisation import Arrays, stored_shapes


@dataclass(frozen=True)
class FourierConfig:
    """The shape of the network and the part of index space it covers.

    frequencies: k, rows of B
    layers: m, hidden layers
    neurons: n, neurons of a hidden layer
    outputs: components of grids
    origin: index-space position of p = 0
    scale: p per voxel: 1 / longest edge of the box
    activation: of hidden layers, 'relu' or 'silu'
    """

    frequencies: int
    layers: int
    neurons: int
    outputs: int
    origin: tuple[float, float, float]
    scale: float
    activation: str = "relu"

    def as_json(self) -> dict[str, Any]:
        """The keys of a field's config in the manifest that say this."""
        result = {**asdict(self), "origin": list(self.origin)}
        del result["outputs"]
        return result

    @staticmethod
    def of_json(config: dict[str, Any], outputs: int) -> FourierConfig:
        """The shape that a checked config says."""
        keys = ("frequencies", "layers", "neurons", "scale", "activation")
        x, y, z = config["origin"]
        return FourierConfig(
            outputs=outputs, origin=(x, y, z), **{key: config[key] for key in keys}
        )

    @property
    def widths(self) -> list[int]:
        """Numbers between the layers, from the features to the outputs."""
        return [2 * self.frequencies, *[self.neurons] * self.layers, self.outputs]


def tensor_shapes(config: FourierConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the network, by name."""
    shapes: dict[str, tuple[int, ...]] = {
        "B": (config.frequencies, 3),
        "multipliers": (config.frequencies,),
    }
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(config.widths)):
        shapes[f"layers.{index}.weight"] = (fan_out, fan_in)
        shapes[f"layers.{index}.bias"] = (fan_out,)
    return shapes


def check_tensors(config: FourierConfig, stored: Arrays, most_weights: int | None = None) -> None:
    """Raise FormatError where stored tensors are not those of the network, before a number is computed.

    most_weights: numbers that they may have together; None: any
    """
    found, expected = stored_shapes(stored), tensor_shapes(config)
    if unknown := sorted(found.keys() - expected.keys()):
        raise FormatError("F2", f"field tensor {unknown[0]!r} belongs to no layer of the network")
    for name, shape in expected.items():
        if found.get(name) != shape:
            raise FormatError(
                "F2",
                f"field tensor {name!r} is {found.get(name, 'missing')}; the manifest asks for {shape}",
            )
    weights = sum(math.prod(size) for size in expected.values())
    if most_weights is not None and weights > most_weights:
        raise FormatError(
            "L3", f"its field has {weights:,} weights, more than the limit of {most_weights:,}"
        )


def network_weights(frequencies: int, layers: int, neurons: int, outputs: int) -> int:
    """Weights and biases of the perceptron: 3,150,850 for the paper's Table 1 with two outputs."""
    hidden = (layers - 1) * (neurons * neurons + neurons)
    return 2 * frequencies * neurons + neurons + hidden + neurons * outputs + outputs
