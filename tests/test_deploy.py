"""The job scripts of deploy/, run with stand-ins for the products and for what they start."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv.files.vdb import write_volume

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="job scripts are for bash")
DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
FARM_JOBS = DEPLOY / "farm_jobs.py"
INRV = shlex.join([sys.executable, "-m", "inrv_cli"])
SHARES = 3
Done = subprocess.CompletedProcess[str]
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


def farm_jobs(
    folder: Path, product: str, *more: str, **how: Any
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FARM_JOBS), product, "a fire.####.vdb", "--inrv", INRV]
    command += ["--options", "--group 1 --fps 24 --effort instant", "--shares", str(SHARES), *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **how)


def lines_of(path: Path) -> dict[str, str]:
    """The keys and values of an info file of Deadline."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def deadline_commands(jobs: Path) -> list[list[str]]:
    """The commands that Deadline would run, in order, by the rules of its manual."""
    found = []
    for step in ("encode", "join"):
        if not (jobs / f"{step}.job").exists():
            continue
        job, plugin = lines_of(jobs / f"{step}.job"), lines_of(jobs / f"{step}.plugin")
        assert job["Plugin"] == "CommandLine" and job["ChunkSize"] == "1"
        first, _, last = job["Frames"].partition("-")
        for frame in range(int(first), int(last or first) + 1):
            words = plugin["Arguments"].replace("<STARTFRAME>", str(frame))
            words = words.replace("<QUOTE>", '"')
            found.append([plugin["Executable"], *shlex.split(words)])
    return found


def listed(text: str) -> list[str]:
    """The words of a list of Tcl: what stands in braces is one word."""
    words, depth, word = list[str](), 0, ""
    for letter in f"{text} ":
        closes = letter == "}"
        depth -= closes
        assert depth >= 0
        if depth or not (letter.isspace() or letter in "{}"):
            word += letter
        elif word or closes:
            words.append(word)
            word = ""
        depth += letter == "{"
    assert depth == 0
    return words


def tractor_commands(text: str) -> list[list[str]]:
    """The commands of a job, or of tasks, in the order in which Tractor may first run them."""
    found, words = list[list[str]](), listed(text)
    for place, word in enumerate(words):
        if word == "RemoteCmd":
            assert words[place + 2 : place + 4] == ["-service", "PixarRender"]
            found.append(listed(words[place + 1]))
        elif word in ("-subtasks", "-cmds"):
            found += tractor_commands(words[place + 1])
    return found


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for number in range(2):  # fewer than shares
        values = np.random.default_rng(number).random((8, 8, 8))
        grid = inrv.sparse_grid(values.astype(np.float32), "fog")
        write_volume(tmp_path / f"a fire.{number:04d}.vdb", inrv.SparseVolume((grid,)))
    return tmp_path


def commands_of(product: str, jobs: Path) -> list[list[str]]:
    if product == "deadline":
        return deadline_commands(jobs)
    return tractor_commands((jobs / "encode.alf").read_text())


@pytest.mark.parametrize("product", ["deadline", "tractor"])
def test_the_jobs_of_a_farm_make_the_sequence_of_one_machine(product: str, frames: Path) -> None:
    done = farm_jobs(frames, product, "-o", "a fire.inrv", "--more", "Pool=fx")
    assert (done.returncode, done.stderr) == (0, "")
    commands = commands_of(product, frames / "jobs")
    assert len(commands) == SHARES + 1
    for command in [commands[1], *commands]:  # a task that is started again does no harm
        subprocess.run(command, cwd=frames, check=True, capture_output=True)
    subprocess.run(commands[-1], cwd=frames, check=True, capture_output=True)
    with inrv.SequenceWriter(
        frames / "one.inrv", inrv.EncodeOptions(effort="instant"), fps=24, group=1
    ) as writer:
        for number in range(2):
            writer.add(None, frames / f"a fire.{number:04d}.vdb", number=number)
    found, one = (inrv.load(frames / name).frames for name in ("a fire.inrv", "one.inrv"))
    assert found.numbers == one.numbers == (0, 1) and found.times == one.times
    assert all(np.array_equal(found[n]["fog"].dense(), one[n]["fog"].dense()) for n in one)


@pytest.mark.parametrize("product", ["deadline", "tractor"])
def test_a_folder_is_joined_by_nobody(product: str, tmp_path: Path) -> None:
    assert farm_jobs(tmp_path, product, "-o", "out/").returncode == 0
    commands = commands_of(product, tmp_path / "jobs")
    expected = [*shlex.split(INRV), "encode", "--group", "1", "--fps", "24", "--effort", "instant"]
    expected += ["a fire.####.vdb", "-o", "out/", "--quiet", "--shard"]
    assert commands == [[*expected, f"{share}/{SHARES}"] for share in range(SHARES)]


PRODUCT = """#!/bin/bash
echo "call|${0##*/}|$*" >> calls
cat "$1" >> calls
echo "Result=Success"
[[ $0 == *deadlinecommand ]] && echo "JobID=64a${#1}"
exit "${STATUS:-0}"
"""


def stand_ins(folder: Path, text: str = PRODUCT) -> dict[str, str]:
    """An environment with programs that take jobs."""
    for name in ("deadlinecommand", "tractor-spool"):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_the_joining_waits_for_the_shares(tmp_path: Path) -> None:
    for _ in range(2):
        done = farm_jobs(tmp_path, "deadline", "-o", "x.inrv", "--submit", env=stand_ins(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
    called = (tmp_path / "calls").read_text()
    jobs = re.findall(r"call.deadlinecommand.(.*)", called)
    assert jobs == ["jobs/encode.job jobs/encode.plugin", "jobs/join.job jobs/join.plugin"] * 2
    waiting = lines_of(tmp_path / "jobs" / "join.job")["JobDependencies"]
    assert waiting == f"64a{len('jobs/encode.job')}" and called.count("JobDependencies") == 2
    assert "JobDependencies" not in (tmp_path / "jobs" / "encode.job").read_text()


def test_a_job_is_spooled(tmp_path: Path) -> None:
    more = ("-o", "x.inrv", "--more=-tier fx", "--submit")
    done = farm_jobs(tmp_path, "tractor", *more, env=stand_ins(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    called = (tmp_path / "calls").read_text()
    head = "Job -title {inrv x.inrv} -serialsubtasks 1 -tier fx -subtasks {"
    assert called.splitlines()[:2] == ["call|tractor-spool|jobs/encode.alf", head]


@pytest.mark.parametrize("product", ["deadline", "tractor"])
def test_what_goes_wrong_at_a_farm_is_one_line(product: str, tmp_path: Path) -> None:
    def told(*more: str, **how: Any) -> str:
        done = farm_jobs(tmp_path, product, *more, **how)
        assert done.returncode and "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]

    submitted = ("-o", "x.inrv", "--submit")
    nothing = {**os.environ, "PATH": ""}
    assert "cannot be started: No such file" in told(*submitted, env=nothing)
    failing = {**stand_ins(tmp_path), "STATUS": "3"}
    assert "has failed: Result=Success" in told(*submitted, env=failing)
    if product == "deadline":
        silent = stand_ins(tmp_path, "#!/bin/bash\necho nothing\n")
        assert told(*submitted, env=silent) == "deadlinecommand told no JobID: nothing"
    odd = {"deadline": 'a"b.inrv', "tractor": "a%04d.inrv"}[product]
    assert f"which a job of {product} cannot hold" in told("-o", odd)
    assert "there must be at least 1" in told("-o", "x.inrv", "--shares", "0")
