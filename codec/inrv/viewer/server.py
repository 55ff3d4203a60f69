"""The server behind the page: on this machine alone, with a token that nobody can guess.

It answers under its token only:
  /                          the page
  /files/N/NAME              the bytes of an .inrv file, by ranges too
  /volumes/N/PLACE/grids     what a frame of files of another type has
  /volumes/N/PLACE/blocks/GRID/LEVEL/X,Y,Z    regions of it
  /pictures/NUMBER           takes pictures of the page, where some were asked for; done, failed
"""

from __future__ import annotations

import json
import math
import queue
import re
import secrets
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from inrv.fields.lattice.regions import REGION_EDGE
from inrv.support.inputs import Input
from inrv.viewer.page import page_with
from inrv.viewer.served import COARSEST, ServedVolume

MOST_POSTED = 1 << 28  # bytes of a picture
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
BLOCK = re.compile(r"(\d+)/blocks/(\d+)/(\d+)/(-?\d+),(-?\d+),(-?\d+)")
GRIDS = re.compile(r"(\d+)/grids")
HTML, BYTES, JSON, TEXT = (
    "text/html; charset=utf-8",
    "application/octet-stream",
    "application/json",
    "text/plain; charset=utf-8",
)


class ViewServer(ThreadingHTTPServer):
    """Shows a file, and maybe another one to compare it with.

    shown: an .inrv file as its bytes, or frames that Python reads, with a name; then the one to
        compare with
    settings: of the page, besides the files
    port: 0 for any that is free
    pictures: what the page has sent: its number, 'done' or 'failed', and the bytes

    Raises OSError where the port is taken, and MissingPackageError where there is no page.
    """

    daemon_threads = True

    def __init__(
        self,
        shown: Sequence[tuple[str, Input | ServedVolume]],
        settings: Mapping[str, Any],
        port: int = 0,
    ) -> None:
        self.pictures: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._token = secrets.token_urlsafe(18)
        self._inputs: dict[int, Input] = {}
        self._volumes: dict[int, ServedVolume] = {}
        named = []
        for number, (name, own) in enumerate(shown):
            told: dict[str, Any] = {"name": name}
            if isinstance(own, ServedVolume):
                self._volumes[number] = own
                told |= {"url": f"/{self._token}/volumes/{number}", "served": own.numbers}
            else:
                self._inputs[number] = own
                told["url"] = f"/{self._token}/files/{number}/{quote(name, safe='')}"
            named.append(told)
        files = dict(zip(("file", "reference"), named, strict=False))
        self._page = page_with({**_within(settings, self._token), **files})
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        return f"http://127.0.0.1:{self.server_port}/{self._token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser may go away while it is answered."""

    def answer(self, path: str) -> tuple[str, bytes | Input] | None:
        """Give the type and the content of what is at a path; None where nothing is.

        Raises IndexError where there is no such frame or grid, and what reading a frame raises.
        """
        token, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return None
        if not rest:
            return HTML, self._page
        kind, _, rest = rest.partition("/")
        number, _, rest = rest.partition("/")
        if not number.isdecimal():
            return None
        if kind == "files" and int(number) in self._inputs:
            return BYTES, self._inputs[int(number)]
        if kind == "volumes" and int(number) in self._volumes:
            return self._of_volume(self._volumes[int(number)], rest)
        return None

    @staticmethod
    def _of_volume(volume: ServedVolume, rest: str) -> tuple[str, bytes] | None:
        if (listed := GRIDS.fullmatch(rest)) is not None:
            return JSON, json.dumps(_finite(volume.grids(int(listed[1])))).encode()
        asked = BLOCK.fullmatch(rest)
        if asked is None:
            return None
        place, grid, level, *corner = map(int, asked.groups())
        if level > COARSEST or any(own % REGION_EDGE for own in corner):
            return None
        x, y, z = corner
        return BYTES, volume.block(place, grid, level, (x, y, z))

    def take(self, path: str, data: bytes) -> bool:
        """Take what the page has posted; False where nothing is expected there."""
        start = f"/{self._token}/pictures/"
        if not path.startswith(start):
            return False
        self.pictures.put((path[len(start) :], data))
        return True


def _within(settings: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Settings in which the page knows where it sends pictures."""
    found = dict(settings)
    if "shots" in found:
        found["shots"] = {**found["shots"], "to": f"/{token}/pictures"}
    return found


def _finite(told: Any) -> Any:
    """What JSON can tell: numbers that are not finite are None, which the page takes as 0."""
    if isinstance(told, dict):
        return {name: _finite(own) for name, own in told.items()}
    if isinstance(told, list):
        return [_finite(own) for own in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with the page, bytes of a file, or regions of a volume."""
        if not self._is_own():
            return
        try:
            found = self.server.answer(self.path)
        except Exception as error:  # of a frame that cannot be read, which the page tells
            self._send(500, TEXT, str(error).encode())
            return
        if found is None:
            self._send(404, TEXT, b"there is nothing at this address")
            return
        kind, content = found
        if isinstance(content, bytes):
            self._send(200, kind, content)
            return
        asked = RANGE.fullmatch(self.headers.get("Range", ""))
        try:
            size = content.size
            if asked is None:
                self._send(200, kind, content.part(0, size))
                return
            start = int(asked[1])
            end = min(int(asked[2] or size), size - 1)
            if start > end:
                self._send(416, TEXT, b"", {"Content-Range": f"bytes */{size}"})
                return
            part = content.part(start, end + 1 - start)
            self._send(206, kind, part, {"Content-Range": f"bytes {start}-{end}/{size}"})
        except OSError as error:
            self._send(500, TEXT, f"{content.name} cannot be read: {error}".encode())

    def do_POST(self) -> None:
        """Take a picture of the page."""
        if not self._is_own():
            return
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MOST_POSTED:
            self._send(413, TEXT, b"it is too large")
            return
        taken = self.server.take(self.path, self.rfile.read(int(length)))
        self._send(204 if taken else 404, TEXT, b"")

    def _is_own(self) -> bool:
        """Whether the address names this machine: a page elsewhere must not reach it by DNS."""
        host = self.headers.get("Host", "").partition(":")[0]  # port 80 is left out
        if host.lower() in ("127.0.0.1", "localhost"):
            return True
        self._send(403, TEXT, b"this address is for this machine alone")
        return False

    def _send(
        self, code: int, kind: str, content: bytes, more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(code)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Accept-Ranges": "bytes",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in {**headers, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
