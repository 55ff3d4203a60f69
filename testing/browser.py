"""A page in a browser without a window, spoken to by the DevTools protocol over pipes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inrv.viewer.pictures import OPTIONS, command_of

IN, OUT = 3, 4  # descriptors of the browser that it reads commands from, and answers to
WAIT = 120_000  # milliseconds that an expression may take
# Drawn by software everywhere, so that pictures are the same everywhere.
DRAWN = ("use-angle=swiftshader", "no-sandbox", "remote-debugging-pipe")


class Page:
    """A page, in which JavaScript is evaluated.

    errors: what the page has thrown or logged as an error
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb"), os.fdopen(answers, "rb")
        self._last, self._held = 0, b""
        self.errors: list[str] = []
        found = self._call(
            "Target.createTarget", url="about:blank", newWindow=True, width=900, height=640
        )
        self._session = ""
        attached = self._call("Target.attachToTarget", targetId=found["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Runtime.enable")

    def go(self, url: str) -> None:
        """Open a URL, and wait until the viewer has opened its file, or says why it has not."""
        self._call("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")
        self.until("window.inrv?.app.grid || document.querySelector('.message:not([hidden])')")

    def until(self, condition: str) -> None:
        """Wait until a condition holds."""
        for _ in range(WAIT // 20):
            if self.evaluate(f"!!({condition})"):
                return
            time.sleep(0.02)
        raise AssertionError(f"{condition} has not come true")

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression, wait for its promise, and give its JSON value."""
        found = self._call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            timeout=WAIT,
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise AssertionError(details.get("exception", details).get("description", details))
        return found["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> Any:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if getattr(self, "_session", ""):
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))
            logged = answer.get("params", {})
            if answer.get("method") == "Runtime.consoleAPICalled" and logged["type"] == "error":
                self.errors.append(json.dumps(logged["args"]))

    def _next(self) -> Any:
        while b"\0" not in self._held:
            more = os.read(self._answers.fileno(), 1 << 20)
            assert more, "the browser has ended"
            self._held += more
        message, _, self._held = self._held.partition(b"\0")
        return json.loads(message)


@contextmanager
def page() -> Iterator[Page]:
    """Open a browser with an empty page."""
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()

    def take_pipes() -> None:
        # Two new ones first: either of the pipes may have the number of the other's place.
        ends = os.dup(to_browser), os.dup(from_browser)
        for end, place in zip(ends, (IN, OUT), strict=True):
            os.dup2(end, place)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            command_of([*OPTIONS, *DRAWN, f"user-data-dir={folder}"], "about:blank"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=take_pipes,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Page(commands, answers)
        finally:
            process.kill()
            process.wait()
