"""What a box reads and decodes: at a URL the head of the file, and the bytes of its regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import EncodeOptions, SparseVolume, sparse_grid
from inrv.container.layout import BITS
from inrv.errors import FormatError
from inrv.storage.topology import StoredTopologies
from inrv.support.remote import AHEAD, BLOCK
from testing.server import RangeServer, serving

REGIONS = 6  # in a row
BOX = inrv.Box((400, 0, 0), (463, 63, 63))  # of 64^3, in the fourth of them


@cache
def data() -> bytes:
    """Two grids of noise, whose codes and masks fill BITS chunks; one may predict the other."""
    rng = np.random.default_rng(8)
    values = rng.random((128 * REGIONS, 24, 24), dtype=np.float32)
    active = rng.random(values.shape) < 0.5
    other = values + rng.random(values.shape, dtype=np.float32) / 8
    toggled = active ^ (rng.random(values.shape) < 0.1)
    grids = sparse_grid(values, "a", active=active), sparse_grid(other, "b", active=toggled)
    asked = EncodeOptions(effort="instant", device="cpu", psnr=46)
    return inrv.encode_bytes(SparseVolume(grids), asked)[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    (tmp_path / "noise.inrv").write_bytes(data())
    with serving(tmp_path) as running:
        yield running


def opened(server: RangeServer) -> inrv.Volume:
    """The file, opened over the network by one request."""
    server.forget()
    volume = inrv.load(f"{server.url}/noise.inrv")
    assert (server.reads, server.heads) == ([(0, AHEAD)], 1)
    server.forget()
    return volume


def test_the_file_is_large_enough_to_tell() -> None:
    volume = inrv.load(data())
    kinds = [entry.type for entry in volume.container.entries]
    assert kinds.count(BITS) == 4 and len(data()) > 5 * AHEAD
    stored = StoredTopologies(volume.container).masks(volume["b"].entry.topology)
    assert stored.root is not None and stored.within is None


def test_a_box_reads_its_regions_and_nothing_else(server: RangeServer) -> None:
    volume, local = opened(server), inrv.load(data())
    found = volume["a"].dense(BOX)
    assert np.array_equal(found, local["a"].dense(BOX))
    # Masks, and codes by level: four segments of which the coarse ones are short.
    assert 2 <= len(server.reads) <= 4
    taken = sum(count for _, count in server.reads)
    stored = sum(e.stored for e in volume.container.entries if e.type == BITS) / 2
    assert taken < 1.5 * stored / REGIONS + 8 * BLOCK
    server.forget()
    shifted = inrv.Box((420, -5, 3), (500, 20, 30))
    assert np.array_equal(volume["a"].dense(shifted), local["a"].dense(shifted))
    assert server.reads == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda grid: grid.crop(BOX).values,
        lambda grid: grid.sample(np.array([[410.5, 3, 3], [450, 20, 8]])),
        lambda grid: grid.level(1, BOX).values,
        lambda grid: grid.dense(BOX, stride=4),
        lambda grid: grid.dense(inrv.Box((250, 0, 0), (520, 9, 9))),
    ],
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_all_that_is_read_is_asked_for_at_once(
    server: RangeServer, ask: Callable[[inrv.VolumeGrid], Any], name: str
) -> None:
    volume = opened(server)
    fetched: list[int] = []
    fetch = volume.container.fetch

    def noted(parts: Any) -> None:
        fetch(parts)
        fetched.append(len(server.reads))

    volume.container.fetch = noted  # type: ignore[method-assign]
    assert np.array_equal(ask(volume[name]), ask(inrv.load(data())[name]))
    assert fetched[0] == len(server.reads) > 0


def test_a_whole_volume_takes_few_requests(server: RangeServer) -> None:
    volume = opened(server)
    found, expected = volume.to_sparse(), inrv.load(data()).to_sparse()
    for mine, theirs in zip(found.grids, expected.grids, strict=True):
        assert np.array_equal(mine.values, theirs.values)
    assert len(server.reads) <= 4
    assert sum(count for _, count in server.reads) < len(data())


def test_what_the_manifest_says_of_the_whole_is_checked_with_the_whole() -> None:
    expected, message = (
        inrv.load(data())["a"].dense(BOX),
        r"<bytes>: grid 'a': .* the manifest says",
    )
    for lie in ({"leaf_voxels": 7}, {"active_voxels": 1 << 20}, {"box": ((0, 0, 0), (1, 1, 1))}):
        volume = inrv.load(data())
        for name, value in lie.items():
            object.__setattr__(volume["a"].entry, name, value)
        assert np.array_equal(volume["a"].dense(BOX), expected)
        for whole in (inrv.VolumeGrid.to_grid, inrv.VolumeGrid.coordinates):
            with pytest.raises(FormatError, match=message) as told:
                whole(volume["a"])
            assert told.value.id == "S6"
    beyond = inrv.load(data())
    object.__setattr__(beyond["a"].entry, "leaf_voxels", 1 << 62)  # more than the leaves can hold
    with pytest.raises(FormatError, match=message):
        beyond["a"].dense(BOX)
