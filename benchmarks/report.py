"""What the benchmarks share: device and date, tables, and where results go."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CORPUS = ROOT.parent / "shared" / "corpus"


def a_fire() -> Path:
    """A fire of the corpus, or the fixtures' own."""
    corpus = CORPUS / "fire" / "fire_0060.vdb"
    return corpus if corpus.exists() else ROOT / "fixtures" / "fire.vdb"


def environment(device: str | None) -> dict[str, Any]:
    """Device, threads, versions and date of a run."""
    import torch  # the benchmark in Blender has none

    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    cuda = kind.startswith("cuda")
    name = (
        torch.cuda.get_device_name(torch.device(kind))
        if cuda
        else f"{platform.machine()} CPU, {os.cpu_count()} cores"
    )
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def describe(run: dict[str, Any]) -> str:
    """One line on where and when."""
    return f"{run['device']}, {run['threads']} threads, torch {run['torch']}, {run['date']}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; the first column to the left, the others to the right."""
    ruler = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows]) + "\n"


def decibels(value: float) -> str:
    """A PSNR for a table; a file without any error has none."""
    return "exact" if value == float("inf") else f"{value:.2f}"


def save(name: str, text: str, data: dict[str, Any], folder: Path = RESULTS) -> None:
    """Print `text` and write <name>.md and .json into a folder, by default results/."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(_plain(data), indent=1, allow_nan=False) + "\n")
    where = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    print(f"\n{text}\nwritten: {where}/{name}.md, {name}.json")


def _plain(data: Any) -> Any:
    """JSON has no infinity: an infinite PSNR, no error at all, becomes null."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
