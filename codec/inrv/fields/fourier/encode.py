"""Encoding: the grids of a volume, coded by one network."""

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

STORED_SAMPLES = 64  # voxels
# About how many bytes the manifest's entries on the field and the samples' coordinates take.
BESIDE_WEIGHTS = 1100


@dataclass(frozen=True, eq=False)
class EncodedFourier:
    """Holds the network that codes all grids of a volume; see `inrv.fields.seam.EncodedField`.

    grids: grids as they are stored
    fitted: the network, and how it was trained
    device: str name of the device that trained it, for people
    """

    grids: tuple[PreparedGrid, ...]
    fitted: FittedNetwork
    device: str

    @cached_property
    def psnrs(self) -> tuple[float, ...]:
        """PSNR of each output in dB, over its grid's active leaf voxels, peak = the range."""
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
        """None for each grid: the largest error is not measured."""
        return (None,) * len(self.grids)

    drifts = errors

    @property
    def measured_voxels(self) -> int:
        """The number of voxels on which the PSNRs were measured."""
        return len(self.fitted.probe)

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        return self.fitted.training.seconds

    def outputs(self, number: int, topology: Topology) -> NDArray[np.float32]:
        """Evaluate output `number`, float32 (N,), on the active leaf voxels of a topology."""
        return decode_active(self.fitted.network, [topology], [[number]])[0][:, 0]

    def short_of(self, psnr: float) -> set[int]:
        """Return the empty set: no grid lacks a finer quantiser step, for a network has none."""
        return set()

    def rescaled(self, octaves: float) -> EncodedFourier:
        """Return the same network, with quantiser steps of its weights finer by so many octaves.

        Raises OptionError where training ended before the weights were rounded.
        """
        if not self.fitted.training.rounded:
            raise OptionError(
                "training ended before the weights were rounded: "
                "the file cannot be brought to the size"
            )
        return replace(self, fitted=self.fitted.rescaled(2.0**-octaves))

    def store(
        self, chunks: list[Chunk], exact_topology: bool, numbers: Sequence[int]
    ) -> dict[str, Any]:
        """Append the chunks of the network and its samples, and return the config.

        chunks: chunks of the file so far
        exact_topology: False where decoded values tell which voxels are active: near the threshold
            a small difference then decides, so a decoder may not be less precise than float32
        numbers: of the grids in the manifest; a network is of all of them
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
        """Return the number and precision of the weights, and how long training was, for JSON."""
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
        """Return labels and texts on the weights and on training, for people."""
        training, weights = self.fitted.training, self.fitted.network.weight_count
        values = sum(
            grid.grid.topology.active_voxel_count * grid.grid.components for grid in self.grids
        )
        ended = (
            f"{training.epochs:.4g} epochs in {training.seconds:.1f} s on {self.device}, "
            f"ended by {training.stopped_by}"
        )
        stored = (
            f"{weights:,} weights stored at {self.fitted.stored.precision}, "
            f"{values / weights:.1f} active values for each"
        )
        return [("network", stored), ("training", ended)]


class FourierEncoder:
    """Trains the network of a volume; see `inrv.fields.seam.FieldEncoder`.

    options: what the user chose
    progress: callback for where training stands, or None
    checkpoint: where training is saved, or None
    device: torch.device that trains
    """

    def __init__(
        self,
        options: EncodeOptions,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.options, self.progress, self.checkpoint = options, progress, checkpoint
        self.device = choose_device(options.device)

    def estimate(
        self,
        grid: PreparedGrid,
        goal: Goal,
        steps: dict[int, float],
        like: PreparedGrid | None = None,
    ) -> Estimate | None:
        """Return None: nothing is known before the network is trained."""
        return None

    def coding_order(self, frames: Sequence[Sequence[PreparedGrid]]) -> list[int]:
        """The order of time: no frame is predicted from another."""
        return list(range(len(frames)))

    def encode(self, grids: Sequence[PreparedGrid], goal: Goal) -> EncodedFourier | None:
        """Train one network for all grids, until `options.psnr` is reached or the plan ends.

        Return None where no component varies. Raises OptionError where no network is small enough.
        """
        outputs = sum(int(grid.normalisation.varying.sum()) for grid in grids)
        most = goal.most_bytes
        if most is not None:
            most -= BESIDE_WEIGHTS + STORED_SAMPLES * 4 * outputs
        fitted = fit_network(
            grids,
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
