"""The field `fourier`: a multilayer perceptron over Fourier features of the position.

Source: Zurkova et al. 2025, "Accelerated Volumetric Compression without Hierarchies", eq. (1) and Table 1.
What the paper leaves open, and what is assumed here: positions are scaled by the longest edge of the box, so that p
lies in [0, 1]^3 and a frequency means the same along every axis; hidden activations are ReLU; the output is linear.
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
    """value(c) = MLP([cos(2 pi B p), sin(2 pi B p)]), p = (c - origin) * scale.

    B: (k, 3) rows drawn from a standard normal distribution, fixed, exact in float16
    multipliers: (k,) learnable scale of each row, in cycles a box edge
    """

    def __init__(
        self, config: FourierConfig, multipliers: Tensor, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.shape = config
        self.outputs = config.outputs
        drawn = (
            torch.randn(config.frequencies, 3, generator=generator, dtype=torch.float32)
            .half()
            .float()
        )
        self.B: Tensor
        self.register_buffer("B", drawn)
        self.multipliers = nn.Parameter(multipliers.clone())
        widths = config.widths
        self.layers = nn.ModuleList(
            _undrawn(a, b, multipliers.device) for a, b in itertools.pairwise(widths)
        )
        self._initialise(generator)
        self.origin: Tensor
        self.register_buffer(
            "origin", torch.tensor(config.origin, dtype=torch.float32), persistent=False
        )

    def _initialise(self, generator: torch.Generator | None) -> None:
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
        final = self.layers[-1]
        assert isinstance(final, nn.Linear)
        nn.init.uniform_(
            final.weight,
            -1.0 / math.sqrt(final.in_features),
            1.0 / math.sqrt(final.in_features),
            generator=generator,
        )

    def features(self, coordinates: Tensor) -> Tensor:
        """Fourier features (N, 2 k) at index-space coordinates (N, 3), eq. (1), computed in float32."""
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
                    coordinates, self.origin, self.shape.scale, frequencies, dtype
                )  # type: ignore[no-untyped-call]
                return features
            return features_at(
                (coordinates.float() - self.origin) * self.shape.scale, frequencies, dtype
            )

    def forward(self, coordinates: Tensor) -> Tensor:
        """Normalised values (N, outputs) at index-space coordinates (N, 3)."""
        activation = ACTIVATIONS[self.shape.activation]
        hidden = self.features(coordinates)
        for layer in list(self.layers)[:-1]:
            hidden = activation(layer(hidden))
        outputs: Tensor = self.layers[-1](hidden)
        return outputs.float()

    def __call__(self, coordinates: Tensor) -> Tensor:
        """`forward`, with torch's hooks."""
        outputs: Tensor = super().__call__(coordinates)
        return outputs

    @property
    def weight_count(self) -> int:
        """Weights and biases of the network: the divisor of the paper's theoretical compression."""
        return sum(
            parameter.numel()
            for name, parameter in self.named_parameters()
            if name not in self.fixed()
        )

    @property
    def floats_per_voxel(self) -> int:
        """Phases, sines and cosines and their concatenation; two hidden layers or the last one and the outputs."""
        return 5 * self.shape.frequencies + 2 * self.shape.neurons + self.outputs

    def hidden(self) -> dict[str, nn.Parameter]:
        """`layers.i.weight` for i < m."""
        names = [f"layers.{number}.weight" for number in range(self.shape.layers)]
        return {name: weight for name, weight in self.named_parameters() if name in names}

    def tensors(self) -> dict[str, Tensor]:
        """B, multipliers and `layers.i.weight`, `layers.i.bias`, float32 on the network's device."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The same as arrays."""
        return {name: tensor.cpu().numpy() for name, tensor in self.tensors().items()}

    def fixed(self) -> frozenset[str]:
        """B and the multipliers: an error in a frequency grows with the distance from the origin."""
        return frozenset({"B", "multipliers"})

    @staticmethod
    def restore(
        config: FourierConfig, stored: Arrays, most_weights: int | None = None
    ) -> FourierNetwork:
        """The network a file describes.

        Raises FormatError where it has more than `most_weights` numbers, or tensors are missing, too many
        or of other shapes; all that before a number is computed.
        """
        check_tensors(config, stored, most_weights)
        with torch.device("meta"):
            network = FourierNetwork(
                config, torch.empty(config.frequencies, dtype=torch.float32), None
            )
        tensors = {name: torch.from_numpy(array) for name, array in dequantise(stored).items()}
        network.load_state_dict(tensors, assign=True)
        network.origin = torch.tensor(config.origin, dtype=torch.float32)
        return network


class VoxelFeatures(torch.autograd.Function):
    """Fourier features of voxels, learnable in the frequencies, in the dtype that products are computed in.

    The gradient needs cosines and sines, which are there: nothing is computed twice, as it would be otherwise.
    """

    @staticmethod
    def forward(
        ctx: Any,
        voxels: Tensor,
        origin: Tensor,
        scale: float,
        frequencies: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Features (N, 2 k) at voxels int32 (N, 3) with frequencies (k, 3), cycles a box edge."""
        features = features_of_voxels(voxels, origin, scale, frequencies, dtype)
        ctx.save_for_backward(voxels, origin, features)
        ctx.scale = scale
        return features

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[None, None, None, Tensor, None]:
        """The gradient of the frequencies."""
        voxels, origin, features = ctx.saved_tensors
        return (
            None,
            None,
            None,
            gradient_of_frequencies((voxels.float() - origin) * ctx.scale, features, given),
            None,
        )


def _undrawn(inputs: int, outputs: int, device: torch.device) -> nn.Linear:
    """A layer whose weights are still to be drawn: torch would draw them from the caller's generator."""
    layer: nn.Linear = nn.utils.skip_init(
        nn.Linear, inputs, outputs, dtype=torch.float32, device=device
    )
    return layer
