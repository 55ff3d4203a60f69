"""A local HTTP server that gives ranges of files, and counts what it gave."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class RangeServer(ThreadingHTTPServer):
    """A server of the files in a folder.

    root: the folder
    ranges: whether it gives ranges, or whole files whatever is asked for
    reads: first byte and byte count of each answer to GET
    heads: requests for sizes
    """

    def __init__(self, root: Path, ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.ranges = root, ranges
        self.reads: list[tuple[int, int]] = []
        self.heads = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def forget(self) -> None:
        """Count from 0 again."""
        self.reads.clear()
        self.heads = 0


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self.server.heads += 1
        data = self._data()
        if data is not None:
            self._answer(200, len(data))

    def do_GET(self) -> None:
        data = self._data()
        if data is None:
            return
        start, end, code = 0, len(data), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is not None and self.server.ranges:
            start, end, code = int(asked[1]), min(int(asked[2]) + 1, len(data)), 206
            if start >= len(data):
                self._answer(416, 0)
                return
        self.server.reads.append((start, end - start))
        self._answer(code, end - start, f"bytes {start}-{end - 1}/{len(data)}")
        self.wfile.write(data[start:end])

    def _data(self) -> bytes | None:
        path = self.server.root / self.path.partition("?")[0].lstrip("/")
        if path.is_file():
            return path.read_bytes()
        self._answer(404, 0)
        return None

    def _answer(self, code: int, length: int, place: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        if code == 206:
            self.send_header("Content-Range", place)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(root: Path, ranges: bool = True) -> Iterator[RangeServer]:
    """Serve the files of a folder."""
    with RangeServer(root, ranges) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))  # seconds until it is shut down
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
