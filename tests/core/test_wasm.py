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


@pytest.mark.parametrize("frequencies", [1, 7, 33])
def test_it_computes_the_same(core: Module, frequencies: int) -> None:
    chance = np.random.default_rng(frequencies)
    places = chance.integers(0, 9, (40, 3), np.uint32)
    cosines, sines = chance.random((2, 9, frequencies), np.float32)
    found = np.zeros((2, 40, 2 * frequencies), np.float32)
    sizes = len(places), frequencies
    sets = core.call("inrv_instruction_sets")
    core.inrv_features(sets, places, *sizes, cosines, sines, 0, found[0])
    library().inrv_features(
        instruction_sets(), places, *sizes, cosines, sines, 0, found[1].ctypes.data
    )
    assert found.any() and np.array_equal(found[0], found[1])


def test_its_errors_become_exceptions(core: Module) -> None:
    nothing, numbers = np.zeros((1, 3), np.uint32), np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match="inrv_features"):
        core.inrv_features(0, nothing, 1, 1, numbers, numbers, 0, numbers)


def test_memory_that_was_handed_over_is_free_again(core: Module) -> None:
    places, table = np.zeros((2**18, 3), np.uint32), np.zeros((1, 1), np.float32)
    found, sets = np.zeros((2**18, 2), np.float32), core.call("inrv_instruction_sets")
    core.inrv_features(sets, places, len(places), 1, table, table, 0, found)
    pages = core.pages
    for _ in range(20):
        core.inrv_features(sets, places, len(places), 1, table, table, 0, found)
    assert core.pages == pages
