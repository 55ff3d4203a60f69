"""`-` as input and output of every command, through pipes and in memory, and links as outputs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from inrv.files.vdb import list_grids, read_volume
from inrv_cli.main import cli

from .conftest import Run

QUICK = ("--exact-below", "0", "--effort", "instant", "--device", "cpu")
POINTS = "x,y,z\n8,7.5,9.25\n3,8,9\n"
posix = pytest.mark.skipif(sys.platform == "win32", reason="named pipes and links are POSIX")


def fed(data: bytes, *arguments: object) -> Result:
    """`inrv` with these bytes on stdin."""
    return CliRunner().invoke(
        cli, [str(argument) for argument in arguments], input=data, prog_name="inrv"
    )


def test_a_vdb_from_stdin_becomes_the_same_file(run: Run, library: Path) -> None:
    vdb = (library / "scene.vdb").read_bytes()
    assert run("encode", library / "scene.vdb", "-o", "file.inrv", *QUICK).exit_code == 0
    through = fed(vdb, "encode", "-", *QUICK)
    assert through.exit_code == 0 and through.stdout_bytes == Path("file.inrv").read_bytes()
    assert "stdin -> stdout" in through.stderr and f"{len(vdb):,} bytes" in through.stderr
    named = fed(vdb, "encode", "-", "-o", "out.inrv", "--json", *QUICK)
    assert named.exit_code == 0 and Path("out.inrv").read_bytes() == through.stdout_bytes
    assert json.loads(named.stdout)["files"][0]["bytes_in"] == len(vdb)


def test_every_command_that_reads_an_inrv_file_reads_stdin(run: Run, library: Path) -> None:
    coded = (library / "scene.inrv").read_bytes()
    assert run("decode", library / "scene.inrv", "-o", "file.vdb").exit_code == 0
    decoded = fed(coded, "decode", "-")
    assert decoded.exit_code == 0 and decoded.stdout_bytes == Path("file.vdb").read_bytes()
    shown, named = fed(coded, "info", "-"), run("info", library / "scene.inrv")
    assert shown.exit_code == 0 and shown.stdout == named.stdout.replace(
        str(library / "scene.inrv"), "stdin", 1
    )
    checked = fed(coded, "verify", "-")
    assert checked.exit_code == 0 and checked.stdout.startswith("stdin: valid, ")
    Path("points.csv").write_text(POINTS)
    values = fed(coded, "sample", "-", "--points", "points.csv")
    assert (
        values.exit_code == 0
        and values.stdout == run("sample", library / "scene.inrv", "--points", "points.csv").stdout
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_of_the_files_compared_comes_from_stdin(run: Run, library: Path, place: int) -> None:
    names = ["scene.vdb", "scene.inrv", "scene.inrv"]
    paths: list[object] = [library / name for name in names]
    expected = json.loads(run("compare", *paths[:2], "--weights", paths[2], "--json").stdout)
    data = (library / names[place]).read_bytes()
    paths[place] = "-"
    result = fed(data, "compare", *paths[:2], "--weights", paths[2], "--json")
    assert result.exit_code == 0 and json.loads(result.stdout) == expected


def test_points_of_numpy_come_from_stdin_too(run: Run, library: Path) -> None:
    memory = io.BytesIO()
    np.save(memory, np.array([[8, 7.5, 9.25], [3, 8, 9]]))
    result = fed(memory.getvalue(), "sample", library / "scene.inrv", "--points", "-")
    assert (
        result.exit_code == 0
        and result.stdout
        == run("sample", library / "scene.inrv", "--points", "-", stdin=POINTS).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("encode", "-", "-", "-o", "x/"), "read only once"),
        (("verify", "-", "-"), "read only once"),
        (("compare", "-", "-"), "read only once"),
        (("compare", "a.vdb", "-", "--weights", "-"), "read only once"),
        (("sample", "-", "--points", "-"), "read only once"),
        (("encode", "-", "-o", "folder/"), "stdin has no name"),
        (("encode", "-", "a.vdb", "-o", "folder"), "stdin has no name"),
        (("encode", "-", "-o", "f.##.inrv"), "no frame number"),
        (("encode", "-", "--json"), "stdout"),
    ],
)
def test_command_lines_with_stdin_that_make_no_sense(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    result = run(*arguments, stdin="")
    assert result.exit_code == 2 and words in result.stderr and os.listdir() == []


@pytest.mark.parametrize(
    "command", [("encode", "-"), ("decode", "-"), ("info", "-"), ("verify", "-")]
)
def test_bad_bytes_from_stdin_are_called_stdin(run: Run, command: tuple[str, ...]) -> None:
    expected = 1 if "verify" in command else 3
    for text, words in (("", "is empty"), ("noise, noise", "starts with")):
        result = run(*command, stdin=text)
        assert result.exit_code == expected and result.stderr.startswith(
            f"inrv: error: stdin: {words}"
        ), result.stderr
        assert result.stdout == "" and len(result.stderr.splitlines()) == 1


def test_a_binary_file_is_not_written_to_a_terminal_unasked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inrv_cli.files._on_terminal", lambda: True)
    refused = run("encode", "-", stdin="")
    assert refused.exit_code == 2 and "would go to the terminal" in refused.stderr
    assert "is empty" in run("encode", "-", "-o", "-", stdin="").stderr


def test_a_chain_of_real_pipes(library: Path, tmp_path: Path) -> None:
    inrv_command = [sys.executable, "-m", "inrv_cli"]
    with (library / "scene.vdb").open("rb") as source:
        encoding = subprocess.Popen(
            [*inrv_command, "encode", "-", "-q", *QUICK], stdin=source, stdout=subprocess.PIPE
        )
        decoding = subprocess.Popen(
            [*inrv_command, "decode", "-", "-q"], stdin=encoding.stdout, stdout=subprocess.PIPE
        )
        assert encoding.stdout is not None
        encoding.stdout.close()
        decoded = decoding.communicate(timeout=120)[0]
    assert (encoding.wait(), decoding.returncode) == (0, 0)
    for before, after in zip(
        read_volume(library / "scene.vdb").grids, read_volume(decoded).grids, strict=True
    ):
        assert after.name == before.name and after.topology.equal(before.topology)


def test_the_next_of_the_chain_gives_up(library: Path) -> None:
    """The reader of a decoded file closes the pipe: exit code 141, and not a word."""
    reader, writer = os.pipe()
    os.close(reader)
    with (library / "scene.inrv").open("rb") as source:
        command = [sys.executable, "-m", "inrv_cli", "decode", "-"]
        done = subprocess.run(
            command, stdin=source, stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False
        )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@posix
def test_stdin_that_is_closed(library: Path) -> None:
    command = f"exec '{sys.executable}' -m inrv_cli info - <&-"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert (
        done.returncode == 3 and done.stderr == "inrv: error: stdin cannot be read: it is closed\n"
    )


@posix
def test_named_pipes_as_a_shell_substitutes_them(run: Run, library: Path) -> None:
    os.mkfifo("pipe.inrv")
    for command, words in (
        ("info", "grid 1: velocity"),
        ("verify", "pipe.inrv: valid"),
        ("decode", "3 grids"),
    ):
        writer = threading.Thread(
            target=lambda: Path("pipe.inrv").write_bytes((library / "scene.inrv").read_bytes())
        )
        writer.start()
        result = run(command, "pipe.inrv", *(("-o", "back.vdb") if command == "decode" else ()))
        writer.join()
        assert result.exit_code == 0 and words in result.stdout, result.stderr


@posix
@pytest.mark.parametrize("there", [True, False])
def test_an_output_through_a_link_leaves_the_link(run: Run, library: Path, there: bool) -> None:
    Path("store").mkdir()
    for command, source in (("encode", library / "scene.vdb"), ("decode", library / "scene.inrv")):
        link, target = Path(f"{command}.link"), Path("store", command)
        link.symlink_to(target)
        if there:
            target.write_bytes(b"old")
            target.chmod(0o640)
            refused = run(command, source, "-o", link)
            assert (
                refused.exit_code == 4
                and "exists already" in refused.stderr
                and target.read_bytes() == b"old"
            )
        options = QUICK if command == "encode" else ()
        result = run(command, source, "-o", link, *options, *(("--force",) if there else ()))
        assert result.exit_code == 0, result.stderr
        assert link.is_symlink() and not target.is_symlink() and target.stat().st_size > 500
        assert not there or target.stat().st_mode & 0o777 == 0o640
    assert (
        sorted(os.listdir()) == ["decode.link", "encode.link", "store"]
        and len(os.listdir("store")) == 2
    )


@posix
def test_a_file_is_not_written_over_itself_through_a_link(run: Run, library: Path) -> None:
    Path("a.vdb").write_bytes((library / "scene.vdb").read_bytes())
    Path("link.inrv").symlink_to("a.vdb")
    result = run("encode", "a.vdb", "-o", "link.inrv", "--force")
    assert result.exit_code == 2 and "over itself" in result.stderr
    assert Path("a.vdb").read_bytes() == (library / "scene.vdb").read_bytes()
    assert len(list_grids("link.inrv")) == 3
