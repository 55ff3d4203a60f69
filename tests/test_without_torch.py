"""Without torch: what goes on with less, what cannot be done, and what to install for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv.files.vdb import write_volume

WITHOUT = "import sys; sys.modules['torch'] = None; "
COMMAND = WITHOUT + "from inrv_cli.main import main; main()"
CURE = "pip install 'inrv[train]'"

Done = subprocess.CompletedProcess[str]


def python(code: str, *arguments: object) -> Done:
    """What becomes of some code in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fog.vdb, and fourier.inrv made from it."""
    folder = tmp_path_factory.mktemp("files")
    x = np.linspace(0, 3, 24, dtype=np.float32)
    fog = inrv.sparse_grid(np.sin(x)[:, None, None] * np.cos(x)[:, None] * np.sin(2 * x), "fog")
    write_volume(folder / "fog.vdb", inrv.SparseVolume((fog,)))
    options = inrv.EncodeOptions(epochs=5, device="cpu")
    inrv.encode(folder / "fog.vdb", folder / "fourier.inrv", options)
    return folder


@pytest.mark.parametrize("size", [(), ("--size", "9000")], ids=["psnr", "size"])
def test_networks_are_not_fitted_and_the_file_and_a_line_say_so(
    files: Path, tmp_path: Path, size: tuple[str, ...]
) -> None:
    asked = ("encode", files / "fog.vdb", "--force", *size, "-o")
    loud, quiet = (
        python(COMMAND, *asked, tmp_path / name, *more) for name, *more in (("a",), ("b", "-q"))
    )
    assert loud.returncode == quiet.returncode == 0
    assert loud.stderr.count("'instant'") == loud.stderr.count(CURE) == 1
    assert quiet.stdout == quiet.stderr == ""
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    info = json.loads(python(COMMAND, "info", "--json", tmp_path / "a").stdout)
    assert info["encoding"]["options"]["effort"] == "instant"
    if not size:
        options = inrv.EncodeOptions(effort="instant")
        assert inrv.encode_bytes(files / "fog.vdb", options)[0] == data


@pytest.mark.parametrize(
    "arguments",
    [
        "encode fog.vdb -o {} --effort thorough",
        "encode fog.vdb -o {} --field fourier",
        "encode fog.vdb -o {} --effort instant --device cuda",
        "decode fourier.inrv -o {}",
    ],
)
def test_what_needs_torch_names_the_extra(files: Path, tmp_path: Path, arguments: str) -> None:
    words = [
        files / word if word.endswith((".vdb", ".inrv")) else word.format(tmp_path / "out")
        for word in arguments.split()
    ]
    done = python(COMMAND, *words)
    assert done.returncode == 5 and CURE in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_library_names_the_extra_too(files: Path) -> None:
    code = WITHOUT + "import inrv, numpy\n"
    code += "volume = inrv.load(inrv.encode_bytes({'a': numpy.ones((8, 8, 8))})[0])\n"
    code += f"network = inrv.load({str(files / 'fourier.inrv')!r})\n"
    code += "for work in (lambda: inrv.Checkpoint, volume['a'].tensor, network['fog'].dense,\n"
    code += "    lambda: inrv.load(network.container.name, 'cuda')):\n"
    code += "    try: work()\n"
    code += f"    except inrv.MissingPackageError as error: assert {CURE!r} in str(error), error\n"
    code += "    else: raise AssertionError(work)\n"
    done = python(code)
    assert done.returncode == 0, done.stderr
