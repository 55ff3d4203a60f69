"""The network of the field `fourier`: a perceptron over Fourier features of the position.

Source: Zurkova et al. 2025, "Accelerated Volumetric Compression without Hierarchies", eq. (1) and
Table 1. The paper leaves open what is assumed here: positions are scaled by the longest edge of the
box, so that p lies in [0, 1]^3 and a frequency means the same along every axis; hidden activations
are ReLU; the output is linear.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from inrv.fields.fourier.features import features_at, features_of_voxels, gradient_of_frequencies
from inrv.fields.fourier.quantisation import Arrays, dequantise
from inrv.fields.fourier.shape import FourierConfig, check_tensors

ACTIVATIONS = {"relu": functional.relu, "silu": functional.silu}


class FourierNetwork(nn.Module):
    """Computes value(c) = MLP([cos(2 pi f p), sin(2 pi f p)]), p = (c - origin) * scale.

    The frequencies f are multipliers * B. Coordinates have three axes, or four: that of time then
    is the last.

    B: float32 (k, axes) rows drawn from a standard normal distribution, fixed, exact in float16
    multipliers: float32 (k,) learnable scale of each row, in cycles a box edge
    layers: linear layers, the last one without an activation
    origin: float32 (axes,) coordinates of p = 0
    scale: float32 (axes,) p per voxel, and per place in time
    shape: FourierConfig
    outputs: int components that the network has
    """

    def __init__(
        self, config: FourierConfig, multipliers: Tensor, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.shape = config
        self.outputs = config.outputs
        drawn = torch.randn(
            config.frequencies, config.axes, generator=generator, dtype=torch.float32
        )
        self.B: Tensor
        self.register_buffer("B", drawn.half().float())
        self.multipliers = nn.Parameter(multipliers.clone())
        widths = config.widths
        self.layers = nn.ModuleList(
            _undrawn(a, b, multipliers.device) for a, b in itertools.pairwise(widths)
        )
        self._initialise(generator)
        self.origin: Tensor
        self.scale: Tensor
        for name, numbers in (("origin", config.origins), ("scale", config.scales)):
            own = torch.tensor(numbers, dtype=torch.float32)
            self.register_buffer(name, own, persistent=False)

    def _initialise(self, generator: torch.Generator | None) -> None:
        """Draw the weights of all layers, and set the biases to zero."""
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
        final = self.layers[-1]
        assert isinstance(final, nn.Linear)
        bound = 1.0 / math.sqrt(final.in_features)
        nn.init.uniform_(final.weight, -bound, bound, generator=generator)

    def features(self, coordinates: Tensor) -> Tensor:
        """Compute the Fourier features (N, 2 k), eq. (1), in float32.

        coordinates: int32 or float32 (N, axes) index space, and places in time
        """
        device = coordinates.device.type
        dtype = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        )
        with torch.autocast(device, enabled=False):
            frequencies = self.multipliers[:, None] * self.B
            if not coordinates.is_floating_point() and (
                self.training or not torch.is_grad_enabled()
            ):
                features: Tensor = VoxelFeatures.apply(
                    coordinates, self.origin, self.scale, frequencies, dtype
                )  # type: ignore[no-untyped-call]
                return features
            return features_at((coordinates.float() - self.origin) * self.scale, frequencies, dtype)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Compute normalised values float32 (N, outputs) at index-space coordinates (N, axes)."""
        activation = ACTIVATIONS[self.shape.activation]
        hidden = self.features(coordinates)
        for layer in list(self.layers)[:-1]:
            hidden = activation(layer(hidden))
        outputs: Tensor = self.layers[-1](hidden)
        return outputs.float()

    def __call__(self, coordinates: Tensor) -> Tensor:
        """Call `forward`, with torch's hooks."""
        outputs: Tensor = super().__call__(coordinates)
        return outputs

    @property
    def weight_count(self) -> int:
        """The number of weights and biases: the divisor of the paper's theoretical compression."""
        return sum(
            parameter.numel()
            for name, parameter in self.named_parameters()
            if name not in self.fixed()
        )

    @property
    def floats_per_voxel(self) -> int:
        """The number of floats that a voxel takes while the network is evaluated.

        They are phases, cosines and sines and their concatenation, and two hidden layers, or the
        last one and the outputs.
        """
        return 5 * self.shape.frequencies + 2 * self.shape.neurons + self.outputs

    def hidden(self) -> dict[str, nn.Parameter]:
        """Return the matrices `layers.i.weight` of the hidden layers, i < m, by name."""
        names = [f"layers.{number}.weight" for number in range(self.shape.layers)]
        return {name: weight for name, weight in self.named_parameters() if name in names}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors float32 by name, on the network's device.

        They are B, multipliers, `layers.i.weight` and `layers.i.bias`.
        """
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the same tensors as arrays."""
        return {name: tensor.cpu().numpy() for name, tensor in self.tensors().items()}

    def fixed(self) -> frozenset[str]:
        """Return the names of the tensors that must not be rounded: B and the multipliers.

        An error in a frequency grows with the distance from the origin.
        """
        return frozenset({"B", "multipliers"})

    @staticmethod
    def restore(
        config: FourierConfig, stored: Arrays, most_weights: int | None = None
    ) -> FourierNetwork:
        """Restore the network that a file describes.

        config: shape of the network
        stored: its tensors, as the file stores them
        most_weights: int numbers that the tensors may have together; None: any

        Raises FormatError, before a number is computed, where the numbers are more, or tensors are
        missing, too many or of other shapes.
        """
        check_tensors(config, stored, most_weights)
        with torch.device("meta"):
            network = FourierNetwork(
                config, torch.empty(config.frequencies, dtype=torch.float32), None
            )
        tensors = {name: torch.from_numpy(array) for name, array in dequantise(stored).items()}
        network.load_state_dict(tensors, assign=True)
        network.origin = torch.tensor(config.origins, dtype=torch.float32)
        network.scale = torch.tensor(config.scales, dtype=torch.float32)
        return network


class VoxelFeatures(torch.autograd.Function):
    """Computes Fourier features of voxels, and their gradient by the frequencies.

    The gradient is computed from the cosines and sines that are there; torch's own would compute
    them again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        voxels: Tensor,
        origin: Tensor,
        scale: Tensor,
        frequencies: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Compute the features (N, 2 k).

        voxels: int32 (N, axes) index space, and places in time
        origin: float32 (axes,) coordinates of p = 0
        scale: float32 (axes,) p per voxel, and per place in time
        frequencies: float32 (k, axes) cycles a box edge
        dtype: dtype of the features
        """
        features = features_of_voxels(voxels, origin, scale, frequencies, dtype)
        ctx.save_for_backward(voxels, origin, scale, features)
        return features

    @staticmethod
    def backward(ctx: Any, by_features: Tensor) -> tuple[None, None, None, Tensor, None]:
        """Compute the gradient by the frequencies from `by_features`, that by the features."""
        voxels, origin, scale, features = ctx.saved_tensors
        positions = (voxels.float() - origin) * scale
        return None, None, None, gradient_of_frequencies(positions, features, by_features), None


def _undrawn(inputs: int, outputs: int, device: torch.device) -> nn.Linear:
    """Make a layer whose weights are still to be drawn.

    torch would draw them from the caller's generator.
    """
    layer: nn.Linear = nn.utils.skip_init(
        nn.Linear, inputs, outputs, dtype=torch.float32, device=device
    )
    return layer
