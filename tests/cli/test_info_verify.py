"""`inrv info` and `inrv verify`, and what holds for every command."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv.container import Chunk, container_bytes, pack_tensors, read_container, unpack_tensors
from inrv.options import CHOICES
from testing.examples import VECTORS
from testing.server import serving

from .conftest import Run

COMMANDS = ("encode", "decode", "info", "verify", "compare", "sample")


def test_info_tells_what_the_file_holds(run: Run, library: Path) -> None:
    text = run("info", library / "scene.inrv").stdout
    size = (library / "scene.inrv").stat().st_size
    for word in (
        f"{size:,} bytes", "inrv 2.0", "fourier", "grid 0: density", "grid 1: velocity",
        "fog volume", "vec3s",
        "UniformScaleTranslateMap, voxel size 0.5", "[1, 2, 3, 1]", "tests (string)", "7 (int32)",
        "TOPO topology", "zstd", "NETW network", "SAMP samples",
    ):  # fmt: skip
        assert word in text, word


def test_info_as_json(run: Run, library: Path) -> None:
    found = json.loads(run("info", library / "scene.inrv", "--json").stdout)
    assert found["bytes"] == sum(found["parts"].values()) == (library / "scene.inrv").stat().st_size
    assert (
        sum(chunk["stored"] for chunk in found["chunks"])
        + found["parts"]["header"]
        + found["parts"]["manifest"]
        == found["bytes"]
    )
    volume = inrv.load(library / "scene.inrv")
    field = found["field"]
    assert field["kind"] == "fourier" and field["outputs"] == 4 == volume.field.outputs
    assert (
        field["config"] == volume.manifest.field.config
        and field["text"] in run("info", library / "scene.inrv").stdout
    )
    assert field["weights"] == volume.field.weight_count == found["encoding"]["weights"]
    for told, grid in zip(found["grids"], volume.grids, strict=True):
        assert (told["name"], told["active_voxels"]) == (grid.name, grid.active_voxel_count)
        assert (told["box"] and told["box"]["lower"]) == (grid.box and list(grid.box.lower))
        assert (told["box"] and told["box"]["upper"]) == (grid.box and list(grid.box.upper))
        assert told["leaves"] == grid.topology.leaf_count
        assert told["leaf_voxels"] == grid.topology.leaf_voxel_count
        assert told["active_tiles"] + told["inactive_tiles"] == grid.topology.tile_count
        assert told["frequent_values"] == [] and told["exact_values"] == 0
        assert found["chunks"][told["chunks"]["topology"]]["type"] == "TOPO"
    assert found["grids"][0]["metadata"]["frame"] == {"type": "int32", "value": 7}
    assert found["grids"][0]["transform"]["voxel_size"] == [0.5, 0.5, 0.5]


def test_info_tells_of_tiles_frequent_and_exact_values(run: Run) -> None:
    values = np.random.default_rng(0).random((24, 24, 24), dtype=np.float32) + 1
    values[:8], values[0, 0, :3] = 0, np.nan
    grid = inrv.sparse_grid(values, "fog", active=np.ones_like(values))
    topology = replace(
        grid.topology,
        tile_origins=np.array([[64, 0, 0], [128, 0, 0]], np.int32),
        tile_edges=np.array([8, 128], np.int32),
        tile_active=np.array([True, False]),
    )
    tiled = replace(grid, topology=topology, tile_values=np.array([[0.75], [-9.0]], np.float32))
    options = inrv.EncodeOptions(effort="instant", nonfinite="keep", device="cpu")
    inrv.encode([tiled], "tiled.inrv", options)
    (told,) = json.loads(run("info", "tiled.inrv", "--json").stdout)["grids"]
    assert (told["leaves"], told["active_tiles"], told["inactive_tiles"]) == (27, 1, 1)
    assert (told["leaf_voxels"], told["active_voxels"]) == (24**3, 24**3 + 512)
    assert told["box"] == {"lower": [0, 0, 0], "upper": [71, 23, 23], "shape": [72, 24, 24]}
    assert told["frequent_values"] == [[0.0]] and told["exact_values"] == 3
    text = run("info", "tiled.inrv").stdout
    for words in (
        "1 active, 1 inactive",
        "0: the voxels with these values",
        "3 other active voxels are stored exactly",
    ):
        assert words in text, words


def test_info_tells_which_chunks_are_compressed(run: Run, library: Path) -> None:
    container = read_container(library / "scene.inrv")
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    noise = Chunk("CODE", os.urandom(500))
    Path("noise.inrv").write_bytes(container_bytes(container.manifest, [*chunks, noise]))
    found = json.loads(run("info", "noise.inrv", "--json").stdout)["chunks"]
    assert [chunk["compression"] for chunk in found] == ["zstd"] * len(chunks) + ["none"]
    assert found[-1]["stored"] == found[-1]["raw"] == 500
    assert all(chunk["stored"] < chunk["raw"] for chunk in found[:-1])


def test_verify_accepts_whole_files_and_names_broken_ones(run: Run, library: Path) -> None:
    data = (library / "scene.inrv").read_bytes()
    Path("good.inrv").write_bytes(data)
    Path("flipped.inrv").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    Path("short.inrv").write_bytes(data[:-1])
    accepted = run("verify", "good.inrv", "--device", "cpu")
    assert (
        accepted.exit_code == 0
        and "good.inrv: valid" in accepted.stdout
        and "64 samples within" in accepted.stdout
    )
    assert "no voxel decoded (--decode decodes all)" in accepted.stdout
    decoded = run("verify", "good.inrv", "--decode", "--device", "cpu")
    assert decoded.exit_code == 0 and decoded.stdout.startswith("good.inrv: valid, ")
    count = sum(grid.active_voxel_count for grid in inrv.load("good.inrv").grids)
    assert f"{count:,} active voxels decoded" in decoded.stdout
    refused = run("verify", "flipped.inrv", "good.inrv", "short.inrv")
    assert refused.exit_code == 1 and "good.inrv: valid" in refused.stdout
    assert [line.split(": ")[:3] for line in refused.stderr.splitlines()] == [
        ["inrv", "error", "flipped.inrv"], ["inrv", "error", "short.inrv"],
    ]  # fmt: skip
    assert run("verify", "missing.inrv").exit_code == 3


def test_verify_finds_codes_that_make_no_sense_where_it_decodes(run: Run) -> None:
    """Every checksum of the file is right."""
    values = np.random.default_rng(0).random((20, 20, 20), dtype=np.float32)
    data, _ = inrv.encode_bytes({"a": values}, inrv.EncodeOptions(effort="instant", device="cpu"))
    container = read_container(data)
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    number = next(number for number, chunk in enumerate(chunks) if chunk.type == "CODE")
    tensors = {name: array.copy() for name, array in unpack_tensors(chunks[number].data).items()}
    largest = max(tensors, key=lambda name: tensors[name].nbytes)
    tensors[largest].reshape(-1)[::2] = 0
    chunks[number] = Chunk("CODE", pack_tensors(tensors))
    Path("odd.inrv").write_bytes(container_bytes(container.manifest, chunks))
    assert run("verify", "odd.inrv").exit_code == 0
    refused = run("verify", "--decode", "odd.inrv")
    assert (
        refused.exit_code == 1
        and refused.stderr.startswith("inrv: error: odd.inrv: ")
        and "valid" not in refused.stdout
    )


def test_verify_computes_a_networks_samples(run: Run, library: Path) -> None:
    container = read_container(library / "scene.inrv")
    chunks = [
        Chunk(entry.type, container.chunk(number)) for number, entry in enumerate(container.entries)
    ]
    number = container.manifest.field.config["samples"]
    samples = {name: array.copy() for name, array in unpack_tensors(chunks[number].data).items()}
    samples["outputs"][7, 2] += 0.5
    chunks[number] = Chunk("SAMP", pack_tensors(samples))
    Path("odd.inrv").write_bytes(container_bytes(container.manifest, chunks))
    refused = run("verify", "odd.inrv")
    assert (
        refused.exit_code == 1
        and "stored samples differ by" in refused.stderr
        and "[R1]" in refused.stderr
    )


def test_debug_shows_the_traceback_before_and_after_the_subcommand(run: Run) -> None:
    Path("noise.inrv").write_bytes(b"noise" * 99)
    assert "Traceback" not in run("info", "noise.inrv").stderr
    for arguments in (("--debug", "info", "noise.inrv"), ("info", "noise.inrv", "--debug")):
        result = run(*arguments)
        assert result.exit_code == 3
        assert "Traceback" in result.stderr and result.stderr.splitlines()[-1].startswith(
            "inrv: error: noise.inrv"
        )


def test_unforeseen_errors_are_one_line_too(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(inrv, "load", fail)
    result = run("info", library / "scene.inrv")
    assert result.exit_code == 70
    assert (
        result.stderr == "inrv: error: RuntimeError: two lines (unforeseen: --debug shows where)\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert (
        result.exit_code == 0
        and result.stdout.startswith(f"Usage: inrv {command}")
        and "--debug" in result.stdout
    )


def test_help_names_choices_and_defaults_of_the_library(run: Run) -> None:
    text = " ".join(run("encode", "--help").stdout.split())
    for name, choices in CHOICES.items():
        shown = "|".join(choice for choice in choices if choice)
        assert f"--{name.replace('_', '-')} [{shown}]" in text
    for words in ("45 for a lattice", "Default: 4096.", "Default: refuse.", "Default: topology."):
        assert words in text


def in_shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inrv_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_commands_and_exit_codes_without_loading_torch() -> None:
    heavy = "{'torch', 'numpy', 'rich', 'matplotlib'}"
    code = f"import sys, inrv_cli.main; print(sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
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
    command = [
        sys.executable,
        "-m",
        "inrv_cli",
        "encode",
        str(library / "scene.vdb"),
        "-o",
        str(tmp_path / "x.inrv"),
    ]
    terminal, end = pytest.importorskip("pty").openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [*command, "--epochs", "1e7", "--exact-below", "0", "--device", "cpu"],
        stderr=end,
        env=environment,
    )
    try:
        seen = wait_for(terminal, b"loss")
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
    opening = {"grids": "at most 1 items [M8]", "chunks": "more than the limit of 1"}
    decoding = {"leaves": "exceed the limit of leaves", "values": "more than the limit of 1 [L4]"}
    for command, code, refusals in (
        (("info",), 3, opening),
        (("verify",), 1, opening),
        (("verify", "--decode"), 1, opening | decoding),
        (("decode", "-o", "x.vdb"), 3, opening | decoding),
    ):
        for limit, words in refusals.items():
            refused = run(*command, library / "scene.inrv", "--limit", f"{limit}=1")
            assert refused.exit_code == code and words in refused.stderr, (
                command,
                limit,
                refused.stderr,
            )
        assert run(*command, library / "scene.inrv", "--limit", "leafs=1").exit_code == 2
    assert (
        run(
            "info", library / "scene.inrv", "--limit", "leaves=1000", "--limit", "grids=3"
        ).exit_code
        == 0
    )


def test_files_at_urls(run: Run, tmp_path: Path) -> None:
    with serving(VECTORS) as server:
        url = f"{server.url}/frequent.inrv"
        told, local = (run("info", place).stdout for place in (url, VECTORS / "frequent.inrv"))
        assert told.replace(url, str(VECTORS / "frequent.inrv")) == local
        assert json.loads(run("info", "--json", url).stdout)["file"] == url
        assert run("verify", url).stdout.startswith(f"{url}: valid")
        run("decode", f"{url}?signed=1", "-q")
        assert (tmp_path / "frequent.vdb").is_file()
        assert "equal" in run("compare", url, tmp_path / "frequent.vdb").stdout
        missing = run("info", f"{server.url}/none.inrv?signed=1")
        message = f"inrv: error: {server.url}/none.inrv cannot be read: No such file or directory"
        assert (missing.exit_code, missing.stderr) == (3, message + "\n")
    lacking = run("info", "sftp://host/fog.inrv")
    assert (
        lacking.exit_code == 5 and "paramiko" in lacking.stderr and lacking.stderr.count("\n") == 1
    )
