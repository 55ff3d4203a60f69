"""NanoVDB, as its command line tool codes a grid with its topology: bit depth, then zip."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.peers.peer import BOUNDS, Array, Frame, Peer, Sample, Setting
from inrv.files.vdb import read_volume, write_volume
from inrv.grids import SparseVolume

TOOL = "nanovdb_convert"  # Debian: libnanovdb-tools


def installed() -> bool:
    """Whether the tool is there to compare with."""
    return shutil.which(TOOL) is not None


class NanoVDB(Peer):
    """NanoVDB with as many bits a voxel as an error needs, or with 4, 8 or 16."""

    name = "NanoVDB"
    old = True

    def __init__(self) -> None:
        if not installed():
            raise ImportError(f"{TOOL} is not installed")

    def settings(self, frame: Frame) -> list[Setting]:
        """Return the variable and the fixed depth."""
        return [Setting("FpN", BOUNDS, bounded=True), Setting("Fp", (4, 8, 16), bounded=True)]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Code at an absolute error of `parameter` times the range, or with that many bits."""
        depth = [f"--fp{parameter:g}"]
        if setting.name == "FpN":
            depth = ["--fpN", "-a", f"{parameter * sample.frame.span:.9g}"]
        with tempfile.TemporaryDirectory() as folder:
            source, coded = Path(folder, "source.vdb"), Path(folder, "coded.nvdb")
            write_volume(source, SparseVolume((sample.grid,)))
            _convert("-z", *depth, source, coded)
            return coded.read_bytes()

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Convert back to a .vdb file and read it."""
        with tempfile.TemporaryDirectory() as folder:
            coded, returned = Path(folder, "coded.nvdb"), Path(folder, "returned.vdb")
            coded.write_bytes(data)
            _convert(coded, returned)
            return read_volume(returned).grids[0].dense(frame.box)[..., 0]


def _convert(*arguments: str | Path) -> None:
    subprocess.run([TOOL, "-f", *arguments], check=True, capture_output=True)
