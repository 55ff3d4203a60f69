"""Who asks for a part decodes that part: the regions that hold it, and no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import Box
from inrv.fields.lattice.codec import Setting, decode_region
from inrv.fields.lattice.decode import LatticeOutputs, RegionCache
from testing.lattice import bits, in_regions, instant


@pytest.fixture(scope="module")
def data() -> bytes:
    return inrv.encode_bytes(in_regions(), instant(max_error="2%"))[0]


@pytest.fixture
def volume(data: bytes) -> inrv.Volume:
    return inrv.load(data, device="cpu")


Corner = tuple[int, ...]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[list[Corner]]:
    """Lists of two channels that grow by the corner of each region that is decoded."""
    found: list[list[Corner]] = [[], []]

    def decoded(setting: Setting, channel: Any, number: int, *others: Any) -> Any:
        second = setting.reference is not None
        found[second].append(tuple(setting.regions.corner(number).tolist()))
        return decode_region(setting, channel, number, *others)

    monkeypatch.setattr("inrv.fields.lattice.decode.decode_region", decoded)
    return found


def test_opening_decodes_nothing(volume: inrv.Volume, done: list[list[Corner]]) -> None:
    volume["density"].sample([[0.5, 400.0, 3.0]])
    assert done == [[], []]


def test_a_box_decodes_the_regions_it_touches(
    volume: inrv.Volume, done: list[list[Corner]]
) -> None:
    volume["density"].dense(Box((1, 1, 1), (4, 3, 5)))
    assert done == [[(0, 0, 0)], []]
    volume["density"].dense(Box((1, 1, -3), (4, 3, 5)))
    assert done == [[(0, 0, 0), (0, 0, -128)], []]
    volume["density"].dense(Box((290, 50, 50), (310, 62, 70)))
    assert done == [[(0, 0, 0), (0, 0, -128), (256, 0, 0)], []]


def test_a_point_decodes_the_region_that_holds_its_voxels(
    volume: inrv.Volume, done: list[list[Corner]]
) -> None:
    volume["density"].sample([[4.0, 3.0, -5.0]], interpolation="nearest")
    assert done == [[(0, 0, -128)], []]
    volume["density"].sample([[2.25, 1.5, 3.75]])
    assert done == [[(0, 0, -128), (0, 0, 0)], []]


def test_a_point_between_regions_decodes_those_around_it(
    volume: inrv.Volume, done: list[list[Corner]]
) -> None:
    volume["density"].sample([[3.5, 2.5, -0.5]])
    assert sorted(done[0]) == [(0, 0, -128), (0, 0, 0)] and done[1] == []


def test_a_predicted_grid_decodes_the_same_regions_of_the_other(
    volume: inrv.Volume, done: list[list[Corner]]
) -> None:
    assert (
        volume.manifest.field is not None
        and volume.manifest.field.config["channels"][1]["reference"] == 0
    )
    volume["temperature"].dense(Box((1, 1, 1), (4, 3, 5)))
    assert done == [[(0, 0, 0)], [(0, 0, 0)]]


def test_nothing_is_decoded_twice_for_boxes_and_points(
    volume: inrv.Volume, done: list[list[Corner]]
) -> None:
    box = Box((1, 1, 1), (4, 3, 5))
    first = volume["density"].dense(box)
    assert np.array_equal(bits(volume["density"].dense(box)), bits(first))
    volume["density"].sample([[2.25, 1.5, 3.75]])
    assert done == [[(0, 0, 0)], []]
    volume["temperature"].dense(box)
    volume["temperature"].dense(Box((2, 2, 2), (9, 5, 6)))
    assert done[1] == [(0, 0, 0)]


def test_all_values_take_each_region_once(volume: inrv.Volume, done: list[list[Corner]]) -> None:
    whole = volume["density"].values()
    assert len(done[0]) == len(set(done[0])) == 4 and done[1] == []
    assert np.array_equal(bits(volume["density"].values()), bits(whole))
    volume["temperature"].values()
    assert len(done[1]) == len(set(done[1])) == 4


def test_the_region_that_was_asked_for_last_is_kept_longest() -> None:
    cache = RegionCache(3 * 40)
    made = []

    def get(number: int) -> int:
        def decode() -> Any:
            made.append(number)
            return np.full(10, number, dtype=np.int32)

        return int(cache.get((0, number), decode)[0])

    for number in (1, 2, 3, 1, 4, 1, 2, 4):
        assert get(number) == number
    assert made == [1, 2, 3, 4, 2]
    cache.get((1, 1), lambda: np.zeros(31, dtype=np.int32))
    assert list(cache._kept) == [(0, 1), (0, 2), (0, 4)], "what is larger than all room stays out"


@pytest.mark.parametrize("most", [0, 1, 6000])
def test_what_is_dropped_is_decoded_again_to_the_same_bits(
    most: int, volume: inrv.Volume, data: bytes, done: list[list[Corner]]
) -> None:
    assert isinstance(volume.outputs, LatticeOutputs)
    kept = volume.outputs.kept
    kept.most_bytes = most
    first = volume["temperature"].values()
    assert np.array_equal(bits(volume["temperature"].values()), bits(first))
    assert len(done[0]) > 4
    assert kept._bytes == sum(units.nbytes for units in kept._kept.values()) <= most
    whole = inrv.load(data, device="cpu")["temperature"].values()
    assert np.array_equal(bits(whole), bits(first))


def test_threads_may_share_what_is_kept(data: bytes) -> None:
    expected = inrv.load(data, device="cpu")["temperature"].values()
    volume = inrv.load(data, device="cpu")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: volume["temperature"].values(), range(12)))
    assert all(np.array_equal(bits(values), bits(expected)) for values in found)


def test_a_part_has_the_bits_of_the_whole(data: bytes, volume: inrv.Volume) -> None:
    box = Box((-2, 1, -1), (4, 3, 5))
    whole = inrv.load(data, device="cpu")
    for name in ("density", "temperature"):
        expected = whole[name].to_grid().dense(box)
        assert np.array_equal(bits(volume[name].dense(box)), bits(expected.reshape(box.shape)))
