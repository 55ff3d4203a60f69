"""Work that is done again and again as a graph, which a GPU replays as one launch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Steps done one kernel after the other, in which libraries set themselves up, before one is
# captured.
PLAIN_STEPS = 3


def captured(work: Callable[[], None], stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    """Give the graph of some work, of which nothing is done meanwhile.

    Other threads may work on the GPU too.

    work: must have been done once
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        work()
    return graph


class GraphedStep:
    """Does a step again and again, on CUDA or ROCm as one launch.

    A step has hundreds of kernels. To launch them one by one takes longer than they run, so the
    GPU would wait for the host. The step must keep its state in the same tensors from one time to
    the next, and must not wait for the device.

    step: does a step on the samples of some rows
    """

    def __init__(self, step: Callable[[Tensor], None]) -> None:
        self.step = step
        self._stream = torch.cuda.Stream()
        self._rows: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._plain = 0

    def __call__(self, rows: Tensor) -> None:
        """Do a step on the samples `rows`, int64 (batch,): as many each time."""
        if self._plain < PLAIN_STEPS:
            self._plain += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self.step(rows)
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        if self._graph is None or self._rows is None:
            self._rows = held = rows.clone()
            self._graph = captured(lambda: self.step(held), self._stream)
        self._rows.copy_(rows)
        self._graph.replay()

    def forget(self) -> None:
        """Capture anew: the step has become another."""
        self._graph, self._plain = None, 0
