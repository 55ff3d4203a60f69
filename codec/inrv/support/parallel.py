"""Work side by side, in parts of milliseconds.

Each part is computed by one thread from its beginning to its end. torch, where a part uses it,
would share single operations out over threads of its own, which wait for each other at the end of
each: beside other busy processes such a wait lasts until the last of them gets a core again, and a
small network takes dozens of them a step. So while there are workers torch is held to one thread.
What comes out follows from the parts, not from how many threads there are.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from inrv.errors import OptionError

if TYPE_CHECKING:
    from concurrent.futures import Executor

Part = TypeVar("Part")
Result = TypeVar("Result")

MOST_THREADS = 1024


class _Blas:
    """Who holds NumPy's products to one thread at present."""

    lock = threading.Lock()
    users = 0
    limiter: Any = None


_blas = _Blas()

# `pool`: the workers that this thread has; `works`: whether it is one itself.
_of_thread = threading.local()


def thread_count() -> int:
    """How many threads this one may compute with.

    INRV_THREADS; without it torch's number where that is loaded; else OMP_NUM_THREADS, else the
    CPUs of this process. Raises OptionError where INRV_THREADS is no number of threads.
    """
    if asked := os.environ.get("INRV_THREADS"):
        if not (asked.isascii() and asked.isdecimal() and 0 < int(asked) <= MOST_THREADS):
            raise OptionError(f"INRV_THREADS is {asked!r}: it must be from 1 to {MOST_THREADS}")
        return int(asked)
    torch = _torch()
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def workers() -> Iterator[Executor | None]:
    """Gives `thread_count` threads to `in_threads` and `in_turns` meanwhile; None for one thread.

    Each of them, and this one, computes alone: torch's own threads would spin on the cores that
    the workers need.
    """
    pool = getattr(_of_thread, "pool", None)
    if pool is not None or getattr(_of_thread, "works", False):
        _hold_torch()
        yield pool
        return
    count = thread_count()
    if count == 1:
        yield None
        return
    from concurrent.futures import ThreadPoolExecutor  # brings logging

    torch = _torch()
    before = count if torch is None else torch.get_num_threads()
    _hold_torch()
    try:
        with ThreadPoolExecutor(count, initializer=_begin_work) as _of_thread.pool:
            yield _of_thread.pool
    finally:
        _of_thread.pool = None
        if (torch := _torch()) is not None:
            torch.set_num_threads(before)


@contextmanager
def blas_in_one_thread() -> Iterator[None]:
    """Holds NumPy's products to one thread each.

    Its threads would spin on the cores that the workers need, and sums would be rounded otherwise:
    what comes out would depend on how many there are.
    """
    from threadpoolctl import ThreadpoolController

    # What it limits is the whole process: the first one in here limits it, and the last one out
    # brings back what the first one found.
    with _blas.lock:
        _blas.users += 1
        if _blas.users == 1:
            _let_any_thread_limit_blas()
            _blas.limiter = ThreadpoolController().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _blas.lock:
            _blas.users -= 1
            if not _blas.users:
                _let_any_thread_limit_blas()
                _blas.limiter.restore_original_limits()
                _let_any_thread_limit_blas()


def _let_any_thread_limit_blas() -> None:
    """Undo what threadpoolctl 3.8 keeps: that only the first thread to limit OpenBLAS may do so.

    All others would go without a limit, and without a word.
    """
    import threadpoolctl

    owned: Any = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(owned, "clear_controlling_thread"):
        owned.clear_controlling_thread(force=True)


def in_threads(
    work: Callable[[Part], Result], parts: Sequence[Part], device: Any = None
) -> list[Result]:
    """The results of `work` on every part, in order; by the workers where there are more than one.

    device: that tensors which the work is on are on, None for arrays; parts on a device other than
        a CPU are done one after the other
    """
    if len(parts) < 2 or (device is not None and device.type != "cpu"):
        return [work(part) for part in parts]

    def alone(part: Part) -> Result:
        _hold_torch()
        return work(part)

    with workers() as pool:
        return list(map(work, parts) if pool is None else pool.map(alone, parts))


def in_turns(jobs: Sequence[Iterator[Any]]) -> None:
    """Bring every job to its end.

    Each worker takes a step of the job that has waited longest. An error of one, or an
    interruption, ends all after the step that they are at.
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

    with workers(), _setting(stopped):
        in_threads(take_turns, range(len(jobs)))


@contextmanager
def _setting(stopped: threading.Event) -> Iterator[None]:
    """Sets the event on an error in here."""
    try:
        yield
    except BaseException:
        stopped.set()
        raise


def _begin_work() -> None:
    _of_thread.works = True
    _hold_torch()


def _hold_torch() -> None:
    """Holds torch to one thread in this one, where it is loaded."""
    torch = _torch()
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def _torch() -> Any:
    """torch, where it is loaded already and wholly; else None."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "set_num_threads") else None
