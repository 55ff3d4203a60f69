import math

import pytest
import torch

from inrv.errors import OptionError
from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.selection import Samples
from inrv.fields.fourier.shape import FourierConfig
from inrv.fields.fourier.training import TrainingPlan, TrainingProgress, objective, optimiser, train


def samples() -> Samples:
    coordinates = torch.cartesian_prod(*[torch.arange(12, dtype=torch.int32)] * 3)
    x, y, z = (coordinates.float() / 12).unbind(1)
    targets = torch.stack([0.5 + 0.5 * torch.sin(6 * x + 2 * y), z * x], dim=1)
    return Samples(coordinates, targets, None)


def network(seed: int = 0) -> FourierNetwork:
    config = FourierConfig(40, 3, 16, 2, (0.0, 0.0, 0.0), 1 / 12, "silu")
    return FourierNetwork(config, torch.linspace(0.5, 3, 40), torch.Generator().manual_seed(seed))


def test_training_fits_the_samples() -> None:
    fitted, data = network(), samples()
    result = train(fitted, data, TrainingPlan(epochs=60, batch=256, rate=1e-2))
    error = (fitted(data.coordinates) - data.targets).square().mean().item()
    assert -10 * math.log10(error) > 30
    assert result.steps == 60 * 7 and result.stopped_by == "epochs" and result.epochs == 60


def test_the_same_seed_gives_the_same_weights() -> None:
    networks = [network(), network(), network()]
    for one, seed in zip(networks, (1, 1, 2), strict=True):
        train(one, samples(), TrainingPlan(epochs=2, batch=256, rate=1e-2, seed=seed))
    same, other = networks[1].tensors(), networks[2].tensors()
    assert all(torch.equal(tensor, same[name]) for name, tensor in networks[0].tensors().items())
    assert any(
        not torch.equal(tensor, other[name]) for name, tensor in networks[0].tensors().items()
    )


def test_it_stops_at_the_target() -> None:
    result = train(
        network(), samples(), TrainingPlan(epochs=500, batch=256, rate=1e-2, target_psnr=18)
    )
    assert result.stopped_by == "target-psnr" and result.epochs < 100


def test_it_stops_in_time() -> None:
    result = train(
        network(), samples(), TrainingPlan(epochs=1e6, batch=256, rate=1e-2, max_time=0.5)
    )
    assert result.stopped_by == "max-time" and 0.5 <= result.seconds < 2


def test_values_that_do_not_count_are_not_learned() -> None:
    data = samples()
    counted = torch.ones_like(data.targets, dtype=torch.bool)
    counted[:, 1] = False
    spoilt = data.targets.clone()
    spoilt[:, 1] = 1e6
    fitted = network()
    train(
        fitted,
        Samples(data.coordinates, spoilt, counted),
        TrainingPlan(epochs=60, batch=256, rate=1e-2),
    )
    outputs = fitted(data.coordinates)
    assert (outputs[:, 0] - data.targets[:, 0]).abs().mean() < 0.05
    assert outputs[:, 1].abs().max() < 100


def test_progress_is_reported() -> None:
    seen: list[TrainingProgress] = []
    train(
        network(),
        samples(),
        TrainingPlan(epochs=1e6, batch=256, rate=1e-2, max_time=0.7),
        seen.append,
    )
    assert seen and all(
        p.loss > 0 and p.seconds_left >= 0 and p.psnr == pytest.approx(-10 * math.log10(p.loss))
        for p in seen
    )


@pytest.mark.parametrize(
    "values", [{"epochs": 0}, {"epochs": math.inf}, {"batch": -1}, {"max_time": 0}]
)
def test_senseless_plans_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        TrainingPlan(**{"epochs": 1, "batch": 8, "rate": 1e-3, **values})


def test_any_number_of_threads_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "WORTH_PARTS", 1.0)
    monkeypatch.setattr(objective, "PART_WORK", 1e5)
    monkeypatch.setattr(optimiser, "LARGE_MATRIX", 1)
    before, networks = torch.get_num_threads(), [network(), network(), network()]
    try:
        for one, count in zip(networks, (1, 2, 5), strict=True):
            torch.set_num_threads(count)
            train(one, samples(), TrainingPlan(epochs=2, batch=256, rate=1e-2, optimiser="muon"))
    finally:
        torch.set_num_threads(before)
    first, *others = (one.tensors() for one in networks)
    assert all(
        torch.equal(tensor, other[name]) for other in others for name, tensor in first.items()
    )
