"""Raw volumes, as SDRBench and Open SciVis have them: numbers without a header.

A `.json` of the same name says what a file holds: `{"shape": [SLOWEST, ..., FASTEST], "dtype":
"<f4"}`. Else the dimensions are numbers in the name of the file or of a folder above it, as in
`SDRBENCH-Miranda-256x384x384/velocityx.d64`, `marschner_512x512x512_float32.raw`,
`einspline_288_115_69_69.pre.f32` or `wmag91.float` (a cube); and the type is in the name, or it
follows from the size. SDRBench's names have the slowest axis first, others the fastest; of the two
orders the one is taken in which neighbours are closer to each other.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
TYPES = {
    r"f(loat)?32|float|flt|f4": "<f4",
    r"f(loat)?64|d64|double|f8": "<f8",
    r"u(int)?8|uchar": "<u1",
    r"i(nt)?8|char": "<i1",
    r"u(int)?16|ushort": "<u2",
    r"i(nt)?16|short": "<i2",
}
OF_SIZE = {1: "<u1", 2: "<u2", 4: "<f4", 8: "<f8"}  # where the name says nothing
OTHERS = (".json", ".vdb", ".md", ".txt", ".pdf", ".zip", ".gz", ".png", ".inrv")
DIMENSIONS = re.compile(r"\d+(?:x\d+){2,}|\d+(?:_\d+){2,}")


def find(folder: Path) -> list[Path]:
    """Return the files of a folder, and of folders within, that may be raw volumes."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in OTHERS and not path.name.startswith(".")
    )


def read(path: Path, top: Path) -> tuple[Array, str]:
    """Return a volume, its slowest axis first, and a line that says how it was read.

    Raises ValueError where neither a name nor a file beside it says its dimensions.

    path: of the volume
    top: the folder above which no name counts
    """
    sidecar = path.with_name(f"{path.name}.json")
    sidecar = sidecar if sidecar.exists() else path.with_suffix(".json")
    if sidecar.exists():
        said = json.loads(sidecar.read_text())
        shapes, kind = [tuple(said["shape"])], np.dtype(said["dtype"])
    else:
        shapes, kind = _guessed(path, top)
    size = path.stat().st_size
    if size != math.prod(shapes[0]) * kind.itemsize:
        raise ValueError(f"{path}: {size} bytes are not {shapes[0]} numbers of type {kind}")
    numbers = np.fromfile(path, kind)
    # Four dimensions are many volumes, one behind another, as SDRBench codes them too.
    volumes = [numbers.reshape(-1, *shape[-2:]) for shape in shapes]
    volume = min(volumes, key=_roughness)
    words = "x".join(map(str, volume.shape))
    return volume, f"{path.name}: {words}, the slowest axis first, {kind.name}"


def _guessed(path: Path, top: Path) -> tuple[list[tuple[int, ...]], np.dtype[Any]]:
    """Return the shapes that a name allows, in both orders, and the type."""
    size = path.stat().st_size
    inside = path.relative_to(top).parts
    named = [found for text in reversed((top.name, *inside)) for found in _shapes(text)]
    kinds = [
        np.dtype(kind)
        for words, kind in TYPES.items()
        if re.search(rf"(?<![a-z0-9])({words})(?![a-z0-9])", path.name.lower())
    ]
    for shape in named:
        count = math.prod(shape)
        by_size = [np.dtype(OF_SIZE[size // count])] if size / count in OF_SIZE else []
        for kind in kinds[:1] or by_size:
            if count * kind.itemsize == size:
                return list(dict.fromkeys([shape, shape[::-1]])), kind
    raise ValueError(
        f"{path}: no name says dimensions that its {size} bytes have; "
        f"{path.name}.json with shape and dtype can"
    )


def _shapes(text: str) -> Iterator[tuple[int, ...]]:
    """Yield the dimensions in a name: several numbers, or the edge of a cube."""
    for found in DIMENSIONS.findall(text):
        shape = tuple(map(int, re.split("[x_]", found)))
        if all(shape):
            yield shape
    for found in re.findall(r"\d+", text):
        if int(found):
            yield (int(found),) * 3


def _roughness(volume: Array) -> float:
    """Return the mean distance of neighbours in a few slices, which a wrong order makes larger."""
    middle = volume[:: max(1, len(volume) // 8)].astype(np.float64)
    return sum(float(np.mean(np.abs(np.diff(middle, axis=axis)))) for axis in (1, 2))
