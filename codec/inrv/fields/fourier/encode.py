"""The grids of a volume, coded by one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrv.container import Chunk
from inrv.errors import OptionError
from inrv.fields.fourier.evaluation import decode_active, evaluate
from inrv.fields.fourier.fitting import FittedNetwork, fit_network
from inrv.fields.fourier.store import store_network
from inrv.fields.fourier.training import Checkpoint
from inrv.fields.seam import Estimate, Goal, ProgressCallback
from inrv.grids import Topology
from inrv.options import EncodeOptions
from inrv.storage import PreparedGrid
from inrv.support.device import choose_device

STORED_SAMPLES = 64
BESIDE_WEIGHTS = 1100  # bytes of the config, the samples' coordinates and what `encoding` tells of training, about


@dataclass(frozen=True, eq=False)
class EncodedFourier:
    """A network that codes all grids of a volume; see `inrv.fields.seam.EncodedField`."""

    grids: tuple[PreparedGrid, ...]
    fitted: FittedNetwork
    device: str

    @cached_property
    def psnrs(self) -> tuple[float, ...]:
        """DB by output, over the active leaf voxels of its grid, peak = the range."""
        owners = [
            (grid, int(place))
            for grid in self.grids
            for place in np.flatnonzero(grid.normalisation.varying)
        ]
        return tuple(
            psnr - grid.psnr_gain(place)
            for (grid, place), psnr in zip(owners, self.fitted.psnrs, strict=True)
        )

    @property
    def errors(self) -> tuple[None, ...]:
        """Not measured."""
        return (None,) * len(self.grids)

    drifts = errors

    @property
    def measured_voxels(self) -> int:
        """Voxels on which the PSNRs were measured."""
        return len(self.fitted.probe)

    @property
    def seconds(self) -> float:
        """Of training."""
        return self.fitted.training.seconds

    def outputs(self, number: int, topology: Topology) -> NDArray[np.float32]:
        """The output `number` on the leaf voxels of a topology."""
        return decode_active(self.fitted.network, [topology], [[number]])[0][:, 0]

    def short_of(self, psnr: float) -> set[int]:
        """No grid: a network has no finer step that it would be short of."""
        return set()

    def rescaled(self, octaves: float) -> EncodedFourier:
        """The same network, its weights in steps finer by so many octaves. Raises OptionError where they are not rounded."""
        if not self.fitted.training.rounded:
            raise OptionError(
                "training ended before the weights were rounded: the file cannot be brought to the size"
            )
        return replace(self, fitted=self.fitted.rescaled(2.0**-octaves))

    def store(self, chunks: list[Chunk], exact_topology: bool) -> dict[str, Any]:
        """Append the network and its samples.

        Near a threshold a small difference makes a voxel active or not: then no more of it than float32 has.
        """
        coordinates = self.fitted.probe.coordinates[:STORED_SAMPLES].cpu()
        with torch.no_grad():
            outputs = evaluate(self.fitted.network, coordinates)
        tensors, samples = store_network(
            self.fitted.stored.tensors, (coordinates.numpy(), outputs.numpy()), chunks
        )
        tolerance = self.fitted.tolerance if exact_topology else None
        return self.fitted.network.shape.as_json() | {
            "tensors": tensors,
            "samples": samples,
            "tolerance": tolerance,
        }

    def summary(self) -> dict[str, Any]:
        """Precision of the weights, what other precisions would lose, and how long training was."""
        return {
            "weights": self.fitted.network.weight_count,
            "precision": self.fitted.stored.precision,
            "precision_loss_db": {
                precision: round(loss, 3) for precision, loss in self.fitted.losses.items()
            },
            "epochs": self.fitted.training.epochs,
            "steps": self.fitted.training.steps,
        }

    def description(self) -> list[tuple[str, str]]:
        """Weights and training."""
        training, weights = self.fitted.training, self.fitted.network.weight_count
        values = sum(
            grid.grid.topology.active_voxel_count * grid.grid.components for grid in self.grids
        )
        ended = f"{training.epochs:.4g} epochs in {training.seconds:.1f} s on {self.device}, ended by {training.stopped_by}"
        stored = f"{weights:,} weights stored at {self.fitted.stored.precision}, {values / weights:.1f} active values for each"
        return [("network", stored), ("training", ended)]


class FourierEncoder:
    """Trains the network of a volume; see `inrv.fields.seam.FieldEncoder`."""

    def __init__(
        self,
        options: EncodeOptions,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.options, self.progress, self.checkpoint = options, progress, checkpoint
        self.device = choose_device(options.device)

    def estimate(self, grid: PreparedGrid, goal: Goal, steps: dict[int, float]) -> Estimate | None:
        """Nothing is known before the network is trained."""
        return None

    def encode(self, grids: Sequence[PreparedGrid], goal: Goal) -> EncodedFourier | None:
        """One network for all grids; training ends at `options.psnr`, or as the plan says."""
        outputs = sum(int(grid.normalisation.varying.sum()) for grid in grids)
        most = goal.most_bytes
        if most is not None:
            most -= BESIDE_WEIGHTS + STORED_SAMPLES * 4 * outputs
        fitted = fit_network(
            [grid.coded for grid in grids],
            [grid.normalisation for grid in grids],
            self.options,
            self.device,
            self.progress,
            self.checkpoint,
            most,
        )
        if fitted is None:
            return None
        on_gpu = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if on_gpu else self.device.type
        return EncodedFourier(tuple(grids), fitted, name)
