"""Many cases on several processes; what went wrong is kept, with the memory and time it took."""

from __future__ import annotations

import faulthandler
import hashlib
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from fuzz.targets import TARGETS, Target, attempt

NEW = Path(__file__).resolve().parent / "findings" / "new"
ADDRESS_SPACE = 6 << 30  # beyond what a process has when it starts
STUCK = 10  # times the seconds a case may take: the process is ended
BLOCK = 500  # cases between two reports
WARMING = 20  # cases before any is measured
MOST_KEPT = 5  # files of one kind of finding


class TooSlow(Exception):
    """A case took longer than its target allows."""


@dataclass
class Report:
    """What came out of some cases. `findings` counts kinds of error that must not come out."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    slowest: float = 0.0
    slowest_case: int = -1
    peak: int = 0  # bytes a case added to what the process held
    peak_case: int = -1
    resident: int = 0  # bytes, the most a process held

    def add(self, other: Report) -> None:
        """Count another report in."""
        self.outcomes += other.outcomes
        self.findings += other.findings
        self.cases += other.cases
        if other.slowest > self.slowest:
            self.slowest, self.slowest_case = other.slowest, other.slowest_case
        if other.peak > self.peak:
            self.peak, self.peak_case = other.peak, other.peak_case
        self.resident = max(self.resident, other.resident)


def run_cases(
    target: Target,
    seed: int,
    numbers: range,
    folder: Path,
    memory: bool = False,
    current: Any = None,
    kept: Counter[str] | None = None,
) -> Report:
    """Try these cases in this process.

    memory  measure what each takes        current  is told the number of each
    kept    findings kept so far, by kind: MOST_KEPT of each are
    """
    report, kept = Report(), Counter() if kept is None else kept
    for number in numbers:
        if current is not None:
            current.value = number
        data = b""
        before = reset_peak() if memory else 0
        start = time.perf_counter()
        try:
            data = target.make(seed, number)
            outcome = guarded(target, data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            kind = finding_of(error)
            report.findings[kind] += 1
            outcome = "FINDING"
            kept[kind] += 1
            if kept[kind] <= MOST_KEPT:
                keep(folder, target, seed, number, data, kind, error)
        spent = time.perf_counter() - start
        if memory and (taken := peak_bytes() - before) > report.peak:
            report.peak, report.peak_case = taken, number
            if taken > target.memory and outcome != "FINDING":
                outcome = _too_much(report, folder, target, seed, number, data, taken)
        report.outcomes[outcome] += 1
        report.cases += 1
        if spent > report.slowest:
            report.slowest, report.slowest_case = spent, number
    report.resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return report


def _too_much(
    report: Report, folder: Path, target: Target, seed: int, number: int, data: bytes, taken: int
) -> str:
    kind = f"takes more than {target.memory >> 20} MiB"
    report.findings[kind] += 1
    keep(folder, target, seed, number, data, f"{kind}: {taken:,} bytes", None)
    return "FINDING"


def guarded(target: Target, data: bytes) -> str:
    """`attempt` within the target's time."""
    signal.setitimer(signal.ITIMER_REAL, target.seconds)
    try:
        return attempt(target, data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def watch_time() -> None:
    """Make the alarm of `guarded` an exception."""

    def ring(*_: Any) -> None:
        raise TooSlow("took longer than its target allows")

    signal.signal(signal.SIGALRM, ring)


def finding_of(error: BaseException) -> str:
    """What tells findings apart: the class of an error and the last line of ours it met."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame
        for frame in frames
        if f"{os.sep}inrv{os.sep}" in frame.filename or f"{os.sep}fuzz{os.sep}" in frame.filename
    ]
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {place}"


def keep(
    folder: Path,
    target: Target,
    seed: int,
    number: int,
    data: bytes,
    kind: str,
    error: BaseException | None,
) -> None:
    """The case's bytes and, beside them, how it came about."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:12]}{target.suffix}"
    path.write_bytes(data)
    told = "".join(traceback.format_exception(error)) if error is not None else ""
    path.with_suffix(".txt").write_text(
        f"{kind}\nseed {seed}, case {number}\n\n{told}", errors="backslashreplace"
    )


def run(
    name: str,
    cases: int,
    processes: int,
    seed: int,
    first: int = 0,
    seconds: float = 0,
    folder: Path = NEW,
) -> Report:
    """Try `cases` cases from number `first` on; with `seconds`, no longer than that."""
    context = multiprocessing.get_context("fork")
    end = first + cases
    shares = [
        range(first + share * cases // processes, first + (share + 1) * cases // processes)
        for share in range(processes)
    ]
    queue = context.Queue()
    until = time.monotonic() + seconds if seconds else 0
    workers = {}
    for share in shares:
        current = context.Value("q", share.start)
        workers[_started(context, name, seed, share, until, folder, queue, current)] = (
            current,
            share,
        )
    total = Report()
    while workers:
        _collect(queue, total)
        for process in [process for process in workers if not process.is_alive()]:
            current, share = workers.pop(process)
            process.join()
            if process.exitcode == 0:
                continue
            died = current.value
            _bury(name, seed, died, process.exitcode, folder, total)
            rest = range(died + 1, share.stop)
            workers[_started(context, name, seed, rest, until, folder, queue, current)] = (
                current,
                rest,
            )
    _collect(queue, total)
    assert total.cases <= end - first
    return total


def _started(
    context: Any,
    name: str,
    seed: int,
    share: range,
    until: float,
    folder: Path,
    queue: Any,
    current: Any,
) -> Any:
    process = context.Process(target=_work, args=(name, seed, share, until, folder, queue, current))
    process.start()
    return process


def _collect(queue: Any, total: Report) -> None:
    time.sleep(0.05)
    while not queue.empty():
        total.add(queue.get())


def _bury(name: str, seed: int, number: int, code: int | None, folder: Path, total: Report) -> None:
    """A case that ended its process, by a signal or because it was stuck."""
    target = TARGETS[name]()
    kind = f"process ended with {code}"
    keep(folder, target, seed, number, target.make(seed, number), kind, None)
    total.add(Report(Counter(FINDING=1), Counter({kind: 1}), 1))


def _work(
    name: str,
    seed: int,
    share: range,
    until: float,
    folder: Path,
    queue: Any,
    current: Synchronized[int],
) -> None:
    import torch

    torch.set_num_threads(1)
    target = TARGETS[name]()
    watch_time()
    limit_memory()
    run_cases(
        target, -1 - seed, range(WARMING), folder
    )  # so that what is loaded at first use is not taken for a case's own
    kept = Counter[str]()
    for start in range(share.start, share.stop, BLOCK):
        if until and time.monotonic() > until:
            break
        numbers = range(start, min(start + BLOCK, share.stop))
        faulthandler.dump_traceback_later(
            BLOCK * target.seconds if BLOCK < STUCK else STUCK * target.seconds + 60, exit=True
        )
        queue.put(
            run_cases(
                target, seed, numbers, folder, memory=name != "head", current=current, kept=kept
            )
        )
        faulthandler.cancel_dump_traceback_later()


def limit_memory() -> None:
    """No more address space than ADDRESS_SPACE beyond what there is."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESS_SPACE,) * 2)


def reset_peak() -> int:
    """Set the kernel's high-water mark back; resident bytes now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    """Resident bytes at most since `reset_peak`."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024
