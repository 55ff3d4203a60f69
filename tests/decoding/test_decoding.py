import pytest
import torch

from inrv.decoding.points import different, nearest, trilinear
from inrv.fields.fourier import evaluation as voxels
from inrv.fields.fourier.evaluation import decode_active, evaluate
from inrv.fields.fourier.network import FourierConfig, FourierNetwork
from inrv.grids import sparse_grid


def field() -> FourierNetwork:
    config = FourierConfig(40, 3, 16, 3, (0.0, 0.0, 0.0), 1 / 30, "relu")
    return FourierNetwork(config, torch.linspace(0.5, 3, 40), torch.Generator().manual_seed(0)).eval()


def fog(seed: int) -> torch.Tensor:
    values = torch.rand(30, 20, 17, generator=torch.Generator().manual_seed(seed))
    values[values < 0.7] = 0
    return values


def test_grids_with_different_topologies_decode_together_as_alone(monkeypatch) -> None:
    monkeypatch.setattr(voxels, "batch_voxels", lambda *_: 1000)
    network = field()
    topologies = [sparse_grid(fog(1)).topology, sparse_grid(torch.roll(fog(2), 9, 0)).topology, sparse_grid(fog(1)).topology]
    columns = [[0], [1, 2], []]
    together = decode_active(network, topologies, columns)
    for topology, chosen, found in zip(topologies, columns, together, strict=True):
        with torch.no_grad():
            expected = network(topology.coordinates().float())[:, chosen]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_batches_do_not_change_the_outputs() -> None:
    network, points = field(), torch.rand(1000, 3) * 30
    torch.testing.assert_close(evaluate(network, points, batch=77), network(points), atol=1e-6, rtol=1e-5)


def test_trilinear_is_exact_on_a_linear_volume_and_has_its_gradient() -> None:
    def linear(c: torch.Tensor) -> torch.Tensor:
        return (c.double() @ torch.tensor([[1.0], [2.0], [-3.0]], dtype=torch.float64)) + 5

    points = (torch.rand(50, 3, dtype=torch.float64) * 40 - 20).requires_grad_()
    values = trilinear(points, linear)
    torch.testing.assert_close(values, linear(points))
    values.sum().backward()
    torch.testing.assert_close(points.grad, torch.tensor([[1.0, 2.0, -3.0]], dtype=torch.float64).expand(50, 3))


def test_no_points_give_no_values() -> None:
    assert trilinear(torch.empty(0, 3), lambda c: c.float()).shape == (0, 3)


@pytest.mark.parametrize("far", [40, 1 << 32])
def test_the_different_ones_of_coordinates(far: int) -> None:
    coordinates = torch.randint(-3, 4, (500, 3), generator=torch.Generator().manual_seed(0))
    coordinates[::7] += far
    expected, places = torch.unique(coordinates, dim=0, return_inverse=True)
    found, inverse = different(coordinates)
    assert torch.equal(found, expected) and torch.equal(inverse, places)


def test_nearest_rounds_half_up() -> None:
    asked = nearest(torch.tensor([[0.5, -0.5, 1.49], [-0.51, 2.0, -3.2]]), lambda c: c)
    assert asked.tolist() == [[1, 0, 1], [-1, 2, -3]]
