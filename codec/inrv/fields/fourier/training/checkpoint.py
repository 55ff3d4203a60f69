"""The state of training in a file, from which a later run goes on as if there had been no break.

Layout: MAGIC, the 32-byte BLAKE2b digest of all that follows, the length of the JSON as uint32, the JSON (`identity`,
`step`, `seconds`), then a safetensors file. Nothing in it is trusted before it has been checked.
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
SECONDS = 30.0
HEADER_BYTES = 1 << 20  # more than JSON and safetensors header of the largest network take
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

# What a checkpoint belongs to, and how to say that it belongs to something else.
OTHER = {
    "program": "another version",
    "voxels": "another input",
    "network": "other options",
    "plan": "other options",
}
Identity = Mapping[str, str]


class CheckpointError(InrvError):
    """A checkpoint is damaged, or not of this training."""


@dataclass(frozen=True, eq=False)
class Saved:
    """Where training stood, between two steps.

    tensors  by name, on the CPU, float32     step  optimiser steps done     seconds  of training so far
    """

    tensors: dict[str, Tensor]
    step: int
    seconds: float


class Checkpoint:
    """A file in which training is saved every `seconds`, and from which it resumes where it is the same training.

    `tell` is given one line on resuming, on a checkpoint that does not fit, and on the first that cannot be written.
    `kept` says whether the file holds progress of this run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        seconds: float = SECONDS,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise OptionError(f"{seconds} seconds between checkpoints must be a number >= 0")
        self.path, self.seconds, self.kept = Path(path), seconds, False
        self._tell, self._warned = tell, False

    @staticmethod
    def beside(
        output: str | os.PathLike[str],
        seconds: float = SECONDS,
        tell: Callable[[str], object] | None = None,
    ) -> Checkpoint:
        """The checkpoint `.NAME.checkpoint` in the folder of the file `output`."""
        target = Path(output)
        return Checkpoint(target.parent / f".{target.name}.checkpoint", seconds, tell)

    def tell(self, line: str) -> None:
        """Say `line` to whoever wanted to know."""
        if self._tell is not None:
            self._tell(line)

    def read(
        self, identity: Callable[[], Identity], shapes: Mapping[str, tuple[int, ...]]
    ) -> Saved | None:
        """What was saved of the training `identity`; None, and a line why, where there is nothing that can be used.

        `shapes` are those of the tensors that belong to it.
        """
        with contextlib.suppress(OSError):
            remove_partial(self.path)
        try:
            found, saved = _parse(_read(self.path, shapes), shapes)
        except FileNotFoundError:
            return None
        except (OSError, CheckpointError, FormatError) as error:
            self.refuse(error)
            return None
        wanted = identity()
        for key, words in OTHER.items():
            if found.get(key) != wanted[key]:
                self.tell(f"{self.path} is of {words}, training starts anew")
                return None
        self.kept = True
        return saved

    def refuse(self, error: Exception) -> None:
        """Say why what the file holds is not used."""
        self.kept = False
        reason = error.strerror if isinstance(error, OSError) else error
        self.tell(f"{self.path} cannot be used, training starts anew: {reason}")

    def write(self, identity: Identity, saved: Saved) -> None:
        """Save `saved` atomically. Where that fails training goes on, and the first time a line says why."""
        numbers = {"step": saved.step, "seconds": saved.seconds}
        text = json.dumps({"identity": dict(identity), **numbers}).encode()
        body = (
            struct.pack("<I", len(text))
            + text
            + pack_tensors({name: t.numpy() for name, t in saved.tensors.items()})
        )
        try:
            with atomic_file(self.path) as file:
                file.write(MAGIC + _digest(body) + body)
        except OutputError as error:
            if not self._warned:
                self.tell(f"{error}; training goes on without")
            self._warned = True
            return
        self.kept = True

    def finish(self, write: Callable[[], object]) -> None:
        """Do what training was for, then delete the file; where the disk is full delete it first, to make room."""
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
        """Delete the file: what it was kept for is done."""
        self.kept = False
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            remove_partial(self.path)


def program() -> str:
    """The versions of what trains."""
    return f"inrv {release()}, torch {torch.__version__}"


def digest_of(parts: Mapping[str, Tensor | None]) -> str:
    """One digest of names, types, shapes and values."""
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
    """The bytes of the file, no more of them than the tensors can take. Raises OSError, CheckpointError."""
    largest = HEADER_BYTES + sum(4 * math.prod(shape) for shape in shapes.values())
    flags = (
        os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    )  # a pipe would keep us waiting
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("it is not a regular file")
        if status.st_size > largest:
            raise CheckpointError(
                f"its {status.st_size:,} bytes are more than the {largest:,} this network can need"
            )
        return file.read(largest)


def _parse(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Any], Saved]:
    """Identity and state of a checkpoint. Raises CheckpointError where it is damaged or holds other tensors than `shapes`."""
    if len(data) < HEAD.size or not data.startswith(MAGIC):
        raise CheckpointError("it is not a checkpoint of this version")
    _, digest, length = HEAD.unpack_from(data)
    if _digest(data[HEAD.size - 4 :]) != digest:
        raise CheckpointError("it is damaged: its checksum does not match")
    told = parse_json(data[HEAD.size : HEAD.size + length], "its JSON")
    tensors = unpack_tensors(data[HEAD.size + length :])
    if not isinstance(told, dict) or not isinstance(told.get("identity"), dict):
        raise CheckpointError("it does not say what it belongs to")
    step, seconds = told.get("step"), told.get("seconds")
    if type(step) is not int or type(seconds) is not float or seconds < 0:
        raise CheckpointError(
            f"step {step!r} and seconds {seconds!r} are not where training can stand"
        )
    found = {name: torch.from_numpy(array).clone() for name, array in tensors.items()}
    return told["identity"], Saved(_checked(found, shapes), step, seconds)


def _checked(
    tensors: dict[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    if tensors.keys() != shapes.keys():
        raise CheckpointError("its tensors are not those of this network")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tuple(tensor.shape) != shapes[name]:
            raise CheckpointError(
                f"tensor {name!r} is {tensor.dtype} {tuple(tensor.shape)}, the network asks for {shapes[name]}"
            )
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"tensor {name!r} holds NaN or infinity")
    return tensors
