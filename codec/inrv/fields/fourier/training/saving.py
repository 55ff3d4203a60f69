"""Saving a training run: when it is saved, and whether a run may go on from what was saved."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict
from typing import Any, Protocol

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples
from inrv.fields.fourier.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    Identity,
    TrainingState,
    digest_of,
    program,
)
from inrv.fields.fourier.training.interruption import Deferred
from inrv.fields.fourier.training.plan import TrainingPlan
from inrv.fields.fourier.training.processes import Processes

# What an interrupted run must have done since it was last saved, to be saved once more, as a share
# of the time between two checkpoints.
WORTH_KEEPING = 1 / 6
NEVER_NEGATIVE = ("second.", "rounding.")  # how the names of such tensors begin


class SavedRun(Protocol):
    """A training run, as far as it must be known to save it.

    network: the network that is trained
    samples: the samples that it is trained on
    plan: how long and how fast
    processes: those that train together
    steps: int optimiser steps in all
    """

    network: FourierNetwork
    samples: Samples
    plan: TrainingPlan
    processes: Processes
    steps: int

    def state(self) -> TrainingState:
        """Return where the run stands."""

    def load(self, state: TrainingState) -> None:
        """Bring the run to where it stood."""


class Saving:
    """Saves a run now and then, and before a signal ends it.

    At first it resumes the run from what an earlier one saved. Of several processes rank 0 reads
    and writes; all resume alike, and a signal to any of them ends all.

    run: the run
    checkpoint: the file
    signals: Ctrl-C and SIGTERM, deferred to between two steps
    """

    def __init__(self, run: SavedRun, checkpoint: Checkpoint) -> None:
        self.run, self.checkpoint = run, checkpoint
        self.signals = Deferred()
        self._network = digest_of(run.network.tensors())  # as it is before it is trained
        self._identity: Identity | None = None
        processes = run.processes
        state = processes.from_first(self._read() if processes.first else None)
        if state is not None:
            run.load(state)
        self._saved = time.monotonic()

    def __enter__(self) -> Saving:
        self.signals.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.signals.__exit__(*error)

    def identity(self) -> Identity:
        """Return what training depends on.

        It is computed once, and not for a run too short to be saved.
        """
        if self._identity is None:
            run, samples = self.run, self.run.samples
            parts = {
                "coordinates": samples.coordinates,
                "targets": samples.targets,
                "counted": samples.counted,
            }
            device = samples.coordinates.device.type
            plan = [device, asdict(run.network.shape), asdict(run.plan)]
            self._identity = {
                "program": program(),
                "voxels": digest_of(parts),
                "network": self._network,
                "plan": json.dumps(plan, sort_keys=True),
            }
        return self._identity

    def between_steps(self, interrupted: bool) -> None:
        """Save the run where it is time to, and let a signal that waits take effect.

        interrupted: whether a signal waits in any process
        """
        waited, seconds = time.monotonic() - self._saved, self.checkpoint.seconds
        due = seconds * WORTH_KEEPING if interrupted else seconds
        if waited >= due and self.run.processes.first:
            self.checkpoint.write(self.identity(), self.run.state())
            self._saved = time.monotonic()
        if interrupted:
            # When one process ends, torchrun ends the others: not before rank 0 has saved.
            self.run.processes.wait()
            self.signals.deliver(signal.SIGTERM)

    def _read(self) -> TrainingState | None:
        """Read a state of this very run, if the file holds one that the run can have been in."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.run.state().tensors.items()}
        state = self.checkpoint.read(self.identity, shapes)
        if state is None:
            return None
        try:
            self._check(state)
        except CheckpointError as error:
            self.checkpoint.refuse(error)
            return None
        self.checkpoint.notify(
            f"{self.checkpoint.path}: training resumes at step {state.step:,} "
            f"of {self.run.steps:,}, {state.seconds:.1f} s done"
        )
        return state

    def _check(self, state: TrainingState) -> None:
        """Check that the run can have been in a state. Raises CheckpointError."""
        if not 0 < state.step < self.run.steps:
            raise CheckpointError(f"step {state.step} is not on the way to step {self.run.steps}")
        for name, tensor in state.tensors.items():
            if name.startswith(NEVER_NEGATIVE) and bool((tensor < 0).any()):
                raise CheckpointError(f"tensor {name!r} holds a negative number")
