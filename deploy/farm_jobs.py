r"""Write the jobs that encode a sequence on a render farm, and submit them.

    python deploy/farm_jobs.py deadline '/shots/a/fire.####.vdb' -o /shots/a/fire.inrv --shares 8
    python deploy/farm_jobs.py tractor '/shots/a/fire.####.vdb' -o /shots/a/fire.inrv --shares 8 \
        --options '--psnr 50 --fps 24' --inrv /apps/inrv/bin/inrv --submit

Share I of N is one task, `inrv encode --shard I/N`. Where the output is a sequence, each share has
a file of its own, and a last task joins them; where it is a folder, each frame has. A task that a
farm starts again goes on where it was. All machines must see the paths under the same names.

The files go into the folder `--jobs`. They are plain text; pools, limits and the like can be added
by hand, or with `--more`, a line for each job, as 'Pool=fx' (Deadline) or '-tier fx' (Tractor).
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEADLINE_SHARE = "<STARTFRAME>"  # Deadline puts the number of the task here
UNSAFE = {  # what each product's files take for something else
    "deadline": re.compile(r'[\r\n"<>]'),
    "tractor": re.compile(r"[\r\n{}\\%]"),
}


@dataclass(frozen=True)
class Jobs:
    """What is to be done.

    title: of the jobs
    encode: the command of a share, but for `--shard`
    join: the command that comes last; empty where there is nothing to join
    shares: how many
    more: lines for each job
    """

    title: str
    encode: list[str]
    join: list[str]
    shares: int
    more: list[str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, write, submit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("product", choices=FARMS)
    parser.add_argument("input", help="a pattern of frames, or a folder of .vdb files")
    parser.add_argument("-o", "--output", required=True, help="FILE.inrv, or FOLDER/")
    parser.add_argument("--shares", type=int, default=8, help="tasks (default %(default)s)")
    parser.add_argument("--options", default="", help="of `inrv encode`, as '--psnr 50'")
    parser.add_argument("--inrv", default="inrv", help="what starts inrv (default %(default)s)")
    parser.add_argument("--jobs", type=Path, default=Path("jobs"), help="folder of the job files")
    parser.add_argument("--more", action="append", default=[], help="a line for each job")
    parser.add_argument("--submit", action="store_true", help="hand them to the farm too")
    asked = parser.parse_args(arguments)
    if asked.shares < 1:
        parser.error(f"--shares {asked.shares}: there must be at least 1")
    jobs = jobs_of(asked)
    for word in [*jobs.encode, *jobs.join]:
        if found := UNSAFE[asked.product].search(word):
            parser.error(f"{word!r} has {found[0]!r}, which a job of {asked.product} cannot hold")
    asked.jobs.mkdir(parents=True, exist_ok=True)
    write, submit = FARMS[asked.product]
    write(asked.jobs, jobs)
    if asked.submit:
        submit(asked.jobs, jobs)


def jobs_of(asked: argparse.Namespace) -> Jobs:
    """Return the commands that are asked for."""
    inrv = shlex.split(asked.inrv)
    encode = [*inrv, "encode", *shlex.split(asked.options), asked.input]
    encode += ["-o", asked.output, "--quiet"]
    join = list[str]()
    if asked.output.endswith(".inrv"):
        shares = f"{asked.output.removesuffix('.inrv')}.shard-*-of-{asked.shares}.inrv"
        join = [*inrv, "seq", "join", shares, "-o", asked.output, "--force"]
    return Jobs(f"inrv {Path(asked.output).name}", encode, join, asked.shares, asked.more)


def write_deadline(folder: Path, jobs: Jobs) -> None:
    """Write a job info file and a plug-in info file of the CommandLine plug-in for each job."""
    shard = ["--shard", f"{DEADLINE_SHARE}/{jobs.shares}"]
    tasks = f"0-{jobs.shares - 1}" if jobs.shares > 1 else "0"
    _write_deadline(folder, "encode", jobs, [*jobs.encode, *shard], tasks)
    if jobs.join:
        _write_deadline(folder, "join", jobs, jobs.join, "0")


def _write_deadline(
    folder: Path, step: str, jobs: Jobs, command: Sequence[str], frames: str
) -> None:
    job = ["Plugin=CommandLine", f"Name={jobs.title}: {step}", f"Frames={frames}", "ChunkSize=1"]
    executable, *words = command
    quoted = " ".join(f"<QUOTE>{word}<QUOTE>" for word in words)
    plugin = [f"Executable={executable}", f"Arguments={quoted}"]
    plugin += ["SingleFramesOnly=True", "ShellExecute=False", "Shell=default"]
    (folder / f"{step}.job").write_text("\n".join([*job, *jobs.more]) + "\n")
    (folder / f"{step}.plugin").write_text("\n".join(plugin) + "\n")


def submit_deadline(folder: Path, jobs: Jobs) -> None:
    """Submit the shares, and the joining as a job that waits for them."""
    number = _deadline(folder, "encode")
    if jobs.join:
        with open(folder / "join.job", "a") as job:
            job.write(f"JobDependencies={number}\n")
        _deadline(folder, "join")


def _deadline(folder: Path, step: str) -> str:
    """Submit a job and return its number."""
    command = ["deadlinecommand", str(folder / f"{step}.job"), str(folder / f"{step}.plugin")]
    told = _run(command)
    found = re.search(r"^JobID=(\S+)", told, flags=re.MULTILINE)
    if found is None:
        sys.exit(f"deadlinecommand told no JobID: {' '.join(told.split())}")
    return found[1]


def write_tractor(folder: Path, jobs: Jobs) -> None:
    """Write a job script of two tasks, one behind the other; the first one has a task a share."""
    shares = [
        _task(f"share {share}", [*jobs.encode, "--shard", f"{share}/{jobs.shares}"])
        for share in range(jobs.shares)
    ]
    steps = [f"Task {{encode}} -subtasks {{\n{''.join(shares)}}}\n"]
    steps += [_task("join", jobs.join)] if jobs.join else []
    more = "".join(f" {line}" for line in jobs.more)
    head = f"Job -title {{{jobs.title}}} -serialsubtasks 1{more} -subtasks {{\n"
    (folder / "encode.alf").write_text(f"{head}{''.join(steps)}}}\n")


def _task(title: str, command: Sequence[str]) -> str:
    words = " ".join(f"{{{word}}}" for word in command)
    return f"Task {{{title}}} -cmds {{\nRemoteCmd {{{words}}} -service {{PixarRender}}\n}}\n"


def submit_tractor(folder: Path, jobs: Jobs) -> None:
    """Hand the job script to the engine."""
    _run(["tractor-spool", str(folder / "encode.alf")])


def _run(command: Sequence[str]) -> str:
    """Run a command, show what it prints, and return that; a failure ends the program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")
    print(done.stdout, end="")
    if done.returncode:
        told = " ".join((done.stderr or done.stdout).split())
        sys.exit(f"{command[0]} has failed: {told}")
    return done.stdout


FARMS = {
    "deadline": (write_deadline, submit_deadline),
    "tractor": (write_tractor, submit_tractor),
}

if __name__ == "__main__":
    main()
