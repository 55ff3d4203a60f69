"""Frames that are predicted from others along vectors; every decoder gives the same bits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

import inrv
from fixtures.make_golden import FOLDER
from inrv import FormatError, Grid, SparseVolume, Topology
from inrv.container import pack_tensors, unpack_tensors
from inrv.decoding.frames import open_frames
from inrv.encoding.api import encoded_frames
from inrv.encoding.job import Frame
from inrv.fields.lattice import encode
from inrv.fields.lattice.channels import Source, predictions_of
from inrv.fields.lattice.model import default_model
from inrv.fields.lattice.motion import Motion
from inrv.fields.lattice.motion_search import FrameValues, coding_order, find_motion
from inrv.grids import sparse_grid
from spec.reference import motion as reference_motion
from spec.reference import read as reference_reader
from testing.core_files import CoreDecoder, CoreFile
from testing.lattice import instant, noise
from testing.readers import check_same_bits
from testing.rebuild import File, payload, take_apart

PRIOR = default_model(True, False).prior
GOLDEN = (FOLDER / "motion.inrv").read_bytes()


def waves(shape: tuple[int, ...], shift: tuple[float, ...]) -> NDArray[np.float32]:
    """A smooth quantity with details, that moves by a shift in voxels."""
    x, y, z = (
        at - by
        for at, by in zip(np.meshgrid(*map(np.arange, shape), indexing="ij"), shift, strict=True)
    )
    return (np.sin(0.31 * x + 0.2 * z) * np.cos(0.27 * y) + 0.4 * np.sin(0.45 * z)).astype(
        np.float32
    )


def across_regions(grid: Grid) -> Grid:
    """A grid moved along x, so that its middle lies where two regions meet."""
    origins = grid.topology.leaf_origins + np.array([112, 0, 0], np.int32)
    return replace(grid, topology=replace(grid.topology, leaf_origins=origins))


def group(**options: Any) -> bytes:
    """Three frames of a volume in two regions with holes and values set apart."""
    frames = []
    for number in range(3):
        values = waves((24, 8, 8), (0.8 * number, 0.3 * number, 0)) + np.float32(2)
        values += 0.2 * np.roll(noise(values.shape, 1), number, axis=0)
        values[:, :2] = 0.5  # frequent
        if options.get("lossless"):
            values = np.round(values * 16) / 16  # few values, for a palette
        values[6, 5, 2] = 1e5  # an extreme
        active = np.ones(values.shape, dtype=np.bool_)
        active[10:14, :, 5:] = False
        active[8 * number : 8 * number + 4, :, 4:] = False
        density = sparse_grid(values, "density", active=active, background=0.25)
        wind = np.stack([values, values[::-1], -values], 3)
        grids = across_regions(density), across_regions(sparse_grid(wind, "wind", active=active))
        frames.append(Frame(SparseVolume(grids), number, None))
    with patch.object(encode, "predictions_of", lambda *held: [most_moved(predictions_of(*held))]):
        contents, _ = encoded_frames(frames, instant(**options))
    return contents.joined()


def most_moved(found: list[tuple[Source, ...]]) -> tuple[Source, ...]:
    """The prediction from as many frames as can be, along vectors."""
    return max(
        found,
        key=lambda sources: sum(
            source.motion is not None and bool(source.motion.vectors.any()) for source in sources
        ),
    )


def over_a_tile() -> bytes:
    """Two frames; where the second one has leaves, the first has a tile of 128^3 voxels."""
    frames = []
    for number in range(2):
        values = waves((16, 16, 16), (0, 0, 0)) + 0.3 * noise((16, 16, 16), 5) + np.float32(number)
        grid = sparse_grid(values, "d", active=np.ones(values.shape, dtype=np.bool_))
        if number == 0:
            topology = replace(
                grid.topology,
                leaf_origins=grid.topology.leaf_origins + np.array([0, 0, 128], np.int32),
                tile_origins=np.zeros((1, 3), np.int32),
                tile_edges=np.array([128], np.int32),
                tile_active=np.ones(1, np.bool_),
            )
            grid = replace(grid, topology=topology, tile_values=np.array([[1.5]], np.float32))
        frames.append(Frame(SparseVolume((grid,)), number, None))
    with patch.object(encode, "predictions_of", lambda *held: predictions_of(*held)[-1:]):
        return encoded_frames(frames, instant())[0].joined()


def test_a_tile_of_another_frame_is_what_fills_a_region() -> None:
    data = over_a_tile()
    assert channels_of(data)[1]["motion"] is not None
    check_same_bits(data)


def channels_of(data: bytes) -> list[dict[str, Any]]:
    field = inrv.load(data, "cpu").manifest.field
    assert field is not None
    channels: list[dict[str, Any]] = field.config["channels"]
    return channels


def test_the_golden_file_has_motion_of_one_frame_and_of_two() -> None:
    channels = channels_of(GOLDEN)
    assert any(own["motion"] is not None and own["second_motion"] is None for own in channels)
    assert any(own["second_motion"] is not None for own in channels)
    check_same_bits(GOLDEN)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"psnr": 50.0, "topology": "threshold"},
        {"max_error": "1%"},
        {"lossless": True, "exact_below": 0},
    ],
    ids=["psnr", "threshold", "bound", "lossless"],
)
def test_every_decoder_gives_the_same_bits(options: dict[str, Any]) -> None:
    data = group(**options)
    channels = channels_of(data)
    assert any(own["motion"] is not None and own["second_motion"] is None for own in channels)
    assert any(own["second_motion"] is not None for own in channels)
    check_same_bits(data)


def rough(number: int) -> NDArray[np.float32]:
    """A quantity with noise that moves by a voxel a frame."""
    return waves((40, 40, 40), (number, 0, 0)) + 0.1 * np.roll(noise((40, 40, 40), 2), number, 0)


def test_a_frame_costs_less_after_another_one() -> None:
    def frames(count: int) -> list[Frame]:
        return [Frame(SparseVolume((sparse_grid(rough(n), "d"),)), n, None) for n in range(count)]

    alone = encoded_frames(frames(1), instant())[0].size
    both = encoded_frames(frames(2), instant())[0]
    assert both.size < 1.8 * alone
    first, second = open_frames(both.joined()).values()
    for number, volume in enumerate((first, second)):
        original = rough(number)
        squared = np.square(np.asarray(volume["d"]) - original).mean()
        assert -10 * np.log10(squared / np.ptp(original) ** 2) > 44.9


def values_of(array: NDArray[np.float32]) -> FrameValues:
    grid = sparse_grid(array, "d", active=np.ones(array.shape, dtype=np.bool_))
    return FrameValues(grid.topology, grid.values[:, 0], 0.0)


def test_vectors_lead_to_where_values_came_from() -> None:
    shape, shift = (48, 40, 40), (1.75, -0.5, 0.25)
    before, now = values_of(waves(shape, (0, 0, 0))), values_of(waves(shape, shift))
    found = find_motion(0, now, before)
    vectors = found.vectors / 2**found.fraction
    inner = ((found.topology.leaf_origins >= 8) & (found.topology.leaf_origins < 24)).all(axis=1)
    assert np.abs(vectors[inner] + shift).max() < 0.3
    assert not find_motion(0, now, now).vectors.any()


def test_slow_frames_are_coded_from_both_sides_and_others_in_order() -> None:
    slow = [values_of(waves((32, 32, 32), (0.2 * n, 0, 0))) for n in range(8)]
    assert coding_order(slow) == [0, 4, 2, 1, 3, 7, 5, 6]
    random = np.random.default_rng(1)
    noise = [values_of(random.random((16, 16, 16), dtype=np.float32)) for _ in range(4)]
    assert coding_order(noise) == [0, 1, 2, 3] and coding_order(slow[:2]) == [0, 1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(14, 18)),
        unique=True, min_size=1, max_size=40,
    ),
    st.data(),
)  # fmt: skip
def test_any_vectors_come_back(cells: list[tuple[int, ...]], data: st.DataObject) -> None:
    masks = np.ones((len(cells), 512), dtype=np.bool_)
    topology = Topology.from_leaves(np.array(cells, np.int32) * 8, masks)
    numbers = st_numpy.arrays(np.int8, (len(cells), 3), elements=st.integers(-127, 127))
    motion = Motion(0, topology, data.draw(numbers), data.draw(st.integers(0, 3)))
    arrays = unpack_tensors(pack_tensors(motion.pack(PRIOR, motion.grid)))
    again = Motion.unpack(arrays, PRIOR, lambda _: topology)
    assert np.array_equal(again.vectors, motion.vectors) and again.fraction == motion.fraction
    differences = motion._predicted(motion.vectors.astype(np.int32), restore=False)
    theirs = reference_motion.vectors_of(topology.leaf_origins, differences)
    for origin, vector in zip(topology.leaf_origins.tolist(), motion.vectors, strict=True):
        assert np.array_equal(theirs[tuple(origin)], vector)


def damaged(**tensors: Any) -> bytes:
    """The golden file whose first motion has other tensors."""
    file = take_apart(GOLDEN)
    number = next(n for n, part in enumerate(file.chunks) if part.type == b"MOVE")
    arrays = unpack_tensors(payload(file.chunks[number]))
    part = file.chunks[number]
    part.stored = pack_tensors(arrays | tensors)
    part.raw, part.compression = len(part.stored), 0
    return file.to_bytes()


def far(axis: int) -> dict[str, Any]:
    """Vectors that go on beyond what a number of them may be."""
    found = open_frames(GOLDEN)[0].file.stored.topology(0)
    assert found is not None
    from inrv.fields.lattice.tokens import code_passes

    passes = [np.zeros(found.leaf_count, dtype=np.int32) for _ in range(3)]
    passes[axis][:] = 90
    tables, codes = code_passes(PRIOR, passes)
    return {"tables": tables, "codes": np.frombuffer(codes, np.uint8)}


DAMAGE = {
    "a grid that is not there": ("F9", {"grid": np.array([99], np.int32)}),
    "a negative grid": ("F9", {"grid": np.array([-1], np.int32)}),
    "a fraction too fine": ("F9", {"fraction": np.array([4], np.uint8)}),
    "no such table": ("F9", {"tables": np.array([64, 65, 64], np.uint8)}),
    "vectors too long": ("F9", far(1)),
    "codes cut": ("F6", {"codes": np.zeros(3, np.uint8)}),
    "two grids": ("S3", {"grid": np.array([0, 1], np.int32)}),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_told_by_every_decoder(what: str) -> None:
    identity, tensors = DAMAGE[what]
    data = damaged(**tensors)
    frames = open_frames(data)
    with pytest.raises(FormatError) as caught:
        for volume in frames.values():
            volume.to_sparse()
    assert caught.value.id == identity
    file = CoreFile(data)
    with pytest.raises(FormatError) as caught:
        for number in range(len(file.grids)):
            decoder = CoreDecoder(file, number)
            for corner in decoder.corners:
                decoder.region(corner)
    assert caught.value.id == identity
    if identity != "S3":
        with pytest.raises(ValueError, match=identity):
            reference_reader.decode(data)


CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "motion without a reference": ("M7", {"reference": None}),
    "a second one without motion": ("M7", {"motion": None}),
    "a second one without motion of its own": ("M7", {"second_motion": None}),
    "motion of no second one": ("M7", {"second_reference": None}),
    "a second one that comes later": ("M7", {"second_reference": 99}),
    "motion in another chunk": ("M11", {"motion": 0}),
    "motion in no chunk": ("M11", {"second_motion": 99}),
    "no key": ("M6", {"motion": ...}),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_what_channels_refer_to_is_checked(what: str) -> None:
    identity, changes = CONFIGS[what]
    number = next(
        n for n, own in enumerate(channels_of(GOLDEN)) if own["second_motion"] is not None
    )
    file: File = take_apart(GOLDEN)
    for key, value in changes.items():
        file.edit_manifest(f"field.config.channels.{number}.{key}", value)
    assert json.loads(payload(file.manifest))
    for read in (lambda data: inrv.load(data, "cpu"), CoreFile):
        with pytest.raises(FormatError) as caught:
            read(file.to_bytes())
        assert caught.value.id == identity
