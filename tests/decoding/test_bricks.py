"""Points and boxes of a lattice, looked up in decoded regions: the values of the whole grid."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inrv
from inrv import EncodeOptions, Grid, OptionError, sparse_grid
from inrv.decoding import points as points_of
from inrv.decoding.bricks import BrickCache, Bricks

Array = NDArray[Any]
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
NOWHERE = (2**23, -(2**23), 2**24, -5e9, 1e300, -1e300)  # coordinates beyond every voxel
CASES: dict[str, dict[str, Any]] = {
    "tiles": {},
    "torus": {},
    "velocity": {},
    "fire": {"topology": "threshold"},
}


@cache
def data_of(name: str) -> bytes:
    asked = EncodeOptions(effort="instant", device="cpu", **CASES[name])
    return inrv.encode_bytes(FIXTURES / f"{name}.vdb", asked)[0]


@cache
def tiled() -> bytes:
    """A grid with tiles of every size, inactive values, and voxels that are not finite."""
    rng = np.random.default_rng(5)
    values = rng.random((40, 24, 24), dtype=np.float32)
    values[3, 4, 5] = np.inf
    grid = sparse_grid(values, "a", background=0.25, active=values > 0.4)
    topology = replace(
        grid.topology,
        tile_origins=np.array([[4096, 0, 0], [-128, 0, 0], [40, 0, 0], [-4096, -4096, 0]], "i4"),
        tile_edges=np.array([4096, 128, 8, 4096], dtype=np.int32),
        tile_active=np.array([True, False, True, False]),
    )
    tiles = np.array([[2.0], [3.0], [np.nan], [5.0]], dtype=np.float32)
    whole = replace(grid, topology=topology, tile_values=tiles)
    asked = EncodeOptions(effort="instant", device="cpu", nonfinite="keep")
    return inrv.encode_bytes(whole, asked)[0]


def cases() -> list[tuple[str, bytes]]:
    return [*((name, data_of(name)) for name in CASES), ("tiled", tiled())]


def some_points(grid: inrv.VolumeGrid) -> Array:
    """Points in and around a grid: between voxels, on them, and on the borders of its regions."""
    rng, box = np.random.default_rng(3), grid.box
    assert box is not None
    low, shape = np.array(box.lower), np.array(box.shape)
    among = low - 3 + rng.random((600, 3)) * np.minimum(shape + 6, 600)
    active = grid.coordinates()[rng.integers(0, len(grid.coordinates()), 600)]
    borders = np.round(among / 8) * 8 - rng.random((600, 3)) * (rng.random((600, 3)) < 0.5)
    tiles = rng.random((300, 3)) * 5000 - 500
    beyond = among[:6].copy()
    beyond[:, 1] = NOWHERE
    return np.concatenate([among, active, active + rng.random((600, 3)), borders, tiles, beyond])


def expected(grid: inrv.VolumeGrid, whole: Grid, points: Array, how: Any) -> Array:
    """The same by arithmetic in NumPy on the decoded grid."""
    points = points.clip(-(2.0**24), 2.0**24)
    if not grid.staggered:
        return np.asarray(how(points, whole.lookup))
    parts = [how(points + 0.5 * face, whole.lookup)[:, axis] for axis, face in enumerate(np.eye(3))]
    return np.stack(parts, axis=1)


@pytest.mark.parametrize("data", [data for _, data in cases()], ids=[name for name, _ in cases()])
def test_samples_are_those_of_the_decoded_grid_to_the_bit(data: bytes) -> None:
    for grid in inrv.load(data, "cpu").grids:
        whole, points = inrv.load(data, "cpu")[grid.position].to_grid(), some_points(grid)
        for name, how in (("trilinear", points_of.trilinear), ("nearest", points_of.nearest)):
            with np.errstate(invalid="ignore"):
                wanted = expected(grid, whole, points, how).astype(np.float32)
            found = grid.sample(points, interpolation=name)
            assert np.array_equal(found.reshape(wanted.shape), wanted, equal_nan=True)
        coordinates = points[600:1200].astype(np.int64)
        assert np.array_equal(grid.voxels(coordinates), whole.lookup(coordinates), equal_nan=True)


def test_a_point_on_a_voxel_has_its_value_to_the_bit() -> None:
    values = np.linspace(-1, 1, 4**3, dtype=np.float32).reshape(4, 4, 4)
    values[1:3] = -0.0
    values[0, 0, 1:3] = np.nan, np.inf
    options = EncodeOptions(lossless=True, nonfinite="keep", exact_below=0)
    data = inrv.encode_bytes(sparse_grid(values, "a", active=np.ones(values.shape)), options)[0]
    points = np.argwhere(np.ones(values.shape))
    found = inrv.load(data, "cpu")[0].sample(points).reshape(values.shape)
    assert np.array_equal(found, values, equal_nan=True)
    assert np.array_equal(np.signbit(found[1:3]), np.signbit(values[1:3]))


@pytest.mark.parametrize("data", [data for _, data in cases()], ids=[name for name, _ in cases()])
def test_boxes_are_those_of_the_decoded_grid(data: bytes) -> None:
    for grid in inrv.load(data, "cpu").grids:
        whole = inrv.load(data, "cpu")[grid.position].to_grid()
        low = np.array(grid.topology.leaf_origins.min(axis=0))
        boxes: list[Any] = [(low - 9, low + np.array([50, 40, 30])), (low + 5, low + 5)]
        boxes += [((-140, 0, 3), (60, 20, 9))]
        boxes += [((4090, -2, 4), (4099, 1, 5)), ((-4100, -3, -4), (-4090, 3, 1))]
        for lower, upper in boxes:
            found, wanted = grid.dense((lower, upper)), whole.dense(inrv.Box(lower, upper))
            assert np.array_equal(found.reshape(wanted.shape), wanted, equal_nan=True)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the bricks that are decoded from now on."""
    decoded, decode = list[int](), Bricks.decode

    def watch(self: Bricks, number: int) -> Any:
        decoded.append(number)
        return decode(self, number)

    monkeypatch.setattr(Bricks, "decode", watch)
    return decoded


def test_a_box_decodes_its_regions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = watched(monkeypatch)
    grid = inrv.load(data_of("torus"), "cpu")[0]
    regions = len(grid.values_of_grid.bricks.keys)
    corner = grid.topology.leaf_origins[0].tolist()
    for _ in range(2):
        grid[corner[0], corner[1] : corner[1] + 2, corner[2] : corner[2] + 2]
        grid.sample(np.array(corner) + 0.5)
    assert len(decoded) == 1 < regions
    grid.dense()
    assert sorted(decoded) == list(range(regions))


@pytest.mark.parametrize("cache_bytes", [0, 200_000, 1 << 29])
def test_a_cache_of_any_size_gives_the_same(cache_bytes: int) -> None:
    data = data_of("torus")
    volume = inrv.load(data, "cpu", cache_bytes=cache_bytes)
    points = some_points(volume[0])
    for _ in range(2):
        assert np.array_equal(volume[0].sample(points), inrv.load(data, "cpu")[0].sample(points))
        assert volume.cache.bytes <= cache_bytes
    assert pickle.loads(pickle.dumps(volume)).cache.most_bytes == cache_bytes


def test_what_was_not_used_for_longest_goes_first() -> None:
    grid = inrv.load(data_of("torus"), "cpu")[0]
    bricks = grid.values_of_grid.bricks
    sizes = [bricks.decode(number).nbytes for number in range(3)]
    assert sizes == [bricks.sizes(np.array([number])) for number in range(3)]
    bricks.cache = cache_of_two = BrickCache(sum(sizes) - 1)
    for number in (0, 1, 0, 2):
        cache_of_two.get(bricks, number)
    assert 1 not in bricks.held and 2 in bricks.held
    assert [bool(line["cells"]) for line in bricks.addresses[:3]] == [
        number in bricks.held for number in range(3)
    ]


def test_threads_share_what_one_of_them_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, together = watched(monkeypatch), threading.Barrier(4)
    grid = inrv.load(data_of("torus"), "cpu")[0]
    points, wanted = some_points(grid), inrv.load(data_of("torus"), "cpu")[0]
    bricks = grid.values_of_grid.bricks

    def sampled(_: int) -> Array:
        together.wait()
        return np.asarray(grid.sample(points))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(sampled, range(4)))
    assert sorted(decoded) == sorted(set(decoded)) and len(decoded) <= len(bricks.keys)
    assert all(np.array_equal(own, wanted.sample(points)) for own in results)


def test_an_error_while_decoding_reaches_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Bricks, number: int) -> Any:
        raise inrv.FormatError("F6", "damaged")

    grid = inrv.load(data_of("torus"), "cpu")[0]
    decode = Bricks.decode
    monkeypatch.setattr(Bricks, "decode", fail)
    for _ in range(2):
        with pytest.raises(inrv.FormatError, match="damaged"):
            grid.sample(grid.topology.leaf_origins[0])
    monkeypatch.setattr(Bricks, "decode", decode)
    assert np.isfinite(grid.sample(grid.topology.leaf_origins[0]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_goes_on_though_a_thread_held_the_lock() -> None:
    volume = inrv.load(data_of("torus"), "cpu")
    points = some_points(volume[0])
    wanted = volume[0].sample(points)
    with volume.cache._lock, multiprocessing.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(_sum_of, (volume, points)).get(60)
    assert result == float(np.abs(wanted).sum())


def _sum_of(volume: inrv.Volume, points: Array) -> float:
    return float(np.abs(volume[0].sample(points)).sum())


class Samples(torch.utils.data.Dataset[Any]):
    """Points of a volume, and their values."""

    def __init__(self, volume: inrv.Volume, points: Array) -> None:
        self.volume, self.points = volume, points

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, number: int) -> Any:
        return self.volume[0].sample(self.points[number])


def test_the_workers_of_a_data_loader_sample(tmp_path: Path) -> None:
    (tmp_path / "torus.inrv").write_bytes(data_of("torus"))
    volume = inrv.load(tmp_path / "torus.inrv", "cpu")
    points = some_points(volume[0])[600:616]
    wanted = volume[0].sample(points)
    loader = torch.utils.data.DataLoader(Samples(volume, points), batch_size=8, num_workers=1)
    assert np.array_equal(torch.cat(list(loader)).numpy(), wanted)


@pytest.mark.parametrize("name", ["torus", "velocity"])
def test_gradients_are_those_of_the_interpolation(name: str) -> None:
    grid = inrv.load(data_of(name), "cpu")[0]
    whole, points = grid.to_grid(), some_points(grid)[:2400]
    values, found = grid.sample(points, gradient=True)
    wanted = expected_gradients(grid, whole, points)
    assert np.array_equal(values, grid.sample(points)) and found.dtype == np.float32
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-6)
    inner, step = some_points(grid)[1200:1800], 1e-4
    inner = np.floor(inner) + 0.1 + 0.3 * (inner % 1)  # kinks of faces are at 0.5
    _, slopes = grid.sample(inner, gradient=True)
    differences = [
        (grid.sample(inner + step * axis) - grid.sample(inner - step * axis)) / (2 * step)
        for axis in np.eye(3)
    ]
    largest = float(np.abs(values).max())
    np.testing.assert_allclose(slopes, np.stack(differences, axis=-1), atol=2e-3 * largest)


def expected_gradients(grid: inrv.VolumeGrid, whole: Grid, points: Array) -> Array:
    if not grid.staggered:
        return points_of.gradient(points, whole.lookup)
    faces = 0.5 * np.eye(3)
    parts = [points_of.gradient(points + faces[axis], whole.lookup)[:, axis] for axis in range(3)]
    return np.stack(parts, axis=1)


@pytest.mark.parametrize("name", ["torus", "velocity"])
def test_tensors_have_these_gradients_in_world_space_too(name: str) -> None:
    grid = inrv.load(data_of(name), "cpu")[0]
    index = some_points(grid)[1200:1400]
    for space, points in (("index", index), ("world", grid.transform.index_to_world(index))):
        values, slopes = grid.sample(points, space, gradient=True)
        tensor = torch.from_numpy(points).requires_grad_()
        sampled = grid.sample(tensor, space)
        assert np.array_equal(sampled.detach().numpy(), values)
        sampled.sum().backward()
        whole = slopes if slopes.ndim == 2 else slopes.sum(axis=1)
        scale = float(np.abs(whole).max())
        np.testing.assert_allclose(np.asarray(tensor.grad), whole, atol=1e-5 * scale, rtol=1e-5)
        pair = grid.sample(torch.from_numpy(points), space, gradient=True)
        assert torch.equal(pair[0], sampled.detach()) and np.array_equal(pair[1].numpy(), slopes)
    assert grid.sample(index[0], gradient=True)[1].shape == slopes.shape[1:]


def test_other_interpolations_have_no_gradient() -> None:
    with pytest.raises(OptionError, match="trilinear"):
        inrv.load(data_of("torus"), "cpu")[0].sample([0, 0, 0], "index", "nearest", True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_forked_while_another_thread_opens_a_field_goes_on() -> None:
    data, held, done = data_of("torus"), threading.Event(), threading.Event()
    lock = getattr(vars(inrv.Volume)["outputs"], "lock", threading.RLock())

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_first_value, (data,)).get(60) is not None
    done.set()
    holder.join()


def _first_value(data: bytes) -> float:
    return float(inrv.load(data, "cpu")[0].values()[0])
