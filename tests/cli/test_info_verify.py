"""`inrv info` and `inrv verify`, and what holds for every command."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import inrv
from inrv.container import Chunk, write_container
from testing.examples import one_leaf

from .conftest import Run

COMMANDS = ("encode", "decode", "info", "verify", "compare", "sample")


def test_info_tells_what_the_file_holds(run: Run, library: Path) -> None:
    text = run("info", library / "scene.inrv").stdout
    size = (library / "scene.inrv").stat().st_size
    for word in (
        f"{size:,} bytes", "inrv 1.1", "fourier", "grid 0: density", "grid 1: velocity", "fog volume", "vec3s",
        "UniformScaleTranslateMap, voxel size 0.5", "[1, 2, 3, 1]", "tests (string)", "7 (int32)", "MASK topology", "zstd",
    ):  # fmt: skip
        assert word in text, word


def test_info_as_json(run: Run, library: Path) -> None:
    found = json.loads(run("info", library / "scene.inrv", "--json").stdout)
    assert found["bytes"] == sum(found["parts"].values()) == (library / "scene.inrv").stat().st_size
    assert (
        sum(chunk["stored"] for chunk in found["chunks"]) + found["parts"]["header"] + found["parts"]["manifest"]
        == found["bytes"]
    )
    volume = inrv.load(library / "scene.inrv")
    assert found["field"]["weights"] == volume.field.weight_count
    for told, grid in zip(found["grids"], volume.grids, strict=True):
        assert (told["name"], told["active_voxels"]) == (grid.name, grid.active_voxel_count)
        assert (told["box"] and told["box"]["lower"]) == (grid.box and list(grid.box.lower))
        assert told["leaves"] == grid.topology.leaf_count
        assert found["chunks"][told["chunks"]["topology"]]["type"] == "MASK"
    assert found["grids"][0]["metadata"]["frame"] == {"type": "int32", "value": 7}
    assert found["grids"][0]["transform"]["voxel_size"] == [0.5, 0.5, 0.5]


def test_info_tells_which_chunks_the_dictionary_compresses(run: Run, tmp_path: Path) -> None:
    manifest, chunks = one_leaf()
    write_container(tmp_path / "modern.inrv", manifest, [*chunks, Chunk("CODE", chunks[0].data)])
    found = json.loads(run("info", tmp_path / "modern.inrv", "--json").stdout)
    assert [chunk["compression"] for chunk in found["chunks"]] == ["zstd+dict", "zstd+dict"]
    assert "zstd+dict" in run("info", tmp_path / "modern.inrv").stdout


def test_verify_accepts_whole_files_and_names_broken_ones(run: Run, library: Path) -> None:
    data = (library / "scene.inrv").read_bytes()
    Path("good.inrv").write_bytes(data)
    Path("flipped.inrv").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    Path("short.inrv").write_bytes(data[:-1])
    accepted = run("verify", "good.inrv", "--device", "cpu")
    assert accepted.exit_code == 0 and "good.inrv: valid" in accepted.stdout and "64 reference samples" in accepted.stdout
    refused = run("verify", "flipped.inrv", "good.inrv", "short.inrv")
    assert refused.exit_code == 1 and "good.inrv: valid" in refused.stdout
    assert [line.split(": ")[:3] for line in refused.stderr.splitlines()] == [
        ["inrv", "error", "flipped.inrv"], ["inrv", "error", "short.inrv"],
    ]  # fmt: skip
    assert run("verify", "missing.inrv").exit_code == 3


def test_debug_shows_the_traceback_before_and_after_the_subcommand(run: Run) -> None:
    Path("noise.inrv").write_bytes(b"noise" * 99)
    assert "Traceback" not in run("info", "noise.inrv").stderr
    for arguments in (("--debug", "info", "noise.inrv"), ("info", "noise.inrv", "--debug")):
        result = run(*arguments)
        assert result.exit_code == 3
        assert "Traceback" in result.stderr and result.stderr.splitlines()[-1].startswith("inrv: error: noise.inrv")


def test_unforeseen_errors_are_one_line_too(run: Run, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(inrv, "load", fail)
    result = run("info", library / "scene.inrv")
    assert result.exit_code == 70
    assert result.stderr == "inrv: error: RuntimeError: two lines (unforeseen: --debug shows where)\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0 and result.stdout.startswith(f"Usage: inrv {command}") and "--debug" in result.stdout


def in_shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "inrv_cli", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_help_names_commands_and_exit_codes_without_loading_torch() -> None:
    code = "import sys, inrv_cli.main; print(sorted({'torch', 'numpy', 'rich', 'matplotlib'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert loaded.strip() == "[]"
    told = in_shell("--help")
    assert told.returncode == 0 and all(f"\n  {command} " in told.stdout for command in COMMANDS)
    assert all(f"{code}  " in told.stdout for code in (0, 1, 2, 3, 4, 5, 130))


def test_version() -> None:
    told = in_shell("--version")
    assert told.returncode == 0 and told.stdout.startswith("inrv")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_training(library: Path, tmp_path: Path) -> None:
    """On a terminal, where the progress bar says when training has begun."""
    command = [sys.executable, "-m", "inrv_cli", "encode", str(library / "scene.vdb"), "-o", str(tmp_path / "x.inrv")]
    terminal, end = pytest.importorskip("pty").openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [*command, "--epochs", "1e7", "--exact-below", "0", "--device", "cpu"], stderr=end, env=environment
    )
    try:
        seen = wait_for(terminal, b"training")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        seen += os.read(terminal, 1 << 16)
    finally:
        process.kill()
        os.close(terminal)
        os.close(end)
    assert b"inrv: interrupted" in seen
    assert list(tmp_path.iterdir()) == []


def wait_for(terminal: int, text: bytes) -> bytes:
    """What the terminal shows until `text` appears, within a minute."""
    seen, last = b"", time.monotonic() + 60
    while text not in seen:
        assert time.monotonic() < last, seen
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 1 << 16)
    return seen


def test_limits_can_be_lowered_and_must_make_sense(run: Run, library: Path) -> None:
    for command, code in ((("info",), 3), (("verify",), 1), (("decode", "-o", "x.vdb"), 3)):
        refused = run(*command, library / "scene.inrv", "--limit", "leaves=1")
        assert refused.exit_code == code and "leaves" in refused.stderr, command
        assert run(*command, library / "scene.inrv", "--limit", "leafs=1").exit_code == 2
    assert run("info", library / "scene.inrv", "--limit", "leaves=1000", "--limit", "grids=3").exit_code == 0
