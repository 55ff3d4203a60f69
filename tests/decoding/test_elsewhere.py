"""Grids as those of Warp and fVDB, and arrays that know nothing but DLPack."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import inrv
from inrv.support.arrays import as_array

torch = pytest.importorskip("torch")

X = np.linspace(0, 3, 20, dtype=np.float32)
FOG = np.sin(X)[:, None, None] * np.cos(X)[:, None] * np.sin(2 * X)
EXACT = inrv.EncodeOptions(lossless=True)


def loaded(grid: Any) -> inrv.VolumeGrid:
    return inrv.load(inrv.encode_bytes(grid, EXACT)[0])[0]


def test_warp_looks_the_same_values_up() -> None:
    warp = pytest.importorskip("warp")
    grid = loaded({"fog": FOG})

    def look_up(volume, places, found):  # type: ignore[no-untyped-def]
        at = places[warp.tid()]
        found[warp.tid()] = warp.volume_lookup_f(volume, at[0], at[1], at[2])

    look_up.__annotations__ = {
        "volume": warp.uint64,
        "places": warp.array(dtype=warp.vec3i),
        "found": warp.array(dtype=float),
    }
    places = grid.coordinates()
    found = warp.zeros(len(places), dtype=float, device="cpu")
    volume = grid.to_warp("cpu")
    inputs = [volume.id, warp.array(places, dtype=warp.vec3i, device="cpu"), found]
    warp.launch(warp.kernel(look_up), dim=len(places), inputs=inputs, device="cpu")
    assert np.array_equal(found.numpy(), grid.values())


class StandIn:
    """A grid as fVDB documents it, whose voxels have an order of their own."""

    def __init__(self, places: Any, voxel_size: Any, origin: Any) -> None:
        self.voxel_size, self.origin = voxel_size, origin
        self.places = sorted(map(tuple, places.tolist()), key=lambda place: place[::-1])

    def ijk_to_index(self, places: Any) -> Any:
        return torch.tensor([self.places.index(tuple(place)) for place in places.tolist()])


@pytest.fixture
def fvdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: the library itself is built for CUDA alone."""
    module = ModuleType("fvdb")
    module.Grid = SimpleNamespace(from_ijk=StandIn)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fvdb", module)


@pytest.mark.usefixtures("fvdb")
@pytest.mark.parametrize("vectors", [False, True])
def test_values_have_the_order_of_the_grid_of_fvdb(vectors: bool) -> None:
    array = FOG[:9, :9, :9]
    array = np.stack([array, 2 * array, array - 1], axis=-1) if vectors else array
    transform = inrv.Transform.from_voxel_size((0.5, 1, 2), (10, 20, 30))
    grid = loaded(inrv.sparse_grid(array, "fog", transform))
    made, values = grid.to_fvdb()
    assert (made.voxel_size, made.origin) == ([0.5, 1, 2], [10, 20, 30])
    assert np.array_equal(values.numpy(), array[tuple(np.transpose(made.places))])


@pytest.mark.usefixtures("fvdb")
def test_what_fvdb_cannot_hold_is_refused() -> None:
    turned = np.diag([1.0, -2, 1, 1])
    grid = inrv.sparse_grid(FOG, "fog", inrv.Transform("AffineMap", turned))
    with pytest.raises(inrv.OptionError, match="grid 'fog': its axes are not those of world space"):
        loaded(grid).to_fvdb()


@pytest.mark.parametrize("method", ["to_warp", "to_fvdb"])
def test_a_package_that_is_missing_is_told(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = method.removeprefix("to_")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(inrv.MissingPackageError, match=rf"pip install 'inrv\[{library}\]'"):
        getattr(loaded({"fog": FOG}), method)()


class OnlyDlpack:
    """An array of some library that hands its values over by DLPack, and in no other way."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **how: Any) -> Any:
        return self._array.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("array", [FOG, torch.from_numpy(FOG)], ids=["NumPy", "torch"])
def test_arrays_that_know_nothing_but_dlpack_are_encoded(array: Any) -> None:
    wanted = inrv.encode_bytes({"fog": FOG}, EXACT)[0]
    assert inrv.encode_bytes({"fog": OnlyDlpack(array)}, EXACT)[0] == wanted


GIVEN = {
    "dense": lambda grid: grid.dense(),
    "box": lambda grid: grid.dense(((1, 2, 3), (8, 8, 9))),
    "stride": lambda grid: grid.dense(stride=4),
    "slice": lambda grid: grid[3:9, :, 5],
    "values": lambda grid: grid.values(),
    "coordinates": lambda grid: grid.coordinates(),
    "sample": lambda grid: grid.sample(np.ones((4, 3))),
    "tensor": lambda grid: grid.tensor(),
    "nanovdb": lambda grid: grid.nanovdb(),
}


@pytest.mark.parametrize("what", GIVEN)
def test_what_a_grid_gives_is_handed_on_by_dlpack_without_a_copy(what: str) -> None:
    grid = inrv.load(inrv.encode_bytes({"fog": FOG}, EXACT)[0], "cpu")[0]
    given = GIVEN[what](grid)
    place = torch.as_tensor(given).data_ptr()
    assert torch.from_dlpack(given).data_ptr() == place
    assert np.from_dlpack(OnlyDlpack(given)).__array_interface__["data"][0] == place


def test_arrays_are_taken_without_a_copy() -> None:
    tensor = torch.from_numpy(FOG.copy())
    for array in (tensor, OnlyDlpack(tensor), OnlyDlpack(tensor.numpy())):
        assert np.shares_memory(as_array(array, "fog"), tensor.numpy())
