"""Folders of decoded frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv import files
from inrv.scenes import VdbCache
from inrv.scenes.vdb_cache import frame_text

EXACT = inrv.EncodeOptions(lossless=True, effort="instant")


def fog(strength: float = 1.0) -> np.ndarray:
    x = np.linspace(-1, 1, 12, dtype=np.float32)
    return strength * np.exp(-(x[:, None, None] ** 2) - x[:, None] ** 2 - x**2)


@pytest.fixture
def volume(tmp_path: Path) -> inrv.Volume:
    inrv.encode({"density": fog()}, tmp_path / "fog.inrv", EXACT)
    return inrv.load(tmp_path / "fog.inrv")


@pytest.fixture
def sequence(tmp_path: Path) -> inrv.Volume:
    with inrv.SequenceWriter(tmp_path / "run.inrv", EXACT, fps=24, start=60, group=2) as writer:
        for step in range(4):
            writer.add((60 + step) / 24, {"density": fog(1 + step)})
    return inrv.load(tmp_path / "run.inrv")


def test_a_frame_is_decoded_once(volume: inrv.Volume, tmp_path: Path) -> None:
    cache = VdbCache(tmp_path / "made" / "cache")
    path = cache.fetch(volume)
    assert np.array_equal(files.read(path).grids[0].values, volume["density"].to_grid().values)
    path.write_bytes(b"as it was")
    assert cache.fetch(volume) == path and path.read_bytes() == b"as it was"
    assert cache.files() == [path]


def test_a_level_of_detail_is_a_file_of_its_own(volume: inrv.Volume, tmp_path: Path) -> None:
    cache = VdbCache(tmp_path / "cache")
    coarse = cache.fetch(volume, level=2)
    assert coarse != cache.path_of(volume) and ".lod2" in coarse.name
    found = files.read(coarse).grids[0]
    assert np.array_equal(found.values, volume["density"].level(2).values)


def test_frames_keep_their_numbers(sequence: inrv.Volume, tmp_path: Path) -> None:
    cache = VdbCache(tmp_path / "cache")
    names = [cache.fetch(frame).name for frame in sequence.frames.values()]
    assert [name.split(".")[2] for name in names] == ["0060", "0061", "0062", "0063"]
    last = files.read(cache.path_of(sequence.frames[63])).grids[0]
    assert np.array_equal(last.dense(last.topology.box)[..., 0], fog(4))


def test_names_of_other_bytes_are_other_names(volume: inrv.Volume, tmp_path: Path) -> None:
    cache = VdbCache(tmp_path / "cache")
    before = cache.fetch(volume)
    inrv.encode({"density": fog(2)}, tmp_path / "fog.inrv", EXACT, overwrite=True)
    after = cache.fetch(inrv.load(tmp_path / "fog.inrv"))
    assert after != before
    assert files.read(after).grids[0].values.max() == 2 * files.read(before).grids[0].values.max()


@pytest.mark.parametrize(
    ("number", "text"),
    [(60, "0060"), (-2, "-002"), (1.25, "0001.25"), (100000, "100000"), (1e-7, "0000.0000001")],
)
def test_numbers_are_written_as_file_names_have_them(number: float, text: str) -> None:
    assert frame_text(number) == text


def test_files_that_were_not_used_for_longest_are_removed(
    sequence: inrv.Volume, tmp_path: Path
) -> None:
    cache = VdbCache(tmp_path / "cache", most_bytes=0)
    paths = [cache.fetch(frame) for frame in sequence.frames.values()]
    for age, path in enumerate(paths):
        os.utime(path, (1000 + age, 1000 + age))
    cache.fetch(sequence.frames[60])  # is the newest now
    size = sum(path.stat().st_size for path in paths)
    others = tmp_path / "cache" / "mine.0060.vdb"
    others.write_bytes(b"of somebody else")
    cache.most_bytes = size
    assert cache.trim() == []
    cache.most_bytes = size - 1
    assert cache.trim(keep={paths[1]}) == [paths[2]]
    assert set(cache.purge(keep={paths[0]})) == {paths[1], paths[3]}
    assert paths[0].exists() and others.exists()


def test_a_folder_that_cannot_be_made_is_one_line(volume: inrv.Volume, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(inrv.OutputError, match=r"the cache folder .*cache cannot be made"):
        VdbCache(tmp_path / "cache").fetch(volume)
    with pytest.raises(inrv.OptionError, match="most_bytes is -1"):
        VdbCache(tmp_path, most_bytes=-1)


def test_the_name_of_the_file_becomes_one_that_paths_can_hold(tmp_path: Path) -> None:
    strange = tmp_path / "fü@er % [1]\n.inrv"
    inrv.encode({"density": fog()}, strange, EXACT)
    name = VdbCache(tmp_path).path_of(inrv.load(strange)).name
    assert name.startswith("f__er____1__.") and name.isascii()
