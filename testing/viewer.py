"""The page of the viewer, built if need be."""

from __future__ import annotations

import shutil
from functools import cache

import pytest


@cache
def built() -> None:
    """Build the page. Skips where Node.js, npm, ziglang or a browser is missing."""
    pytest.importorskip("ziglang")
    from inrv.errors import MissingPackageError
    from inrv.viewer.pictures import browser
    from scripts.build_viewer import build_viewer

    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    try:
        browser()
    except MissingPackageError as error:
        pytest.skip(str(error))
    build_viewer()
