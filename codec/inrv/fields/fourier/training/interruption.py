"""Ctrl-C and SIGTERM, deferred until training can be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Deferred:
    """Defers signals: the first waits until `deliver` is called, a second takes effect at once.

    It does so while it is active, and in the main thread only, where Python handles signals.

    pending: int number of the signal that waits, or None
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
        """Let the pending signal, or else the signal `other`, take effect.

        As a rule that raises KeyboardInterrupt or ends the process.
        """
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
