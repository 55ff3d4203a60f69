"""The codes of a trellis: the path that an encoder chooses is the cheapest one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inrv.core.lattice import LISTED
from inrv.fields.lattice.codec import RATE_WEIGHT, TRELLIS_WEIGHT
from inrv.fields.lattice.constants import INPUTS
from inrv.fields.lattice.tokens import code_bits, tokens_of
from spec.reference import lattice
from testing.regions import STEPS, Box, Made, made, of_cells

CHAINS = lattice.CHAINS
LEAF: Box = ((64, 72), (8, 16), (120, 128))
REGIONS: dict[str, dict[str, Any]] = {
    "a leaf": {"box": LEAF, "share": 1.0},
    "a leaf, nothing known": {"box": LEAF, "share": 1.0, "exterior": "unknown"},
    "large codes": {"box": LEAF, "share": 1.0, "top": 200_000},
    "a range of some steps": {"box": LEAF, "share": 1.0, "top": 300},
    "a range of a step": {"box": LEAF, "share": 1.0, "top": 60},
}


@dataclass(frozen=True)
class Voxel:
    """A voxel of a chain.

    predicted, target: in units
    table: of its code
    step, top: of the quantiser and of the channel
    """

    predicted: int
    target: int
    table: int
    step: int
    top: int

    def codes(self, quantiser: int) -> list[int]:
        """The one whose value is nearest to what is aimed at, those beside it, and 0."""
        steps = abs(self.target - self.predicted) / self.step
        nearest = int(np.floor(steps + quantiser / 2 + 0.5))
        sign = -1 if self.target < self.predicted else 1
        found = {max(0, nearest - 1), nearest, nearest + 1, 0}
        return [sign * m for m in sorted(found) if sign * self.implied(m, quantiser) >= 0]

    def implied(self, magnitude: int, quantiser: int) -> int:
        """The only sign of a code; 0 where it has both, or none."""
        reach = (2 * magnitude - 1 - quantiser) * self.step
        above, below = 2 * self.predicted < reach, 2 * (self.top - self.predicted) < reach
        return 1 if above else -1 if below else 0

    def cost(self, code: int, quantiser: int, bits: NDArray[np.float32], weight: float) -> float:
        """Of a code, in squared steps."""
        magnitude, sign = abs(code), (code > 0) - (code < 0)
        missed = (self.target - self.predicted) / self.step - code + quantiser * sign / 2
        rate = float(bits[quantiser, self.table, min(magnitude, LISTED - 1)])
        rate -= bool(magnitude and self.implied(magnitude, quantiser))
        return missed * missed + weight * rate


@dataclass(frozen=True)
class Chain:
    """The voxels of a pass that follow each other through the states, with what was chosen."""

    state: int
    voxels: list[Voxel]
    codes: list[int]


class Judge:
    """What paths of a chain cost.

    chain: of some voxels
    bits: of magnitudes, float32 (2, 64, LISTED)
    weight: of a bit
    """

    def __init__(self, chain: Chain, bits: NDArray[np.float32], weight: float) -> None:
        self.chain = chain
        self.options = [
            [{code: own.cost(code, q, bits, weight) for code in own.codes(q)} for q in range(2)]
            for own in chain.voxels
        ]

    def chosen(self) -> float:
        """Of the path that the encoder chose."""
        state, cost = self.chain.state, 0.0
        for options, code in zip(self.options, self.chain.codes, strict=True):
            cost += options[state % 2][code]
            state = follow(state, code)
        return cost

    def greedy(self) -> float:
        """Of the path of an encoder that thinks of one voxel at a time."""
        state, cost = self.chain.state, 0.0
        for options in self.options:
            code, own = min(options[state % 2].items(), key=lambda item: item[1])
            cost += own
            state = follow(state, code)
        return cost

    def least(self, number: int = 0, state: int | None = None) -> float:
        """Of the cheapest path from a voxel on; every one is tried."""
        if number == len(self.options):
            return 0.0
        state = self.chain.state if state is None else state
        return min(
            cost + self.least(number + 1, follow(state, code))
            for code, cost in self.options[number][state % 2].items()
        )


@cache
def follow(state: int, code: int) -> int:
    token = int(tokens_of(np.array([abs(code)]))[0])
    return lattice.NEXT[state][token % 2]


class Noted(lattice.Region):
    """The reference reader's region, which notes what passes decode.

    passes: voxels, predictions, tables, level and codes of each
    """

    def take(self, voxels: Any, predicted: Any, tables: Any, level: int) -> None:
        passes = self.__dict__.setdefault("passes", [])
        codes, read = [], self.codes.read

        def noted(*about: Any) -> Any:
            found = read(*about)
            codes.append(found[0])
            return found

        self.codes.read = noted  # type: ignore[method-assign]
        super().take(voxels, predicted, tables, level)
        self.codes.read = read  # type: ignore[method-assign]
        passes.append((voxels, predicted, tables, level, codes[0]))


def chains_of(own: Made, weight: float) -> tuple[list[Chain], NDArray[np.int64], NDArray[np.int32]]:
    """The chains of every pass but the corner's; what the reference reader and the core decode."""
    codes, decoded = own.encode(weight)
    active, targets = np.zeros((2, 4096, 512), dtype=np.int64)
    leaves = own.region.leaves
    masks = np.unpackbits(leaves.masks, axis=1, bitorder="little").astype(bool)
    active[leaves.cells] = masks
    within = active.astype(bool)
    targets[within] = own.values
    exterior = None if own.region.exterior is None else np.zeros((128,) * 3, dtype=np.int64)
    config = {
        "steps": list(STEPS), "top": own.top, "background": 0, "reference": None,
        "lossless": False, "trellis": True, "restoration": False,
    }  # fmt: skip
    networks = {
        str(odd): {name: t.astype(np.int64) for name, t in own.model.networks[odd].tensors.items()}
        for odd in INPUTS
    }
    header = own.region.mean, own.region.spread
    reader = lattice.Codes(own.model.prior, 1 << codes.lanes)
    region = Noted(
        config, networks, reader, list(codes.segments), header, of_cells(active), None, exterior
    )
    values = region.decode()
    dense, states, found = of_cells(targets), [0] * CHAINS, list[Chain]()
    for voxels, predicted, tables, level, chosen in region.passes:  # type: ignore[attr-defined]
        for number in range(min(CHAINS, len(voxels))):
            rows = range(number, len(voxels), CHAINS)
            chain = [
                Voxel(int(predicted[row]), int(dense[tuple(voxels[row])]), int(tables[row]),
                      STEPS[level], own.top)
                for row in rows
            ]  # fmt: skip
            found.append(Chain(states[number], chain, [int(chosen[row]) for row in rows]))
            for row in rows:
                states[number] = follow(states[number], int(chosen[row]))
    return found, values, decoded


@cache
def region_of(name: str) -> Made:
    return made(trellis=True, restoration=False, **REGIONS[name])


@pytest.mark.parametrize("weight", [0.0, TRELLIS_WEIGHT, 8.0])
@pytest.mark.parametrize("name", REGIONS)
def test_no_path_is_cheaper_than_the_one_that_is_chosen(name: str, weight: float) -> None:
    """Of all paths of the chains of a leaf, of which none has more than four voxels."""
    own = region_of(name)
    bits = code_bits(own.model.prior)
    chains, values, decoded = chains_of(own, weight)
    assert np.array_equal(values[values != lattice.ABSENT], decoded)
    better = 0
    for chain in chains:
        judge = Judge(chain, bits, weight * RATE_WEIGHT)
        cost, least = judge.chosen(), judge.least()
        assert len(chain.voxels) <= 4 and cost <= least * (1 + 1e-5) + 1e-5
        better += cost < judge.greedy() - 1e-5
    assert len(chains) > 100
    assert better or "range" in name


def test_a_code_whose_sign_is_implied_has_the_only_one_that_can_be_worth_it() -> None:
    """With the other sign, the next smaller magnitude comes as near to every value in the range."""
    generator = np.random.default_rng(3)
    for _ in range(3000):
        top, step = int(generator.integers(1, 2000)), int(generator.integers(32, 513))
        predicted, quantiser = int(generator.integers(0, top + 1)), int(generator.integers(2))
        own = Voxel(predicted, 0, 0, step, top)
        ends = lattice.Ends(np.array([predicted]), top, step)
        for magnitude in range(1, 12):
            sign = ends.sign(0, magnitude, quantiser)
            assert sign == own.implied(magnitude, quantiser)
            smaller = 0 if magnitude == 1 else (2 * magnitude - 2 - quantiser) * step / 2
            larger = (2 * magnitude - quantiser) * step / 2
            down, up = ((smaller + larger) / 2 > room for room in (predicted, top - predicted))
            if magnitude > 1:
                assert (sign > 0) == down and (sign < 0) == (up and not down)
            assert not sign or (down if sign > 0 else up) or magnitude == 1


def test_chains_go_on_from_pass_to_pass() -> None:
    chains, _, _ = chains_of(region_of("a leaf"), TRELLIS_WEIGHT)
    assert {chain.state for chain in chains} == set(range(8))
