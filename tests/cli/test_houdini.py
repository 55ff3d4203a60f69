"""`inrv houdini`: the package, and the converter as Houdini's documentation has it called."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import files
from inrv_cli.houdini import PACKAGE

from .conftest import Run

LATTICE = Path(__file__).resolve().parents[2] / "fixtures" / "golden" / "lattice.inrv"
# It stands for Houdini's own: it says what it was given, and hands the .vdb file on.
GCONVERT = f"""#!{sys.executable}
import shutil, sys
assert len(sys.argv) == 3 and sys.argv[1].endswith(".vdb"), sys.argv
if sys.argv[2].endswith(".geo"):
    sys.exit("no licence")
print("stray words")
shutil.copy(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def gconvert(run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Houdini, whose converter is ours."""
    program = Path("hfs/bin/gconvert").absolute()
    program.parent.mkdir(parents=True)
    program.write_text(GCONVERT)
    program.chmod(0o755)
    monkeypatch.setenv("HFS", str(program.parent.parent))
    return program


def test_the_table_has_the_documented_shape() -> None:
    """The keys that the HDK documents on the page "Binding Command Line Geometry Converters"."""
    table = json.loads((PACKAGE / "GEOio.json").read_text())
    (translator,) = table["translators"]
    assert set(table) <= {"comment", "translators", "final"}
    assert translator["extensions"] == [".inrv"]
    words = shlex.split(translator["convert"])
    assert words == ["inrv", "houdini", "convert"]


def test_the_package_leads_to_the_table(run: Run) -> None:
    folder = Path(run("houdini", "path").stdout.strip())
    package = json.loads((folder / "inrv.json").read_text())
    place = package["hpath"].replace("$HOUDINI_PACKAGE_PATH", str(folder))
    assert (Path(place) / "GEOio.json").is_file()


def test_a_vdb_file_needs_no_houdini(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HFS", raising=False)
    assert run("houdini", "convert", LATTICE, "out.vdb").exit_code == 0
    wanted = inrv.load(LATTICE)[0].to_grid().values
    assert np.array_equal(files.read("out.vdb").grids[0].values, wanted)


@pytest.mark.usefixtures("gconvert")
@pytest.mark.parametrize("target", ["out.bgeo", "stdout.bgeo", "stdout.bgeo.sc"])
def test_the_command_of_the_table_gives_what_gconvert_makes(tmp_path: Path, target: str) -> None:
    (translator,) = json.loads((PACKAGE / "GEOio.json").read_text())["translators"]
    inrv_, *words = shlex.split(translator["convert"])
    assert inrv_ == "inrv"
    command = [sys.executable, "-m", "inrv_cli", *words, str(LATTICE), target]
    done = subprocess.run(command, capture_output=True, env=dict(os.environ), check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    found = done.stdout if target.startswith("stdout") else Path(target).read_bytes()
    inrv.load(LATTICE).to_vdb(tmp_path / "wanted.vdb")
    assert found == (tmp_path / "wanted.vdb").read_bytes()


@pytest.mark.usefixtures("gconvert")
def test_what_gconvert_says_is_told(run: Run) -> None:
    result = run("houdini", "convert", LATTICE, "out.geo")
    assert result.exit_code == 4 and "gconvert could not write out.geo: no licence" in result.stderr
    assert not Path("out.geo").exists()


def test_mistakes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HFS", raising=False)
    monkeypatch.setenv("PATH", "")
    with inrv.SequenceWriter("run.inrv", inrv.EncodeOptions(effort="instant")) as writer:
        for _ in range(2):
            writer.add(None, {"a": np.ones((8, 8, 8), dtype=np.float32)})
    for arguments, code, message in [
        ((LATTICE, "stdout.bgeo"), 5, "gconvert, which Houdini brings"),
        (("run.inrv", "out.vdb"), 2, "run.inrv has 2 frames from 0 to 1, and Houdini does not"),
        (("stdin.bgeo", "out.inrv"), 2, "Houdini cannot save .inrv files"),
        (("missing.inrv", "out.vdb"), 3, "missing.inrv cannot be read"),
        ((LATTICE.with_name("lattice.npz"), "out.vdb"), 3, "lattice.npz"),
    ]:
        result = run("houdini", "convert", *arguments)
        assert result.exit_code == code, (arguments, result.stderr)
        assert message in result.stderr and result.stderr.count("\n") == 1
