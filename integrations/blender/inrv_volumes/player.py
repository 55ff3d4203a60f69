"""The frames of .inrv files, decoded into a cache of .vdb files ahead of the playhead.

Blender reads volumes from .vdb files alone. This is all of the extension that knows .inrv files; it
knows nothing of Blender.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import inrv
from inrv.scenes import VdbCache

MODES = ("CLIP", "EXTEND", "REPEAT", "PING_PONG")  # as Blender names them
# The mode that a sequence asks for, by what its timeline says of a player behind the last frame.
MODES_OF_LOOPS = {"none": "EXTEND", "repeat": "REPEAT", "ping-pong": "PING_PONG"}

Number = float | int  # of a frame


def shown_number(
    numbers: Sequence[Number], wanted: Number, mode: str, step: Number = 1
) -> Number | None:
    """Give the frame that is shown where another one is wanted; None shows nothing.

    Where a frame is missing, the one before it is shown.

    numbers: of the frames that there are, ascending
    wanted: the frame that the playhead asks for
    mode: one of MODES: what is shown ahead of the first frame and behind the last
    step: from the number of a frame to that of the next
    """
    if not numbers:
        return None
    first, last = numbers[0], numbers[-1]
    if not first <= wanted < last + step:
        if mode == "CLIP":
            return None
        if mode == "REPEAT":
            wanted = first + (wanted - first) % (last - first + step)
        elif mode == "PING_PONG" and last > first:
            way = (wanted - first) % (2 * (last - first))
            wanted = first + min(way, 2 * (last - first) - way)
    return numbers[max(0, bisect_right(numbers, wanted) - 1)]


@dataclass(frozen=True)
class Playback:
    """How a scene plays a file.

    offset: what is added to the frame of the scene
    mode: one of MODES
    level: of detail, 0 to 6
    """

    offset: int = 0
    mode: str = "EXTEND"
    level: int = 0


class Player:
    """A file of one volume or a sequence, as .vdb files at the frames of a scene.

    path: of the file; it is opened anew where it has changed on the disk
    cache: where its frames are decoded to
    """

    def __init__(self, path: Path, cache: VdbCache) -> None:
        self.path, self.cache = path, cache
        self._stamp: tuple[int, int] | None = None
        self._volume: inrv.Volume | None = None

    @property
    def volume(self) -> inrv.Volume:
        """The file, open. Raises FormatError, OSError."""
        status = os.stat(self.path)
        stamp = status.st_mtime_ns, status.st_size
        if self._volume is None or stamp != self._stamp:
            self._volume, self._stamp = inrv.load(self.path, device="cpu"), stamp
        return self._volume

    def frame_at(self, frame: Number, playback: Playback) -> inrv.Volume | None:
        """Give the frame that is shown at a frame of the scene; None shows nothing."""
        volume = self.volume
        if not volume.frames.is_sequence:
            return volume
        wanted = frame + playback.offset
        step = volume.frames.timeline.increment
        number = shown_number(volume.frames.numbers, wanted, playback.mode, step)
        return None if number is None else volume.frames[number]

    def ahead(self, frame: Number, playback: Playback, count: int) -> list[inrv.Volume]:
        """Give the frames that come behind the one at a frame of the scene, each once.

        count: of the scene's frames to look ahead
        """
        shown = self.frame_at(frame, playback)
        known = {None if shown is None else shown.number}
        found = []
        for later in range(1, count + 1):
            own = self.frame_at(frame + later, playback)
            if own is not None and own.number not in known:
                known.add(own.number)
                found.append(own)
        return found


class Prefetcher:
    """Decodes frames: at once for who waits for one, and ahead in a thread of its own.

    It never decodes a frame twice at a time. Nothing more is decoded ahead when the frames that are
    shown and those that come next take all that the cache may hold, so that it holds one frame more
    at most.

    cache: where the frames go
    errors: what went wrong with frames that were decoded ahead, by their files
    """

    def __init__(self, cache: VdbCache) -> None:
        self.cache = cache
        self.errors: dict[Path, Exception] = {}
        self._state = threading.Condition()
        self._busy = set[Path]()
        self._shown = dict[str, Path]()
        self._wanted = dict[str, list[tuple[inrv.Volume, int]]]()
        self._ahead = dict[str, set[Path]]()  # the files of all that was asked for last
        self._thread: threading.Thread | None = None
        self._closed = False

    def show(self, who: str, volume: inrv.Volume, level: int) -> Path:
        """Give the file of a frame, and decode the frame now where it is missing.

        who: what shows it: it stays in the cache until something else is shown there
        volume: the frame
        level: of detail
        Raises what `VdbCache.fetch` raises.
        """
        path = self._fetch(volume, level)
        with self._state:
            self._shown[who] = path
        return path

    def forget(self, who: str) -> None:
        """Take note that nothing is shown there any more."""
        with self._state:
            self._shown.pop(who, None)
            self._wanted.pop(who, None)
            self._ahead.pop(who, None)

    def forget_all_but(self, known: Collection[str]) -> None:
        """Take note of all places that there are, so that nothing is kept for others."""
        for who in {*self._shown, *self._ahead} - set(known):
            self.forget(who)

    def ask(self, who: str, volumes: Sequence[inrv.Volume], level: int) -> None:
        """Have frames decoded ahead, in this order, in place of those that were asked for before.

        who: what will show them
        """
        with self._state:
            self._wanted[who] = [(volume, level) for volume in volumes]
            self._ahead[who] = {self.cache.path_of(volume, level) for volume in volumes}
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="inrv", daemon=True)
                self._thread.start()
            self._state.notify_all()

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until all frames that were asked for are decoded; tell whether they are."""
        with self._state:
            return self._state.wait_for(
                lambda: not self._busy and not any(self._wanted.values()), seconds
            )

    def shown(self) -> set[Path]:
        """Give the files that are shown."""
        with self._state:
            return set(self._shown.values())

    def close(self) -> None:
        """End the thread, once it has finished its frame."""
        with self._state:
            self._closed = True
            self._wanted.clear()
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _kept(self) -> set[Path]:
        """Give the files that must stay: what is shown, and what comes next."""
        with self._state:
            return self._busy.union(self._shown.values(), *self._ahead.values())

    def _fetch(self, volume: inrv.Volume, level: int) -> Path:
        """Have one thread at a time decode a frame; the others wait for it.

        Where it was decoded, the cache is brought back to its size.
        """
        path = self.cache.path_of(volume, level)
        with self._state:
            self._state.wait_for(lambda: path not in self._busy)
            self._busy.add(path)
        try:
            new = not path.is_file()
            self.cache.fetch(volume, level)
            if new:
                self.cache.trim(self._kept())
            return path
        finally:
            with self._state:
                self._busy.discard(path)
                self._state.notify_all()

    def _work(self) -> None:
        """Decode what is asked for, until the prefetcher is closed."""
        while True:
            with self._state:
                self._state.wait_for(lambda: self._closed or any(self._wanted.values()))
                if self._closed:
                    return
                asked = next(asked for asked in self._wanted.values() if asked)
                volume, level = asked[0]
            path = self.cache.path_of(volume, level)
            if not path.is_file() and self._is_full():
                with self._state:
                    asked.clear()
                    self._state.notify_all()
                continue
            try:
                self._fetch(volume, level)
                self.errors.pop(path, None)
            except Exception as error:  # who shows the frame meets it again, and tells
                self.errors[path] = error
            with self._state:
                if asked and asked[0] == (volume, level):
                    asked.pop(0)
                self._state.notify_all()

    def _is_full(self) -> bool:
        """Tell whether the files that must stay take all that the cache may hold."""
        most = self.cache.most_bytes
        return most is not None and sum(map(_size, self._kept())) >= most


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
