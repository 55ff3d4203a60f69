"""Values between voxels: of arrays, and of tensors with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from inrv.decoding.points import different, nearest, trilinear

SLOPES = np.array([[1.0], [2.0], [-3.0]])


def test_trilinear_is_exact_on_a_linear_volume() -> None:
    points = np.random.default_rng(0).random((50, 3)) * 40 - 20
    found = trilinear(points, lambda coordinates: coordinates @ SLOPES + 5)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, points @ SLOPES + 5, rtol=1e-7, atol=1e-7)


def test_trilinear_of_tensors_has_the_gradient_of_a_linear_volume() -> None:
    slopes = torch.from_numpy(SLOPES).requires_grad_()

    def linear(coordinates: Any) -> torch.Tensor:
        assert isinstance(coordinates, np.ndarray) and coordinates.dtype == np.int64
        return torch.from_numpy(coordinates).double() @ slopes + 5

    points = (torch.rand(50, 3, dtype=torch.float64) * 40 - 20).requires_grad_()
    values = trilinear(points, linear)
    torch.testing.assert_close(values, points @ slopes + 5)
    values.sum().backward()
    torch.testing.assert_close(points.grad, torch.from_numpy(SLOPES.T).expand(50, 3))
    torch.testing.assert_close(slopes.grad, points.detach().sum(0)[:, None])


def test_arrays_and_tensors_give_the_same_bits() -> None:
    points = np.random.default_rng(1).random((200, 3)) * 9 - 4
    table = np.random.default_rng(2).random((32, 32, 32, 2), dtype=np.float32)

    def values(coordinates: Any) -> np.ndarray:
        return table[tuple((coordinates + 16).T)]

    for interpolation in (trilinear, nearest):
        of_tensors = interpolation(
            torch.from_numpy(points), lambda at: torch.from_numpy(values(at))
        )
        assert np.array_equal(interpolation(points, values), of_tensors.numpy())


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_voxel_without_weight_tells_nothing(odd: float) -> None:
    def values(coordinates: Any) -> np.ndarray:
        return np.where(coordinates[:, :1] > 2, odd, 1.0)

    points = np.array([[2.0, 0.5, 0.5], [1.5, 0.25, 0.75]])
    assert trilinear(points, values).tolist() == [[1.0], [1.0]]
    of_tensors = trilinear(torch.from_numpy(points), lambda at: torch.from_numpy(values(at)))
    assert of_tensors.tolist() == [[1.0], [1.0]]


def test_zero_keeps_its_sign() -> None:
    def values(coordinates: Any) -> np.ndarray:
        return np.where(coordinates[:, :1] < 2, np.float32(-0.0), np.float32(0.0))

    points = np.array([[0.0, 1.0, 2.0], [0.5, 0.25, 0.75], [1.5, 0.0, 0.0], [2.0, 0.5, 1.0]])
    of_tensors = trilinear(torch.from_numpy(points), lambda at: torch.from_numpy(values(at)))
    for found in (trilinear(points, values), of_tensors.numpy()):
        assert np.signbit(found[:, 0]).tolist() == [True, True, False, False]


def test_no_points_give_no_values() -> None:
    assert trilinear(np.empty((0, 3)), lambda at: at.astype(np.float32)).shape == (0, 3)
    assert trilinear(torch.empty(0, 3), lambda at: torch.from_numpy(at).float()).shape == (0, 3)


@pytest.mark.parametrize("far", [40, 1 << 32])
def test_the_different_ones_of_coordinates(far: int) -> None:
    coordinates = np.random.default_rng(0).integers(-3, 4, (500, 3))
    coordinates[::7] += far
    expected, places = np.unique(coordinates, axis=0, return_inverse=True)
    found, inverse = different(coordinates)
    assert np.array_equal(found, expected) and np.array_equal(inverse, places.reshape(-1))


def test_nearest_rounds_half_up() -> None:
    points = np.array([[0.5, -0.5, 1.49], [-0.51, 2.0, -3.2]])
    for asked in (nearest(points, lambda at: at), nearest(torch.from_numpy(points), lambda at: at)):
        assert asked.tolist() == [[1, 0, 1], [-1, 2, -3]]
