"""Regions side by side: on a CPU a region is too small to keep several threads busy with one operation after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part], device: torch.device) -> list[Result]:
    """The results of `work` on every part, in order; on a CPU in as many threads as torch has, each with its share of them."""
    threads = torch.get_num_threads()
    workers = min(threads, len(parts))
    if device.type != "cpu" or workers < 2:
        return [work(part) for part in parts]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(work, parts))
    finally:
        torch.set_num_threads(threads)  # torch remembers the last count for threads that are yet to begin
