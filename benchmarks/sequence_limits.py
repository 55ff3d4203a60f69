"""What a sequence withstands, and what it takes: kills of its writer, and memory for many frames.

`python -m benchmarks.sequence_limits [--kills N]`; it runs on Linux only.

**Kills.** A chain is a sequence of FRAMES small frames, whose values follow from their numbers. A
process writes it with `SequenceWriter(..., append=True)` from the first frame that the file lacks,
is killed by SIGKILL, and is run again until it ends. A third of the kills come at any moment, a
third right before a system call that opens, cuts, synchronises or links a file or in the midst of
one that writes, and a third just after a group was written. The process keeps a log of the frames
that the writer says are in the file. After each kill the file must be absent, or else:

- it opens, `verify` finds nothing, and no frame is missing up to the last one
- it has every frame of the log
- every frame has the time, the active voxels and the values that it has in a sequence that was
  written without a break

A kill leaves alone what the system was handed: what a machine that loses power leaves is not tried.

**Memory.** The peak of resident memory of a process that writes a fog as frames of one group, or of
eight, in a loop that makes each frame when it is needed, and of one that decodes them in order: as
arrays, of which `load` keeps up to `cache_bytes`, or as sparse grids, of which it keeps nothing.
"""

from __future__ import annotations

import argparse
import inspect
import io
import itertools
import mmap
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

import inrv
from benchmarks.memory import in_own_process
from benchmarks.report import describe, environment, save, table
from inrv.container import SequenceAppender, appending
from inrv.container.sequence import HEAD_SIZE
from inrv.decoding.frames import open_frames
from inrv.options import GROUPS

FRAMES = 24  # of a chain
GROUP = 2
RATE = 24  # frames a second
EDGE = 32  # voxels, of the frames of a chain
BOX = (0, 0, 0), (EDGE - 1,) * 3
FURTHEST = 3  # groups that a run writes before it is killed, about
PHASES = ("opening", "encoding", "writing", "closing")
CALLS = {"opening": 10, "writing": 4 * FURTHEST, "closing": 6}  # in a phase, of which one is drawn
WAYS = ("at any moment", "at a system call", "after a group")
STATES = ("no file", "no frame", "some frames", "all frames")
FOG_EDGE = 96  # voxels, of the frames that memory is measured with
FEW, MANY = GROUPS["lattice"], 8 * GROUPS["lattice"]  # of these frames


def main() -> None:
    """Parse the command line, kill, measure, report; exit with 1 where a check failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = environment("cpu") | {"kills": arguments.kills, "seed": arguments.seed}
    print(describe(run), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        trial = Trial(Path(folder), random.Random(arguments.seed))
        while trial.kills < arguments.kills:
            trial.chain(arguments.kills)
        run["seconds"] = round(time.monotonic() - started)
        print(f"{trial.kills} kills in {run['seconds']} s; wrong: {trial.wrong}", flush=True)
        memory = peaks(Path(folder))
    kills = {"phases": trial.rows(PHASES), "states": trial.rows(STATES)}
    held = {"run": run, **kills, "wrong": trial.wrong, "memory": memory}
    save("sequence_limits", report(run, trial, memory), held)
    sys.exit(bool(trial.wrong))


def fog(number: int, edge: int) -> dict[str, NDArray[np.float32]]:
    """The values of a frame: a ball with ripples, which drifts, in a cube of so many voxels."""
    place = np.linspace(-1, 1, edge, dtype=np.float32)
    x, y, z = place[:, None, None], place[:, None], place
    distance = np.sqrt((x - 0.3 * np.sin(number / 8)) ** 2 + y**2 + z**2)
    ripples = 0.1 * np.sin(9 * x + number / 4) * np.cos(7 * y - number / 8) * np.sin(8 * z)
    return {"density": np.maximum(0, 0.7 - distance + ripples).astype(np.float32)}


class Run:
    """A forked process that writes what a sequence lacks; how far it is, in memory shared with it.

    path: of the sequence
    log: where it notes the numbers of the frames that are in the file
    die_at: at which system call it kills itself: the number of a phase, and that of a call in it,
        from 1; or at the first one behind, where there are fewer; None: at none
    """

    def __init__(self, path: Path, log: Path, die_at: tuple[int, int] | None) -> None:
        self.path, self.log, self.die_at = path, log, die_at
        self.calls = Counter[int]()  # by phase
        self.shared = mmap.mmap(-1, 2)
        self.process = os.fork()
        if self.process == 0:
            self.child()

    @property
    def phase(self) -> str:
        """What the process does, or did when it ended."""
        return PHASES[self.shared[0]]

    @property
    def groups(self) -> int:
        """How many groups it has written."""
        return self.shared[1]

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
        """Write the frames and end the process."""
        code = 70
        try:
            self.write()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def write(self) -> None:
        """Write the frames that lack. Each group goes into the log once the writer names it."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC)
        self.watch()
        with writer_of(self.path, report=self.after_group) as writer:
            known = writer.written
            first = next(number for number in itertools.count() if number not in known)
            self.enter("encoding")
            for number in range(first, FRAMES):
                writer.add(None, fog(number, EDGE), number=number)
                new, known = writer.written - known, writer.written
                os.write(log, "".join(f"{own}\n" for own in sorted(new)).encode())
            self.enter("closing")

    def after_group(self, *_: object) -> None:
        """Count a group, which is in the file by now."""
        self.shared[1] += 1

    def enter(self, phase: str) -> None:
        """Note that a phase begins."""
        self.shared[0] = PHASES.index(phase)

    def watch(self) -> None:
        """Note when groups are written, and count the system calls that change files."""

        def followed(function: Any, phase: str) -> Any:
            def following(*arguments: Any, **named: Any) -> Any:
                self.enter(phase)
                result = function(*arguments, **named)
                self.enter("encoding")
                return result

            return following

        def opened(file: Any, mode: str) -> io.BufferedRandom:
            return io.BufferedRandom(WatchedFile(self, file, mode))

        for name in ("open", "fsync", "link", "replace", "unlink"):
            setattr(os, name, self.counted(getattr(os, name)))
        for owner, name, function in (
            (
                SequenceAppender,
                "create",
                staticmethod(followed(SequenceAppender.create, "opening")),
            ),
            (SequenceAppender, "add", followed(SequenceAppender.add, "writing")),
            (appending, "open", opened),
            (os, "fdopen", opened),
        ):
            setattr(owner, name, function)

    def counted(self, function: Any) -> Any:
        """A function that counts its calls as system calls."""

        def counting(*arguments: Any, **named: Any) -> Any:
            self.call()
            return function(*arguments, **named)

        return counting

    def call(self, before_death: Callable[[], object] = lambda: None) -> None:
        """Count a system call, and die before it where it is the chosen one."""
        phase = self.shared[0]
        self.calls[phase] += 1
        if self.die_at is not None and (phase, self.calls[phase]) >= self.die_at:
            before_death()
            os.kill(os.getpid(), signal.SIGKILL)


class WatchedFile(io.FileIO):
    """A file whose system calls a run counts. The run dies when half of a write is done.

    A write into the head is done whole or not at all: within a page of memory, no kill splits one.
    """

    def __init__(self, run: Run, file: Any, mode: str) -> None:
        run.call()
        super().__init__(file, mode)
        self.run = run

    def write(self, data: Any, /) -> int:
        """Write half of the data where the run dies now, else all."""
        write, half = super().write, len(data) // 2 if self.tell() >= HEAD_SIZE else 0
        self.run.call(lambda: write(data[:half]))
        return write(data)

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file."""
        self.run.call()
        return super().truncate(size)


def writer_of(path: Path, **named: Any) -> inrv.SequenceWriter:
    """Open the sequence of a chain, or make it."""
    options = inrv.EncodeOptions(effort="instant")
    return inrv.SequenceWriter(path, options, fps=RATE, group=GROUP, append=True, **named)


class Trial:
    """Chains of kills, and what was found after each.

    kills: how many there were
    wrong: what failed
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.kills = self.chains = self.runs = 0
        self.wrong: list[str] = []
        self.undisturbed()

    def undisturbed(self) -> None:
        """Write the frames that every chain has to end in, and note how long a group takes."""
        path, started = self.folder / "whole.inrv", time.monotonic()
        with writer_of(path) as writer:
            for number in range(FRAMES):
                writer.add(None, fog(number, EDGE), number=number)
        self.group_seconds = (time.monotonic() - started) * GROUP / FRAMES
        self.whole = [decoded(volume) for volume in open_frames(path).values()]

    def chain(self, most: int) -> None:
        """One sequence, written on after each kill until its writer ends.

        most: kills; after them the writer may end
        """
        self.chains += 1
        folder, log = self.folder / f"chain{self.chains}", self.folder / f"log{self.chains}"
        folder.mkdir()
        log.touch()
        path, code = folder / "chain.inrv", -signal.SIGKILL
        while code == -signal.SIGKILL:
            way = self.chance.choice(WAYS) if self.kills < most else "never"
            code, phase = self.attempt(path, log, way)
            self.runs += 1
            where = f"chain {self.chains}, killed {way}, {phase}, status {code}"
            numbers = self.check(path, log, where)
            if code == -signal.SIGKILL:
                self.kills += 1
                self.outcomes[way, phase] += 1
                self.outcomes[way, state(path, numbers)] += 1
        beside = sorted(own.name for own in folder.iterdir() if own != path)
        if code or len(numbers) < FRAMES or beside:
            self.wrong.append(f"{where}: it ends with {len(numbers)} frames, beside it {beside}")

    def attempt(self, path: Path, log: Path, way: str) -> tuple[int, str]:
        """Run the writer once, and kill it in this way if it does not end before.

        Returns its exit status and the phase in which it ended.
        """
        phase = self.chance.choice(tuple(CALLS)) if path.exists() else "opening"
        die_at = PHASES.index(phase), self.chance.randint(1, CALLS[phase])
        run = Run(path, log, die_at if way == "at a system call" else None)
        if way == "at any moment":
            time.sleep(self.chance.uniform(0, FURTHEST * self.group_seconds))
            run.kill()
        elif way == "after a group":
            groups = self.chance.randint(1, FURTHEST)
            while run.groups < groups and not run.ended():
                time.sleep(0.0002)
            time.sleep(self.chance.uniform(0, 0.002))
            run.kill()
        return run.wait(), run.phase

    def check(self, path: Path, log: Path, where: str) -> tuple[float | int, ...]:
        """The numbers of the frames that are there. What must not be goes into `wrong`."""
        logged = {int(line) for line in log.read_text().split()}
        numbers: tuple[float | int, ...] = ()
        try:
            if path.exists():
                frames = open_frames(path)
                numbers = frames.numbers
                inrv.verify(path, decode=True)
                different = [own for own in numbers if not self.as_undisturbed(frames[own])]
                if different:
                    self.wrong.append(f"{where}: frames {different} are not what they must be")
        except inrv.InrvError as error:
            self.wrong.append(f"{where}: {error}")
        if numbers != tuple(range(len(numbers))) or not logged <= set(numbers):
            self.wrong.append(f"{where}: it has frames {numbers}; the log has {sorted(logged)}")
        return numbers

    def as_undisturbed(self, volume: inrv.Volume) -> bool:
        """Whether a frame has its time, and the values that it has without a break."""
        number = int(volume.number)
        pairs = zip(decoded(volume), self.whole[number], strict=True)
        return volume.time == number / RATE and all(itertools.starmap(np.array_equal, pairs))

    def rows(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Kills in each phase, or with each state of the file, by the way in which they came."""
        return [{"name": name} | {way: self.outcomes[way, name] for way in WAYS} for name in names]


def decoded(volume: inrv.Volume) -> tuple[NDArray[Any], NDArray[Any]]:
    """The voxels of a frame that are active, and the values of all."""
    return volume["density"].coordinates(), volume["density"].dense(BOX)


def state(path: Path, numbers: tuple[float | int, ...]) -> str:
    """Which of STATES the file is in."""
    if not numbers:
        return "no frame" if path.exists() else "no file"
    return "all frames" if len(numbers) == FRAMES else "some frames"


def peaks(folder: Path) -> list[dict[str, Any]]:
    """The peak memory of each step, with FEW frames and with MANY."""
    rows = dict[str, dict[str, Any]]()
    for count in (FEW, MANY):
        for step, code in steps(folder / f"fog{count}.inrv", count).items():
            found = in_own_process(f"{step}, {count} frames", code)
            row = rows.setdefault(step, {"step": step})
            row |= {
                f"peak_bytes_{count}": found["peak_bytes"],
                f"seconds_{count}": found["seconds"],
            }
    return list(rows.values())


def steps(path: Path, count: int) -> dict[str, str]:
    """The code of each step. It does not import this module, which would bring torch into it."""
    made = f"numbers = range({count})\nframes = (fog(number, {FOG_EDGE}) for number in numbers)\n"
    options = "inrv.EncodeOptions(effort='instant')"
    reading = f"import inrv\nfor volume in inrv.load({str(path)!r}).frames.values():\n    "
    return {
        "writing": (
            f"import inrv, numpy as np\nfrom numpy.typing import NDArray\n{inspect.getsource(fog)}"
            f"{made}with inrv.SequenceWriter({str(path)!r}, {options}, fps={RATE}) as writer:\n"
            "    for frame in frames:\n        writer.add(None, frame)\n"
        ),
        "decoding arrays": f"{reading}volume['density'].dense()\n",
        "decoding sparse grids": f"{reading}volume.to_sparse()\n",
    }


def report(run: dict[str, Any], trial: Trial, memory: list[dict[str, Any]]) -> str:
    """The whole report."""
    told = (
        f"{trial.kills} kills of {trial.runs} runs in {trial.chains} chains of {FRAMES} frames, "
        f"{GROUP} a group, seed {run['seed']}, {run['seconds']} s. Checks that failed: "
        f"{len(trial.wrong) or 'none'}.\n"
    )
    return (
        f"# Limits of sequences\n\n{describe(run)}\n\n## Kills\n\n{told}"
        + "".join(f"\n- {line}" for line in trial.wrong)
        + "\n" * bool(trial.wrong)
        + f"\n{counts('killed while it was', trial.rows(PHASES))}"
        + f"\n{counts('the file then had', trial.rows(STATES))}"
        + f"\n## Memory\n\nFog of {FOG_EDGE}^3 voxels, {FEW} frames a group.\n\n"
        + memory_table(memory)
    )


def counts(title: str, rows: list[dict[str, Any]]) -> str:
    """A table of kills by the way in which they came."""
    cells = [[row["name"], *(str(row[way]) for way in WAYS)] for row in rows]
    return table([title, *WAYS], cells)


def memory_table(rows: list[dict[str, Any]]) -> str:
    """The table of peaks."""
    few, many = f"peak_bytes_{FEW}", f"peak_bytes_{MANY}"
    cells = [
        [
            row["step"],
            f"{row[few] / 1e6:.0f}",
            f"{row[many] / 1e6:.0f}",
            f"{row[many] / row[few]:.2f}",
            f"{row[f'seconds_{MANY}']:.1f}",
        ]
        for row in rows
    ]
    header = ["step", f"{FEW} frames, MB", f"{MANY} frames, MB", "ratio", f"{MANY} frames, s"]
    return table(header, cells)


if __name__ == "__main__":
    main()
