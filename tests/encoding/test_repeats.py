"""A grid that stays the same is stored once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, FormatError, SparseVolume, Transform
from inrv.decoding.frames import open_frames
from inrv.encoding.api import encoded_frames
from inrv.encoding.job import Frame
from inrv.grids import Grid, PassthroughGrid, sparse_grid
from testing.readers import check_same_bits
from testing.rebuild import take_apart

HALF_MANIFEST = 2000  # bytes that the entries of a repeated frame may take


def rock() -> NDArray[np.float32]:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing="ij")
    noise = np.random.default_rng(3).normal(size=x.shape)
    return np.where(x**2 + y**2 + z**2 < 0.8, 2 + x * y + 0.1 * noise, 0).astype(np.float32)


def still(number: int) -> tuple[Grid, ...]:
    """A rock that is called something else in each frame, and vectors that stay."""
    moved = Transform.from_voxel_size(0.5 + number)
    vectors = np.stack([rock(), -rock(), np.where(rock() > 0, 3, 0)], axis=3).astype(np.float32)
    named = sparse_grid(rock(), f"rock {number}", moved)
    return replace(named, metadata={"take": number}), sparse_grid(vectors, "v")


def frames_of(count: int) -> list[Frame]:
    passed = PassthroughGrid(2, "points", "Tree_int32", False, None, 0, bytes(3000), "a test")
    return [
        Frame(SparseVolume(still(number), passthrough=(passed,)), number, None)
        for number in range(count)
    ]


OPTIONS: list[dict[str, Any]] = [
    {"effort": "instant"},
    {"effort": "instant", "topology": "threshold", "psnr": 35.0},
    {"effort": "instant", "max_error": 0.1},
    {"effort": "instant", "lossless": True},
    {"field": "fourier", "epochs": 1},
]


@pytest.mark.parametrize("asked", OPTIONS, ids=str)
def test_a_frame_that_stays_the_same_costs_its_entries(asked: dict[str, Any]) -> None:
    options = EncodeOptions(**{"exact_below": 0, "device": "cpu"} | asked)
    one, _ = encoded_frames(frames_of(1), options)
    three, report = encoded_frames(frames_of(3), options)
    data = three.joined()
    assert three.size < one.size + HALF_MANIFEST
    if options.field != "fourier":
        check_same_bits(data)
    frames = open_frames(data, "cpu")
    assert sorted(grid.name for grid in report.grids) == ["rock 0", "rock 1", "rock 2", *"vvv"]
    assert len({grid.psnr for grid in report.grids}) <= 2
    inrv.verify(data)
    for number, frame in frames.items():
        assert list(frame) == [f"rock {number}", "v"]
        assert frame.to_sparse().grids[0].metadata["take"].value == number
        assert frame[0].transform == Transform.from_voxel_size(0.5 + number)
        assert frame[0].values().tobytes() == frames[0][0].values().tobytes()
        assert len(frame.to_sparse().passthrough[0].data) == 3000


def drifting(number: int) -> NDArray[np.float32]:
    """A cloud that moves by some voxels a frame, so that motion pays off."""
    x, y, z = np.meshgrid(*[np.arange(36.0)] * 3, indexing="ij")
    away = np.sqrt((x - 18 - 3 * np.sin(0.3 * number)) ** 2 + (y - 18) ** 2 + (z - 18) ** 2)
    cloud = np.clip(1 - away / 13.7, 0, 1) * (1 + 0.2 * np.sin(0.7 * y + 0.2 * number))
    return cloud.astype(np.float32)


@pytest.mark.parametrize("numbers", [(0, 1, 2, 3), (0, 0, 1, 1, 2, 2, 3, 3), (0, 1, 2, 3, 2, 1)])
def test_what_moves_beside_what_repeats(numbers: tuple[int, ...]) -> None:
    options = EncodeOptions(effort="instant", exact_below=0, device="cpu", max_error="1%")
    volumes = [
        SparseVolume((sparse_grid(drifting(0), "still"), sparse_grid(drifting(own), "moving")))
        for own in numbers
    ]
    frames = [Frame(volume, number, None) for number, volume in enumerate(volumes)]
    data = encoded_frames(frames, options)[0].joined()
    found = open_frames(data, "cpu")
    field = found[0].manifest.field
    assert field is not None
    assert any(channel["motion"] is not None for channel in field.config["channels"])
    check_same_bits(data)
    for volume, frame in zip(volumes, found.values(), strict=True):
        for grid, decoded in zip(volume.grids, frame.grids, strict=True):
            assert np.abs(decoded.values() - grid.values[:, 0]).max() < 0.05


def test_grids_of_one_volume_are_stored_once_too() -> None:
    pair = [sparse_grid(rock(), name) for name in ("a", "b")]
    instant = EncodeOptions(effort="instant", exact_below=0)
    alone, _ = inrv.encode_bytes(pair[:1], instant)
    both, _ = inrv.encode_bytes(pair, instant)
    assert len(both) < len(alone) + HALF_MANIFEST
    check_same_bits(both)


def test_what_decodes_differently_shares_no_output() -> None:
    pair = [sparse_grid(rock(), name) for name in ("a", "b")]
    data, _ = inrv.encode_bytes(pair, EncodeOptions(effort="instant", exact_below=0))
    for key, value in (("maximum", 99.0), ("minimum", -99.0)):
        file = take_apart(data)
        file.edit_manifest(f"grids.1.components.0.{key}", value)
        with pytest.raises(FormatError, match=r"two components that differ.*F4"):
            inrv.load(file.to_bytes())["a"].values()
