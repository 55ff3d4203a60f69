"""What many tests need: the fixtures, and the corpus of real volumes where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Triton asks when it is imported, by whichever test: where there is no GPU, it interprets kernels.
if not any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of the self-made volumes."""
    return ROOT / "fixtures"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of third-party volumes, which is not part of this project."""
    folder = ROOT.parent / "shared" / "corpus"
    if not folder.is_dir():
        pytest.skip(f"the corpus of third-party volumes is not at {folder}")
    return folder
