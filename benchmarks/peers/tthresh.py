"""TTHRESH, a Tucker decomposition of the whole box, as WebAssembly (numcodecs-wasm-tthresh).

That build, of 32 bits, cannot read back many boxes, one of 0.75 million voxels among them: it fails
or never ends. So each call is a process of its own with a limit, and such a box is reported and
left out. Where it works it may miss the error that it was asked for, and its bytes say little of
what a build of 64 bits would need.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers.peer import Array, Frame, Peer, Sample, Setting

PSNRS = tuple(rung / 2 for rung in range(20, 220))  # dB of the root mean square error asked for
LIMIT = 120  # seconds; a box of 1.4 million voxels takes three
CHILD = """
import sys, numpy
from numcodecs_wasm_tthresh import Tthresh
what, error, source, target = sys.argv[1:]
codec = Tthresh(eb_mode="rmse", eb_rmse=float(error))
numpy.save(target, numpy.asarray(getattr(codec, what)(numpy.load(source))))
"""


class TTHRESH(Peer):
    """TTHRESH at a root mean square error."""

    name = "TTHRESH"
    package = "numcodecs-wasm-tthresh"

    def __init__(self) -> None:
        if importlib.util.find_spec("numcodecs_wasm_tthresh") is None:
            raise ImportError(f"{self.package} is not installed")

    def settings(self, frame: Frame) -> list[Setting]:
        """Return its one setting that counts: its modes are three names for one error."""
        return [Setting("rmse", PSNRS)]

    def encode(self, sample: Sample, setting: Setting, parameter: float) -> bytes:
        """Code at the root mean square error of a PSNR."""
        error = sample.frame.span * 10 ** (-parameter / 20)
        return _call("encode", error, sample.dense).tobytes()

    def decode(self, data: bytes, frame: Frame, setting: Setting) -> Array:
        """Decode; the stream says how."""
        return _call("decode", 1.0, np.frombuffer(data, np.uint8)).reshape(frame.box.shape)


def _call(what: str, error: float, given: Array) -> Array:
    """Run one function of the codec. Raises RuntimeError where it fails or takes too long."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.npy"), Path(folder, "target.npy")
        np.save(source, given)
        command = [sys.executable, "-c", CHILD, what, str(error), str(source), str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)
        except subprocess.CalledProcessError as failure:
            raise RuntimeError(f"{what} fails on {given.shape}") from failure
        except subprocess.TimeoutExpired as late:
            raise RuntimeError(f"{what} takes over {LIMIT} s on {given.shape}") from late
        return np.asarray(np.load(target))
