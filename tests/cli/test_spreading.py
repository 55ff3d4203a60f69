"""Work spread over processes: shares of files, and one field trained together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import inrv

from .conftest import Run

QUICK = ("--exact-below", "0", "--epochs", "2", "--device", "cpu", "--no-checkpoint")


def test_shares_make_up_the_whole_and_skip_what_is_done(run: Run, library: Path) -> None:
    for number in range(5):
        shutil.copy(library / "scene.vdb", f"f.{number:04d}.vdb")
    Path("out").mkdir()
    Path("out/f.0002.inrv").write_bytes(b"done before")
    for share, expected in ((0, {0, 2, 4}), (1, {0, 1, 2, 3, 4})):
        result = run("encode", "f.####.vdb", "-o", "out", "--shard", f"{share}/2", *QUICK)
        assert result.exit_code == 0, result.stderr
        assert {int(name[2:6]) for name in os.listdir("out")} == expected
        assert ("out/f.0002.inrv is there already" in result.stderr) == (share == 0)
    assert Path("out/f.0002.inrv").read_bytes() == b"done before"
    os.remove("out/f.0002.inrv")
    assert run("decode", "out/f.####.inrv", "-o", "back", "--shard", "1/4").exit_code == 0
    assert os.listdir("back") == ["f.0001.vdb"]


def test_a_forced_share_is_done_again(run: Run, library: Path) -> None:
    Path("s.inrv").write_bytes(b"old")
    result = run(
        "encode", library / "scene.vdb", "-o", "s.inrv", "--shard", "0/1", "--force", *QUICK
    )
    assert result.exit_code == 0 and Path("s.inrv").stat().st_size > 99


@pytest.mark.parametrize("shard", ["2/2", "1", "-1/2", "0/0", "a/b"])
def test_senseless_shares_are_refused(run: Run, library: Path, shard: str) -> None:
    result = run("encode", library / "scene.vdb", "--shard", shard)
    assert result.exit_code == 2 and "from 0 to N - 1" in result.stderr


def test_torchrun_trains_one_field_and_rank_0_writes_and_speaks(
    library: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "inrv_cli",
    ]
    arguments = [
        "encode",
        str(library / "scene.vdb"),
        "-o",
        "out.inrv",
        "--exact-below",
        "0",
        "--epochs",
        "5",
        "--device",
        "cpu",
    ]
    result = subprocess.run(
        [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("scene.vdb -> out.inrv") == 1 and os.listdir(tmp_path) == [
        "out.inrv"
    ]
    _, alone = inrv.encode_bytes(
        library / "scene.vdb", inrv.EncodeOptions(exact_below=0, epochs=5, device="cpu")
    )
    together = inrv.load(tmp_path / "out.inrv", device="cpu").manifest.encoding["psnr"]
    assert sum(together) / len(together) == pytest.approx(alone.grids[0].psnr, abs=6)


def test_a_lattice_by_several_processes_is_refused(library: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29411",
    }
    command = [
        sys.executable,
        "-m",
        "inrv_cli",
        "encode",
        str(library / "scene.vdb"),
        "-o",
        "out.inrv",
        "--exact-below",
        "0",
    ]
    members = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**environment, "RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    told = [member.communicate(timeout=120)[1] for member in members]
    assert [member.returncode for member in members] == [2, 2]
    assert (
        "coded by one process" in told[0]
        and "--shard" in told[0]
        and "coded by one process" not in told[1]
    )
    assert os.listdir(tmp_path) == []
