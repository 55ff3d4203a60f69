"""SIGKILL at random moments of `inrv encode`: no file is broken and no work is lost.

`python -m benchmarks.kills [--kills N]`. A chain is one command that is run again after every
kill until it ends; half of the chains replace an old file (--force). After each kill the output
must be absent, or the old file where it has not been replaced, or else the very bytes, verified,
of a run without a break. Nothing may lie beside it but the checkpoint and at most one partial
file, which the next run removes. A third of the kills come at any moment, a third when a
randomly chosen phase has been reached, and a third right before a system call that opens,
synchronises, links, renames or removes a file. Most runs are forked from a process that has
imported torch already; some are started afresh, and killed while they import it.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import torch

import inrv
import inrv.encoding.api
import inrv.fields.fourier.encode
import inrv.fields.fourier.fitting
from benchmarks.report import ROOT, describe, environment, save, table
from inrv_cli.main import cli

PHASES = ("starting", "reading", "training", "checkpoint", "storing", "writing", "after writing")
FRESH = "fresh process"
CALLS = ("open", "fsync", "link", "replace", "unlink")
OPTIONS = ("--epochs", "1", "--checkpoint-seconds", "0.05", "--device", "cpu")
PARTIAL = re.compile(r"\.\.?out\.inrv(\.checkpoint)?\.[0-9a-f]{8}\.partial")
MOST_KILLS = 8  # of a chain: then the run may end


def main() -> None:
    """Parse the command line, kill, report; exit with 1 where a file was broken or litter left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument(
        "--file", type=Path, default=ROOT / "fixtures" / "torus.vdb", metavar="FILE.vdb"
    )
    parser.add_argument("--dry", action="store_true", help="print the table, write no results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), arguments.file.resolve(), random.Random(arguments.seed))
        while trial.kills < arguments.kills:
            trial.chain(arguments.kills)
    run = environment("cpu") | {
        "kills": trial.kills,
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - started),
    }
    text = report(run, trial)
    if arguments.dry:
        print(text)
    else:
        save("kills", text, {"run": run, "phases": trial.rows(), "wrong": trial.wrong})
    sys.exit(bool(trial.wrong))


class Run:
    """One `inrv encode` in a forked process; how far it is, in memory shared with it."""

    def __init__(self, arguments: list[str], log: Path, die_at: int | None = None) -> None:
        self.shared = mmap.mmap(-1, 4096)
        self.arguments, self.log, self.die_at = arguments, log, die_at
        self.started = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            self.child()

    def phase(self) -> str:
        """The phase that the process is or was in."""
        return PHASES[self.shared[0]]

    def reached(self, phase: str) -> int:
        """How often the phase has begun."""
        return int(struct.unpack_from("<I", self.shared, 8 + 16 * PHASES.index(phase))[0])

    def spent(self, phase: str) -> float:
        """Seconds in that phase, all times together."""
        return float(struct.unpack_from("<d", self.shared, 16 + 16 * PHASES.index(phase))[0])

    def calls(self) -> int:
        """System calls of CALLS so far."""
        return int(struct.unpack_from("<I", self.shared, 4)[0])

    def ended(self) -> bool:
        """Whether the process is over; it is not yet waited for."""
        return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """SIGKILL, unless the process is over."""
        if not self.ended():
            os.kill(self.process, signal.SIGKILL)

    def wait(self) -> int:
        """The exit status, -9 where it was killed."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def child(self) -> NoReturn:
        """Run the command line, keeping the shared memory up to date."""
        out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        self.since = time.monotonic()
        code = 70
        try:
            self.follow(inrv.encoding.api, "encoded", "reading", "storing")
            self.follow(inrv.fields.fourier.fitting, "train", "training", "storing")
            self.follow(inrv.Checkpoint, "write", "checkpoint", "training")
            self.follow(inrv.container.AssembledFile, "write", "writing", "after writing")
            for name in CALLS:
                self.count(name)
            cli(self.arguments, prog_name="inrv")
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            self.enter(PHASES[self.shared[0]])
            os._exit(code)

    def enter(self, phase: str) -> None:
        """Note that a phase begins."""
        now, before = time.monotonic(), PHASES[self.shared[0]]
        struct.pack_into(
            "<d", self.shared, 16 + 16 * PHASES.index(before), self.spent(before) + now - self.since
        )
        struct.pack_into("<I", self.shared, 8 + 16 * PHASES.index(phase), self.reached(phase) + 1)
        self.shared[0], self.since = PHASES.index(phase), now

    def follow(self, owner: Any, name: str, phase: str, then: str) -> None:
        """Make `owner.name` enter `phase`, and `then` when it has returned."""
        function = getattr(owner, name)

        def followed(*arguments: Any, **named: Any) -> Any:
            self.enter(phase)
            result = function(*arguments, **named)
            self.enter(then)
            return result

        setattr(owner, name, followed)

    def count(self, name: str) -> None:
        """Make `os.name` count its calls, and kill the process before the one numbered `die_at`."""
        function = getattr(os, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            if self.phase() in ("checkpoint", "writing", "after writing"):
                struct.pack_into("<I", self.shared, 4, self.calls() + 1)
                if self.calls() == self.die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        setattr(os, name, counted)


class Trial:
    """Chains of kills, and what was found after each."""

    def __init__(self, folder: Path, source: Path, chance: random.Random) -> None:
        self.folder, self.source, self.chance = folder, source, chance
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.kills = self.chains = self.resumed = self.finished = 0
        self.wrong: list[str] = []
        self.log = folder / "log"
        self.old = chance.randbytes(100_000)
        self.whole, self.fresh_seconds = self.undisturbed()
        self.calm = self.calm_run()

    def arguments(self, output: Path, force: bool) -> list[str]:
        """The command line after `inrv`."""
        return [
            "encode",
            str(self.source),
            "-o",
            str(output),
            *OPTIONS,
            *(["--force"] if force else []),
        ]

    def fresh(self, output: Path, force: bool) -> subprocess.Popen[bytes]:
        """The command in a process of its own."""
        command = [sys.executable, "-m", "inrv_cli", *self.arguments(output, force)]
        with self.log.open("ab") as log:
            variables = os.environ | {"OMP_NUM_THREADS": "1"}
            return subprocess.Popen(command, stdout=log, stderr=log, env=variables, cwd=self.folder)

    def undisturbed(self) -> tuple[bytes, float]:
        """The file that every chain has to end in, and how long a process that makes it takes."""
        started, output = time.monotonic(), self.folder / "whole.inrv"
        if self.fresh(output, False).wait():
            raise SystemExit(self.log.read_text())
        seconds = time.monotonic() - started
        inrv.verify(output)
        return output.read_bytes(), seconds

    def calm_run(self) -> Run:
        """A forked run without a kill: how long each phase takes."""
        run = Run(self.arguments(self.folder / "calm.inrv", False), self.log)
        if run.wait() or (self.folder / "calm.inrv").read_bytes() != self.whole:
            raise SystemExit(f"a forked run gives another file: {self.log.read_text()}")
        return run

    def chain(self, most: int) -> None:
        """One command, run again after each kill until it ends."""
        self.chains += 1
        folder = self.folder / f"chain{self.chains}"
        folder.mkdir()
        output, force = folder / "out.inrv", self.chains % 2 == 0
        if force:
            output.write_bytes(self.old)
        for number in range(MOST_KILLS + 1):
            last = number == MOST_KILLS or self.kills >= most
            self.log.write_bytes(b"")
            code, phase = self.attempt(output, force, last)
            self.resumed += "training resumes" in self.log.read_text()
            found = self.check(output, code, phase, force)
            if code == -signal.SIGKILL:
                self.kills += 1
                self.outcomes[phase, found] += 1
            if found == "new file":
                self.finished += code == 0
                return

    def attempt(self, output: Path, force: bool, last: bool) -> tuple[int, str]:
        """Run the command once and kill it at some moment, unless it is the `last`.

        Returns the exit status and the phase in which it ended.
        """
        way = self.chance.random()
        if not last and way < 0.08:
            process = self.fresh(output, force)
            time.sleep(self.chance.uniform(0, 1.05 * self.fresh_seconds))
            process.kill()
            return process.wait(), FRESH
        die_at = self.chance.randint(1, self.calm.calls()) if way > 0.68 and not last else None
        run = Run(self.arguments(output, force), self.log, die_at)
        if not last and die_at is None:
            (self.at_any_moment if way < 0.38 else self.in_a_phase)(run)
            run.kill()
        return run.wait(), run.phase()

    def at_any_moment(self, run: Run) -> None:
        """Wait for a moment between the start and a little after the end."""
        time.sleep(self.chance.uniform(0, 1.05 * sum(self.calm.spent(phase) for phase in PHASES)))

    def in_a_phase(self, run: Run) -> None:
        """Wait until a phase has begun, and then for a part of the time that it takes."""
        phase = self.chance.choice(PHASES[1:])
        number = self.chance.randint(1, 3) if phase == "checkpoint" else 1
        while run.reached(phase) < number and not run.ended():
            time.sleep(0.0002)
        time.sleep(
            self.chance.uniform(0, self.calm.spent(phase) / max(1, self.calm.reached(phase)))
        )

    def check(self, output: Path, code: int, phase: str, force: bool) -> str:
        """What is there; anything that must not be goes into `wrong`."""
        data = output.read_bytes() if output.exists() else None
        found = (
            "no file"
            if data is None
            else "new file"
            if data == self.whole
            else "old file"
            if data == self.old
            else "broken"
        )
        where = f"chain {self.chains}, {phase}, status {code}, {found}"
        if found == "broken" or ((found == "no file") == force and found != "new file"):
            self.wrong.append(where)
        if code not in (0, -signal.SIGKILL):
            self.wrong.append(f"{where}: {self.log.read_text()}")
        beside = {path.name for path in output.parent.iterdir()} - {output.name}
        partial = {name for name in beside if PARTIAL.fullmatch(name)}
        self.outcomes[phase, "partial file left"] += len(partial) if code else 0
        litter = beside - partial - {".out.inrv.checkpoint"} if code else beside
        if litter or len(partial) > 1:
            self.wrong.append(f"{where}: litter {sorted(litter or partial)}")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Outcomes by the phase in which the process was killed."""
        kinds = ("no file", "old file", "new file", "partial file left")
        counts = [
            {"phase": phase} | {kind: self.outcomes[phase, kind] for kind in kinds}
            for phase in (FRESH, *PHASES)
        ]
        return [row | {"kills": sum(row[kind] for kind in kinds[:3])} for row in counts]


def report(run: dict[str, Any], trial: Trial) -> str:
    """The whole report."""
    header = ["killed in", "kills", "no file", "old file", "new file", "partial file left"]
    rows = [[row["phase"], *(str(row[name]) for name in header[1:])] for row in trial.rows()]
    total = [str(sum(row[name] for row in trial.rows())) for name in header[1:]]
    told = (
        f"{trial.chains} chains, {trial.resumed} runs resumed from a checkpoint, "
        f"{trial.finished} chains ended by a whole run, the others by a kill after the file was "
        "in place.\n\nBroken files, other bytes than without a break, litter: "
        f"{len(trial.wrong) or 'none'}.\n"
    )
    title = (
        f"# Kills during encode\n\n{trial.source.name}, seed {run['seed']}, {run['seconds']} s; "
    )
    title += f"{describe(run)}\n\n"
    return (
        title
        + table(header, [*rows, ["all", *total]])
        + "\n"
        + told
        + "".join(f"\n- {line}" for line in trial.wrong)
    )


if __name__ == "__main__":
    main()
