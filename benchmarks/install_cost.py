"""What inrv and each of its extras take: `python -m benchmarks.install_cost [EXTRA ...]`.

A wheel of this tree is installed into an empty environment, alone and with each extra of
pyproject.toml, in the versions of constraints.txt. The packages are downloaded before that. The
figures are the seconds of pip, the MB of site-packages, and the seconds of an import in a new
process, the best of five: of inrv, and of what the extra is for. That is the module of inrv that
has its name, or else the packages that it brings; without an extra, what encodes and decodes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tomllib

from benchmarks.report import ROOT, save, table

OURS = ("benchmarks", "dev")  # extras for those who work on inrv
RUNS = 5
HEADER = ["extra", "seconds to install", "MB", "`import inrv` s", "what it is for", "s"]
WITHOUT = ["from inrv import encode, load"]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
# What a process of the new environment prints: the names that the packages are imported by.
NAMES = """
import importlib.metadata as metadata, importlib.util as util, json, re, sys
extra, *packages = sys.argv[1:]
plain = lambda name: re.sub("[-_.]+", "-", name).lower()
homes = metadata.packages_distributions().items()
own = [name for name in (f"inrv.integrations.{extra}", f"inrv.{extra}") if util.find_spec(name)]
found = []
for package in map(plain, packages):
    names = [name for name, held in homes if package in map(plain, held) and name.isidentifier()]
    public = sorted(name for name in names if name[0] != "_")
    found += [name for name in public if plain(name) in package] or public
print(json.dumps([f"import {name}" for name in own[:1] or found]))
"""
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def main() -> None:
    """Measure the extras that are asked for."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = [name for name in extras if name not in OURS]
    parser.add_argument("extras", nargs="*", default=usual, metavar="EXTRA", help="(all of a user)")
    parser.add_argument("--name", default="install_cost", help="name of the results (%(default)s)")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run(*PIP, "wheel", "--no-deps", str(ROOT), "--wheel-dir", folder)
        (wheel,) = Path(folder).glob("inrv-*.whl")
        for extra in ["", *arguments.extras]:
            rows.append(measured(wheel, extra, list(packages_of(extra, extras))))
            print(rows[-1], flush=True)
    where = f"{platform.machine()} CPU, {os.cpu_count()} cores, Python {platform.python_version()}"
    date = datetime.date.today().isoformat()
    shown = table(HEADER, [cells(row) for row in rows])
    text = f"# What an installation takes\n\n{where}, {date}\n\n{shown}"
    save(arguments.name, text, {"environment": where, "date": date, "rows": rows})


def packages_of(extra: str, extras: dict[str, list[str]]) -> Iterator[str]:
    """The names of the packages that an extra names, those of the extras in it too."""
    for wanted in extras.get(extra, []):
        name, *inner = re.findall(r"^[\w.-]+|(?<=\[)[^\]]+", wanted)
        if name == "inrv":
            for part in inner[0].split(","):
                yield from packages_of(part, extras)
        else:
            yield name


def measured(wheel: Path, extra: str, packages: Sequence[str]) -> dict[str, Any]:
    """Install the wheel with an extra, and import what the extra is for.

    packages: that the extra names
    """
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    limits = ("--constraint", str(ROOT / "constraints.txt"))
    with tempfile.TemporaryDirectory() as folder:
        wheels, place = Path(folder, "wheels"), Path(folder, "venv")
        try:
            run(*PIP, "wheel", wanted, "--wheel-dir", str(wheels), *limits)
        except subprocess.CalledProcessError as error:
            return {"extra": extra, "failed": error.stderr.strip().splitlines()[-1]}
        venv.create(place, symlinks=True)
        python = str(place / "bin" / "python")
        offline = ("--no-index", "--find-links", str(wheels))
        start = time.perf_counter()
        run(*PIP, "--python", python, "install", wanted, *offline, *limits)
        seconds = time.perf_counter() - start
        (site,) = place.glob("lib/python*/site-packages")
        size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
        use = json.loads(run(python, "-c", NAMES, extra, *packages)) if extra else WITHOUT
        return {
            "extra": extra,
            "seconds": seconds,
            "bytes": size,
            "import": imported(python, "import inrv"),
            "use": use,
            "import_use": imported(python, "; ".join(use)),
        }


def imported(python: str, imports: str) -> float:
    """The seconds that imports take in a new process, the best of some runs."""
    code = TIMED.format(imports)
    return min(float(run(python, "-c", code).splitlines()[-1]) for _ in range(RUNS))


def run(*command: str) -> str:
    """What a command prints. Raises CalledProcessError."""
    away = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, env=away, cwd=ROOT.anchor, capture_output=True, text=True, check=True
    ).stdout


def cells(row: dict[str, Any]) -> list[str]:
    """A row for people."""
    extra = f"`{row['extra']}`" if row["extra"] else "none"
    if "failed" in row:
        return [extra, "", "", "", "pip cannot install it here", ""]
    return [
        extra,
        f"{row['seconds']:.0f}",
        f"{row['bytes'] / 1e6:.0f}",
        f"{row['import']:.2f}",
        ", ".join(f"`{statement}`" for statement in row["use"]),
        f"{row['import_use']:.2f}",
    ]


if __name__ == "__main__":
    main()
