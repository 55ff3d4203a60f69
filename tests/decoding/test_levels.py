"""Levels of detail and boxes of open files: what they hold, and how little is read for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrv
from inrv import EncodeOptions, OptionError, SparseVolume
from inrv.container import Container, Part
from inrv.container.layout import BITS
from inrv.files import read
from inrv.grids.portions import cropped

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
NAMES = ("tiles", "torus", "velocity", "fire")


@cache
def data_of(name: str, **options: Any) -> bytes:
    asked = EncodeOptions(effort="instant", device="cpu", **options)
    return inrv.encode_bytes(FIXTURES / f"{name}.vdb", asked)[0]


@cache
def decoded(name: str, **options: Any) -> SparseVolume:
    return inrv.load(data_of(name, **options), "cpu").to_sparse()


@pytest.mark.parametrize("name", NAMES)
def test_levels_keep_the_bound_on_the_error(name: str) -> None:
    original, volume = read(FIXTURES / f"{name}.vdb"), inrv.load(data_of(name, max_error="1%"))
    for grid, true in zip(volume.grids, original.grids, strict=True):
        for level in (1, 2, 4):
            found, places = grid.level(level), true.topology.at_multiples(level).coordinates()
            assert found.topology.active(places >> level).all()
            allowed = 0.01 * np.ptp(true.values, axis=0).max(initial=0)
            missed = np.abs(found.lookup(places >> level) - true.lookup(places)).max(initial=0)
            assert missed <= 1.0001 * allowed
            count = grid.topology.active(found.topology.coordinates() << level).sum()
            assert count == found.topology.leaf_voxel_count


@pytest.mark.parametrize("name", NAMES)
def test_levels_of_lossless_files_are_exact(name: str) -> None:
    original, volume = read(FIXTURES / f"{name}.vdb"), inrv.load(data_of(name, lossless=True))
    for grid, true in zip(volume.grids, original.grids, strict=True):
        found = grid.level(2)
        places = found.topology.coordinates()
        assert np.array_equal(found.values, true.lookup(places << 2), equal_nan=True)


def test_levels_are_close_where_no_bound_was_asked() -> None:
    for grid, whole in zip(inrv.load(data_of("fire")).grids, decoded("fire").grids, strict=True):
        found = grid.level(1)
        missed = found.values - whole.lookup(found.topology.coordinates() << 1)
        assert 0 < np.sqrt(np.square(missed).mean()) < 0.02 * np.ptp(whole.values)


def test_a_level_of_decoded_topology_is_that_of_the_whole_grid() -> None:
    volume = inrv.load(data_of("fire", topology="threshold"))
    for grid, whole in zip(volume.grids, decoded("fire", topology="threshold").grids, strict=True):
        found = grid.level(1)
        assert np.array_equal(found.values, whole.lookup(found.topology.coordinates() << 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_crop_is_that_of_the_whole_grid(name: str) -> None:
    for grid, whole in zip(inrv.load(data_of(name)).grids, decoded(name).grids, strict=True):
        low = whole.topology.leaf_origins.min(axis=0)
        box = inrv.Box(low + 3, low + np.array([40, 33, 25]))  # type: ignore[arg-type]
        found, wanted = grid.crop(box), cropped(whole, box)
        assert found.topology.equal(wanted.topology)
        assert np.array_equal(found.values, wanted.values)
        assert np.array_equal(found.inactive.values, wanted.inactive.values)
        assert np.array_equal(grid.level(0, box).values, wanted.values)


def test_a_crop_where_nothing_is_is_empty() -> None:
    for grid in inrv.load(data_of("velocity")).grids:
        assert grid.box is not None
        beyond = np.array(grid.box.upper) + 1000
        found = grid.crop(np.stack([beyond, beyond + 3]))
        assert found.topology.leaf_count == 0 and found.values.shape == (0, found.components)


def test_a_box_with_a_stride_has_the_voxels_at_its_multiples() -> None:
    for grid in inrv.load(data_of("velocity")).grids:
        assert grid.box is not None
        low, level = np.array(grid.box.lower), grid.level(2)
        box = low - 1, low + np.array([30, 21, 40])
        found = grid.dense(box, stride=4)
        assert np.array_equal(
            found,
            level.dense(inrv.Box(-(-box[0] // 4), box[1] // 4)),  # type: ignore[arg-type]
        )
        part = grid.level(2, box)
        assert np.array_equal(part.values, level.lookup(part.topology.coordinates()))
        assert np.array_equal(grid.tensor(box, 4).numpy(), found)
        assert np.array_equal(grid.dense(stride=1), grid.dense())
        assert grid.dense(((1, 0, 0), (1, 8, 9)), 2).shape == (0, 5, 5, 3)
        assert grid.level(1, ((1, 1, 1), (1, 1, 1))).topology.leaf_count == 0


def test_other_strides_and_levels_are_errors() -> None:
    grid = inrv.load(data_of("torus"))[0]
    for stride in (0, 3, 128, 2.5, "2"):
        with pytest.raises(OptionError, match="stride"):
            grid.dense(stride=stride)  # type: ignore[arg-type]
    for level in (-1, 7, 1.5):
        with pytest.raises(OptionError, match="level"):
            grid.level(level)  # type: ignore[arg-type]


def test_a_level_reads_the_codes_of_its_voxels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, parts = list[int](), Container.parts

    def watch(self: Container, asked: Sequence[Part]) -> list[bytes]:
        sizes.extend(part.size for part in asked)
        return parts(self, asked)

    monkeypatch.setattr(Container, "parts", watch)
    grid = inrv.load(data_of("torus", psnr=80))[0]
    read_of = []
    for level in range(5):
        sizes.clear()
        grid.level(level)
        read_of.append(sum(sizes))
    whole = sum(entry.raw for entry in grid.volume.container.entries if entry.type == BITS)
    assert read_of[0] == whole and read_of[3] == read_of[4] < read_of[2] < read_of[1]
    assert read_of[1] < 0.4 * whole and read_of[2] < 0.12 * whole
    sizes.clear()
    corner = grid.topology.leaf_origins[0].tolist()
    grid.level(1, (corner, corner))
    assert 0 < sum(sizes) < 0.7 * read_of[1]


def test_networks_have_levels_too() -> None:
    volume = inrv.load(FIXTURES / "golden" / "fourier.inrv", "cpu")
    for grid in volume.grids:
        whole, found = grid.to_grid(), grid.level(1)
        wanted = whole.lookup(found.topology.coordinates() << 1)
        np.testing.assert_allclose(found.values, wanted, rtol=1e-5, atol=1e-5)
        if grid.box is not None:
            box = grid.box.lower, grid.box.upper
            assert np.allclose(grid.crop(box).values, whole.values, rtol=1e-5, atol=1e-5)
