"""Codes to bytes and back: every magnitude, any codes, and what becomes of damaged bytes."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inrv.core import lattice
from inrv.core.lattice import LISTED, TABLES, TOKENS, decode_numbers, encode_numbers
from inrv.core.library import library
from inrv.errors import FormatError
from inrv.fields.lattice.model import default_model
from inrv.fields.lattice.tokens import code_bits, tokens_of
from testing.regions import KERNELS, kernels

QUICK = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LARGEST_BITS = 19
LARGEST = (1 << LARGEST_BITS) - 1
Ints = NDArray[np.int32]
Passes = list[tuple[int, list[int]]]  # table and codes of each

MAGNITUDES = st.one_of(
    st.integers(-3, 3),
    st.integers(-40, 40),
    st.integers(-LARGEST, LARGEST),
    st.sampled_from([LARGEST, -LARGEST]),
)
PASSES = st.lists(
    st.tuples(st.integers(0, TABLES - 1), st.lists(MAGNITUDES, max_size=150)),
    min_size=1,
    max_size=6,
)


def prior() -> NDArray[np.int64]:
    return default_model(False, False).prior


def written(passes: Passes) -> bytes:
    codes = [np.array(own, dtype=np.int32) for _, own in passes]
    return encode_numbers(prior(), [table for table, _ in passes], codes)


def read(passes: Passes, data: bytes) -> list[Ints]:
    """The codes in some bytes, under the tables of `passes`."""
    tables, counts = [table for table, _ in passes], [len(codes) for _, codes in passes]
    return decode_numbers(prior(), tables, counts, data)


def test_tokens_share_the_magnitudes_by_powers_of_two_without_gap_or_overlap() -> None:
    tokens = tokens_of(np.arange(1 << LARGEST_BITS))
    assert (np.diff(tokens) >= 0).all() and set(tokens.tolist()) == set(range(TOKENS))
    counts = np.bincount(tokens)
    assert (counts[:16] == 1).all()
    assert counts[16:].tolist() == [1 << bits for bits in range(3, 18) for _ in range(2)]


@pytest.mark.parametrize("kernel", KERNELS)
@QUICK
@given(passes=PASSES)
def test_codes_come_back(kernel: str, passes: Passes) -> None:
    data = written(passes)
    with kernels(kernel):
        assert written(passes) == data
        found = read(passes, data)
    assert [codes.tolist() for codes in found] == [codes for _, codes in passes]


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_magnitude_comes_back_under_every_table(kernel: str) -> None:
    codes = np.arange(-LARGEST, LARGEST + 1, 97, dtype=np.int32)
    passes = [(table, codes[table::TABLES].tolist()) for table in range(TABLES)]
    with kernels(kernel):
        found = read(passes, written(passes))
    assert [own.tolist() for own in found] == [own for _, own in passes]


@pytest.mark.parametrize("table", [0, 20, 30, 40, 63])
def test_codes_take_as_many_bits_as_an_encoder_reckons(table: int) -> None:
    """Tables learn after a pass, so that one pass is coded with what the prior says."""
    bits, generator = code_bits(prior())[0, table], np.random.default_rng(table)
    assert bits.shape == (LISTED,)
    likely = 2.0 ** -bits.astype(np.float64)
    codes = generator.choice(LISTED, 20_000, p=likely / likely.sum())
    codes[:LISTED] = np.arange(LISTED)
    signs = generator.choice([-1, 1], len(codes))
    found = 8 * len(written([(table, (codes * signs).tolist())]))
    assert found == pytest.approx(float(bits[codes].sum()), rel=0.01, abs=64)


def test_codes_that_are_foreseen_take_few_bytes() -> None:
    nothing: Passes = [(0, [0] * 20_000)] * 2
    assert 8 * len(written(nothing)) < 0.02 * 40_000


@QUICK
@given(
    passes=PASSES,
    seed=st.integers(0, 1 << 30),
    how=st.sampled_from(["bit", "word", "cut", "longer", "random"]),
)
def test_damaged_bytes_give_other_codes_or_a_format_error(
    passes: Passes, seed: int, how: str
) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(written(passes))
    assume(data or how in ("longer", "random"))
    place = int(generator.integers(max(1, len(data))))
    if how == "bit":
        data[place] ^= 1 << int(generator.integers(8))
    elif how == "word":
        data[place : place + 2] = [b"\0\0", b"\1\0", b"\xff\x7f", b"\xff\xff"][
            int(generator.integers(4))
        ]
    elif how == "cut":
        del data[place:]
    elif how == "longer":
        data[place:place] = generator.bytes(6)
    else:
        data[:] = generator.bytes(len(data) + 8)
    outcomes = []
    for kernel in KERNELS:
        with kernels(kernel):
            outcomes.append(outcome(passes, bytes(data)))
    assert all(found == outcomes[0] for found in outcomes)


def outcome(passes: Passes, data: bytes) -> list[list[int]] | None:
    """The codes in damaged bytes, None where they break a rule."""
    try:
        found = read(passes, data)
    except FormatError as error:
        assert error.id == "F6"
        return None
    assert [len(codes) for codes in found] == [len(codes) for _, codes in passes]
    assert all((np.abs(codes) <= LARGEST).all() for codes in found)
    return [codes.tolist() for codes in found]


@pytest.mark.parametrize("place", ["behind", "between"])
@pytest.mark.parametrize("more", [1, 2, 16])
def test_bytes_left_over_are_an_error(place: str, more: int) -> None:
    passes: Passes = [(3, [5]), (7, [-900]), (0, [0])]
    data = written(passes)
    at = 4 if place == "between" else len(data)
    with pytest.raises(FormatError, match=r"\[F6\]"):
        read(passes, data[:at] + b"\x12" * more + data[at:])


@pytest.mark.parametrize("count", range(5))
def test_bytes_too_few_for_a_state_are_an_error(count: int) -> None:
    with pytest.raises(FormatError, match=r"\[F6\]"):
        read([(3, [])], b"\0\0\1\0"[:count] if count < 4 else b"\xff\xff\0\0")


@pytest.mark.parametrize("passes", [[(0, [1 << 19])], [(0, [-(1 << 19)])], [(TABLES, [0])]])
def test_numbers_and_tables_out_of_their_range_are_the_callers_mistake(passes: Passes) -> None:
    with pytest.raises(ValueError, match="inrv_encode_numbers: an argument"):
        written(passes)


@pytest.mark.parametrize(("segments", "lanes"), [(1, -1), (1, 6), (4, 0), (0, 0)])
def test_codes_of_another_form_are_the_callers_mistake(segments: int, lanes: int) -> None:
    codes, prior_counts = lattice._Codes(), prior().astype(np.int32)
    codes.segments, codes.lanes = segments, lanes
    lattice._give(codes, (written([(3, [5])]),))
    counts, tables = np.ones(1, dtype=np.uintp), np.full(1, 3, dtype=np.uint8)
    refused = pytest.raises(ValueError, match="inrv_decode_numbers: an argument")
    with refused, lattice._work() as work:
        library().inrv_decode_numbers(
            work, prior_counts, 1, counts, tables, ctypes.byref(codes),
            np.empty(1, dtype=np.int32),
        )  # fmt: skip
    with pytest.raises(ValueError, match="inrv_decode_numbers: an argument"):
        read([(TABLES, [5])], written([(3, [5])]))
