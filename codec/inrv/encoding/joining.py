"""Sequences of groups that are copied from other files: joined, and cut, without being decoded."""

from __future__ import annotations

from collections.abc import Container as Collection
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from inrv.container import (
    Container,
    Moment,
    SequenceFile,
    Timeline,
    container_of_frames,
    write_sequence,
)
from inrv.container.layout import BITS
from inrv.decoding.frames import Frames
from inrv.errors import OptionError
from inrv.support.inputs import Input

Number = float | int


@dataclass(frozen=True)
class Copy:
    """A group, or the volume of a file, on its way into a sequence.

    contents: its container
    frames: those that the sequence is to have of it
    """

    contents: Input
    frames: tuple[Moment, ...]


def copies_of(frames: Frames, wanted: Collection[Number] | None = None) -> list[Copy]:
    """Return the groups of a sequence that have any of the wanted frames.

    wanted: numbers of frames; None: all
    Raises FormatError where the bytes of one are damaged.
    """
    assert isinstance(frames.source, SequenceFile)
    found = []
    for number, group in enumerate(frames.source.groups):
        kept = tuple(own for own in group.frames if wanted is None or own.number in wanted)
        if kept:
            _check_whole(frames.source.group(number))
            found.append(Copy(frames.source.group_input(number), kept))
    return found


def copy_of_volume(frames: Frames, number: Number, time: float | None) -> Copy:
    """Return the volume of a file as a frame. Its chunks are copied, its manifest is written anew.

    number, time: of the frame
    Raises FormatError where its bytes are damaged.
    """
    assert not isinstance(frames.source, SequenceFile)
    _check_whole(frames.source)
    (frame,) = frames.source.manifest.frames
    named = replace(frame, number=number, time=time)
    return Copy(container_of_frames(frames.source, (named,)), (Moment(number, time),))


def join(path: Path, timeline: Timeline, copies: Sequence[Copy], *, overwrite: bool) -> None:
    """Write a sequence of groups that fit together, in the order of their first frames.

    Raises OutputExistsError, OutputError.
    """
    ordered = sorted(copies, key=lambda own: own.frames[0].number)
    parts = [(own.contents, own.frames) for own in ordered]
    write_sequence(path, timeline, parts, overwrite=overwrite)


def _check_whole(container: Container) -> None:
    """Check every checksum of a container, so that no damage is copied. Raises FormatError."""
    for number, entry in enumerate(container.entries):
        if entry.type == BITS:
            container.check_bits(number)
        else:
            container.chunk(number)


def check_apart(copies: Sequence[Copy]) -> None:
    """Check, before a group is written, that frames fit together. Raises OptionError."""
    seen: dict[Number, Copy] = {}
    for own in copies:
        for moment in own.frames:
            if moment.number in seen:
                names = f"{seen[moment.number].contents.name}, and {own.contents.name}"
                raise OptionError(f"frame {moment.number} stands twice: in {names}")
            seen[moment.number] = own
    rows = [(moment, own.contents.name) for own in copies for moment in own.frames]
    rows.sort(key=lambda row: row[0].number)
    for (one, name), (other, other_name) in pairwise(rows):
        if one.time is None and other.time is None:
            continue
        if one.time is None or other.time is None or one.time >= other.time:
            times = ["none" if own.time is None else f"{own.time:g}" for own in (one, other)]
            raise OptionError(
                f"frame {one.number} of {name} has the time {times[0]}, and frame {other.number} "
                f"of {other_name} has {times[1]}: times must ascend with the numbers, or no frame "
                "has one"
            )
