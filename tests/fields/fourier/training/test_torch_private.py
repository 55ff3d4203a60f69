"""PyTorch's private functions do, tensor by tensor, what its public ones do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from inrv.fields.fourier.training import torch_private
from inrv.fields.fourier.training.torch_private import add_each_, blend_each_, blended, scale_each_

SHAPES = ((3,), (16, 8), (), (2, 4, 4))
Change = Callable[[list[Tensor], list[Tensor]], object]


def tensors(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


@pytest.mark.parametrize(
    ("at_once", "one_by_one"),
    [
        (add_each_, Tensor.add_),
        (lambda these, _: scale_each_(these, 0.98), lambda this, _: this.mul_(0.98)),
        (
            lambda these, others: blend_each_(these, others, 0.05),
            lambda this, other: this.lerp_(other, 0.05),
        ),
    ],
    ids=["add_each_", "scale_each_", "blend_each_"],
)
def test_all_are_changed_in_place(
    at_once: Change, one_by_one: Callable[[Tensor, Tensor], Tensor]
) -> None:
    changed, others = tensors(0), tensors(1)
    places = [tensor.data_ptr() for tensor in changed]
    at_once(changed, others)
    assert [tensor.data_ptr() for tensor in changed] == places
    for found, tensor, other in zip(changed, tensors(0), others, strict=True):
        assert torch.equal(found, one_by_one(tensor, other))
    assert all(torch.equal(a, b) for a, b in zip(others, tensors(1), strict=True))


def test_what_is_blended_is_new() -> None:
    these, others = tensors(0), tensors(1)
    found = blended(these, others, 0.95)
    for one, this, other in zip(found, these, others, strict=True):
        assert torch.equal(one, this.lerp(other, 0.95))
    assert all(torch.equal(a, b) for a, b in zip(these, tensors(0), strict=True))


def test_every_one_of_them_has_a_test() -> None:
    own = {
        name
        for name, value in vars(torch_private).items()
        if callable(value) and value.__module__ == torch_private.__name__
    }
    assert own == {"add_each_", "scale_each_", "blend_each_", "blended"}
