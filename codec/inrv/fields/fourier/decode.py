"""The opened fourier field of a file: its network, evaluated where values are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrv.container import Container
from inrv.fields.fourier.evaluation import at_place, decode_active, evaluate, evaluate_outputs
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.store import deviation, field_entry, restore_network, restore_samples
from inrv.fields.seam import NormalisedOutputs, OutputRange, output_ranges
from inrv.grids import Topology, denormalise
from inrv.support.device import choose_device, decoding_precision


class FourierOutputs(NormalisedOutputs):
    """Evaluates the network of a file; see `inrv.fields.seam.Outputs`.

    module: FourierNetwork on its device
    device: str name of the device
    precision: torch.dtype that matrices are multiplied in
    weights: int weights and biases of the network
    ranges: of each output
    """

    def __init__(
        self,
        module: FourierNetwork,
        device: torch.device,
        precision: torch.dtype,
        ranges: Sequence[OutputRange],
    ) -> None:
        self.ranges = ranges
        self.module = module
        self.device = str(device)
        self.precision = precision
        self.weights = module.weight_count

    @staticmethod
    def open(container: Container, device: str | None) -> FourierOutputs:
        """Restore the network of a file.

        Raises FormatError, and OptionError for a device that is not there.
        """
        chosen = choose_device(device)
        shape, stored = restore_network(container)
        network = FourierNetwork.restore(shape, stored, container.limits.weights).to(chosen).eval()
        precision = _precision(network, container, chosen)
        return FourierOutputs(network, chosen, precision, output_ranges(container))

    def at(self, coordinates: NDArray[Any], columns: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate the network at coordinates, which may lie between voxels."""
        with torch.no_grad():
            points = torch.from_numpy(np.ascontiguousarray(coordinates)).to(self.device)
            found: NDArray[np.float32] = (
                evaluate_outputs(self.module, points, columns, self.precision).cpu().numpy()
            )
        return found

    def share_time(self, columns: Sequence[int], later: Sequence[int]) -> bool:
        """See `FieldOverTime`."""
        time = self.module.shape.time
        if time is None:
            return False
        return [time.columns[own] for own in columns] == [time.columns[own] for own in later]

    def between(
        self,
        coordinates: NDArray[Any],
        columns: Sequence[int],
        later: Sequence[int],
        share: float,
    ) -> NDArray[np.float32]:
        """See `FieldOverTime`. Raises FormatError."""
        time = self.module.shape.time
        assert time is not None
        points = torch.from_numpy(np.ascontiguousarray(coordinates, dtype=np.float32))
        found = np.empty((len(points), len(columns)), dtype=np.float32)
        for number, (own, other) in enumerate(zip(columns, later, strict=True)):
            place = (1 - share) * time.places[own] + share * time.places[other]
            with torch.no_grad():
                outputs = evaluate(
                    self.module,
                    at_place(points.to(self.device), place),
                    [time.columns[own]],
                    precision=self.precision,
                )
            low, high = (
                (1 - share) * getattr(self.ranges[own], end)
                + share * getattr(self.ranges[other], end)
                for end in ("minimum", "maximum")
            )
            found[:, number] = denormalise(outputs.cpu().numpy()[:, 0], low, high, clamp=True)
        return found

    def differentiable(self, points: Tensor, columns: Sequence[int]) -> Tensor:
        """The network's outputs at points (n, 3), with gradients by points and weights."""
        return evaluate_outputs(self.module, points, columns, self.precision)

    def active(
        self, topologies: Sequence[Topology], columns: Sequence[Sequence[int]]
    ) -> list[NDArray[Any]]:
        """Evaluate the network on active leaf voxels; those that grids share are evaluated once."""
        return decode_active(self.module, topologies, columns, self.precision)


@torch.no_grad()
def _precision(network: FourierNetwork, container: Container, device: torch.device) -> torch.dtype:
    """Choose the dtype to multiply matrices in.

    It is less than float32 where the file allows it and the outputs agree with its samples.
    """
    tolerance, lower = field_entry(container).config["tolerance"], decoding_precision(device)
    if tolerance is None or lower == torch.float32:
        return torch.float32
    samples = restore_samples(container)
    if samples is None:
        return torch.float32
    coordinates, expected = samples
    points = torch.from_numpy(coordinates).to(device)
    found = evaluate(network, points, precision=lower).cpu().numpy()
    return lower if deviation(found, expected) <= tolerance else torch.float32
