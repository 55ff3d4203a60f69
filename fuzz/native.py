"""Hostile bytes for the C core, which is compiled with the sanitizers of gcc or clang."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fuzz.regions import number_seeds, region_seeds
from fuzz.sequences import sequence_files
from inrv.core.masks import MASK_BYTES, PRIOR_BYTES, MaskLeaves, encode_region_masks
from scripts import build_core
from testing.rebuild import uncompressed

HERE = Path(__file__).resolve().parent
NEW = HERE / "findings" / "new"
GOLDEN = HERE.parent / "fixtures" / "golden"
# What is left out costs gcc a minute a file of vector code, and address finds the same mistakes.
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize=null,object-size,pointer-overflow"
SANITIZERS += " -fno-sanitize-recover=all"
# The build of the library has shown the warnings; without optimisation there are others.
OPTIONS = f"-w -g1 -fno-omit-frame-pointer -fsanitize-coverage=trace-pc {SANITIZERS}"
OPTIONS += " -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION"

# The bytes that each target of core/targets.c begins with: good ones. Kept findings are added.
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "region": region_seeds,
    "numbers": number_seeds,
    "masks": lambda: [_masks(predicted) for predicted in (False, True)],
    "file": lambda: [uncompressed(path.read_bytes()) for path in sorted(GOLDEN.glob("*.inrv"))],
    "sequence": lambda: list(sequence_files(plain=True).values()),
}


def _masks(predicted: bool) -> bytes:
    """Masks of four leaves as the target `masks` reads them."""
    kinds = np.array([0, 1, 2, 0], dtype=np.uint8)
    masks = np.zeros((4, MASK_BYTES), dtype=np.uint8)
    masks[0, :40], masks[1], masks[3, ::3] = 0x3F, 255, 0x81
    reference = np.repeat(kinds[:, None], MASK_BYTES, axis=1) if predicted else None
    leaves = MaskLeaves(np.arange(4, dtype=np.uint16), kinds, reference)
    coded = encode_region_masks(np.zeros(PRIOR_BYTES, dtype=np.int8), leaves, masks)
    return bytes([4, predicted, 0, *kinds, *bytes(12)]) + coded


@dataclass
class Report:
    """What came out.

    outcomes: how often each; an error of the format by its id
    edges: steps in the code that were reached
    findings: what a sanitizer said, with the file that makes it say so
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    edges: int = 0
    findings: list[str] = field(default_factory=list)


def has_sanitizers() -> bool:
    """Whether there is a compiler that brings them; that of ziglang does not."""
    compiler = build_core.system_compiler()
    return compiler is not None and compiler.works(*SANITIZERS.split())


def driver(level: str = "-O1", targets: Path = HERE / "core" / "targets.c") -> Path:
    """Compile the core with the program that feeds it, as far as that is necessary.

    level: how far the compiler optimises; -O0 is compiled fast and runs slowly
    targets: the C file that has the targets
    """
    compiler = build_core.system_compiler()
    if compiler is None:
        raise build_core.BuildError("the sanitizers are those of gcc or clang: install one")
    output = build_core.ROOT / "build" / f"fuzz-{targets.stem}{level}"
    objects = build_core.compile_objects(
        compiler,
        [f"-I{HERE / 'core'}", level, *OPTIONS.split()],
        sources=[HERE / "core" / "driver.c", targets],
    )
    build_core.link(compiler, objects, output, SANITIZERS.split())
    return output


def run(
    program: Path, target: str, cases: int, processes: int, seed: int, folder: Path = NEW
) -> Report:
    """Try damaged bytes on a target.

    program: the driver
    target: a name in SEEDS
    cases: how many; with 0 the seeds alone are tried, and the findings that are kept
    processes: how many share them, each with other numbers
    seed: the same one makes the same cases
    folder: where findings and seeds are written
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted((HERE / "findings").glob(f"*.{target}"))
    for number, data in enumerate(SEEDS[target]()):
        files.append(folder / f"{number}.seed")
        files[-1].write_bytes(data)

    def one(process: int) -> tuple[Path, subprocess.CompletedProcess[str]]:
        share = cases // processes + (process < cases % processes)
        found = folder / f"{seed}-{process}.{target}"
        found.unlink(missing_ok=True)
        numbers = [str(share), str(seed * 1000 + process)]
        command = [str(program), target, *numbers, str(found), *map(str, files)]
        return found, subprocess.run(command, capture_output=True, text=True, check=False)

    report = Report()
    with ThreadPoolExecutor(processes) as pool:
        for found, done in pool.map(one, range(processes)):
            if done.returncode:
                report.findings.append(f"{found}: {done.stderr[-4000:]}")
            for line in done.stdout.splitlines():
                name, count = line.split()
                if name == "edges":
                    report.edges = max(report.edges, int(count))
                else:
                    report.outcomes[name] += int(count)
    return report
