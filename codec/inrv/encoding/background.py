"""Sequences that are written while a program goes on: a thread encodes beside it."""

from __future__ import annotations

import os
import threading
import time as clock
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from queue import Queue
from types import TracebackType
from typing import Any

import numpy as np

from inrv.decoding.grid import VolumeGrid
from inrv.encoding.sequence import SequenceWriter
from inrv.encoding.sources import Source, named, volume_or_file
from inrv.errors import InrvError, OptionError
from inrv.files import is_openvdb
from inrv.grids import Grid
from inrv.options import EncodeOptions
from inrv.support.arrays import as_array

Work = Callable[[], object]


class BackgroundWriter:
    """Writes a sequence as `SequenceWriter` does, in a thread beside the program that adds frames.

    `add` copies the arrays and returns. It waits only while `waiting` frames wait already, so that
    no more is in memory than these and the frames of one group. Groups that are finished can be
    read from then on, whatever happens to the program.

    An error comes out of the next call. A frame that cannot be encoded is told once and left out. A
    group that cannot be encoded or written ends it all: every later call raises that error.

    While a group is encoded, NumPy's products (BLAS) have one thread in the whole program.

    path, options, more: as `SequenceWriter` takes them; the thread calls `progress` and `report`
    waiting: how many frames may wait for the thread, at least 1

    waited: seconds for which `add` and `flush` have waited for the thread so far

    Raises what `SequenceWriter` raises.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: EncodeOptions = EncodeOptions(),
        *,
        waiting: int = 2,
        **more: Any,
    ) -> None:
        if isinstance(waiting, bool) or not isinstance(waiting, int) or waiting < 1:
            raise OptionError(f"waiting is {waiting!r}: it must be a number of frames, at least 1")
        self._writer = SequenceWriter(path, options, **more)
        self.path, self.waited = self._writer.path, 0.0
        self._work: Queue[Work | None] = Queue(waiting)
        self._errors = deque[BaseException]()  # of frames, not told yet
        self._failure: BaseException | None = None  # that ended it all
        self._dropping = self._closed = False
        # It is a daemon so that a program that ends without closing its writer does not hang.
        self._thread = threading.Thread(target=self._run, name="inrv writer", daemon=True)
        self._thread.start()

    @property
    def written(self) -> set[float | int]:
        """The numbers of the frames that can be read from the file."""
        return self._writer.written

    def add(self, time: float | None, grids: Source, *, number: float | int | None = None) -> None:
        """Add a frame, behind those that were added before. Arrays may be used again at once.

        time, grids, number: as `SequenceWriter.add` takes them; a file at a path is read when its
            turn comes

        Raises OptionError for what is no array of numbers, and what earlier frames have raised.
        """
        self._check()
        kept = _kept(grids, self._writer.options.doubles)
        self._hand_over(partial(self._writer.add, time, kept, number=number))

    def flush(self) -> None:
        """Wait until all frames that were added are in the file. Raises what `add` raises."""
        self._check()
        self._hand_over(self._writer.flush)
        started = clock.perf_counter()
        self._work.join()
        self.waited += clock.perf_counter() - started
        self._check()

    def close(self) -> None:
        """Encode what is left, and close the file. Raises what `add` raises."""
        if not self._closed:
            self._hand_over(self._writer.close)
            self._leave()

    def _leave(self) -> None:
        """Let the thread end behind what was handed over. Raises what `add` raises."""
        self._closed = True
        self._work.put(None)
        self._thread.join()
        if len(self._errors) > 1:
            raise InrvError("; ".join(map(str, self._errors)))
        self._raise_error()

    def _check(self) -> None:
        if self._closed:
            raise OptionError(f"the writer of {self.path} is closed")
        self._raise_error()

    def _raise_error(self) -> None:
        """Raise what was not told yet, in the order in which it came."""
        if self._errors:
            raise self._errors.popleft()
        if self._failure is not None:
            raise self._failure

    def _hand_over(self, work: Work) -> None:
        started = clock.perf_counter()
        self._work.put(work)
        self.waited += clock.perf_counter() - started

    def _run(self) -> None:
        """Do the work that is handed over, in the thread; after a failure, only take it away."""
        while (work := self._work.get()) is not None:
            if self._failure is None and not self._dropping:
                self._do(work)
            self._work.task_done()
        stop = self._failure or (KeyboardInterrupt() if self._dropping else None)
        if stop is not None:
            self._do(partial(self._writer.__exit__, type(stop), stop, None))

    def _do(self, work: Work) -> None:
        try:
            work()
        except BaseException as error:
            if isinstance(error, InrvError) and not self._writer.failed:
                self._errors.append(error)
            else:
                self._failure = self._failure or error

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()  # the frames that were added are worth keeping, whatever came after
        elif not self._closed:
            self._dropping = True
            self._leave()


def _kept(grids: Source, doubles: str) -> Source:
    """Give what is to be encoded so that nothing that its owner does later changes it."""
    if isinstance(grids, Mapping):
        return {name: _copied(name, value) for name, value in grids.items()}
    return volume_or_file(grids, doubles)


def _copied(name: str, value: Any) -> Any:
    """Give a copy of an array; grids do not change."""
    if isinstance(value, (Grid, VolumeGrid)):
        return value
    if is_openvdb(value):
        return named(name, value)
    return np.array(as_array(value, f"grid {name!r}: the array"), subok=True)
