"""Work side by side, in parts of milliseconds.

torch would share single operations out over its threads, which wait for each other at the end of each. Beside other busy
processes such a wait lasts until the last of them gets a core again, and a small network takes dozens of them a step. While
there are workers every operation is done by one thread. What comes out follows from the parts, not from how many threads
there are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")

_of_thread = threading.local()  # `pool`: the workers that this thread has


@contextmanager
def workers() -> Iterator[Executor | None]:
    """As many threads as torch has here, for `in_threads` and `in_turns` meanwhile; None where that is one.

    Each of them, and this one, computes alone: torch's own threads would spin on the cores that the workers need.
    """
    pool, threads = getattr(_of_thread, "pool", None), torch.get_num_threads()
    if pool is not None or threads == 1:
        yield pool
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as _of_thread.pool:
            yield _of_thread.pool
    finally:
        _of_thread.pool = None
        torch.set_num_threads(threads)


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part], device: torch.device, small: bool = False) -> list[Result]:
    """The results of `work` on every part, in order; on a CPU by the workers.

    `small`: the operations of one part are so too, so that torch does not share them out even where there is no other part.
    """
    if device.type != "cpu" or (len(parts) < 2 and not small):
        return [work(part) for part in parts]
    with workers() as pool:
        return list(map(work, parts) if pool is None or len(parts) < 2 else pool.map(work, parts))


def in_turns(jobs: Sequence[Iterator[Any]], device: torch.device) -> None:
    """Bring every job to its end; on a CPU by the workers, each of which takes a step of the job that has waited longest.

    An error of one, or an interruption, ends all after the step that they are at.
    """
    waiting, stopped = deque(jobs), threading.Event()

    def take_turns(_: int) -> None:
        while not stopped.is_set():
            try:
                job = waiting.popleft()
            except IndexError:  # the others go on with those that are left
                return
            with _setting(stopped):
                for _ in job:
                    waiting.append(job)
                    break

    with workers() if device.type == "cpu" else nullcontext(), _setting(stopped):
        in_threads(take_turns, range(len(jobs)), device)


@contextmanager
def _setting(stopped: threading.Event) -> Iterator[None]:
    """An error in here sets the event."""
    try:
        yield
    except BaseException:
        stopped.set()
        raise
