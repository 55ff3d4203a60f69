"""The entry points of pyproject.toml name what is there, and a missing library is told."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "pyproject.toml").read_text()
GROUPS = dict(re.findall(r'\[project\.entry-points\."([\w.]+)"\]\n((?:\S+ = .*\n)+)', TEXT))
EXTRAS = {"zarr.codecs": "zarr", "xarray.backends": "xarray"}


@pytest.mark.parametrize("group", ["zarr.codecs", "numcodecs.codecs", "xarray.backends"])
def test_entry_points_lead_somewhere(group: str) -> None:
    (target,) = re.findall(r'= "(.*)"', GROUPS[group])
    module, name = target.split(":")
    pytest.importorskip(EXTRAS.get(group, "numcodecs"))
    found = getattr(import_module(module), name)
    assert isinstance(found, type)


def test_the_manifest_of_napari_is_in_the_package() -> None:
    (target,) = re.findall(r'= "(.*)"', GROUPS["napari.manifest"])
    module, name = target.split(":")
    assert (Path(import_module(module).__file__ or "").parent / name).is_file()
    assert '"integrations/napari.yaml"' in TEXT


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("inrv.integrations.zarr", "zarr"),
        ("inrv.integrations.xarray", "xarray"),
        ("inrv.pyvista", "pyvista"),
    ],
)
def test_a_library_that_is_missing_is_told(module: str, library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import inrv\n"
    code += f"try: import {module}\n"
    code += f"except inrv.MissingPackageError as error: assert 'inrv[{library}]' in str(error)\n"
    code += "else: raise AssertionError\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_library_loads_none_of_them() -> None:
    code = "import inrv, sys; inrv.load, inrv.encode\n"
    code += "print({name.split('.')[0] for name in sys.modules} & "
    code += "{'zarr', 'xarray', 'pandas', 'napari', 'npe2', 'pyvista', 'vtk', 'warp', 'fvdb'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
