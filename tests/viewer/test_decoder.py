"""The decoder of the browser gives the bits that Python has: the npm package, in Node.js."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from fixtures.make_golden import FOLDER
from testing.viewer import built

SCRIPT = Path(__file__).with_name("decode.mjs")
LIBRARY = Path("viewer/dist/decoder.js").resolve()
# A channel of a reference, fitted networks; frequent values; a palette; no field; motion; wavelets.
NAMES = ["lattice", "bounded", "frequent", "palette", "no_field", "motion", "wavelet"]
LEVEL = 2


@pytest.fixture(scope="module")
def decoded() -> dict[str, Any]:
    built()
    paths = [str(FOLDER / f"{name}.inrv") for name in NAMES]
    done = subprocess.run(
        ["node", str(SCRIPT), str(LIBRARY), str(LEVEL), *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    found: dict[str, Any] = json.loads(done.stdout)
    return {Path(path).stem: frames for path, frames in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_values_and_active_voxels_are_those_of_python(decoded: dict[str, Any], name: str) -> None:
    first = inrv.load(FOLDER / f"{name}.inrv")
    frames = [first] if len(first.frames) < 2 else [first.frames[own] for own in first.frames]
    assert len(decoded[name]) == len(frames)
    for volume, grids in zip(frames, decoded[name], strict=True):
        assert [own["name"] for own in grids] == [grid.name for grid in volume.by_key.values()]
        for own, grid in zip(grids, volume.by_key.values(), strict=True):
            digest = hashlib.sha256()
            for corner in np.reshape(own["corners"], (-1, 3)).tolist():
                box = (corner, [low + 127 for low in corner])
                values = grid.dense(box, stride=1 << LEVEL)
                digest.update(np.ascontiguousarray(values).tobytes())
                digest.update(active(grid, box).tobytes())
            assert own["digest"] == digest.hexdigest()


def active(grid: inrv.VolumeGrid, box: Any) -> np.ndarray[Any, Any]:
    axes = [np.arange(low, high + 1, 1 << LEVEL) for low, high in zip(*box, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(grid.topology.active(places), dtype=np.uint8)
