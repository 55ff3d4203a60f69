"""The server of the page answers this machine, under its token, and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from inrv import files
from inrv.support.inputs import BytesInput
from inrv.viewer import page
from inrv.viewer.served import ServedVolume
from inrv.viewer.server import ViewServer

DATA = bytes(range(200))
FIRE = files.read(Path("fixtures/fire.vdb"))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ViewServer]:
    empty = tmp_path / "page.html"
    empty.write_text(f"<html>{page.SETTINGS}</html>")
    monkeypatch.setattr(page, "PAGE", empty)
    shown = [("a b.inrv", BytesInput("a b.inrv", DATA)), ("fire.vdb", ServedVolume.of(FIRE))]
    found = ViewServer(shown, {"grid": "</script>"})
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def asked(server: ViewServer, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def base(server: ViewServer) -> str:
    return urlsplit(server.url).path


def test_the_page_knows_its_files(server: ViewServer) -> None:
    answer, content = asked(server, base(server))
    assert answer.status == 200 and content.count(b"</script>") == 1
    settings = json.loads(content.split(b">", 2)[2].split(b"</script>")[0])
    assert settings["grid"] == "</script>" and settings["reference"]["served"]
    _, content = asked(server, settings["file"]["url"])
    assert content == DATA


def test_ranges_of_a_file_are_given(server: ViewServer) -> None:
    path = f"{base(server)}files/0/x"
    answer, content = asked(server, path, Range="bytes=10-19")
    assert answer.status == 206 and content == DATA[10:20]
    assert answer.headers["Content-Range"] == "bytes 10-19/200"
    answer, content = asked(server, path, Range="bytes=190-300")
    assert answer.status == 206 and content == DATA[190:]
    for wrong in ("200-300", "5-2"):
        assert asked(server, path, Range=f"bytes={wrong}")[0].status == 416
    assert asked(server, path, Range=f"bytes={'9' * 5000}-")[1] == DATA


@pytest.mark.parametrize(
    "path", ["", "x/", "files/2/x", "volumes/0/0/grids", "volumes/1/0/blocks/0/7/0,0,0"]
)
def test_nothing_is_at_other_addresses(server: ViewServer, path: str) -> None:
    start = base(server) if path else "/"
    assert asked(server, start + path)[0].status == 404
    assert asked(server, f"/wrong/{path}")[0].status == 404


def test_another_host_is_refused(server: ViewServer) -> None:
    for host in ("evil.example:80", "evil.example", "127.0.0.1.evil.example"):
        assert asked(server, base(server), Host=host)[0].status == 403
    for host in ("127.0.0.1", "LOCALHOST:80"):  # port 80 is left out by browsers
        assert asked(server, base(server), Host=host)[0].status == 200


def test_regions_of_a_volume_are_given(server: ViewServer) -> None:
    grids = json.loads(asked(server, f"{base(server)}volumes/1/0/grids")[1])
    assert [own["info"]["name"] for own in grids] == [grid.name for grid in FIRE.grids]
    content = asked(server, f"{base(server)}volumes/1/0/blocks/0/1/0,0,0")[1]
    values = np.frombuffer(content, dtype=np.float32, count=64**3).reshape(64, 64, 64)
    active = np.frombuffer(content, dtype=np.uint8, offset=4 * 64**3).reshape(64, 64, 64)
    places = 2 * np.stack(np.meshgrid(*[np.arange(64)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_array_equal(values.ravel(), FIRE.grids[0].lookup(places)[:, 0])
    np.testing.assert_array_equal(active.ravel(), FIRE.grids[0].topology.active(places))
