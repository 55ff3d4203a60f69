"""Which values are frequent: a large share of the voxels has them, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrv.grids import FrequentValues, Grid, frequent_values, sparse_grid
from inrv.grids.frequent import MOST_FREQUENT

Floats = NDArray[np.float32]


def dense(values: Floats, background: float = 0.0) -> Grid:
    return sparse_grid(values, background=background, active=np.ones(values.shape[:3]))


def noise(shape: tuple[int, ...] = (20, 20, 20)) -> Floats:
    return np.random.default_rng(len(shape)).random(shape, dtype=np.float32) + 2


def found_in(grid: Grid) -> FrequentValues:
    return frequent_values(grid, np.ones(len(grid.values), dtype=bool))


def share(values: Floats, value: Any, part: float) -> Floats:
    """The values with `value` in a part of them, from the first on."""
    values.reshape(8000, -1)[: int(8000 * part)] = value
    return values


def test_values_that_mean_something_are_frequent_sooner_than_others() -> None:
    for value, background, least in (
        (0.0, 5.0, 0.1),
        (1.0, 0.0, 0.1),
        (7.5, 7.5, 0.1),
        (2.5, 0.0, 0.25),
        (9.0, 0.0, 0.1),
    ):
        for part, expected in ((least + 0.001, [[value]]), (least - 0.001, [])):
            assert (
                found_in(dense(share(noise(), value, part), background)).values.tolist() == expected
            ), (value, part)


def test_they_stand_where_they_were_and_in_the_order_of_their_frequency() -> None:
    values = noise()
    values[:12], values[12:16, :8], values[3, 3, 3] = 0.0, 1.0, 1.0
    grid = dense(values)
    found = found_in(grid)
    assert found.values.tolist() == [[0.0], [1.0]] and found.counts == [12 * 400 - 1, 4 * 160 + 1]
    rows = grid.topology.place_rows(found.places)
    assert (np.diff(found.places) > 0).all() and np.array_equal(
        found.leaf_values.values, grid.values[rows]
    )
    left = np.ones(len(grid.values), dtype=bool)
    left[rows] = False
    assert not (grid.values[left] < 2).any()


def test_the_sign_of_a_zero_tells_values_apart() -> None:
    values = share(noise(), 0.0, 0.6)
    values.reshape(-1)[:3000] = -0.0
    found = found_in(dense(values))
    assert np.signbit(found.values).tolist() == [[True], [False]] and found.counts == [3000, 1800]


def test_vectors_are_frequent_as_a_whole() -> None:
    vector = np.array([0.5, -0.0, 3.0], dtype=np.float32)
    values = share(noise((20, 20, 20, 3)), vector, 0.3)
    values.reshape(-1, 3)[:4000, 0] = 0.5
    found = found_in(dense(values))
    assert found.counts == [2400] and np.array_equal(
        found.values.view(np.int32), vector[None].view(np.int32)
    )


def test_vectors_with_the_same_hash_are_told_apart() -> None:
    """Two vectors of which the first of one and the second of the other make up for each other."""
    one, other = np.array([[5, 0, 9], [4, 1_000_003, 9]], dtype=np.int32).view(np.float32)
    values = share(noise((20, 20, 20, 3)), one, 0.8)
    values.reshape(-1, 3)[: 8000 // 4] = other
    for value, count in zip(
        found_in(dense(values)).values, found_in(dense(values)).counts, strict=True
    ):
        assert count == int(
            (values.reshape(-1, 3).view(np.int32) == value.view(np.int32)).all(axis=1).sum()
        )


def test_only_open_voxels_count() -> None:
    grid = dense(share(noise(), 0.0, 0.5))
    rows = grid.values[:, 0] > 0
    assert not len(frequent_values(grid, rows).values) and not len(
        frequent_values(grid, rows & ~rows).values
    )
    rows |= np.arange(len(rows)) % 4 == 0
    assert rows[grid.topology.place_rows(frequent_values(grid, rows).places)].all()


def test_they_are_few() -> None:
    values = noise()
    for power in range(12):
        values.reshape(-1)[: 8000 >> power] = float(power)
    assert 4 < len(found_in(dense(values)).values) <= MOST_FREQUENT
