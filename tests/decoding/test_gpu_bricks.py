"""Points and boxes that are looked up on a GPU: the values that the CPU gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("triton")

import inrv
from inrv import SparseVolume, Transform, Volume
from inrv.fields.lattice.gpu import masks as gpu
from inrv.grids import sparse_grid
from testing.gpu import DEVICE, opened_on_gpu
from testing.lattice import instant, noise, smooth


@pytest.fixture(scope="module")
def data() -> bytes:
    """A fog with holes in two regions, and vectors on faces of which one component is constant."""
    clear = smooth(5)
    holes = noise(clear.shape, 4) < 0.7
    wind = np.stack([clear, np.full_like(clear, 3), -clear], axis=3)
    wide = np.zeros((13, 5, 5), dtype=np.float32)
    wide[5:10] = clear
    active = np.zeros(wide.shape, dtype=np.bool_)
    active[5:10] = holes
    fog = sparse_grid(wide, "fog", Transform.from_voxel_size(0.5), 0.25, active)
    away = fog.topology.leaf_origins + np.array([120, 0, -8], dtype=np.int32)
    fog = replace(fog, topology=replace(fog.topology, leaf_origins=away))
    grids = fog, sparse_grid(wind, "wind", grid_class="staggered")
    return inrv.encode_bytes(SparseVolume(grids), instant(psnr=40.0))[0]


@pytest.fixture(scope="module")
def volumes(data: bytes) -> tuple[Volume, Volume]:
    return inrv.load(data, "cpu"), opened_on_gpu(data)


def points_of(name: str) -> NDArray[np.float64]:
    """Points around a grid, some of them at voxels and far away."""
    lower = np.array([123, -2, -10]) if name == "fog" else np.full(3, -2)
    found = np.random.default_rng(0).uniform(lower, lower + 10, (400, 3))
    found[:20] = np.floor(found[:20])
    found[-2:] = [[1e9, 0, 0], [-7000, 3, 2]]
    return found


def on_device(points: NDArray[np.float64], **how: Any) -> torch.Tensor:
    return torch.tensor(points, device=DEVICE, **how)


@pytest.mark.parametrize("interpolation", ["nearest", "trilinear"])
@pytest.mark.parametrize("name", ["fog", "wind"])
def test_points(volumes: tuple[Volume, Volume], name: str, interpolation: str) -> None:
    theirs, ours = volumes
    points = points_of(name)
    expected = theirs[name].sample(points, interpolation=interpolation)
    found = ours[name].sample(on_device(points), interpolation=interpolation)
    assert found.device.type == DEVICE.type and found.dtype == torch.float32
    np.testing.assert_allclose(found.cpu().numpy(), expected, rtol=1e-6)
    single = ours[name].sample(on_device(points).float(), interpolation=interpolation)
    near = theirs[name].sample(points.astype(np.float32), interpolation=interpolation)
    np.testing.assert_allclose(single.cpu().numpy(), near, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["fog", "wind"])
def test_gradients(volumes: tuple[Volume, Volume], name: str) -> None:
    theirs, ours = volumes
    points = points_of(name)
    for space in ("index", "world"):
        expected = theirs[name].sample(points, space, gradient=True)
        found = ours[name].sample(on_device(points), space, gradient=True)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.cpu().numpy(), other, rtol=1e-5, atol=1e-6)
    asked = on_device(points, requires_grad=True)
    ours[name].sample(asked).sum().backward()
    again = torch.tensor(points, requires_grad=True)
    theirs[name].sample(again).sum().backward()
    assert asked.grad is not None and again.grad is not None
    np.testing.assert_allclose(asked.grad.cpu().numpy(), again.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["fog", "wind"])
def test_boxes(volumes: tuple[Volume, Volume], name: str) -> None:
    theirs, ours = volumes
    box = ((124, -1, -9), (133, 6, -1)) if name == "fog" else ((-1, 0, 0), (5, 6, 6))
    found = ours[name].tensor(box)
    assert found.device.type == DEVICE.type
    assert found.cpu().numpy().tobytes() == theirs[name].dense(box).tobytes()
    assert np.array_equal(ours[name].tensor().cpu().numpy(), theirs[name].dense())
    assert np.array_equal(ours[name].nanovdb().cpu().numpy(), theirs[name].nanovdb().numpy())


@pytest.mark.parametrize(("name", "stride"), [("fog", 16), ("wind", 2)])
def test_boxes_at_a_level(volumes: tuple[Volume, Volume], name: str, stride: int) -> None:
    theirs, ours = volumes
    box = ((112, -1, -16), (140, 6, 7)) if name == "fog" else ((-1, 0, 0), (5, 6, 6))
    found = ours[name].tensor(box, stride)
    assert found.device.type == DEVICE.type
    assert found.cpu().numpy().tobytes() == theirs[name].dense(box, stride).tobytes()
    assert ours[name].tensor(((1, 1, 1), (1, 9, 1)), stride).numel() == 0
    with pytest.raises(inrv.OptionError, match="stride 3 is not one of"):
        ours[name].tensor(box, 3)


@pytest.mark.parametrize(
    "asked", [{"psnr": 30.0, "topology": "threshold"}, {"max_error": "3%"}], ids=str
)
def test_what_is_not_coded(asked: dict[str, Any]) -> None:
    edge = 7 if "max_error" in asked else 6
    values = smooth(edge) + np.float32(0.1) * noise((edge,) * 3, 2)
    values[:, :2] = 0.5  # frequent
    values[3, 4, 5] = 1e4  # far away from all others
    values[values < 0.2] = 0
    data = inrv.encode_bytes(SparseVolume((sparse_grid(values, "fog"),)), instant(**asked))[0]
    theirs, ours = inrv.load(data, "cpu"), opened_on_gpu(data)
    found = ours["fog"].tensor(((-1, -1, -1), (8, 8, 8))).cpu().numpy()
    assert found.tobytes() == theirs["fog"].dense(((-1, -1, -1), (8, 8, 8))).tobytes()
    coarse = ours["fog"].tensor(((-1, -1, -1), (8, 8, 8)), 2).cpu().numpy()
    assert coarse.tobytes() == theirs["fog"].dense(((-1, -1, -1), (8, 8, 8)), 2).tobytes()


def test_a_small_cache_holds_what_a_request_asks_for(data: bytes) -> None:
    ours = opened_on_gpu(data)
    bricks = ours["fog"].values_of_grid.gpu_bricks
    assert bricks is not None
    bricks.most_bytes = 1
    points = points_of("fog")
    first = ours["fog"].sample(on_device(points[:1]))
    every = ours["fog"].sample(on_device(points))
    assert first[0] == every[0]
    np.testing.assert_allclose(
        every.cpu().numpy(), inrv.load(data, "cpu")["fog"].sample(points), rtol=1e-6
    )


def test_half_of_the_memory(data: bytes) -> None:
    exact, ours = inrv.load(data, "cpu")["fog"], opened_on_gpu(data, gpu_cache_dtype="float16")
    points = points_of("fog")
    found = ours["fog"].sample(on_device(points)).cpu().numpy()
    np.testing.assert_allclose(found, exact.sample(points), rtol=2**-10)
    assert not np.array_equal(found, exact.sample(points))
    assert np.array_equal(ours["fog"].nanovdb().cpu().numpy(), exact.nanovdb().numpy())
    high = inrv.encode_bytes(
        SparseVolume((sparse_grid(1e5 * smooth(6), "high"),)), instant(psnr=40.0)
    )[0]
    with pytest.raises(inrv.OptionError, match="'high' has values beyond those of float16"):
        opened_on_gpu(high, gpu_cache_dtype="float16")["high"].tensor()
    with pytest.raises(inrv.OptionError, match="'int8' is not one of float32, float16"):
        inrv.load(data, gpu_cache_dtype="int8")


def test_masks_of_many_regions_are_decoded_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "FEWEST_REGIONS", 1)
    counted = []
    decode = gpu.decode_regions

    def counting(regions: Any, device: Any) -> Any:
        counted.append(len(regions))
        return decode(regions, device)

    monkeypatch.setattr(gpu, "decode_regions", counting)
    active = noise((7,) * 3, 4) < 0.7
    grid = sparse_grid(smooth(7), "fog", active=active)
    data = inrv.encode_bytes(SparseVolume((grid,)), instant(psnr=40.0))[0]
    volume = opened_on_gpu(data)
    assert np.array_equal(volume["fog"].topology.leaf_masks, grid.topology.leaf_masks)
    assert counted == [1]


def test_points_that_are_not_finite_are_refused(volumes: tuple[Volume, Volume]) -> None:
    with pytest.raises(inrv.OptionError, match=r"point 1 is \[0.0, nan, 0.0\]"):
        volumes[1]["fog"].sample(torch.tensor([[0, 0, 0], [0, torch.nan, 0]], device=DEVICE))
