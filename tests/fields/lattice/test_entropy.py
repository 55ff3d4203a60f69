"""Codes to words and back: every magnitude, any codes, and what becomes of damaged words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from inrv.fields.lattice.entropy import (
    LARGEST_BITS,
    TOKENS,
    RegionReader,
    RegionWriter,
    low_bits,
    lowest_of,
    tokens_of,
)
from numpy.typing import NDArray

from inrv.errors import FormatError
from inrv.fields.lattice.constants import TABLES
from inrv.fields.lattice.model import default_model

QUICK = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LARGEST = (1 << LARGEST_BITS) - 1
Passes = list[tuple[NDArray[np.int32], NDArray[np.int32]]]

MAGNITUDES = st.one_of(
    st.integers(-3, 3),
    st.integers(-40, 40),
    st.integers(-LARGEST, LARGEST),
    st.sampled_from([LARGEST, -LARGEST]),
)
PASSES = st.lists(
    st.lists(st.tuples(st.integers(0, TABLES - 1), MAGNITUDES), max_size=60), max_size=6
)


def arrays(passes: list[list[tuple[int, int]]]) -> Passes:
    """Tables and codes int32 of each pass."""
    pairs = [np.array(pass_, dtype=np.int32).reshape(-1, 2) for pass_ in passes]
    return [(np.ascontiguousarray(pair[:, 0]), np.ascontiguousarray(pair[:, 1])) for pair in pairs]


def prior() -> NDArray[np.int64]:
    return default_model(False, False).prior


def written(passes: Passes) -> NDArray[np.uint32]:
    writer = RegionWriter(prior())
    for tables, codes in passes:
        writer.encode(tables, codes)
    return writer.words()


def read(passes: Passes, words: NDArray[np.uint32]) -> list[NDArray[np.int32]]:
    """The codes in `words`, under the tables of `passes`."""
    reader = RegionReader(prior(), words)
    found = [reader.decode(tables) for tables, _ in passes]
    reader.check_end()
    return found


def test_a_token_and_its_low_bits_are_every_magnitude() -> None:
    magnitudes = np.arange(1 << LARGEST_BITS, dtype=np.int32)
    tokens = tokens_of(magnitudes)
    rest = magnitudes - lowest_of(tokens)
    assert (rest >= 0).all() and (rest < 1 << low_bits(tokens).astype(np.int64)).all()
    assert (np.diff(tokens) >= 0).all() and set(tokens.tolist()) == set(range(TOKENS))
    assert (low_bits(tokens[:16]) == 0).all() and tokens[:16].tolist() == list(range(16))


def test_tokens_share_the_magnitudes_without_gap_or_overlap() -> None:
    tokens = np.arange(TOKENS, dtype=np.int32)
    lowest, count = lowest_of(tokens), 1 << low_bits(tokens).astype(np.int64)
    assert (lowest[1:] == (lowest + count)[:-1]).all() and lowest[-1] + count[
        -1
    ] == 1 << LARGEST_BITS


@QUICK
@given(passes=PASSES)
def test_codes_come_back(passes: list[list[tuple[int, int]]]) -> None:
    written_ones = arrays(passes)
    for (_, codes), found in zip(
        written_ones, read(written_ones, written(written_ones)), strict=True
    ):
        assert found.tolist() == codes.tolist()


def test_every_magnitude_comes_back_under_every_table() -> None:
    codes = np.arange(-LARGEST, LARGEST + 1, 97, dtype=np.int32)
    written_ones = [((np.arange(len(codes), dtype=np.int32) * 5) % TABLES, codes)]
    assert (read(written_ones, written(written_ones))[0] == codes).all()


def test_codes_that_are_foreseen_take_few_words() -> None:
    nothing = [(np.zeros(20000, dtype=np.int32), np.zeros(20000, dtype=np.int32))] * 2
    assert 32 * len(written(nothing)) < 0.02 * 40000


@QUICK
@given(
    passes=PASSES,
    seed=st.integers(0, 1 << 30),
    how=st.sampled_from(["bit", "word", "cut", "longer", "random"]),
)
def test_damaged_words_give_other_codes_or_a_format_error(
    passes: list[list[tuple[int, int]]], seed: int, how: str
) -> None:
    written_ones, generator = arrays(passes), np.random.default_rng(seed)
    words = written(written_ones).copy()
    assume(len(words) or how in ("longer", "random"))
    place = int(generator.integers(max(1, len(words))))
    if how == "bit":
        words[place] ^= np.uint32(1 << int(generator.integers(32)))
    elif how == "word":
        words[place] = np.uint32(generator.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]))
    elif how == "cut":
        words = words[:place]
    elif how == "longer":
        words = np.concatenate([words, generator.integers(1, 1 << 32, 3, dtype=np.uint32)])
    else:
        words = generator.integers(0, 1 << 32, len(words) + 4, dtype=np.uint32)
    try:
        found = read(written_ones, words)
    except FormatError as error:
        assert error.id == "F6" and "region" in str(error)
        return
    assert [len(codes) for codes in found] == [len(codes) for _, codes in written_ones]
    assert all((np.abs(codes) <= LARGEST).all() for codes in found)


def test_words_left_over_are_an_error() -> None:
    written_ones = arrays([[(3, 5), (7, -900)], [(0, 0)]])
    words = np.concatenate([written(written_ones), np.full(4, 0x12345678, dtype=np.uint32)])
    with pytest.raises(FormatError, match=r"more words.*\[F6\]"):
        read(written_ones, words)
