"""Sequences of groups that are copied from other files: joined, and cut, without being decoded."""

from __future__ import annotations

from collections.abc import Container as Collection
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inrv.container import Moment, SequenceAppender, SequenceFile, Timeline, container_of_frames
from inrv.container.sequence import check_moments
from inrv.decoding.frames import Frames
from inrv.errors import FormatError, OptionError
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
    """
    assert isinstance(frames.source, SequenceFile)
    found = []
    for number, group in enumerate(frames.source.groups):
        kept = tuple(own for own in group.frames if wanted is None or own.number in wanted)
        if kept:
            frames.source.group(number)  # raises where its manifest lacks them
            found.append(Copy(frames.source.group_input(number), kept))
    return found


def copy_of_volume(frames: Frames, number: Number, time: float | None) -> Copy:
    """Return the volume of a file as a frame. Its chunks are copied, its manifest is written anew.

    number, time: of the frame
    """
    assert not isinstance(frames.source, SequenceFile)
    (frame,) = frames.source.manifest.frames
    named = replace(frame, number=number, time=time)
    return Copy(container_of_frames(frames.source, (named,)), (Moment(number, time),))


def join(path: Path, timeline: Timeline, copies: Sequence[Copy], *, overwrite: bool) -> None:
    """Write a sequence of groups, in the order of their first frames.

    Raises OptionError where two have the same frame, OutputExistsError, OutputError.
    """
    ordered = sorted(copies, key=lambda own: own.frames[0].number)
    check_apart(ordered)
    appender = SequenceAppender.create(path, timeline, overwrite=overwrite)
    try:
        for own in ordered:
            appender.add(own.contents, own.frames)
    finally:
        appender.close()


def check_apart(copies: Sequence[Copy]) -> None:
    """Check, before a group is written, that frames fit together. Raises OptionError."""
    seen: dict[Number, Copy] = {}
    for own in copies:
        for moment in own.frames:
            if moment.number in seen:
                names = f"{seen[moment.number].contents.name}, and {own.contents.name}"
                raise OptionError(f"frame {moment.number} stands twice: in {names}")
            seen[moment.number] = own
    try:
        check_moments([moment for own in copies for moment in own.frames])
    except FormatError as error:
        raise OptionError(f"these frames cannot be joined: {error.message}") from error
