"""Ctrl-C and SIGTERM, put off to where training can be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Deferred:
    """While active, the first signal waits until `deliver` is called; a second does what it did before, at once.

    Only in the main thread, which is where Python handles signals; elsewhere nothing is put off.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Deferred:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler not in (None, signal.SIG_IGN):
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self.deliver()

    def deliver(self, other: int | None = None) -> None:
        """Do what the pending signal, or else `other`, did before: raise KeyboardInterrupt or end the process, as a rule."""
        number, self.pending = self.pending or other, None
        if number is not None:
            self._hand_on(number, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending is not None:
            self._hand_on(number, frame)
        self.pending = number

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[number]
        if callable(handler):
            handler(number, frame)
        else:  # SIG_DFL
            signal.signal(number, handler)
            signal.raise_signal(number)
