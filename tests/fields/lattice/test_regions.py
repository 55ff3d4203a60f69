"""Who asks for a part decodes that part: the regions that hold it, and no other."""

from __future__ import annotations

import numpy as np
import pytest

import inrv
from inrv import Box
from inrv.fields.lattice.decode import LatticeOutputs
from testing.lattice import bits, in_regions, instant


@pytest.fixture(scope="module")
def data() -> bytes:
    return inrv.encode_bytes(in_regions(), instant(max_error="2%"))[0]


@pytest.fixture
def volume(data: bytes) -> inrv.Volume:
    return inrv.load(data, device="cpu")


def done(volume: inrv.Volume) -> list[list[tuple[int, ...]]]:
    """The corners of the regions that are decoded, by channel of which anything was asked."""
    assert isinstance(volume.outputs, LatticeOutputs)
    channels = [volume.outputs.decoded.get(number) for number in range(2)]
    return [
        [] if channel is None else [tuple(c) for c in channel.corners[channel.done].tolist()]
        for channel in channels
    ]


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


def test_nothing_is_decoded_twice(volume: inrv.Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    from inrv.fields.lattice import decode as outputs

    plain = outputs.decode_regions

    def counted(*arguments: object) -> object:
        asked.append(len(arguments[1]))  # type: ignore[arg-type]
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(outputs, "decode_regions", counted)
    box = Box((1, 1, 1), (4, 3, 5))
    first = volume["density"].dense(box)
    assert asked == [1]
    assert np.array_equal(bits(volume["density"].dense(box)), bits(first)) and asked == [1]
    whole = volume["density"].values()
    assert isinstance(volume.outputs, LatticeOutputs) and sum(asked) == len(
        volume.outputs.decoded[0].corners
    )
    assert np.array_equal(bits(volume["density"].values()), bits(whole)) and len(asked) == 2


def test_a_part_has_the_bits_of_the_whole(data: bytes, volume: inrv.Volume) -> None:
    box = Box((-2, 1, -1), (4, 3, 5))
    whole = inrv.load(data, device="cpu")
    for name in ("density", "temperature"):
        expected = whole[name].to_grid().dense(box)
        assert np.array_equal(bits(volume[name].dense(box)), bits(expected.reshape(box.shape)))
