"""The vectors say what the reference reader finds, and so does the library in the tiny files."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import SparseVolume
from inrv.files.vdb import write_volume
from inrv.grids import sparse_grid
from spec.reference import read
from spec.vectors.make import FOLDER, describe, files, text_of, with_dump, with_table
from spec.vectors.tiny import FILES

ACCURACY = 1e-4  # the accuracy class of spec/fourier.md


def same(found: Any, expected: Any, where: str = "") -> None:
    """Equal but for floats, which may differ by the accuracy class."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            same(found[place], value, f"{where}[{place}]")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=2 * ACCURACY, abs_tol=2 * ACCURACY), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_each_stage_gives_what_the_vectors_say(path: Path) -> None:
    """Floats that are exact are held by their SHA-256."""
    expected = json.loads((FOLDER / f"{path.stem}.json").read_text())
    same(json.loads(text_of(describe(path.read_bytes()))), expected)


def test_no_vector_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {path.stem for path in files()}


@pytest.mark.parametrize("name", FILES)
def test_tiny_files_are_as_they_are_made(name: str) -> None:
    assert (FOLDER / f"{name}.inrv").read_bytes() == FILES[name]()


@pytest.mark.parametrize("name", FILES)
def test_the_library_reads_the_tiny_files(name: str) -> None:
    data = (FOLDER / f"{name}.inrv").read_bytes()
    volume = inrv.load(data, device="cpu").to_sparse()
    assert [(grid.position, grid.data) for grid in volume.passthrough] == [
        (entry["position"], joined) for entry, joined in read.passthrough(data)
    ]
    for grid, other in zip(volume.grids, read.decode(data), strict=True):
        assert np.array_equal(grid.topology.coordinates(), other.coordinates)
        assert np.abs(np.asarray(grid.values) - other.values).max() <= 2 * ACCURACY
        assert np.array_equal(grid.tile_values, other.tile_values)
        assert np.array_equal(grid.lookup(other.inactive_coordinates), other.inactive_values)
    assert inrv.verify(data, device="cpu", decode=True).chunks == len(read.File(data).table)
    assert read.samples_difference(read.File(data)) <= ACCURACY


def test_the_command_still_writes_the_file_that_is_shown_byte_by_byte(tmp_path: Path) -> None:
    """From a .vdb file of three voxels, but for what depends on zstd's version and the release."""
    values = np.zeros((8, 8, 8), dtype=np.float32)
    values[0, 0, 0], values[0, 0, 1], values[7, 7, 7] = 0.25, 0.5, 1.0
    source, target = tmp_path / "three_voxels.vdb", tmp_path / "encoded.inrv"
    write_volume(source, SparseVolume((sparse_grid(values, "density"),)))
    subprocess.run(
        [sys.executable, "-m", "inrv_cli", "encode", str(source), "-o", str(target)], check=True
    )
    found, shown = (read.File(path.read_bytes()) for path in (target, FOLDER / "encoded.inrv"))
    assert found.manifest | {"generator": ""} == shown.manifest | {"generator": ""}
    assert [entry["type"] for entry in found.table] == [entry["type"] for entry in shown.table]
    for number, entry in enumerate(shown.table):
        assert found.payload(number, entry["type"]) == shown.payload(number, entry["type"])


def test_the_texts_have_what_the_maker_writes() -> None:
    for path, change in (
        (FOLDER / "README.md", with_table),
        (FOLDER.parent / "container.md", with_dump),
    ):
        assert change(path.read_text()) == path.read_text(), (
            f"{path}: run python -m spec.vectors.make"
        )
