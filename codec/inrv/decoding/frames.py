"""The frames of an .inrv file: of a sequence, or the one that a volume is."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Literal, overload

import numpy as np

from inrv.container import (
    Container,
    Limits,
    Moment,
    SequenceFile,
    Timeline,
    is_sequence,
    read_container,
    read_sequence,
)
from inrv.decoding.between import VolumeBetween
from inrv.decoding.bricks import CACHE_BYTES, CACHE_DTYPES, BrickCache
from inrv.decoding.volume import OpenFile, Volume
from inrv.errors import FormatError, MissingFrameError, OptionError
from inrv.support.device import check_device
from inrv.support.forks import renew_in_children
from inrv.support.streams import Readable, input_of
from inrv.support.undisturbed import undisturbed

OPEN_GROUPS = 2  # that are kept open: a player goes from one to the next
BLOCKS = "blocks"  # the metadata of a sequence that tells how its frames make up an array

Number = float | int  # of a frame


@undisturbed()
def load(
    source: Readable,
    device: Any = None,
    limits: Limits = Limits(),
    *,
    frame: Number | None = None,
    cache_bytes: int = CACHE_BYTES,
    gpu_cache_dtype: str = "float32",
) -> Volume:
    """Open an .inrv file. Raises FormatError where it is no valid .inrv file or exceeds the limits.

    Chunks are read, and the field is opened, when they are first needed. Of a sequence the volume
    is one frame; `Volume.frames` has the others.

    source: a path; a URL, as https://host/fog.inrv, of which only what is needed is read; the bytes
        of the file; or a binary file object, which is read to its end from where it stands
    device: where a network is computed and where `tensor` puts values, as 'cuda'; None: the best
        there is. Raises OptionError where it cannot be used
    limits: what the file may take, now and when its grids are decoded
    frame: number of a frame of a sequence; None: its first one. Raises MissingFrameError
    cache_bytes: that decoded regions may take which points and boxes asked for; those that were
        not used for longest are dropped, and decoded again when they are needed
    gpu_cache_dtype: 'float32', or 'float16', which takes half the memory: as which a GPU keeps
        those; values of points and boxes are then rounded to 11 bits, beyond any bound on the error
    """
    frames = open_frames(
        source, device, limits, cache_bytes=cache_bytes, gpu_cache_dtype=gpu_cache_dtype
    )
    if frame is not None:
        return frames[frame]
    if not len(frames):
        raise FormatError("Q9", f"{frames.name} holds no frame yet")
    return frames[next(iter(frames))]


def open_frames(
    source: Readable,
    device: Any = None,
    limits: Limits = Limits(),
    *,
    cache_bytes: int = CACHE_BYTES,
    gpu_cache_dtype: str = "float32",
) -> Frames:
    """Open all frames of a file, of which there may be none yet. Arguments are those of `load`."""
    check_device(device)
    if not isinstance(limits, Limits):
        raise OptionError(f"limits is of type {type(limits).__name__}: give inrv.Limits(...)")
    if not isinstance(cache_bytes, int) or cache_bytes < 0:
        raise OptionError(f"cache_bytes is {cache_bytes!r}: it must be a number of bytes")
    if gpu_cache_dtype not in CACHE_DTYPES:
        raise OptionError(
            f"gpu_cache_dtype {gpu_cache_dtype!r} is not one of {', '.join(CACHE_DTYPES)}"
        )
    file = input_of(source)
    try:
        sequence = is_sequence(file)
    except (OSError, ValueError):
        sequence = False  # whoever opens the container tells what is wrong
    found = read_sequence(file, limits) if sequence else read_container(file, limits)
    where = None if device is None else str(device)
    return Frames(found, where, cache_bytes, gpu_cache_dtype)


class Frames(Mapping[Number, Volume]):
    """The frames of a file by their numbers, which ascend.

    A file of one volume has one frame, whose number is 0 where it has none. Frames pickle as their
    file. Threads may share them.

    source: the file
    timeline: how the frames lie in time
    numbers: of the frames, ascending
    times: of the frames, in the unit of the timeline; None where it is not known
    groups: the numbers of the frames that each group holds, in the order of the file
    device, cache_bytes, gpu_cache_dtype: see `load`
    """

    def __init__(
        self,
        source: SequenceFile | Container,
        device: str | None,
        cache_bytes: int,
        gpu_cache_dtype: str,
    ) -> None:
        self.source = source
        self.timeline = source.timeline if isinstance(source, SequenceFile) else Timeline()
        self._device, self._cache = device, BrickCache(cache_bytes, gpu_cache_dtype)
        if isinstance(source, SequenceFile):
            held = [group.frames for group in source.groups]
        else:
            moments = [(frame.number or 0, frame.time) for frame in source.manifest.frames]
            held = [tuple(Moment(number, time) for number, time in moments)]
        self.groups = tuple(tuple(moment.number for moment in frames) for frames in held)
        found = sorted((own for frames in held for own in frames), key=lambda own: own.number)
        self.numbers = tuple(moment.number for moment in found)
        self.times = tuple(moment.time for moment in found)
        self._group_of = {
            number: group for group, numbers in enumerate(self.groups) for number in numbers
        }
        renew_in_children(self)

    def new_locks(self) -> None:
        """Begin with a lock that no thread holds."""
        self._lock = threading.Lock()
        self._open: OrderedDict[int, OpenFile] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        cache = self._cache
        return Frames, (self.source, self._device, cache.most_bytes, cache.gpu_dtype)

    @property
    def is_sequence(self) -> bool:
        """Whether the file is a sequence, to which frames can be appended."""
        return isinstance(self.source, SequenceFile)

    @property
    def are_blocks(self) -> bool:
        """Whether they are the blocks of an array, as those that `inrv.dask.encode` writes."""
        return BLOCKS in self.timeline.metadata

    @property
    def name(self) -> str:
        """What messages call the file."""
        return self.source.name

    @property
    def missing(self) -> list[Number]:
        """The numbers between the first frame that there should be and the last, without one."""
        return self.timeline.missing(self.numbers)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __iter__(self) -> Iterator[Number]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, number: object) -> bool:
        return number in self._group_of

    def __repr__(self) -> str:
        if not self.numbers:
            return f"<inrv.Frames of {self.name!r}: none>"
        first, last = self.numbers[0], self.numbers[-1]
        return f"<inrv.Frames of {self.name!r}: {len(self)}, from {first} to {last}>"

    def __getitem__(self, number: Number) -> Volume:
        """The frame of that number. Raises MissingFrameError, a KeyError, FormatError."""
        if number not in self._group_of:
            raise MissingFrameError(self.lacks(number))
        group = self._group_of[number]
        with self._lock:
            if group not in self._open:
                self._open[group] = OpenFile(self._container(group), self._device, self._cache)
                while len(self._open) > OPEN_GROUPS:
                    self._open.popitem(last=False)
            self._open.move_to_end(group)
            file = self._open[group]
        held = [frame.number or 0 for frame in file.container.manifest.frames]
        return Volume(self, file, held.index(number))

    def _container(self, group: int) -> Container:
        return self.source.group(group) if isinstance(self.source, SequenceFile) else self.source

    def lacks(self, number: object) -> str:
        """Say that the file has no frame of that number, and which ones it has."""
        if not self.numbers:
            return f"{self.name}: no frame {number!r}; the file holds none yet"
        first, last = self.numbers[0], self.numbers[-1]
        held = f"frame {first}" if len(self) == 1 else f"{len(self)} frames from {first} to {last}"
        return f"{self.name}: no frame {number!r}; the file holds {held}"

    @overload
    def at(self, time: float, interpolation: Literal["nearest"] = "nearest") -> Volume: ...
    @overload
    def at(self, time: float, interpolation: str) -> Volume | VolumeBetween: ...

    def at(self, time: float, interpolation: str = "nearest") -> Volume | VolumeBetween:
        """The frame at a time.

        time: in the unit of the timeline
        interpolation: 'nearest': the frame whose time is nearest; 'linear': a `VolumeBetween` of
            the frames before and after, where none has that time. Ahead of the first frame and
            behind the last one these are given
        Raises OptionError for another interpolation, and where the times of the frames are not
        known.
        """
        if interpolation not in ("nearest", "linear"):
            raise OptionError(f"`interpolation={interpolation!r}` is not one of nearest, linear")
        times = [own for own in self.times if own is not None]
        if len(times) < len(self.numbers) or not times:
            raise OptionError(
                f"{self.name}: the times of its frames are not known: encode it with a frame rate, "
                "or ask for a frame by its number"
            )
        if not isinstance(time, (int, float, np.number)) or not math.isfinite(time):
            raise OptionError(f"time is {time!r}: it must be a finite number")
        after = bisect_left(times, time)
        near = [place for place in (after - 1, after) if 0 <= place < len(times)]
        if interpolation == "linear" and len(near) == 2 and times[after] != time:
            first, last = times[after - 1], times[after]
            share = (float(time) - first) / (last - first)
            before, behind = (self[self.numbers[place]] for place in near)
            return VolumeBetween(before, behind, share, float(time))
        return self[self.numbers[min(near, key=lambda place: abs(times[place] - time))]]
