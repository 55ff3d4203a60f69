"""Whatever people have for an array, a box, a number: arrays of any library, files, lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inrv import EncodeOptions, OptionError, encode_bytes, load, sparse_grid
from inrv.grids import Box
from inrv.support.arrays import as_array, as_triple, plain

BASE = np.random.default_rng(1).integers(0, 100, (9, 10, 11)).astype(np.float64)


class WithArray:
    """As of xarray, dask, h5py, pandas: NumPy asks for the array."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self.array


class WithInterface:
    """As of PIL and SimpleITK: an address and a shape."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.__array_interface__ = array, array.__array_interface__


class WithDLPack:
    """As of JAX and MLX."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.tensor = torch.as_tensor(array)

    def __dlpack__(self, **how: Any) -> Any:
        return self.tensor.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()


class OnGpu(WithDLPack):
    """As of CuPy, which has `__array__` to refuse."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


class Sliced:
    """As of tensorstore and old zarr: a data set that gives its values when it is sliced."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, where: Any) -> NDArray[Any]:
        return self.array[where]


KINDS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "flipped": lambda a: a[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "Fortran order": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "big-endian": lambda a: a.astype(">f8"),
    "big-endian integers": lambda a: a.astype(">i4"),
    "long double": lambda a: a.astype(np.longdouble),
    "half": lambda a: a.astype(np.float16),
    "unsigned bytes": lambda a: a.astype(np.uint8),
    "unsigned long": lambda a: a.astype(np.uint64),
    "__array__": WithArray,
    "__array_interface__": WithInterface,
    "DLPack": WithDLPack,
    "on a GPU": OnGpu,
    "sliced": Sliced,
    "lists": lambda a: a.tolist(),
    "slices": tuple,
    "buffer": lambda a: memoryview(a.copy()),
    "tensor": torch.as_tensor,
    "tensor that needs gradients": lambda a: torch.tensor(a, requires_grad=True),
    "slices as tensors": lambda a: [torch.tensor(part, requires_grad=True) for part in a],
    "bfloat16": lambda a: torch.as_tensor(a).bfloat16(),
    "permuted tensor": lambda a: torch.as_tensor(a.transpose(2, 1, 0).copy()).permute(2, 1, 0),
    "sparse tensor": lambda a: torch.as_tensor(a).to_sparse(),
    "negative view": lambda a: torch._neg_view(torch.as_tensor(-a)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_of_any_kind_makes_the_same_grid(kind: str) -> None:
    given = KINDS[kind](BASE)
    assert np.array_equal(as_array(given, "it").astype(np.float64), BASE)
    grid = sparse_grid(given, active=given)
    assert np.array_equal(grid.dense(Box((0, 0, 0), (8, 9, 10)))[..., 0], BASE.astype(np.float32))
    assert grid.topology.active_voxel_count == np.count_nonzero(BASE) and grid.rounded is None


class OnlyDLPack:
    """The least that DLPack asks of a library: two methods, of float32 on the CPU."""

    def __init__(self, array: NDArray[np.float32]) -> None:
        self.array = array

    def __dlpack__(self, **how: Any) -> Any:
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, WithDLPack, OnlyDLPack])
def test_what_lies_in_memory_is_taken_without_a_copy(kind: Callable[..., Any]) -> None:
    values = BASE.astype(np.float32)
    assert np.shares_memory(as_array(kind(values), "it"), values)
    data, _ = encode_bytes({"it": kind(values)}, EncodeOptions(lossless=True))
    assert np.array_equal(load(data)["it"].to_grid().values, sparse_grid(values).values)


def test_an_array_without_a_name_is_told_to_have_one() -> None:
    with pytest.raises(OptionError, match="a OnlyDLPack is neither a file nor grids: give arrays"):
        encode_bytes(OnlyDLPack(BASE.astype(np.float32)))  # type: ignore[arg-type]


def test_truth_values_and_repeated_views_are_numbers() -> None:
    assert sparse_grid(BASE > 50).topology.active_voxel_count == (BASE > 50).sum()
    repeated = np.broadcast_to(BASE[:1], BASE.shape)
    assert sparse_grid(repeated).topology.active_voxel_count == 9 * np.count_nonzero(BASE[0])


def test_a_read_only_memory_map_is_taken_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    np.save(tmp_path / "scan.npy", BASE)
    mapped = np.load(tmp_path / "scan.npy", mmap_mode="r")
    assert np.array_equal(sparse_grid(mapped).values, sparse_grid(BASE).values) and not recwarn.list


def test_a_data_set_of_an_hdf5_file_is_an_array(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        stored = file.create_dataset("scan", data=BASE, chunks=True)
        assert np.array_equal(sparse_grid(stored, active=stored).values, sparse_grid(BASE).values)


def test_half_floats_of_other_libraries_are_numbers() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    assert np.array_equal(as_array(BASE.astype(ml_dtypes.bfloat16), "it"), BASE)


def test_masks_survive_in_sequences_and_behind_protocols() -> None:
    masked = np.ma.array(BASE, mask=BASE > 50)
    for given in (masked, list(masked), WithArray(masked)):
        assert np.array_equal(np.ma.getmaskarray(as_array(given, "it")), BASE > 50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (BASE + 1j, "complex128.*its magnitude"),
        (torch.as_tensor(BASE) * 1j, "complex128"),
        (BASE.astype(object), r"object.*astype\(float\)"),
        ([[[2**70]]], "holds 1180591620717411303424: .* 64 bits"),
        (None, "NoneType"),
        ("scan.npy", "not real numbers"),
        (np.zeros((2, 2, 2), "M8[s]"), "datetime64"),
        (np.zeros((2, 2, 2), [("x", "f4")]), "one of its fields"),
        ([[1, 2], [3]], "a list, cannot be read as an array"),
        ([BASE, BASE[0]], "same shape"),
        (torch.empty((2, 2, 2), device="meta"), "meta"),
        ({"density": BASE}, "dict"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_an_error_that_says_what_it_is(
    given: Any, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        sparse_grid(given)


@pytest.mark.parametrize(
    "corner",
    [[1, -2, 3], np.array([1.0, -2.0, 3.0]), torch.tensor([1, -2, 3]), (np.int16(1), -2.0, 3)],
)
def test_corners_are_three_whole_numbers(corner: Any) -> None:
    assert as_triple(corner, "corner") == (1, -2, 3)


@pytest.mark.parametrize("corner", [(1, 2), 5, (1, 2, 3.5), (1, 2, float("nan")), "abc"])
def test_other_corners_are_refused(corner: Any) -> None:
    with pytest.raises(OptionError):
        as_triple(corner, "corner")


def test_scalars_become_pythons_own() -> None:
    values = [
        plain(value)
        for value in (
            np.float32(0.5),
            np.int64(3),
            np.str_("a"),
            np.array(2),
            torch.tensor(2.5),
            "b",
            None,
        )
    ]
    assert [(value, type(value)) for value in values] == [
        (0.5, float), (3, int), ("a", str), (2, int), (2.5, float), ("b", str), (None, type(None)),
    ]  # fmt: skip
