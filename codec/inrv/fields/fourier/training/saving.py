"""What of a training run goes into its checkpoint, when, and how the run goes on from there."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inrv.fields.fourier.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    Identity,
    Saved,
    digest_of,
    program,
)
from inrv.fields.fourier.training.interruption import Deferred
from inrv.fields.fourier.training.quantisation_aware import QuantisationAware

if TYPE_CHECKING:
    from inrv.fields.fourier.training.trainer import Run

WORTH_KEEPING = (
    1 / 6
)  # of the time between two checkpoints: what an interrupted run must have done since the last one


class Saving:
    """Saves a run every now and then, and before a signal ends it; at first resumes it from what an earlier one saved.

    Of several processes rank 0 reads and writes; all resume alike, and a signal to any of them ends all.
    """

    def __init__(self, run: Run, checkpoint: Checkpoint) -> None:
        self.run, self.checkpoint = run, checkpoint
        self.signals = Deferred()
        self.network = digest_of(run.field.tensors())
        self._identity: Identity | None = None
        processes = run.processes
        saved = processes.from_first(self._read() if processes.first else None)
        if saved is not None:
            self.resume(saved)
        self.saved = time.monotonic()

    def __enter__(self) -> Saving:
        self.signals.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.signals.__exit__(*error)

    def identity(self) -> Identity:
        """What training depends on; computed once, and not for a run too short to be saved."""
        if self._identity is None:
            samples, run = self.run.samples, self.run
            parts = {
                "coordinates": samples.coordinates,
                "targets": samples.targets,
                "counted": samples.counted,
            }
            plan = json.dumps(
                [run.device.type, asdict(run.field.shape), asdict(run.plan)], sort_keys=True
            )
            self._identity = {
                "program": program(),
                "voxels": digest_of(parts),
                "network": self.network,
                "plan": plan,
            }
        return self._identity

    def between_steps(self, interrupted: bool) -> None:
        """Save where it is time to, or where a signal is waiting, which then takes effect."""
        waited, seconds = time.monotonic() - self.saved, self.checkpoint.seconds
        if (
            waited >= (seconds * WORTH_KEEPING if interrupted else seconds)
            and self.run.processes.first
        ):
            self.checkpoint.write(self.identity(), self.state())
            self.saved = time.monotonic()
        if interrupted:
            self.run.processes.wait()  # when one process ends, torchrun ends the others: not before rank 0 has saved
            self.signals.deliver(signal.SIGTERM)

    def state(self) -> Saved:
        """Where the run stands."""
        run = self.run
        exact: dict[str, Tensor] = {} if run.quantisation is None else run.quantisation.exact
        weights = {
            f"weights.{name}": exact.get(name, weight.detach())
            for name, weight in run.field.named_parameters()
        }
        tensors = (
            {"window": torch.tensor(run.window, dtype=torch.float32)}
            | weights
            | run.optimiser.state()
        )
        if run.plan.rounding is not None:
            steps = run.quantisation.steps if run.quantisation is not None else {}
            tensors |= {
                f"rounding.{name}": steps.get(name, _no_step()) for name in run.field.hidden()
            }
        return Saved(
            {name: tensor.float().cpu() for name, tensor in tensors.items()}, run.step, run.seconds
        )

    def _read(self) -> Saved | None:
        """What is saved of this very run and can be where it was."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.state().tensors.items()}
        saved = self.checkpoint.read(self.identity, shapes)
        if saved is None:
            return None
        try:
            self._check(saved)
        except CheckpointError as error:
            self.checkpoint.refuse(error)
            return None
        self.checkpoint.tell(
            f"{self.checkpoint.path}: training resumes at step {saved.step:,} of {self.run.steps:,}, {saved.seconds:.1f} s done"
        )
        return saved

    def resume(self, saved: Saved) -> None:
        """Bring the run to where it was saved."""
        run, tensors = (
            self.run,
            {name: tensor.to(self.run.device) for name, tensor in saved.tensors.items()},
        )
        with torch.no_grad():
            for name, weight in run.field.named_parameters():
                weight.copy_(tensors[f"weights.{name}"])
        run.optimiser.load(tensors, saved.step)
        run.window = float(saved.tensors["window"])
        matrices = run.field.hidden()
        steps = {name: tensors.get(f"rounding.{name}", _no_step()) for name in matrices}
        if any(bool(step > 0) for step in steps.values()):
            run.quantisation = QuantisationAware(matrices, steps)
        run.step = run.looked = saved.step
        run.next_look = saved.step + 1
        run.seconds = saved.seconds
        run.started -= saved.seconds

    def _check(self, saved: Saved) -> None:
        """Raise CheckpointError where the run cannot have been there."""
        run = self.run
        if not 0 < saved.step < run.steps:
            raise CheckpointError(f"step {saved.step} is not on the way to step {run.steps}")
        for name, tensor in saved.tensors.items():
            if name.startswith(("second.", "rounding.")) and bool((tensor < 0).any()):
                raise CheckpointError(f"tensor {name!r} holds a negative number")


def _no_step() -> Tensor:
    """What stands for the step of a matrix that is not rounded."""
    return torch.zeros((), dtype=torch.float32)
