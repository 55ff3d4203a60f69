"""What a step trains on follows from the seed and its number."""

from __future__ import annotations

import pytest
import torch

from inrv.fields.fourier.training.order import Order

CPU = torch.device("cpu")


@pytest.mark.parametrize("batch", [1, 7, 10, 23])
def test_every_pass_takes_every_sample_once(batch: int) -> None:
    order = Order(23, batch, 5, CPU)
    steps = -(-3 * 23 // batch)
    rows = torch.cat([order.rows(step) for step in range(steps)])[: 3 * 23]
    assert all(len(order.rows(step)) == batch for step in range(steps))
    passes = rows.split(23)
    assert all(one.sort().values.tolist() == list(range(23)) for one in passes)
    assert not torch.equal(passes[0], passes[1])


def test_it_does_not_matter_what_was_asked_before() -> None:
    one, other = Order(23, 7, 5, CPU), Order(23, 7, 5, CPU)
    ahead = {step: one.rows(step) for step in (9, 0, 3, 40, 3)}
    for step in range(41):
        rows = other.rows(step)
        assert step not in ahead or torch.equal(ahead[step], rows)


@pytest.mark.parametrize("seed", [1, -1, 1 << 32, 1 << 70])
def test_every_seed_gives_another_order(seed: int) -> None:
    assert not torch.equal(Order(99, 99, 0, CPU).rows(0), Order(99, 99, seed, CPU).rows(0))
