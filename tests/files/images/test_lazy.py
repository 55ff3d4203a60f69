"""Numbers that are read when they are sliced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inrv.files.images.image import Image, volume_of
from inrv.files.images.lazy import Reordered
from inrv.grids import Box


class Counted:
    """An array that counts the numbers that are read of it."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.ndim, self.read = array.ndim, 0

    def __getitem__(self, index: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.array[index]
        self.read += found.size
        return found


INDICES = [
    ...,
    (slice(1, 3), slice(None), slice(2, 5), 1),
    (slice(1, 3), 0, slice(2, 5), slice(0, 1)),
    (0, ..., 1),
]


@pytest.mark.parametrize("index", INDICES)
def test_axes_in_another_order_read_what_is_asked_for(index: Any) -> None:
    array = np.arange(3 * 5 * 6 * 4).reshape(3, 5, 6, 4)
    held = Counted(array)
    lazy = Reordered(held, (3, 1, 2, 0))
    wanted = array.transpose(3, 1, 2, 0)[index]
    assert lazy.shape == (4, 5, 6, 3) and np.array_equal(lazy[index], wanted)
    assert held.read == wanted.size


@pytest.mark.parametrize("index", [..., (slice(2, 4), slice(None), 0), (slice(0, 2), 1, slice(1))])
def test_an_axis_that_the_numbers_lack_has_length_one(index: Any) -> None:
    array = np.arange(20).reshape(4, 5)
    lazy = Reordered(array, (1, 0, None))
    assert lazy.shape == (5, 4, 1)
    assert np.array_equal(lazy[index], array.T[..., None][index])


def test_a_part_of_an_image_is_read_alone() -> None:
    held = Counted(np.arange(6 * 5 * 4 * 3, dtype=np.int16).reshape(3, 4, 5, 6))
    image = Image(Reordered(held, (3, 2, 1, 0)), np.eye(4), slope=0.5, intercept=1.0)
    (grid,) = volume_of([image], "series.nii", [1]).grids
    assert grid.name == "series.1" and held.read == 6 * 5 * 4
    found = grid.dense(Box((0, 0, 0), (5, 4, 3)))[..., 0]
    assert np.array_equal(found, held.array[1].T * 0.5 + 1)
