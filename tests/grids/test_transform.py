import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrv.errors import OptionError
from inrv.grids import Transform

finite = st.floats(-100, 100).map(lambda v: round(v, 3))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 10), st.floats(-math.pi, math.pi), finite, finite)
def test_world_and_index_are_inverse(size: float, angle: float, x: float, y: float) -> None:
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    transform = Transform(
        "AffineMap", ((cos, sin, 0, 0), (-sin, cos, 0, 0), (0, 0, 2 * size, 0), (x, y, 3, 1))
    )
    points = np.array([[0, 0, 0], [1, 2, 3], [-50, 7, 1000]], dtype=np.float64)
    back = transform.world_to_index(transform.index_to_world(points))
    np.testing.assert_allclose(back, points, atol=1e-7, rtol=1e-9)
    assert transform.index_to_world(points)[0].tolist() == [x, y, 3]
    assert transform.voxel_size == pytest.approx((size, size, 2 * size))


def test_tensors_stay_tensors_with_their_gradients() -> None:
    transform = Transform.from_voxel_size((0.5, 1, 2), (3, 4, 5))
    points = np.array([[0, 0, 0], [1, 2, 3]], dtype=np.float32)
    tensor = torch.from_numpy(points).requires_grad_()
    world = transform.index_to_world(tensor)
    assert world.dtype == torch.float32
    assert np.array_equal(world.detach().numpy(), transform.index_to_world(points))
    world.sum().backward()
    assert tensor.grad is not None and tensor.grad.tolist() == [[0.5, 1, 2]] * 2


@pytest.mark.parametrize(
    ("size", "origin", "kind"),
    [
        (0.5, (0, 0, 0), "UniformScaleMap"),
        (0.5, (1, 0, 0), "UniformScaleTranslateMap"),
        ((1, 2, 3), (0, 0, 0), "ScaleMap"),
        ((1, 2, 3), (0, 0, 9), "ScaleTranslateMap"),
    ],
)
def test_voxel_size_names_the_map_openvdb_would(
    size: float, origin: tuple[float, float, float], kind: str
) -> None:
    assert Transform.from_voxel_size(size, origin).map_type == kind


@pytest.mark.parametrize("matrix", [((1.0,),), ((0.0,) * 4,) * 4, ((math.nan,) * 4,) * 4])
def test_matrices_that_map_nothing_are_refused(matrix: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(OptionError, match="matrix"):
        Transform("AffineMap", matrix)


def test_unknown_maps_are_refused() -> None:
    with pytest.raises(OptionError, match="NonlinearFrustumMap"):
        Transform("NonlinearFrustumMap")
