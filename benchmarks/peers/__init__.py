"""The codecs that the benchmarks compare with, each behind `peer.Peer`, in the file of its package.

To add one, write a `Peer` and a line in `FOUND`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers.peer import Peer

# Name: module, class, and what its constructor takes of the command line's choices.
FOUND: dict[str, tuple[str, str, Callable[[dict[str, str]], tuple[Any, ...]]]] = {
    "SZ3": ("hdf5", "SZ3", lambda chosen: ()),
    "SPERR": ("hdf5", "SPERR", lambda chosen: ()),
    "ZFP": ("hdf5", "ZFP", lambda chosen: ()),
    "NanoVDB": ("nanovdb", "NanoVDB", lambda chosen: ()),
    "SVT-AV1": ("video", "SVTAV1", lambda chosen: (chosen["SVT-AV1"],)),
    "x265": ("video", "X265", lambda chosen: (chosen["x265"],)),
    "JPEG-XL": ("slices", "JPEGXL", lambda chosen: ()),
    "JPEG-2000": ("slices", "JPEG2000", lambda chosen: ()),
    "TTHRESH": ("tthresh", "TTHRESH", lambda chosen: ()),
    "DCT": ("dct", "DCT", lambda chosen: ()),
}
NAMES = tuple(FOUND)


def load(names: Sequence[str], presets: dict[str, str]) -> tuple[list[Peer], list[str]]:
    """Return the codecs that are installed, and a line on each that is not.

    names: of NAMES
    presets: of the encoders of video, by name
    """
    peers, lines = [], []
    for name in names:
        module, kind, arguments = FOUND[name]
        try:
            loaded = importlib.import_module(f"benchmarks.peers.{module}")
            peers.append(getattr(loaded, kind)(*arguments(presets)))
        # PyAV raises a ValueError of its own for an encoder that it was built without.
        except (ImportError, ValueError) as error:
            lines.append(f"{name} is left out: {error}")
        else:
            lines += [peers[-1].remark] if peers[-1].remark else []
    return peers, lines
