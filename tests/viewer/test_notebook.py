"""The viewer in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inrv
from inrv.viewer import notebook
from testing.viewer import built

pytest.importorskip("anywidget")
MOTION = Path("fixtures/golden/motion.inrv")


@pytest.fixture(scope="module", autouse=True)
def page() -> None:
    built()


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    interactive = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell
    found = interactive.instance()
    monkeypatch.setattr(interactive, "kernel", None, raising=False)  # a notebook's shell has one
    yield found
    interactive.clear_instance()


def test_a_volume_becomes_a_widget() -> None:
    widget = inrv.view(inrv.load(MOTION), height=200)
    assert widget.height == 200 and '"data"' in widget.page and '"frame"' in widget.page
    quick = inrv.view("fixtures/fire.vdb", grid="temperature")
    assert '"grid": "temperature"' in quick.page


def test_a_volume_shows_itself_where_it_is_small(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook.show_volumes()
    volume = inrv.load(MOTION)
    formats, _ = shell.display_formatter.format(volume)
    assert set(formats) >= {notebook.VIEW, "text/html", "text/plain"}
    assert formats["text/plain"] == repr(volume)
    monkeypatch.setattr(notebook, "MOST_BYTES", 100)
    formats, _ = shell.display_formatter.format(volume)
    assert notebook.VIEW not in formats and "text/html" in formats


def test_a_terminal_shows_no_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    interactive = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell
    shell = interactive.instance()
    notebook.show_volumes()
    formats, _ = shell.display_formatter.format(inrv.load(MOTION))
    interactive.clear_instance()
    assert notebook.VIEW not in formats
