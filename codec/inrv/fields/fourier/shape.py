"""The shape of a network and of its tensors, without torch."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

from inrv.errors import FormatError
from inrv.fields.fourier.quantisation import Arrays, stored_shapes


@dataclass(frozen=True)
class TimeAxis:
    """How the frames of a file lie along the fourth axis of its network.

    pace: float p from one place in time to the next
    places: int place in time of each output of the field: of its frame, in the order of time
    columns: int output of the network that each output of the field is, at its place
    """

    pace: float
    places: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class FourierConfig:
    """Holds the shape of a network and the part of index space that it covers.

    frequencies: int k, rows of B
    layers: int m, hidden layers
    neurons: int n, neurons of a hidden layer
    outputs: int outputs of the network: components of grids
    origin: float (3,) index-space position of p = 0
    scale: float p per voxel: 1 / longest edge of the box
    activation: str activation of the hidden layers, 'relu' or 'silu'
    time: TimeAxis of a group of frames; None: the network knows no time
    """

    frequencies: int
    layers: int
    neurons: int
    outputs: int
    origin: tuple[float, float, float]
    scale: float
    activation: str = "relu"
    time: TimeAxis | None = None

    @property
    def axes(self) -> int:
        """The number of coordinates: 3, or 4 with time."""
        return 3 if self.time is None else 4

    @property
    def origins(self) -> tuple[float, ...]:
        """The coordinates with p = 0."""
        return self.origin if self.time is None else (*self.origin, 0.0)

    @property
    def scales(self) -> tuple[float, ...]:
        """P per voxel along each axis, and per place in time."""
        return (self.scale,) * 3 + (() if self.time is None else (self.time.pace,))

    def as_json(self) -> dict[str, Any]:
        """Return the keys of a field's config in the manifest that hold the shape."""
        result = {**asdict(self), "origin": list(self.origin)}
        del result["outputs"]
        return result

    @staticmethod
    def of_json(config: dict[str, Any], outputs: int) -> FourierConfig:
        """Return the shape that a checked config of the manifest holds.

        outputs: int outputs of the field
        """
        keys = ("frequencies", "layers", "neurons", "scale", "activation")
        x, y, z = config["origin"]
        time = None
        if (held := config["time"]) is not None:
            time = TimeAxis(held["pace"], tuple(held["places"]), tuple(held["columns"]))
            outputs = max(time.columns) + 1
        return FourierConfig(
            outputs=outputs, origin=(x, y, z), time=time, **{key: config[key] for key in keys}
        )

    @property
    def widths(self) -> list[int]:
        """The widths between the layers, from the features to the outputs."""
        return [2 * self.frequencies, *[self.neurons] * self.layers, self.outputs]


def tensor_shapes(config: FourierConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a network, by name."""
    shapes: dict[str, tuple[int, ...]] = {
        "B": (config.frequencies, config.axes),
        "multipliers": (config.frequencies,),
    }
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(config.widths)):
        shapes[f"layers.{index}.weight"] = (fan_out, fan_in)
        shapes[f"layers.{index}.bias"] = (fan_out,)
    return shapes


def check_tensors(config: FourierConfig, stored: Arrays, most_weights: int | None = None) -> None:
    """Check that stored tensors are those of a network, before a number is computed.

    config: shape of the network
    stored: its tensors, as a file stores them
    most_weights: int numbers that the tensors may have together; None: any

    Raises FormatError where they are not.
    """
    found, expected = stored_shapes(stored), tensor_shapes(config)
    if unknown := sorted(found.keys() - expected.keys()):
        raise FormatError("F2", f"field tensor {unknown[0]!r} belongs to no layer of the network")
    for name, shape in expected.items():
        if found.get(name) != shape:
            raise FormatError(
                "F2",
                f"field tensor {name!r} is {found.get(name, 'missing')}; "
                f"the manifest asks for {shape}",
            )
    weights = sum(math.prod(size) for size in expected.values())
    if most_weights is not None and weights > most_weights:
        raise FormatError(
            "L3", f"its field has {weights:,} weights, more than the limit of {most_weights:,}"
        )


def network_weights(frequencies: int, layers: int, neurons: int, outputs: int) -> int:
    """Count the weights and biases of the perceptron.

    The paper's Table 1 has 3,150,850 with two outputs.
    """
    hidden = (layers - 1) * (neurons * neurons + neurons)
    return 2 * frequencies * neurons + neurons + hidden + neurons * outputs + outputs
