"""Who asks for a part decodes that part: the regions that hold it, and no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import Box
from inrv.fields.lattice.codec import decode_region
from inrv.fields.lattice.decode import LatticeOutputs, RegionCache
from testing.lattice import bits, in_regions, instant


@pytest.fixture(scope="module")
def data() -> bytes:
    return inrv.encode_bytes(in_regions(), instant(max_error="2%"))[0]


@pytest.fixture
def volume(data: bytes) -> inrv.Volume:
    return inrv.load(data, device="cpu")


def done(volume: inrv.Volume) -> list[list[tuple[int, ...]]]:
    """The corners of the regions that are decoded and kept, by channel."""
    assert isinstance(volume.outputs, LatticeOutputs)
    found: list[list[tuple[int, ...]]] = [[], []]
    for channel, region in sorted(volume.outputs.kept._kept):
        corner = volume.outputs.channel(channel).regions.corner(region)
        found[channel].append(tuple(corner.tolist()))
    return found


def test_opening_decodes_nothing(volume: inrv.Volume) -> None:
    assert done(volume) == [[], []]
    volume["density"].sample([[0.5, 400.0, 3.0]])
    assert done(volume) == [[], []]


def test_a_box_decodes_the_regions_it_touches(volume: inrv.Volume) -> None:
    volume["density"].dense(Box((1, 1, 1), (4, 3, 5)))
    assert done(volume) == [[(0, 0, 0)], []]
    volume["density"].dense(Box((1, 1, -3), (4, 3, 5)))
    assert sorted(done(volume)[0]) == [(0, 0, -128), (0, 0, 0)]
    volume["density"].dense(Box((290, 50, 50), (310, 62, 70)))
    assert sorted(done(volume)[0]) == [(0, 0, -128), (0, 0, 0), (256, 0, 0)]


def test_a_point_decodes_the_region_that_holds_its_voxels(volume: inrv.Volume) -> None:
    volume["density"].sample([[4.0, 3.0, -5.0]], interpolation="nearest")
    assert done(volume) == [[(0, 0, -128)], []]
    volume["density"].sample([[2.25, 1.5, 3.75]])
    assert sorted(done(volume)[0]) == [(0, 0, -128), (0, 0, 0)]


def test_a_point_between_regions_decodes_those_around_it(volume: inrv.Volume) -> None:
    volume["density"].sample([[3.5, 2.5, -0.5]])
    assert sorted(done(volume)[0]) == [(0, 0, -128), (0, 0, 0)]


def test_a_predicted_grid_decodes_the_same_regions_of_the_other(volume: inrv.Volume) -> None:
    assert (
        volume.manifest.field is not None
        and volume.manifest.field.config["channels"][1]["reference"] == 0
    )
    volume["temperature"].dense(Box((1, 1, 1), (4, 3, 5)))
    assert done(volume) == [[(0, 0, 0)], [(0, 0, 0)]]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of each region that is decoded."""
    asked: list[int] = []

    def decoded(setting: Any, channel: Any, number: int, *others: Any) -> Any:
        asked.append(number)
        return decode_region(setting, channel, number, *others)

    monkeypatch.setattr("inrv.fields.lattice.decode.decode_region", decoded)
    return asked


def test_nothing_is_decoded_twice(volume: inrv.Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(monkeypatch)
    box = Box((1, 1, 1), (4, 3, 5))
    first = volume["density"].dense(box)
    assert len(asked) == 1
    assert np.array_equal(bits(volume["density"].dense(box)), bits(first)) and len(asked) == 1
    whole = volume["density"].values()
    assert isinstance(volume.outputs, LatticeOutputs)
    assert sorted(asked) == list(range(len(volume.outputs.channel(0).regions))) and len(asked) > 3
    assert np.array_equal(bits(volume["density"].values()), bits(whole))
    volume["temperature"].values()
    assert sorted(asked) == sorted(2 * list(range(len(asked) // 2)))


@pytest.mark.parametrize("most", [0, 1, 6000])
def test_what_is_dropped_is_decoded_again_to_the_same_bits(
    most: int, volume: inrv.Volume, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(volume.outputs, LatticeOutputs)
    volume.outputs.kept.most_bytes = most
    asked = counted(monkeypatch)
    first = volume["temperature"].values()
    before = len(asked)
    assert np.array_equal(bits(volume["temperature"].values()), bits(first))
    assert len(asked) > before >= 8
    kept = volume.outputs.kept
    assert kept._bytes == sum(units.nbytes for units in kept._kept.values()) <= most
    whole = inrv.load(data, device="cpu")["temperature"].values()
    assert np.array_equal(bits(whole), bits(first))


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
