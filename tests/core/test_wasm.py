"""The C core as WebAssembly computes what the library computes."""

from __future__ import annotations

import numpy as np
import pytest

from inrv.core.library import INSTRUCTION_SETS, instruction_sets, library
from testing.wasm import Module, module


@pytest.fixture(params=["plain", "simd128"])
def core(request: pytest.FixtureRequest) -> Module:
    return module(request.param)


@pytest.mark.parametrize("variant", ["plain", "simd128"])
def test_a_module_has_one_variant(variant: str) -> None:
    assert module(variant).call("inrv_instruction_sets") == INSTRUCTION_SETS[variant]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 33, 1000])
def test_it_computes_the_same(core: Module, count: int) -> None:
    chance = np.random.default_rng(count)
    a, b = chance.integers(-128, 128, (2, count), np.int8)
    sums = np.zeros((2, 1), np.int32)
    core.inrv_dot(core.call("inrv_instruction_sets"), a, b, count, sums[0])
    library().inrv_dot(instruction_sets(), a, b, count, sums[1])
    assert sums[0] == sums[1]


def test_its_errors_become_exceptions(core: Module) -> None:
    with pytest.raises(ValueError, match="inrv_dot"):
        core.inrv_dot(0, np.zeros(1, np.int8), np.zeros(1, np.int8), 1, np.zeros(1, np.int32))


def test_memory_that_was_handed_over_is_free_again(core: Module) -> None:
    big, sum_ = np.zeros(2**20, np.int8), np.zeros(1, np.int32)
    sets = core.call("inrv_instruction_sets")
    core.inrv_dot(sets, big, big, big.size, sum_)
    pages = core.pages
    for _ in range(20):
        core.inrv_dot(sets, big, big, big.size, sum_)
    assert core.pages == pages
