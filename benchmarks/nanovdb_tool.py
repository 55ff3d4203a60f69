"""NanoVDB, as its command line tool codes a grid with its topology: bit depth, then zip."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dense_codecs import Point, quality
from inrv.files.vdb import read_volume, write_volume
from inrv.grids import Box, Grid, SparseVolume

NAME = "NanoVDB"
TOOL = "nanovdb_convert"  # Debian: libnanovdb-tools
VARIABLE = tuple(
    10 ** (-exponent / 4) for exponent in range(2, 17)
)  # absolute errors of FpN, as shares of the range
FIXED = ("--fp4", "--fp8", "--fp16")


def installed() -> bool:
    """Whether the tool is there to compare with."""
    return shutil.which(TOOL) is not None


def points(grid: Grid, box: Box, dense: np.ndarray[Any, Any]) -> list[Point]:
    """Return what NanoVDB makes of `grid` at every error of VARIABLE and every depth of FIXED.

    `dense` are the values of `box`.
    """
    span = float(np.ptp(dense))
    variable = [["--fpN", "-a", f"{bound * span:.9g}"] for bound in VARIABLE]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.vdb")
        write_volume(source, SparseVolume((grid,)))
        return [
            _point(source, choice, box, dense)
            for choice in [*variable, *([choice] for choice in FIXED)]
        ]


def _point(source: Path, choice: list[str], box: Box, dense: np.ndarray[Any, Any]) -> Point:
    coded, returned = source.with_name("coded.nvdb"), source.with_name("returned.vdb")
    started = time.perf_counter()
    subprocess.run([TOOL, "-f", "-z", *choice, source, coded], check=True, capture_output=True)
    encoded = time.perf_counter()
    subprocess.run([TOOL, "-f", coded, returned], check=True, capture_output=True)
    decoded = time.perf_counter()
    psnr, largest = quality(read_volume(returned).grids[0].dense(box)[..., 0], dense)
    return Point(largest, coded.stat().st_size, psnr, largest, encoded - started, decoded - encoded)
