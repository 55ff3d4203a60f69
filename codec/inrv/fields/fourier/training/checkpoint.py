"""Checkpoints: the state of training in a file.

A later run goes on from it as if there had been no break. Layout: MAGIC, the 32-byte BLAKE2b
digest of all that follows, the length of the JSON as uint32, the JSON (`identity`, `step`,
`seconds`), then a safetensors file. Nothing in it is trusted before it has been checked.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inrv.container.json_rules import parse_json
from inrv.container.tensors import pack_tensors, unpack_tensors
from inrv.errors import FormatError, InrvError, OptionError, OutputError
from inrv.support.atomic import atomic_file, remove_partial
from inrv.support.release import release

MAGIC = b"inrvCKP2"
HEAD = struct.Struct("<8s32sI")
SECONDS = 30.0  # between two checkpoints
HEADER_BYTES = 1 << 20  # more than the JSON and the safetensors header of any network take
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

# What a checkpoint belongs to, by key, and the words for one that belongs to something else.
OTHER = {
    "program": "another version",
    "voxels": "another input",
    "network": "other options",
    "plan": "other options",
}
Identity = Mapping[str, str]


class CheckpointError(InrvError):
    """A checkpoint is damaged, or belongs to another training."""


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Holds the state of training between two steps.

    tensors: float32 tensors by name, on the CPU
    step: int optimiser steps done
    seconds: float seconds of training so far
    """

    tensors: dict[str, Tensor]
    step: int
    seconds: float


class Checkpoint:
    """Saves training in a file now and then, from which the same training resumes.

    path: path of the file
    seconds: float seconds between two checkpoints
    notify: callback for one line of text, when training resumes, when the file does not fit, and
        when it cannot be written for the first time; None: nobody wants to know
    kept: whether the file holds progress of this run
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        seconds: float = SECONDS,
        notify: Callable[[str], object] | None = None,
    ) -> None:
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise OptionError(f"{seconds} seconds between checkpoints must be a number >= 0")
        self.path, self.seconds, self.kept = Path(path), seconds, False
        self._notify, self._warned = notify, False

    @staticmethod
    def beside(
        output: str | os.PathLike[str],
        seconds: float = SECONDS,
        notify: Callable[[str], object] | None = None,
    ) -> Checkpoint:
        """Return the checkpoint `.NAME.checkpoint` in the folder of an output file."""
        target = Path(output)
        return Checkpoint(target.parent / f".{target.name}.checkpoint", seconds, notify)

    def notify(self, line: str) -> None:
        """Pass a line of text to the callback, where there is one."""
        if self._notify is not None:
            self._notify(line)

    def read(
        self, identity: Callable[[], Identity], shapes: Mapping[str, tuple[int, ...]]
    ) -> TrainingState | None:
        """Read the state of a training.

        identity: computes what the training depends on; called only where there is a file
        shapes: shapes of its tensors, by name

        Return None where there is no file, or none that can be used: the callback then learns why.
        """
        with contextlib.suppress(OSError):
            remove_partial(self.path)
        try:
            found, state = _parse(_read(self.path, shapes), shapes)
        except FileNotFoundError:
            return None
        except (OSError, CheckpointError, FormatError) as error:
            self.refuse(error)
            return None
        wanted = identity()
        for key, words in OTHER.items():
            if found.get(key) != wanted[key]:
                self.notify(f"{self.path} is of {words}, training starts anew")
                return None
        self.kept = True
        return state

    def refuse(self, error: Exception) -> None:
        """Notify of the reason why the file is not used."""
        self.kept = False
        reason = error.strerror if isinstance(error, OSError) else error
        self.notify(f"{self.path} cannot be used, training starts anew: {reason}")

    def write(self, identity: Identity, state: TrainingState) -> None:
        """Write the state of a training atomically.

        identity: what the training depends on
        state: where it stands

        Where the file cannot be written, training goes on, and the first time a line says why.
        """
        numbers = {"step": state.step, "seconds": state.seconds}
        text = json.dumps({"identity": dict(identity), **numbers}).encode()
        tensors = pack_tensors({name: tensor.numpy() for name, tensor in state.tensors.items()})
        body = struct.pack("<I", len(text)) + text + tensors
        try:
            with atomic_file(self.path) as file:
                file.write(MAGIC + _digest(body) + body)
        except OutputError as error:
            if not self._warned:
                self.notify(f"{error}; training goes on without")
            self._warned = True
            return
        self.kept = True

    def finish(self, write: Callable[[], object]) -> None:
        """Write the output, then delete the file.

        write: writes what training was for

        Where the disk is full, the file is deleted first, to make room.
        """
        try:
            write()
        except OutputError as error:
            if not (
                self.kept
                and isinstance(error.__cause__, OSError)
                and error.__cause__.errno in NO_ROOM
            ):
                raise
            self.remove()
            write()
        self.remove()

    def remove(self) -> None:
        """Delete the file: the output for which it was kept has been written."""
        self.kept = False
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            remove_partial(self.path)


def program() -> str:
    """Return the versions of the library and of torch."""
    return f"inrv {release()}, torch {torch.__version__}"


def digest_of(parts: Mapping[str, Tensor | None]) -> str:
    """Return one digest of the names, types, shapes and values of tensors."""
    digest = hashlib.blake2b(digest_size=32)
    for name, tensor in parts.items():
        if tensor is None:
            digest.update(f"{name} none\n".encode())
            continue
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=32).digest()


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Read the file, which may be no larger than tensors of these shapes need.

    Raises OSError, CheckpointError.
    """
    largest = HEADER_BYTES + sum(4 * math.prod(shape) for shape in shapes.values())
    # O_NONBLOCK: opening a pipe would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("it is not a regular file")
        if status.st_size > largest:
            raise CheckpointError(
                f"its {status.st_size:,} bytes are more than the {largest:,} this network can need"
            )
        return file.read(largest)


def _parse(
    data: bytes, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Any], TrainingState]:
    """Parse a checkpoint: what it belongs to, and the state.

    Raises CheckpointError where it is damaged or its tensors have other names or shapes.
    """
    if len(data) < HEAD.size or not data.startswith(MAGIC):
        raise CheckpointError("it is not a checkpoint of this version")
    _, digest, length = HEAD.unpack_from(data)
    if _digest(data[HEAD.size - 4 :]) != digest:
        raise CheckpointError("it is damaged: its checksum does not match")
    head = parse_json(data[HEAD.size : HEAD.size + length], "its JSON")
    tensors = unpack_tensors(data[HEAD.size + length :])
    if not isinstance(head, dict) or not isinstance(head.get("identity"), dict):
        raise CheckpointError("it does not say what it belongs to")
    step, seconds = head.get("step"), head.get("seconds")
    if type(step) is not int or type(seconds) is not float or seconds < 0:
        raise CheckpointError(
            f"step {step!r} and seconds {seconds!r} are not where training can stand"
        )
    found = {name: torch.from_numpy(array).clone() for name, array in tensors.items()}
    _check_tensors(found, shapes)
    return head["identity"], TrainingState(found, step, seconds)


def _check_tensors(tensors: dict[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check names, shapes, dtype and values of a checkpoint's tensors. Raises CheckpointError."""
    if tensors.keys() != shapes.keys():
        raise CheckpointError("its tensors are not those of this network")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tuple(tensor.shape) != shapes[name]:
            raise CheckpointError(
                f"tensor {name!r} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"the network asks for {shapes[name]}"
            )
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"tensor {name!r} holds NaN or infinity")
