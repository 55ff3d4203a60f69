"""The examples of docs/python.md run, where their libraries are installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import inrv
from testing.vdb.referee import load_openvdb

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = {
    section.split("\n")[0]: example
    for section in PAGE.split("\n## ")[1:]
    for example in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
}


LIBRARIES = {
    "zarr": "zarr",
    "numcodecs": "numcodecs",
    "xarray": "xarray",
    "napari": "inrv",  # its reader needs nothing of it
    "PyVista": "pyvista",
    "Warp and fVDB": "warp",
    "OpenVDB": "inrv",  # its module has two names
}


@pytest.mark.parametrize("title", LIBRARIES)
def test_examples_run(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(LIBRARIES[title])
    if title == "OpenVDB":
        load_openvdb()
    monkeypatch.chdir(tmp_path)
    options = inrv.EncodeOptions(effort="instant")
    inrv.encode(ROOT / "fixtures" / "fire.vdb", "fire.inrv", options)
    volume = inrv.load("fire.inrv")
    smoke = volume["density"][8:56, 0:64, 0:64]
    given: dict[str, Any] = {"inrv": inrv, "smoke": smoke, "volume": volume}
    example = EXAMPLES[title]
    if title in ("zarr", "numcodecs"):
        _register()
    if title == "xarray":
        from inrv.integrations.xarray import InrvBackend

        given["backend"] = InrvBackend
        example = example.replace('("fire.inrv"', '("fire.inrv", engine=backend')
    if title == "Warp and fVDB":
        example = example.replace("grid, values = density.to_fvdb()", "")
    exec(compile(example, f"docs/python.md: {title}", "exec"), given)
    assert set(EXAMPLES) == set(LIBRARIES)


def _register() -> None:
    """What entry points do for an installation."""
    import numcodecs

    from inrv.integrations.numcodecs import Inrv

    numcodecs.registry.register_codec(Inrv)
    zarr: ModuleType | None = sys.modules.get("zarr")
    if zarr is not None:
        from inrv.integrations.zarr import LatticeCodec

        zarr.registry.register_codec("inrv.lattice", LatticeCodec)
