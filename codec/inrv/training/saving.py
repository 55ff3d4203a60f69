"""What of a training run goes into its checkpoint, when, and how the run goes on from there."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inrv.errors import FormatError
from inrv.training.checkpoint import Checkpoint, Identity, Saved, digest_of, program
from inrv.training.interruption import Deferred

if TYPE_CHECKING:
    from inrv.training.trainer import Run

WORTH_KEEPING = 1 / 6  # of the time between two checkpoints: what an interrupted run must have done since the last one
MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq"}  # Adam's, as torch names them


class Saving:
    """Saves a run every now and then, and before a signal ends it; at first resumes it from what an earlier one saved."""

    def __init__(self, run: Run, checkpoint: Checkpoint) -> None:
        self.run, self.checkpoint = run, checkpoint
        self.signals = Deferred()
        self.network = digest_of(run.field.tensors())
        self._identity: Identity | None = None
        saved = checkpoint.read(self.identity, self.shapes())
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
            parts = {"coordinates": samples.coordinates, "targets": samples.targets, "counted": samples.counted}
            plan = json.dumps([run.device.type, run.field.kind, run.field.config(), asdict(run.plan)], sort_keys=True)
            self._identity = {"program": program(), "voxels": digest_of(parts), "network": self.network, "plan": plan}
        return self._identity

    def between_steps(self) -> None:
        """Save where it is time to, or where a signal is waiting, which then takes effect."""
        waited, seconds = time.monotonic() - self.saved, self.checkpoint.seconds
        interrupted = self.signals.pending is not None
        if waited >= (seconds * WORTH_KEEPING if interrupted else seconds):
            self.checkpoint.write(self.identity(), self.state())
            self.saved = time.monotonic()
        if interrupted:
            self.signals.deliver()

    def state(self) -> Saved:
        """Where the run stands."""
        run = self.run
        tensors = {"recent": run.recent, "squared_error": run.squared_error, "generator": run.before_order}
        moments = run.optimiser.state_dict()["state"]
        for number, (name, parameter) in enumerate(run.field.named_parameters()):
            tensors[f"weights.{name}"] = parameter.detach()
            tensors |= {f"{kind}.{name}": moments[number][key] for kind, key in MOMENTS.items()}
        return Saved({name: tensor.cpu() for name, tensor in tensors.items()}, run.step, run.position, run.elapsed())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of the tensors of `state`."""
        shapes: dict[str, tuple[int, ...]] = {
            "recent": (2,),
            "squared_error": (),
            "generator": tuple(self.run.before_order.shape),
        }
        for name, parameter in self.run.field.named_parameters():
            shapes |= {f"{kind}.{name}": tuple(parameter.shape) for kind in ("weights", *MOMENTS)}
        return shapes

    def resume(self, saved: Saved) -> None:
        """Bring the run to where it was saved; it stays where it is when that is no place it can have been at."""
        run = self.run
        try:
            self._check(saved)
            run.generator.set_state(saved.tensors["generator"])
        except (FormatError, RuntimeError) as error:
            self.checkpoint.refuse(error)
            return
        state: dict[int, dict[str, Tensor]] = {}
        for number, (name, parameter) in enumerate(run.field.named_parameters()):
            parameter.data.copy_(saved.tensors[f"weights.{name}"])
            state[number] = {key: saved.tensors[f"{kind}.{name}"] for kind, key in MOMENTS.items()}
            state[number]["step"] = saved.tensors["recent"].new_tensor(float(saved.step))
        run.optimiser.load_state_dict({"state": state, "param_groups": run.optimiser.state_dict()["param_groups"]})
        run.recent.copy_(saved.tensors["recent"])
        run.squared_error.copy_(saved.tensors["squared_error"])
        run.step, run.position = saved.step, saved.position
        run.started -= saved.seconds
        self.checkpoint.tell(
            f"{self.checkpoint.path}: training resumes at step {run.step:,} of {run.steps:,}, {saved.seconds:.1f} s done"
        )

    def _check(self, saved: Saved) -> None:
        """Raise FormatError where the run cannot have been there."""
        run = self.run
        if not (0 < saved.step < run.steps and 0 < saved.position <= min(saved.step, run.epoch_steps)):
            raise FormatError(f"step {saved.step} at place {saved.position} of an epoch is not on the way to step {run.steps}")
        if (saved.step - saved.position) % run.epoch_steps:
            raise FormatError(f"step {saved.step} is not at place {saved.position} of an epoch of {run.epoch_steps} steps")
        if any(bool((tensor < 0).any()) for name, tensor in saved.tensors.items() if name.startswith("second.")):
            raise FormatError("a second moment is negative")
