"""Writing a sequence, group by group: whatever happens, every group that was written can be read.

A group is written behind all that is there, then a record of the index behind the group, and at
last the slot of the head that names the older record. Each step reaches the disk before the next
one begins, so that one slot always names a whole index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from inrv.container.layout import DEFAULT_LIMITS, Limits
from inrv.container.sequence import (
    HEAD_SIZE,
    SLOTS,
    GroupEntry,
    Moment,
    Record,
    RecordPlace,
    SequenceFile,
    Timeline,
    check_moments,
    head_bytes,
    read_sequence,
    record_bytes,
    slot_bytes,
)
from inrv.errors import FormatError, OptionError, OutputError, OutputExistsError
from inrv.support.atomic import atomic_file
from inrv.support.inputs import Input
from inrv.support.release import release

try:
    import fcntl
except ImportError:  # Windows, where the user sees to it that one program writes
    fcntl = None  # type: ignore[assignment]

PIECE = 1 << 24  # bytes of a group that are copied at a time


Part = tuple[Input, tuple[Moment, ...]]  # the container of a group, and its frames


def write_sequence(
    path: Path, timeline: Timeline, parts: Sequence[Part], *, overwrite: bool = False
) -> None:
    """Write a sequence that is known as a whole: it appears, or takes an old file's place, at last.

    The groups may be read from the file that it takes the place of. Raises OutputExistsError,
    OutputError.
    """
    _check_new(path, overwrite)
    groups = list[GroupEntry]()
    with _kept_from_others(path), atomic_file(path) as file:
        file.seek(HEAD_SIZE)
        for contents, frames in parts:
            groups.append(GroupEntry(file.tell(), contents.size, frames))
            _copy(contents, file)
        stored, place = record_bytes(_record(timeline, None, groups), file.tell())
        file.write(stored)
        file.seek(0)
        file.write(head_bytes(place))
        file.seek(SLOTS[1])
        file.write(slot_bytes(place))


class SequenceAppender:
    """An open sequence that groups are appended to. One process at a time has it open.

    path: of the file
    timeline: how its frames lie in time
    groups: those that it holds
    """

    def __init__(self, path: Path, file: BinaryIO, found: SequenceFile) -> None:
        self.path, self.timeline = path, found.timeline
        self.groups = list(found.groups)
        self._file = file
        self._moments = [moment for group in self.groups for moment in group.frames]
        self._records = found.records[::-1]  # the first one first
        self._slot = 1 - found.slot  # that names an older record, or none
        ends = [group.offset + group.size for group in self.groups]
        # Of a damaged file, nothing is cut off: what seems to be nothing may be frames.
        self._end = found.size if found.damaged else max([found.records[0][0].end, *ends])

    @staticmethod
    def create(path: Path, timeline: Timeline, *, overwrite: bool = False) -> SequenceAppender:
        """Make a sequence without frames at a path, and open it.

        Raises OutputExistsError, OutputError.
        """
        _check_new(path, overwrite)
        stored, place = record_bytes(_record(timeline, None, []), HEAD_SIZE)
        with _kept_from_others(path), atomic_file(path) as file:
            file.write(head_bytes(place) + stored)
        return SequenceAppender.open(path)

    @staticmethod
    def open(path: Path, limits: Limits = DEFAULT_LIMITS) -> SequenceAppender:
        """Open the sequence at a path, to append to it.

        What a writer that was killed has left behind the last index is cut off. Raises
        FormatError, OutputError.
        """
        try:
            file = open(path, "r+b")  # noqa: SIM115  (the appender closes it)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
        try:
            _lock(file, path)
            appender = SequenceAppender(path, file, read_sequence(path, limits))
            with appender._writing():
                file.truncate(appender._end)
        except BaseException:
            file.close()
            raise
        return appender

    @property
    def numbers(self) -> set[float | int]:
        """The numbers of the frames that it holds."""
        return {moment.number for moment in self._moments}

    def add(self, contents: Input, frames: tuple[Moment, ...]) -> None:
        """Append a group, which can be read from then on, whatever happens.

        contents: its container
        frames: its frames, as its manifest has them

        Raises OptionError for a frame that is there already or a time that is out of order,
        OutputError where the file cannot be written: it then holds what it held.
        """
        self.check(frames)
        group = GroupEntry(self._end, contents.size, frames)
        # A record covers as many groups as the lowest bit of their number says, so that the records
        # of n groups take n log n bytes, and log n of them are read.
        count = len(self.groups) + 1
        kept, covered = list(self._records), 1
        while kept and covered + kept[-1][1] <= count & -count:
            covered += kept.pop()[1]
        with self._writing():
            self._file.seek(self._end)
            _copy(contents, self._file)
            place = self._publish([*self.groups, group][-covered:], kept)
        self._records = [*kept, (place, covered)]
        self.groups.append(group)
        self._moments += frames

    def check(self, frames: Sequence[Moment]) -> None:
        """Check that frames may be added. Raises OptionError."""
        twice = sorted(moment.number for moment in frames if moment.number in self.numbers)
        if twice:
            raise OptionError(f"{self.path} has frame {twice[0]} already")
        try:
            check_moments([*self._moments, *frames])
        except FormatError as error:
            raise OptionError(f"{self.path} cannot take these frames: {error.message}") from error

    def _publish(
        self, groups: list[GroupEntry], kept: list[tuple[RecordPlace, int]]
    ) -> RecordPlace:
        """Write a record where the file stands, and let a slot name it. Raises OSError."""
        before = kept[-1][0] if kept else None
        stored, place = record_bytes(_record(self.timeline, before, groups), self._file.tell())
        self._file.write(stored)
        self._sync()
        self._file.seek(SLOTS[self._slot])
        self._file.write(slot_bytes(place))
        self._sync()
        self._slot, self._end = 1 - self._slot, place.end
        return place

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, its index in one record, which both slots name. Raises OutputError."""
        if self._file.closed:
            return
        try:
            with self._writing():
                if len(self._records) > 1:
                    self._file.seek(self._end)
                    self._records = [(self._publish(self.groups, []), len(self.groups))]
                self._file.seek(SLOTS[self._slot])
                self._file.write(slot_bytes(self._records[0][0]))
                self._sync()
        finally:
            self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self.path} cannot be written: {error.strerror or error}"
            raise OutputError(message) from error


def _check_new(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already: `overwrite=True` replaces it")


def _copy(contents: Input, file: BinaryIO) -> None:
    """Write a container where the file stands."""
    for start in range(0, contents.size, PIECE):
        file.write(contents.part(start, min(PIECE, contents.size - start)))


def _record(timeline: Timeline, before: RecordPlace | None, groups: list[GroupEntry]) -> Record:
    return Record(f"inrv {release()}", timeline, before, tuple(groups))


@contextmanager
def _kept_from_others(path: Path) -> Iterator[None]:
    """Lock the file that is there, if any, so that none is replaced that is being written."""
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed below)
    except OSError:  # there is none, or whoever writes tells what is wrong
        yield
        return
    with file:
        _lock(file, path)
        yield


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other writers away, where there are locks. Raises OutputError."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{path} cannot be written: another program is appending to it"
        ) from error
    except OSError:  # a file system without locks
        return
