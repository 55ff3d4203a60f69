"""The command `inrv view`."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import inrv
from inrv import files
from inrv_cli.failure import INPUT, OUTPUT, USAGE
from inrv_cli.main import cli
from testing.viewer import built

FIRE = "fixtures/fire.vdb"


@pytest.fixture(scope="module")
def fire(tmp_path_factory: pytest.TempPathFactory) -> str:
    built()
    path = tmp_path_factory.mktemp("view") / "fire.inrv"
    inrv.encode(FIRE, path, inrv.EncodeOptions(effort="instant", psnr=40))
    return str(path)


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["view", *arguments])
    return done.exit_code, done.output


def test_it_serves_until_ctrl_c(fire: str) -> None:
    command = [sys.executable, "-m", "inrv_cli", "view", fire, "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"fire.inrv" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize("source", [FIRE, "coded"])
def test_a_page_holds_its_file(fire: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "fire.html"
    code, output = run(fire if source == "coded" else source, "--html", str(path))
    assert code == 0 and "fire.html" in output
    assert path.stat().st_size < 1_000_000 and b'"data"' in path.read_bytes()
    assert run(fire, "--html", str(path))[0] == OUTPUT


def test_a_picture_is_drawn(fire: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "fire.png"
    code, output = run(fire, "--png", str(path), "--size", "120x90")
    assert code == 0, output
    with image.open(path) as picture:
        assert picture.size == (120, 90)
        assert np.asarray(picture.convert("L")).max() > 100


def test_wrong_options_are_told(fire: str, tmp_path: Path) -> None:
    assert run(fire, "--size", "12x9")[0] == USAGE
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, output = run(fire, "--no-open", "--port", str(taken.getsockname()[1]))
    assert code == INPUT and "is not free" in output
    code, output = run(fire, "--grid", "smog", "--png", str(tmp_path / "x.png"))
    assert code != 0 and "no grid with values named smog" in output
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written_is_told_before_anything_is_drawn(fire: str, tmp_path: Path) -> None:
    code, output = run(fire, "--turntable", str(tmp_path / "turn.avi"))
    assert code == USAGE and "'.avi' is no film: known are .mp4, .gif, .webp" in output
    for source in (fire, FIRE):
        code, output = run(source, "--grid", "smog", "--html", str(tmp_path / "fire.html"))
        assert code != 0 and "it has density, temperature" in output
    assert os.listdir(tmp_path) == []


def test_a_pattern_stands_for_frames(fire: str, tmp_path: Path) -> None:
    for number in (7, 9):
        array = np.full((8, 8, 8), number, dtype=np.float32)
        volume = inrv.SparseVolume((inrv.sparse_grid(array),))
        files.write(tmp_path / f"a.{number:04}.vdb", volume)
    pattern = str(tmp_path / "a.####.vdb")
    code, output = run(pattern, "--frame", "8", "--html", str(tmp_path / "a.html"))
    assert code == USAGE and "a.####.vdb has no frame 8" in output
    code, output = run(pattern, "--frame", "9", "--html", str(tmp_path / "a.html"))
    assert code == 0, output
    settings = (tmp_path / "a.html").read_text().partition('<script id="settings"')[2]
    told = json.loads(settings.partition(">")[2].partition("</script>")[0])
    assert told["frame"] == 9 and told["file"]["name"] == "a.####.vdb"
    frames = inrv.load(base64.b64decode(told["file"]["data"])).frames
    assert list(frames) == [7, 9]
    (tmp_path / "a.0007.vdb").write_bytes((tmp_path / "a.0009.vdb").read_bytes()[:500])
    code, output = run(pattern, "--frame", "7", "--png", str(tmp_path / "a.png"))
    assert code != 0 and "a.0007.vdb" in output and not (tmp_path / "a.png").exists()
    code, output = run(fire, "--frame", "3", "--html", str(tmp_path / "b.html"))
    assert code != 0 and not (tmp_path / "b.html").exists()


def test_what_makes_no_sense_is_told(fire: str, tmp_path: Path) -> None:
    page, picture = str(tmp_path / "a.html"), str(tmp_path / "a.png")
    for arguments, words in (
        (("--png", picture, "--html", picture), "more than once"),
        (("--png", str(tmp_path / "a.jpg")), "must end in .png"),
        (("--reference", FIRE, "--html", page), "--reference is for the page"),
    ):
        code, output = run(fire, *arguments)
        assert code == USAGE and words in output
    code, output = run("fixtures/empty.vdb", "--html", page)
    assert code == INPUT and "no grid with values that can be shown" in output
    assert os.listdir(tmp_path) == []


def test_a_page_goes_to_stdout_alone(fire: str) -> None:
    command = [sys.executable, "-m", "inrv_cli", "view", fire, "--html", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.rstrip().endswith(b"</html>") and b"fire.inrv" in done.stderr
