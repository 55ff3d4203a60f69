"""Pictures of the page without a window: a browser draws them, headless, and sends them here."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inrv.errors import InrvError, MissingPackageError
from inrv.viewer.server import ViewServer

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
# Where a machine has no GPU, the browser's own software draws.
OPTIONS = (
    "headless=new",
    "no-first-run",
    "no-default-browser-check",
    "disable-extensions",
    "enable-unsafe-swiftshader",
    "ignore-gpu-blocklist",
)
NO_SANDBOX = "no-sandbox"
WAIT = 600.0  # seconds for the next picture


class PictureError(InrvError):
    """The page could not draw what was asked for."""


def browser() -> str:
    """Find a browser: $INRV_BROWSER, or any of Chromium's kin. Raises MissingPackageError."""
    named = os.environ.get("INRV_BROWSER")
    if named:
        return named
    found = (shutil.which(name) for name in BROWSERS)
    there = (place for place in PLACES if Path(place).exists())
    for path in (*found, *there):
        if path:
            return path
    raise MissingPackageError(
        "no browser was found that draws without a window: install Chromium, Chrome or Edge, or "
        "name one by $INRV_BROWSER"
    )


def command_of(options: Iterable[str], url: str) -> list[str]:
    """Give the command that opens a URL in a browser with options, which are without dashes."""
    return [browser(), *(f"--{option}" for option in options), url]


def pictures(server: ViewServer, count: int) -> Iterator[bytes]:
    """Yield the pictures that the page makes, as PNG, in their order.

    server: whose settings ask for them
    count: how many there will be
    Raises PictureError where the page tells of one, or where nothing comes; MissingPackageError
    where there is no browser.
    """
    with _served(server), _opened(server.url) as process:
        for number in range(count):
            yield _next(server, process, str(number))


def _next(server: ViewServer, process: subprocess.Popen[bytes], wanted: str) -> bytes:
    for _ in range(int(WAIT)):
        try:
            name, data = server.pictures.get(timeout=1)
        except queue.Empty:
            if process.poll() is not None:
                raise PictureError(f"the browser ended with status {process.returncode}") from None
            continue
        if name == "failed":
            raise PictureError(data.decode("utf-8", "replace"))
        if name == wanted:
            return data
    raise PictureError(f"the browser has drawn nothing for {WAIT:g} s")


@contextmanager
def _served(server: ViewServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def _opened(url: str) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = [*OPTIONS, f"user-data-dir={folder}"]
        if sys.platform == "linux" and os.geteuid() == 0:
            options.append(NO_SANDBOX)  # Chromium has none for root
        silent = subprocess.DEVNULL
        process = subprocess.Popen(command_of(options, url), stdout=silent, stderr=silent)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
