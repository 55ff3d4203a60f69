"""The page of the viewer: one HTML file, into which its settings are written."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inrv.decoding.volume import Volume
from inrv.errors import MissingPackageError

PAGE = Path(__file__).with_name("page.html")
FIELD = "lattice"
SETTINGS = '<script id="settings" type="application/json">{}</script>'


def is_for_page(volume: Volume) -> bool:
    """Tell whether the page decodes a volume: it has no field but the lattice."""
    field = volume.manifest.field
    return field is None or field.kind == FIELD


def page_with(settings: Mapping[str, Any]) -> bytes:
    """Give the page, which shows what its settings name.

    settings: as `Settings` in viewer/page/main.ts has them
    Raises MissingPackageError where this installation has no page.
    """
    try:
        page = PAGE.read_text(encoding="utf-8")
    except OSError as error:
        raise MissingPackageError(
            "this installation has no viewer: `make viewer` builds it in a checkout, with Node.js, "
            "and every wheel has it"
        ) from error
    # A script ends at "</" and begins a comment at "<!--", whatever JSON says.
    text = json.dumps(settings, ensure_ascii=False).replace("<", "\\u003c")
    filled = SETTINGS.replace("{}", text)
    return page.replace(SETTINGS, filled, 1).encode()


def whole_page(name: str, data: bytes, settings: Mapping[str, Any]) -> bytes:
    """Give a page that holds its file: it opens from a disk, without a server.

    name: of the file
    data: an .inrv file
    settings: further ones
    """
    file = {"name": name, "data": base64.b64encode(data).decode("ascii")}
    return page_with({**settings, "file": file})
