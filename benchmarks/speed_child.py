"""What `benchmarks.speed` measures in a process of its own: `python -m benchmarks.speed_child`.

The process has imported NumPy and inrv, as the process of a user has, and nothing heavy besides.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

import inrv

POINTS = 1_000_000
BOX = 32


def decode(target: str) -> float:
    """Decoding a file to memory, masks included: the second time."""
    return [seconds(lambda: inrv.load(target).to_sparse()) for _ in range(2)][-1]


def box(target: str, *corner: str) -> float:
    """Opening a file, and the first box that a process asks for, at a corner."""
    low = [int(place) for place in corner]
    high = [place + BOX - 1 for place in low]
    return seconds(lambda: inrv.load(target)[0].dense((low, high)))


def points(target: str) -> float:
    """Points at random in the box of the first grid, the third time."""
    grid = inrv.load(target, cache_bytes=1 << 31)[0]
    assert grid.box is not None
    drawn = np.random.default_rng(0).random((POINTS, 3)) * grid.box.shape + grid.box.lower
    return [seconds(lambda: grid.sample(drawn)) for _ in range(3)][-1]


def seconds(work: Callable[[], object]) -> float:
    """That `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


WORK: dict[str, Callable[..., float]] = {"decode": decode, "box": box, "points": points}

if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    print(WORK[what](*arguments))
