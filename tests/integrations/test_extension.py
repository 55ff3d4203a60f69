"""The zip of the Blender extension, without Blender."""

from __future__ import annotations

import importlib
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
tomllib = pytest.importorskip("tomllib")  # Python 3.11
WHEELS = ("inrv-0.1.0-py3-none-win_amd64.whl", "zstandard-0.25.0-cp311-cp311-win_amd64.whl")


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("build_blender")


def packed(build: ModuleType, folder: Path, target: str = "out") -> Path:
    """A zip with wheels that hold nothing."""
    wheels = [folder / name for name in WHEELS]
    for wheel in wheels:
        wheel.write_bytes(b"wheel")
    made: Path = build.pack("windows-x64", "0.1.0", wheels, folder / target)
    return made


def manifest_of(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as opened:
        found: dict[str, Any] = tomllib.loads(opened.read("blender_manifest.toml").decode())
    return found


def test_a_zip_has_all_that_its_manifest_names(build: ModuleType, tmp_path: Path) -> None:
    archive = packed(build, tmp_path)
    assert archive.name == "inrv-0.1.0-windows_x64.zip"
    held = zipfile.ZipFile(archive).namelist()
    found = manifest_of(archive)
    assert found["wheels"] == [f"./wheels/{name}" for name in WHEELS]
    assert {name.removeprefix("./") for name in found["wheels"]} < set(held)
    assert {"__init__.py", "addon.py", "player.py", "LICENSE"} < set(held)
    assert (found["version"], found["platforms"]) == ("0.1.0", ["windows-x64"])


def test_the_manifest_keeps_the_documented_rules(build: ModuleType, tmp_path: Path) -> None:
    """As the manual has them on its page "How to Create Extensions"."""
    found = manifest_of(packed(build, tmp_path))
    assert found["schema_version"] == "1.0.0" and found["type"] == "add-on"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", found["id"])
    for text in (found["tagline"], *found["permissions"].values()):
        assert len(text) <= 64 and text[-1].isalnum() and text == text.strip()
    assert set(found["permissions"]) <= {"files", "network", "clipboard", "camera", "microphone"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["blender_version_min"])
    assert all(text.startswith("SPDX:") for text in found["license"])


def test_the_same_files_give_the_same_bytes(build: ModuleType, tmp_path: Path) -> None:
    one, other = packed(build, tmp_path, "one"), packed(build, tmp_path, "other")
    assert one.read_bytes() == other.read_bytes()


def test_the_wheels_bring_what_the_library_needs_beside_the_commands(build: ModuleType) -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=!~]", text)[0] for text in needed}
    of_commands, of_blender = {"click", "rich", "fileseq"}, {"numpy"}
    assert names - of_commands - of_blender <= set(build.PACKAGES)
    pinned = (ROOT / "constraints.txt").read_text()
    assert all(f"{name}==" in pinned for name in build.PACKAGES)
