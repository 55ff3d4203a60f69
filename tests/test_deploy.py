"""The job scripts of deploy/, run with stand-ins for Slurm and for what they start."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="job scripts are for bash")
DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
SCRIPTS = sorted(DEPLOY.glob("*.sbatch"))
KINDS = ("lumi-g", "nvidia")
TOLD = "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT ROCR_VISIBLE_DEVICES"
TOLD += " OMP_NUM_THREADS NCCL_SOCKET_IFNAME NCCL_NET_GDR_LEVEL"

# Two tasks of one node, one after the other; srun's own options all have the form --name=value.
SRUN = """#!/bin/bash
while [[ $1 == --*=* ]]; do
    echo "srun|$1"
    shift
done
export SLURM_NTASKS=2 SRUN_PID=$$
status=0
for task in 0 1; do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" || status=$?
done
exit "$status"
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames node[7-8]" ]] && printf 'node7\\nnode8\\n'
"""
# Tells its name, arguments and variables, and whether a signal that srun passes on comes here.
PROGRAM = f"""#!/bin/bash
for name in {TOLD}; do [[ ${{!name+set}} ]] && echo "$name|${{!name}}"; done
[[ $PPID == "$SRUN_PID" ]] && echo "signals|yes"
(IFS='|'; echo "call|${{0##*/}}|$*")
exit "${{STATUS:-0}}"
"""


class Job:
    """What came out of a job script."""

    def __init__(self, status: int, lines: list[list[str]]) -> None:
        self.status = status
        self.srun = [line[1] for line in lines if line[0] == "srun"]
        self.calls = [line[1:] for line in lines if line[0] == "call"]
        self.lines = lines

    def each(self, name: str) -> list[str]:
        """The variable `name` in every process that has it."""
        return [line[1] for line in self.lines if line[0] == name]


def run(script: str, folder: Path, **variables: str) -> Job:
    commands = folder / "bin"
    commands.mkdir()
    for name, text in {
        "srun": SRUN,
        "scontrol": SCONTROL,
        "inrv": PROGRAM,
        "torchrun": PROGRAM,
    }.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    environment = {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "12",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "32",
        "SLURM_GPUS_ON_NODE": "4",
        "MIOPEN_USER_DB_PATH": str(folder / "miopen"),
        **variables,
    }
    command = ["bash", str(DEPLOY / f"{script}.sbatch")]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return Job(done.returncode, [line.split("|") for line in done.stdout.splitlines()])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_strict_and_can_start_again(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""
    lines = script.read_text().splitlines()
    begin = lines.index("set -euo pipefail")
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert lines[0] == "#!/bin/bash" and max(directives) < begin
    assert {"#SBATCH --requeue", "#SBATCH --signal=TERM@120"} <= set(lines[:begin])
    assert all(
        line.startswith("#") for line in lines[:begin]
    )  # Slurm reads no directive after the first command
    shells, execs = (
        sum(what in line for line in lines[begin:]) for what in ("bash -euc '", '    exec "$@"')
    )
    assert (
        shells == execs
    )  # an older bash would else stay between srun and inrv, and keep signals to itself
    assert any("sbatch --account=" in line and f"deploy/{script.name}" in line for line in lines)


def test_every_script_is_here_and_told_of() -> None:
    assert [script.stem for script in SCRIPTS] == sorted(
        f"{kind}-{what}" for kind in KINDS for what in ("frames", "one-file")
    )
    text = (DEPLOY / "README.md").read_text()
    assert all(f"({script.name})" in text for script in SCRIPTS)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_shared_out(kind: str, tmp_path: Path) -> None:
    job = run(
        f"{kind}-frames", tmp_path, INPUT="a fire.####.vdb", OUTPUT="out", INRV_OPTIONS="--psnr 50"
    )
    called = ["inrv", "encode", "--psnr", "50", "a fire.####.vdb", "-o", "out/", "--shard"]
    assert job.status == 0 and job.calls == [[*called, "0/2"], [*called, "1/2"]]
    assert job.each("signals") == ["yes", "yes"]
    assert not job.each("WORLD_SIZE")  # or the processes would train together
    assert {"--kill-on-bad-exit=0", "--wait=0"} <= set(job.srun)
    if kind == "lumi-g":
        assert job.each("ROCR_VISIBLE_DEVICES") == ["0", "1"]
        assert (tmp_path / "miopen").is_dir()
    else:
        assert "--gpus-per-task=1" in job.srun


def test_ranks_of_one_file_are_told_of_one_another(tmp_path: Path) -> None:
    job = run("lumi-g-one-file", tmp_path, INPUT="a big.vdb", INRV_OPTIONS="--max-time 60")
    called = [
        "inrv",
        "encode",
        "--field",
        "fourier",
        "--max-time",
        "60",
        "a big.vdb",
        "-o",
        "a big.inrv",
    ]
    assert job.status == 0 and job.calls == [called, called]
    assert job.each("RANK") == job.each("LOCAL_RANK") == ["0", "1"]
    assert job.each("WORLD_SIZE") == ["2", "2"]
    assert job.each("MASTER_ADDR") == ["node7", "node7"] and job.each("MASTER_PORT") == [
        "29500",
        "29500",
    ]
    assert (
        job.each("NCCL_SOCKET_IFNAME")[0] == "hsn0,hsn1,hsn2,hsn3"
        and job.each("NCCL_NET_GDR_LEVEL")[0] == "PHB"
    )
    assert not job.each("ROCR_VISIBLE_DEVICES")
    assert job.each("signals") == ["yes", "yes"]
    assert {"--kill-on-bad-exit=1", "--wait=0"} <= set(job.srun)


def test_torchrun_starts_the_ranks_of_one_file(tmp_path: Path) -> None:
    job = run("nvidia-one-file", tmp_path, INPUT="a big.vdb", OUTPUT="small.inrv")
    called = ["torchrun", "--nnodes=2", "--nproc-per-node=4", "--rdzv-id=12", "--rdzv-backend=c10d"]
    called += [
        "--rdzv-endpoint=node7:29500",
        "-m",
        "inrv_cli",
        "encode",
        "--field",
        "fourier",
        "a big.vdb",
        "-o",
        "small.inrv",
    ]
    assert job.status == 0 and job.calls == [called, called]
    assert job.each("OMP_NUM_THREADS") == ["8", "8"]
    assert job.each("signals") == ["yes", "yes"]
    assert {"--kill-on-bad-exit=1", "--wait=0"} <= set(job.srun)


@pytest.mark.parametrize("kind", KINDS)
def test_what_starts_inrv_may_be_more_than_a_word(kind: str, tmp_path: Path) -> None:
    job = run(f"{kind}-frames", tmp_path, INRV="env inrv")
    assert [call[:3] for call in job.calls] == [["inrv", "encode", "fire.####.vdb"]] * 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_failure_is_the_failure_of_the_job(script: Path, tmp_path: Path) -> None:
    assert run(script.stem, tmp_path, STATUS="143").status == 143
