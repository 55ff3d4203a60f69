"""What a user sees, and what is left, when encode and decode are broken off or cannot write."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import inrv
from inrv.support import atomic
from inrv_cli.files import write_output
from inrv_cli.main import main
from tests.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--epochs", "30", "--device", "cpu", "--exact-below", "0")
FULL = OSError(28, "No space left on device")
posix = pytest.mark.skipif(
    sys.platform == "win32", reason="signals, /dev and closed pipes are POSIX"
)


def breaking(monkeypatch: pytest.MonkeyPatch, number: int | None, after: int) -> None:
    """Make training send itself a signal, or raise SystemExit, after some checkpoints."""
    write, count = inrv.Checkpoint.write, 0

    def counted(self: inrv.Checkpoint, *what: Any) -> None:
        nonlocal count
        write(self, *what)
        count += 1
        if count == after:
            signal.raise_signal(number) if number else sys.exit(9)

    monkeypatch.setattr(inrv.Checkpoint, "write", counted)


@posix
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_keeps_a_checkpoint_and_the_next_run_resumes(
    run: Run, library: Path, number: int, code: int, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = library / "scene.vdb"
    assert run("encode", source, "-o", "whole.inrv", *OPTIONS, "--no-checkpoint").exit_code == 0
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        breaking(patch, number, 9)
        result = run("encode", source, "-o", "out.inrv", *OPTIONS, "--checkpoint-seconds", 0)
    assert result.exit_code == code and signal.getsignal(number) is before
    assert result.stderr == f"inrv: {word}: the same command resumes from .out.inrv.checkpoint\n"
    assert sorted(os.listdir()) == [".out.inrv.checkpoint", "whole.inrv"]
    result = run("encode", source, "-o", "out.inrv", *OPTIONS)
    assert result.exit_code == 0 and re.match(
        r"inrv: \.out\.inrv\.checkpoint: training resumes at step 1?\d of ", result.stderr
    )
    assert sorted(os.listdir()) == ["out.inrv", "whole.inrv"]
    assert Path("out.inrv").read_bytes() == Path("whole.inrv").read_bytes()


def test_a_checkpoint_of_other_options_is_told_and_replaced(
    run: Run, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = library / "scene.vdb"
    with monkeypatch.context() as patch:
        breaking(patch, None, 3)
        assert (
            run("encode", source, "-o", "out.inrv", *OPTIONS, "--checkpoint-seconds", 0).exit_code
            == 9
        )
    result = run("encode", source, "-o", "out.inrv", *OPTIONS, "--seed", 4)
    assert result.exit_code == 0
    assert result.stderr == "inrv: .out.inrv.checkpoint is of other options, training starts anew\n"
    assert os.listdir() == ["out.inrv"]


def test_the_library_resumes_too(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = inrv.EncodeOptions(epochs=20, exact_below=0, device="cpu")
    inrv.encode(library / "scene.vdb", tmp_path / "whole.inrv", options)
    output, lines = tmp_path / "out.inrv", list[str]()
    with monkeypatch.context() as patch:
        breaking(patch, None, 7)
        with pytest.raises(SystemExit):
            inrv.encode(
                library / "scene.vdb", output, options, checkpoint=inrv.Checkpoint.beside(output, 0)
            )
    inrv.encode(
        library / "scene.vdb",
        output,
        options,
        checkpoint=inrv.Checkpoint.beside(output, notify=lines.append),
    )
    assert (
        len(lines) == 1
        and "resumes at step 7" in lines[0]
        and sorted(os.listdir(tmp_path)) == ["out.inrv", "whole.inrv"]
    )
    assert output.read_bytes() == (tmp_path / "whole.inrv").read_bytes()


@pytest.mark.parametrize("options", [("--no-checkpoint",), ("-o", "-"), ()])
def test_no_checkpoint_where_none_is_wanted_or_needed(
    run: Run, library: Path, options: tuple[str, ...]
) -> None:
    seconds = ("--checkpoint-seconds", 0) if options else ()
    result = run(
        "encode", library / "scene.vdb", "-o", "out.inrv", *OPTIONS, *options, *seconds, "-q"
    )
    assert result.exit_code == 0 and os.listdir() == ([] if "-" in options else ["out.inrv"])


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", fail)


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)


def folder_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic, "_new_file", fail)


@pytest.mark.parametrize("trouble", [no_room, read_only, folder_gone])
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_an_output_that_cannot_be_written_is_one_line(
    run: Run,
    library: Path,
    command: str,
    trouble: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, output = ("scene.vdb", "out.inrv") if command == "encode" else ("scene.inrv", "out.vdb")
    Path(output).write_bytes(b"old")
    trouble(monkeypatch)
    options = ("--epochs", "1") if command == "encode" else ()
    result = run(command, library / source, "-o", output, "--force", *options)
    assert result.exit_code == 4 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"inrv: error: {output} cannot be written: ")
    assert Path(output).read_bytes() == b"old" and os.listdir() == [output]


@posix
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_what_is_no_file_is_not_replaced(run: Run, library: Path, command: str) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    source = library / ("scene.vdb" if command == "encode" else "scene.inrv")
    for output, words in (("pipe", "not a regular file: -o - writes to stdout"), ("folder/", "")):
        if output == "folder/":
            (
                Path(output) / source.with_suffix(".inrv" if command == "encode" else ".vdb").name
            ).mkdir()
            words = "is a folder"
        result = run(command, source, "-o", output, "--force")
        assert (
            result.exit_code == 4
            and words in result.stderr
            and len(result.stderr.splitlines()) == 1
        )
    assert sorted(os.listdir()) == ["folder", "pipe"]


def forked(stdout: int | None, unbuffered: bool, *arguments: object) -> tuple[int, str]:
    """Exit code and stderr of `inrv`, forked: a new process would import torch.

    stdout: its descriptor; None: it is closed
    """
    told, stderr = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(stderr, 2)
        sys.stderr = open(2, "w")  # noqa: SIM115
        if stdout is None:
            os.close(1)
            sys.stdout = None  # type: ignore[assignment]
        else:
            os.dup2(stdout, 1)
            sys.stdout = io.TextIOWrapper(
                open(1, "wb", 0 if unbuffered else -1),  # noqa: SIM115
                write_through=unbuffered,
            )
        torch.set_num_threads(1)
        sys.argv = ["inrv", *map(str, arguments)]
        code = 99
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(stderr)
    with open(told) as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text


@posix
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_stdout_that_cannot_be_written(library: Path, unbuffered: bool) -> None:
    closed = "inrv: error: stdout cannot be written: it is closed\n"
    data = [
        ("decode", library / "scene.inrv", "-o", "-"),
        ("encode", library / "scene.vdb", "-o", "-", "--epochs", 1, "-q"),
    ]
    lines = [
        ("info", library / "scene.inrv"),
        ("verify", library / "scene.inrv"),
        ("info", "--json", library / "scene.inrv"),
    ]
    unread, broken = os.pipe()
    os.close(unread)
    for arguments in data + lines:
        assert forked(broken, unbuffered, *arguments) == (141, ""), arguments
        if arguments in data:
            assert forked(None, unbuffered, *arguments) == (4, closed), arguments
    assert forked(None, unbuffered, *lines[0]) == (0, "")
    os.close(broken)


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_stdout_that_is_full(library: Path, unbuffered: bool) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    for arguments in (
        ("decode", library / "scene.inrv", "-o", "-"),
        ("info", library / "scene.inrv"),
    ):
        result = forked(full, unbuffered, *arguments)
        assert result == (4, "inrv: error: stdout cannot be written: No space left on device\n"), (
            arguments
        )
    os.close(full)


def test_a_stdout_that_takes_little_at_a_time_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sip(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data[:7]))

    taken = Sip()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken))
    write_output("-", bytes(range(256)))
    assert taken.getvalue() == bytes(range(256))


@posix
def test_random_kills(tmp_path: Path) -> None:
    """The benchmark, a few kills of it; it exits with 1 where a file is broken."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.kills",
        "--kills",
        "6",
        "--dry",
        "--file",
        "fixtures/tiles.vdb",
    ]
    path = os.pathsep.join([str(ROOT / "codec"), str(ROOT / "cli")])
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "litter: none" in done.stdout, done.stdout + done.stderr
    (total,) = re.findall(r"\| all \| (\d+) \|", done.stdout)
    assert int(total) >= 6
