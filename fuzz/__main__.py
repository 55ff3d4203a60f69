"""`python -m fuzz run --target head --cases 100000`, `python -m fuzz replay FILE...`.

`python -m fuzz core --target dot --cases 100000` is for functions of the C core.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fuzz import native
from fuzz.outcomes import KNOWN
from fuzz.runner import Report, finding_of, guarded, run, watch_time
from fuzz.targets import TARGETS


def main() -> int:
    """0 where nothing was found, 1 else."""
    options = _options()
    if options.command == "replay":
        return max([replay(Path(name)) for name in options.files], default=0)
    start = time.monotonic()
    if options.command == "core":
        found = native.run(
            native.driver(), options.target, options.cases, options.processes, options.seed
        )
        print(core_summary(options.target, found, time.monotonic() - start))
        return bool(found.findings)
    report = run(
        options.target,
        options.cases,
        options.processes,
        options.seed,
        options.first,
        options.seconds,
    )
    print(summary(options.target, report, time.monotonic() - start))
    return bool(report.findings)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_options = commands.add_parser("run", help="try many hostile files")
    run_options.add_argument("--target", choices=list(TARGETS), default="head")
    run_options.add_argument("--cases", type=int, default=100_000)
    run_options.add_argument("--first", type=int, default=0, help="number of the first case")
    run_options.add_argument("--processes", type=int, default=2)
    run_options.add_argument("--seed", type=int, default=0)
    run_options.add_argument("--seconds", type=float, default=0, help="stop after so long")
    core_options = commands.add_parser("core", help="try much hostile data on the C core")
    core_options.add_argument("--target", choices=list(native.SEEDS), required=True)
    core_options.add_argument("--cases", type=int, default=100_000)
    core_options.add_argument("--processes", type=int, default=2)
    core_options.add_argument("--seed", type=int, default=0)
    replay_options = commands.add_parser("replay", help="try kept files again")
    replay_options.add_argument("files", nargs="+")
    return parser.parse_args()


def replay(path: Path) -> int:
    """Try one file with every target for its kind, and say what comes out."""
    watch_time()
    worst = 0
    for name, make in TARGETS.items():
        target = make()
        if target.suffix != path.suffix:
            continue
        try:
            print(f"{path.name}: {name}: {guarded(target, path.read_bytes())}")
        except Exception as error:
            print(f"{path.name}: {name}: FINDING {finding_of(error)}: {error}")
            worst = 1
    return worst


def summary(name: str, report: Report, seconds: float) -> str:
    """The report in lines."""
    reached = {outcome for outcome in report.outcomes if outcome in KNOWN}
    missed = f"{len(reached)} of {len(KNOWN)}; not: {listed(KNOWN - reached)}"
    counts = counted(report.outcomes)
    rate = report.cases / seconds
    lines = [
        f"target {name}: {report.cases:,} cases in {seconds:,.0f} s, {rate:,.0f} a second",
        f"outcomes: {counts}",
        *([f"error conditions reached: {missed}"] if reached else []),
        f"slowest case: {report.slowest:.2f} s, number {report.slowest_case}",
        f"peak memory: {report.resident / 2**20:,.0f} MiB a process"
        + (f", {report.peak / 2**20:,.0f} MiB for case {report.peak_case}" if report.peak else ""),
        f"findings: {sum(report.findings.values())}",
        *(f"  {count:>6} {kind}" for kind, count in report.findings.most_common()),
    ]
    return "\n".join(lines)


def core_summary(name: str, report: native.Report, seconds: float) -> str:
    """The report on the core in lines."""
    lines = [
        f"core, target {name}: {report.outcomes.total():,} cases in {seconds:,.0f} s",
        f"outcomes: {counted(report.outcomes)}",
        f"steps in the code that were reached: {report.edges:,}",
        f"findings: {len(report.findings)}",
        *report.findings,
    ]
    return "\n".join(lines)


def counted(outcomes: Counter[str]) -> str:
    """Outcomes in a line, the most frequent first."""
    return ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.most_common())


def listed(names: Iterable[str]) -> str:
    """Names in a line."""
    return ", ".join(sorted(names)) or "none"


if __name__ == "__main__":
    sys.exit(main())
