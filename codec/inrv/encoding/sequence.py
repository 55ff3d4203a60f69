"""Sequences: frames into one file, group by group."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any

from inrv.container import Moment, SequenceAppender, Timeline
from inrv.container.layout import DEFAULT_LIMITS
from inrv.container.sequence import Record, exact_number, plain_number
from inrv.encoding.api import check_asked, encoded_frames, read_frame
from inrv.encoding.job import Frame
from inrv.encoding.preparation import CURE, find_nonfinite
from inrv.encoding.report import EncodeReport
from inrv.encoding.sources import Source
from inrv.errors import FormatError, NonFiniteError, OptionError, OutputExistsError
from inrv.fields.seam import ProgressCallback
from inrv.grids.metadata import metadata_of
from inrv.options import EncodeOptions
from inrv.storage import store_metadata
from inrv.support.streams import PATH, check_writable

MOST_FRAMES_A_GROUP = 256
LARGEST_NUMBER = 1 << 53  # of a frame
NTSC = Fraction(1000, 1001)  # what television's rates are slower by, as 23.976
NEAR = Fraction(1, 2000)  # of a frame a second: how exactly people write these


class SequenceWriter:
    """Writes a sequence, frame by frame.

    Frames are encoded in groups. A group is in the file once it is encoded, and can be read from
    then on, whatever happens to this program; `SequenceWriter(..., append=True)` goes on. No more
    than the frames of one group are held in memory. Leaving the `with` block encodes what is left
    and closes the file.

    path: of the file
    options: what is asked of each group
    fps: frames a unit of time, as 24, 23.976, "30000/1001" or a Fraction; None: not known
    unit: of times
    start: number of the first frame that there should be; None: that of the first that is added
    increment: from the number of a frame to that of the next
    loop: what a player does behind the last frame: 'none', 'repeat' or 'ping-pong'; None: that of
        the file, or 'none'
    pattern: the name of the files that the frames come from, as 'fire.####.vdb'
    metadata: of the sequence: numbers, texts or `MetaValue`s by name
    group: how many frames are coded together at most. A lattice predicts them from each other: to
        read one of them takes all those before it in its group. A fourier field has one network
        for them. 1: each frame stands for itself. None: 8, and 64 of a fourier field
    overwrite: replace a file that is there
    append: go on with a file that is there; its timeline stays
    progress: is called with the `Progress` of each group
    report: is called with the numbers of the frames and the `EncodeReport` of each group, once it
        is in the file

    failed: whether the frames that wait could not be encoded

    Raises OptionError, OutputExistsError, OutputError, FormatError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: EncodeOptions = EncodeOptions(),
        *,
        fps: Any = None,
        unit: str = "s",
        start: float | int | None = None,
        increment: float | int = 1,
        loop: str | None = None,
        pattern: str = "",
        metadata: Mapping[str, Any] | None = None,
        group: int | None = None,
        overwrite: bool = False,
        append: bool = False,
        progress: ProgressCallback | None = None,
        report: Callable[[tuple[float | int, ...], EncodeReport], object] | None = None,
    ) -> None:
        check_asked(options, progress)
        if options.size is not None:
            raise OptionError(
                "`size` is of a file with one volume: ask a sequence for `ratio`, `psnr` or "
                "`max_error`"
            )
        if not isinstance(path, PATH):
            raise OptionError("a sequence is written to a path: it grows, and its head changes")
        check_writable(path)
        if append and overwrite:
            raise OptionError("`overwrite` replaces the file to which frames are to be appended")
        self.options, self.path = options, Path(path)
        self.group = options.frames_together if group is None else _group_of(group)
        self._progress, self._report, self._overwrite = progress, report, overwrite
        self._waiting: list[Frame] = []
        self._closed = False
        self.failed = False
        self._file: SequenceAppender | None = None
        self.timeline = timeline_of(
            fps=fps,
            unit=unit,
            start=start,
            increment=increment,
            loop="none" if loop is None else loop,
            pattern=pattern,
            metadata=metadata,
        )
        if self.path.exists() and not (append or overwrite):
            raise OutputExistsError(f"{self.path} exists already: `overwrite=True` replaces it")
        if append and self.path.exists():
            self._file = SequenceAppender.open(self.path)
            held = self._file.timeline
            for name, asked, found in (
                ("frame rate", self.timeline.rate if fps is not None else None, held.rate),
                ("loop", loop, held.loop),
                ("metadata", self.timeline.metadata or None, held.metadata),
            ):
                if asked is not None and asked != found:
                    self._file.close()
                    raise OptionError(
                        f"{self.path} has another {name}, {_told(found)}, than {_told(asked)}: "
                        "frames that are appended change nothing there, so do not ask for it"
                    )
            self.timeline = held

    def _opened(self) -> SequenceAppender:
        """The file, which appears when its first frames are encoded."""
        if self._file is None:
            self._file = SequenceAppender.create(
                self.path, self.timeline, overwrite=self._overwrite
            )
        return self._file

    @property
    def written(self) -> set[float | int]:
        """The numbers of the frames that can be read from the file."""
        return set() if self._file is None else self._file.numbers

    def add(self, time: float | None, grids: Source, *, number: float | int | None = None) -> None:
        """Add a frame, behind those that were added before. A full group is encoded at once.

        time: in the unit of the sequence; None: as its number and the frame rate say
        grids: what `inrv.encode` takes: arrays by name, as {"density": array}; grids; or a file
        number: of the frame; None: the one behind that of the last frame that was added

        Raises OptionError for a number or a time that is not above those before, and what `encode`
        raises; the frame then is not added. Where encoding fails, the frames wait on.
        """
        if self._closed:
            raise OptionError(f"the writer of {self.path} is closed")
        number = self._next_number() if number is None else _finite(number, "number")
        if abs(number) > LARGEST_NUMBER:
            raise OptionError(f"the frame number {number!r} must lie within +-2^53")
        time = self.timeline.time_of(number) if time is None else float(_finite(time, "time"))
        if self._waiting:
            self._check_order(self._waiting[-1], number, time)
        frame = read_frame(grids, self.options, number, time)
        if self._file is not None:
            self._file.check([*map(_moment, self._waiting), _moment(frame)])
        check_finite(frame, self.options)
        if not _fit_together([*self._waiting, frame]):
            self.flush()
        self._waiting.append(frame)
        if len(self._waiting) >= self.group:
            self.flush()

    def _check_order(self, before: Frame, number: float | int, time: float | None) -> None:
        assert before.number is not None
        if number <= before.number:
            raise OptionError(f"frame {number} must come behind frame {before.number}")
        if (time is None) != (before.time is None):
            raise OptionError("either all frames have a time, or none has one")
        if time is not None and before.time is not None and time <= before.time:
            raise OptionError(
                f"the time {time} of frame {number} must be above {before.time}, that of the frame "
                "before"
            )

    def _next_number(self) -> float | int:
        held = [frame.number for frame in self._waiting if frame.number is not None]
        last = max([*held, *self.written], default=None)
        if last is not None:
            return plain_number(exact_number(last) + exact_number(self.timeline.increment))
        return 0 if self.timeline.start is None else self.timeline.start

    def flush(self) -> None:
        """Encode the frames that wait for their group to be full. Raises what `add` raises."""
        if not self._waiting:
            return
        self.failed = True
        contents, report = encoded_frames(self._waiting, self.options, progress=self._progress)
        moments = tuple(map(_moment, self._waiting))
        self._opened().add(contents, moments)
        self._waiting, self.failed = [], False
        gc.collect()  # what encoders hold, which hold each other: as much as another group
        if self._report is not None:
            self._report(tuple(moment.number for moment in moments), report)

    def close(self) -> None:
        """Encode what is left, and close the file. Raises what `add` raises."""
        if self._closed:
            return
        try:
            self.flush()
            self._opened()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._closed = True
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        kept = self._waiting and not self.failed
        if kind is None or (issubclass(kind, Exception) and kept):
            self.close()  # the frames that were added are worth keeping, whatever came after
        else:
            self._leave()


def _group_of(group: Any) -> int:
    """Return how many frames a group has. Raises OptionError."""
    try:
        found = 0 if isinstance(group, bool) else index(group)
    except TypeError:
        found = 0
    if not 1 <= found <= MOST_FRAMES_A_GROUP:
        raise OptionError(f"`group={group!r}` must be from 1 to {MOST_FRAMES_A_GROUP}")
    return found


def _told(value: Any) -> str:
    """Return a rate as people write it, and anything else as it is."""
    if value is None:
        return "none"
    return str(Fraction(*value)) if isinstance(value, tuple) else repr(value)


def _moment(frame: Frame) -> Moment:
    assert frame.number is not None
    return Moment(frame.number, frame.time)


def check_finite(frame: Frame, options: EncodeOptions) -> None:
    """Check a frame for NaN and infinity, where these are refused. Raises NonFiniteError."""
    if options.nonfinite != "refuse":
        return
    about = f"{frame.name}, frame {frame.number}" if frame.name else f"frame {frame.number}"
    try:
        found = find_nonfinite(frame.volume)
    except NonFiniteError as error:
        raise NonFiniteError(f"{about}: {error}") from error
    if found:
        raise NonFiniteError(f"{about}: {'; '.join(map(str, found))}: {CURE}")


def _fit_together(frames: Sequence[Frame]) -> bool:
    """Return whether a container can hold all of these frames, by the limits of its readers."""
    grids = [grid for frame in frames for grid in frame.volume.grids]
    count = len(grids) + sum(len(frame.volume.passthrough) for frame in frames)
    blocks = sum(grid.topology.leaf_count + grid.topology.tile_count for grid in grids)
    return count <= DEFAULT_LIMITS.grids and blocks <= DEFAULT_LIMITS.leaves


def timeline_of(
    *,
    fps: Any = None,
    unit: str = "s",
    start: float | int | None = None,
    increment: float | int = 1,
    loop: str = "none",
    pattern: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Timeline:
    """Return the timeline of these arguments of SequenceWriter. Raises OptionError."""
    entries = metadata_of(metadata or {}, "the sequence")
    held = Timeline(
        rate=None if fps is None else rate_of(fps),
        unit=unit,
        start=None if start is None else _finite(start, "start"),
        increment=_finite(increment, "increment"),
        loop=loop,
        pattern=pattern,
        metadata=store_metadata(entries),
    )
    try:
        return Record.from_json(Record("", held, None, ()).to_json()).timeline
    except FormatError as error:
        found = error.message.removeprefix("index.timeline.")
        raise OptionError(f"the sequence: {found}") from error


def rate_of(fps: Any) -> tuple[int, int]:
    """Return a frame rate as numerator and denominator.

    fps: as 24, 23.976, "24", "30000/1001" or a Fraction. 23.976, 29.97 and 59.94 are those of
        television, 24000/1001 and so on
    Raises OptionError.
    """
    try:
        found = Fraction(fps if isinstance(fps, (int, Fraction)) else str(fps))
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    television = round(found / NTSC) * NTSC
    if found.denominator > 1 and abs(found - television) < NEAR:
        found = television
    largest = max(found.numerator, found.denominator)
    if isinstance(fps, bool) or found <= 0 or largest >= 1 << 31:
        raise OptionError(f"`fps={fps!r}` must be a positive number, as 24, 23.976 or '30000/1001'")
    return found.numerator, found.denominator


def _finite(value: Any, name: str) -> float | int:
    """Return a number as Python's own; a whole one as an integer. Raises OptionError."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise OptionError(f"`{name}={value!r}` must be a finite number")
    return int(found) if found.is_integer() else found
