"""The field `fourier`: a multilayer perceptron over Fourier features of the position.

Source: Zurkova et al. 2025, "Accelerated Volumetric Compression without Hierarchies", eq. (1) and Table 1.
What the paper leaves open, and what is assumed here: positions are scaled by the longest edge of the box, so that p
lies in [0, 1]^3 and a frequency means the same along every axis; hidden activations are ReLU; the output is linear.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from inrv.errors import FormatError
from inrv.fields.fourier.features import features_at, features_of_voxels, gradient_of_frequencies
from inrv.fields.fourier.field import Field
from inrv.fields.fourier.quantisation import dequantise, stored_shapes

ACTIVATIONS = {"relu": functional.relu, "silu": functional.silu}


@dataclass(frozen=True)
class FourierConfig:
    """Shape of the network and the part of index space it covers.

    frequencies  k, rows of B           layers   m, hidden layers        neurons  n, neurons a hidden layer
    outputs      grid components        origin   index-space position of p = 0
    scale        p per voxel: 1 / longest edge of the box
    """

    frequencies: int
    layers: int
    neurons: int
    outputs: int
    origin: tuple[float, float, float]
    scale: float
    activation: str = "relu"


class FourierField(Field):
    """value(c) = MLP([cos(2 pi B p), sin(2 pi B p)]), p = (c - origin) * scale.

    B            (k, 3)  rows drawn from a standard normal distribution, fixed, exact in float16
    multipliers  (k,)    learnable scale of each row, in cycles a box edge
    """

    kind = "fourier"

    def __init__(self, config: FourierConfig, multipliers: Tensor, generator: torch.Generator | None) -> None:
        super().__init__()
        self.shape = config
        self.outputs = config.outputs
        drawn = torch.randn(config.frequencies, 3, generator=generator, dtype=torch.float32).half().float()
        self.B: Tensor
        self.register_buffer("B", drawn)
        self.multipliers = nn.Parameter(multipliers.clone())
        widths = _widths(config)
        self.layers = nn.ModuleList(_undrawn(a, b, multipliers.device) for a, b in itertools.pairwise(widths))
        self._initialise(generator)
        self.origin: Tensor
        self.register_buffer("origin", torch.tensor(config.origin, dtype=torch.float32), persistent=False)

    def _initialise(self, generator: torch.Generator | None) -> None:
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
        final = self.layers[-1]
        assert isinstance(final, nn.Linear)
        nn.init.uniform_(
            final.weight, -1.0 / math.sqrt(final.in_features), 1.0 / math.sqrt(final.in_features), generator=generator
        )

    def features(self, coordinates: Tensor) -> Tensor:
        """Fourier features (N, 2 k) at index-space coordinates (N, 3), eq. (1), computed in float32."""
        device = coordinates.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        with torch.autocast(device, enabled=False):
            frequencies = self.multipliers[:, None] * self.B
            if not coordinates.is_floating_point() and (self.training or not torch.is_grad_enabled()):
                features: Tensor = VoxelFeatures.apply(coordinates, self.origin, self.shape.scale, frequencies, dtype)  # type: ignore[no-untyped-call]
                return features
            return features_at((coordinates.float() - self.origin) * self.shape.scale, frequencies, dtype)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Normalised values (N, outputs) at index-space coordinates (N, 3)."""
        activation = ACTIVATIONS[self.shape.activation]
        hidden = self.features(coordinates)
        for layer in list(self.layers)[:-1]:
            hidden = activation(layer(hidden))
        outputs: Tensor = self.layers[-1](hidden)
        return outputs.float()

    @property
    def floats_per_voxel(self) -> int:
        """Phases, sines and cosines and their concatenation; two hidden layers or the last one and the outputs."""
        return 5 * self.shape.frequencies + 2 * self.shape.neurons + self.outputs

    def hidden(self) -> dict[str, nn.Parameter]:
        """`layers.i.weight` for i < m."""
        names = [f"layers.{number}.weight" for number in range(self.shape.layers)]
        return {name: weight for name, weight in self.named_parameters() if name in names}

    def config(self) -> dict[str, Any]:
        """The fields of FourierConfig."""
        return {**asdict(self.shape), "origin": list(self.shape.origin)}

    def tensors(self) -> dict[str, Tensor]:
        """B, multipliers and `layers.i.weight`, `layers.i.bias`."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def fixed(self) -> frozenset[str]:
        """B and the multipliers: an error in a frequency grows with the distance from the origin."""
        return frozenset({"B", "multipliers"})

    @staticmethod
    def restore(config: dict[str, Any], stored: dict[str, Tensor], most_weights: int | None = None) -> FourierField:
        """The field a file describes.

        Raises FormatError where it has more than `most_weights` numbers, or tensors are missing, too many or of other shapes;
        all that before a number is computed.
        """
        shape = FourierConfig(**{**config, "origin": tuple(config["origin"])})
        if shape.activation not in ACTIVATIONS:
            raise FormatError("F2", f"activation {shape.activation!r} is not one of {', '.join(ACTIVATIONS)}")
        shapes = tensor_shapes(shape)
        _check_shapes(stored_shapes(stored), shapes)
        weights = sum(math.prod(size) for size in shapes.values())
        if most_weights is not None and weights > most_weights:
            raise FormatError("L3", f"its field has {weights:,} weights, more than the limit of {most_weights:,}")
        with torch.device("meta"):
            field = FourierField(shape, torch.empty(shape.frequencies, dtype=torch.float32), None)
        field.load_state_dict(dequantise(stored), assign=True)
        field.origin = torch.tensor(shape.origin, dtype=torch.float32)
        return field


class VoxelFeatures(torch.autograd.Function):
    """Fourier features of voxels, learnable in the frequencies, in the dtype that products are computed in.

    The gradient needs cosines and sines, which are there: nothing is computed twice, as it would be otherwise.
    """

    @staticmethod
    def forward(ctx: Any, voxels: Tensor, origin: Tensor, scale: float, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
        """Features (N, 2 k) at voxels int32 (N, 3) with frequencies (k, 3), cycles a box edge."""
        features = features_of_voxels(voxels, origin, scale, frequencies, dtype)
        ctx.save_for_backward(voxels, origin, features)
        ctx.scale = scale
        return features

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[None, None, None, Tensor, None]:
        """The gradient of the frequencies."""
        voxels, origin, features = ctx.saved_tensors
        return None, None, None, gradient_of_frequencies((voxels.float() - origin) * ctx.scale, features, given), None


def _undrawn(inputs: int, outputs: int, device: torch.device) -> nn.Linear:
    """A layer whose weights are still to be drawn: torch would draw them from the caller's generator."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float32, device=device)
    return layer


def _check_shapes(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    if unknown := sorted(found.keys() - expected.keys()):
        raise FormatError("F2", f"field tensor {unknown[0]!r} belongs to no layer of the network")
    for name, shape in expected.items():
        if found.get(name) != shape:
            raise FormatError("F2", f"field tensor {name!r} is {found.get(name, 'missing')}; the manifest asks for {shape}")


def _widths(shape: FourierConfig) -> list[int]:
    return [2 * shape.frequencies, *[shape.neurons] * shape.layers, shape.outputs]


def tensor_shapes(shape: FourierConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the field `shape` describes, by name."""
    shapes: dict[str, tuple[int, ...]] = {"B": (shape.frequencies, 3), "multipliers": (shape.frequencies,)}
    widths = _widths(shape)
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        shapes[f"layers.{index}.weight"] = (fan_out, fan_in)
        shapes[f"layers.{index}.bias"] = (fan_out,)
    return shapes


def network_weights(frequencies: int, layers: int, neurons: int, outputs: int) -> int:
    """Weights and biases of the perceptron: 3,150,850 for the paper's Table 1 with two outputs."""
    hidden = (layers - 1) * (neurons * neurons + neurons)
    return 2 * frequencies * neurons + neurons + hidden + neurons * outputs + outputs


def restore_field(kind: str, config: dict[str, Any], stored: dict[str, Tensor], most_weights: int | None = None) -> Field:
    """The field of kind `kind` from its configuration and stored tensors.

    Raises FormatError for an unknown kind, more than `most_weights` numbers, and tensors that are not those of the field.
    """
    if kind != FourierField.kind:
        raise FormatError("F1", f"field type {kind!r} is not known to this reader (known: {FourierField.kind!r})")
    return FourierField.restore(config, stored, most_weights)
