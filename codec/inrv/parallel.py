"""Work side by side: on a CPU one operation after another is often too small to keep several threads busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """As many threads, among which torch's own threads are shared out; meanwhile this one has no more than each of them.

    Else torch's threads would spin for a while after each operation of this one, on cores that the workers need.
    """
    threads = torch.get_num_threads()
    each = max(1, threads // count)
    torch.set_num_threads(each)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(each,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part], device: torch.device) -> list[Result]:
    """The results of `work` on every part, in order; on a CPU in as many threads as torch has, each with its share of them."""
    count = min(torch.get_num_threads(), len(parts))
    if device.type != "cpu" or count < 2:
        return [work(part) for part in parts]
    with workers(count) as pool:
        return list(pool.map(work, parts))
