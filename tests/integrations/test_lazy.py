"""Grids as arrays that decode what is asked for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import inrv
from inrv.decoding.frames import open_frames
from inrv.grids import Box
from inrv.integrations.lazy import GridArray, grids_over_time

INSTANT = inrv.EncodeOptions(effort="instant")
X = np.linspace(0, 3, 40, dtype=np.float32)
FOG = 1.5 + np.sin(X)[:, None, None] * np.cos(X)[:, None] * np.sin(2 * X)


@pytest.fixture(scope="module")
def velocity() -> GridArray:
    """A vector grid whose box begins at voxel (1, 0, 3)."""
    wide = np.stack([FOG, 2 * FOG, FOG - 1], axis=-1)
    active = np.zeros(FOG.shape, dtype=bool)
    active[1:38, :, 3:] = True
    data, _ = inrv.encode_bytes(
        {"v": np.ma.array(wide, mask=~active[..., None] & [True] * 3)}, INSTANT
    )
    grid = grids_over_time(open_frames(data))["v"]
    assert grid.box is not None and grid.box.lower == (1, 0, 3)
    return GridArray(grid, grid.box)


@pytest.mark.parametrize(
    "index",
    [
        np.s_[...],
        np.s_[3, 4],
        np.s_[-1, ..., 1],
        np.s_[2:9, 4, :, ::2],
        np.s_[0:30:5, 1:7:3, 5, 2],
        np.s_[9:3],
        np.s_[..., 5, 0],
        np.int64(3),
    ],
)
def test_blocks_are_those_of_the_whole(velocity: GridArray, index: object) -> None:
    whole = np.asarray(velocity)
    assert whole.shape == velocity.shape == (37, 40, 37, 3) and velocity.ndim == 4
    assert velocity.size == whole.size and len(velocity) == 37
    assert np.array_equal(velocity[index], whole[index])  # type: ignore[index]
    one = GridArray(velocity.grid, velocity.box, component=1)
    assert np.array_equal(np.asarray(one), whole[..., 1])
    assert np.array_equal(pickle.loads(pickle.dumps(velocity))[index], whole[index])  # type: ignore[index]


@pytest.mark.parametrize("index", [(0,) * 5, 37, -38, "a", 1.5, np.s_[::-1], [1, 2], None])
def test_other_indices_are_refused(velocity: GridArray, index: object) -> None:
    with pytest.raises(IndexError):
        velocity[index]


def test_strides_that_fit_levels_of_detail_decode_these(velocity: GridArray) -> None:
    """Their places are multiples in index space; all other strides give the finest level."""
    whole, grid = np.asarray(velocity), velocity.grid.first
    box = grid.box
    assert box is not None
    level = grid.dense(box, stride=4)
    assert not np.array_equal(level, whole[3::4, ::4, 1::4])
    assert np.array_equal(velocity[3::4, ::4, 1::4], level)
    assert np.array_equal(velocity[3::8, ::4, 1::4], level[::2])
    assert np.array_equal(velocity[3::4, 8, 1::4], level[:, 2])
    for exact in (np.s_[::4, ::4, ::4], np.s_[3::4, ::4, 2], np.s_[3::4, ::4], np.s_[3, 4, 1]):
        assert np.array_equal(velocity[exact], whole[exact])
    coarse = box.multiples(4)
    assert coarse is not None
    assert np.array_equal(np.asarray(GridArray(velocity.grid, coarse, level=2)), level)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames, of which one lacks a grid, and boxes differ."""
    path = tmp_path_factory.mktemp("sequence") / "run.inrv"
    with inrv.SequenceWriter(path, INSTANT, fps=10) as writer:
        writer.add(0.0, {"a": FOG[:20, :20, :20], "b": FOG[:9, :9, :9]})
        writer.add(0.1, {"a": FOG[:20, :25, :20]})
        writer.add(0.2, {"a": FOG[:20, :20, :20] + 1, "b": FOG[:9, :9, :9]})
    return path


def test_time_is_the_first_axis_and_what_a_frame_lacks_is_nan(sequence: Path) -> None:
    frames = open_frames(sequence)
    grids = grids_over_time(frames)
    assert list(grids) == ["a", "b"] and grids["a"].box == Box((0, 0, 0), (19, 24, 19))
    arrays = {
        key: GridArray(grid, Box((0, 0, 0), (19, 24, 19)), timed=True)
        for key, grid in grids.items()
    }
    assert arrays["a"].shape == (3, 20, 25, 20)
    for place, number in enumerate(frames):
        assert np.array_equal(arrays["a"][place], frames[number]["a"].dense(arrays["a"].box))
    assert np.array_equal(arrays["a"][1:, 4, ::3, -1], np.asarray(arrays["a"])[1:, 4, ::3, -1])
    assert np.isnan(arrays["b"][1]).all() and not np.isnan(arrays["b"][::2]).any()
    assert arrays["b"][2:1].shape == (0, 20, 25, 20)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda: inrv.sparse_grid(FOG, "a", inrv.Transform.from_voxel_size(2)), "transform"),
        (lambda: inrv.sparse_grid(np.stack([FOG] * 3, axis=-1), "a"), "type"),
    ],
)
def test_grids_that_change_their_nature_are_no_array(
    tmp_path: Path, change: Callable[[], inrv.Grid], what: str
) -> None:
    with inrv.SequenceWriter(tmp_path / "run.inrv", INSTANT) as writer:
        writer.add(None, {"a": FOG})
        writer.add(None, [change()])
    with pytest.raises(inrv.OptionError, match=rf"run.inrv: grid 'a' has another {what} in frame"):
        grids_over_time(open_frames(tmp_path / "run.inrv"))
