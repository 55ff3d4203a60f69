"""Regions in the core: every variant gives the same, damage is told, and mistakes are refused."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from inrv.core import lattice
from inrv.core.lattice import LEVELS, RegionCodes, Scaling, errors_by_unit, offset_sums
from inrv.core.library import INSTRUCTION_SETS, library
from inrv.errors import FormatError
from inrv.fields.lattice.codec import RATE_WEIGHT, code_bits
from inrv.support.parallel import in_threads
from testing.regions import KERNELS, STEPS, Box, Ints, Made, at_multiples, kernels, made

WHOLE: Box = ((0, 128), (0, 128), (0, 128))
LEAF: Box = ((0, 8), (0, 8), (0, 8))
REGIONS: dict[str, dict[str, Any]] = {
    "background around": {},
    "nothing known around": {"exterior": "unknown"},
    "any values around": {"exterior": "dense", "background": -700},
    "no filter": {"restoration": False},
    "nothing known, no filter": {"exterior": "unknown", "restoration": False},
    "a reference": {"reference_top": 7000},
    "a reference, nothing known": {"reference_top": 300_000, "exterior": "unknown"},
    "a reference, any values around": {"reference_top": 50, "exterior": "dense"},
    "lossless": {"lossless": True, "restoration": False, "top": 128 * 1600},
    "lossless, a reference": {
        "lossless": True, "restoration": False, "top": 128 * 60, "reference_top": 128 * 9,
    },
    "a high top": {"top": 200_000, "exterior": "dense", "background": 99_999},
    "the highest top": {"top": 1 << 23, "reference_top": 1 << 23, "background": 1 << 23},
    "the highest top, no filter": {"top": 1 << 23, "exterior": "unknown", "restoration": False},
    "the lowest top": {"top": 1},
    "a steep exterior": {"top": 32768, "exterior": "dense", "reference_top": 32768},
    "the whole edge": {"box": ((0, 128), (0, 8), (120, 128)), "share": 0.9},
    "far corners": {"box": ((111, 128), (0, 17), (63, 128)), "share": 1.0},
    "one leaf": {"box": LEAF, "share": 1.0},
    "one leaf, nothing known": {"box": LEAF, "share": 1.0, "exterior": "unknown"},
    "one voxel": {"box": ((77, 78), (3, 4), (127, 128)), "share": 1.0},
    "the corner": {"box": ((0, 1), (0, 1), (0, 1)), "share": 1.0},
    "few voxels everywhere": {"box": WHOLE, "share": 0.01},
    "no voxel": {"box": LEAF, "share": 0.0},
    "a trellis": {"trellis": True},
    "a trellis, nothing known": {"trellis": True, "exterior": "unknown", "restoration": False},
    "a trellis, a reference": {"trellis": True, "reference_top": 7000, "exterior": "dense"},
    "a trellis, a low top": {"trellis": True, "top": 150, "restoration": False},
    "a trellis, the lowest top": {"trellis": True, "top": 1},
    "a trellis, the highest top": {"trellis": True, "top": 1 << 23, "reference_top": 1 << 23},
    "a trellis, the edge": {"trellis": True, "box": ((0, 128), (0, 8), (120, 128)), "share": 0.9},
    "a trellis, few voxels": {"trellis": True, "box": WHOLE, "share": 0.01},
    "a trellis, one voxel": {"trellis": True, "box": ((0, 1), (0, 1), (0, 1)), "share": 1.0},
    "a trellis, no voxel": {"trellis": True, "box": LEAF, "share": 0.0},
}  # fmt: skip
NAMES = sorted(REGIONS)


@cache
def region_of(name: str) -> Made:
    return made(**REGIONS[name])


@cache
def coded(name: str) -> tuple[RegionCodes, Ints]:
    """What plain C makes of a region."""
    with kernels("plain"):
        return region_of(name).encode()


def same_codes(one: RegionCodes, other: RegionCodes) -> bool:
    return (one.lanes, one.segments, one.cut) == (other.lanes, other.segments, other.cut)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_every_variant_codes_and_decodes_the_same(name: str, kernel: str) -> None:
    own, (codes, values) = region_of(name), coded(name)
    assert values.dtype == np.int32 and values.shape == own.values.shape
    assert not len(values) or 0 <= values.min() <= values.max() <= own.top
    with kernels(kernel):
        found, decoded = own.encode()
        assert same_codes(found, codes) and np.array_equal(decoded, values)
        assert np.array_equal(own.decode(codes), values)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_every_variant_gives_the_same_contexts(name: str, kernel: str) -> None:
    own = region_of(name)
    with kernels("plain"):
        expected = vars(own.sampled(0.3, seed=5)[2])
    with kernels(kernel):
        found = vars(own.sampled(0.3, seed=5)[2])
    predicted = expected["odd"] > 0
    for column, array in expected.items():
        assert found[column].dtype == array.dtype, column
        own_part = predicted if column in ("predicted", "table") else slice(None)
        assert np.array_equal(found[column][own_part], array[own_part]), column


def test_large_regions_have_lanes_and_segments_and_small_ones_have_not() -> None:
    large, small = coded("no filter")[0], coded("one leaf")[0]
    assert large.cut and len(large.segments) == 4 and large.lanes >= 2 and large.size > 4096
    assert not small.cut and len(small.segments) == 1 and small.lanes == 0
    whole = made(box=WHOLE, share=0.5, exterior="unknown")
    codes, values = whole.encode()
    assert codes.lanes >= 4
    for kernel in KERNELS:
        with kernels(kernel):
            assert np.array_equal(whole.decode(codes), values)


@pytest.mark.parametrize("name", [name for name in NAMES if "lossless" in name])
def test_a_lossless_region_comes_back(name: str) -> None:
    _, values = region_of(name).encode(weight=0.0)
    assert np.array_equal(values, region_of(name).values)


@pytest.mark.parametrize(
    "name",
    [n for n in NAMES if region_of(n).model.restoration is None and not n.startswith("a trellis")],
)
def test_the_nearest_code_is_half_a_step_away_at_most(name: str) -> None:
    own = region_of(name)
    _, values = own.encode(weight=0.0)
    missed = np.abs(values - own.values)
    for level in range(LEVELS):
        at = at_multiples(own.region.leaves, level)
        assert missed[at].max(initial=0) <= STEPS[level] // 2
    assert missed.max(initial=0) > 32 or "lossless" in name


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_the_values_of_a_level_need_its_segments_only(name: str, kernel: str) -> None:
    own, (codes, _) = region_of(name), coded(name)
    with kernels(kernel):
        bare = replace(own, channel=own.bare)
        whole = bare.decode(codes)
        for level in range(1, LEVELS):
            needed = max(1, len(codes.segments) - level) if codes.cut else 1
            first = replace(codes, segments=codes.segments[:needed])
            expected = whole[at_multiples(own.region.leaves, level)]
            assert np.array_equal(own.decode(first, level), expected)


def test_memory_that_another_region_has_used_changes_nothing() -> None:
    names = [
        "few voxels everywhere",
        "one leaf",
        "a reference",
        "no voxel",
        "lossless",
        "far corners",
    ]
    for name in [*names, *reversed(names)]:
        codes, values = coded(name)
        assert np.array_equal(region_of(name).decode(codes), values)


def test_any_number_of_threads_code_and_decode_the_same() -> None:
    names = ["a reference", "one leaf", "no filter", "any values around"] * 6

    def work(name: str) -> bool:
        found, decoded = region_of(name).encode()
        codes, values = coded(name)
        again = region_of(name).decode(codes)
        same = np.array_equal(decoded, values) and np.array_equal(again, values)
        return same and same_codes(found, codes)

    for name in names:
        coded(name)
    assert all(in_threads(work, names))


# Contexts, and what is chosen


def test_contexts_are_of_every_voxel_where_all_are_asked_for() -> None:
    own = region_of("no filter")
    numbers = np.arange(len(own.values), dtype=np.int32)
    _, decoded, found = own.sampled(truth=numbers)
    rows = found.targets
    assert np.array_equal(np.sort(rows), numbers)
    levels = [at_multiples(own.region.leaves, level) for level in range(LEVELS)]
    assert np.array_equal(found.level, np.sum(levels, axis=0)[rows] - 1)
    assert set(found.odd.tolist()) == {1, 2, 3} and int(found.table.max()) < 64
    assert np.abs(found.inputs.astype(int)).max() == 63
    steps = np.array(STEPS)[found.level]
    moved = (decoded[rows] - found.predicted) % steps
    clipped = (decoded[rows] == 0) | (decoded[rows] == own.top)
    assert (clipped | (moved == 0)).all()


def test_the_filters_contexts_start_from_values_before_it() -> None:
    own, bare = region_of("background around"), region_of("no filter")
    numbers = np.arange(len(own.values), dtype=np.int32)
    _, restored, found = own.sampled(truth=numbers)
    _, plain = bare.encode()
    filtered = found.odd == 0
    rows = found.targets[filtered]
    assert len(np.unique(rows)) == len(rows) > 0.9 * len(numbers)
    assert np.array_equal(found.base[filtered], plain[rows])
    still = np.setdiff1d(numbers, rows)
    assert np.array_equal(restored[still], plain[still]) and (restored != plain).any()
    assert np.abs(restored - plain).max() <= 128


def test_a_share_of_the_contexts_is_drawn_by_the_seed() -> None:
    own = region_of("no filter")
    parts = [own.sampled(0.2, seed=seed)[2] for seed in (1, 1, 2)]
    assert np.array_equal(parts[0].inputs, parts[1].inputs)
    assert not np.array_equal(parts[0].inputs[:999], parts[2].inputs[:999])
    assert all(abs(len(part.odd) / len(own.values) - 0.2) < 0.01 for part in parts)
    assert len(own.sampled(0.0)[2].odd) == 0


@pytest.mark.parametrize("weight", [0.4, 1.0, 26.0])
def test_a_code_is_the_cheapest_of_three(weight: float) -> None:
    own = region_of("nothing known, no filter")
    numbers = np.arange(len(own.values), dtype=np.int32)
    _, decoded, found = own.sampled(truth=numbers, weight=weight)
    rows, steps = found.targets, np.array(STEPS)[found.level]
    differences = own.values[rows] - found.predicted
    nearest = (differences + steps // 2) // steps
    choices = np.stack([nearest, nearest - np.sign(nearest), np.zeros_like(nearest)], axis=1)
    bits = code_bits(own.model.prior)[0]
    cost = bits[found.table[:, None], np.minimum(np.abs(choices), bits.shape[1] - 1)]
    exact = differences.astype(np.float32) / steps.astype(np.float32)
    missed = exact[:, None] - choices.astype(np.float32)
    total = missed * missed + np.float32(weight * RATE_WEIGHT) * cost
    codes = choices[np.arange(len(rows)), total.argmin(axis=1)]
    expected = np.clip(found.predicted + codes * steps, 0, own.top)
    assert np.array_equal(decoded[rows], expected) and (codes != nearest).sum() > 100


# Damaged codes


def outcome(own: Made, codes: RegionCodes, level: int = 0) -> list[int] | str:
    """The values of damaged codes, or the rule that they break."""
    try:
        values = own.decode(codes, level)
    except FormatError as error:
        return error.id
    assert not len(values) or 0 <= values.min() <= values.max() <= own.top
    found: list[int] = values.tolist()
    return found


def damaged(codes: RegionCodes, generator: np.random.Generator) -> RegionCodes:
    """The codes with one thing wrong."""
    place = int(generator.integers(len(codes.segments)))
    own = bytearray(codes.segments[place])
    at = int(generator.integers(max(1, len(own))))
    way = int(generator.integers(7))
    if way == 0 and own:
        own[at] ^= 1 << int(generator.integers(8))
    elif way == 1:
        own[at : at + 4] = (b"\0" * 4, b"\xff" * 4, b"\0\0\1\0")[int(generator.integers(3))]
    elif way == 2:
        del own[at:]
    elif way == 3:
        own[at:at] = generator.bytes(int(generator.integers(1, 9)))
    elif way == 4:
        own[:] = generator.bytes(len(own))
    elif way == 5:
        return replace(codes, lanes=int(generator.integers(6)))
    else:
        joined = (b"".join(codes.segments),) if codes.cut else codes.segments
        return replace(codes, cut=not codes.cut, segments=joined)
    segments = list(codes.segments)
    segments[place] = bytes(own)
    return replace(codes, segments=tuple(segments))


SMALL = {
    "cut": {"box": ((3, 20), (10, 30), (0, 24)), "top": 90_000},
    "whole": {"box": LEAF, "share": 1.0},
    "lossless": {"box": ((3, 20), (10, 30), (0, 24)), "lossless": True, "restoration": False},
    "high": {"box": ((3, 20), (10, 30), (0, 24)), "top": 1 << 23, "reference_top": 1 << 23},
    "trellis": {"box": ((3, 20), (10, 30), (0, 24)), "top": 90_000, "trellis": True},
    "high trellis": {"box": ((3, 20), (10, 30), (0, 24)), "top": 1 << 23, "trellis": True},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SMALL))
def test_damaged_codes_break_a_rule_or_give_values_within_the_range(name: str) -> None:
    own, generator = made(**SMALL[name]), np.random.default_rng(7)  # type: ignore[arg-type]
    codes, values = own.encode()
    assert codes.cut == (name not in ("whole", "lossless"))
    broken = 0
    for number in range(150):
        wrong, level = damaged(codes, generator), number % 4
        found = []
        for kernel in KERNELS:
            with kernels(kernel):
                found.append(outcome(own, wrong, level))
        assert all(one == found[0] for one in found)
        broken += found[0] == "F6"
    assert broken > 50
    assert np.array_equal(own.decode(codes), values)


def test_codes_that_are_all_there_but_for_their_end_break_a_rule() -> None:
    own = made(**SMALL["cut"])  # type: ignore[arg-type]
    codes, _ = own.encode()
    for place, segment in enumerate(codes.segments):
        for other in (segment[:-1], segment[:-2], segment + b"\0", segment + b"\0\0", b""):
            segments = list(codes.segments)
            segments[place] = other
            assert outcome(own, replace(codes, segments=tuple(segments))) == "F6"


def test_states_that_no_encoder_begins_with_break_a_rule() -> None:
    own = made(**SMALL["whole"])  # type: ignore[arg-type]
    codes, _ = own.encode()
    low = bytes.fromhex("ffff0000") + codes.segments[0][4:]
    assert outcome(own, replace(codes, segments=(low,))) == "F6"


# The caller's mistakes


def change(own: Made, part: str, name: str, value: Any) -> Callable[[], object]:
    """Encodes and decodes with one wrong number in what the core is given."""
    codes, _ = own.encode()
    if part == "codes":
        wrong = replace(codes, **{name: value})
        return lambda: own.decode(wrong)
    if part == "region":
        region = replace(own.region, **{name: value})
        return lambda: own.channel.decode(region, codes, len(own.values))
    fresh = made(**SMALL["whole"])  # type: ignore[arg-type]
    if name == "steps":
        fresh.channel._own.steps[value[0]] = value[1]
    else:
        setattr(fresh.channel._own, name, value)
    return fresh.encode


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("channel", "top", 0),
        ("channel", "top", -5),
        ("channel", "top", (1 << 23) + 1),
        ("channel", "background", (1 << 23) + 1),
        ("channel", "background", -(1 << 23) - 1),
        ("channel", "reference_top", -1),
        ("channel", "reference_top", (1 << 23) + 1),
        ("channel", "reference_top", 5),  # whose networks have too few inputs
        ("channel", "steps", (0, 31)),
        ("channel", "steps", (6, 513)),
        ("region", "mean", -1),
        ("region", "mean", 256),
        ("region", "spread", -1),
        ("region", "spread", 23),
        ("codes", "lanes", -1),
        ("codes", "lanes", 6),
    ],
)
def test_numbers_out_of_their_range_are_the_callers_mistake(
    part: str, name: str, value: Any
) -> None:
    own = made(**SMALL["whole"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"inrv_\w+_region: an argument is out of its range"):
        change(own, part, name, value)()


@pytest.mark.parametrize("cells", [[3, 3], [4, 3], [5, 4096]])
def test_leaves_out_of_order_or_out_of_the_region_are_the_callers_mistake(cells: list[int]) -> None:
    own = made(**SMALL["whole"])  # type: ignore[arg-type]
    masks = np.full((2, 64), 255, dtype=np.uint8)
    wrong = replace(own.region.leaves, cells=np.array(cells, dtype=np.uint16), masks=masks)
    other = replace(own, region=replace(own.region, leaves=wrong), values=np.zeros(1024, np.int32))
    with pytest.raises(ValueError, match="inrv_encode_region: an argument"):
        other.encode()
    with pytest.raises(ValueError, match="inrv_decode_region: an argument"):
        other.channel.decode(other.region, own.encode()[0], 1024)


@pytest.mark.parametrize("level", [-1, 7, 1 << 20])
def test_a_level_that_no_region_has_is_the_callers_mistake(level: int) -> None:
    own = made(**SMALL["whole"])  # type: ignore[arg-type]
    codes, _ = own.encode()
    with pytest.raises(ValueError, match="inrv_decode_region: an argument"):
        own.channel.decode(own.region, codes, 512, level)


def test_codes_take_no_more_bytes_than_their_bound_and_no_less_room_is_taken() -> None:
    own = made(**SMALL["cut"])  # type: ignore[arg-type]
    codes, _ = own.encode()
    bits, given = code_bits(own.model.prior), lattice._given(own.region)
    aim = lattice._Aim(
        own.values.ctypes.data, own.values.ctypes.data, RATE_WEIGHT, bits.ctypes.data
    )
    decoded, found = np.empty_like(own.values), lattice._Codes()
    assert codes.size <= library().inrv_codes_bound(len(own.values))

    def encode(room: int) -> int:
        buffer = np.full(codes.size + 8, 77, dtype=np.uint8)
        arguments = (ctypes.byref(own.channel._own), ctypes.byref(given), ctypes.byref(aim))
        with lattice._work() as work:
            library().inrv_encode_region(
                work, *arguments, decoded, None, buffer, room, ctypes.byref(found)
            )
        assert (buffer[codes.size :] == 77).all()
        return sum(found.sizes)

    assert encode(codes.size) == codes.size
    for room in (codes.size - 1, 0):
        with pytest.raises(ValueError, match="inrv_encode_region: an argument"):
            encode(room)


def test_the_least_likely_codes_take_no_more_bytes_than_their_bound() -> None:
    """Noise of the largest amplitude, under tables that expect none."""
    own = made(box=((0, 24), (0, 24), (0, 24)), share=1.0, top=1 << 23, restoration=False)
    extremes = np.random.default_rng(1).choice([0, 1 << 23], len(own.values)).astype(np.int32)
    prior = own.model.prior.copy()
    prior[:, 0], prior[:, 1:] = 1 << 24, 1
    own.channel._own.prior = own.channel._address(prior, np.int32)
    noisy = replace(own, values=extremes)
    codes, values = noisy.encode(weight=0.0)
    assert codes.size <= library().inrv_codes_bound(len(extremes))
    assert np.array_equal(noisy.decode(codes), values)
    assert np.abs(values - extremes).max() <= 64


def test_kernels_that_do_not_run_here_have_no_memory() -> None:
    missing = ~library().inrv_instruction_sets() & sum(INSTRUCTION_SETS.values())
    assert library().inrv_work_new(0) is None and library().inrv_work_new(missing) is None
    library().inrv_work_free(None)


def test_memory_is_used_again_and_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    own = made(**SMALL["cut"])  # type: ignore[arg-type]
    codes, _ = own.encode()
    monkeypatch.setattr(lattice, "_idle", idle := [])
    own.decode(codes)
    (first,) = idle
    own.decode(codes)
    with pytest.raises(FormatError):
        own.decode(replace(codes, segments=(b"", *codes.segments[1:])))
    assert idle == [first] and first.nbytes > 8 * len(own.values)
    with lattice._work() as one, lattice._work() as two:
        assert one == first.address != two
    assert len(idle) == 2
    monkeypatch.setattr(lattice, "KEPT_BYTES", first.nbytes)
    with lattice._work(), lattice._work():
        pass
    assert sum(work.nbytes for work in idle) <= first.nbytes


# Values and offsets


def numbers(seed: int, top: int) -> Ints:
    generator = np.random.default_rng(seed)
    found = generator.integers(0, top + 1, 4000, dtype=np.int32)
    found[:2] = 0, top
    return found


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("with_offsets", [True, False])
@pytest.mark.parametrize(("minimum", "maximum"), [(-3.0, 9.5), (-3e38, 3e38), (5.0, 5.0000005)])
def test_units_become_values_in_double_and_are_rounded_once(
    minimum: float, maximum: float, with_offsets: bool, clamp: bool
) -> None:
    top, scale = 6400, 6399.25
    units = numbers(3, top)
    knots = np.random.default_rng(4).integers(-90, 90, 17).astype(np.float64) / 2
    exact = units.astype(np.float64)
    if with_offsets:
        place = exact * 16 / top
        piece = np.minimum(place.astype(np.int64), 15)
        exact += knots[piece] + (place - piece) * (knots[piece + 1] - knots[piece])
    exact = minimum + (maximum - minimum) * (exact / scale)
    if clamp:
        exact = exact.clip(minimum, maximum)
    columns = np.full((len(units), 3), 7, dtype=np.float32)
    scaling = Scaling(scale, minimum, maximum, top, knots if with_offsets else None)
    scaling.values(units, columns[:, 1], clamp)
    with np.errstate(over="ignore"):
        expected = exact.astype(np.float32)
    assert np.array_equal(columns[:, 1].view(np.int32), expected.view(np.int32))
    assert (columns[:, [0, 2]] == 7).all()


@pytest.mark.parametrize("top", [1, 100, 6400, 1 << 23])
def test_sums_for_offsets_are_those_of_hat_functions(top: int) -> None:
    units, scale, highest = numbers(5, top), top * 1.01, float(top)
    values = np.random.default_rng(6).random(len(units))
    knots = np.linspace(-5, 9, 17)
    places = units * 16 / top
    hats = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(17)))
    missed = values * scale - np.clip(units + hats @ knots, 0, highest)
    errors = errors_by_unit(units, values, scale, top)
    (diagonal, beside, wanted), squared = offset_sums(errors, top, highest, knots)
    assert diagonal == pytest.approx((hats * hats).sum(axis=0))
    assert beside == pytest.approx([*(hats[:, :-1] * hats[:, 1:]).sum(axis=0), 0])
    assert wanted == pytest.approx(hats.T @ missed, rel=1e-9, abs=1e-6 * top)
    assert squared == pytest.approx(float((missed**2).sum()))
