"""Numbers that stay in their file until they are sliced."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import mrcfile
import nibabel
import numpy as np
import pytest

from inrv import files
from inrv.files.images.file_type import ImageFiles
from inrv.support.inputs import FileInput
from tests.files.images.vti_files import dense

SHAPE = (60, 50, 40, 7)


@pytest.mark.parametrize("suffix", [".npy", ".nii", ".mrc", ".raw", ".mhd"])
def test_a_box_of_a_part_is_read_alone(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.int16)
    path = tmp_path / f"run{suffix}"
    if suffix == ".nii":
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    elif suffix == ".mrc":
        array = array[..., :1]
        with mrcfile.new(path) as file:
            file.set_data(np.ascontiguousarray(array[..., 0].transpose()))
    else:
        np.save(tmp_path / "run.npy", array)
        if suffix != ".npy":
            files.write(path, files.read(tmp_path / "run.npy"))
    kind: Any = files.file_type(suffix)
    assert isinstance(kind, ImageFiles)
    source, box = FileInput(str(path), str(path)), (slice(3, 9), slice(4, 8), slice(5, 6))
    part = array.shape[3] - 1
    kind.opened(source)  # imports what it needs
    tracemalloc.start()
    image = kind.opened(source)
    found = image.part_values(part, box)
    assert tracemalloc.get_traced_memory()[1] < 300_000 < array[..., 0].nbytes + 200_000
    tracemalloc.stop()
    assert np.array_equal(found, array[..., part][box])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">i2", "<f8", ">f4", "bool", "uint8"])
def test_arrays_of_any_order_are_mapped(tmp_path: Path, order: Any, dtype: str) -> None:
    array = np.asarray(np.arange(60).reshape(3, 4, 5) % 7, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    for source in (tmp_path / "a.npy", (tmp_path / "a.npy").read_bytes()):
        (grid,) = files.read(source).grids
        assert np.array_equal(dense(grid), array.astype(np.float32))


def test_a_file_may_be_written_over_the_one_that_was_read(tmp_path: Path) -> None:
    array = np.arange(60.0).reshape(3, 4, 5)
    np.save(tmp_path / "a.npy", array)
    files.write(tmp_path / "a.npy", files.read(tmp_path / "a.npy"))
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
