"""The kernels compile for GPUs of NVIDIA and AMD, which need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("target", ["cuda:90", "hip:gfx90a"])
def test_every_kernel_compiles(tmp_path: Path, target: str) -> None:
    without = {name: own for name, own in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, "-m", "testing.compile_kernels", target],
        cwd=ROOT,
        env=without | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert len(run.stdout.splitlines()) == 11
