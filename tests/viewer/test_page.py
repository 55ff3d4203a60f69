"""The viewer in a browser without a window."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, files
from inrv.support.inputs import BytesInput
from inrv.viewer.page import whole_page
from inrv.viewer.server import ViewServer
from testing.browser import Page, page
from testing.raymarch import Field, picture
from testing.viewer import built

FIRE = Path("fixtures/fire.vdb")


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    built()
    with page() as opened:
        yield opened


@pytest.fixture(scope="module")
def fire() -> bytes:
    data, _ = inrv.encode_bytes(FIRE, EncodeOptions(effort="instant", psnr=45))
    return data


@contextmanager
def served(*shown: tuple[str, Any], **settings: Any) -> Iterator[str]:
    server = ViewServer(shown, settings)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def shown(browser: Page, fire: bytes) -> Iterator[Page]:
    """The fire in 160 x 120 pixels, which are drawn when a test says so."""
    with served(("fire.inrv", BytesInput("fire.inrv", fire))) as url:
        browser.go(url)
        browser.evaluate("inrv.app.settled()")
        browser.evaluate(
            "inrv.app.still = true, [inrv.app.renderer.canvas.width, "
            "inrv.app.renderer.canvas.height] = [160, 120]"
        )
        yield browser


def drawn(page: Page, call: str = "inrv.app.drawExact()") -> NDArray[np.uint8]:
    image = pytest.importorskip("PIL.Image")
    text = page.evaluate(f"{call}, inrv.app.renderer.canvas.toDataURL('image/png')")
    data = base64.b64decode(text.partition(",")[2])
    return np.asarray(image.open(io.BytesIO(data)).convert("RGB"))


def field(grid: inrv.VolumeGrid) -> Field:
    assert grid.box is not None
    values = grid.dense(grid.box)
    return Field(
        np.asarray(values, dtype=np.float64).reshape(values.shape[:3]),
        np.array(grid.box.lower, dtype=np.float64),
        0.0,  # the background of both grids
        np.array(grid.transform.array()),
    )


def test_the_picture_is_that_of_a_marcher_in_numpy(shown: Page, fire: bytes) -> None:
    found = drawn(shown).astype(int)
    volume = inrv.load(fire)
    expected = picture(
        shown.evaluate("inrv.app.told()"), field(volume["density"]), field(volume["temperature"])
    )
    apart = np.abs(found - expected)
    # The atlas has 11 bits, the colours 8: hardly a pixel is off by more than a few steps of 255.
    assert expected.std() > 20
    assert apart.mean() < 0.6 and np.percentile(apart, 99.5) <= 3
    assert not shown.errors
