"""The passes of small batches as graphs.

A batch has 150 kernels, and each works on the whole batch. Of a few regions they are done sooner
than they are launched one by one. A graph is launched at once, but works on the same tensors each
time: what a batch holds is copied into them, and what was decoded, back.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from inrv.support.forks import renew_in_children
from inrv.support.graph import captured

if TYPE_CHECKING:
    from inrv.fields.lattice.gpu.batch import Batch

GRAPHED_REGIONS = 8  # of a batch; with more, the kernels outlast their launches
MOST_GRAPHS = 4  # kept: each holds some 26 MB a region
READ = ("values", "active", "reference", "places", "starts", "about", "bits", "predictions")
CODER = ("counts", "tables", "states", "chains", "cursor")
WRITTEN = ("values", "states", "cursor")


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Do it."""


def _capture(work: Callable[[], None]) -> Graph:
    return captured(work, torch.cuda.Stream())


def _tensors(batch: Batch) -> list[Tensor]:
    """What the passes of a batch read and write."""
    return [*(getattr(batch, name) for name in READ + CODER), *batch.networks]


class _Captured:
    """The passes of all batches that are like one, as a graph, and the tensors it works on.

    capture: gives a graph
    """

    def __init__(self, batch: Batch, capture: Callable[[Callable[[], None]], Graph]) -> None:
        self._held = held = copy.copy(batch)
        held.items = ()
        copies = {id(tensor): tensor.clone() for tensor in _tensors(batch)}
        for name in READ + CODER:  # a batch without a reference channel has its values there
            setattr(held, name, copies[id(getattr(batch, name))])
        weights, biases = batch.networks
        held.networks = copies[id(weights)], copies[id(biases)]
        self._graph = capture(held.take_passes)

    def run(self, batch: Batch) -> None:
        """Take the passes of a batch."""
        for own, asked in zip(_tensors(self._held), _tensors(batch), strict=True):
            own.copy_(asked)
        self._graph.replay()
        for name in WRITTEN:
            getattr(batch, name).copy_(getattr(self._held, name))


class PassGraphs:
    """Graphs of the passes of batches that are alike, the latest ones. Threads may share it.

    capture: gives a graph
    """

    def __init__(self, capture: Callable[[Callable[[], None]], Graph] = _capture) -> None:
        self._capture = capture
        self._known: OrderedDict[Any, _Captured | None] = OrderedDict()
        renew_in_children(self)

    def new_locks(self) -> None:
        """Begin with a lock that no thread holds."""
        self._lock = threading.Lock()

    def run(self, batch: Batch) -> None:
        """Take the passes of a batch: one by one where none before was like it."""
        shapes = [(tensor.shape, tensor.dtype) for tensor in _tensors(batch)]
        alike = (batch.level, batch.referring, batch.device, self._stream(batch), *shapes)
        with self._lock:
            if alike not in self._known:  # what is captured must have been compiled
                batch.take_passes()
                self._known[alike] = None
                while len(self._known) > MOST_GRAPHS:
                    self._known.popitem(last=False)
                return
            found = self._known[alike] or _Captured(batch, self._capture)
            self._known[alike] = found
            self._known.move_to_end(alike)
            found.run(batch)

    def _stream(self, batch: Batch) -> int | None:
        """What orders the work of a batch: a graph's tensors are not for two streams."""
        if batch.device.type == "cpu":
            return None
        return torch.cuda.current_stream(batch.device).cuda_stream


GRAPHS = PassGraphs()
